/** Places in a kernel's code by name, as Linux prints them in call traces: `do_idle+0x206`, and `vmx_vcpu_run+0x1a [kvm_intel]` for a module. */
import { isVisorkitError } from '@visorkit/core';
import type { GuestKernel } from '../profile.js';
import type { SymbolTable } from './symbol-table.js';

const MOST_NAMES = 1 << 16;

/** What was looked up is kept: a module that is loaded where another one was keeps the names of that. Make it anew for another kernel. */
export class CodeNames {
  readonly #names = new Map<bigint, string>();
  readonly #modules = new Map<string, SymbolTable | undefined>();

  constructor(private readonly kernel: GuestKernel) {}

  /** The symbol at or before a linear address, and how far; the address alone where there is none. */
  nameOf(address: bigint): string {
    let name = this.#names.get(address);
    if (name !== undefined) return name;
    name = this.#inModule(address) ?? placeIn(this.kernel.symbols, address) ?? `0x${address.toString(16)}`;
    if (this.#names.size >= MOST_NAMES) this.#names.clear();
    this.#names.set(address, name);
    return name;
  }

  #inModule(address: bigint): string | undefined {
    try {
      for (const { name, base, size } of this.kernel.modules()) {
        if (address < base || address >= base + BigInt(size)) continue;
        if (!this.#modules.has(name)) this.#modules.set(name, this.kernel.moduleSymbols?.(name));
        const symbols = this.#modules.get(name);
        const place = symbols === undefined ? undefined : placeIn(symbols, address);
        return place === undefined ? `${name}+0x${(address - base).toString(16)}` : `${place} [${name}]`;
      }
    } catch (error) {
      if (!isVisorkitError(error)) throw error; // a kernel that does not say what is loaded into it
    }
    return undefined;
  }
}

function placeIn(symbols: SymbolTable, address: bigint): string | undefined {
  const near = symbols.nearest(address);
  if (near === undefined) return undefined;
  return near.offset === 0n ? near.symbol.name : `${near.symbol.name}+0x${near.offset.toString(16)}`;
}
