/** Calls and returns of functions of the guest, by breakpoints that it cannot see. */
import { Gpr, fail } from '@visorkit/core';
import type { Undo, Vcpu } from '@visorkit/core';
import { AddressSpace } from '../address-space.js';
import type { PhysicalMemory } from '../physical-memory.js';
import type { BreakpointEvent } from './event.js';
import type { BreakpointPlace } from './hidden-breakpoints.js';
import type { BreakpointResponse } from './responses.js';
import type { SubscribeOptions } from './subscribers.js';

/** How arguments are passed. 32-bit code takes them from the stack, whatever is said here. */
export type CallingConvention = 'system-v' | 'microsoft';

/** A call. The object is the caller's to keep. */
export interface FunctionCall {
  /** The function's first instruction. */
  readonly address: bigint;
  /** The name that was given, or the address in hexadecimal. */
  readonly name: string;
  /** As many as were asked for; an argument whose place in the stack is not mapped is 0. */
  readonly arguments: readonly bigint[];
  readonly returnAddress: bigint;
  readonly vcpu: Vcpu;
  /** CR3 when it was called. */
  readonly cr3: bigint;
}

export interface TraceOptions extends SubscribeOptions {
  /** How many arguments to read: 0 to 16; none unless given. */
  readonly arguments?: number;
  /** `system-v` (Linux, FreeBSD) unless given. */
  readonly convention?: CallingConvention;
  /** Called when the call returns, with RAX (EAX in 32-bit code). A call that never does, such as one that ends its thread, is forgotten in time. */
  readonly onReturn?: (value: bigint, call: FunctionCall) => void;
  /** Where the address is looked up; see {@link BreakpointPlace}. */
  readonly root?: bigint | number;
  readonly onlyRoot?: boolean;
  readonly vcpus?: readonly number[];
}

/** Gives the address of a symbol; undefined where there is none of that name. */
export type SymbolResolver = (name: string) => bigint | undefined;

const REGISTERS = {
  'system-v': [Gpr.RDI, Gpr.RSI, Gpr.RDX, Gpr.RCX, Gpr.R8, Gpr.R9],
  microsoft: [Gpr.RCX, Gpr.RDX, Gpr.R8, Gpr.R9],
} as const;
/** Bytes between the return address and the first argument on the stack: Microsoft's callers leave room for four registers. */
const HOME = { 'system-v': 0, microsoft: 32 } as const;
const MOST_ARGUMENTS = 16;
/** Calls that have not returned, of one function. */
const MOST_CALLS = 4096;

/** What tracing needs of the events. */
export interface Breakpoints {
  breakpointAt(
    place: BreakpointPlace,
    handler: (event: BreakpointEvent) => BreakpointResponse | undefined | void,
    options?: SubscribeOptions,
  ): Undo;
}

/** Calls `onCall` at each call of the function, before its first instruction. */
export function traceFunction(
  events: Breakpoints,
  memory: PhysicalMemory,
  address: bigint,
  name: string,
  onCall: (call: FunctionCall) => void,
  options: TraceOptions,
): Undo {
  const { arguments: count = 0, convention = 'system-v', onReturn, root, onlyRoot, vcpus, ...subscribe } = options;
  if (!Number.isInteger(count) || count < 0 || count > MOST_ARGUMENTS)
    fail('VMI_EVENT_FILTER', `The number of arguments is 0 to ${MOST_ARGUMENTS}; it is ${String(count)}.`);
  if (!Object.hasOwn(REGISTERS, convention))
    fail(
      'VMI_EVENT_FILTER',
      `The calling convention is "system-v" or "microsoft"; it is ${JSON.stringify(convention)}.`,
    );
  const returns = onReturn === undefined ? undefined : new Returns(events, onReturn, subscribe);
  const undo = events.breakpointAt(
    {
      linear: address,
      ...(root === undefined ? {} : { root }),
      ...(onlyRoot === undefined ? {} : { onlyRoot }),
      ...(vcpus === undefined ? {} : { vcpus }),
    },
    ({ vcpu, cr3 }) => {
      const { codeBits } = vcpu,
        stack = new Stack(memory, vcpu, codeBits === 64 ? 8 : 4);
      const call: FunctionCall = {
        address,
        name,
        arguments: argumentsOf(vcpu, stack, count, codeBits === 64 ? convention : undefined),
        returnAddress: stack.word(0),
        vcpu,
        cr3,
      };
      onCall(call);
      const back = stack.physical(call.returnAddress);
      if (back !== undefined) returns?.await(call, vcpu.rsp, back);
    },
    { name: `calls of ${name}`, ...subscribe },
  );
  return () => {
    undo();
    returns?.end();
  };
}

