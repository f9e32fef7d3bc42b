/* The mappings of the space in use: a sorted table, and the system calls that change it. Pages come with faults (faults.c). */
#include "kernel.h"
#include "memory.h"

enum {
  MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_SHARED_VALIDATE = 3, MAP_TYPE = 15, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000,
  MAP_POPULATE = 0x8000, MAP_FIXED_NOREPLACE = 0x100000,
};
enum { MREMAP_MAYMOVE = 1, MREMAP_FIXED = 2 };
enum { MADV_DONTNEED = 4, MADV_FREE = 8 };

/* Index of the first mapping that ends above the address. */
static u64 first_above(u64 address) {
  u64 low = 0, high = vma_count;
  while (low < high) {
    u64 middle = (low + high) / 2;
    if (vmas[middle].end <= address) low = middle + 1;
    else high = middle;
  }
  return low;
}

struct vma *vma_find(u64 address) {
  u64 index = first_above(address);
  return index < vma_count && vmas[index].start <= address ? &vmas[index] : 0;
}

/* Makes room at an index, or takes a place out: the shorter side moves. Callers have asked for room (vma_room). */
static void open_gap(u64 index) {
  if (index < vma_count / 2) {
    space->first--;
    for (u64 i = 0; i < index; i++) vmas[i] = vmas[i + 1];
  } else for (u64 i = vma_count; i > index; i--) vmas[i] = vmas[i - 1];
  vma_count++;
}

static void close_gap(u64 index, u64 count) {
  if (index < (vma_count - count) / 2) {
    for (u64 i = index; i-- > 0;) vmas[i + count] = vmas[i];
    space->first += count;
  } else for (u64 i = index; i + count < vma_count; i++) vmas[i] = vmas[i + count];
  vma_count -= count;
}

static int mergeable(const struct vma *low, const struct vma *high) {
  return low->end == high->start && low->prot == high->prot && low->kind == high->kind && low->flags == high->flags && low->handle == high->handle && (low->kind == VMA_ANONYMOUS || low->object == high->object)
    && (low->kind == VMA_ANONYMOUS || low->offset + (low->end - low->start) == high->offset);
}

/* A mapping that is gone, or part of another now, needs its object no more. */
static void leave(const struct vma *vma) {
  if (vma->kind != VMA_ANONYMOUS) object_leave(vma->object);
}

/* Joins mapping `index` with its neighbours where they continue each other. */
static void merge(u64 index) {
  if (index + 1 < vma_count && mergeable(&vmas[index], &vmas[index + 1])) {
    vmas[index].end = vmas[index + 1].end;
    leave(&vmas[index + 1]);
    close_gap(index + 1, 1);
  }
  if (index > 0 && mergeable(&vmas[index - 1], &vmas[index])) {
    vmas[index - 1].end = vmas[index].end;
    leave(&vmas[index]);
    close_gap(index, 1);
  }
}

int vma_insert(struct vma vma) {
  if (!vma_room(1)) return -ENOMEM;
  u64 index = first_above(vma.start);
  open_gap(index);
  vmas[index] = vma;
  merge(index);
  return 0;
}

/* Makes `address` a border of mappings. Splits need room for one more. */
static void split_at(u64 address) {
  struct vma *vma = vma_find(address);
  if (!vma || vma->start == address) return;
  struct vma whole = *vma;
  u64 index = vma - vmas;
  open_gap(index);
  vmas[index] = vmas[index + 1] = whole;
  if (vmas[index].kind != VMA_ANONYMOUS) object_share(vmas[index].object);
  vmas[index].end = address;
  vmas[index + 1].offset += address - vmas[index + 1].start;
  vmas[index + 1].start = address;
}

static int is_free(u64 start, u64 end) {
  u64 index = first_above(start);
  return index == vma_count || vmas[index].start >= end;
}

/* The highest free place below the mapping area's top; 0: none. What was too small a hole the last time is not looked at again. */
static u64 find_place(u64 length) {
  u64 from = length > space->largest_hole ? space->search_from : MMAP_TOP, top = from, skipped = from == MMAP_TOP ? 0 : space->largest_hole;
  for (u64 index = first_above(from - 1); ; ) {
    u64 bottom = index > 0 ? vmas[index - 1].end : MMAP_LOWEST;
    if (index < vma_count && vmas[index].start < top) top = vmas[index].start;
    if (bottom <= top && top - bottom >= length) {
      space->search_from = top - length;
      space->largest_hole = skipped;
      return top - length;
    }
    if (bottom < top) skipped = max(skipped, top - bottom);
    if (index == 0) return 0;
    index--;
  }
}

