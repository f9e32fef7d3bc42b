/** The options of `visorkit trace` beside those of `run`. */
import type { Command } from 'commander';
import type { RunFlags } from './run-flags.js';

/** Options as commander gives them: an option whose value may be left out is `true` then. */
export interface TraceFlags extends RunFlags {
  exits?: string | true;
  msr?: string | true;
  io?: boolean;
  interrupts?: boolean;
  hypercalls?: boolean;
  vmcsLoads?: boolean;
  eptRoots?: boolean;
  vmcsWrites?: string | true;
  nested?: boolean;
  filter?: string;
  count?: string | true;
  histogram?: boolean;
  stack?: boolean;
  top?: boolean;
  format?: string;
  output?: string;
}

export function addTraceOptions(command: Command): Command {
  return command
    .option(
      '--exits [reasons]',
      'exits: all, or those with these reasons, as cpuid,io (default, if no other source is named)',
    )
    .option('--msr [numbers]', 'RDMSR and WRMSR that exit; MSRs that are named exit for it')
    .option('--io', 'accesses to devices, by ports and by memory')
    .option('--interrupts', 'interrupts and NMIs that are injected')
    .option('--hypercalls', 'VMCALL, with arguments and result')
    .option('--vmcs-loads', 'another VMCS becomes current')
    .option('--ept-roots', 'another EPT pointer is set')
    .option(
      '--vmcs-writes [fields]',
      'fields that the hypervisor writes: all, or these, as tsc_offset,exception_bitmap',
    )
    .option(
      '--nested',
      'VMX instructions of a guest hypervisor, and exits of its guests with who handles them; needs --cpu max,+vmx',
    )
    .option('--filter <expression>', "events for which it holds, as 'reason == cpuid && cpl == 3'")
    .option('--count [fields]', 'count events by these fields instead of showing them (default reason)')
    .option('--histogram', 'times by exit reason: of handling, and of the guest between exits')
    .option('--stack', "the stack of the guest's kernel by symbol, with each event")
    .option('--top', 'a live table of --count in the terminal')
    .option('--format <name>', 'text (default), json (a line for each event), or trace-event (for Perfetto and Chrome)')
    .option('--output <file>', 'where events and counts go (default standard error, - standard output)');
}
