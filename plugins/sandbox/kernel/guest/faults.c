/* Page faults: what the mappings promise is brought in. And reads and writes of user memory by the kernel. */
#include "kernel.h"
#include "memory.h"

/* Pages of a file that are in memory already are mapped together with their neighbours. */
#define AROUND 16ul

/* The page of a private mapping of an object, not written: the object's own, read-only. */
static void map_own(struct vma *vma, u64 *entry, u64 gpa) {
  *entry = gpa | pte_flags(without_write(vma->prot)) | PTE_COW;
  frame_share(gpa);
  space->pages++;
}

static int map_shared(struct vma *vma, u64 page, u64 *entry) {
  u64 gpa;
  if (!*entry) {
    int outcome = object_page(vma->object, vma->offset + (page - vma->start), &gpa);
    if (outcome) return outcome;
    *entry = gpa;
    frame_share(gpa);
    space->pages++;
  }
  *entry = (*entry & (PTE_FRAME | PTE_DIRTY)) | pte_flags(vma->prot);
  return FAULT_OK;
}

static int map_private(struct vma *vma, u64 page, u64 *entry, int write) {
  u64 from = *entry & PTE_FRAME;
  if (!*entry && vma->kind != VMA_ANONYMOUS) {
    int outcome = object_page(vma->object, vma->offset + (page - vma->start), &from);
    if (outcome) return outcome;
    if (!write) {
      map_own(vma, entry, from);
      return FAULT_OK;
    }
  } else if (*entry && !(write && *entry & PTE_COW)) {
    *entry = (*entry & (PTE_FRAME | PTE_COW | PTE_DIRTY)) | pte_flags(*entry & PTE_COW ? without_write(vma->prot) : vma->prot);
    return FAULT_OK;
  } else if (*entry && !frame_shared(from)) {
    *entry = from | pte_flags(vma->prot); /* the last that uses it */
    return FAULT_OK;
  }
  void *frame = frame_alloc();
  if (!frame) return FAULT_OOM;
  if (from) copy_page(frame, direct(from));
  if (*entry) frame_free(from);
  else space->pages++;
  *entry = ((u64)frame - DIRECT_MAP) | pte_flags(vma->prot);
  return FAULT_OK;
}

/* The image of the program lies in memory as a whole: its pages need no fault each. */
static void map_around(struct vma *vma, u64 page) {
  u64 first = max(page & ~(AROUND * PAGE - 1), vma->start), last = min(first + AROUND * PAGE, vma->end), gpa;
  for (u64 at = first; at < last; at += PAGE) {
    u64 *entry = at == page ? 0 : pte_of(space->root, at, 1);
    if (entry && !*entry && object_page(vma->object, vma->offset + (at - vma->start), &gpa) == FAULT_OK) map_own(vma, entry, gpa);
  }
}

int fault(u64 address, int write, int execute) {
  struct vma *vma = vma_find(address);
  if (!vma) return FAULT_MAPERR;
  if (!vma->prot || (write && !(vma->prot & PROT_WRITE)) || (execute && !(vma->prot & PROT_EXEC))) return FAULT_ACCERR;
  u64 page = page_down(address), *entry = pte_of(space->root, page, 1);
  if (!entry) return FAULT_OOM;
  int new = !*entry, outcome = vma->flags & VMA_SHARED ? map_shared(vma, page, entry) : map_private(vma, page, entry, write);
  flush_page(page);
  if (outcome == FAULT_OK && new && vma->kind == VMA_IMAGE && !(vma->prot & PROT_WRITE)) map_around(vma, page);
  return outcome;
}

/* Whether a present page allows the access. */
static int allows(u64 entry, int write) {
  return (entry & PTE_PRESENT) && (entry & PTE_USER) && (!write || entry & PTE_WRITE);
}

int fault_in(u64 address, u64 length, int write) {
  if (length == 0) return 0;
  if (address >= USER_END || length > USER_END - address) return -EFAULT;
  for (u64 page = page_down(address); page < address + length; page += PAGE) {
    u64 *entry = pte_of(space->root, page, 0);
    if (entry && allows(*entry, write)) continue;
    int outcome = fault(page, write, 0);
    if (outcome == FAULT_OOM) {
      out_of_memory();
      page -= PAGE; /* once more */
    } else if (outcome) return -EFAULT;
  }
  return 0;
}

static int copy(u64 user, u8 *kernel, u64 length, int to_user) {
  if (fault_in(user, length, to_user)) return -EFAULT;
  while (length) {
    u64 part = min(PAGE - (user & ~PAGE_MASK), length);
    u64 *entry = pte_of(space->root, user, 0);
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
