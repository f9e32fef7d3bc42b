/** What tells which build a kernel's image is, as LibVMI's win-guid prints it. */
import type { PeImage } from '@visorkit/vmi';

export interface KernelGuid {
  /** TimeDateStamp and SizeOfImage in hexadecimal. */
  readonly pe: string;
  /** GUID of the PDB file, in lower case, its age in decimal, its name. Empty and 0 where the image does not say. */
  readonly pdb: string;
  readonly age: number;
  readonly pdbName: string;
  /** Whether the kernel is one for several processors, and for PAE, by the name. */
  readonly multiprocessor: boolean;
  readonly pae: boolean;
}

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
