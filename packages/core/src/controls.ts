/**
 * Negotiation of VM-execution controls.
 *
 * No plugin sets bits itself: it declares what it needs the processor to trap (or not to trap), for as long as the VM lives or for a
 * time, and the kernel counts these needs by holder and vCPU. A conflict is an error that names the plugins. Controls are named as in
 * the SDM, in kebab case: `rdtsc-exiting`, `hlt-exiting`, `monitor-trap-flag`.
 */
import { CONTROL_TABLES } from '@visorkit/x86';
import { instead } from './check.js';
import { VisorkitError } from './errors.js';
import type { Undo } from './hook.js';
import { CONTROL_GROUPS } from './names.js';
import type { ControlGroup, ControlName } from './names.js';

/** A range of ports or MSRs, both ends included, or a single one. */
export type NumberRange = number | readonly [first: number, last: number];
export type Range = readonly [first: number, last: number];

/** What one plugin needs. */
export interface ControlNeeds {
  readonly pin?: readonly ControlName<'pin'>[];
  readonly primary?: readonly ControlName<'primary'>[];
  readonly secondary?: readonly ControlName<'secondary'>[];
  readonly exit?: readonly ControlName<'exit'>[];
  readonly entry?: readonly ControlName<'entry'>[];
  /** Exception vectors that must exit, 0-31. */
  readonly exceptions?: readonly number[];
  /** MSRs whose reading or writing must exit. */
  readonly msrs?: { readonly read?: readonly NumberRange[]; readonly write?: readonly NumberRange[] };
  /** Ports that must exit. */
  readonly ports?: readonly NumberRange[];
  /** Bits of CR0 and CR4 that the guest cannot change without an exit (guest/host masks, SDM 3C 25.6.6); it reads them as they are. */
  readonly crBits?: { readonly cr0?: bigint; readonly cr4?: bigint };
  /** Controls that must stay clear. */
  readonly clear?: { readonly [Group in ControlGroup]?: readonly ControlName<Group>[] };
}

/** Which controls a backend can set, and which are always set. */
export interface ControlSupport {
  readonly allowed: { readonly [group in ControlGroup]: ReadonlySet<string> };
  /** Controls that cannot be cleared. */
  readonly fixed?: { readonly [group in ControlGroup]?: ReadonlySet<string> };
  /** Exception vectors that can exit; all of them when this is left out. */
  readonly exceptions?: ReadonlySet<number>;
  /** False when the backend cannot choose which MSRs exit. */
  readonly msrs?: boolean;
  /** True when the backend gives exits by bit of CR0 and CR4. */
  readonly crBits?: boolean;
}

/** What the backend is given for a vCPU. Its contents change when holders come and go. */
export interface MergedControls {
  readonly pin: ReadonlySet<string>;
  readonly primary: ReadonlySet<string>;
  readonly secondary: ReadonlySet<string>;
  readonly exit: ReadonlySet<string>;
  readonly entry: ReadonlySet<string>;
  /** Controls that some plugin needs clear. */
  readonly clear: { readonly [group in ControlGroup]: ReadonlySet<string> };
  /** Bit n: exception vector n exits. Unsigned 32 bits. */
  readonly exceptionBitmap: number;
  readonly msrRead: readonly Range[];
  readonly msrWrite: readonly Range[];
  readonly ports: readonly Range[];
  /** Bits whose change exits. */
  readonly cr0Bits: bigint;
  readonly cr4Bits: bigint;
}

/** One holder's needs, with its MSRs and ports converted to ranges once. */
interface Hold {
  readonly holder: string;
  readonly needs: ControlNeeds;
  readonly msrRead: readonly Range[];
  readonly msrWrite: readonly Range[];
  readonly ports: readonly Range[];
}

/** Who holds a bit, and how often. */
type Holders = Map<string, number>;

/** The controls of one vCPU, counted. */
class VcpuControls implements MergedControls {
  readonly clear = byGroup(() => new Set<string>());
  readonly pin = new Set<string>();
  readonly primary = new Set<string>();
  readonly secondary = new Set<string>();
  readonly exit = new Set<string>();
  readonly entry = new Set<string>();
  exceptionBitmap = 0;
  msrRead: readonly Range[] = [];
  msrWrite: readonly Range[] = [];
  ports: readonly Range[] = [];
  cr0Bits = 0n;
  cr4Bits = 0n;
  readonly setBy = byGroup(() => new Map<string, Holders>());
  readonly clearBy = byGroup(() => new Map<string, Holders>());
  readonly #exceptions = new Int32Array(32);
  readonly #holds = new Set<Hold>();

