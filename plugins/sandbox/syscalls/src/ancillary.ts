/** What goes along with a message over a local socket: open files, and who sent it (unix(7), cmsg(3)). */
import { FileTable } from '@visorkit/linux-abi';
import type { FilesInFlight, OpenFile, SystemCall } from '@visorkit/linux-abi';
import { Errno, errorResult, raise } from '@visorkit/sandbox-fs';

const SOL_SOCKET = 1;
const SCM = { RIGHTS: 1, CREDENTIALS: 2 } as const;
/** `struct cmsghdr`; what follows is aligned to 8 bytes. */
const Control = { LENGTH: 0, LEVEL: 8, TYPE: 12, HEADER: 16 } as const;
const CREDENTIALS_SIZE = 12;
/** Files in one message (SCM_MAX_FD). */
const MOST_FILES = 253;
export const MSG_CTRUNC = 8;
const aligned = (length: number): number => Math.ceil(length / 8) * 8;

/** `struct ucred`. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}
export const credentialsOf = ({ process: { pid, identity } }: SystemCall): Credentials => ({ pid, ...identity });
export function credentialBytes({ pid, uid, gid }: Credentials): Uint8Array {
  return new Uint8Array(Uint32Array.of(pid, uid, gid).buffer);
}

/** What goes along where nobody asked who sent it. */
export const NOBODY: Credentials = { pid: 0, uid: 65_534, gid: 65_534 };

/** What a sender gives along. */
export interface Outgoing {
  readonly files: readonly OpenFile[];
  readonly sender: Credentials;
  /** It says itself who it is. */
  readonly named: boolean;
}

/** Open files that are on their way in a message: each has one reference more until somebody takes it. */
export class Enclosed {
  constructor(
    readonly files: readonly OpenFile[],
    private readonly inFlight: FilesInFlight,
  ) {
    for (const file of files) file.references++;
    inFlight.add(files);
  }

  /** The same files for one more receiver, who only looked (MSG_PEEK). */
  copy(): Enclosed {
    return new Enclosed(this.files, this.inFlight);
  }

  /** They have arrived, or are lost: what nobody has taken is closed. */
  release(): void {
    this.inFlight.remove(this.files);
    for (const file of this.files) FileTable.release(file);
  }
}

/** Reads the control messages of a sender. Throws EINVAL, EBADF, EPERM, ETOOMANYREFS. */
export function readControl(call: SystemCall, at: number, length: number): Outgoing {
  const { memory, process } = call,
    files: OpenFile[] = [],
    own = credentialsOf(call);
  let sender = own,
    named = false;
  memory.prepare(at, length, false);
  for (let next = at; next + Control.HEADER <= at + length; ) {
    const size = memory.readU64(next + Control.LENGTH),
      data = next + Control.HEADER;
    if (size < Control.HEADER || next + size > at + length) raise('EINVAL');
    if (memory.readI32(next + Control.LEVEL) === SOL_SOCKET)
      switch (memory.readI32(next + Control.TYPE)) {
        case SCM.RIGHTS:
          if (files.length + Math.floor((size - Control.HEADER) / 4) > MOST_FILES) raise('EINVAL');
          for (let fd = data; fd + 4 <= next + size; fd += 4) files.push(process.files.get(memory.readI32(fd)));
          break;
        case SCM.CREDENTIALS:
          if (size !== Control.HEADER + CREDENTIALS_SIZE) raise('EINVAL');
          sender = { pid: memory.readI32(data), uid: memory.readU32(data + 4), gid: memory.readU32(data + 8) };
          if (own.uid !== 0 && (sender.pid !== own.pid || sender.uid !== own.uid || sender.gid !== own.gid))
            raise('EPERM');
          named = true;
          break;
        default:
          raise('EINVAL');
      }
    next += aligned(size);
  }
  if (files.length > 0 && process.options.inFlight.size >= process.files.limit) raise('ETOOMANYREFS');
  return { files, sender, named };
}

/** What a receiver asked for. */
interface Wanted {
  /** Where control messages go, and how much room there is. */
  readonly at: number;
  readonly length: number;
  readonly closeOnExec: boolean;
}

/** Gives a receiver the sender's name, if it wants that, and the files. The bytes that were used, and flags of the message. */
export function writeControl(
  call: SystemCall,
  { at, length, closeOnExec }: Wanted,
  sender: Credentials | undefined,
  enclosed: Enclosed | undefined,
): { used: number; flags: number } {
  let used = 0,
    flags = 0;
  const header = (size: number, type: number): Uint8Array => {
    const bytes = new Uint8Array(size),
      view = new DataView(bytes.buffer);
    view.setUint32(Control.LENGTH, size, true);
    view.setUint32(Control.LEVEL, SOL_SOCKET, true);
    view.setUint32(Control.TYPE, type, true);
    return bytes;
  };
  const put = (bytes: Uint8Array): void => {
    call.memory.write(at + used, bytes);
    used = Math.min(length, used + aligned(bytes.length));
  };
  if (sender !== undefined) {
    const size = Math.min(length, Control.HEADER + CREDENTIALS_SIZE);
    if (size < Control.HEADER + CREDENTIALS_SIZE) flags = MSG_CTRUNC;
    if (size >= Control.HEADER) {
      const bytes = header(size, SCM.CREDENTIALS);
      bytes.set(credentialBytes(sender).subarray(0, size - Control.HEADER), Control.HEADER);
      put(bytes);
    }
  }
  if (enclosed !== undefined) {
    const numbers: number[] = [],
      most = Math.floor((length - used - Control.HEADER) / 4);
    try {
      for (const file of enclosed.files.slice(0, Math.max(0, most)))
        numbers.push(call.process.files.add(file, closeOnExec));
    } catch (error) {
      if (errorResult(error) !== -Errno.EMFILE) throw error; // as many as there are descriptors for
    }
    if (numbers.length < enclosed.files.length) flags = MSG_CTRUNC;
    if (numbers.length > 0) {
      const bytes = header(Control.HEADER + 4 * numbers.length, SCM.RIGHTS);
      bytes.set(new Uint8Array(Int32Array.from(numbers).buffer), Control.HEADER);
      put(bytes);
    }
    enclosed.release();
  }
  return { used, flags };
}
