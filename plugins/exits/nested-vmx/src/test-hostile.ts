/**
 * A hypervisor that means ill, or knows nothing: entries with VMCSs, tables and pages as `test-hostile-cases.ts` makes them, again and again, with the other VMX
 * instructions between them, on pages that are in use. Whatever comes of it must be one of the outcomes that the architecture has, and the machine must go on.
 */
import { InterruptSourceToken, RESUME, definePlugin, pause } from '@visorkit/core';
import type { InterruptSource, Outcome, Plugin, Vcpu, Vmm } from '@visorkit/core';
import { VMCS_FIELDS, VmcsField as F } from '@visorkit/x86';
import { NestedVmxToken } from './index.js';
import type { NestedVmx } from './index.js';
import { CaseMaker, GUEST, PAGES, randomNumbers } from './test-hostile-cases.js';
import { AT, Code, MEMORY, REVISION, enterVmx, machine } from './test-hypervisor.js';

/** What came of the cases. */
export interface Outcomes {
  cases: number;
  /** Entries that have gone well. */
  entries: number;
  /** VMfail of VMLAUNCH and VMRESUME, by error. */
  fails: Record<number, number>;
  /** Exits to the hypervisor by reason, failed entries with bit 31. */
  exits: Record<number, number>;
  /** The machine was made anew: its hypervisor had gone astray, by what the run ended with. */
  lost: Record<string, number>;
  /** What may never be: sentences. */
  wrong: string[];
}

/** Instructions of a case, and seconds that one may take of a busy host's time. */
const INSTRUCTIONS = 20_000;
const SECONDS = 30;
/** Of a case: steps of the hypervisor, entries among them. */
const MOST_STEPS = 12;
/** Sentences about what may never be, after which no more cases are tried. */
const MOST_WRONG = 10;
/** How a run may end with the hypervisor gone astray. */
const ENDS = new Set(['triple-fault', 'halted', 'max-instructions']);
/** A hypervisor that fetches, or has its page tables, where there is no memory ends its machine; its guest does not. */
const NOWHERE = /no memory to execute from|exit ept-violation/;

/** The hypervisor's routines: each does one instruction, or a loop of them, and asks what is next. */
const ROUTINES = {
  launch: new Code().vmlaunch(),
  resume: new Code().vmresume(),
  clear: new Code().vmclear(AT.results),
  load: new Code().vmptrld(AT.results),
  store: new Code().add(0x0f, 0xc7, 0x3c, 0x25, ...address(AT.results + 0x40)),
  write: new Code().add(0x0f, 0x79, 0xc2), // VMWRITE RAX, RDX
  read: new Code().add(0x0f, 0x78, 0xc2),
  invept: new Code().add(0x66, 0x0f, 0x38, 0x80, 0x04, 0x25, ...address(AT.results)),
  invvpid: new Code().add(0x66, 0x0f, 0x38, 0x81, 0x04, 0x25, ...address(AT.results)),
  leave: new Code().vmxoff(),
  enter: new Code().vmxon(AT.results),
  // MOV ECX, 40; 1: VMLAUNCH; VMRESUME; DEC ECX; JNZ 1b: entries that go well leave the loop
  loop: new Code().add(0xb9, 40, 0, 0, 0, 0x0f, 0x01, 0xc2, 0x0f, 0x01, 0xc3, 0xff, 0xc9, 0x75, 0xf6),
} as const;
type Step = keyof typeof ROUTINES;
const STEPS = Object.keys(ROUTINES) as Step[];
/** RBX at the VMCALLs: behind a routine, at an exit of the guest, and in a handler of events. */
const DONE = 1n,
  AT_EXIT = 2n,
  AT_EVENT = 3n;

function address(at: number): number[] {
  return [0, 8, 16, 24].map((shift) => (at >>> shift) & 0xff);
}

/** Of MOV RBX in `ask`. */
const MOV_BYTES = 10;
/** VMCALL, and where RSI says. */
const ask = (code: Code, rbx: bigint): Code => code.mov(3, rbx).vmcall().add(0xff, 0xe6);

/** All of the hypervisor's code, where each routine begins, and where its handler of events does: the stack begins anew there. */
function program(): { code: Code; at: Readonly<Record<Step, number>>; events: number } {
  const code = ask(enterVmx(new Code()), DONE);
  const at = {} as Record<Step, number>;
  for (const step of STEPS) {
    at[step] = AT.code + code.bytes.length;
    ask(code.add(...ROUTINES[step].bytes), DONE);
  }
  const events = AT.code + code.bytes.length;
  ask(code.add(0x48, 0xc7, 0xc4, ...address(AT.stack)), AT_EVENT); // MOV RSP, stack
  return { code, at, events };
}

