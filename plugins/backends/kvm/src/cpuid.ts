/** CPUID: what KVM supports, and the guest's table handed to it. */
import type { CpuidEntry, Vcpu } from '@visorkit/core';
import { EAX, EBX, ECX, EDX } from '@visorkit/machine';
import type { CpuidTable, LocalApics } from '@visorkit/machine';
import { Request, Size } from './kvm-api.js';
import { libc } from './libc.js';
import { kvmError } from './support.js';

const MOST_ENTRIES = 256;
const HEADER = 8;
const SIGNIFICANT_INDEX = 1;
/** 1:ECX. The guest gets no virtualisation of its own: its state would not be saved. */
const VMX = 1 << 5,
  X2APIC = 1 << 21,
  TSC_DEADLINE = 1 << 24;
const SVM = 1 << 2;
/** 1:EDX. */
const APIC = 1 << 9;
/** EAX: APIC ID. EBX 7:0: core. ECX 7:0: node (AMD APM 3, appendix E.4.17). */
const AMD_IDENTITY = 0x8000_001e;
const KVM_FEATURES = 0x4000_0001;
/** Features of KVM that work without its own APIC: clock sources and the I/O delay. */
const KVM_WITHOUT_APIC = (1 << 0) | (1 << 1) | (1 << 3) | (1 << 24);

/** KVM_GET_SUPPORTED_CPUID as a table. */
export function supportedCpuid(kvmFd: number): CpuidEntry[] {
  const bytes = new Uint8Array(HEADER + MOST_ENTRIES * Size.CPUID_ENTRY),
    view = new DataView(bytes.buffer);
  view.setUint32(0, MOST_ENTRIES, true);
  if (libc().ioctlPointer(kvmFd, Request.GET_SUPPORTED_CPUID, bytes) < 0)
    throw kvmError('to say which CPUID it supports');
  const entries: CpuidEntry[] = [];
  for (let n = 0; n < view.getUint32(0, true); n++) {
    const word = (index: number): number => view.getUint32(HEADER + n * Size.CPUID_ENTRY + index * 4, true);
    const entry = {
      leaf: word(0),
      subleaf: word(1),
      indexed: (word(2) & SIGNIFICANT_INDEX) !== 0,
      eax: word(3),
      ebx: word(4),
      ecx: word(5),
      edx: word(6),
    };
    if (entry.leaf === 1) entry.ecx = (entry.ecx & ~VMX) >>> 0;
    if (entry.leaf === 0x8000_0001) entry.ecx = (entry.ecx & ~SVM) >>> 0;
    entries.push(withoutIdentity(entry));
  }
  return entries;
}

/** EBX of leaf 0 of the makers whose processors have AMD's virtualisation: AMD, Hygon. */
const SVM_MAKERS: readonly number[] = [0x6874_7541, 0x6f67_7948];

/** Whether the processor has AMD's virtualisation. */
export function isAmd(entries: readonly CpuidEntry[]): boolean {
  return entries.some(({ leaf, ebx }) => leaf === 0 && SVM_MAKERS.includes(ebx));
}

/**
 * Without what says on which of the host's processors the question was asked: KVM answers with that one's APIC ID, core and node, so that
 * two answers differ, and a saved VM would seem to have had another processor. Each vCPU gets its own in {@link guestCpuid}.
 */
export function withoutIdentity(entry: CpuidEntry): CpuidEntry {
  switch (entry.leaf >>> 0) {
    case 1:
      return { ...entry, ebx: entry.ebx & 0x00ff_ffff };
    case 0x0b:
    case 0x1f:
      return { ...entry, edx: 0 };
    case AMD_IDENTITY:
      return { ...entry, eax: 0, ebx: (entry.ebx & ~0xff) >>> 0, ecx: (entry.ecx & ~0xff) >>> 0 };
    default:
      return entry;
  }
}

/** What one vCPU's CPUID is to say: the machine's table with what depends on the vCPU and on where the APIC is. */
export function guestCpuid(
  table: CpuidTable,
  vcpu: Vcpu,
  cpus: number,
  apics: LocalApics | undefined,
  kernelApic: boolean,
): CpuidEntry[] {
  const id = apics?.forVcpu(vcpu.index).id ?? vcpu.index;
  return table.entries().map((entry) => {
    const [result, leaf] = [table.execute(entry.leaf, entry.subleaf, vcpu), entry.leaf >>> 0];
    const found = { ...entry, eax: result[EAX], ebx: result[EBX], ecx: result[ECX], edx: result[EDX] };
    if (leaf === 1) {
      found.ebx =
        ((id << 24) |
          (cpus > 1 ? (2 ** Math.ceil(Math.log2(cpus))) << 16 : found.ebx & 0x00ff_0000) |
          (found.ebx & 0xffff)) >>>
        0;
      if (apics !== undefined || kernelApic) found.ecx = (found.ecx | X2APIC | TSC_DEADLINE) >>> 0;
      else {
        found.ecx = (found.ecx & ~(X2APIC | TSC_DEADLINE)) >>> 0;
        found.edx = (found.edx & ~APIC) >>> 0;
      }
    } else if (leaf === 0x0b || leaf === 0x1f) {
      found.edx = id;
      found.ecx = ((found.ecx & ~0xff) | (entry.subleaf & 0xff)) >>> 0;
    } else if (leaf === AMD_IDENTITY) {
      found.eax = id;
      found.ebx = ((found.ebx & ~0xff) | (id & 0xff)) >>> 0;
    } else if (leaf === KVM_FEATURES && !kernelApic) found.eax = (found.eax & KVM_WITHOUT_APIC) >>> 0;
    return found;
  });
}

/** Gives a vCPU its CPUID. Before it runs first. */
export function setCpuid(vcpuFd: number, entries: readonly CpuidEntry[]): void {
  const bytes = new Uint8Array(HEADER + entries.length * Size.CPUID_ENTRY),
    view = new DataView(bytes.buffer);
  view.setUint32(0, entries.length, true);
  entries.forEach((entry, n) => {
    [
      entry.leaf,
      entry.indexed ? entry.subleaf : 0,
      entry.indexed ? SIGNIFICANT_INDEX : 0,
      entry.eax,
      entry.ebx,
      entry.ecx,
      entry.edx,
    ].forEach((value, index) => view.setUint32(HEADER + n * Size.CPUID_ENTRY + index * 4, value >>> 0, true));
  });
  if (libc().ioctlPointer(vcpuFd, Request.SET_CPUID2, bytes) < 0) throw kvmError('a CPUID table');
}
