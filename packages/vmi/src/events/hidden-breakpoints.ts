/**
 * Breakpoints that the guest cannot see. The page can only be executed, and shows a copy with INT3 in it; what reads or writes it, reads and writes
 * the machine's own page. Behind a hit the processor executes the instruction of the own page in the place of INT3: nothing changes in the view, so
 * that other vCPUs, which run in it meanwhile, miss nothing.
 */
import { RETRY, fail } from '@visorkit/core';
import type { GuestMemory, Outcome, Undo, Vcpu } from '@visorkit/core';
import type { MemoryView } from '@visorkit/machine';
import { AddressSpace } from '../address-space.js';
import { LiveMemory } from '../live-memory.js';
import { BreakpointEvent } from './event.js';
import type { ExceptionEvents } from './exception-events.js';
import type { MemoryEvents } from './memory-events.js';
import { Answer, RESPONSES } from './responses.js';
import type { BreakpointResponse } from './responses.js';
import { Subscribers, WhileUsed, once, subscription } from './subscribers.js';
import type { SubscribeOptions } from './subscribers.js';
import type { EventSurroundings } from './surroundings.js';

/** Where a breakpoint is: the first byte of an instruction. */
export type BreakpointPlace = {
  /** Of these vCPUs alone; the others go on at once. */
  readonly vcpus?: readonly number[];
  /** In this view; the base view unless given. */
  readonly view?: MemoryView;
} & (
  | { readonly gpa: number; readonly linear?: never }
  | {
      /** Looked up once: the breakpoint stays at the physical address that it has then, for every address space that maps it. */
      readonly linear: bigint;
      /** Page-table root (CR3) to look it up in; that of vCPU 0 unless given. */
      readonly root?: bigint | number;
      /** Told only where CR3 has this root, its low 12 bits aside. */
      readonly onlyRoot?: boolean;
      readonly gpa?: never;
    }
);

const CS = 1;
const INT3 = 0xcc;
const ROOT = ~0xfffn & ((1n << 52n) - 1n);

export class HiddenBreakpoints {
  readonly #around: EventSurroundings;
  readonly #memory: MemoryEvents;
  /** By view, then by guest-physical address. */
  readonly #places = new Map<MemoryView, Map<number, Subscribers<BreakpointEvent>>>();
  readonly #event = new BreakpointEvent();
  readonly #answer = new Answer();
  readonly #used: WhileUsed;
  #followsMemory = false;
  #live: LiveMemory | undefined;

  constructor(around: EventSurroundings, memory: MemoryEvents, exceptions: ExceptionEvents) {
    this.#around = around;
    this.#memory = memory;
    // Without places there need not be views either
    exceptions.hidden = (vcpu) =>
      this.#places.size === 0 ? undefined : this.#hit(vcpu, around.views.current(vcpu), true);
    memory.fetched = (vcpu, view) => this.#hit(vcpu, view, false) !== undefined;
    this.#used = new WhileUsed(() => {
      this.#followMemory(around.memory);
      const release = around.host.controls.hold({ exceptions: [3] });
      const undos = [release, exceptions.use(), memory.use(), around.stepper.use()];
      return () => {
        for (const undo of undos.reverse()) undo();
      };
    });
  }

  subscribe(
    place: BreakpointPlace,
    handler: (event: BreakpointEvent) => BreakpointResponse | undefined | void,
    options: SubscribeOptions,
  ): Undo {
    const around = this.#around;
    around.require('hidden breakpoint', 'ept.views', 'ept.execute-only', 'emulation', 'exit.exception', 'mtf');
    const gpa = place.gpa ?? this.#find(place.linear, place.root),
      { vcpus, view = around.views.base } = place;
    const root = place.gpa === undefined && place.onlyRoot === true ? rootOf(place.root, around) : undefined;
    const one = subscription<BreakpointEvent>(
      around,
      'hidden breakpoint',
      RESPONSES.breakpoint,
      handler,
      options,
      vcpus,
      root === undefined ? undefined : ({ cr3 }) => (cr3 & ROOT) === root,
    );
    const unuse = this.#used.use();
    let remove: Undo;
    try {
      remove = this.#memory.trapped(view).addBreakpoint(gpa);
    } catch (error) {
      unuse();
      throw error;
    }
    let places = this.#places.get(view);
    if (places === undefined) this.#places.set(view, (places = new Map()));
    let here = places.get(gpa);
    if (here === undefined) places.set(gpa, (here = new Subscribers<BreakpointEvent>(around)));
    const forget = here.add(one);
    return once(() => {
      forget();
      if (!here.used && places.get(gpa) === here) places.delete(gpa);
      if (places.size === 0) this.#places.delete(view);
      remove();
      this.#memory.forgetUnused();
      unuse();
    });
  }

  /**
   * A vCPU is at a breakpoint, or not (undefined). `raised`: INT3 has been executed, which may be the guest's own: behind the hit it is told and delivered as
   * any other.
   */
  #hit(vcpu: Vcpu, view: MemoryView, raised: boolean): Outcome | undefined {
    const places = this.#places.get(view);
    if (places === undefined) return undefined;
    const linear = vcpu.codeBits === 64 ? vcpu.rip : (vcpu.getSegment(CS).base + vcpu.rip) & 0xffff_ffffn;
    const gpa = vcpu.translate(linear, 'probe'),
      here = places.get(gpa);
    if (here === undefined) return undefined;
    const { memory } = this.#around,
      own = memory.contains(gpa, 1) && memory.readU8(gpa) === INT3;
    if (own && !raised) return undefined; // it is let through, and then raised
    const event = this.#event,
      answer = this.#answer.clear();
    event.vcpu = vcpu;
    event.gpa = gpa;
    here.tell(event, answer);
    this.#around.carryOut(answer, vcpu);
    if (answer.moved) return RETRY;
    if (answer.instruction !== undefined) vcpu.emulation!.execute(answer.instruction);
    else if (own) return undefined;
    else vcpu.emulation!.executeOwn();
    return RETRY;
  }

  #find(linear: bigint, root: bigint | number | undefined): number {
    const [vcpu] = this.#around.host.vcpus;
    const gpa = root === undefined ? vcpu.translate(linear, 'probe') : this.#lookUp(vcpu, linear, root);
    if (gpa < 0)
      fail(
        'VMI_BREAKPOINT_PLACE',
        `Linear 0x${linear.toString(16)} is not mapped ${root === undefined ? 'where vCPU 0 is now; a root may be given' : `by the tables at 0x${root.toString(16)}`}.`,
      );
    return gpa;
  }

  #lookUp(vcpu: Vcpu, linear: bigint, root: bigint | number): number {
    const live = (this.#live ??= new LiveMemory(this.#around.memory));
    live.advance();
    const { mode } = AddressSpace.of(live, vcpu);
    return new AddressSpace(live, mode, Number(BigInt(root) & ROOT)).translate(linear) ?? -1;
  }

  /** Devices, loaders and handlers write memory past the views. Memory's listeners stay, so there is one for good. */
  #followMemory(memory: GuestMemory): void {
    if (this.#followsMemory) return;
    this.#followsMemory = true;
    memory.onWrite((gpa, length) => {
      if (this.#places.size > 0) this.#memory.written(gpa, length);
    });
  }
}

function rootOf(root: bigint | number | undefined, around: EventSurroundings): bigint {
  return (root === undefined ? around.host.vcpus[0].getControlRegister(3) : BigInt(root)) & ROOT;
}
