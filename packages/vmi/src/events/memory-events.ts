/** Accesses to memory: pages lose the rights that somebody watches, and each violation is told, and then let through. */
import { RETRY, fail } from '@visorkit/core';
import type { Outcome, Undo, Vcpu, VmExit } from '@visorkit/core';
import { PageRights } from '@visorkit/machine';
import type { MemoryView } from '@visorkit/machine';
import { FailedEmulationEvent, MemoryEvent } from './event.js';
import { Answer, RESPONSES, memoryResponses } from './responses.js';
import type { MemoryAccess, MemoryResponse } from './responses.js';
import { Subscribers, WhileUsed, ask, once, subscription } from './subscribers.js';
import type { SubscribeOptions, Subscription } from './subscribers.js';
import type { EventSurroundings } from './surroundings.js';
import { PAGE, TrappedView } from './trapped-pages.js';
import type { Trap, TrappedPage } from './trapped-pages.js';

/** Which accesses are told; exactly one of `gpa`, `range` and `everywhere`. */
export interface MemoryFilter<A extends MemoryAccess = MemoryAccess> {
  /** Any address of a page: accesses to that page. */
  readonly gpa?: number;
  /** First and last byte: accesses to bytes between them, both included. The pages around them are trapped, but the rest of them is not told. */
  readonly range?: readonly [first: number, last: number];
  /** All of RAM. */
  readonly everywhere?: true;
  readonly access: A;
  /** Of these vCPUs alone. */
  readonly vcpus?: readonly number[];
  /** In this view; the base view unless given, which all vCPUs are in as long as nobody puts them into another one. */
  readonly view?: MemoryView;
}

const { READ, WRITE, EXECUTE, RWX } = PageRights;
const MASKS: Readonly<Record<string, number>> = {
  r: READ,
  w: WRITE,
  x: EXECUTE,
  rw: READ | WRITE,
  rx: READ | EXECUTE,
  wx: WRITE | EXECUTE,
  rwx: RWX,
};
const NAMES = ['', 'r', 'w', 'rw', 'x'] as const;
/** Exit qualification (SDM 3C, table 28-7). */
const TRIED = 7;

/** One subscription to accesses. */
class Watch implements Trap {
  /** Pages on which `w2x` and `rwx2n` are in their second state. */
  readonly turned = new Set<number>();
  readonly order: number;

  constructor(
    readonly subscriber: Subscription<MemoryEvent>,
    readonly access: MemoryAccess,
    readonly first: number,
    readonly last: number,
  ) {
    this.order = subscriber.order;
  }

  taken(page: number): number {
    if (this.access === 'w2x') return this.turned.has(page) ? EXECUTE : WRITE;
    if (this.access === 'rwx2n') return this.turned.has(page) ? 0 : RWX;
    return MASKS[this.access];
  }
}

export class MemoryEvents {
  readonly #around: EventSurroundings;
  readonly #views = new Map<MemoryView, TrappedView<Watch>>();
  readonly #event = new MemoryEvent();
  readonly #answer = new Answer();
  readonly #failures: Subscribers<FailedEmulationEvent>;
  readonly #failure = new FailedEmulationEvent();
  readonly #tapped: WhileUsed;
  /** What is done about a fetch from a page with breakpoints, after those who watch it. Set by the breakpoints. */
  fetched: (vcpu: Vcpu, view: MemoryView) => boolean = () => false;

  constructor(around: EventSurroundings) {
    this.#around = around;
    this.#failures = new Subscribers(around);
    this.#tapped = new WhileUsed(() =>
      around.host.hooks.exit.for('ept-violation').tap((exit, vcpu) => this.#violated(exit, vcpu)),
    );
  }

