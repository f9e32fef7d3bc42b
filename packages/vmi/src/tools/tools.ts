/** The tools that there are for a guest: the general ones, and the reports of the profile that found its kernel. */
import { fail, instead } from '@visorkit/core';
import type { Undo } from '@visorkit/core';
import type { VmiEvents } from '../events/index.js';
import type { Cell, OsProfile, Report, ReportOptions } from '../profile.js';
import type { Vmi } from '../vmi.js';
import { WATCHES } from './event-tools.js';
import type { Watch } from './event-tools.js';
import { GENERAL_REPORTS } from './general.js';

/** A tool, ready to be asked. */
export interface Tool {
  readonly name: string;
  /** How its rows look; what it asks is the guest it was taken from. */
  readonly report: Pick<Report<never>, 'describe' | 'arguments' | 'columns' | 'line'>;
  /** Throws `VMI_ARGUMENT` for arguments that are missing or too many, and what the tool throws. */
  rows(options: ReportOptions): Iterable<readonly Cell[]>;
}

/** A tool by its name. Throws `VMI_TOOL`, and `VMI_NO_KERNEL` where only a profile could have it. */
export function toolOf(vmi: Vmi, name: string): Tool {
  const general = GENERAL_REPORTS[name] as Report<Vmi> | undefined;
  if (general !== undefined) return bound(name, general, vmi);
  const { kernel, profile } = vmi;
  const special = profile.reports[name] as Report<typeof kernel> | undefined;
  if (special !== undefined) return bound(name, special, kernel);
  const names = [...Object.keys(GENERAL_REPORTS), ...Object.keys(profile.reports), ...Object.keys(WATCHES)];
  const hint = instead(name, names);
  return fail('VMI_TOOL', `There is no tool "${name}" for ${kernel.os}${hint}${hint.endsWith('?') ? '' : '.'}`, {
    tool: name,
    tools: names,
  });
}

/** A tool that tells of events, bound to a VM that runs. */
export interface EventTool {
  readonly name: string;
  readonly report: Pick<Watch, 'describe' | 'arguments' | 'columns' | 'line'>;
  /** Throws `VMI_ARGUMENT`, and what subscribing throws. What it returns ends it. */
  watch(options: ReportOptions, tell: (row: readonly Cell[]) => void): Undo;
}

/** A tool of events by its name; undefined where the name is that of another tool, or of none. `events`: those of the VM; a dump has none. */
export function eventToolOf(vmi: Vmi, events: VmiEvents | undefined, name: string): EventTool | undefined {
  const report = WATCHES[name] as Watch | undefined;
  if (report === undefined) return undefined;
  return {
    name,
    report,
    watch(options, tell) {
      if (events === undefined)
        return fail('VMI_NOT_LIVE', `${name} tells what a guest does; a dump does nothing. Ask a VM that runs.`, {
          tool: name,
        });
      checkArguments(name, report, options);
      return report.watch({ vmi, events }, options, tell);
    },
  };
}

/** Every tool with what it does, by who has it: first the general ones, then those of each profile. */
export function toolList(
  profiles: readonly OsProfile[],
): { readonly of: string; readonly tools: Readonly<Record<string, Pick<Report<never>, 'describe' | 'arguments'>>> }[] {
  return [
    { of: 'every guest', tools: GENERAL_REPORTS },
    ...profiles.map(({ name, reports }) => ({ of: name, tools: reports })),
    { of: 'VMs that run', tools: WATCHES },
  ];
}

function bound<S>(name: string, report: Report<S>, of: S): Tool {
  return {
    name,
    report,
    rows(options) {
      checkArguments(name, report, options);
      return report.rows(of, options);
    },
  };
}

function checkArguments(
  name: string,
  { arguments: parts = [] }: Pick<Watch, 'arguments'>,
  options: ReportOptions,
): void {
  const given = options.arguments ?? [];
  const least = parts.filter(({ form }) => form.startsWith('<')).length;
  if (given.length >= least && given.length <= parts.length) return;
  const usage = [name, ...parts.map(({ form }) => form)].join(' ');
  fail('VMI_ARGUMENT', `${name} was given ${given.length} arguments; "${usage}" is right.`, { tool: name, given });
}
