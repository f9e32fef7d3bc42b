/** Writes to control registers, XCR0 and MSRs, before they are carried out. */
import { Gpr, RESUME, RETRY, fail } from '@visorkit/core';
import type { Capability, ControlNeeds, ExitName, Outcome, Undo, Vcpu, VmExit } from '@visorkit/core';
import { CrAccess, crAccess, crLmswSource, crNumber, crRegister } from '@visorkit/x86';
import { RegisterEvent } from './event.js';
import { Answer, RESPONSES } from './responses.js';
import type { DenyResponse } from './responses.js';
import { Subscribers, WhileUsed, subscription, together } from './subscribers.js';
import type { SubscribeOptions } from './subscribers.js';
import type { EventSurroundings } from './surroundings.js';

export interface RegisterFilter {
  /** CR0 and CR4: writes that change a bit, which are all that the processor can tell. An MSR by its index, or any. */
  readonly register: 'cr0' | 'cr3' | 'cr4' | 'xcr0' | { readonly msr: number | 'any' };
  /** Only writes of this value. */
  readonly equal?: bigint;
  /** Only writes of another value than the one that is there. */
  readonly onChange?: boolean;
  readonly vcpus?: readonly number[];
}

const ALL = (1n << 64n) - 1n;
const TS = 8n;
const PE = 1n;
const CR3_NO_FLUSH = 1n << 63n;

/** What each register needs of the processor. */
const REGISTERS: Readonly<
  Record<string, { exit: ExitName; needs: ControlNeeds; capabilities: readonly Capability[] }>
> = {
  cr0: { exit: 'control-register', needs: { crBits: { cr0: ALL } }, capabilities: ['cr-bits'] },
  cr3: { exit: 'control-register', needs: { primary: ['cr3-load-exiting'] }, capabilities: [] },
  cr4: { exit: 'control-register', needs: { crBits: { cr4: ALL } }, capabilities: ['cr-bits'] },
  xcr0: { exit: 'xsetbv', needs: {}, capabilities: [] },
  msr: { exit: 'wrmsr', needs: {}, capabilities: [] },
};
/** The MSRs that a bitmap can choose (SDM 3C 25.6.9); all others exit anyway. */
const ANY_MSR = [
  [0, 0x1fff],
  [0xc000_0000, 0xc000_1fff],
] as const;

export class RegisterEvents {
  readonly #around: EventSurroundings;
  readonly #lists: Readonly<Record<string, Subscribers<RegisterEvent>>>;
  readonly #taps: Readonly<Record<string, WhileUsed>>;
  readonly #event = new RegisterEvent();
  readonly #answer = new Answer();

