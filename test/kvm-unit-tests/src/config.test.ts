/** Reading unittests.cfg, the command lines made of it, and the verdicts. */
import { describe, expect, it } from 'vitest';
import { parseConfig, vmxConfigurations, vmxEntries } from './config.js';
import { commandOf, judge } from './run-program.js';
import { formatTable, totalsOf } from './table.js';

const TEXT = `# a comment
[plain]
file = plain.flat

[full]
file = full.flat
smp = 4
test_args = 'one \`date +%s\` two'
qemu_params = -cpu qemu64,+x2apic,-pcid,vendor=AuthenticAMD -m 2g -enable-kvm
arch = x86_64
groups = a nodefault
timeout = 30s

#[off]
#file = off.flat
[long]
file = long.flat
extra_params = -m 512
[old]
file = old.flat
extra_params = -append 'one two' -cpu max
[args]
file = args.flat
test_args = """
-a
-b"""
`;

describe('the configuration', () => {
  const entries = parseConfig(TEXT, 1234);
  it('is read with its defaults', () => {
    expect(entries.map(({ name }) => name)).toEqual(['plain', 'full', 'long', 'old', 'args']);
    expect(entries[0]).toEqual({
      name: 'plain',
      file: 'plain.flat',
      args: '',
      cpus: 1,
      memory: 128,
      timeout: 90,
      groups: [],
      cpu: [],
    });
    expect(entries[1]).toEqual({
      name: 'full',
      file: 'full.flat',
      args: 'one 1234 two',
      cpus: 4,
      memory: 2048,
      timeout: 30,
      arch: 'x86_64',
      groups: ['a', 'nodefault'],
      cpu: ['-pcid', 'vendor=AuthenticAMD'],
    });
    expect([entries[2].memory, entries[3].args, entries[4].args.trim()]).toEqual([512, 'one two', '-a\n-b']);
  });
  it('becomes a command line', () => {
    const command = commandOf(entries[1], { suite: '/suite', maxCpus: 1, backend: 'vmx' }, '/report').join(' ');
    expect(command).toBe(
      'run --kernel /suite/x86/full.flat --debug-exit --testdev --memory 2048M --cpus 1 --timeout 30 --backend vmx --report /report --append one 1234 two --cpu max,-pcid,vendor=AuthenticAMD',
    );
  });
});

describe('vmx.flat', () => {
  const main = 'if (test_wanted("test_vmxon", argv, argc)) {\n';
  const table = `static void f(void) { TEST(x) }
struct vmx_test vmx_tests[] = {
\t{ "null", NULL, basic_guest_main },
\t{ "EPT A/D", ept_init },
\tTEST(vmx_sipi_signal_test),
};`;
  it('has an entry for each test that can be named, with what the configuration says of it', () => {
    const configured = parseConfig(
      '[sipi]\nfile = vmx.flat\nsmp = 2\ntest_args = vmx_sipi_signal_test\nqemu_params = -cpu max,+vmx,-pku\ntimeout = 240\n',
      0,
    );
    const entries = vmxEntries(main, table, configured);
    expect(entries.map(({ name }) => name)).toEqual(['test_vmxon', 'null', 'EPT_A/D', 'vmx_sipi_signal_test']);
    expect(entries[1]).toMatchObject({ args: 'null', memory: 2560, cpus: 1, timeout: 90, cpu: ['+vmx'] });
    expect(entries[3]).toMatchObject({ cpus: 2, timeout: 240, cpu: ['+vmx', '-pku'] });
  });
});

