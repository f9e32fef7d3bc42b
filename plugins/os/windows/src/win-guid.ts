/** What tells which build a kernel's image is, as LibVMI's win-guid prints it. */
import type { Cell, PeImage } from '@visorkit/vmi';

export interface KernelGuid {
  /** TimeDateStamp and SizeOfImage in hexadecimal. */
  readonly pe: string;
  /** GUID of the PDB file, in lower case, its age, its name. Empty and 0 where the image does not say. */
  readonly pdb: string;
  readonly age: number;
  readonly pdbName: string;
  /** Whether the kernel is one for several processors, and for PAE, by the name. */
  readonly multiprocessor: boolean;
  readonly pae: boolean;
}

/** Versions by the system that the image is for. */
const VERSIONS: Readonly<Record<string, string>> = {
  '5.1': 'XP',
  '5.2': 'Server 2003',
  '6.0': 'Vista',
  '6.1': '7',
  '6.2': '8',
  '6.3': '8.1',
  '10.0': '10 or later',
};
const PE32_PLUS = 0x20b;
const PE32 = 0x10b;

/** Kernels with PAE, and those for one processor, have names of their own. */
export function guidOf(image: PeImage): KernelGuid {
  const view = image.codeView();
  const name = view?.path.toLowerCase() ?? '';
  return {
    pe: image.id,
    pdb: view?.guid ?? '',
    age: view?.age ?? 0,
    pdbName: view?.path ?? '',
    multiprocessor: name === 'ntkrnlmp.pdb' || name === 'ntkrpamp.pdb',
    pae: name === 'ntkrnlpa.pdb' || name === 'ntkrpamp.pdb',
  };
}

/** Name and value of each line. `physical`: where the image begins. */
export function* guidRows(image: PeImage, physical: number | undefined): Generator<readonly Cell[], void, undefined> {
  const { pe, pdb, age, pdbName, multiprocessor, pae } = guidOf(image);
  if (physical !== undefined) yield ['Windows Kernel found @', `0x${physical.toString(16)}`];
  yield ['Version:', `${image.bits}-bit Windows ${VERSIONS[image.osVersion.join('.')] ?? image.osVersion.join('.')}`];
  yield ['PE GUID:', pe];
  yield ['PDB GUID:', pdb === '' ? '' : `${pdb}${age.toString(16)}`];
  yield ['Kernel filename:', pdbName];
  yield [multiprocessor ? 'Multi-processor' : 'Single-processor', pae ? 'with PAE' : 'without PAE'];
  yield ['Machine:', image.machine];
  yield ['# of sections:', image.sections.length];
  yield ['Timestamp:', image.timeDateStamp];
  yield ['Optional header type:', `0x${(image.bits === 64 ? PE32_PLUS : PE32).toString(16)}`];
  for (const [index, { name }] of image.sections.entries()) yield [`Section ${index + 1}:`, name];
}
