/** What the verifier says when translated code is wrong: the sentence, both states, the guest code and the region's text. */
import { fail } from '@visorkit/core';
import type { GuestCode } from '@visorkit/core';
import { GUEST_RAM } from '../layout.js';
import { COMPARED_FROM, comparedWords, partAt } from './compared-state.js';
import { textOf } from './wasm-text.js';

/** Memory is told of in groups of so many bytes. */
export const GROUP = 8;
const MOST_TOLD = 64;

/** One thing in which the two are different. Values are hexadecimal numbers. */
export interface Difference {
  /** A register or field of the state, `memory at 0x…` (guest-physical), `instructions retired`. */
  what: string;
  /** When the region was entered. */
  before: string;
  interpreted: string;
  translated: string;
}

/** Details of the error VERIFY_DIFFERENCE. */
export interface VerifyDetails extends Record<string, unknown> {
  /** Where the region begins. */
  rip: string;
  /** That the region ran. */
  instructions: number;
  /** At most 64; none when the region has ended by an error of WebAssembly. */
  differences: Difference[];
  /** The region's guest code by blocks, the one that it is entered at first. */
  guestCode: GuestCode[];
  /** The region in WebAssembly's text format, by lines. */
  wasm: string[];
}

/** What is kept of a region for the case that it does something wrong. */
export interface Subject {
  readonly body: Uint8Array;
  readonly blocks: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
}

/** Where a region ran. */
export interface Occasion {
  readonly subject: Subject;
  /** CODE_BASE. */
  readonly base: bigint;
  readonly bits: 16 | 32 | 64;
  readonly instructions: number;
}

const ASK = "Please report it with the run's report (--report); --translate off does without translated code.";

/** Ends the run: in these things the two were different. */
export function failByDifference(occasion: Occasion, differences: readonly Difference[]): never {
  const details = detailsOf(occasion, differences),
    [first] = differences,
    others = differences.length - 1;
  const more = others === 0 ? '' : `, and ${others} more ${others === 1 ? 'thing is' : 'things are'} different`;
  return fail(
    'VERIFY_DIFFERENCE',
    `Translated code is not what the interpreter does: after ${details.instructions} instructions of the region at RIP ${details.rip} ${first!.what} is ${first!.translated} and should be ${first!.interpreted}${more}. ${ASK}`,
    details,
  );
}

/** Ends the run: the region has ended by an error of WebAssembly. */
export function failByTrap(occasion: Occasion, cause: unknown): never {
  const details = detailsOf(occasion, []);
  return fail(
    'VERIFY_DIFFERENCE',
    `Translated code is not what the interpreter does: the region at RIP ${details.rip} ended by the error "${(cause as Error).message}". ${ASK}`,
    details,
    cause,
  );
}

/** Ends the run: the host does not take a module of regions. */
export function failByModule(subjects: readonly Subject[], cause: unknown): never {
  return fail(
    'VERIFY_DIFFERENCE',
    `A module of translated code is not one: "${(cause as Error).message}". ${ASK}`,
    { wasm: subjects.flatMap(({ body }) => textOf(body)), differences: [] },
    cause,
  );
}

function detailsOf({ subject, base, bits, instructions }: Occasion, differences: readonly Difference[]): VerifyDetails {
  const rip = (offset: number): string => hex(BigInt.asUintN(bits === 64 ? 64 : 32, base + BigInt(offset)));
  return {
    rip: rip(subject.blocks[0]!.offset),
    instructions,
    differences: differences.slice(0, MOST_TOLD),
    guestCode: subject.blocks.map(({ offset, bytes }) => ({
      rip: rip(offset),
      bits,
      bytes: Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(''),
    })),
    wasm: textOf(subject.body),
  };
}

// ------------------------------------------------------------------------------------------------ values
/** Of a number of 32 bits; none if the two are the same. */
export function difference(what: string, before: number, interpreted: number, translated: number): Difference[] {
  const text = (value: number): string => hex(BigInt(value >>> 0));
  return interpreted === translated
    ? []
    : [{ what, before: text(before), interpreted: text(interpreted), translated: text(translated) }];
}

/** Of the state, given as words from COMPARED_FROM on. */
export function stateDifferences(before: Uint32Array, interpreted: Uint32Array, translated: Uint32Array): Difference[] {
  const found = new Map<string, Difference>();
  for (const n of comparedWords()) {
    if (interpreted[n] === translated[n]) continue;
    const { name, at, bytes } = partAt(COMPARED_FROM + n * 4),
      index = (at - COMPARED_FROM) / 4;
    const value = (of: Uint32Array): string => hex(number(of.subarray(index, index + bytes / 4), 32));
    found.set(name, {
      what: name,
      before: value(before),
      interpreted: value(interpreted),
      translated: value(translated),
    });
  }
  return [...found.values()];
}

/** What the group of bytes at an address of the linear memory is to those who read of it. */
export function placeName(address: number): string {
  return address < GUEST_RAM
    ? `the VMM's memory at ${hex(BigInt(address))}`
    : `memory at ${hex(BigInt(address - GUEST_RAM))}`;
}
/** The group of bytes there now, as a number. */
export function groupAt(memory: Uint8Array, address: number): string {
  return hex(number(memory.subarray(address, address + GROUP), 8));
}

export function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
/** Of parts of so many bits, the lowest first. */
function number(parts: ArrayLike<number>, bits: number): bigint {
  let value = 0n;
  for (let n = parts.length - 1; n >= 0; n--) value = (value << BigInt(bits)) | BigInt(parts[n]!);
  return value;
}
