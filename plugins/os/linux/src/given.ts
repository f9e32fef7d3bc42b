/** What a libvmi.conf says of a kernel: where fields and init_task are. It is believed before anything else, as LibVMI does. */
import { configured, configuredOffset } from '@visorkit/vmi';
import type { AddressSpace, GivenField, KnownOfGuest, PageMode, Type, TypeTable } from '@visorkit/vmi';
import { InferredTypes } from './inferred-types.js';

/** Where the image of a kernel begins that has not been moved: of 64 bits, and of 32 with the usual split. */
export const LINKED_TEXT = { 8: 0xffff_ffff_8100_0000n, 4: 0xc100_0000n } as const;
/** Kernels are moved by multiples of this. */
const STEP = { 8: 0x20_0000n, 4: 0x1000n } as const;
/** No task_struct has its name behind this. */
const TASK_BYTES = 8192;
const FIRST_NAME = 'swapper';
const NAME_BYTES = 16;

type As = (types: TypeTable, basic: InferredTypes) => Type;
const POINTER: As = (_types, basic) => basic.pointer();
const FIELDS: readonly (readonly [key: string, type: string, field: string, as: As])[] = [
  ['linux_tasks', 'task_struct', 'tasks', (_types, basic) => basic.named('list_head')],
  ['linux_mm', 'task_struct', 'mm', (types) => pointerTo(types, 'mm_struct')],
  ['linux_pid', 'task_struct', 'pid', (_types, basic) => basic.i32],
  ['linux_name', 'task_struct', 'comm', (_types, basic) => basic.array(basic.u8, NAME_BYTES)],
  ['linux_pgd', 'mm_struct', 'pgd', POINTER],
  ['linux_addr', 'mm_struct', 'start_code', (_types, basic) => basic.word],
];

/** The page modes of LibVMI that a kernel for x86 has. */
const MODES: Readonly<Record<string, readonly PageMode[]>> = {
  VMI_PM_LEGACY: ['32-bit'],
  VMI_PM_PAE: ['pae'],
  VMI_PM_IA32E: ['4-level', '5-level'],
};

/** Offsets in bytes; undefined for those that are not given. */
export interface GivenOffsets {
  readonly tasks?: number;
  readonly mm?: number;
  readonly pid?: number;
  readonly comm?: number;
}

export class Given {
  readonly offsets: GivenOffsets;
  /** What is added to addresses as they were linked. */
  readonly slide: bigint | undefined;
  /** Physical address of page tables that have the kernel, and the modes that they may have. */
  readonly root: bigint | undefined;
  readonly modes: readonly PageMode[];

  constructor(private readonly known: KnownOfGuest) {
    const offset = (key: string): number | undefined => configuredOffset(known, key);
    this.offsets = {
      tasks: offset('linux_tasks'),
      mm: offset('linux_mm'),
      pid: offset('linux_pid'),
      comm: offset('linux_name'),
    };
    this.slide = configured(known, 'linux_kaslr');
    this.root = configured(known, 'kpgd');
    this.modes = MODES[String(known.values?.pagemode)] ?? Object.values(MODES).toReversed().flat();
  }

  /** Whether it is enough to list processes with, where nothing else tells any field. */
  get isEnough(): boolean {
    const { tasks, pid, comm } = this.offsets;
    return tasks !== undefined && pid !== undefined && comm !== undefined;
  }

  fields(pointerSize: 4 | 8): GivenField[] {
    const basic = new InferredTypes(pointerSize);
    return FIELDS.flatMap(([key, type, field, as]) => {
      const offset = configuredOffset(this.known, key);
      return offset === undefined ? [] : [{ type, field, offset, as: (types: TypeTable) => as(types, basic) }];
    });
  }

  /**
   * Address of init_task: as it is given, or moved by what the kernel was. `slides`: what it may have been moved by. Undefined where none is given, or no task is there that is called as the
   * first one is.
   */
  initTask(space: AddressSpace, pointerSize: 4 | 8, slides: readonly (bigint | undefined)[]): bigint | undefined {
    const address = configured(this.known, 'linux_init_task');
    if (address === undefined) return undefined;
    return [0n, this.slide, ...slides]
      .filter((slide) => slide !== undefined)
      .map((slide) => BigInt.asUintN(8 * pointerSize, address + slide))
      .find((place) => this.#isFirst(space, place));
  }

  #isFirst(space: AddressSpace, task: bigint): boolean {
    const { comm } = this.offsets;
    const bytes = new Uint8Array(comm === undefined ? TASK_BYTES : FIRST_NAME.length);
    const there = bytes.subarray(0, space.read(task + BigInt(comm ?? 0), bytes));
    return String.fromCharCode(...there).includes(FIRST_NAME);
  }
}

/** What a kernel whose image begins at `text` was moved by. */
export function slideOf(text: bigint, pointerSize: 4 | 8): bigint {
  const moved = text - LINKED_TEXT[pointerSize];
  return moved - (moved % STEP[pointerSize]);
}

function pointerTo(types: TypeTable, name: string): Type {
  return {
    kind: 'pointer',
    name: '',
    size: types.pointerSize,
    get target() {
      return types.type(name);
    },
  };
}
