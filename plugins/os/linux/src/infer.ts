/**
 * Types of a kernel that has no description of them in memory: where fields are is told by what the running structures have in them. A place counts as found only where it
 * is the single one that fits in every task, so that a field may be missing, but is not a wrong one.
 */
import { isVisorkitError } from '@visorkit/core';
import type { AddressSpace, PhysicalMemory, PhysicalRange } from '@visorkit/vmi';
import type { Given } from './given.js';
import { inferFiles } from './infer-files.js';
import { ImageWords } from './infer-image.js';
import { inferMemory } from './infer-memory.js';
import { inferModules } from './infer-modules.js';
import { Reader } from './infer-reader.js';
import { inferSymbols } from './infer-symbols.js';
import { inferTasks } from './infer-tasks.js';
import type { InferredTasks } from './infer-tasks.js';
import { inferNumbers } from './infer-numbers.js';
import { InferredTypes } from './inferred-types.js';

/** What is known of the kernel before. */
export interface InferFrom {
  readonly memory: PhysicalMemory;
  readonly space: AddressSpace;
  readonly pointerSize: 4 | 8;
  readonly release: string;
  /** The physical memory that the kernel's image is in. */
  readonly image: readonly PhysicalRange[];
  /** What has to be added to a linear address of the image for the physical one. */
  readonly shift: bigint;
  /** What a configuration says, which is believed. */
  readonly given: Given;
  /** Address of a symbol that the kernel has itself. */
  address(name: string): bigint | undefined;
}

export interface Inferred {
  readonly types: InferredTypes;
  /** Symbols that were found on the way. */
  readonly symbols: ReadonlyMap<string, bigint>;
}

/** Throws `LINUX_TYPES` where too few tasks run, and a configuration does not say what is needed: the kernel's threads and one process are needed. */
export function inferTypes(from: InferFrom): Inferred {
  const reader = new Reader(from.space, from.pointerSize);
  const types = new InferredTypes(from.pointerSize);
  const symbols = new Map<string, bigint>();
  const tasks = tasksOf(from, reader);
  if (tasks === undefined)
    return { types: new InferredTypes(from.pointerSize, 'nothing in memory tells types'), symbols };
  symbols.set('init_task', tasks.tasks[0].base);
  inferMemory(reader, types, tasks, symbols);
  const fields = [
    ...tasks.fields(types),
    ...inferNumbers(reader, types, tasks, symbols),
    ...inferFiles(reader, types, tasks, from),
  ];
  types.add('task_struct', fields);
  const words = new ImageWords(from, from.pointerSize);
  inferModules(words, reader, types, symbols);
  inferSymbols(from, words, reader, types, symbols);
  return { types, symbols };
}

/** Undefined where they do not tell, and a configuration says enough. */
function tasksOf(from: InferFrom, reader: Reader): InferredTasks | undefined {
  try {
    return inferTasks(from, reader);
  } catch (error) {
    if (from.given.isEnough && isVisorkitError(error) && error.code === 'LINUX_TYPES') return undefined;
    throw error;
  }
}
