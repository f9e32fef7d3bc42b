/**
 * Negotiation of VM-execution controls.
 *
 * Nobody sets bits behind another's back: a plugin declares what it needs the processor to trap (or needs it not to trap),
 * the kernel merges the declarations against what the backend allows, and a conflict is an error that names the plugins.
 * Controls are named as in the SDM, in kebab case: `rdtsc-exiting`, `hlt-exiting`, `monitor-trap-flag`.
 */
import { VisorkitError } from './errors.js';

/** The five groups of controls (SDM 3C, 25.6 to 25.8). */
export const CONTROL_GROUPS = ['pin', 'primary', 'secondary', 'exit', 'entry'] as const;
export type ControlGroup = (typeof CONTROL_GROUPS)[number];

/** A range of ports or MSRs, both ends included, or a single one. */
export type NumberRange = number | readonly [first: number, last: number];

/** What one plugin needs. */
export interface ControlNeeds {
  readonly pin?: readonly string[];
  readonly primary?: readonly string[];
  readonly secondary?: readonly string[];
  readonly exit?: readonly string[];
  readonly entry?: readonly string[];
  /** Exception vectors that must exit, 0-31. */
  readonly exceptions?: readonly number[];
  /** MSRs whose reading or writing must exit. */
  readonly msrs?: { readonly read?: readonly NumberRange[]; readonly write?: readonly NumberRange[] };
  /** Ports that must exit. */
  readonly ports?: readonly NumberRange[];
  /** Controls that must stay clear. */
  readonly clear?: { readonly [group in ControlGroup]?: readonly string[] };
}

/** Which controls a backend can set, and which are always set. */
export interface ControlSupport {
  readonly allowed: { readonly [group in ControlGroup]: ReadonlySet<string> };
  /** Controls that cannot be cleared. */
  readonly fixed?: { readonly [group in ControlGroup]?: ReadonlySet<string> };
  /** Exception vectors that can exit; all of them when this is left out. */
  readonly exceptions?: ReadonlySet<number>;
}

/** What the backend is given. */
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
  readonly msrRead: readonly (readonly [first: number, last: number])[];
  readonly msrWrite: readonly (readonly [first: number, last: number])[];
  readonly ports: readonly (readonly [first: number, last: number])[];
}

/** Merges what the plugins need. Throws `CONTROL_CONFLICT` with every conflict in `details.conflicts`. */
export function mergeControls(
  support: ControlSupport,
  backendName: string,
  plugins: readonly { name: string; needs?: ControlNeeds }[],
): MergedControls {
  const conflicts: string[] = [];
  const set = emptyGroups<Map<string, string>>(() => new Map());
  const clear = emptyGroups<Map<string, string>>(() => new Map());
  let exceptionBitmap = 0;
  const msrRead: (readonly [number, number])[] = [];
  const msrWrite: (readonly [number, number])[] = [];
  const ports: (readonly [number, number])[] = [];

  for (const { name, needs } of plugins) {
    if (needs === undefined) continue;
    for (const group of CONTROL_GROUPS) {
      for (const control of needs[group] ?? []) {
        if (!support.allowed[group].has(control)) {
          conflicts.push(`${name} needs the ${group} control "${control}", which backend ${backendName} does not have`);
        }
        if (!set[group].has(control)) set[group].set(control, name);
      }
      for (const control of needs.clear?.[group] ?? []) {
        if (support.fixed?.[group]?.has(control)) {
          conflicts.push(
            `${name} needs the ${group} control "${control}" clear, which backend ${backendName} always sets`,
          );
        }
        if (!clear[group].has(control)) clear[group].set(control, name);
      }
    }
    for (const vector of needs.exceptions ?? []) {
      if (!Number.isInteger(vector) || vector < 0 || vector > 31) {
        conflicts.push(`${name} asks for exits of exception vector ${vector}; vectors are 0 to 31`);
      } else if (support.exceptions?.has(vector) === false) {
        conflicts.push(
          `${name} asks for exits of exception vector ${vector}, which backend ${backendName} does not give`,
        );
      } else exceptionBitmap |= 1 << vector;
    }
    addRanges(msrRead, needs.msrs?.read, 0xffffffff, `${name}: MSR`, conflicts);
    addRanges(msrWrite, needs.msrs?.write, 0xffffffff, `${name}: MSR`, conflicts);
    addRanges(ports, needs.ports, 0xffff, `${name}: port`, conflicts);
  }
  for (const group of CONTROL_GROUPS) {
    for (const [control, wantsSet] of set[group]) {
      const wantsClear = clear[group].get(control);
      if (wantsClear !== undefined) {
        conflicts.push(`${wantsSet} needs the ${group} control "${control}" set, ${wantsClear} needs it clear`);
      }
    }
  }
  if (conflicts.length > 0) {
    throw new VisorkitError('CONTROL_CONFLICT', `The plugins cannot share the processor: ${conflicts.join('; ')}.`, {
      conflicts,
    });
  }
  const names = (of: Map<string, string>): ReadonlySet<string> => new Set(of.keys());
  return {
    pin: names(set.pin),
    primary: names(set.primary),
    secondary: names(set.secondary),
    exit: names(set.exit),
    entry: names(set.entry),
    clear: {
      pin: names(clear.pin),
      primary: names(clear.primary),
      secondary: names(clear.secondary),
      exit: names(clear.exit),
      entry: names(clear.entry),
    },
    exceptionBitmap: exceptionBitmap >>> 0,
    msrRead,
    msrWrite,
    ports,
  };
}

function emptyGroups<T>(make: () => T): Record<ControlGroup, T> {
  return { pin: make(), primary: make(), secondary: make(), exit: make(), entry: make() };
}

function addRanges(
  into: (readonly [number, number])[],
  ranges: readonly NumberRange[] | undefined,
  highest: number,
  what: string,
  conflicts: string[],
): void {
  for (const range of ranges ?? []) {
    const [first, last] = typeof range === 'number' ? [range, range] : range;
    if (!Number.isInteger(first) || !Number.isInteger(last) || first < 0 || last < first || last > highest) {
      conflicts.push(`${what} range ${first} to ${last} is not within 0 to 0x${highest.toString(16)}`);
    } else into.push([first, last]);
  }
}
