/** The labs of apps/introspect as they are run, on a booted Debian. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootedDebian } from './booted.js';
import { BOOT_TIMEOUT, findDebianGuest, titled } from './boots.js';

const BUILT = join(import.meta.dirname, '../../apps/introspect/dist/introspect.js');
const found = await findDebianGuest('amd64');

describe.skipIf(found.missing !== '' || !existsSync(BUILT))(titled('The labs (need a build)', found), () => {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-labs-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  let file: string;
  beforeAll(async () => {
    file = await bootedDebian(found.value);
  }, BOOT_TIMEOUT);
  const lab = (...args: string[]): { lines: string[]; error: string; status: number | null } => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [BUILT, ...args], { encoding: 'utf8' });
    return { lines: stdout.trimEnd().split('\n'), error: stderr, status };
  };

  it('say which Windows a guest is, or that it is none', () => {
    expect(lab('guid', file).lines[0]).toMatch(/^This is no Windows, but linux 6\./);
    expect(lab('guid', join(folder, 'none'))).toMatchObject({
      status: 1,
      error: expect.stringMatching(/no such file/) as string,
    });
    expect(lab()).toMatchObject({ status: 2, error: expect.stringMatching(/^introspect guid FILE \|/) as string });
  });

  it(
    'tell changes of CR3, each from where the one before led',
    () => {
      const { lines, status } = lab('cr3', '4');
      expect(status).toBe(0);
      const steps = lines.map((line) => /^vCPU 0: CR3 (0x\w+) to (0x\w+), RBX 0x\w+, CR0 0x[18]\w+$/.exec(line)!);
      expect(steps).toHaveLength(4);
      for (const [at, step] of steps.entries()) if (at > 0) expect(step[1]).toBe(steps[at - 1][2]);
    },
    BOOT_TIMEOUT,
  );

  it('list processes with what is theirs', () => {
    const { lines } = lab('processes', file);
    expect(lines.find((line) => line.includes(' sh '))).toMatch(
      /^ +(\d+) sh +parent \d+, tables at 0x[0-9a-f]+, thread \1 made \d+\.\d{3} s after the boot$/,
    );
    expect(lines.find((line) => line.includes('kthreadd'))).toMatch(
      /^ +2 kthreadd +parent 0, tables at -, thread 2 made/,
    );
  });

  it('show what lies at a symbol, with a System.map and without', () => {
    const map = join(folder, 'System.map');
    writeFileSync(map, 'ffffffff81000000 T _text\nffffffff82000360 D sys_call_table\n');
    const { lines } = lab('map-symbol', file, 'sys_call_table', map);
    expect(lines[0]).toMatch(/^sys_call_table is at 0xffffffff[0-9a-f]{8} by kallsyms in the kernel's memory$/);
    expect(lines[1]).toMatch(/^sys_call_table is at 0xffffffff82000360 by .*System\.map.*, as it was linked$/);
    expect(lines.slice(2, 4).map((line) => line.split(' ').at(-1))).toEqual(['__x64_sys_read', '__x64_sys_write']);
    expect(lab('map-symbol', file, 'sys_call_table').lines).toEqual([lines[0], ...lines.slice(2)]);
  });
});
