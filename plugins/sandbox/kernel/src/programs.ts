/** Programs on their way into memory: the first one, and those of execve. The guest kernel maps what the plan in its page says. */
import { EXEC, FileTable, OpenFile, ProgramFile } from '@visorkit/linux-abi';
import type { NewProgram, Process } from '@visorkit/linux-abi';
import { VisorkitError, isVisorkitError } from '@visorkit/core';
import type { GuestMemory } from '@visorkit/core';
import { ElfSegmentType, isElf } from '@visorkit/formats';
import type { ElfFile } from '@visorkit/formats';
import { Errno, FileMode, LinuxError, errnoOf, errorResult, raise } from '@visorkit/sandbox-fs';
import type { FileHandle, FileStat } from '@visorkit/sandbox-fs';
import { IMAGE_HANDLE, MAP_PRIVATE, Plan, Prot, Segment } from './abi.js';
import type { MappedFiles } from './mapped-files.js';
import { HEADER_SIZE, checkProgram, headersOf, interpreterOf, noInterpreter, planProgram } from './program.js';
import type { PlannedFile, ProgramPlan } from './program.js';
import { MOST_ARGUMENTS, argumentBytes, buildStack, stackBytes } from './stack.js';
import type { ProcessorFeatures, StackContents } from './stack.js';
import type { PagedMemory } from './user-memory.js';

const PAGE = 4096,
  ELF_HEADER = 64;
/** Larger program files are refused: there is room for the whole while the headers are checked, though only they are read. */
const MOST_BYTES = 256 << 20;

export class Programs {
  /** What the next OP_STACK is about. */
  #next: (StackContents & { readonly process: Process }) | undefined;
  #planPage = 0;

  constructor(
    private readonly ram: GuestMemory,
    private readonly memory: PagedMemory,
    private readonly files: MappedFiles,
  ) {}

  /** The page that the guest kernel reads plans from. */
  planPage(gpa: number): void {
    this.#planPage = gpa;
  }

  /** Plans the first program, whose file lies in RAM. Throws PROGRAM_FORMAT, PROGRAM_DYNAMIC, ELF_MALFORMED. */
  first(process: Process, image: Uint8Array, name: string, random: Uint8Array): ElfFile {
    const elf = checkProgram(image, name),
      asked = interpreterOf(elf);
    let interpreter: PlannedFile | undefined;
    if (asked !== undefined) {
      try {
        interpreter = this.#interpreter(process, asked);
      } catch (error) {
        if (!isVisorkitError(error) && errnoOf(error) === 0) throw error;
        noInterpreter(name, asked);
      }
    }
    this.#write(process, planProgram({ elf, ...headersOf(image), handle: IMAGE_HANDLE }, interpreter), process, random);
    return elf;
  }

  /** execve: EXEC, or a negative error number. */
  exec(process: Process, program: NewProgram): number {
    if (argumentBytes(program) > MOST_ARGUMENTS) return -Errno.E2BIG;
    this.files.closeUntaken();
    let plan: ProgramPlan;
    try {
      const file = this.#open(program.file, program.path),
        asked = interpreterOf(file.elf);
      plan = planProgram(file, asked === undefined ? undefined : this.#interpreter(process, asked));
    } catch (error) {
      return isVisorkitError(error) ? -Errno.ENOEXEC : errorResult(error);
    }
    const random = new Uint8Array(16);
    process.options.fillRandom(random);
    process.program?.leave();
    const { file } = program;
    file.references++;
    process.program = new ProgramFile(program.node, program.path, () => FileTable.release(file));
    process.starts(program);
    for (const forget of process.onProgram) forget();
    process.files = process.files.afterExec();
    this.#write(process, plan, program, random);
    return EXEC;
  }

  /** The new program is mapped: writes its stack. Returns RSP. */
  stack(features: ProcessorFeatures): number {
    const next = this.#next;
    if (next === undefined)
      throw new VisorkitError('SANDBOX_DOORBELL', 'The guest kernel asks for a stack and starts no program.');
    this.#next = undefined;
    const { pointer, bytes, auxiliary } = buildStack(next, features);
    this.memory.write(pointer, bytes);
    next.process.auxiliary = auxiliary;
    return pointer;
  }

  /** Opens a program that another one asks for. Throws LinuxError, PROGRAM_FORMAT, ELF_MALFORMED. */
  #interpreter(process: Process, path: string): PlannedFile {
    const found = process.space.resolve({ names: process.cwd }, path, { follow: true });
    try {
      const handle = (found.node ?? raise('ENOENT')).open(0);
      return this.#open(new HandleFile(handle, `/${found.names.join('/')}`), path);
    } finally {
      found.close();
    }
  }

  #open(file: OpenFile, name: string): PlannedFile {
    file.references++;
    try {
      const stat = file.stat();
      if ((stat.mode & FileMode.TYPE) !== FileMode.REGULAR || stat.size > MOST_BYTES) raise('EACCES');
      const image = new Uint8Array(stat.size),
        read = (offset: number, length: number): void => readAll(file, image.subarray(offset, offset + length), offset);
      read(0, PAGE);
      if (!isElf(image)) raise('ENOEXEC');
      if (image.length >= ELF_HEADER) read(headersOf(image).headerOffset, headersOf(image).headerCount * HEADER_SIZE);
      const elf = checkProgram(image, name);
      for (const { type, offset, fileSize } of elf.segments) if (type === ElfSegmentType.INTERP) read(offset, fileSize);
      const handle = this.files.open(file, Prot.READ, MAP_PRIVATE);
      if (handle < 0) throw new LinuxError(-handle);
      return { elf, ...headersOf(image), handle };
    } finally {
      FileTable.release(file);
    }
  }

  #write(
    process: Process,
    plan: ProgramPlan,
    start: Pick<StackContents, 'args' | 'env' | 'execName'>,
    random: Uint8Array,
  ): void {
    const { uid, gid } = process.identity,
      { args, env, execName } = start;
    this.#next = { process, plan, args, env, execName, random, uid, gid };
    const set = (offset: number, value: number | bigint): void =>
      this.ram.writeU64(this.#planPage + offset, BigInt(value));
    set(Plan.ENTRY, plan.entry);
    set(Plan.BREAK, plan.end);
    set(Plan.STACK_PROT, Prot.READ | Prot.WRITE | (plan.executableStack ? Prot.EXEC : 0));
    set(Plan.STACK_BYTES, stackBytes(start));
    set(Plan.COUNT, plan.segments.length);
    for (const [i, segment] of plan.segments.entries()) {
      const at = Plan.SEGMENTS + i * Segment.SIZE;
      set(at + Segment.START, segment.start);
      set(at + Segment.FILE_END, segment.fileEnd);
      set(at + Segment.END, segment.end);
      set(at + Segment.OFFSET, segment.offset);
      set(at + Segment.HANDLE, segment.handle);
      set(at + Segment.PROT, segment.prot);
    }
  }
}

function readAll(file: OpenFile, target: Uint8Array, position: number): void {
  for (let done = 0; done < target.length; ) {
    const count = file.readAt(target.subarray(done), position + done);
    if (count <= 0) return;
    done += count;
  }
}

/** An interpreter's file, which no descriptor of the program leads to. */
class HandleFile extends OpenFile {
  constructor(
    private readonly handle: FileHandle,
    readonly name: string,
  ) {
    super(0);
  }
  stat(): FileStat {
    return this.handle.stat();
  }
  override readAt(target: Uint8Array, position: number): number {
    return this.handle.read(target, position);
  }
  override close(): void {
    this.handle.close();
  }
}
