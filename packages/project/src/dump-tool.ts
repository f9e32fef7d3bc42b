/** The tool `dump-memory`: a guest's memory into a file. */
import { fail } from '@visorkit/core';
import { FileMemory, LiveMemory, WRITTEN_FORMATS } from '@visorkit/vmi';
import type { DumpCpu, PhysicalMemory, Vmi, WrittenFormat } from '@visorkit/vmi';
import { writeDumpFile } from './write-dump.js';
import type { ToolAnswer, ToolRequest } from './tool-protocol.js';

export const DUMP_TOOL = 'dump-memory';
/** As the list of tools shows it. */
export const DUMP_TOOL_USAGE = {
  name: DUMP_TOOL,
  form: `${DUMP_TOOL} <file> [format]`,
  describe: `memory into a file: ${WRITTEN_FORMATS.join(', ')}; elf-core unless given`,
} as const;

/**
 * Writes the memory to the path that is the first argument, in the format that is the second. A guest that runs is copied first, so that the file is of one
 * moment. Throws `VMI_ARGUMENT`, and `DUMP_FILE` where it cannot be written.
 */
export async function dumpTool(
  vmi: Vmi,
  { arguments: given = [] }: ToolRequest,
  cpus?: readonly DumpCpu[],
): Promise<ToolAnswer> {
  const [path, wanted = 'elf-core', ...more] = given;
  const format = WRITTEN_FORMATS.find((one) => one === wanted);
  if (path === undefined || format === undefined || more.length > 0)
    return fail(
      'VMI_ARGUMENT',
      `"${[DUMP_TOOL, ...given].join(' ')}" is wrong; "${DUMP_TOOL_USAGE.form}" is right, with a format of ${WRITTEN_FORMATS.join(', ')}.`,
      {
        given,
      },
    );
  return write(vmi, path, format, cpus);
}

async function write(
  vmi: Vmi,
  path: string,
  format: WrittenFormat,
  cpus: readonly DumpCpu[] | undefined,
): Promise<ToolAnswer> {
  const vmcoreinfo = vmi.find()?.vmcoreinfo;
  const memory = vmi.memory instanceof LiveMemory ? copyOf(vmi.memory) : vmi.memory;
  await writeDumpFile(path, memory, format, {
    ...(cpus === undefined ? {} : { cpus }),
    ...(vmcoreinfo === undefined ? {} : { vmcoreinfo }),
  });
  return {
    columns: [{ title: 'FILE' }, { title: 'FORMAT' }, { title: 'MEMORY', kind: 'number' }],
    rows: [{ cells: [path, format, memory.size] }],
  };
}

function copyOf(memory: PhysicalMemory): PhysicalMemory {
  const bytes = new Uint8Array(memory.size);
  let offset = 0;
  const ranges = memory.ranges.map(({ start, end }) => {
    const range = { start, length: end - start, offset };
    memory.read(start, bytes.subarray(offset, offset + range.length));
    offset += range.length;
    return range;
  });
  const source = {
    length: bytes.length,
    read: (at: number, target: Uint8Array): void => target.set(bytes.subarray(at, at + target.length)),
  };
  return new FileMemory(source, ranges);
}
