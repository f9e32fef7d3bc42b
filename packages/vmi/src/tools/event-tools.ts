/** Tools that tell what a running guest does, as it does it: LibVMI's event examples, and functions traced by their names. */
import { fail } from '@visorkit/core';
import type { Undo } from '@visorkit/core';
import type { BreakpointPlace, VmiEvents } from '../events/index.js';
import type { Cell, Column, ReportOptions } from '../profile.js';
import type { Vmi } from '../vmi.js';

/** A tool that tells a row for each event, until it is undone. */
export interface Watch {
  readonly describe: string;
  readonly arguments?: readonly { readonly form: string; readonly describe: string }[];
  readonly columns: readonly Column[];
  /** Its places are the kernel's: there are none before it has started. */
  readonly needsKernel?: true;
  watch(
    of: { readonly vmi: Vmi; readonly events: VmiEvents },
    options: ReportOptions,
    tell: (row: readonly Cell[]) => void,
  ): Undo;
  line?(row: readonly Cell[]): string;
}

const VCPU: Column = { title: 'VCPU', kind: 'number' };
const RIP: Column = { title: 'RIP', kind: 'address' };
const address = (title: string): Column => ({ title, kind: 'address' });
const hex = (title: string): Column => ({ title, kind: 'hex' });
const number = (title: string): Column => ({ title, kind: 'number' });
const text = (title: string): Column => ({ title });

const ACCESSES = ['r', 'w', 'x', 'rw', 'rx', 'wx', 'rwx'] as const;
/** Arguments that are passed in registers. */
const MOST_ARGUMENTS = 6;

