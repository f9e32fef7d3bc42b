/** What a process has mapped: a tree of MMVADs, which changed its nodes and its root several times. */
import { Bound } from '@visorkit/vmi';
import type { StructView } from '@visorkit/vmi';
import { unlessRefused } from './find/image.js';
import { fileName } from './handles.js';
import { MOST_ELEMENTS } from './kernel.js';
import type { KernelBase } from './kernel.js';
import { Objects } from './objects.js';

export interface WindowsMapping {
  readonly start: bigint;
  /** The address behind the last. */
  readonly end: bigint;
  /** As `READWRITE`, with `GUARD`, `NOCACHE` or `WRITECOMBINE` behind it. */
  readonly protection: string;
  /** `image`, `physical`, `AWE`, …; empty for ordinary memory. */
  readonly type: string;
  /** Whether it belongs to this process alone. */
  readonly private: boolean;
  /** Path of what is mapped; empty for memory without a file. */
  readonly file: string;
  /** Linear address of the MMVAD. */
  readonly address: bigint;
}

/** Protections (MM_*), the lower three bits; the upper two say how. */
const PROTECTIONS = [
  'NOACCESS',
  'READONLY',
  'EXECUTE',
  'EXECUTE_READ',
  'READWRITE',
  'WRITECOPY',
  'EXECUTE_READWRITE',
  'EXECUTE_WRITECOPY',
];
const MODIFIERS = ['', ' NOCACHE', ' GUARD', ' WRITECOMBINE'];
/** MI_VAD_TYPE. */
const TYPES = ['', 'physical', 'image', 'AWE', 'write watch', 'large pages', 'rotate', 'large page section'];
const IMAGE = TYPES.indexOf('image');

/** Mappings of a process, in order of addresses. `process`: address of its EPROCESS. */
export function* mappings(
  kernel: KernelBase,
  process: bigint,
  objects = new Objects(kernel),
): Generator<WindowsMapping, void, undefined> {
  const tree = treeOf(kernel);
  const root = unlessRefused(() => tree.root(kernel.struct('_EPROCESS', process)));
  const child = (node: bigint, offset: bigint): bigint => {
    const next = unlessRefused(() => kernel.pointerAt(node + offset));
    return next !== undefined && kernel.isKernel(next) ? next : 0n;
  };
  const seen = new Set<bigint>();
  const bound = new Bound(kernel.memory, 'areas of a process', MOST_ELEMENTS);
  const open: bigint[] = [];
  for (let node = root ?? 0n; node !== 0n || open.length > 0; ) {
    if (node !== 0n && !seen.has(node)) {
      if (!bound.take()) return;
      seen.add(node);
      open.push(node);
      node = child(node, tree.left);
      continue;
    }
    const next = open.pop();
    if (next === undefined) return;
    const mapping = unlessRefused(() => describe(kernel, objects, next - tree.node));
    if (mapping !== undefined) yield mapping;
    node = child(next, tree.right);
  }
}

/** How a version's trees are built: offsets of a node in a VAD, and of its children in the node. */
interface Tree {
  readonly node: bigint;
  readonly left: bigint;
  readonly right: bigint;
  /** First node of a process. */
  root(process: StructView): bigint;
}

function treeOf(kernel: KernelBase): Tree {
  const offset = (type: string, path: string): bigint => BigInt(kernel.field(type, path).offset);
  // Windows 8.1 and later
  if (kernel.field('_EPROCESS', 'VadRoot').type.name === '_RTL_AVL_TREE')
    return {
      node: offset('_MMVAD_SHORT', 'VadNode'),
      left: offset('_RTL_BALANCED_NODE', 'Left'),
      right: offset('_RTL_BALANCED_NODE', 'Right'),
      root: (process) => kernel.pointerAt(process.at('VadRoot.Root')),
    };
  // Server 2003 to 8: the root is a node of the same kind, whose right child is the first real one
  if (kernel.hasField('_EPROCESS', 'VadRoot.BalancedRoot'))
    return {
      node: kernel.hasField('_MMVAD_SHORT', 'VadNode') ? offset('_MMVAD_SHORT', 'VadNode') : 0n,
      left: offset('_MM_AVL_TABLE', 'BalancedRoot.LeftChild'),
      right: offset('_MM_AVL_TABLE', 'BalancedRoot.RightChild'),
      root: (process) => kernel.pointerAt(process.at('VadRoot.BalancedRoot.RightChild')),
    };
  return {
    node: 0n,
    left: offset('_MMVAD', 'LeftChild'),
    right: offset('_MMVAD', 'RightChild'),
    root: (process) => kernel.pointerAt(process.at('VadRoot')),
  };
}

function describe(kernel: KernelBase, objects: Objects, address: bigint): WindowsMapping {
  const long = kernel.struct('_MMVAD', address);
  const view = long.has('Core') ? kernel.struct('_MMVAD_SHORT', address) : long;
  const page = (name: string): bigint => {
    const high = view.has(`${name}High`) ? view.big(`${name}High`) : 0n;
    return ((high << 32n) | view.big(name)) << 12n;
  };
  const flag = (name: string): number => (view.has(`u.VadFlags.${name}`) ? view.number(`u.VadFlags.${name}`) : 0);
  const protection = flag('Protection');
  const kind = flag('ImageMap') === 1 ? IMAGE : flag('VadType');
  const isPrivate = flag('PrivateMemory') === 1;
  return {
    start: page('StartingVpn'),
    end: page('EndingVpn') + 0x1000n,
    protection: `${PROTECTIONS[protection & 7]}${MODIFIERS[protection >> 3]}`,
    type: TYPES[kind] ?? `type ${kind}`,
    private: isPrivate,
    // What is private is a MMVAD_SHORT, which ends before this
    file: isPrivate ? '' : (unlessRefused(() => fileOf(kernel, objects, long)) ?? ''),
    address,
  };
}

function fileOf(kernel: KernelBase, objects: Objects, vad: StructView): string {
  const subsection = vad.has('Subsection') ? vad.big('Subsection') : undefined;
  const area =
    subsection === undefined
      ? vad.big('ControlArea')
      : subsection === 0n
        ? 0n
        : kernel.struct('_SUBSECTION', subsection).big('ControlArea');
  if (!kernel.isKernel(area)) return '';
  // From Vista on the low bits count references
  const pointer = kernel.pointerAt(kernel.struct('_CONTROL_AREA', area).at('FilePointer'));
  const file = pointer & (kernel.pointerSize === 8 ? ~0xfn : ~7n);
  return kernel.isKernel(file) ? fileName(kernel, objects, file) : '';
}
