/* Physical frames and page tables. */
#include "kernel.h"
#include "memory.h"

/* ---- frames: those never used are zero already; freed ones wait in a list */

static u64 next_frame, fresh_end;
static u64 *free_list;
static u32 *users; /* of each frame, in the order of boot->frames */
u64 frames_total;

void memory_init(void) {
  u64 first = (boot->frames[1] - boot->frames[0]) / PAGE, second = (boot->frames[3] - boot->frames[2]) / PAGE;
  users = direct(boot->frames[0]);
  next_frame = boot->frames[0] + page_up((first + second) * sizeof *users);
  fresh_end = boot->frames[1];
  frames_total = first + second - (next_frame - boot->frames[0]) / PAGE;
  /* The bootstrap ran in low memory; from here on there is nothing below the kernel but programs. */
  ((u64 *)direct(boot->page_table))[0] = 0;
  flush_all();
}

/* Where a frame's users are counted; 0: it is none of ours. */
static u32 *counter(u64 gpa) {
  if (gpa >= boot->frames[0] && gpa < boot->frames[1]) return users + (gpa - boot->frames[0]) / PAGE;
  if (gpa >= boot->frames[2] && gpa < boot->frames[3]) return users + (boot->frames[1] - boot->frames[0] + gpa - boot->frames[2]) / PAGE;
  return 0;
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
  *counter((u64)frame - DIRECT_MAP) = 1;
  return frame;
}

void frame_share(u64 gpa) {
  u32 *count = counter(gpa);
  if (count) ++*count;
}

void frame_free(u64 gpa) {
  u32 *count = counter(gpa);
  if (!count || --*count) return;
  u64 *frame = direct(gpa);
  *frame = (u64)free_list;
  free_list = frame;
}

int frame_shared(u64 gpa) {
  u32 *count = counter(gpa);
  return !count || *count > 1;
}

/* ---- page tables: four levels, 4 KiB pages */

u64 *pte_of(u64 root, u64 address, int make) {
  u64 *table = direct(root);
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

/* The next page at or above `address` that is there, below `end`; 0: none. Skips what has no table in large steps. */
u64 *next_pte(u64 root, u64 *address, u64 end) {
  while (*address < end) {
    u64 *table = direct(root);
    int shift = 39;
    for (; shift > 12; shift -= 9) {
      u64 entry = table[*address >> shift & 511];
      if (!(entry & PTE_PRESENT)) break;
      table = direct(entry & PTE_FRAME);
    }
    if (shift > 12) {
      *address = ((*address >> shift) + 1) << shift;
      continue;
    }
    do {
      u64 *entry = &table[*address >> 12 & 511];
      if (*entry) return entry;
      *address += PAGE;
    } while (*address < end && *address >> 12 & 511);
  }
  return 0;
}

void free_tables(u64 entry, int level) {
  if (!(entry & PTE_PRESENT)) return;
  if (level > 0) {
    u64 *table = direct(entry & PTE_FRAME);
    for (int i = 0; i < 512; i++) if (table[i]) free_tables(table[i], level - 1);
  }
  frame_free(entry & PTE_FRAME);
}

u64 pte_flags(u32 prot) {
  return PTE_PRESENT | (prot ? PTE_USER : 0) | (prot & PROT_WRITE ? PTE_WRITE : 0) | (prot & PROT_EXEC ? 0 : PTE_NX);
}
