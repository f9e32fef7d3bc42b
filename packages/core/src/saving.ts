/**
 * A whole VM as plain data: what it was made of, where its run loop stood, each vCPU, the backend's common part once, what
 * plugins keep, and RAM without its zero pages. `@visorkit/project` writes it to a file.
 */
import * as v from 'valibot';
import type { Backend } from './backend.js';
import { checkValue } from './check.js';
import type { Composition } from './composition.js';
import { VisorkitError, fail } from './errors.js';
import type { GuestMemory } from './platform.js';
import type { BackendVcpu } from './vcpu.js';

/** State of a plugin: everything whose loss a guest could notice. */
export interface SavedPart {
  /** Plain data: JSON's values, bigint and Uint8Array. Times are relative to the clock: ns from now, or ns ago. */
  save(): unknown;
  /** Throws a VisorkitError for a state that `save` cannot have returned. Called before anything is changed. */
  check?(state: unknown): void;
  /** Takes a state that `save` gave. RAM, vCPUs and the clock are back already. */
  restore(state: unknown): void;
}

/** Whole pages of RAM that are not all zeros. */
export interface SavedMemory {
  readonly gpa: number;
  /** Bytes, a multiple of 4096. */
  readonly length: number;
  /** The guest used these pages last, and will need them first. */
  readonly recent?: boolean;
  /** The content. Each access may read it from a file, and throws what the reading throws. */
  readonly bytes: Uint8Array;
  /** Puts the content into `target`, of the same length, where that is quicker than to copy `bytes`. */
  readInto?(target: Uint8Array): void;
}

/** What a VM was made of: it can be restored only to a VM made of the same. */
export interface SavedComposition {
  readonly backend: string;
  /** Bytes of RAM. */
  readonly memory: number;
  readonly cpus: number;
  readonly time: 'virtual' | 'real';
  /** The rows of the backend's CPUID table, as text. */
  readonly cpuid: readonly string[];
  /** Plugins that keep something, in their order. */
  readonly parts: readonly string[];
}

/** Everything but RAM. */
export interface SavedState {
  readonly format: typeof SAVED_FORMAT;
  /** Version of the kernel that saved it. */
  readonly kernel: string;
  readonly composition: SavedComposition;
  readonly loop: unknown;
  readonly vcpus: readonly unknown[];
  readonly backend: unknown;
  readonly parts: Readonly<Record<string, unknown>>;
}

export interface SavedVm {
  readonly state: SavedState;
  readonly memory: readonly SavedMemory[];
}

/** Number of this layout of a saved VM; another one is refused. */
export const SAVED_FORMAT = 1;

const STATE = v.object({
  format: v.literal(SAVED_FORMAT),
  kernel: v.string(),
  composition: v.object({
    backend: v.string(),
    memory: v.number(),
    cpus: v.number(),
    time: v.picklist(['virtual', 'real']),
    cpuid: v.array(v.string()),
    parts: v.array(v.string()),
  }),
  loop: v.unknown(),
  vcpus: v.array(v.unknown()),
  backend: v.unknown(),
  parts: v.record(v.string(), v.unknown()),
});

const PAGE = 4096;
/** Bytes of a piece of RAM at most. */
const BLOCK = 16 << 10;

/** What a VM is made of, for comparing. */
export function savedComposition({ options, cpus, time }: Composition, parts: Iterable<string>): SavedComposition {
  const { backend, memory } = options;
  return {
    backend: backend.name,
    memory,
    cpus,
    time,
    cpuid: backend.cpuid.map(({ leaf, subleaf, indexed, eax, ebx, ecx, edx }) =>
      [leaf, indexed ? subleaf : '', eax, ebx, ecx, edx]
        .map((word) => (typeof word === 'string' ? word : (word >>> 0).toString(16)))
        .join(' '),
    ),
    parts: [...parts],
  };
}

