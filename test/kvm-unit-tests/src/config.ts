/** Reads x86/unittests.cfg: sections of `key = value` lines, values perhaps quoted, and `"""` around some of several lines. */

/** One entry of the configuration. */
export interface SuiteEntry {
  readonly name: string;
  readonly file: string;
  /** Command line of the program. */
  readonly args: string;
  readonly cpus: number;
  /** Megabytes of RAM. */
  readonly memory: number;
  /** Seconds; the suite's own default is 90. */
  readonly timeout: number;
  readonly arch?: string;
  readonly groups: readonly string[];
  /** How the processor differs from all that there is, from QEMU's -cpu: `-name`, `+vmx`, `+vmx-name`, `vendor=`, `phys-bits=`. */
  readonly cpu: readonly string[];
  /** True for a program that is in the folder but not in the configuration. */
  readonly unlisted?: boolean;
}

export const DEFAULT_TIMEOUT = 90;
export const DEFAULT_MEMORY = 128;

/** @param now seconds since 1970, for arguments that ask the shell for the date */
export function parseConfig(text: string, now: number): SuiteEntry[] {
  const entries: SuiteEntry[] = [];
  let name: string | undefined;
  let values = new Map<string, string>();
  const finish = (): void => {
    if (name !== undefined && values.has('file')) entries.push(toEntry(name, values, now));
    values = new Map();
  };
  const lines = text.split(/\r?\n/);
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at].trim();
    if (line === '' || line.startsWith('#')) continue;
    const section = /^\[(.+)\]$/.exec(line);
    if (section !== null) {
      finish();
      name = section[1];
      continue;
    }
    const pair = /^(\w+)\s*=\s*(.*)$/.exec(line);
    if (pair === null) continue;
    let value = pair[2];
    if (value.startsWith('"""')) {
      value = value.slice(3);
      while (!value.endsWith('"""') && at + 1 < lines.length) value += `\n${lines[++at].trimEnd()}`;
      value = value.replace(/"""$/, '');
    }
    values.set(pair[1], value);
  }
  finish();
  return entries;
}

function toEntry(name: string, values: ReadonlyMap<string, string>, now: number): SuiteEntry {
  const get = (key: string): string => values.get(key) ?? '';
  const qemu = get('qemu_params') || get('extra_params');
  const memory = /(?:^|\s)-m\s+(\d+)([gGmM]?)/.exec(qemu);
  // versions of the suite before 2025 give the arguments to QEMU
  const append = /(?:^|\s)-append\s+('[^']*'|"[^"]*"|\S+)/.exec(qemu);
  const cpu = /(?:^|\s)-cpu\s+(\S+)/.exec(qemu);
  return {
    name,
    file: get('file'),
    args: unquote(get('test_args') || (append?.[1] ?? '')).replace(/`date \+%s`/g, String(now)),
    cpus: Number(get('smp').replace(/\D.*$/, '') || 1),
    memory: memory === null ? DEFAULT_MEMORY : Number(memory[1]) * (/g/i.test(memory[2]) ? 1024 : 1),
    timeout: Number(get('timeout').replace(/s$/, '') || DEFAULT_TIMEOUT),
    ...(values.has('arch') ? { arch: get('arch') } : {}),
    groups: get('groups')
      .split(/\s+/)
      .filter((group) => group !== ''),
    cpu: processorOf(cpu?.[1] ?? ''),
  };
}

const BEFORE_SKYLAKE = ['pks', 'la57', 'umip', 'rdpid', 'sha', 'waitpkg', 'fsrm', 'serialize', 'spec-ctrl'];
/**
 * Of QEMU's processors those that the configuration names in order to have less than there is: what the programs can find and these do not have.
 * Others, as `qemu64`, are all that there is, but for what is left out by name.
 */
const MODELS: ReadonlyMap<string, readonly string[]> = new Map([
  ['Skylake-Server', BEFORE_SKYLAKE],
  ['IvyBridge', ['pku', ...BEFORE_SKYLAKE, 'smap', 'pcid', 'invpcid', 'xsaves', 'page1gb', 'tsc-adjust']],
]);

function processorOf(text: string): string[] {
  const [model, ...flags] = text.split(',');
  // +name is of no interest but for VMX, and to give back what the model does not have
  const given = new Set(flags.filter((flag) => flag.startsWith('+')).map((flag) => flag.slice(1)));
  return [
    ...(MODELS.get(model) ?? []).filter((name) => !given.has(name)).map((name) => `-${name}`),
    ...flags.filter((flag) => /^(-|\+vmx|vendor=|phys-bits=)/.test(flag)),
  ];
}

/** Takes one pair of quotes off. */
function unquote(text: string): string {
  return /^(['"]).*\1$/s.test(text) ? text.slice(1, -1) : text;
}

/** The configuration's own entries for vmx.flat, those that are not run by default among them. */
export function vmxConfigurations(configured: readonly SuiteEntry[]): SuiteEntry[] {
  return configured.filter(({ file }) => file === VMX_FILE).map((entry) => ({ ...entry, groups: [] }));
}

const VMX_FILE = 'vmx.flat';

/** Megabytes that the tests of EPT need: a page of 1 GiB, aligned. */
const VMX_MEMORY = 2560;

/**
 * One entry for each test of vmx.flat that can be chosen by name: those of main() in `main` (vmx.c) and of the table in `table` (vmx_tests.c). CPUs, time
 * limit and processor are those of the configuration's entry that runs the test, where there is one for it alone.
 */
export function vmxEntries(main: string, table: string, configured: readonly SuiteEntry[]): SuiteEntry[] {
  const tests = table.slice(table.indexOf('struct vmx_test vmx_tests[]'));
  const names = [
    ...[...main.matchAll(/test_wanted\("([^"]+)"/g)].map(([, name]) => name),
    ...[...tests.matchAll(/^\s*(?:\{\s*"([^"]+)"|TEST\((\w+)\))/gm)].map(([, first, second]) => first ?? second),
  ].map((name) => name.replaceAll(' ', '_'));
  const vmx = configured.filter(({ file }) => file === VMX_FILE);
  return [...new Set(names)].map((name) => {
    const own = vmx.find(({ args }) => args === name) ?? vmx.find(({ args }) => args.split(/\s+/).includes(name));
    return {
      name,
      file: VMX_FILE,
      args: name,
      cpus: own?.cpus ?? (name === 'nmi_hlt' ? 2 : 1),
      memory: VMX_MEMORY,
      timeout: Math.max(own?.timeout ?? DEFAULT_TIMEOUT, DEFAULT_TIMEOUT),
      groups: [],
      cpu: own?.cpu.includes('+vmx') === true ? own.cpu : ['+vmx'],
    };
  });
}
