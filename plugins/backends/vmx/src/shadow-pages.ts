/** Pages of the hypervisor's memory that views show in the place of the guest's. */
import { fail } from '@visorkit/core';
import type { Engine } from '@visorkit/engine';
import type { ShadowPage } from '@visorkit/machine';

const PAGE = 4096;

export interface ShadowPagesState {
  next: number;
  pages: { id: number; address: number }[];
}

export class VmxShadowPage implements ShadowPage {
  /** How many pages of views show it. */
  uses = 0;
  released = false;

  constructor(
    readonly id: number,
    /** Host-physical. */
    readonly address: number,
    private readonly engine: Engine,
  ) {}

  read(offset = 0, length = PAGE - offset): Uint8Array {
    this.#check(offset, length);
    const bytes = new Uint8Array(length);
    bytes.set(this.engine.bytes.subarray(this.address + offset, this.address + offset + length));
    return bytes;
  }

  write(bytes: Uint8Array, offset = 0): void {
    this.#check(offset, bytes.length);
    this.engine.bytes.set(bytes, this.address + offset);
    this.engine.exports.invalidateCode(this.address + offset, bytes.length);
  }

  #check(offset: number, length: number): void {
    if (this.released) fail('SHADOW_PAGE_RELEASED', `Shadow page ${this.id} was released.`, { id: this.id });
    if (
      !(Number.isInteger(offset) && Number.isInteger(length) && offset >= 0 && length >= 0 && offset + length <= PAGE)
    )
      fail('SHADOW_PAGE_RANGE', `A shadow page has ${PAGE} bytes; ${length} from ${offset} on are not within it.`, {
        offset,
        length,
      });
  }
}

export class ShadowPages {
  readonly #pages = new Map<number, VmxShadowPage>();
  readonly #byAddress = new Map<number, VmxShadowPage>();
  #next = 1;

  constructor(private readonly engine: Engine) {}

  get all(): readonly VmxShadowPage[] {
    return [...this.#pages.values()];
  }

  /** The page at a host-physical address. */
  at(address: number): VmxShadowPage | undefined {
    return this.#byAddress.get(address);
  }

  /** The page that a plugin names; another VM's, or a released one, is refused. */
  own(page: ShadowPage): VmxShadowPage {
    const found = this.#pages.get(page.id);
    if (found !== page)
      return fail('SHADOW_PAGE_RELEASED', `Shadow page ${page.id} was released, or is another VM's.`, { id: page.id });
    return found;
  }

  allocate(): VmxShadowPage {
    return this.#add(this.#next++, this.engine.pages.allocatePage());
  }

  release(page: ShadowPage): void {
    const own = this.own(page);
    if (own.uses !== 0)
      fail(
        'SHADOW_PAGE_IN_USE',
        `Shadow page ${own.id} is still shown in ${own.uses} place${own.uses === 1 ? '' : 's'}: restore or remap these pages first.`,
        { id: own.id, uses: own.uses },
      );
    this.#remove(own);
    this.engine.exports.invalidateCode(own.address, PAGE);
    this.engine.pages.freePage(own.address);
  }

  save(): ShadowPagesState {
    return { next: this.#next, pages: this.all.map(({ id, address }) => ({ id, address })) };
  }

  /** Pages of the same id stay the same objects. */
  restore({ next, pages }: ShadowPagesState): void {
    for (const page of this.all)
      if (!pages.some(({ id, address }) => id === page.id && address === page.address)) this.#remove(page);
    for (const { id, address } of pages) if (!this.#pages.has(id)) this.#add(id, address);
    for (const page of this.all) page.uses = 0;
    this.#next = next;
  }

  #add(id: number, address: number): VmxShadowPage {
    const page = new VmxShadowPage(id, address, this.engine);
    this.#pages.set(id, page);
    this.#byAddress.set(address, page);
    return page;
  }

  #remove(page: VmxShadowPage): void {
    page.released = true;
    this.#pages.delete(page.id);
    this.#byAddress.delete(page.address);
  }
}
