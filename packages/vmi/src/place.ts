/** Where something is to be read or written: an address in one of the guest's address spaces, or a symbol. */

export type Place =
  /** Physical. */
  | { readonly physical: number }
  /** In the kernel's address space. */
  | { readonly linear: bigint }
  | { readonly linear: bigint; readonly pid: number }
  /** Through the page tables at a physical address: a value of CR3. */
  | { readonly linear: bigint; readonly root: bigint | number }
  /** At a symbol of the kernel's, `offset` bytes behind it. */
  | { readonly symbol: string; readonly offset?: number };
