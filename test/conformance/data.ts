/** Tables in guest memory. */
import type { GuestMemory } from '@visorkit/core';
import { IDENTITY_MAP_SIZE, writeIdentityMap } from '@visorkit/machine';
import { IDT, TABLES } from './machine.js';

const PRESENT = 1,
  USER = 4,
  DPL3 = 0x60;

export function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}
export function longs(...values: bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer);
}

/** The descriptor of a 64-bit TSS of 104 bytes, available. */
export function tss(base: number): [bigint, bigint] {
  return [0x0000_8900_0000_0067n | (BigInt(base & 0xffff) << 16n) | (BigInt((base >>> 16) & 0xff) << 32n), 0n];
}

export function identityMap(memory: GuestMemory): void {
  writeIdentityMap(memory, TABLES);
}

/** Opens every page of the identity map to ring 3. */
export function userPages(memory: GuestMemory): void {
  for (let at = TABLES; at < TABLES + IDENTITY_MAP_SIZE; at += 8) {
    const low = memory.readU8(at);
    if ((low & PRESENT) !== 0) memory.writeU8(at, low | USER);
  }
}

/** Lets ring 3 use the gate of a 64-bit IDT. */
export function gateForUser(memory: GuestMemory, vector: number): void {
  const at = IDT + vector * 16 + 5;
  memory.writeU8(at, memory.readU8(at) | DPL3);
}