  subscribe<A extends MemoryAccess>(
    filter: MemoryFilter<A>,
    handler: (event: MemoryEvent) => MemoryResponse<A> | undefined | void,
    options: SubscribeOptions,
  ): Undo {
    const around = this.#around;
    around.require('memory', 'ept.views', 'emulation', 'exit.ept-violation');
    const { access, vcpus, view = around.views.base } = filter;
    if (!(access in MASKS) && access !== 'w2x' && access !== 'rwx2n')
      fail(
        'VMI_EVENT_FILTER',
        `An access is r, w, x or several of them in this order, w2x or rwx2n; it is ${JSON.stringify(access)}.`,
      );
    if (access.includes('x') || access.includes('r')) around.require('memory', 'ept.execute-only');
    const [first, last] = this.#bytes(filter);
    const subscriber = subscription<MemoryEvent>(around, 'memory', memoryResponses(access), handler, options, vcpus);
    const watch = new Watch(subscriber, access, first, last);
    const pages =
      filter.everywhere === true ? this.#allPages() : numbers(Math.floor(first / PAGE), Math.floor(last / PAGE));
    const unuse = this.use();
    let remove: Undo;
    try {
      remove = this.trapped(view).add(watch, pages);
    } catch (error) {
      unuse();
      throw error;
    }
    return once(() => {
      subscriber.gone = true;
      remove();
      this.forgetUnused();
      unuse();
    });
  }

  subscribeFailures(handler: Subscription<FailedEmulationEvent>['handler'], options: SubscribeOptions): Undo {
    this.#around.require('failed emulation', 'emulation');
    return this.#failures.add(subscription(this.#around, 'failed emulation', RESPONSES.common, handler, options));
  }

  /** Takes violations as long as it is used. */
  use(): Undo {
    return this.#tapped.use();
  }

  /** The traps of a view. */
  trapped(view: MemoryView): TrappedView<Watch> {
    let trapped = this.#views.get(view);
    if (trapped === undefined)
      this.#views.set(view, (trapped = new TrappedView<Watch>(view, this.#around.views, this.#around.memory)));
    return trapped;
  }

