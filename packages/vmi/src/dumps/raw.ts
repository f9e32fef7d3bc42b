/** Raw memory: the byte at an offset is the one at that physical address. */
import { FileMemory } from '../stored-memory.js';
import { damaged } from './format.js';
import type { DumpFormat } from './format.js';

/** Every file that is nothing else. */
export const raw: DumpFormat = {
  name: 'raw',
  recognises: () => true,
  open(file) {
    if (file.length === 0) damaged('it is empty');
    return { memory: new FileMemory(file, [{ start: 0, length: file.length, offset: 0 }]), hints: {} };
  },
};
