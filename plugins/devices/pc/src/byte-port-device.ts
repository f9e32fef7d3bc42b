/** Most ISA devices decode one byte a port; the bus of a PC turns a wider access into one access for each byte. */
import type { PortDevice } from '@visorkit/machine';

/** A port device whose registers are bytes: wider accesses are taken apart, lowest port first, as the ISA bus does. */
export abstract class BytePortDevice implements PortDevice {
  protected abstract readByte(port: number): number;
  protected abstract writeByte(port: number, value: number): void;

  readPort(port: number, size: 1 | 2 | 4): number {
    if (size === 1) return this.readByte(port) & 0xff;
    let value = 0;
    for (let index = 0; index < size; index++) value |= (this.readByte(port + index) & 0xff) << (8 * index);
    return value >>> 0;
  }

  writePort(port: number, size: 1 | 2 | 4, value: number): void {
    if (size === 1) return this.writeByte(port, value & 0xff);
    for (let index = 0; index < size; index++) this.writeByte(port + index, (value >>> (8 * index)) & 0xff);
  }
}
