/** What a libvmi.conf says of structures and of System: it is believed before anything else, as LibVMI does. */
import { AddressSpace, configured, configuredOffset } from '@visorkit/vmi';
import type { GivenField, KnownOfGuest, PhysicalMemory, Type, TypeTable } from '@visorkit/vmi';
import { kernelStart, unlessRefused } from './find/image.js';

/** Where all versions have the page tables in KPROCESS, which EPROCESS begins with. */
const PAGE_TABLES = { 4: 0x18, 8: 0x28 } as const;
const NAME_BYTES = 15;

const word = (types: TypeTable): Type => ({
  kind: 'integer',
  name: `u${types.pointerSize}`,
  size: types.pointerSize,
  signed: false,
});
const bytes = (size: number): Type => ({
  kind: 'array',
  name: '',
  size,
  count: size,
  target: { kind: 'integer', name: 'u1', size: 1, signed: false },
});

const FIELDS: readonly (readonly [key: string, type: string, field: string, as: (types: TypeTable) => Type])[] = [
  ['win_tasks', '_EPROCESS', 'ActiveProcessLinks', (types) => bytes(2 * types.pointerSize)],
  ['win_pdbase', '_KPROCESS', 'DirectoryTableBase', word],
  ['win_pid', '_EPROCESS', 'UniqueProcessId', word],
  ['win_pname', '_EPROCESS', 'ImageFileName', () => bytes(NAME_BYTES)],
];

export function givenFields(known: KnownOfGuest): GivenField[] {
  return FIELDS.flatMap(([key, type, field, as]) => {
    const offset = configuredOffset(known, key);
    return offset === undefined ? [] : [{ type, field, offset, as }];
  });
}

/** Types of a kernel of which nothing else is known; undefined where a configuration does not say enough to list processes. */
export function typesOfGiven(known: KnownOfGuest, pointerSize: 4 | 8): TypeTable | undefined {
  if (['win_tasks', 'win_pid', 'win_pname'].some((key) => configuredOffset(known, key) === undefined)) return undefined;
  const process: Type = {
    kind: 'struct',
    name: '_KPROCESS',
    size: 2 * PAGE_TABLES[pointerSize],
    get members() {
      return [
        {
          name: 'DirectoryTableBase',
          type: word(table),
          bitOffset: 8 * PAGE_TABLES[pointerSize],
          bitSize: 0,
        },
      ];
    },
  };
  const whole: Type = {
    kind: 'struct',
    name: '_EPROCESS',
    size: process.size,
    members: [{ name: 'Pcb', type: process, bitOffset: 0, bitSize: 0 }],
  };
  const table: TypeTable = {
    source: 'no table of this build',
    pointerSize,
    type: (name) => [process, whole].find((type) => type.name === name),
  };
  return table;
}

/** Root of System's page tables by the place of its EPROCESS; the place counts as physical. */
export function rootOfSystem(memory: PhysicalMemory, known: KnownOfGuest, pointerSize: 4 | 8): bigint | undefined {
  const system = configured(known, 'win_sysproc');
  if (system === undefined) return undefined;
  const at = system + BigInt(configuredOffset(known, 'win_pdbase') ?? PAGE_TABLES[pointerSize]);
  return unlessRefused(() => pointerAt(new AddressSpace(memory, 'none'), at, pointerSize));
}

/**
 * Linear address of System's EPROCESS by the configuration, which has the physical one, as LibVMI suggests it, or the linear one. `links`: offset of ActiveProcessLinks: the process behind System
 * leads back to it.
 */
export function givenSystem(
  space: AddressSpace,
  known: KnownOfGuest,
  pointerSize: 4 | 8,
  links: () => number,
): bigint | undefined {
  const system = configured(known, 'win_sysproc');
  if (system === undefined) return undefined;
  if (system >= kernelStart(space) && space.translate(system) !== undefined) return system;
  return unlessRefused(() => {
    const next = pointerAt(new AddressSpace(space.memory, 'none'), system + BigInt(links()), pointerSize);
    const back = pointerAt(space, next + BigInt(pointerSize), pointerSize) - BigInt(links());
    return space.translate(back) === Number(system) ? back : undefined;
  });
}

const pointerAt = (space: AddressSpace, at: bigint, pointerSize: 4 | 8): bigint =>
  pointerSize === 8 ? space.u64(at) : BigInt(space.u32(at));
