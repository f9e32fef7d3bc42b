/* Loads the program: its file lies in RAM, and the host has checked that its headers make sense. Then its first stack. */
#include "kernel.h"
#include "memory.h"

struct elf_header { u8 ident[16]; u16 type, machine; u32 version; u64 entry, phoff, shoff; u32 flags; u16 ehsize, phentsize, phnum; } __attribute__((packed));
struct elf_segment { u32 type, flags; u64 offset, vaddr, paddr, filesz, memsz, align; };

enum { ET_DYN = 3, PT_LOAD = 1, PT_PHDR = 6, PT_GNU_STACK = 0x6474e551 };

static u32 stack_prot = PROT_READ | PROT_WRITE;

/* Anonymous or file pages at a fixed place; what was there gives way, as with the segments of one page. */
static void place(struct vma vma) {
  if (vma.start >= vma.end) return;
  sys_munmap(vma.start, vma.end - vma.start);
  vma_insert(vma);
}

static void load_segment(const struct elf_segment *segment, u64 base) {
  u64 start = base + segment->vaddr, file_end = start + segment->filesz, end = start + segment->memsz;
  u32 prot = (segment->flags & 4 ? PROT_READ : 0) | (segment->flags & 2 ? PROT_WRITE : 0) | (segment->flags & 1 ? PROT_EXEC : 0);
  u64 file_pages = segment->filesz ? page_up(file_end) : page_down(start);
  place((struct vma){ .start = page_down(start), .end = file_pages, .prot = prot, .kind = VMA_IMAGE, .offset = page_down(segment->offset) });
  place((struct vma){ .start = file_pages, .end = page_up(end), .prot = prot });
  /* What follows the file's part in its last page is the program's .bss. */
  if (segment->memsz > segment->filesz && file_end < file_pages && (prot & PROT_WRITE)) {
    if (fault(file_end, 1, 0) == FAULT_OOM) out_of_memory();
    u64 *entry = pte_of(file_end, 0);
    if (entry && *entry) memset((u8 *)direct(*entry & PTE_FRAME) + (file_end & ~PAGE_MASK), 0, file_pages - file_end);
  }
  brk_start = max(brk_start, page_up(end));
}

struct program load_program(void) {
  const struct elf_header *header = direct(boot->image);
  const struct elf_segment *segments = direct(boot->image + header->phoff);
  u64 base = header->type == ET_DYN ? PIE_BASE : 0;
  struct program program = { .entry = base + header->entry, .header_count = header->phnum, .base = base };
  for (u32 i = 0; i < header->phnum; i++) {
    const struct elf_segment *segment = &segments[i];
    if (segment->type == PT_LOAD && segment->memsz) {
      load_segment(segment, base);
      if (header->phoff >= segment->offset && header->phoff < segment->offset + segment->filesz && !program.headers) {
        program.headers = base + segment->vaddr + header->phoff - segment->offset;
      }
    }
    if (segment->type == PT_PHDR) program.headers = base + segment->vaddr;
    if (segment->type == PT_GNU_STACK && segment->flags & 1) stack_prot |= PROT_EXEC;
  }
  brk_end = brk_start;
  return program;
}

static u64 stack;

static u64 push(const void *data, u64 length) {
  stack -= length;
  if (copy_to_user(stack, data, length)) out_of_memory();
  return stack;
}

static u64 push_string(const char *text) { return push(text, strlen(text) + 1); }

/* `arguments` as the host has left them: argc, argv, NULL, envp, NULL, with kernel addresses. Returns the first RSP. */
u64 build_stack(const struct program *program, u64 *arguments) {
  vma_insert((struct vma){ .start = STACK_TOP - STACK_SIZE, .end = STACK_TOP, .prot = stack_prot, .flags = VMA_STACK });
  u64 argc = arguments[0], *argv = arguments + 1, *envp = argv + argc + 1, envc = 0;
  while (envp[envc]) envc++;
  stack = STACK_TOP;
  push(&(u64){ 0 }, 8);
  u64 exec_name = push_string((char *)boot->exec_name);
  for (u64 i = envc; i-- > 0;) envp[i] = push_string((char *)envp[i]);
  for (u64 i = argc; i-- > 0;) argv[i] = push_string((char *)argv[i]);
  u64 platform = push_string("x86_64");
  u64 random = push(boot->random, 16);
  u32 a, b, c, hwcap;
  cpuid(1, 0, &a, &b, &c, &hwcap);
  u64 cr4;
  __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
  u64 vector[][2] = {
    { 16, hwcap }, { 6, PAGE }, { 17, 100 }, { 3, program->headers }, { 4, sizeof(struct elf_segment) }, { 5, program->header_count },
    { 7, 0 }, { 8, 0 }, { 9, program->entry }, { 11, boot->uid }, { 12, boot->euid }, { 13, boot->gid }, { 14, boot->egid }, { 23, 0 },
    { 25, random }, { 26, cr4 >> 16 & 1 ? 2 : 0 }, { 31, exec_name }, { 15, platform }, { 51, fpu_bytes + 1024 }, { 0, 0 },
  };
  stack &= ~15ul;
  if ((argc + envc + 3) & 1) stack -= 8; /* RSP is a multiple of 16 at the entry point */
  push(vector, sizeof vector);
  push(envp, (envc + 1) * 8);
  push(argv, (argc + 1) * 8);
  return push(&argc, 8);
}