/* A hole comes to be: it is to be found. */
static void forget_search(u64 end) {
  u64 index = first_above(end);
  u64 top = index < vma_count ? vmas[index].start : USER_END; /* it may join the one above */
  if (end > space->search_from) space->search_from = min(max(top, end), MMAP_TOP);
}

static int page_aligned(u64 value) { return (value & ~PAGE_MASK) == 0; }
static int in_user_space(u64 start, u64 length) { return start < USER_END && length <= USER_END - start; }

/* What the pages of a shared mapping say of being written, for its object to know. */
static void note_written(const struct vma *vma, u64 *entry, u64 at) {
  if (!(vma->flags & VMA_SHARED) || !(*entry & PTE_DIRTY)) return;
  object_dirty(vma->object, vma->offset + (at - vma->start));
  *entry &= ~PTE_DIRTY;
}

static void write_back(const struct vma *vma, u64 start, u64 end) {
  if (vma->kind != VMA_FILE || !(vma->flags & VMA_SHARED)) return;
  for (u64 at = start, *entry; (entry = next_pte(space->root, &at, end)); at += PAGE) note_written(vma, entry, at);
  flush_all();
  object_write_back(vma->object, vma->offset + (start - vma->start), vma->offset + (end - vma->start));
}

/* Gives the pages of a range of a mapping back; later accesses fault anew. */
static void drop_pages(const struct vma *vma, u64 start, u64 end) {
  int dropped = 0;
  for (u64 at = start, *entry; (entry = next_pte(space->root, &at, end)); at += PAGE) {
    note_written(vma, entry, at);
    frame_free(*entry & PTE_FRAME);
    *entry = 0;
    space->pages--;
    if (++dropped <= 16) flush_page(at);
  }
  if (dropped > 16) flush_all();
}

static void unmap(u64 start, u64 end) {
  split_at(start);
  split_at(end);
  u64 first = first_above(start), last = first;
  for (; last < vma_count && vmas[last].start < end; last++) {
    drop_pages(&vmas[last], vmas[last].start, vmas[last].end);
    leave(&vmas[last]);
  }
  close_gap(first, last - first);
  forget_search(end);
}

void vma_write_back_all(void) {
  for (u64 i = 0; i < vma_count; i++) write_back(&vmas[i], vmas[i].start, vmas[i].end);
}

void vma_unmap_all(void) { unmap(0, USER_END); }

int vma_map(struct vma vma) {
  if (!vma_room(3)) return -ENOMEM;
  unmap(vma.start, vma.end);
  return vma_insert(vma);
}

s64 sys_munmap(u64 address, u64 length) {
  if (!page_aligned(address) || length == 0 || !in_user_space(address, length)) return -EINVAL;
  if (!vma_room(2)) return -ENOMEM;
  unmap(address, address + page_up(length));
  return 0;
}

/* More memory than the machine has can be reserved, but not asked for to be written. */
static int too_much(u64 length, u64 prot, u64 flags) {
  return (prot & PROT_WRITE) && !(flags & MAP_NORESERVE) && length / PAGE > frames_total;
}