/** An interrupt, NMI or INIT that comes when a case says so. */
class Interrupts implements InterruptSource {
  vector = -1;
  nmi = false;
  init = false;
  pending(): boolean {
    return this.vector >= 0;
  }
  acknowledge(): number {
    const { vector } = this;
    this.vector = -1;
    return vector;
  }
  takeNmi(): boolean {
    const { nmi } = this;
    this.nmi = false;
    return nmi;
  }
  takeInit(): boolean {
    const { init } = this;
    this.init = false;
    return init;
  }
  takeStartup(): number {
    return -1;
  }
}

/** Runs so many cases. */
export async function hostileCases(seed: number, cases: number): Promise<Outcomes> {
  const random = randomNumbers(seed);
  const outcomes: Outcomes = { cases: 0, entries: 0, fails: {}, exits: {}, lost: {}, wrong: [] };
  while (outcomes.cases < cases && outcomes.wrong.length < MOST_WRONG) {
    const hostile = await Hostile.start(random, outcomes);
    await hostile.run(cases);
  }
  return outcomes;
}

const { code: CODE, at: ROUTINE_AT, events: EVENTS } = program();

/** One machine, until its hypervisor is lost. */
class Hostile {
  readonly #maker: CaseMaker;
  /** The hypervisor's own pages, as they are at first. */
  readonly #code: Uint8Array;
  readonly #tables: Uint8Array;
  /** Of the case: what it did, for a sentence. */
  #told: string[] = [];
  #steps = 0;
  #last: Step = 'enter';
  #over = false;

  private constructor(
    private readonly vmm: Vmm,
    private readonly nested: NestedVmx,
    private readonly vcpu: Vcpu,
    private readonly outcomes: Outcomes,
    private readonly interrupts: Interrupts,
    random: () => number,
  ) {
    this.#maker = new CaseMaker(vmm.memory, random, EVENTS);
    this.#code = vmm.memory.read(AT.code, AT.tables - AT.code);
    this.#tables = vmm.memory.read(AT.tables, 0x3000);
  }

  static async start(random: () => number, outcomes: Outcomes): Promise<Hostile> {
    const interrupts = new Interrupts();
    let hostile: Hostile | undefined;
    const driver: Plugin = definePlugin({
      name: 'hostile',
      uses: { nested: NestedVmxToken },
      provides: [{ token: InterruptSourceToken, make: () => interrupts }],
      apply({ hooks }, { nested }) {
        nested.hooks.vmcsSwitch.tap(({ to }) => {
          if (to === 'guest') outcomes.entries++;
        });
        hooks.exit
          .for('vmcall')
          .tap({ stage: 50 }, (_exit, vcpu) => (nested.inGuest(vcpu) ? undefined : hostile!.#asked(vcpu)));
      },
    });
    const { vmm, nested, vcpu } = await machine({ code: CODE, handler: ask(new Code(), AT_EXIT), plugins: [driver] });
    hostile = new Hostile(vmm, nested, vcpu, outcomes, interrupts, random);
    return hostile;
  }

  async run(cases: number): Promise<void> {
    const { vmm, outcomes } = this;
    while (outcomes.cases < cases && outcomes.wrong.length < MOST_WRONG) {
      outcomes.cases++;
      this.#begin();
      const { reason, why } = await vmm.run({ maxInstructions: INSTRUCTIONS, timeout: SECONDS });
      if (this.#over) continue;
      const end = why.startsWith('VMX abort') ? 'abort' : reason;
      add(outcomes.lost, end);
      const gone = !this.nested.inGuest(this.vcpu) && NOWHERE.test(why);
      if (!ENDS.has(reason) && !gone) this.#wrong(`the run ended by ${reason}: ${why}`);
      break;
    }
    await vmm.dispose();
  }

  /** The next case begins where the last one ended. */
  #begin(): void {
    const { memory } = this.vmm;
    memory.write(AT.code, this.#code);
    memory.write(AT.tables, this.#tables);
    memory.writeU32(AT.vmcs, REVISION);
    memory.writeU32(AT.vmxon, REVISION);
    this.#told = [this.#maker.make()];
    this.#steps = 0;
    this.#over = false;
  }

  /** The VMCALL is the one behind that routine. Else its guest has written to the hypervisor's code, or a host state that leads elsewhere has been loaded. */
  #isBehind(step: Step, vcpu: Vcpu): boolean {
    const before = ROUTINES[step].bytes.length + MOV_BYTES;
    return (
      vcpu.rip === BigInt(ROUTINE_AT[step] + before) &&
      this.#code.every((byte, n) => this.vmm.memory.readU8(AT.code + n) === byte)
    );
  }

  #wrong(what: string): void {
    this.outcomes.wrong.push(`case ${this.outcomes.cases} (${this.#told.join(', ')}): ${what}`);
  }

  /** The hypervisor asks what is next. */
  #asked(vcpu: Vcpu): Outcome {
    const { outcomes, nested } = this,
      { random } = this.#maker;
    const last = this.#last;
    if (vcpu.rbx === AT_EXIT) {
      const reason = Number(nested.read(vcpu, F.EXIT_REASON) ?? 0n);
      add(outcomes.exits, reason);
      this.#told.push(`exit 0x${reason.toString(16)}`);
      this.#passOn(vcpu);
    } else if (vcpu.rbx === AT_EVENT) this.#told.push('event');
    else if ((last === 'launch' || last === 'resume') && this.#isBehind(last, vcpu)) {
      if ((vcpu.rflags & 0x41n) === 0n) this.#wrong('an entry went on without a failure');
      add(outcomes.fails, nested.currentVmcs(vcpu) < 0 ? -1 : Number(nested.read(vcpu, F.VM_INSTRUCTION_ERROR) ?? -1n));
    }
    if (this.#steps++ >= MOST_STEPS || (this.#steps > 3 && random() % 6 === 0)) {
      this.#over = true;
      this.#next(vcpu, 'enter', PAGES.end); // whoever is in VMX operation already is told so
      return pause('a case is over');
    }
    this.#step(vcpu);
    return RESUME;
  }

  /** Mostly its guest goes on, behind the instruction that exited or at another one. */
  #passOn(vcpu: Vcpu): void {
    const { nested } = this,
      at = nested.currentVmcs(vcpu),
      maker = this.#maker;
    if (at < 0 || at >= MEMORY || maker.one(8)) return;
    if (maker.one(2)) {
      maker.put(F.GUEST_RIP, maker.start(), at);
      maker.put(F.GUEST_RSP, AT.guestStack, at);
      return;
    }
    const length = nested.read(vcpu, F.EXIT_INSTRUCTION_LENGTH) ?? 0n;
    maker.put(F.GUEST_RIP, (nested.read(vcpu, F.GUEST_RIP) ?? 0n) + (length & 15n), at);
  }

