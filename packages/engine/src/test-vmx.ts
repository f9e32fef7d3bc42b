/** For the tests of VMX: a guest in 64-bit mode under a VMCS, anew for each test. */
import { VmcsField as F, controlBits } from '@visorkit/x86';
import type { EptBuilder } from '@visorkit/x86';
import { Engine } from './engine.js';
import { writeHaltingHandlers, writeIdentityTables, writeValidVmcs } from './testing.js';

export const CODE = 0x10000;
export const HANDLER = 0x18000;
export const IDT = 0x20000;
export const GDT = 0x21000;
export const STACK = 0x30000;
export const NOP = 0x90,
  HLT = 0xf4;

export let engine: Engine;
export let ept: EptBuilder;
export const add = (field: number, bits: number): void =>
  engine.vmcs.write32(field, (engine.vmcs.read32(field) | bits) >>> 0);
export const primary = (...names: string[]): void => add(F.PRIMARY_CONTROLS, controlBits('primary', names));
export const secondary = (...names: string[]): void => add(F.SECONDARY_CONTROLS, controlBits('secondary', names));
export const read = (field: number): number => engine.vmcs.read32(field);
export const code = (...bytes: number[]): void => {
  engine.memory.write(CODE, Uint8Array.from(bytes));
  engine.rip = BigInt(CODE);
};

/** A 64-bit guest with an IDT whose gates all lead to a HLT at HANDLER + vector. */
export async function makeGuest(): Promise<void> {
  engine = await Engine.create({ memoryBytes: 4 << 20 });
  writeIdentityTables(engine);
  ept = writeValidVmcs(engine);
  writeHaltingHandlers(engine, { gdt: GDT, idt: IDT, handler: HANDLER });
  engine.setRegister(4, BigInt(STACK));
}
