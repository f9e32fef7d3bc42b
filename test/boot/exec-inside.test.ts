/**
 * `visorkit exec` in its own guest: Debian's kernel with its KVM is the hypervisor, this machine's Node runs visorkit on it, with the backend kvm, and the sandbox's kernel is
 * the guest of that. Everything that it needs is in the initramfs.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, POWERED_OFF, find, findDebianGuest, titled } from './boots.js';
import { InsideArchive } from './inside.js';

const PROGRAM = '#include <stdio.h>\nint main(int n, char **v) { printf("hello from %s\\n", v[n - 1]); return 3; }\n';
const L1 = `/node /visorkit/bin/visorkit.js exec --backend kvm --memory 64M /program "the sandbox"
echo "status $?"`;

const found = await find(async () => {
  const { value, missing } = await findDebianGuest('amd64');
  if (missing !== '') throw new Error(missing);
  return new InsideArchive(value)
    .command()
    .package('@visorkit/backend-kvm', /\.js$/)
    .package('@visorkit/engine', /\.wasm$/)
    .package('@visorkit/sandbox-kernel', /\.(elf|js)$/)
    .koffi()
    .file('program', program(), 0o755);
});

function program(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-inside-'));
  try {
    const file = join(folder, 'program');
    const { status } = spawnSync('gcc', ['-O1', '-static', '-s', '-x', 'c', '-o', file, '-'], { input: PROGRAM });
    if (status !== 0) throw new Error('no static program can be compiled; Debian: gcc, libc6-dev');
    return readFileSync(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe.skipIf(found.missing !== '')(titled('visorkit exec on KVM inside', found), () => {
  it(
    'runs a program, whose output and status come out of both machines',
    async () => {
      const { report, output } = await found.value.boot(L1);
      expect(output).toMatch(/^hello from the sandbox\r?\nstatus 3\r?$/m);
      expect(report).toMatchObject(POWERED_OFF);
      // each system call of the program is an exit of its machine
      expect(report.exits.vmresume).toBeGreaterThan(10);
    },
    BOOT_TIMEOUT,
  );
});
