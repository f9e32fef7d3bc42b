/** Opens memory dumps and saved VMs by path. */
import { layoutMemory } from '@visorkit/machine';
import { SavedVmMemory, openDump } from '@visorkit/vmi';
import type { KnownOfGuest, PhysicalMemory } from '@visorkit/vmi';
import { FileSource } from './file-source.js';
import { SAVED_MAGIC, readSavedVm } from './saved-file.js';

export interface OpenDump extends Disposable {
  /** `elf-core`, `lime`, `raw`, …, or `saved-vm`. */
  readonly format: string;
  readonly memory: PhysicalMemory;
  /** What the file says of the guest besides. */
  readonly known: KnownOfGuest;
}

/** Recognises the file by its content. Throws `FILE_UNREADABLE`, `VMI_DUMP`, and for a saved VM `SAVED_FILE`. */
export async function openDumpFile(path: string): Promise<OpenDump> {
  const file = new FileSource(path);
  try {
    const start = Buffer.alloc(Math.min(SAVED_MAGIC.length, file.length));
    file.read(0, start);
    if (!start.equals(SAVED_MAGIC))
      return { ...openDump(file), known: {}, [Symbol.dispose]: () => file[Symbol.dispose]() };
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
  file[Symbol.dispose]();
  const saved = await readSavedVm(path);
  const ranges = layoutMemory(saved.state.composition.memory).map(({ gpa, size }) => ({ start: gpa, end: gpa + size }));
  return { format: 'saved-vm', memory: new SavedVmMemory(saved, ranges), known: {}, [Symbol.dispose]() {} };
}
