/** Segment descriptors and access rights (Intel SDM volume 3A 3.4.5, volume 3C 25.4.1). */

/** Bits of access rights in the VMCS format. */
export const AccessRights = {
  TYPE: 15,
  S: 1 << 4,
  DPL: 3 << 5,
  P: 1 << 7,
  AVL: 1 << 12,
  L: 1 << 13,
  DB: 1 << 14,
  G: 1 << 15,
  UNUSABLE: 1 << 16,
} as const;

/** Access rights that boot code needs. */
export const COMMON_ACCESS_RIGHTS = {
  /** 16-bit code and data of real mode, accessed. */
  code16: 0x9b,
  data16: 0x93,
  code32: 0xc09b,
  data32: 0xc093,
  code64: 0xa09b,
  tss32: 0x8b,
  tss64: 0x8b,
  ldt: 0x82,
  unusable: 0x10000,
} as const;

/** A descriptor of 8 bytes, or the first half of a system descriptor in 64-bit mode. */
export interface Descriptor {
  base: number;
  /** In bytes, granularity applied. */
  limit: number;
  /** VMCS format; bits 11:8 and the unusable bit are 0. */
  accessRights: number;
}

/** The descriptor's 8 bytes as a bigint. A limit of 1 MiB or more needs G set in the access rights. */
export function encodeDescriptor({ base, limit, accessRights }: Descriptor): bigint {
  const units = accessRights & AccessRights.G ? Math.floor(limit / 4096) : limit;
  if (units > 0xfffff)
    throw new RangeError(`a limit of 0x${limit.toString(16)} needs granularity 4 KiB (bit 15 of the access rights)`);
  const low = (((base & 0xffff) << 16) | (units & 0xffff)) >>> 0;
  const high =
    ((base & 0xff000000) | (units & 0xf0000) | ((accessRights & 0xf0ff) << 8) | ((base >>> 16) & 0xff)) >>> 0;
  return (BigInt(high) << 32n) | BigInt(low);
}

/** An interrupt or trap gate of a 32-bit IDT. */
export function encodeGate32(selector: number, offset: number, type: number, dpl = 0): bigint {
  const low = ((selector << 16) | (offset & 0xffff)) >>> 0;
  const high = ((offset & 0xffff0000) | 0x8000 | (dpl << 13) | (type << 8)) >>> 0;
  return (BigInt(high) << 32n) | BigInt(low);
}

/** The 16 bytes of an interrupt or trap gate of a 64-bit IDT. */
export function encodeGate64(selector: number, offset: bigint, type: number, dpl = 0, ist = 0): [bigint, bigint] {
  const low = ((selector << 16) | Number(offset & 0xffffn)) >>> 0;
  const high = (Number((offset >> 16n) & 0xffffn) * 0x10000 + (0x8000 | (dpl << 13) | (type << 8) | ist)) >>> 0;
  return [(BigInt(high) << 32n) | BigInt(low), (offset >> 32n) & 0xffffffffn];
}

/** Default size of code in a segment with these rights. */
export function codeBits(rights: number, longMode: boolean): 16 | 32 | 64 {
  return longMode && rights & AccessRights.L ? 64 : rights & AccessRights.DB ? 32 : 16;
}