/** Checks that a state can be restored to a VM. Throws `SAVED_STATE` and, with every difference, `SAVED_MISMATCH`. */
export function checkSaved(state: unknown, here: SavedComposition): SavedState {
  const format = (state as Partial<SavedState> | null)?.format;
  if (typeof format === 'number' && format !== SAVED_FORMAT) {
    fail('SAVED_STATE', `The saved VM has format ${format}; this kernel restores format ${SAVED_FORMAT}.`, { format });
  }
  const saved = checkValue(STATE, state, 'SAVED_STATE', 'The saved VM') as SavedState;
  const { composition: there } = saved;
  const differences: string[] = [];
  const compare = (what: string, saved: unknown, now: unknown): void => {
    if (saved !== now) differences.push(`it had ${what} ${String(saved)}, this one has ${String(now)}`);
  };
  compare('the backend', there.backend, here.backend);
  compare('a memory size in bytes of', there.memory, here.memory);
  compare('a number of CPUs of', there.cpus, here.cpus);
  compare('the time', there.time, here.time);
  if (there.cpuid.join('\n') !== here.cpuid.join('\n')) differences.push('its processor had other CPUID leaves');
  for (const part of there.parts) if (!here.parts.includes(part)) differences.push(`this one lacks its plugin ${part}`);
  for (const part of here.parts) if (!there.parts.includes(part)) differences.push(`it had no plugin ${part}`);
  if (differences.length > 0) {
    throw new VisorkitError(
      'SAVED_MISMATCH',
      `The saved VM does not fit this one: ${differences.join('; ')}. Compose it as it was.`,
      { differences },
    );
  }
  if (saved.vcpus.length !== there.cpus) {
    fail('SAVED_STATE', `The saved VM has the states of ${saved.vcpus.length} vCPUs, but it had ${there.cpus}.`);
  }
  return saved;
}

/**
 * RAM without its zero pages, in pieces that do not cross a multiple of 16 KiB: a guest that goes on needs some hundred pages at once, and a piece
 * is read as a whole. Pages of `recent` (guest-physical addresses) are pieces of their own. The bytes are copies.
 */
export function saveMemory(memory: GuestMemory, recent: ReadonlySet<number>): SavedMemory[] {
  const saved: SavedMemory[] = [];
  const { buffer } = memory;
  for (const { gpa, size, hostOffset } of memory.regions) {
    const words = new Int32Array(buffer, hostOffset, size / 4);
    const save = (first: number, end: number, recent = false): void => {
      // Copied, because guest RAM may be shared memory, which files and messages do not accept
      const bytes = new Uint8Array(end - first);
      bytes.set(new Uint8Array(buffer, hostOffset + first, end - first));
      saved.push({ gpa: gpa + first, length: bytes.length, bytes, ...(recent ? { recent } : {}) });
    };
    let first = -1;
    for (let page = 0; page < size; page += PAGE) {
      const zero = isZero(words, page / 4),
        alone = recent.has(gpa + page);
      if (first >= 0 && (zero || alone || page % BLOCK === 0)) {
        save(first, page);
        first = -1;
      }
      if (zero) continue;
      if (alone) save(page, page + PAGE, true);
      else if (first < 0) first = page;
    }
    if (first >= 0) save(first, size);
  }
  return saved;
}

/** Checks that the pieces are whole pages of a machine's RAM, each in one piece only. Throws `SAVED_STATE`. */
export function checkMemory(memory: GuestMemory, saved: readonly SavedMemory[]): void {
  const inOrder = saved.every(({ gpa }, index) => index === 0 || gpa >= saved[index - 1].gpa), // as `saveMemory` leaves them
    pieces = inOrder ? saved : [...saved].sort((a, b) => a.gpa - b.gpa);
  let end = 0;
  // By index: there are thousands, and an iterator makes something new for each
  for (let index = 0; index < pieces.length; index++) {
    const { gpa, length } = pieces[index];
    if (gpa < end) fail('SAVED_STATE', `The saved VM has the memory at 0x${gpa.toString(16)} twice.`, { gpa });
    end = gpa + length;
    if (length % PAGE !== 0 || gpa % PAGE !== 0 || !memory.contains(gpa, length))
      fail(
        'SAVED_STATE',
        `The saved VM has ${length} bytes of memory at 0x${gpa.toString(16)}, which are not whole pages of this one's memory.`,
        { gpa, length },
      );
  }
}

/** The states of vCPUs and backend, each of which must be able to save. Throws `SAVE_UNSUPPORTED`. */
export function saveProcessors(
  backend: Backend,
  vcpus: readonly BackendVcpu[],
): { vcpus: unknown[]; backend: unknown } {
  if (!backend.capabilities.has('state.save')) {
    fail('SAVE_UNSUPPORTED', `The backend ${backend.name} cannot save a VM; it lacks the capability "state.save".`);
  }
  return { vcpus: vcpus.map((vcpu) => vcpu.saveState()), backend: backend.saveState?.() };
}

function isZero(words: Int32Array, at: number): boolean {
  for (let i = at; i < at + PAGE / 4; i++) if (words[i] !== 0) return false;
  return true;
}
