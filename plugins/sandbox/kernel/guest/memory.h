/* What memory.c and mappings.c share. */
#pragma once

#define PTE_PRESENT 1ul
#define PTE_WRITE 2ul
#define PTE_USER 4ul
#define PTE_DIRTY 0x40ul
#define PTE_BORROWED 0x200ul /* the frame is the program file's, not ours to free or to write */
#define PTE_NX (1ul << 63)
#define PTE_FRAME 0x000ffffffffff000ul

extern u64 frames_total, frames_used;

u64 *pte_of(u64 address, int make);
u64 *next_pte(u64 *address, u64 end);
u64 pte_flags(u32 prot);

static inline void flush_page(u64 address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }
static inline void flush_all(void) {
  u64 table;
  __asm__ volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "=r"(table) : : "memory");
}