/** Words of a stack, from the return address on. Its address space is looked at anew for each call. */
class Stack {
  readonly #space: AddressSpace;
  readonly #top: bigint;

  constructor(
    private readonly memory: PhysicalMemory,
    vcpu: Vcpu,
    private readonly size: 4 | 8,
  ) {
    this.#space = AddressSpace.of(memory, vcpu);
    this.#top = size === 8 ? vcpu.rsp : vcpu.rsp & 0xffff_ffffn;
  }

  /** Where a linear address lies in memory; undefined where it does not. */
  physical(linear: bigint): number | undefined {
    const at = this.#space.translate(linear);
    return at === undefined || this.memory.u8(at) < 0 ? undefined : at;
  }

  /** 0 where nothing is mapped. */
  word(index: number, skip = 0): bigint {
    const at = this.#space.translate(this.#top + BigInt(index * this.size + skip));
    if (at === undefined) return 0n;
    const low = this.memory.u32(at),
      high = this.size === 8 ? this.memory.u32(at + 4) : 0;
    return low < 0 || high < 0 ? 0n : (BigInt(high) << 32n) | BigInt(low);
  }
}

function argumentsOf(vcpu: Vcpu, stack: Stack, count: number, convention: CallingConvention | undefined): bigint[] {
  const registers = convention === undefined ? [] : REGISTERS[convention];
  return Array.from({ length: count }, (_unused, n) =>
    n < registers.length
      ? vcpu.getRegister(registers[n])
      : stack.word(1 + n - registers.length, convention === undefined ? 0 : HOME[convention]),
  );
}

/** Calls that have not returned yet, and the breakpoints where they will. */
class Returns {
  /** By the stack pointer that a call returns with and its CR3, the oldest first. */
  readonly #calls = new Map<string, { readonly call: FunctionCall; readonly back: number }>();
  /** By guest-physical address. */
  readonly #places = new Map<number, { calls: number; readonly undo: Undo }>();

  constructor(
    private readonly events: Breakpoints,
    private readonly onReturn: NonNullable<TraceOptions['onReturn']>,
    private readonly options: SubscribeOptions,
  ) {}

  /** `back`: the guest-physical return address. */
  await(call: FunctionCall, rsp: bigint, back: number): void {
    const key = keyOf(call.cr3, rsp + (call.vcpu.codeBits === 64 ? 8n : 4n));
    const before = this.#calls.get(key);
    if (before !== undefined) this.#forget(key, before.back); // its frame is gone
    let place = this.#places.get(back);
    if (place === undefined) {
      const name = `returns of ${call.name}`;
      const undo = this.events.breakpointAt({ gpa: back }, (event) => this.#back(event), { name, ...this.options });
      this.#places.set(back, (place = { calls: 0, undo }));
    }
    place.calls++;
    this.#calls.set(key, { call, back });
    if (this.#calls.size > MOST_CALLS) {
      const [[oldest, { back: place }]] = this.#calls;
      this.#forget(oldest, place);
    }
  }

  end(): void {
    for (const { undo } of this.#places.values()) undo();
    this.#places.clear();
    this.#calls.clear();
  }

  #back({ vcpu, cr3 }: BreakpointEvent): void {
    const key = keyOf(cr3, vcpu.rsp),
      awaited = this.#calls.get(key);
    // Others come by here too: what has the same return address, but another stack
    if (awaited === undefined || awaited.call.returnAddress !== vcpu.rip) return;
    this.#forget(key, awaited.back);
    this.onReturn(vcpu.codeBits === 64 ? vcpu.rax : vcpu.rax & 0xffff_ffffn, awaited.call);
  }

  #forget(key: string, back: number): void {
    this.#calls.delete(key);
    const place = this.#places.get(back);
    if (place === undefined || --place.calls > 0) return;
    this.#places.delete(back);
    place.undo();
  }
}

/** A stack pointer alone is not enough: programs have the same addresses. The kernel's half is the same in all of them, and CR3 may change there. */
function keyOf(cr3: bigint, rsp: bigint): string {
  return rsp >> 63n === 1n ? String(rsp) : `${cr3 & ~0xfffn} ${rsp}`;
}
