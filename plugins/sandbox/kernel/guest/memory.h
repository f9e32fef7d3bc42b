/* What the files about memory share. */
#pragma once

#define PTE_PRESENT 1ul
#define PTE_WRITE 2ul
#define PTE_USER 4ul
#define PTE_DIRTY 0x40ul
#define PTE_COW 0x200ul /* of a private mapping: others use the frame too, a write needs a copy */
#define PTE_NX (1ul << 63)
#define PTE_FRAME 0x000ffffffffff000ul

extern u64 frames_total;

u64 *pte_of(u64 root, u64 address, int make);
u64 *next_pte(u64 root, u64 *address, u64 end);
/* Gives back what an entry leads to: a frame at level 0, above it a table with all that it leads to. */
void free_tables(u64 entry, int level);
u64 pte_flags(u32 prot);
int vma_room(u64 more); /* whether the table of mappings has room for so many more */

/* What is left without PROT_WRITE: what may only be written can be read all the same, as on Linux for x86. */
static inline u32 without_write(u32 prot) {
  u32 rest = prot & ~(u32)PROT_WRITE;
  return prot && !rest ? PROT_READ : rest;
}

static inline void flush_page(u64 address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }
static inline void flush_all(void) {
  u64 table;
  __asm__ volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "=r"(table) : : "memory");
}
