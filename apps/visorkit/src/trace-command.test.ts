/** `visorkit trace`: its options, its outputs, and that a guest does not notice. */
import { readFileSync } from 'node:fs';
import { GuestCode } from '@visorkit/testkit';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { Scratch, cli } from './test-cli.js';

vi.mock('node:fs', async (original) =>
  (await import('./test-writes.js')).catchWrites(await original<typeof import('node:fs')>()),
);

const scratch = new Scratch();
afterAll(() => scratch.remove());

/** CPUID twice, prints "hi", reads IA32_TSC_AUX, halts. */
const guest = scratch.file(
  'guest.bin',
  new GuestCode().cpuid().cpuid().print('hi').raw(0x66, 0xb9, 0x03, 0x01, 0x00, 0xc0).rdmsr().cli().hlt().build(),
);
/** The guest under a command that runs one, in virtual time. */
const play = (command: string, ...more: string[]) =>
  cli(command, '--kernel', guest, '--mode', 'real16', '--time', 'virtual', ...more);
const trace = (...more: string[]) => play('trace', '--output', '-', ...more);
const lines = (text: string): Record<string, unknown>[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('trace', () => {
  it('takes the options of run', async () => {
    const [run, traced] = [await cli('help', 'run'), await cli('help', 'trace')];
    const options = (text: string): string[] => [...text.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, name]) => name);
    expect(options(traced.out)).toEqual(expect.arrayContaining(options(run.out)));
    expect(options(traced.out)).toEqual(expect.arrayContaining(['--exits', '--vmcs-writes', '--top', '--output']));
  });

  it('shows all exits, and ends as run does', async () => {
    const { status, out, err } = await trace('--format', 'json');
    expect(status).toBe(68);
    expect(err).toContain('halted');
    expect(lines(out).map(({ reason }) => reason)).toEqual(['cpuid', 'cpuid', 'io', 'io', 'hlt']);
  });

  it('is the same twice', async () => {
    const all = ['--exits', '--io', '--msr', '--interrupts', '--ept-roots', '--vmcs-loads', '--vmcs-writes'];
    const [first, second] = [await trace(...all), await trace(...all)];
    expect(first.out.split('\n').length).toBeGreaterThan(10);
    expect(first.out).toBe(second.out);
  });

  it('does not change what the guest does, nor its time', async () => {
    const report = scratch.path('report.json');
    const read = (): unknown => {
      const { guestInstructions, guestNanoseconds, exits } = JSON.parse(readFileSync(report, 'utf8')) as Record<
        string,
        unknown
      >;
      return { guestInstructions, guestNanoseconds, exits };
    };
    await play('run', '--serial', 'none', '--report', report);
    const plain = read();
    await trace('--exits', '--io', '--vmcs-writes', '--report', report);
    expect(read()).toEqual(plain);
  });

  it('lets an MSR exit that is named', async () => {
    expect((await trace('--msr')).out).toBe('');
    const { out } = await trace('--msr', '0xc0000103', '--format', 'json');
    expect(lines(out)).toMatchObject([
      { kind: 'msr', msr: '0xc0000103', write: false, value: '0x0', outcome: 'resume' },
    ]);
  });

  it('shows stacks while an introspector answers too', async () => {
    const { status, out, err } = await trace('--stack', '--introspector', scratch.path('socket'));
    expect(err).not.toContain('PLUGIN_DUPLICATE');
    expect(status).toBe(68);
    expect(out).toContain('cpuid');
  });

  it('filters and counts', async () => {
    expect((await trace('--count', 'reason,rip', '--filter', 'reason != hlt')).out).toBe(
      [
        '       count  reason  rip',
        '           1  cpuid   0x1000',
        '           1  cpuid   0x1002',
        '           1  io      0x1009',
        '           1  io      0x100c',
        '           4  in all',
        '',
      ].join('\n'),
    );
  });

  it('tells the VMCS and the EPT tables that are entered, by address', async () => {
    const { out } = await trace('--vmcs-loads', '--ept-roots', '--format', 'json');
    const [load, root] = lines(out);
    expect(load).toMatchObject({ kind: 'vmcs-load', after: expect.stringMatching(/^0x[0-9a-f]+000$/) });
    expect(root).toMatchObject({ kind: 'ept-root', index: 0, after: expect.stringMatching(/^0x[0-9a-f]+01e$/) });
    expect(lines(out)).toHaveLength(2);
  });

  it('tells what the hypervisor writes between exit and entry', async () => {
    const { out } = await trace('--vmcs-writes', 'guest_rip', '--format', 'json');
    const [first] = lines(out);
    expect(first).toMatchObject({ kind: 'vmcs-write', field: 'GUEST_RIP' });
    expect(Number(first.after) - Number(first.before)).toBe(2); // CPUID has been carried out
  });

  it('measures', async () => {
    const { out } = await trace('--histogram', '--exits', 'cpuid', '--count');
    expect(out).toMatch(/^handling, cpuid: 2 times/m);
    expect(out).toMatch(/^guest, cpuid: 2 times, 0 ns in all, 0 to 0 ns/m);
  });

  it('writes a file that Perfetto opens', async () => {
    const path = scratch.path('trace.json');
    await play('trace', '--format', 'trace-event', '--output', path);
    const { traceEvents } = JSON.parse(readFileSync(path, 'utf8')) as { traceEvents: { ph: string }[] };
    expect(traceEvents.map(({ ph }) => ph)).toEqual(['M', 'X', 'X', 'X', 'X', 'X']);
  });

  it.each([
    [['--exits', 'cpuidd'], 'EXIT_REASON_UNKNOWN'],
    [['--filter', 'rip =='], 'TRACE_FILTER'],
    [['--count', 'ripp'], 'TRACE_FIELD'],
    [['--vmcs-writes', 'guest_rib'], 'TRACE_FIELD'],
    [['--msr', 'lots'], 'OPTION_VALUE'],
    [['--format', 'xml'], 'OPTION_VALUE'],
    [['--top'], 'OPTION_VALUE'],
    [['--memory', 'much'], 'SIZE'],
  ])('refuses %s', async (more, code) => {
    const { status, err } = await cli('trace', '--kernel', guest, '--mode', 'real16', ...more);
    expect(status).toBe(2);
    expect(err).toContain(code);
  });

  it('refuses a file that cannot be written, before the guest starts', async () => {
    const { status, err } = await trace('--output', '/nowhere/trace');
    expect(status).toBe(78);
    expect(err).toContain('OUTPUT_FILE');
  });
});

it('ept shows the tables of a guest when its run ends', async () => {
  const { status, out } = await play('ept', '--memory', '64M', '--cpus', '2');
  expect(status).toBe(68);
  expect(
    out
      .split('\n')
      .slice(0, 5)
      .map((line) => line.replace(/0x[0-9a-f]{6,}/g, 'N')),
  ).toEqual([
    'vCPU 0, vCPU 1; 1 view of memory',
    'EPT pointer N: 4 levels, tables WB, no accessed and dirty flags',
    '  PML4E 0: 0x0-N rwx table N',
    '    PDPTE 0: 0x0-N rwx table N',
    '      PDE 0-31: 0x0-N rwx 32 pages of 2 MiB, 64 MiB at N WB',
  ]);
});
