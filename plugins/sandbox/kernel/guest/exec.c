/* A program into memory, as the host's plan says: the host has read its headers, and those of its interpreter, and checked them. */
#include "kernel.h"
#include "memory.h"

extern u8 vdso_start[], vdso_end[];

static int load_segment(const struct segment *segment) {
  if (segment->start < MMAP_LOWEST || segment->file_end < segment->start || segment->end < segment->file_end || segment->end > USER_END) return -ENOMEM;
  u64 start = page_down(segment->start), file_pages = segment->file_end > segment->start ? page_up(segment->file_end) : start, end = page_up(segment->end);
  if (file_pages > start) {
    int kind = segment->handle == IMAGE_HANDLE ? VMA_IMAGE : VMA_FILE, object = object_of(kind, segment->handle);
    if (object < 0) return object;
    struct vma vma = { .start = start, .end = file_pages, .prot = segment->prot, .kind = kind, .offset = segment->offset, .handle = segment->handle, .object = object };
    if (vma_map(vma)) return -ENOMEM;
  }
  if (end > file_pages && vma_map((struct vma){ .start = file_pages, .end = end, .prot = segment->prot })) return -ENOMEM;
  /* What follows the file's part in its last page is the program's .bss. */
  if (segment->end > segment->file_end && segment->file_end < file_pages && segment->prot & PROT_WRITE) {
    int outcome = fault(segment->file_end, 1, 0);
    if (outcome) return -ENOMEM;
    u64 *entry = pte_of(space->root, segment->file_end, 0);
    memset((u8 *)direct(*entry & PTE_FRAME) + (segment->file_end & ~PAGE_MASK), 0, file_pages - segment->file_end);
  }
  return 0;
}

/* The page with the functions that AT_SYSINFO_EHDR leads to (vdso.S): one for all, in the kernel's own image. */
static int map_vdso(void) {
  u64 size = vdso_end - vdso_start;
  if (vma_map((struct vma){ .start = VDSO, .end = VDSO + page_up(size), .prot = PROT_READ | PROT_EXEC, .flags = VMA_VDSO })) return -ENOMEM;
  for (u64 at = 0; at < size; at += PAGE) {
    u64 *entry = pte_of(space->root, VDSO + at, 1);
    if (!entry) return -ENOMEM;
    *entry = ((u64)vdso_start - KERNEL_BASE + at) | pte_flags(PROT_READ | PROT_EXEC) | PTE_COW;
    space->pages++;
  }
  return 0;
}

int load_program(struct frame *frame) {
  const struct plan *plan = direct(boot->plan);
  u64 entry = plan->entry, stack_bytes = page_up(plan->stack_bytes);
  for (u64 i = 0; i < plan->count; i++) if (load_segment(&plan->segments[i])) return -ENOMEM;
  space->brk_start = space->brk_end = plan->brk;
  if (vma_map((struct vma){ .start = STACK_TOP - STACK_SIZE, .end = STACK_TOP, .prot = plan->stack_prot, .flags = VMA_STACK }) || map_vdso()) return -ENOMEM;
  for (u64 at = STACK_TOP - stack_bytes; at < STACK_TOP; at += PAGE) if (fault(at, 1, 0)) return -ENOMEM;
  u32 a, b, c, features;
  u64 cr4;
  cpuid(1, 0, &a, &b, &c, &features);
  __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
  u64 stack = host_call(OP_STACK, features, fpu_bytes, cr4 >> 16 & 1, 0);
  *frame = (struct frame){ .rip = entry, .rsp = stack, .cs = USER_CS, .ss = USER_DS, .rflags = 0x202, .orig_rax = ~0ul };
  return 0;
}
