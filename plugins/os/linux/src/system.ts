/** Facts about the kernel as a whole: how and when it was started, and who has which physical addresses. */
import { Bound } from '@visorkit/vmi';
import type { StructView } from '@visorkit/vmi';
import { MOST_ELEMENTS } from './kernel.js';
import { logRecords } from './log.js';
import type { KernelBase } from './kernel.js';

const LONGEST = 4096;
const NANOSECONDS = 1_000_000_000n;

/** As /proc/version has it. */
export function bannerOf(kernel: KernelBase): string {
  const at = kernel.address('linux_banner');
  return (at === undefined ? kernel.bannerInImage() : kernel.space.text(at, LONGEST)).trimEnd();
}

const LOGGED = 'Kernel command line: ';
/** A line of the log has at most some 1000 bytes, so that a long one may not be whole (LOG_LINE_MAX of 4.x). */
const LONGEST_LOGGED = 900;

/** As /proc/cmdline has it; as the log has it where no symbol says where it is. Throws `LINUX_SYMBOLS`. */
export function commandLineOf(kernel: KernelBase): string {
  if (kernel.address('saved_command_line') === undefined)
    for (const { text } of logRecords(kernel))
      if (text.startsWith(LOGGED) && text.length < LONGEST_LOGGED) return text.slice(LOGGED.length);
  return kernel.space.text(kernel.pointerAt(kernel.symbol('saved_command_line')), LONGEST);
}

/**
 * Seconds from 1970 to the boot, as `btime` in /proc/stat. Undefined where the kernel has no copy of its clock under a name of its own, or one that has no time.
 */
export function bootTimeOf(kernel: KernelBase): bigint | undefined {
  const at = kernel.address('shadow_timekeeper');
  if (at === undefined) return undefined;
  const clock = kernel.struct('timekeeper', at);
  const nanoseconds = BigInt.asIntN(64, clock.big('offs_real') - clock.big('offs_boot'));
  return nanoseconds < 0n ? undefined : nanoseconds / NANOSECONDS;
}

export interface LinuxResource {
  readonly start: bigint;
  /** The last address. */
  readonly end: bigint;
  readonly name: string;
  /** 0 for the outermost. */
  readonly depth: number;
}

/** As /proc/iomem has them. */
export function* iomem(kernel: KernelBase): Generator<LinuxResource, void, undefined> {
  const open: { resource: StructView; depth: number }[] = [];
  const root = kernel.struct('resource', kernel.symbol('iomem_resource'));
  const push = (resource: StructView | undefined, depth: number): void => {
    if (resource !== undefined) open.push({ resource, depth });
  };
  const seen = new Set<bigint>();
  const bound = new Bound(kernel.memory, 'resources', MOST_ELEMENTS);
  push(root.follow('child'), 0);
  while (open.length > 0 && bound.take()) {
    const { resource, depth } = open.pop()!;
    if (seen.has(resource.address)) continue;
    seen.add(resource.address);
    const name = resource.big('name');
    yield {
      start: resource.big('start'),
      end: resource.big('end'),
      name: name === 0n ? '' : kernel.space.text(name, LONGEST),
      depth,
    };
    push(resource.follow('sibling'), depth);
    push(resource.follow('child'), depth + 1);
  }
}