  /** Adds (1) or takes away (-1) a hold. */
  count(hold: Hold, by: 1 | -1): void {
    const { holder, needs } = hold;
    if (by > 0) this.#holds.add(hold);
    else this.#holds.delete(hold);
    for (const group of CONTROL_GROUPS) {
      for (const name of needs[group] ?? []) countHolder(this.setBy[group], this[group], name, holder, by);
      for (const name of needs.clear?.[group] ?? []) {
        countHolder(this.clearBy[group], this.clear[group], name, holder, by);
      }
    }
    for (const vector of needs.exceptions ?? []) {
      this.#exceptions[vector] += by;
      const bit = 1 << vector;
      this.exceptionBitmap =
        (this.#exceptions[vector] > 0 ? this.exceptionBitmap | bit : this.exceptionBitmap & ~bit) >>> 0;
    }
    if (hold.msrRead.length > 0) this.msrRead = this.#ranges('msrRead');
    if (hold.msrWrite.length > 0) this.msrWrite = this.#ranges('msrWrite');
    if (hold.ports.length > 0) this.ports = this.#ranges('ports');
    if (needs.crBits !== undefined) {
      this.cr0Bits = this.#bits('cr0');
      this.cr4Bits = this.#bits('cr4');
    }
  }

  #bits(register: 'cr0' | 'cr4'): bigint {
    let bits = 0n;
    for (const { needs } of this.#holds) bits |= needs.crBits?.[register] ?? 0n;
    return bits;
  }

  #ranges(which: 'msrRead' | 'msrWrite' | 'ports'): readonly Range[] {
    return [...this.#holds].flatMap((hold) => hold[which]);
  }
}

/** What all plugins need the processor to trap, by vCPU. */
export class ControlBook {
  readonly #support: ControlSupport;
  readonly #backend: string;
  readonly #vcpus: VcpuControls[];