s64 sys_mmap(u64 address, u64 length, u64 prot, u64 flags, u64 fd, u64 offset) {
  u64 type = flags & MAP_TYPE;
  if (length == 0 || !page_aligned(offset) || type == 0 || type > MAP_SHARED_VALIDATE) return -EINVAL;
  length = page_up(length);
  if (length == 0 || length > USER_END) return -ENOMEM;
  if (offset + length < offset) return -EOVERFLOW;
  if (!vma_room(3)) return -ENOMEM;
  int anonymous = (flags & MAP_ANONYMOUS) != 0, fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
  if (anonymous && too_much(length, prot, flags)) return -ENOMEM;
  if (fixed) {
    if (!page_aligned(address)) return -EINVAL;
    if (!in_user_space(address, length)) return -ENOMEM;
    if (address < MMAP_LOWEST) return -EPERM;
    if (flags & MAP_FIXED_NOREPLACE && !is_free(address, address + length)) return -EEXIST;
  } else {
    address = page_down(address);
    if (address < MMAP_LOWEST || !in_user_space(address, length) || !is_free(address, address + length)) address = find_place(length);
    if (!address) return -ENOMEM;
  }
  struct vma vma = { .start = address, .end = address + length, .prot = prot & 7, .flags = type != MAP_PRIVATE ? VMA_SHARED : 0 };
  if (!anonymous) {
    bell->pid = current->process->pid;
    s64 handle = host_call(OP_MAP_FILE, fd, prot, flags, 0);
    if (handle < 0) return handle;
    vma.kind = VMA_FILE;
    vma.handle = handle & ~HANDLE_READ_ONLY;
    if (handle & HANDLE_READ_ONLY) vma.flags |= VMA_READ_ONLY;
    vma.offset = offset;
  } else if (vma.flags & VMA_SHARED) vma.kind = VMA_SHARED_MEMORY;
  if (vma.kind != VMA_ANONYMOUS) {
    int object = object_of(vma.kind, vma.handle);
    if (object < 0) return object;
    vma.object = object;
  }
  if (fixed) unmap(address, address + length);
  vma_insert(vma);
  if (flags & MAP_POPULATE && prot) fault_in(address, length, (prot & PROT_WRITE) != 0);
  return address;
}

s64 sys_mprotect(u64 address, u64 length, u64 prot) {
  if (!page_aligned(address) || (prot & ~0x0f00000fu)) return -EINVAL;
  length = page_up(length);
  if (length == 0) return 0;
  if (!in_user_space(address, length)) return -ENOMEM;
  if (!vma_room(2)) return -ENOMEM;
  u64 end = address + length, reached = address;
  for (u64 i = first_above(address); i < vma_count && vmas[i].start < end; i++) if (prot & PROT_WRITE && vmas[i].flags & VMA_READ_ONLY) return -EACCES;
  split_at(address);
  split_at(end);
  prot &= 7;
  for (u64 i = first_above(address); i < vma_count && vmas[i].start == reached && reached < end; i++) {
    vmas[i].prot = prot;
    reached = vmas[i].end;
  }
  int changed = 0;
  for (u64 at = address, *entry; (entry = next_pte(space->root, &at, reached)); at += PAGE, changed++) {
    *entry = (*entry & (PTE_FRAME | PTE_COW | PTE_DIRTY)) | pte_flags(*entry & PTE_COW ? without_write(prot) : prot);
    if (changed < 16) flush_page(at);
  }
  if (changed >= 16) flush_all();
  for (u64 i = first_above(address); i < vma_count && vmas[i].start < end;) {
    u64 before = vma_count;
    merge(i);
    if (vma_count == before) i++;
  }
  if (first_above(end) < vma_count) merge(first_above(end));
  return reached < end ? -ENOMEM : 0;
}

s64 sys_brk(u64 address) {
  if (address < space->brk_start || address > space->brk_start + (1ul << 46)) return space->brk_end;
  u64 old = page_up(space->brk_end), new = page_up(address);
  if (new > old) {
    if (new >= USER_END || !is_free(old, new) || (new - space->brk_start) / PAGE > frames_total || !vma_room(1)) return space->brk_end;
    vma_insert((struct vma){ .start = old, .end = new, .prot = PROT_READ | PROT_WRITE, .flags = VMA_HEAP });
  } else if (new < old) {
    if (!vma_room(2)) return space->brk_end;
    unmap(new, old);
  }
  space->brk_end = address;
  return space->brk_end;
}

/* Moves the pages of a range to another place, where nothing is. */
static int move_pages(u64 from, u64 to, u64 length) {
  for (u64 at = from, *entry; (entry = next_pte(space->root, &at, from + length)); at += PAGE) {
    u64 *target = pte_of(space->root, to + (at - from), 1);
    if (!target) return -ENOMEM;
    *target = *entry;
    *entry = 0;
  }
  flush_all();
  return 0;
}

