/** What tests of boot loaders and devices need: `@visorkit/machine/testing`. */
import type { InitialState } from '@visorkit/core';
import type { BootContext } from './boot.js';
import { ArrayGuestMemory } from './memory.js';
import { MemoryMap, MemoryType } from './memory-map.js';

/** A boot context that remembers what the loader did. */
export interface RecordingBootContext extends BootContext {
  readonly memory: ArrayGuestMemory;
  /** The state that the loader gave the vCPU. Throws when it gave none. */
  state(): InitialState;
  /** A NUL-terminated string in guest memory. */
  string(gpa: number): string;
}

/** Makes a context over plain memory (64 MiB when nothing is said) with a PC's hole from 640 KiB to 1 MiB. */
export function recordingBootContext(
  parts: Partial<BootContext> & { image: Uint8Array; memorySize?: number },
): RecordingBootContext {
  const memory = new ArrayGuestMemory(parts.memorySize ?? 64 << 20);
  const map = new MemoryMap(memory.regions);
  map.reserve(0x9fc00, 0x100000 - 0x9fc00, MemoryType.RESERVED);
  let given: InitialState | undefined;
  return {
    imageName: 'kernel',
    commandLine: '',
    modules: [],
    options: {},
    vcpu: {
      setInitialState: (state) => {
        given = state;
      },
    },
    memoryMap: map.entries(),
    ...parts,
    memory,
    state() {
      if (given === undefined) throw new Error('the loader did not set the initial state');
      return given;
    },
    string(gpa) {
      let text = '';
      for (let at = gpa; memory.readU8(at) !== 0; at++) text += String.fromCharCode(memory.readU8(at));
      return text;
    },
  };
}
export * from './device-testing.js';
