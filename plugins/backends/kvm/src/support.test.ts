/** What is said of a /dev/kvm that cannot be used. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkKvm, kvm } from './index.js';
import { Request } from './kvm-api.js';
import { kvmUsable } from './test-machine.js';

const NOBODY = 65534;
const onLinux = process.platform === 'linux' && process.arch === 'x64';

describe.skipIf(!onLinux)('what is wrong with /dev/kvm', () => {
  it('is said, with what to do about it: it is not there', () => {
    const support = checkKvm('/dev/kvm-that-is-not-there');
    expect(support).toMatchObject({ usable: false, problem: 'absent', apiVersion: 0 });
    expect(support.message).toMatch(/modprobe kvm_intel/);
    expect(() => kvm({ device: '/dev/kvm-that-is-not-there' })).toThrow(
      /The backend kvm cannot be used here\. There is no .* \(ENOENT\)/,
    );
  });

  it('it is something else', () => {
    expect(checkKvm('/dev/null')).toMatchObject({ usable: false, problem: 'not-kvm' });
  });

  it('it may not be opened', () => {
    const folder = mkdtempSync(join(tmpdir(), 'kvm-')),
      file = join(folder, 'kvm');
    writeFileSync(file, '');
    chmodSync(file, 0);
    chmodSync(folder, 0o755);
    // root may open everything: it is somebody else for a moment
    const root = process.geteuid?.() === 0;
    if (root) process.seteuid?.(NOBODY);
    const support = checkKvm(file);
    if (root) process.seteuid?.(0);
    rmSync(folder, { recursive: true });
    expect(support).toMatchObject({ usable: false, problem: 'permission' });
    expect(support.message).toMatch(/usermod -aG kvm/);
  });

  /** A kernel that answers so. */
  const kernel = (version: number, extension: number) => {
    const closed: number[] = [];
    const ioctl = (_fd: number, request: number): number =>
      request === Request.GET_API_VERSION ? version : request === Request.CHECK_EXTENSION ? extension : 7;
    return { open: () => 5, close: (fd: number) => closed.push(fd), ioctl, closed };
  };

  it('it speaks another version of the interface', () => {
    const calls = kernel(11, 1);
    const support = checkKvm('/dev/kvm', calls as never);
    expect(support).toMatchObject({ usable: false, problem: 'api-version', apiVersion: 11 });
    expect(support.message).toMatch(/has version 11 .* speaks 12\. Run a Linux kernel of 2\.6\.22 or newer/);
    expect(calls.closed).toEqual([5]);
  });

  it('it lacks what no guest can do without', () => {
    const support = checkKvm('/dev/kvm', kernel(12, 0) as never);
    expect(support).toMatchObject({ usable: false, problem: 'missing-extension', apiVersion: 12 });
    expect(support.message).toMatch(/lacks KVM_CAP_USER_MEMORY, .*KVM_CAP_IMMEDIATE_EXIT/);
    expect(checkKvm('/dev/kvm', kernel(12, 1) as never)).toMatchObject({ usable: true });
  });
});

it('elsewhere the system is named', () => {
  const own = Object.getOwnPropertyDescriptor(process, 'platform')!;
  Object.defineProperty(process, 'platform', { ...own, value: 'darwin' });
  try {
    expect(checkKvm()).toMatchObject({
      usable: false,
      problem: 'platform',
      message: expect.stringContaining('this is darwin on') as string,
    });
  } finally {
    Object.defineProperty(process, 'platform', own);
  }
});

it.skipIf(!kvmUsable())('a usable one says what it has', () => {
  const support = checkKvm();
  expect(support).toMatchObject({ usable: true, apiVersion: 12 });
  expect(support.extensions.USER_MEMORY).toBe(1);
  const { capabilities } = kvm();
  for (const capability of ['exit.io', 'exit.hlt', 'exit.ept-violation', 'real-time', 'dirty-log'])
    expect(capabilities.has(capability), capability).toBe(true);
  for (const capability of ['deterministic', 'virtual-time', 'instruction-count', 'vmcs', 'exit.cpuid'])
    expect(capabilities.has(capability), capability).toBe(false);
});
