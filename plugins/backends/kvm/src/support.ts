/** Whether this machine's KVM can be used, and if not, why and what to do about it. */
import { existsSync, statSync } from 'node:fs';
import { VisorkitError } from '@visorkit/core';
import { Extension, KVM_API_VERSION, Request } from './kvm-api.js';
import { Errno, errno, errorName, libc } from './libc.js';
import type { LibC } from './libc.js';

const DEVICE = '/dev/kvm';
const READ_WRITE_CLOEXEC = 0x8_0002;

/** What is in the way. */
export type KvmProblem =
  | 'platform'
  | 'absent'
  | 'permission'
  | 'busy'
  | 'not-kvm'
  | 'api-version'
  | 'missing-extension';

export interface KvmSupport {
  readonly usable: boolean;
  readonly problem?: KvmProblem;
  /** A sentence: what is wrong and how to put it right; or that all is well. */
  readonly message: string;
  /** Version of the interface, 0 when it could not be asked. */
  readonly apiVersion: number;
  /** Answers of KVM_CHECK_EXTENSION by name; empty when it could not be asked. */
  readonly extensions: Readonly<Partial<Record<keyof typeof Extension, number>>>;
}

/** Extensions without which no guest runs here. */
const REQUIRED: readonly (keyof typeof Extension)[] = [
  'USER_MEMORY',
  'EXT_CPUID',
  'VCPU_EVENTS',
  'IMMEDIATE_EXIT',
  'MP_STATE',
];

/** Checks /dev/kvm, down to making an empty VM. Leaves nothing open. `calls`: the system calls to use, by default those of this machine. */
export function checkKvm(device: string = DEVICE, calls?: Pick<LibC, 'open' | 'close' | 'ioctl'>): KvmSupport {
  const no = (
    problem: KvmProblem,
    message: string,
    apiVersion = 0,
    extensions: KvmSupport['extensions'] = {},
  ): KvmSupport => ({ usable: false, problem, message, apiVersion, extensions });
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return no('platform', `KVM is part of Linux on x86-64; this is ${process.platform} on ${process.arch}.`);
  const { open, close, ioctl } = calls ?? libc();
  const fd = open(device, READ_WRITE_CLOEXEC);
  if (fd < 0) return cannotOpen(device, errno(), no);
  try {
    const version = ioctl(fd, Request.GET_API_VERSION, 0);
    if (version < 0)
      return no(
        'not-kvm',
        `${device} does not answer as KVM does (${errorName(errno())}): it is another device. Load the module kvm_intel or kvm_amd so that /dev/kvm is KVM's.`,
      );
    if (version !== KVM_API_VERSION) {
      return no(
        'api-version',
        `${device} has version ${version} of the KVM interface, and this program speaks ${KVM_API_VERSION}. Run a Linux kernel of 2.6.22 or newer.`,
        version,
      );
    }
    const extensions = Object.fromEntries(
      Object.entries(Extension).map(([name, number]) => [
        name,
        Math.max(0, ioctl(fd, Request.CHECK_EXTENSION, number)),
      ]),
    );
    const missing = REQUIRED.filter((name) => extensions[name] === 0);
    if (missing.length > 0)
      return no(
        'missing-extension',
        `The kernel's KVM lacks ${missing.map((name) => `KVM_CAP_${name}`).join(', ')}. Run a Linux kernel of 4.13 or newer.`,
        version,
        extensions,
      );
    const vm = ioctl(fd, Request.CREATE_VM, 0);
    if (vm < 0) {
      const error = errno();
      return no(
        'busy',
        `${device} is there but makes no virtual machine (${errorName(error)}). ${error === Errno.EBUSY ? 'Another hypervisor, such as VirtualBox, holds the processor: end it.' : 'Look for messages of kvm in the kernel log (dmesg).'}`,
        version,
        extensions,
      );
    }
    close(vm);
    return {
      usable: true,
      message: `${device} can be used: version ${version} of the KVM interface.`,
      apiVersion: version,
      extensions,
    };
  } finally {
    close(fd);
  }
}

function cannotOpen(
  device: string,
  error: number,
  no: (problem: KvmProblem, message: string) => KvmSupport,
): KvmSupport {
  if (error === Errno.EACCES || error === Errno.EPERM) {
    const group = existsSync(device) ? statSync(device).gid : undefined;
    return no(
      'permission',
      `${device} may not be opened by this user (${errorName(error)}). Add yourself to its group${group === undefined ? '' : ` (number ${group}, usually "kvm")`}: sudo usermod -aG kvm "$USER", then log in again.`,
    );
  }
  if (error === Errno.ENOENT || error === Errno.ENODEV || error === Errno.ENXIO) {
    return no(
      'absent',
      `There is no ${device} (${errorName(error)}). Load the module for your processor (sudo modprobe kvm_intel, or kvm_amd); if that fails, turn virtualisation on in the firmware's settings, or, inside a virtual machine, nested virtualisation in its host. The backend vmx needs none of it.`,
    );
  }
  return no('busy', `${device} cannot be opened: ${errorName(error)}.`);
}

/** Throws `KVM_UNAVAILABLE` with the sentence of {@link checkKvm} unless KVM can be used. */
export function requireKvm(device?: string): KvmSupport {
  const support = checkKvm(device);
  if (!support.usable) {
    throw new VisorkitError('KVM_UNAVAILABLE', `The backend kvm cannot be used here. ${support.message}`, {
      problem: support.problem,
      apiVersion: support.apiVersion,
    });
  }
  return support;
}

/** The error of a request that the kernel refused. */
export function kvmError(what: string, number: number = errno()): VisorkitError {
  return new VisorkitError('KVM_REQUEST', `KVM refuses ${what}: ${errorName(number)}.`, { errno: number });
}

/** Opens /dev/kvm; the caller closes it. */
export function openKvm(device: string = DEVICE): number {
  const fd = libc().open(device, READ_WRITE_CLOEXEC);
  if (fd < 0)
    throw new VisorkitError('KVM_UNAVAILABLE', `The backend kvm cannot be used here. ${checkKvm(device).message}`, {});
  return fd;
}
