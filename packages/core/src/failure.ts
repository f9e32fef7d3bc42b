/** The report of a run that failed: the exit, the vCPU, the code at RIP, and the plugins that could have handled the exit. */
import { isVisorkitError } from './errors.js';
import type { VmExit } from './exit.js';
import { exitReasonEntry, exitReasonName, ExitReason } from './exit-reasons.js';
import type { Disassembler, GuestMemory } from './platform.js';
import type { PluginEntry } from './plugin-list.js';
import type { ExitSummary, FailureReport, GuestCode } from './report.js';
import type { Vcpu } from './vcpu.js';

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** Copies what matters of an exit. */
export function summarizeExit(exit: VmExit): ExitSummary {
  const summary: ExitSummary = {
    reason: exit.reason,
    name: exitReasonName(exit.reason),
    title: exitReasonEntry(exit.reason)?.title ?? 'Unknown exit reason',
    qualification: hex(exit.qualification64),
    instructionLength: exit.instructionLength,
  };
  if (exit.reason === ExitReason.EPT_VIOLATION || exit.reason === ExitReason.EPT_MISCONFIGURATION) {
    summary.gpa = hex(exit.gpa);
    summary.guestLinear = hex(exit.guestLinear);
  }
  if (exit.reason === ExitReason.IO) {
    const { port, size, input, value } = exit.io;
    summary.io = { port: hex(port), size, direction: input ? 'in' : 'out', value: hex(value >>> 0) };
  }
  if (exit.mmio.valid) {
    const { gpa, size, write, value, valueHigh } = exit.mmio;
    summary.mmio = {
      gpa: hex(gpa),
      size,
      direction: write ? 'write' : 'read',
      value: hex((BigInt(valueHigh >>> 0) << 32n) | BigInt(value >>> 0)),
    };
  }
  if (exit.interruptionInfo >= 0x8000_0000) summary.interruption = hex(exit.interruptionInfo);
  if (exit.idtVectoringInfo >= 0x8000_0000) summary.idtVectoring = hex(exit.idtVectoringInfo);
  return summary;
}

/** Machine code at RIP: up to `count` instructions, or 16 bytes when there is no disassembler. */
export function codeAt(vcpu: Vcpu, memory: GuestMemory, disassembler: Disassembler | undefined, count = 5): string[] {
  const bits = vcpu.codeBits;
  let linear = bits === 64 ? vcpu.rip : (vcpu.getSegment(1).base + vcpu.rip) & 0xffff_ffffn;
  const address = vcpu.rip;
  const bytes: number[] = [];
  while (bytes.length < 15 * count) {
    const gpa = vcpu.translate(linear, 'probe');
    if (gpa < 0 || !memory.contains(gpa, 1)) break;
    bytes.push(memory.readU8(gpa));
    linear = BigInt.asUintN(bits === 64 ? 64 : 32, linear + 1n);
  }
  if (bytes.length === 0) return [`${hex(address)}: no memory is mapped here`];
  if (disassembler !== undefined) return disassembler.disassemble(Uint8Array.from(bytes), address, bits, count);
  return [
    `${hex(address)}: ${bytes
      .slice(0, 16)
      .map((byte) => byte.toString(16).padStart(2, '0'))
      .join(' ')}`,
  ];
}

/** Guest code that an error is about: the list `guestCode` of its details, if it has one. The report shows it in the place of the code at RIP. */
function guestCodeOf(error: unknown): readonly GuestCode[] | undefined {
  const code = isVisorkitError(error) ? error.details?.guestCode : undefined;
  return Array.isArray(code) ? (code as GuestCode[]) : undefined;
}

function codeLines({ rip, bits, bytes }: GuestCode, disassembler: Disassembler | undefined): string[] {
  const pairs = bytes.match(/../g) ?? [];
  if (disassembler === undefined) return [`${rip}: ${pairs.join(' ')}`];
  const code = Uint8Array.from(pairs, (pair) => parseInt(pair, 16));
  return disassembler.disassemble(code, BigInt(rip), bits, code.length);
}

/**
 * Everything about a failure; `error` is what was thrown, if something was. Never throws: a part that cannot be read (because the vCPU itself is
 * broken) is left out.
 */
export function reportFailure(
  vcpu: Vcpu,
  memory: GuestMemory,
  disassembler: Disassembler | undefined,
  { plugin, error: thrown }: { plugin?: string | undefined; error?: unknown } = {},
): FailureReport {
  const exit = summarizeExit(vcpu.exit);
  let code: string[];
  try {
    code = guestCodeOf(thrown)?.flatMap((part) => codeLines(part, disassembler)) ?? codeAt(vcpu, memory, disassembler);
  } catch (error) {
    code = [`could not be read: ${error instanceof Error ? error.message : String(error)}`];
  }
  const report: FailureReport = { exit, vcpu: vcpu.snapshot(), code };
  if (plugin !== undefined && plugin !== '') report.plugin = plugin;
  return report;
}

/**
 * A sentence that says which plugins could handle an exit that nobody handled. `others` are plugins that the caller knows of but has left
 * out. `brokenRule`: the rule that failed, if the exit is a failed VM entry.
 */
export function suggestTaker(exit: VmExit, others: readonly PluginEntry[], brokenRule?: string): string {
  if (exit.entryFailure) {
    return `The processor refused the guest state: ${brokenRule ?? 'the VM-entry checks of SDM 3C chapter 27 failed'}. Check the state that the boot loader, or the plugin that last wrote to the vCPU, has set.`;
  }
  const exitName = exitReasonName(exit.reason);
  const takers = others
    .map((entry) => ('plugin' in entry ? entry.plugin : entry))
    .filter(({ handles }) => handles?.some((handled) => handled === exitName) === true)
    .map(({ name }) => name);
  if (takers.length === 0) return `A plugin that taps hooks.exit.for("${exitName}") can take it.`;
  return `The plugin ${takers.join(' or ')} takes it, or one of your own that taps hooks.exit.for("${exitName}").`;
}
