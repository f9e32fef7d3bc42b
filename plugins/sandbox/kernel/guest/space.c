/* Address spaces: page tables, and the table of mappings that each has at VMA_AREA. */
#include "kernel.h"
#include "memory.h"

/* As Linux has it by default (vm.max_map_count); the table grows from the middle of the area to both sides. */
#define MAX_VMAS 65530ul
#define VMAS_A_PAGE (PAGE / sizeof(struct vma))
#define MIDDLE (1ul << 20)
#define USER_SLOTS 256
#define VMA_SLOT (VMA_AREA >> 39 & 511)

struct space *space;
static struct space spaces[MAX_PROCESSES + 2];

static void load(u64 root) { __asm__ volatile("mov %0, %%cr3" : : "r"(root) : "memory"); }

void space_use(struct space *other) {
  if (other == space) return;
  space = other;
  load(other ? other->root : boot->page_table);
}

struct space *space_new(void) {
  struct space *new = spaces;
  while (new->root) if (++new == spaces + MAX_PROCESSES + 2) return 0;
  u64 *root = frame_alloc();
  if (!root) return 0;
  *new = (struct space){ .root = (u64)root - DIRECT_MAP, .users = 1, .first = MIDDLE, .low_page = MIDDLE / VMAS_A_PAGE, .high_page = MIDDLE / VMAS_A_PAGE, .search_from = MMAP_TOP };
  memcpy(root + USER_SLOTS, (u64 *)direct(boot->page_table) + USER_SLOTS, (512 - USER_SLOTS) * 8);
  return new;
}

static int add_page(struct space *of, u64 page) {
  u64 *entry = pte_of(of->root, VMA_AREA + page * PAGE, 1);
  void *frame = entry ? frame_alloc() : 0;
  if (!frame) return 0;
  *entry = ((u64)frame - DIRECT_MAP) | PTE_PRESENT | PTE_WRITE | PTE_NX;
  return 1;
}

/* Room in a space's table for mappings from one place in the area to another. */
static int room(struct space *of, u64 from, u64 to) {
  while (of->low_page > from / VMAS_A_PAGE) if (!add_page(of, --of->low_page)) return of->low_page++, 0;
  while (of->high_page < (to + VMAS_A_PAGE - 1) / VMAS_A_PAGE) if (!add_page(of, of->high_page++)) return of->high_page--, 0;
  return 1;
}

int vma_room(u64 more) { return vma_count + more <= MAX_VMAS && room(space, space->first - more, space->first + vma_count + more); }

/* The tables of a space; what its mappings hold is given back already. */
static void drop(struct space *gone) {
  u64 *root = direct(gone->root);
  for (int slot = 0; slot < USER_SLOTS; slot++) free_tables(root[slot], 3);
  free_tables(root[VMA_SLOT], 3);
  frame_free(gone->root);
  gone->root = 0;
}

void space_leave(struct space *other) {
  struct space *before = space;
  if (--other->users) return;
  space_use(other);
  vma_unmap_all();
  space_use(before == other ? 0 : before);
  drop(other);
}

/* Pages of a private mapping become read-only on both sides: whoever writes first gets a copy. */
static int copy_pages(struct space *new, const struct vma *vma) {
  for (u64 at = vma->start, *entry; (entry = next_pte(space->root, &at, vma->end)); at += PAGE) {
    u64 *target = pte_of(new->root, at, 1);
    if (!target) return 0;
    if (!(vma->flags & VMA_SHARED)) *entry = (*entry & ~PTE_WRITE) | PTE_COW;
    frame_share(*entry & PTE_FRAME);
    *target = *entry & ~PTE_DIRTY;
    new->pages++;
  }
  return 1;
}

struct space *space_copy(void) {
  struct space *new = space_new();
  if (!new) return 0;
  new->first = space->first;
  new->low_page = new->high_page = space->first / VMAS_A_PAGE;
  new->search_from = space->search_from;
  new->largest_hole = space->largest_hole;
  int fits = room(new, space->first, space->first + vma_count);
  for (u64 i = 0; fits && i < vma_count; i++) {
    u64 place = space->first + i;
    struct vma *copy = (struct vma *)direct(*pte_of(new->root, VMA_AREA + place * sizeof(struct vma), 0) & PTE_FRAME) + place % VMAS_A_PAGE;
    *copy = vmas[i];
    new->mappings = i + 1;
    if (vmas[i].kind != VMA_ANONYMOUS) object_share(vmas[i].object);
    fits = copy_pages(new, &vmas[i]);
  }
  flush_all();
  new->brk_start = space->brk_start;
  new->brk_end = space->brk_end;
  if (fits) return new;
  space_leave(new);
  return 0;
}

void spaces_cut(u32 object, u64 from) {
  struct space *before = space;
  for (struct space *each = spaces; each < spaces + MAX_PROCESSES + 2; each++) {
    if (!each->root) continue;
    space_use(each);
    for (u64 i = 0; i < vma_count; i++) {
      struct vma *vma = &vmas[i];
      if (vma->kind == VMA_ANONYMOUS || vma->object != object) continue;
      u64 at = from > vma->offset ? vma->start + (from - vma->offset) : vma->start;
      for (u64 *entry; at < vma->end && (entry = next_pte(space->root, &at, vma->end)); at += PAGE) {
        frame_free(*entry & PTE_FRAME);
        *entry = 0;
        space->pages--;
      }
    }
    flush_all();
  }
  space_use(before);
}