  #step(vcpu: Vcpu): void {
    const maker = this.#maker,
      { nested } = this,
      { random } = maker;
    const current = nested.currentVmcs(vcpu);
    if (!nested.inVmxOperation(vcpu)) return this.#next(vcpu, 'enter', maker.one(4) ? this.#anyPage() : AT.vmxon);
    if (current !== AT.vmcs && current !== PAGES.otherVmcs && !maker.one(6))
      return this.#next(vcpu, 'load', maker.one(4) ? PAGES.otherVmcs : AT.vmcs);
    if (this.#steps > 1 && maker.one(12)) this.interrupts.vector = maker.one(3) ? 0xf2 : random() % 256;
    if (this.#steps > 1 && maker.one(24)) this.interrupts.nmi = true;
    if (this.#steps > 1 && maker.one(200)) this.interrupts.init = true;
    if (!maker.one(4)) {
      const launched = current < 0 || current >= MEMORY ? 0 : this.vmm.memory.readU32(current + 8);
      const right = launched === 0 ? 'launch' : 'resume';
      return this.#next(vcpu, maker.one(12) ? maker.pick(['launch', 'resume', 'loop'] as const) : right, 0);
    }
    const step = maker.pick(STEPS);
    this.#next(vcpu, step, step === 'invept' ? (maker.one(2) ? PAGES.ept | 0x1e : maker.value()) : this.#anyPage());
  }

  #anyPage(): number {
    return this.#maker.pick([
      AT.vmcs,
      PAGES.otherVmcs,
      AT.vmxon,
      AT.code,
      AT.tables,
      PAGES.ept,
      PAGES.msrs,
      GUEST,
      MEMORY,
      1,
    ]);
  }

  /** RSI: where it goes on; RAX and RDX: field or type, and a value; the operand in memory. */
  #next(vcpu: Vcpu, step: Step, operand: number | bigint): void {
    const maker = this.#maker,
      { random } = maker;
    this.#last = step;
    if (step !== 'resume' && step !== 'launch') this.#told.push(`${step} 0x${operand.toString(16)}`);
    vcpu.setRegister(6, BigInt(ROUTINE_AT[step]));
    vcpu.rax =
      step === 'invept' || step === 'invvpid'
        ? BigInt(random() % 4)
        : BigInt(VMCS_FIELDS[random() % VMCS_FIELDS.length].encoding);
    vcpu.rdx = maker.value();
    this.vmm.memory.writeU64(AT.results, BigInt.asUintN(64, BigInt(operand)));
    this.vmm.memory.writeU64(AT.results + 8, maker.one(2) ? 0n : maker.value());
  }
}

function add(counts: Record<string, number>, key: string | number): void {
  counts[key] = (counts[key] ?? 0) + 1;
}
