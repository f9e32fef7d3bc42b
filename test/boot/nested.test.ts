/** Debian's own kernel with its own KVM runs a guest of twelve bytes inside, with every feature and without each. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Plugin } from '@visorkit/core';
import { CpioWriter } from '@visorkit/formats';
import { nestedVmx } from '@visorkit/nested-vmx';
import { osLinux } from '@visorkit/os-linux';
import { codeProfile, trace } from '@visorkit/trace';
import type { TraceRecord } from '@visorkit/trace';
import { introspection } from '@visorkit/vmi';
import { describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, POWERED_OFF, QUICK, boot, find, findDebianGuest, titled } from './boots.js';
import type { Boot } from './boots.js';

const SOURCE = join(import.meta.dirname, 'guest/kvm.c');
const MODULES = ['virt/lib/irqbypass.ko', 'arch/x86/kvm/kvm.ko', 'arch/x86/kvm/kvm-intel.ko'];
const COUNT = 200;
/** Parameters of kvm-intel. The last is a variable of kvm.ko, which it stays off in once it has been. */
const WITHOUT = ['ept', 'unrestricted_guest', 'vpid', 'enable_shadow_vmcs', 'preemption_timer', 'enable_apicv'];
const off = (names: readonly string[]): string[] => names.map((name) => `${name}=0`);

const script = (rounds: readonly string[][]): string => `#!/bin/sh
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
insmod /irqbypass.ko; insmod /kvm.ko
round() {
  echo "ROUND \${*:-with all}"
  insmod /kvm-intel.ko "$@"
  for parameter; do
    name=\${parameter%=0}
    echo "$name is $(cat /sys/module/kvm_intel/parameters/$name)"
  done
  /kvm; /kvm ${COUNT}
  rmmod kvm_intel
}
${rounds.map((round) => `round ${round.join(' ')}`).join('\n')}
echo OVER
poweroff -f
`;

const found = await find(async () => {
  const { value, missing } = await findDebianGuest('amd64');
  if (missing !== '') throw new Error(missing);
  return { guest: value, files: archive(value.kernelPackage.root) };
});

/** KVM's modules and the program. */
function archive(root: string): Uint8Array {
  const releases = join(root, 'lib/modules');
  const folder = existsSync(releases) ? join(releases, readdirSync(releases)[0], 'kernel') : releases;
  const cpio = new CpioWriter().file('kvm', program(), 0o755);
  for (const module of MODULES) {
    const file = join(folder, module);
    if (!existsSync(file)) throw new Error(`the kernel's package has no ${module}`);
    cpio.file(file.slice(file.lastIndexOf('/') + 1), readFileSync(file));
  }
  return cpio.finish();
}

function program(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-kvm-'));
  try {
    const file = join(folder, 'kvm');
    const { status } = spawnSync('gcc', ['-O1', '-static', '-s', '-o', file, SOURCE]);
    if (status !== 0) throw new Error('no static program can be compiled; Debian: gcc, libc6-dev');
    return readFileSync(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const run = (rounds: readonly string[][], plugins: readonly Plugin[] = []): Promise<Boot> =>
  boot({
    image: readFileSync(found.value.guest.kernel),
    initramfs: found.value.guest.initramfs,
    files: Buffer.concat([found.value.files, new CpioWriter().file('l1', script(rounds), 0o755).finish()]),
    append: `console=ttyS0 quiet ${QUICK} rdinit=/l1`,
    plugins: [nestedVmx(), ...plugins],
  });

/** What each round said, line by line. */
const said = ({ output }: Boot): string[][] =>
  output
    .split(/OVER\r\n/)[0]
    .split('ROUND ')
    .slice(1)
    .map((text) => text.trim().split(/\s*\r\n/));

/** What a round with these parameters says: the sum of 2 and 2, and how long CPUIDs took. */
const rightly = (round: readonly string[]): unknown[] => [
  round.join(' ') || 'with all',
  ...round.map((parameter) => `${parameter.slice(0, -2)} is N`),
  '4',
  'halted',
  expect.stringMatching(`^${COUNT} exits, \\d+ ns each$`),
  'halted',
];

describe.skipIf(found.missing !== '')(titled("Debian's KVM inside", found), () => {
  it(
    'runs a guest, the same way every time, and under a profile',
    async () => {
      const first = await run([[]]);
      expect(first.report).toMatchObject(POWERED_OFF);
      expect(said(first)).toEqual([rightly([])]);
      // each CPUID is an exit to the hypervisor, which enters its guest again
      expect(first.report.exits.vmresume).toBeGreaterThanOrEqual(COUNT);
      // samples are taken in the hypervisor and in its guest
      const second = await run([[]], [codeProfile({ every: 10_007 })]);
      expect(second.output).toBe(first.output);
      expect(second.report.guestInstructions).toBe(first.report.guestInstructions);
      expect(second.report.exits).toEqual(first.report.exits);
    },
    BOOT_TIMEOUT,
  );

  it(
    'is seen in a trace: which VMCS it loads, which EPT root it sets, and by which of its functions',
    async () => {
      const seen: string[][] = [];
      const output = ({ kind, by, stack }: TraceRecord): void => {
        if (by === 'hypervisor') seen.push([kind, ...(stack ?? [])]);
      };
      const { report } = await run(
        [[]],
        [introspection(), osLinux(), trace({ vmcsLoads: true, eptRoots: true, stack: true, output })],
      );
      expect(report).toMatchObject(POWERED_OFF);
      // for each of the two guests
      for (const [kind, by] of [
        ['vmcs-load', 'vmx_vcpu_load_vmcs'],
        ['ept-root', 'vmx_load_mmu_pgd'],
      ]) {
        const stacks = seen.filter(([what]) => what === kind);
        expect(stacks.length).toBeGreaterThanOrEqual(2);
        for (const [, first, ...callers] of stacks) {
          expect(first).toMatch(new RegExp(`^${by}\\+0x[0-9a-f]+ \\[kvm_intel\\]$`));
          expect(callers).toContainEqual(expect.stringMatching(/^kvm_vm_ioctl.* \[kvm\]$|^kvm_vcpu_ioctl.* \[kvm\]$/));
          expect(callers.at(-1)).toMatch(/^entry_SYSCALL_64_after_hwframe/);
        }
      }
    },
    BOOT_TIMEOUT,
  );

  it(
    'runs it without each of the features, and without all of them',
    async () => {
      const rounds = [...WITHOUT.map((name) => off([name])), off(WITHOUT)];
      const { report, ...rest } = await run(rounds);
      expect(report).toMatchObject(POWERED_OFF);
      expect(said({ report, ...rest })).toEqual(rounds.map(rightly));
    },
    BOOT_TIMEOUT,
  );
});
