/* Physical frames, page tables, and page faults of the program's memory. Its mappings are in mappings.c. */
#include "kernel.h"
#include "memory.h"

/* ---- frames: those never used are zero already; freed ones wait in a list */

static u64 next_frame, fresh_end;
static u64 *free_list;
u64 frames_total, frames_used;

void memory_init(void) {
  next_frame = boot->frames[0];
  fresh_end = boot->frames[1];
  frames_total = (boot->frames[1] - boot->frames[0] + boot->frames[3] - boot->frames[2]) / PAGE;
  bell->frames_free = frames_total;
  /* The bootstrap ran in low memory; from here on there is nothing below the kernel but the program. */
  ((u64 *)direct(boot->page_table))[0] = 0;
  flush_all();
}

void *frame_alloc(void) {
  u64 *frame;
  if (free_list) {
    frame = free_list;
    free_list = (u64 *)*frame;
    clear_page(frame);
  } else {
    if (next_frame == fresh_end) {
      if (fresh_end != boot->frames[1] || boot->frames[2] == boot->frames[3]) return 0;
      next_frame = boot->frames[2];
      fresh_end = boot->frames[3];
    }
    frame = direct(next_frame);
    next_frame += PAGE;
  }
  frames_used++;
  bell->frames_free--;
  return frame;
}

void frame_free(void *frame) {
  *(u64 *)frame = (u64)free_list;
  free_list = frame;
  frames_used--;
  bell->frames_free++;
}

/* ---- page tables: four levels, 4 KiB pages */

u64 *pte_of(u64 address, int make) {
  u64 *table = direct(boot->page_table);
  for (int shift = 39; shift > 12; shift -= 9) {
    u64 *entry = &table[address >> shift & 511];
    if (!(*entry & PTE_PRESENT)) {
      if (!make) return 0;
      void *new = frame_alloc();
      if (!new) return 0;
      *entry = ((u64)new - DIRECT_MAP) | PTE_PRESENT | PTE_WRITE | PTE_USER;
    }
    table = direct(*entry & PTE_FRAME);
  }
  return &table[address >> 12 & 511];
}

/* The next page at or above `address` that has a page table, below `end`; 0: none. Skips what has none in large steps. */
u64 *next_pte(u64 *address, u64 end) {
  while (*address < end) {
    u64 *table = direct(boot->page_table);
    int shift = 39;
    for (; shift > 12; shift -= 9) {
      u64 entry = table[*address >> shift & 511];
      if (!(entry & PTE_PRESENT)) break;
      table = direct(entry & PTE_FRAME);
    }
    if (shift == 12) {
      u64 *entry = &table[*address >> 12 & 511];
      if (*entry) return entry;
      *address += PAGE;
    } else *address = ((*address >> shift) + 1) << shift;
  }
  return 0;
}

u64 pte_flags(u32 prot) {
  return PTE_PRESENT | (prot ? PTE_USER : 0) | (prot & PROT_WRITE ? PTE_WRITE : 0) | (prot & PROT_EXEC ? 0 : PTE_NX);
}

/* ---- faults */

/* Pages of a read-only part of the program file are mapped where the file lies, several at once. */
static void map_image(struct vma *vma, u64 page) {
  u64 first = max(page & ~(16 * PAGE - 1), vma->start), last = min(first + 16 * PAGE, vma->end);
  for (u64 at = first; at < last; at += PAGE) {
    u64 offset = vma->offset + (at - vma->start);
    if (offset >= page_up(boot->image_size)) break;
    u64 *entry = pte_of(at, 1);
    if (!entry) return;
    if (!*entry) *entry = (boot->image + offset) | pte_flags(vma->prot) | PTE_BORROWED;
  }
}

/* Fills a new frame with what the mapping has at `page`. */
static int fill(struct vma *vma, u64 page, void *frame) {
  u64 offset = vma->offset + (page - vma->start);
  if (vma->kind == VMA_IMAGE && offset < boot->image_size) memcpy(frame, direct(boot->image + offset), min(PAGE, boot->image_size - offset));
  if (vma->kind == VMA_FILE && host_call(OP_READ_PAGE, vma->handle, offset, (u64)frame - DIRECT_MAP, 0) <= 0) return FAULT_BUS;
  return FAULT_OK;
}

int fault(u64 address, int write, int execute) {
  struct vma *vma = vma_find(address);
  if (!vma) return FAULT_MAPERR;
  if (!vma->prot || (write && !(vma->prot & PROT_WRITE)) || (execute && !(vma->prot & PROT_EXEC))) return FAULT_ACCERR;
  u64 page = page_down(address);
  u64 *entry = pte_of(page, 1);
  if (!entry) return FAULT_OOM;
  if (!*entry && vma->kind == VMA_IMAGE && !(vma->prot & PROT_WRITE)) {
    map_image(vma, page);
    if (*entry) return FAULT_OK;
  }
  if (*entry && !(write && *entry & PTE_BORROWED)) {
    *entry = (*entry & (PTE_FRAME | PTE_BORROWED | PTE_DIRTY)) | (*entry & PTE_BORROWED ? pte_flags(vma->prot & ~PROT_WRITE) : pte_flags(vma->prot));
    flush_page(page);
    return FAULT_OK;
  }
  void *frame = frame_alloc();
  if (!frame) return FAULT_OOM;
  int outcome = fill(vma, page, frame);
  if (outcome) {
    frame_free(frame);
    return outcome;
  }
  *entry = ((u64)frame - DIRECT_MAP) | pte_flags(vma->prot);
  flush_page(page);
  return FAULT_OK;
}

/* Whether a present page allows the access. */
static int allows(u64 entry, int write) {
  return (entry & PTE_PRESENT) && (entry & PTE_USER) && (!write || entry & PTE_WRITE);
}

int fault_in(u64 address, u64 length, int write) {
  if (length == 0) return 0;
  if (address >= USER_END || length > USER_END - address) return -EFAULT;
  for (u64 page = page_down(address); page < address + length; page += PAGE) {
    u64 *entry = pte_of(page, 0);
    if (entry && allows(*entry, write)) continue;
    int outcome = fault(page, write, 0);
    if (outcome == FAULT_OOM) out_of_memory();
    if (outcome) return -EFAULT;
  }
  return 0;
}

static int copy(u64 user, u8 *kernel, u64 length, int to_user) {
  if (fault_in(user, length, to_user)) return -EFAULT;
  while (length) {
    u64 part = min(PAGE - (user & ~PAGE_MASK), length);
    u64 *entry = pte_of(user, 0);
    u8 *page = direct((*entry & PTE_FRAME) + (user & ~PAGE_MASK));
    if (to_user) {
      memcpy(page, kernel, part);
      *entry |= PTE_DIRTY;
    } else memcpy(kernel, page, part);
    user += part;
    kernel += part;
    length -= part;
  }
  return 0;
}

int copy_to_user(u64 to, const void *from, u64 length) { return copy(to, (u8 *)from, length, 1); }
int copy_from_user(void *to, u64 from, u64 length) { return copy(from, to, length, 0); }
