/** libvmi.conf, as LibVMI's own grammar has it (config/grammar.y), and what a mistake is answered with. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attempt } from '../../samples/samples.js';
import { isLibvmiConf, parseLibvmiConf } from './libvmi-conf.js';

const CONF = `# All guests of this host
win7-sp1 {
    ostype = "Windows";
    rekall_profile = "/profiles/nt 7.json";   # as made by rekall
    win_tasks = 0xb8;
    win_pid   = 180; kpgd = 0x185000;
}
"debian 12" {
    ostype = "Linux"; sysmap = "/boot/System.map-6.1";
    linux_init_task = 0xffffffff82613940;
    pagemode = "VMI_PM_IA32E";
}
empty { }
`;

describe('a libvmi.conf', () => {
  it('gives the values and files of each guest', () => {
    expect(parseLibvmiConf(CONF)).toEqual([
      {
        name: 'win7-sp1',
        line: 2,
        values: { ostype: 'Windows', win_tasks: 0xb8n, win_pid: 180n, kpgd: 0x18_5000n },
        files: { rekall_profile: '/profiles/nt 7.json' },
      },
      {
        name: 'debian 12',
        line: 8,
        values: { ostype: 'Linux', linux_init_task: 0xffff_ffff_8261_3940n, pagemode: 'VMI_PM_IA32E' },
        files: { sysmap: '/boot/System.map-6.1' },
      },
      { name: 'empty', line: 13, values: {}, files: {} },
    ]);
  });

  it('has every key of LibVMI', () => {
    const keys =
      `kpgd linux_tasks linux_mm linux_pid linux_name linux_pgd linux_addr linux_init_task linux_kaslr win_ntoskrnl win_ntoskrnl_va win_tasks
      win_pdbase win_pid win_pname win_kdvb win_kdbg win_kpcr win_sysproc freebsd_name freebsd_pid freebsd_vmspace freebsd_pmap freebsd_pgd
      aarch64_ttbr0_va_width aarch64_ttbr1_va_width aarch64_ttbr0_granule_size aarch64_ttbr1_granule_size`.split(/\s+/);
    const [{ values }] = parseLibvmiConf(`{ ${keys.map((key, index) => `${key} = ${index};`).join(' ')} }`);
    expect(Object.keys(values)).toEqual(keys);
    const [{ files }] = parseLibvmiConf('{ sysmap = "a"; rekall_profile = "b"; volatility_ist = "c"; }');
    expect(files).toEqual({ sysmap: 'a', rekall_profile: 'b', volatility_ist: 'c' });
  });

  it('may be the string form, one block alone', () => {
    const [domain, ...more] = parseLibvmiConf('{ostype = "Linux"; sysmap="/boot/map"; linux_pid=0x970;}');
    expect(domain).toMatchObject({
      name: '',
      values: { ostype: 'Linux', linux_pid: 0x970n },
      files: { sysmap: '/boot/map' },
    });
    expect(more).toEqual([]);
  });

  it('is recognised', () => {
    for (const text of [CONF, '{ostype = "Linux";}', 'x{}', '# c\n\n"a b" { # d\n kpgd = 1; }'])
      expect(isLibvmiConf(text), text).toBe(true);
    for (const text of ['', '{"metadata": {}}', 'ffffffff81000000 T _text', '# only a comment']) {
      expect(isLibvmiConf(text), text).toBe(false);
    }
  });

  it('is looked for in no time in any text', () => {
    expect(isLibvmiConf(`a {${'#'.repeat(4000)}`)).toBe(false);
    expect(isLibvmiConf(`${'#\n'.repeat(2000)}${' '.repeat(4000)}`)).toBe(false);
  });

  it.each([
    ['a {\n linux_pids = 4;\n}', /line 2: there is no key "linux_pids"; did you mean "linux_pid"\.$/],
    ['a {\n\n frob = 4;\n}', /line 3: there is no key "frob"/],
    ['a { win_pid = "0x"; }', /line 1: "win_pid" is "0x"; a number of up to 64 bits/],
    ['a { win_pid = 0x1ffffffffffffffff; }', /a number of up to 64 bits/],
    ['a { win_pid = 99999999999999999999; }', /a number of up to 64 bits/],
    ['a { ostype = "Linus"; }', /"ostype" is "Linus"; Windows, Linux, FreeBSD, OSX are right/],
    ['a { kpgd = 1; kpgd = 2; }', /"kpgd" is there twice/],
    ['a { }\na { }', /line 2: there are two blocks "a"/],
    ['a { kpgd 1; }', /a value is given with =.*"1" stands there/],
    ['a { kpgd = 1 }', /a value ends with ;/],
    ['a { kpgd = ; }', /";" stands where the value of "kpgd" would be right/],
    ['a { kpgd = 1;', /the block a \{ has no \}/],
    ['a kpgd = 1;', /the block of a guest begins with \{/],
    ['a { sysmap = "/boot\n; }', /a text has no second " on its line/],
    ['', /it has no block/],
    ['= {', /"=" stands where the name of a guest/],
  ])('%j is refused with its line', (text, sentence) => {
    expect(attempt('VMI_CONF', () => parseLibvmiConf(text))).toMatch(sentence);
  });

  it('of random text is refused, or read', () => {
    const piece = fc.constantFrom(
      '{',
      '}',
      '=',
      ';',
      '"',
      'kpgd',
      'ostype',
      '0x10',
      '\n',
      '#',
      ' ',
      'Linux',
      '__proto__',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join('')),
        ),
        (text) => {
          isLibvmiConf(text);
          attempt('VMI_CONF', () => parseLibvmiConf(text));
        },
      ),
      { numRuns: 1000 },
    );
  });
});