  forgetUnused(): void {
    for (const [view, { pages }] of this.#views) if (pages.size === 0) this.#views.delete(view);
  }

  /** Memory was written from outside the guest. */
  written(gpa: number, length: number): void {
    for (let page = Math.floor(gpa / PAGE); page * PAGE < gpa + length; page++)
      for (const trapped of this.#views.values()) trapped.refresh(page);
  }

  suspend(): void {
    for (const trapped of this.#views.values()) trapped.suspend();
  }
  resume(): void {
    for (const trapped of this.#views.values()) trapped.resume();
    this.forgetUnused();
  }

  #bytes({ gpa, range, everywhere }: MemoryFilter): readonly [number, number] {
    const given = Number(gpa !== undefined) + Number(range !== undefined) + Number(everywhere === true);
    if (given !== 1)
      fail(
        'VMI_EVENT_FILTER',
        `Memory events are of one of gpa, range: [first, last] and everywhere: true; ${given} of them were given.`,
      );
    if (everywhere === true) return [0, Infinity];
    const [first, last] = range ?? [gpa! - (gpa! % PAGE), gpa! - (gpa! % PAGE) + PAGE - 1];
    if (!Number.isSafeInteger(first) || !Number.isSafeInteger(last) || first < 0 || last < first)
      fail(
        'VMI_EVENT_FILTER',
        `A range is [first, last], guest-physical addresses from 0 on; it is [${first}, ${last}].`,
      );
    return [first, last];
  }

  *#allPages(): Generator<number> {
    for (const { gpa, size } of this.#around.memory.regions) yield* numbers(gpa / PAGE, (gpa + size) / PAGE - 1);
  }

  #violated(exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    if (exit.mmio.valid) return undefined;
    const around = this.#around,
      view = around.views.current(vcpu),
      trapped = this.#views.get(view),
      page = Math.floor(exit.gpa / PAGE),
      state = trapped?.pages.get(page);
    const tried = exit.qualification & TRIED;
    if (trapped === undefined || state === undefined || (state.before & tried) !== tried) return undefined;
    const answer = this.#answer.clear();
    this.#tell(vcpu, view, trapped, page, state, tried, answer);
    around.carryOut(answer, vcpu);
    if (answer.moved) return RETRY;
    const fetch = (tried & EXECUTE) !== 0;
    if (fetch && answer.instruction === undefined && state.breakpoints.size > 0 && this.fetched(vcpu, view))
      return RETRY;
    if (!answer.given || !this.#instead(answer, vcpu)) this.#letThrough(vcpu, trapped, page, state, tried);
    return RETRY;
  }

  /** Tells those who watch the access. */
  #tell(
    vcpu: Vcpu,
    view: MemoryView,
    trapped: TrappedView<Watch>,
    page: number,
    state: TrappedPage<Watch>,
    tried: number,
    answer: Answer,
  ): void {
    const event = this.#event,
      emulation = vcpu.emulation!,
      { traps } = state;
    let filled = false,
      turned = false;
    for (let i = 0; i < traps.length; i++) {
      const watch = traps[i];
      if ((watch.taken(page) & tried) === 0) continue;
      if (watch.access === 'w2x' && (tried & WRITE) !== 0) {
        watch.turned.add(page);
        turned = true;
        continue;
      }
      if (!filled) {
        filled = true;
        event.vcpu = vcpu;
        event.view = view;
        event.access = NAMES[tried] as MemoryEvent['access'];
        event.accessBits = tried;
        event.size = emulation.size;
        event.walk = emulation.kind === 'walk';
      }
      const { gpa } = event;
      if (gpa > watch.last || gpa + Math.max(event.size, 1) <= watch.first) continue;
      ask(this.#around, watch.subscriber, event, answer);
      if (watch.access === 'w2x') watch.turned.delete(page);
      else if (watch.access === 'rwx2n') watch.turned.add(page);
      else continue;
      turned = true;
    }
    if (turned && trapped.pages.has(page)) trapped.update(page, state);
  }

  /** What was answered instead of the access. False: nothing of that kind, or it is not possible. */
  #instead({ instruction, readData, withoutWrite }: Answer, vcpu: Vcpu): boolean {
    const emulation = vcpu.emulation!,
      { kind } = emulation,
      write = (vcpu.exit.qualification & WRITE) !== 0;
    if (instruction !== undefined && kind === 'fetch') {
      emulation.execute(instruction);
      return true;
    }
    if (readData !== undefined && !write && kind !== 'fetch') {
      if (kind === 'data' && readData.length >= emulation.size) {
        this.#keepTrapped(vcpu, READ);
        emulation.supply(readData);
        return true;
      }
      this.#failed(
        vcpu,
        kind === 'walk'
          ? 'a walk of page tables cannot be given data'
          : `the read is of ${emulation.size} bytes, and ${readData.length} were given`,
      );
    }
    if (withoutWrite === true && write) {
      if (kind === 'data') {
        this.#keepTrapped(vcpu, WRITE);
        emulation.discard();
        return true;
      }
      this.#failed(vcpu, 'a walk of page tables cannot go without its flags');
    }
    return false;
  }

  /**
   * The processor takes what it is given in the place of an access only where the access is not allowed. A handler may have ended its subscription, or changed
   * the view: then the page stays trapped for this one instruction.
   */
  #keepTrapped(vcpu: Vcpu, tried: number): void {
    const { gpa } = vcpu.exit,
      { views, stepper } = this.#around,
      view = views.current(vcpu);
    if ((view.rights(gpa) & tried) === 0) return;
    const nobody = subscription<MemoryEvent>(this.#around, 'memory', RESPONSES.common, () => {}, {});
    nobody.gone = true;
    const watch = new Watch(nobody, tried === READ ? 'r' : 'w', 0, Infinity);
    const unuse = this.use(),
      release = this.trapped(view).add(watch, [Math.floor(gpa / PAGE)]);
    stepper.behindNext(vcpu, () => {
      release();
      this.forgetUnused();
      unuse();
    });
  }

  #failed(vcpu: Vcpu, why: string): void {
    const event = this.#failure;
    event.vcpu = vcpu;
    event.why = why;
    if (!this.#failures.tell(event, new Answer()))
      this.#around.logger.warn(
        `an answer to a memory event could not be carried out: ${why}; the access happens as it is`,
      );
  }

  #letThrough(vcpu: Vcpu, trapped: TrappedView<Watch>, page: number, state: TrappedPage<Watch>, tried: number): void {
    if (state.shadow === undefined) {
      vcpu.emulation!.allow();
      return;
    }
    vcpu.emulation!.allow('own');
    if ((tried & WRITE) !== 0) this.#around.stepper.behindNext(vcpu, () => trapped.refresh(page));
  }
}

function* numbers(first: number, last: number): Generator<number> {
  for (let number = first; number <= last; number++) yield number;
}
