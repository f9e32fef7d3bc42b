import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkKvm, kvm } from './index.js';
import { kvmUsable } from './test-machine.js';

const onLinux = process.platform === 'linux' && process.arch === 'x64';

describe.skipIf(!onLinux)('what is wrong with /dev/kvm', () => {
  it('is said, with what to do about it: it is not there', () => {
    const support = checkKvm('/dev/kvm-that-is-not-there');
    expect(support).toMatchObject({ usable: false, problem: 'absent', apiVersion: 0 });
    expect(support.message).toMatch(/modprobe kvm_intel/);
    expect(() => kvm({ device: '/dev/kvm-that-is-not-there' })).toThrow(/The backend kvm cannot be used here\. There is no .* \(ENOENT\)/);
  });

  it('it is something else', () => {
    expect(checkKvm('/dev/null')).toMatchObject({ usable: false, problem: 'not-kvm' });
  });

  it.skipIf(process.getuid?.() === 0)('it may not be opened', () => {
    const folder = mkdtempSync(join(tmpdir(), 'kvm-')), file = join(folder, 'kvm');
    writeFileSync(file, '');
    chmodSync(file, 0);
    const support = checkKvm(file);
    rmSync(folder, { recursive: true });
    expect(support).toMatchObject({ usable: false, problem: 'permission' });
    expect(support.message).toMatch(/usermod -aG kvm/);
  });
});

it.skipIf(onLinux)('elsewhere the system is named', () => { expect(checkKvm()).toMatchObject({ usable: false, problem: 'platform' }); });

it.skipIf(!kvmUsable())('a usable one says what it has', () => {
  const support = checkKvm();
  expect(support).toMatchObject({ usable: true, apiVersion: 12 });
  expect(support.extensions.USER_MEMORY).toBe(1);
  const { capabilities } = kvm();
  for (const capability of ['exit.io', 'exit.hlt', 'exit.ept-violation', 'real-time', 'dirty-log']) expect(capabilities.has(capability), capability).toBe(true);
  for (const capability of ['deterministic', 'virtual-time', 'instruction-count', 'vmcs', 'exit.cpuid']) expect(capabilities.has(capability), capability).toBe(false);
});