describe("the configuration's entries for vmx.flat", () => {
  const entries = vmxConfigurations(
    parseConfig(
      `[vmx]
file = vmx.flat
test_args = "-ept_access* -vmx_smp*"
qemu_params = -cpu max,+vmx
[other]
file = other.flat
[ept]
file = vmx.flat
test_args = "ept_access*"
qemu_params = -cpu max,host-phys-bits,+vmx,-vmx-mbec -m 2560
[ept-mbec]
file = vmx.flat
qemu_params = -cpu Skylake-Server,host-phys-bits,+vmx,+vmx-mbec,+umip -m 2560
[pf_vpid]
file = vmx.flat
smp = 2
test_args = "pf_vpid"
qemu_params = -cpu max,+vmx,-pku
groups = vmx nested_exception nodefault
timeout = 240
[reduced]
file = vmx.flat
qemu_params = -cpu IvyBridge,phys-bits=36,host-phys-bits=off,+vmx
`,
      0,
    ),
  );
  it('are all of them, those that are not run by default too, as they are', () => {
    expect(entries.map(({ name }) => name)).toEqual(['vmx', 'ept', 'ept-mbec', 'pf_vpid', 'reduced']);
    expect(entries[0]).toMatchObject({ args: '-ept_access* -vmx_smp*', cpus: 1, memory: 128, cpu: ['+vmx'] });
    expect(entries[1]).toMatchObject({ args: 'ept_access*', memory: 2560, cpu: ['+vmx', '-vmx-mbec'] });
    expect(entries[3]).toMatchObject({ cpus: 2, timeout: 240, groups: [], cpu: ['+vmx', '-pku'] });
  });
  it('have what a processor of that name has', () => {
    const [, , mbec, , reduced] = entries.map(({ cpu }) => cpu);
    expect(mbec).toEqual(expect.arrayContaining(['-la57', '-pks', '+vmx', '+vmx-mbec']));
    for (const flag of ['-pku', '-umip', '-smap']) expect(mbec).not.toContain(flag);
    expect(reduced).toEqual(expect.arrayContaining(['-pku', '-smap', '-la57', '-umip', 'phys-bits=36', '+vmx']));
    expect(reduced).not.toContain('host-phys-bits=off');
  });
});

describe('the verdict', () => {
  const exit = { reason: 'exit', why: '' };
  it.each<[number, string]>([
    [1, 'PASS'],
    [3, 'FAIL'],
    [77, 'SKIP'],
    [127, 'ABORT'],
  ])('of status %i', (status, verdict) => {
    expect(judge('', status, exit, '').verdict).toBe(verdict);
  });
  it('counts lines', () => {
    expect(judge('PASS: a\r\nFAIL: b\nSKIP: c\nPASSED\nXFAIL: d\n', 3, exit, '')).toEqual({
      verdict: 'FAIL',
      pass: 2,
      fail: 1,
      skip: 1,
      failures: ['FAIL: b'],
      skips: ['SKIP: c'],
    });
  });
  it('tells a time limit from other ends', () => {
    expect(judge('', 124, { reason: 'timeout', why: 'too long' }, '')).toMatchObject({
      verdict: 'TIMEOUT',
      why: 'too long',
    });
    expect(judge('', null, undefined, '')).toMatchObject({ verdict: 'TIMEOUT' });
    expect(judge('', 70, { reason: 'triple-fault', why: 'it crashed' }, '')).toMatchObject({
      verdict: 'STOPPED',
      why: 'it crashed',
    });
    expect(judge('', 2, undefined, 'visorkit: no such file\nmore')).toMatchObject({
      verdict: 'STOPPED',
      why: 'visorkit: no such file',
    });
    expect(judge('x\nUnhandled exception 6 #UD\n', 127, exit, '').why).toBe('Unhandled exception 6 #UD');
  });
  it('is summed up', () => {
    const result = {
      name: 'a',
      verdict: 'PASS' as const,
      pass: 1,
      fail: 0,
      skip: 2,
      seconds: 1.25,
      cpus: 2,
      cpusGiven: 1,
      failures: [],
      skips: [],
    };
    expect(totalsOf([result, { ...result, verdict: 'FAIL' }])).toEqual({
      programs: 2,
      verdicts: { PASS: 1, FAIL: 1 },
      pass: 2,
      fail: 0,
      skip: 4,
      seconds: 2.5,
    });
    expect(formatTable([result])).toContain('1 of 2 CPUs');
  });
});
