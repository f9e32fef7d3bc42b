/** A memory whose pages can be changed, of which the one under it sees nothing. */
import { PhysicalMemory } from '@visorkit/vmi';
import type { MemoryWindow } from '@visorkit/vmi';

export class Changed extends PhysicalMemory {
  readonly ranges;
  readonly #pages = new Map<number, Uint8Array>();
  #epoch = 0;

  constructor(private readonly under: PhysicalMemory) {
    super();
    this.ranges = under.ranges;
  }

  override get epoch(): number {
    return this.#epoch;
  }

  override write(address: number, bytes: Uint8Array): void {
    bytes.forEach((byte, index) => {
      const at = address + index,
        first = at - (at % 4096);
      this.#pages.set(first, this.#pages.get(first) ?? this.#copy(first));
      this.#pages.get(first)![at % 4096] = byte;
    });
    this.forgetWindows();
    this.#epoch++;
  }

  /** As it was at first. */
  undo(): void {
    this.#pages.clear();
    this.forgetWindows();
    this.#epoch++;
  }

  windowAt(address: number): MemoryWindow | undefined {
    const first = address - (address % 4096);
    if (this.under.u8(first) < 0) return undefined;
    return { bytes: this.#pages.get(first) ?? this.#copy(first), offset: 0, first, end: first + 4096 };
  }

  #copy(first: number): Uint8Array {
    const page = new Uint8Array(4096);
    this.under.read(first, page);
    return page;
  }
}

/** Physical addresses of a text. */
export function placesOf(memory: PhysicalMemory, text: string): number[] {
  const places: number[] = [];
  for (const { start, end } of memory.ranges) {
    const bytes = new Uint8Array(end - start);
    memory.read(start, bytes);
    const buffer = Buffer.from(bytes.buffer);
    for (let at = buffer.indexOf(text); at >= 0; at = buffer.indexOf(text, at + 1)) places.push(start + at);
  }
  return places;
}