export const WATCHES: Readonly<Record<string, Watch>> = {
  'cr3-event': {
    describe: 'writes to CR3 that change it: a process after the other',
    columns: [VCPU, address('CR3'), address('PREVIOUS'), address('RBX'), hex('CR0'), RIP],
    watch: ({ events }, _options, tell) =>
      events.register({ register: 'cr3', onChange: true }, ({ vcpu, value, previous, rip }) =>
        tell([vcpu.index, value, previous, vcpu.rbx, vcpu.getControlRegister(0), rip]),
      ),
  },
  'msr-event': {
    describe: 'writes to a model-specific register',
    arguments: [{ form: '<msr>', describe: 'its number, as 0xc0000082' }],
    columns: [VCPU, hex('MSR'), hex('VALUE'), hex('PREVIOUS'), RIP],
    watch: ({ events }, { arguments: [msr] = [] }, tell) =>
      events.register({ register: { msr: numberOf(msr, 0xffff_ffff) } }, ({ vcpu, msr: index, value, previous, rip }) =>
        tell([vcpu.index, index, value, previous, rip]),
      ),
  },
  'mem-event': {
    describe: 'accesses to a page of memory',
    arguments: [
      { form: '<gpa>', describe: 'guest-physical address of the page' },
      { form: '[access]', describe: 'r, w, x or several; w unless given' },
    ],
    columns: [VCPU, text('ACCESS'), address('GPA'), address('LINEAR'), number('SIZE'), RIP],
    watch({ events }, { arguments: [gpa, access = 'w'] = [] }, tell) {
      const wanted = ACCESSES.find((one) => one === access);
      if (wanted === undefined)
        return fail('VMI_ARGUMENT', `"${access}" is no kind of access; one of ${ACCESSES.join(', ')} is right.`, {
          access,
        });
      return events.memory({ gpa: numberOf(gpa, Number.MAX_SAFE_INTEGER), access: wanted }, (event) =>
        tell([
          event.vcpu.index,
          event.access,
          event.gpa,
          event.glaValid ? event.gla : undefined,
          event.size,
          event.rip,
        ]),
      );
    },
  },
  'cpuid-event': {
    describe: 'CPUID',
    columns: [VCPU, hex('LEAF'), hex('SUBLEAF'), RIP],
    watch: ({ events }, _options, tell) =>
      events.cpuid({}, ({ vcpu, leaf, subleaf, rip }) => tell([vcpu.index, leaf, subleaf, rip])),
  },
  'io-event': {
    describe: 'accesses to ports',
    arguments: [{ form: '[port]', describe: 'of this one only' }],
    columns: [VCPU, text('DIRECTION'), hex('PORT'), number('SIZE'), hex('VALUE'), RIP],
    watch({ events }, { arguments: [port] = [] }, tell) {
      const ports = port === undefined ? {} : { ports: numberOf(port, 0xffff) };
      return events.io(ports, (event) =>
        tell([
          event.vcpu.index,
          event.input ? 'in' : 'out',
          event.port,
          event.size,
          event.input ? undefined : event.value,
          event.rip,
        ]),
      );
    },
  },
  'descriptor-event': {
    describe: 'instructions that read or load GDTR, IDTR, LDTR and TR',
    columns: [VCPU, text('REGISTER'), text('ACCESS'), RIP],
    watch: ({ events }, _options, tell) =>
      events.descriptor({}, ({ vcpu, register, write, rip }) =>
        tell([vcpu.index, register, write ? 'write' : 'read', rip]),
      ),
  },
  'interrupt-event': {
    describe: "breakpoints (INT3) of the guest's own",
    columns: [VCPU, RIP],
    watch: ({ events }, _options, tell) => events.breakpoint({}, ({ vcpu, rip }) => tell([vcpu.index, rip])),
  },
  'step-event': {
    describe: 'the next instructions of vCPU 0, one after the other',
    arguments: [{ form: '[count]', describe: 'how many; 10 unless given' }],
    columns: [RIP, text('SYMBOL')],
    watch({ events, vmi }, { arguments: [count] = [] }, tell) {
      let left = count === undefined ? 10 : numberOf(count, 1e6);
      const named = vmi.find() !== undefined; // not looked for at each step
      const undo = events.singleStep({ vcpus: [0] }, ({ rip }) => {
        if (left-- <= 0) return undo();
        return tell([rip, named ? symbolOf(vmi, rip) : '']);
      });
      return undo;
    },
  },
  breakpoint: {
    describe: 'when code is about to be executed, of which the guest sees nothing',
    arguments: [{ form: '<where>', describe: 'a symbol of the kernel, or a linear address' }],
    columns: [VCPU, RIP, address('CR3'), address('RSP')],
    needsKernel: true,
    watch: ({ events, vmi }, { arguments: [where] = [], pids }, tell) =>
      events.breakpointAt(placeOf(vmi, where, pids), ({ vcpu, rip, cr3 }) => tell([vcpu.index, rip, cr3, vcpu.rsp])),
  },
  'trace-function': {
    describe: 'calls of a function of the kernel, with arguments and what it returns',
    arguments: [
      { form: '<symbol>', describe: 'its name' },
      { form: '[arguments]', describe: `how many are shown, 0 to ${MOST_ARGUMENTS}; 3 unless given` },
    ],
    columns: [VCPU, text('CALL'), text('RESULT'), address('CR3')],
    needsKernel: true,
    watch({ events, vmi }, { arguments: [name, count] = [] }, tell) {
      const shown = count === undefined ? 3 : numberOf(count, MOST_ARGUMENTS);
      const of = vmi.kernel.symbols;
      return events.traceFunction(
        { name, resolve: (wanted) => of.address(wanted) },
        ({ vcpu, arguments: given }) => {
          const list = given.map((value) => `0x${value.toString(16)}`).join(', ');
          tell([vcpu.index, `${name}(${list})`, undefined, vcpu.getControlRegister(3)]);
        },
        {
          arguments: shown,
          root: BigInt(vmi.kernel.space.root),
          onReturn: (value, { vcpu }) =>
            tell([vcpu.index, name, `0x${value.toString(16)}`, vcpu.getControlRegister(3)]),
        },
      );
    },
  },
};

/** Throws `VMI_ARGUMENT`. */
function numberOf(given: string, most: number): number {
  const value = /^(0x[0-9a-f]+|\d+)$/i.test(given) ? Number(given) : NaN;
  if (Number.isSafeInteger(value) && value <= most) return value;
  return fail('VMI_ARGUMENT', `"${given}" is no number from 0 to ${most}; 16 or 0x10 are.`, { given });
}

function placeOf(vmi: Vmi, where: string, pids: ReportOptions['pids']): BreakpointPlace {
  const linear = /^0x[0-9a-f]{1,16}$/i.test(where) ? BigInt(where) : vmi.symbol(where);
  const root = pids === undefined ? vmi.kernel.space.root : vmi.rootOf(pids[0]);
  return { linear, root: BigInt(root), ...(pids === undefined ? {} : { onlyRoot: true }) };
}

function symbolOf(vmi: Vmi, at: bigint): string {
  const near = vmi.find()?.symbols.nearest(at);
  if (near === undefined) return '';
  return near.offset === 0n ? near.symbol.name : `${near.symbol.name}+0x${near.offset.toString(16)}`;
}
