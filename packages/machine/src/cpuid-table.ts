/**
 * What CPUID tells the guest: the processor's own leaves, changed and added to by plugins.
 *
 * Values that depend on the moment (CPUID.1:ECX.OSXSAVE follows CR4) come from functions that run at execution.
 */
import type { CpuidEntry, Vcpu } from '@visorkit/core';

/** EAX, EBX, ECX, EDX in this order, as unsigned 32-bit numbers. */
export type CpuidResult = Uint32Array;
export const EAX = 0;
export const EBX = 1;
export const ECX = 2;
export const EDX = 3;

/** Changes a result in place when the guest executes CPUID. */
export type CpuidFunction = (result: CpuidResult, vcpu: Vcpu, subleaf: number) => void;

/** EBX of leaf 0 for AMD: "Auth". */
const VENDOR_AMD = 0x6874_7541;
const NO_LEAF = -1;

interface Leaf {
  indexed: boolean;
  readonly subleaves: Map<number, CpuidEntry>;
  readonly functions: CpuidFunction[];
}

export class CpuidTable {
  readonly #leaves = new Map<number, Leaf>();
  readonly #result = new Uint32Array(4);
  /** The leaf that is returned in place of one above the highest leaf of its range. */
  #beyond = 0;
  #highestByRange = new Map<number, number>();

  constructor(entries: readonly CpuidEntry[] = []) {
    for (const entry of entries) this.set(entry);
  }

  /**
   * Adds a leaf (or subleaf), or replaces it. This does not change the highest leaf in EAX of leaf 0 and 80000000H;
   * whoever adds a leaf beyond it sets that entry too.
   */
  set(entry: CpuidEntry): void {
    const leaf = this.#leaf(entry.leaf >>> 0);
    leaf.indexed = entry.indexed;
    leaf.subleaves.set(entry.indexed ? entry.subleaf >>> 0 : 0, { ...entry });
    this.#findLimits();
  }

  /** The stored entry, before functions; `undefined` when there is none. */
  get(leaf: number, subleaf = 0): CpuidEntry | undefined {
    const found = this.#leaves.get(leaf >>> 0);
    return found?.subleaves.get(found.indexed ? subleaf >>> 0 : 0);
  }

  /** Changes a stored entry; one that is not there starts from zeros. */
  patch(leaf: number, subleaf: number, change: (entry: CpuidEntry) => Partial<CpuidEntry>): void {
    const old = this.get(leaf, subleaf) ?? { leaf, subleaf, indexed: subleaf !== 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    this.set({ ...old, ...change(old) });
  }

  /**
   * Calls `change` whenever the guest executes CPUID for `leaf`, with any subleaf. Returns a function that removes it
   * again.
   */
  atExecution(leaf: number, change: CpuidFunction): () => void {
    const { functions } = this.#leaf(leaf >>> 0);
    functions.push(change);
    return () => {
      functions.splice(functions.indexOf(change), 1);
    };
  }

  /**
   * What CPUID gives (SDM 2A, CPUID): a leaf above the highest of its range gives the highest basic leaf, or zeros where the vendor is
   * AMD (APM 3, CPUID); a leaf or subleaf that is not there gives zeros. The result is reused.
   */
  execute(leaf: number, subleaf: number, vcpu: Vcpu): CpuidResult {
    const result = this.#result;
    const highest = this.#highestByRange.get(leaf >>> 28);
    const asked = highest === undefined || leaf > highest ? this.#beyond : leaf;
    const found = this.#leaves.get(asked);
    const entry = found?.subleaves.get(found.indexed ? subleaf : 0);
    if (entry === undefined) result.fill(0);
    else {
      result[EAX] = entry.eax;
      result[EBX] = entry.ebx;
      result[ECX] = entry.ecx;
      result[EDX] = entry.edx;
    }
    if (found !== undefined) for (let i = 0; i < found.functions.length; i++) found.functions[i](result, vcpu, subleaf);
    return result;
  }

  /** Every stored entry, by leaf and subleaf. */
  entries(): CpuidEntry[] {
    return [...this.#leaves.values()]
      .flatMap((leaf) => [...leaf.subleaves.values()])
      .sort((a, b) => (a.leaf >>> 0) - (b.leaf >>> 0) || a.subleaf - b.subleaf);
  }

  #leaf(number: number): Leaf {
    let leaf = this.#leaves.get(number);
    if (leaf === undefined) {
      leaf = { indexed: false, subleaves: new Map(), functions: [] };
      this.#leaves.set(number, leaf);
    }
    return leaf;
  }

  /** EAX of leaf 0 limits the basic range, EAX of 80000000H the extended one, EAX of 40000000H the hypervisor's. */
  #findLimits(): void {
    this.#highestByRange = new Map();
    for (const [number, leaf] of this.#leaves) {
      const entry = leaf.subleaves.get(0);
      if ((number & 0x0fff_ffff) === 0 && entry !== undefined) this.#highestByRange.set(number >>> 28, entry.eax >>> 0);
    }
    const vendor = this.#leaves.get(0)?.subleaves.get(0)?.ebx ?? 0;
    this.#beyond = vendor >>> 0 === VENDOR_AMD ? NO_LEAF : (this.#highestByRange.get(0) ?? 0);
  }
}
