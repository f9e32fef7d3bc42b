/** The tools that there are for a guest: the general ones, and the reports of the profile that found its kernel. */
import { fail, instead } from '@visorkit/core';
import type { Cell, OsProfile, Report, ReportOptions } from '../profile.js';
import type { Vmi } from '../vmi.js';
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
  const names = [...Object.keys(GENERAL_REPORTS), ...Object.keys(profile.reports)];
  const hint = instead(name, names);
  return fail('VMI_TOOL', `There is no tool "${name}" for ${kernel.os}${hint}${hint.endsWith('?') ? '' : '.'}`, {
    tool: name,
    tools: names,
  });
}

/** Every tool with what it does, by who has it: first the general ones, then those of each profile. */
export function toolList(
  profiles: readonly OsProfile[],
): { readonly of: string; readonly tools: Readonly<Record<string, Report<never>>> }[] {
  return [
    { of: 'every guest', tools: GENERAL_REPORTS },
    ...profiles.map(({ name, reports }) => ({ of: name, tools: reports })),
  ];
}

function bound<S>(name: string, report: Report<S>, of: S): Tool {
  return {
    name,
    report,
    rows(options) {
      const parts = report.arguments ?? [];
      const given = options.arguments ?? [];
      const least = parts.filter(({ form }) => form.startsWith('<')).length;
      if (given.length < least || given.length > parts.length) {
        const usage = [name, ...parts.map(({ form }) => form)].join(' ');
        fail('VMI_ARGUMENT', `${name} was given ${given.length} arguments; "${usage}" is right.`, {
          tool: name,
          given,
        });
      }
      return report.rows(of, options);
    },
  };
}