s64 sys_mremap(u64 old, u64 old_size, u64 new_size, u64 flags, u64 to) {
  if (!page_aligned(old) || (flags & ~3ul) || ((flags & MREMAP_FIXED) && !(flags & MREMAP_MAYMOVE))) return -EINVAL;
  old_size = page_up(old_size);
  new_size = page_up(new_size);
  if (new_size == 0 || old_size == 0) return -EINVAL;
  if (flags & MREMAP_FIXED && (!page_aligned(to) || !in_user_space(to, new_size) || to < MMAP_LOWEST || (to < old + old_size && old < to + new_size))) return -EINVAL;
  if (!vma_room(4)) return -ENOMEM;
  struct vma *vma = vma_find(old);
  if (!vma || !in_user_space(old, old_size)) return -EFAULT;
  if (flags & MREMAP_FIXED) {
    if (vma->end < old + min(old_size, new_size)) return -EFAULT;
    unmap(to, to + new_size);
  } else if (new_size <= old_size) {
    if (new_size < old_size) unmap(old + new_size, old + old_size);
    return old;
  }
  if (new_size < old_size) {
    unmap(old + new_size, old + old_size);
    old_size = new_size;
  }
  vma = vma_find(old);
  if (!vma || vma->end < old + old_size) return -EFAULT;
  if (new_size > old_size && too_much(new_size, vma->prot, 0)) return -ENOMEM;
  if (!(flags & MREMAP_FIXED)) {
    if (vma->end == old + old_size && in_user_space(old, new_size) && is_free(vma->end, old + new_size)) {
      vma->end = old + new_size;
      merge(vma - vmas);
      return old;
    }
    if (!(flags & MREMAP_MAYMOVE)) return -ENOMEM;
    to = find_place(new_size);
    if (!to) return -ENOMEM;
  }
  split_at(old);
  split_at(old + old_size);
  vma = vma_find(old);
  struct vma moved = *vma;
  moved.start = to;
  moved.end = to + new_size;
  while (move_pages(old, to, old_size)) out_of_memory();
  u64 index = vma - vmas;
  close_gap(index, 1);
  vma_insert(moved);
  return to;
}

s64 sys_madvise(u64 address, u64 length, u64 advice) {
  if (!page_aligned(address) || !in_user_space(address, length)) return -EINVAL;
  if (advice > 25 && advice != 100 && advice != 101) return -EINVAL;
  u64 end = address + page_up(length), reached = address;
  s64 result = 0;
  for (u64 i = first_above(address); i < vma_count && vmas[i].start < end; i++) {
    u64 from = max(vmas[i].start, address), to = min(vmas[i].end, end);
    if (from > reached) result = -ENOMEM;
    reached = to;
    if (advice == MADV_FREE && vmas[i].kind != VMA_ANONYMOUS) return -EINVAL;
    if (advice != MADV_DONTNEED && advice != MADV_FREE) continue;
    drop_pages(&vmas[i], from, to); /* those of a shared mapping stay with its object */
  }
  return reached < end ? -ENOMEM : result;
}

s64 sys_msync(u64 address, u64 length, u64 flags) {
  if (!page_aligned(address) || (flags & ~7ul) || (flags & 5) == 5) return -EINVAL;
  u64 end = address + page_up(length), reached = address;
  if (!in_user_space(address, length)) return -ENOMEM;
  for (u64 i = first_above(address); i < vma_count && vmas[i].start < end; i++) {
    if (vmas[i].start > reached) return -ENOMEM;
    reached = vmas[i].end;
    write_back(&vmas[i], max(vmas[i].start, address), min(reached, end));
  }
  return reached < end ? -ENOMEM : 0;
}

s64 sys_mincore(u64 address, u64 length, u64 vector) {
  if (!page_aligned(address)) return -EINVAL;
  if (!in_user_space(address, length)) return -ENOMEM;
  u64 end = address + page_up(length);
  for (u64 at = address; at < end; at += PAGE) if (!vma_find(at)) return -ENOMEM;
  for (u64 at = address; at < end; at += PAGE) {
    u64 *entry = pte_of(space->root, at, 0);
    u8 resident = entry && *entry;
    if (copy_to_user(vector + (at - address) / PAGE, &resident, 1)) return -EFAULT;
  }
  return 0;
}
