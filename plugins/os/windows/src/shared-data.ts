/** The page that the kernel shares with every program, KUSER_SHARED_DATA (ntddk.h): version and times. Its first part is the same in all versions. */
import { readText16 } from '@visorkit/vmi';
import type { AddressSpace } from '@visorkit/vmi';
import { unlessRefused } from './find/image.js';

/** Where it is mapped. */
const PLACES = { 4: 0xffdf_0000n, 8: 0xffff_f780_0000_0000n } as const;
const Offset = {
  INTERRUPT_TIME: 0x08n,
  SYSTEM_TIME: 0x14n,
  TIME_ZONE_BIAS: 0x20n,
  SYSTEM_ROOT: 0x30n,
  BUILD: 0x260n,
  PRODUCT_TYPE: 0x264n,
  MAJOR: 0x26cn,
  MINOR: 0x270n,
  DEBUGGED: 0x2d4n,
} as const;
const PRODUCTS: Readonly<Record<number, string>> = { 1: 'workstation', 2: 'domain controller', 3: 'server' };

export class SharedData {
  readonly address: bigint;

  constructor(
    private readonly space: AddressSpace,
    pointerSize: 4 | 8,
  ) {
    this.address = PLACES[pointerSize];
  }

  /** Major and minor version; undefined where the page is not there. */
  get version(): readonly [number, number] | undefined {
    const [major, minor] = [this.#number(Offset.MAJOR), this.#number(Offset.MINOR)];
    return major === undefined || minor === undefined || major < 5 || major > 10 ? undefined : [major, minor];
  }

  /** Build, which only Windows 10 and later keep here. */
  get build(): number | undefined {
    const build = (this.#number(Offset.BUILD) ?? 0) & 0xffff;
    return this.version?.[0] === 10 && build !== 0 ? build : undefined;
  }

  /** As `C:\Windows`. */
  get systemRoot(): string {
    return unlessRefused(() => readText16(this.space, this.address + Offset.SYSTEM_ROOT, 260)) ?? '';
  }

  /** `workstation`, `domain controller` or `server`; empty where it does not say. */
  get product(): string {
    return PRODUCTS[this.#number(Offset.PRODUCT_TYPE) ?? 0] ?? '';
  }

  /** Now, in 100 ns from 1601 on, UTC. */
  get systemTime(): bigint | undefined {
    return this.#time(Offset.SYSTEM_TIME);
  }

  /** How long the system has been running, in 100 ns. */
  get interruptTime(): bigint | undefined {
    return this.#time(Offset.INTERRUPT_TIME);
  }

  /** When the system was booted, in 100 ns from 1601 on, UTC. */
  get bootTime(): bigint | undefined {
    const [now, running] = [this.systemTime, this.interruptTime];
    return now === undefined || running === undefined || running > now ? undefined : now - running;
  }

  /** What has to be added to the local time for UTC, in 100 ns. */
  get timeZoneBias(): bigint | undefined {
    const bias = this.#time(Offset.TIME_ZONE_BIAS);
    return bias === undefined ? undefined : BigInt.asIntN(64, bias);
  }

  get isDebugged(): boolean {
    return ((this.#number(Offset.DEBUGGED) ?? 0) & 0xff) !== 0;
  }

  /** KSYSTEM_TIME: low half, high half, high half again. */
  #time(offset: bigint): bigint | undefined {
    return unlessRefused(
      () => BigInt(this.space.u32(this.address + offset)) | (BigInt(this.space.u32(this.address + offset + 4n)) << 32n),
    );
  }

  #number(offset: bigint): number | undefined {
    return unlessRefused(() => this.space.u32(this.address + offset));
  }
}

/** 100 ns from 1601-01-01 to 1970-01-01. */
const UNIX_EPOCH = 116_444_736_000_000_000n;
/** What a Date can hold, in ms. */
const LATEST = 8_640_000_000_000_000n;

/** A time of Windows in ISO 8601; empty for none, and for one that is out of reach. */
export function timeText(time: bigint | undefined): string {
  if (time === undefined || time === 0n) return '';
  const milliseconds = (time - UNIX_EPOCH) / 10_000n;
  return milliseconds > LATEST || milliseconds < -LATEST ? '' : new Date(Number(milliseconds)).toISOString();
}
