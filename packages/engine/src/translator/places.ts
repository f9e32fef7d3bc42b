/** What lay at places of the linear memory, one noted after the other: to be put back, or compared with what is there. */
const FIRST_PLACES = 1024;
const FIRST_BYTES = 16384;
/** Up to so many bytes a loop copies faster than views do. */
const SHORT = 32;

export class Places {
  count = 0;
  private addresses = new Uint32Array(FIRST_PLACES);
  private lengths = new Uint32Array(FIRST_PLACES);
  private bytes = new Uint8Array(FIRST_BYTES);
  private used = 0;

  constructor(private readonly memory: Uint8Array) {}

  clear(): void {
    this.count = this.used = 0;
  }
  /** Notes what is there now. */
  note(address: number, length: number): void {
    const { memory, count } = this;
    if (count === this.addresses.length) this.addPlaces();
    if (this.used + length > this.bytes.length) this.addBytes(length);
    this.addresses[count] = address;
    this.lengths[count] = length;
    this.count = count + 1;
    const { bytes, used } = this;
    if (length > SHORT) bytes.set(memory.subarray(address, address + length), used);
    else for (let n = 0; n < length; n++) bytes[used + n] = memory[address + n]!;
    this.used = used + length;
  }
  /** Puts all of it back, what was noted last first: where places overlap, the oldest stays. */
  putBack(): void {
    let from = this.used;
    for (let n = this.count - 1; n >= 0; n--) {
      from -= this.lengths[n]!;
      this.put(n, from);
    }
  }
  /** Notes what is now at the places of another list. */
  noteAll(places: Places): void {
    for (let n = 0; n < places.count; n++) this.note(places.addresses[n]!, places.lengths[n]!);
  }
  /** Whether the other list has the same places in the same order. */
  sameAs(other: Places): boolean {
    if (this.count !== other.count) return false;
    for (let n = 0; n < this.count; n++)
      if (this.addresses[n] !== other.addresses[n] || this.lengths[n] !== other.lengths[n]) return false;
    return true;
  }
  /** Tells of the bytes that are not what was noted. */
  compare(differs: (address: number, noted: number) => void): void {
    const { memory, bytes, addresses, lengths, count } = this;
    for (let n = 0, from = 0; n < count; from += lengths[n++]!) {
      const address = addresses[n]!;
      for (let at = 0; at < lengths[n]!; at++)
        if (bytes[from + at] !== memory[address + at]) differs(address + at, bytes[from + at]!);
    }
  }

  private put(n: number, from: number): void {
    const { memory, bytes } = this,
      address = this.addresses[n]!,
      length = this.lengths[n]!;
    if (length > SHORT) memory.set(bytes.subarray(from, from + length), address);
    else for (let at = 0; at < length; at++) memory[address + at] = bytes[from + at]!;
  }
  private addPlaces(): void {
    const { addresses, lengths } = this;
    this.addresses = new Uint32Array(addresses.length * 2);
    this.addresses.set(addresses);
    this.lengths = new Uint32Array(lengths.length * 2);
    this.lengths.set(lengths);
  }
  private addBytes(length: number): void {
    const { bytes } = this;
    this.bytes = new Uint8Array(Math.max(bytes.length * 2, this.used + length));
    this.bytes.set(bytes);
  }
}