  constructor(around: EventSurroundings) {
    this.#around = around;
    this.#lists = Object.fromEntries(
      Object.keys(REGISTERS).map((name) => [name, new Subscribers<RegisterEvent>(around)]),
    );
    const { hooks } = around.host;
    this.#taps = {
      'control-register': new WhileUsed(() =>
        hooks.exit.for('control-register').tap((exit, vcpu) => this.#controlRegister(exit, vcpu)),
      ),
      xsetbv: new WhileUsed(() => hooks.exit.for('xsetbv').tap((_exit, vcpu) => this.#xsetbv(vcpu))),
      wrmsr: new WhileUsed(() => hooks.exit.for('wrmsr').tap((_exit, vcpu) => this.#wrmsr(vcpu))),
    };
  }

  subscribe(
    { register, equal, onChange = false, vcpus }: RegisterFilter,
    handler: (event: RegisterEvent) => DenyResponse | undefined | void,
    options: SubscribeOptions,
  ): Undo {
    const around = this.#around;
    const msr = typeof register === 'object' ? register.msr : undefined,
      name = typeof register === 'object' ? 'msr' : register;
    if (!Object.hasOwn(REGISTERS, name) || (name === 'msr' && !isMsr(msr)))
      fail(
        'VMI_EVENT_FILTER',
        `A register is cr0, cr3, cr4, xcr0 or { msr } with an index from 0 to 0xffffffff or "any"; it is ${JSON.stringify(register)}.`,
      );
    if (equal !== undefined && typeof equal !== 'bigint')
      fail('VMI_EVENT_FILTER', `equal is a bigint; it is ${String(equal)}.`);
    const { exit, needs, capabilities } = REGISTERS[name];
    around.require(`register (${name})`, `exit.${exit}`, ...capabilities);
    const wants =
      equal === undefined && !onChange && typeof msr !== 'number'
        ? undefined
        : (event: RegisterEvent): boolean =>
            (typeof msr !== 'number' || event.msr === msr) &&
            (equal === undefined || event.value === equal) &&
            (!onChange || event.value !== event.previous);
    const one = subscription<RegisterEvent>(around, 'register', RESPONSES.deny, handler, options, vcpus, wants);
    const held = msr === undefined ? needs : { msrs: { write: msr === 'any' ? [...ANY_MSR] : [msr] } };
    const release = around.hold(held, vcpus);
    return together(release, this.#taps[exit].use(), this.#lists[name].add(one));
  }

  #controlRegister(exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    const { qualification } = exit,
      access = crAccess(qualification);
    if (access === CrAccess.MOV_FROM) return undefined;
    const number = access === CrAccess.MOV_TO ? crNumber(qualification) : 0;
    if (number !== 0 && number !== 3 && number !== 4) return undefined;
    const name = number === 3 ? 'cr3' : number === 0 ? 'cr0' : 'cr4';
    return this.#tell(this.#lists[name], name, 0, vcpu, writtenToControl, previousOfControl);
  }

  #xsetbv(vcpu: Vcpu): Outcome | undefined {
    if (vcpu.getRegister32(Gpr.RCX) !== 0) return undefined;
    return this.#tell(this.#lists.xcr0, 'xcr0', 0, vcpu, edxEax, ({ vcpu: { xcr0 } }) => xcr0);
  }

  #wrmsr(vcpu: Vcpu): Outcome | undefined {
    return this.#tell(this.#lists.msr, 'msr', vcpu.getRegister32(Gpr.RCX), vcpu, edxEax, previousOfMsr);
  }

  #tell(
    list: Subscribers<RegisterEvent>,
    register: RegisterEvent['register'],
    msr: number,
    vcpu: Vcpu,
    readValue: RegisterEvent['readValue'],
    readPrevious: RegisterEvent['readPrevious'],
  ): Outcome | undefined {
    if (!list.used) return undefined;
    const event = this.#event,
      answer = this.#answer.clear();
    event.vcpu = vcpu;
    event.register = register;
    event.msr = msr;
    event.readValue = readValue;
    event.readPrevious = readPrevious;
    list.tell(event, answer);
    if (!answer.given) return undefined;
    this.#around.carryOut(answer, vcpu);
    return answer.moved ? RETRY : answer.deny === true ? RESUME : undefined;
  }
}

function isMsr(msr: unknown): boolean {
  return msr === 'any' || (typeof msr === 'number' && Number.isInteger(msr) && msr >= 0 && msr <= 0xffff_ffff);
}

function edxEax({ vcpu }: RegisterEvent): bigint {
  return (BigInt(vcpu.getRegister32(Gpr.RDX)) << 32n) | BigInt(vcpu.getRegister32(Gpr.RAX));
}

/** SDM 3C, table 28-3, and SDM 2A, CLTS and LMSW. */
function writtenToControl({ vcpu, register }: RegisterEvent): bigint {
  const { qualification } = vcpu.exit;
  switch (crAccess(qualification)) {
    case CrAccess.MOV_TO: {
      const source = vcpu.getRegister(crRegister(qualification));
      const value = vcpu.codeBits === 64 ? source : source & 0xffff_ffffn;
      return register === 'cr3' ? value & ~CR3_NO_FLUSH : value;
    }
    case CrAccess.CLTS:
      return vcpu.getControlRegister(0) & ~TS;
    default: {
      const old = vcpu.getControlRegister(0);
      return (old & ~0xen) | BigInt(crLmswSource(qualification) & 15) | (old & PE);
    }
  }
}

function previousOfControl({ vcpu, register }: RegisterEvent): bigint {
  return vcpu.getControlRegister(register === 'cr3' ? 3 : register === 'cr0' ? 0 : 4);
}

function previousOfMsr({ vcpu, msr }: RegisterEvent): bigint {
  return vcpu.hasMsr(msr) ? vcpu.readMsr(msr) : 0n;
}