  /** Throws `CONTROL_CONFLICT` with every conflict in `details.conflicts`. */
  constructor(
    support: ControlSupport,
    backend: string,
    cpus: number,
    plugins: readonly { readonly name: string; readonly needs?: ControlNeeds }[],
  ) {
    this.#support = support;
    this.#backend = backend;
    this.#vcpus = Array.from({ length: cpus }, () => new VcpuControls());
    const conflicts: string[] = [];
    for (const { name, needs } of plugins) {
      if (needs === undefined) continue;
      const hold = takeApart(name, needs, conflicts);
      this.#check(hold, this.#vcpus.slice(0, 1), conflicts);
      for (const vcpu of this.#vcpus) vcpu.count(hold, 1);
    }
    refuse(conflicts);
  }

  /** What the backend is given for vCPU `index`: the same object each time. */
  of(index: number): MergedControls {
    return this.#vcpus[index];
  }

  /**
   * Holds what `needs` says for some vCPUs. `changed` is called for each of them now and when the hold is released.
   * Throws `CONTROL_CONFLICT`, and then nothing has changed.
   */
  hold(holder: string, needs: ControlNeeds, vcpus: readonly number[], changed: (vcpu: number) => void): Undo {
    const conflicts: string[] = [];
    const hold = takeApart(holder, needs, conflicts);
    this.#check(
      hold,
      vcpus.map((index) => this.#vcpus[index]),
      conflicts,
    );
    refuse(conflicts);
    const count = (by: 1 | -1): void => {
      for (const index of vcpus) {
        this.#vcpus[index].count(hold, by);
        changed(index);
      }
    };
    count(1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      count(-1);
    };
  }

  /** Adds to `conflicts` every reason why a hold is not possible. */
  #check({ holder, needs }: Hold, vcpus: readonly VcpuControls[], conflicts: string[]): void {
    const { allowed, fixed, exceptions, msrs } = this.#support;
    const backend = `backend ${this.#backend}`;
    for (const group of CONTROL_GROUPS) {
      for (const name of needs[group] ?? []) {
        if (!known(group, name)) conflicts.push(unknown(holder, group, name));
        else if (!allowed[group].has(name)) {
          conflicts.push(`${holder} needs the ${group} control "${name}", which ${backend} does not have`);
        }
        conflicts.push(...against(vcpus, 'clearBy', group, name).map((other) => opposed(group, name, holder, other)));
      }
      for (const name of needs.clear?.[group] ?? []) {
        if (!known(group, name)) conflicts.push(unknown(holder, group, name));
        else if (fixed?.[group]?.has(name) === true) {
          conflicts.push(`${holder} needs the ${group} control "${name}" clear, which ${backend} always sets`);
        }
        conflicts.push(...against(vcpus, 'setBy', group, name).map((other) => opposed(group, name, other, holder)));
      }
    }
    for (const vector of needs.exceptions ?? []) {
      if (exceptions?.has(vector) === false) {
        conflicts.push(`${holder} asks for exits of exception vector ${vector}, which ${backend} does not give`);
      }
    }
    if (this.#support.crBits !== true && needs.crBits !== undefined) {
      conflicts.push(`${holder} asks for exits of bits of CR0 or CR4, which ${backend} does not give`);
    }
    if (msrs === false && needs.msrs !== undefined) {
      conflicts.push(`${holder} asks for exits of certain MSRs, but ${backend} cannot choose which MSRs exit`);
    }
  }
}

function refuse(conflicts: readonly string[]): void {
  if (conflicts.length === 0) return;
  throw new VisorkitError('CONTROL_CONFLICT', `The plugins cannot share the processor: ${conflicts.join('; ')}.`, {
    conflicts,
  });
}

function known(group: ControlGroup, name: string): boolean {
  return Object.hasOwn(CONTROL_TABLES[group], name);
}

function unknown(holder: string, group: ControlGroup, name: string): string {
  const elsewhere = CONTROL_GROUPS.find((other) => known(other, name));
  const hint =
    elsewhere === undefined
      ? instead(name, Object.keys(CONTROL_TABLES[group])).replace(/\?$/, '')
      : `; it is one of the ${elsewhere} controls`;
  return `${holder} needs the ${group} control "${name}", which does not exist${hint}`;
}

function opposed(group: ControlGroup, name: string, wantsSet: string, wantsClear: string): string {
  return `${wantsSet} needs the ${group} control "${name}" set, ${wantsClear} needs it clear`;
}

/** The first holder, on any of the vCPUs, that needs a control the other way. */
function against(
  vcpus: readonly VcpuControls[],
  side: 'setBy' | 'clearBy',
  group: ControlGroup,
  name: string,
): string[] {
  for (const vcpu of vcpus) {
    const first = vcpu[side][group].get(name)?.keys().next().value;
    if (first !== undefined) return [first];
  }
  return [];
}

function countHolder(table: Map<string, Holders>, names: Set<string>, name: string, holder: string, by: 1 | -1): void {
  let holders = table.get(name);
  if (holders === undefined) table.set(name, (holders = new Map()));
  const count = (holders.get(holder) ?? 0) + by;
  if (count > 0) holders.set(holder, count);
  else holders.delete(holder);
  if (holders.size > 0) names.add(name);
  else {
    table.delete(name);
    names.delete(name);
  }
}

function byGroup<T>(make: () => T): Record<ControlGroup, T> {
  return { pin: make(), primary: make(), secondary: make(), exit: make(), entry: make() };
}

function takeApart(holder: string, needs: ControlNeeds, conflicts: string[]): Hold {
  const ranges = (list: readonly NumberRange[] | undefined, highest: number, what: string): Range[] =>
    (list ?? []).map((range) => {
      const [first, last] = typeof range === 'number' ? [range, range] : range;
      if (!Number.isInteger(first) || !Number.isInteger(last) || first < 0 || last < first || last > highest) {
        conflicts.push(`${holder}: ${what} range ${first} to ${last} is not within 0 to 0x${highest.toString(16)}`);
      }
      return [first, last];
    });
  for (const vector of needs.exceptions ?? []) {
    if (!Number.isInteger(vector) || vector < 0 || vector > 31) {
      conflicts.push(`${holder} asks for exits of exception vector ${vector}; vectors are 0 to 31`);
    }
  }
  return {
    holder,
    needs,
    msrRead: ranges(needs.msrs?.read, 0xffff_ffff, 'MSR'),
    msrWrite: ranges(needs.msrs?.write, 0xffff_ffff, 'MSR'),
    ports: ranges(needs.ports, 0xffff, 'port'),
  };
}
