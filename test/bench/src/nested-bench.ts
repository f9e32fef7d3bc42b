/**
 * What it costs when the guest is a hypervisor. A CPUID of its own guest that it handles itself: by a hypervisor of ours that does next to nothing, and by KVM in
 * Debian's kernel; each with VMCS shadowing and without. With `--linux` also Debian's kernel in QEMU on that KVM. CPU time of the process, of which each of the four has
 * its own, as applications have: code that V8 has optimised for one machine is slower for the next.
 * A program of its own: `node dist/nested-bench.js [ROUNDS] [--linux]`. Prints JSON.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { vmx } from '@visorkit/backend-vmx';
import { RESUME, definePlugin, stop } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { GuestMemoryToken, MsrBusToken, compose } from '@visorkit/machine';
import { GUEST_READY, guestParameters, prepareDebianGuest } from '@visorkit/guests';
import type { DebianGuest } from '@visorkit/guests';
import { AT, hypervisor } from '@visorkit/nested-lab/hypervisor';
import { nestedVmx } from '@visorkit/nested-vmx';
import { ExitReason, Msr, VmcsField } from '@visorkit/x86';
import { assemble } from 'visorkit';
import { cpuidArchive, qemuArchive, qemuMissing } from './kvm-guest.js';
import { summarise } from './statistics.js';
import type { Summary } from './statistics.js';

export interface NestedCost {
  readonly name: string;
  /** In each of the rounds. */
  readonly exits: number;
  /** CPU time of one CPUID of the hypervisor's guest, with everything that the hypervisor does about it. */
  readonly nanoseconds: Summary;
  /** Instructions of the hypervisor and of its guest, for one. */
  readonly instructions: number;
}

export interface NestedLinux {
  /** Debian's kernel as the hypervisor: CPU time to its line that its own guest is about to start. */
  readonly hypervisorSeconds: Summary;
  /** From there until its guest, the same kernel in QEMU, is up. */
  readonly guestSeconds: Summary;
  /** The one by the other. */
  readonly ratio: number;
}

export interface NestedResult {
  readonly costs: readonly NestedCost[];
  readonly linux?: NestedLinux;
  /** What was left out, and why. */
  readonly skipped: readonly string[];
}

const EXITS = 100_000;
/** Rounds in front of the others: the translator makes regions again after 200,000 entries. */
const WARM_UP = 3;
const SHADOWING = [true, false] as const;
const named = (name: string, shadowVmcs: boolean): string =>
  `${name}, ${shadowVmcs ? 'with' : 'without'} VMCS shadowing`;

/** CPU time of this process, ns. */
function cpuTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

interface Reading {
  time: number;
  instructions: number;
}

/** Readings at the beginning and the end of each round, those of the warm-up first. */
function cost(name: string, readings: readonly Reading[]): NestedCost {
  const times: number[] = [];
  let instructions = 0;
  for (let at = 2 * WARM_UP; at + 1 < readings.length; at += 2) {
    times.push((readings[at + 1].time - readings[at].time) / EXITS);
    instructions = (readings[at + 1].instructions - readings[at].instructions) / EXITS;
  }
  return { name, exits: EXITS, nanoseconds: summarise(times), instructions: Math.round(instructions) };
}

// ---------------------------------------------------------------------------------------------- a hypervisor of ours
const le32 = (value: number): number[] => [value, value >> 8, value >> 16, value >> 24].map((byte) => byte & 0xff);
/** 1: OUT STEP, AL; MOV ESI, EXITS; 2: XOR EAX, EAX; CPUID; DEC ESI; JNZ 2b; JMP 1b */
const LOOP = [0xe6, 0xe0, 0xbe, ...le32(EXITS), 0x31, 0xc0, 0x0f, 0xa2, 0xff, 0xce, 0x75, 0xf8, 0xe6, 0xe0, 0xeb, 0xed];
/** MOV EAX, field; VMREAD RCX, RAX */
const vmread = (field: number): number[] => [0xb8, ...le32(field), 0x0f, 0x78, 0xc1];
/** Behind a CPUID of its guest it moves RIP on and answers nothing; everything else ends it. */
const HANDLER = [
  ...vmread(VmcsField.EXIT_REASON),
  ...[0x83, 0xf9, ExitReason.CPUID, 0x75, 0x1a], // CMP ECX, CPUID; JNE to the end
  ...vmread(VmcsField.EXIT_INSTRUCTION_LENGTH),
  ...[0x89, 0xca], // MOV EDX, ECX
  ...vmread(VmcsField.GUEST_RIP),
  ...[0x01, 0xd1], // ADD ECX, EDX
  ...[0x0f, 0x79, 0xc1], // VMWRITE RAX, RCX
  ...[0x0f, 0x01, 0xc3], // VMRESUME
  0xf4, // HLT
];

async function smallHypervisor(shadowVmcs: boolean, rounds: number): Promise<NestedCost> {
  const readings: Reading[] = [];
  const bench = definePlugin({
    name: 'nested-bench',
    uses: { memory: GuestMemoryToken, msrs: MsrBusToken },
    apply({ hooks, vcpus: [vcpu] }, { memory, msrs }) {
      hooks.load.tap(() => {
        const basic = msrs.find(Msr.IA32_VMX_BASIC)?.readMsr(Msr.IA32_VMX_BASIC, 0) ?? 0n;
        const revision = Number(basic & 0x7fff_ffffn);
        for (const [address, bytes] of hypervisor(revision, { guest: LOOP, exit: HANDLER }))
          memory.write(address, Uint8Array.from(bytes));
        vcpu.setInitialState({ mode: 'long64', rip: BigInt(AT.code), rsp: BigInt(AT.stack), cr3: BigInt(AT.tables) });
      });
      hooks.exit.for('io').tap(() => {
        readings.push({ time: cpuTime(), instructions: vcpu.instructions });
        return readings.length < 2 * (WARM_UP + rounds) ? RESUME : stop('measured');
      });
    },
  });
  await using vmm = compose({
    backend: vmx(),
    memory: '2M',
    time: 'virtual',
    plugins: [bench, nestedVmx({ shadowVmcs }), ...exits()],
  });
  const { why } = await vmm.run();
  if (why !== 'measured') throw new Error(`The guest of the benchmark of nested VMX stopped early: ${why}`);
  return cost(named('a small hypervisor', shadowVmcs), readings);
}

// ---------------------------------------------------------------------------------------------- Debian's KVM
const MOST_INSTRUCTIONS = 20e9;

/** Boots Debian's kernel with these files and /l1 as its first process; `seen` is told of each line. */
async function debian(
  guest: DebianGuest,
  { files, memory, shadowVmcs }: { files: Uint8Array; memory: number; shadowVmcs: boolean },
  seen: (line: string, at: Reading) => void,
): Promise<void> {
  let line = '';
  const write = (byte: number): void => {
    if (byte !== 10) line += String.fromCharCode(byte);
    else {
      seen(line.trim(), { time: cpuTime(), instructions: vmm.vcpus[0].instructions });
      line = '';
    }
  };
  await using vmm = await assemble({
    backend: vmx(),
    memory,
    cpus: 1,
    time: 'virtual',
    debugExit: false,
    plugins: [nestedVmx({ shadowVmcs })],
    console: { output: { write } },
    boot: {
      image: readFileSync(guest.kernel),
      commandLine: 'console=ttyS0 quiet cryptomgr.notests rdinit=/l1',
      modules: [{ name: 'initramfs', data: Buffer.concat([readFileSync(guest.initramfs), files]) }],
    },
  });
  const { reason, why } = await vmm.run({ maxInstructions: MOST_INSTRUCTIONS });
  if (reason !== 'power-off') throw new Error(`Debian's KVM did not come to its end: ${why}`);
}

async function kvm(guest: DebianGuest, shadowVmcs: boolean, rounds: number): Promise<NestedCost> {
  const readings: Reading[] = [];
  await debian(
    guest,
    { files: cpuidArchive(guest, WARM_UP + rounds, EXITS), memory: 256 << 20, shadowVmcs },
    (line, at) => {
      if (line === 'BEGIN' || line === 'END') readings.push(at);
    },
  );
  return cost(named("Debian's KVM", shadowVmcs), readings);
}

async function linux(guest: DebianGuest, rounds: number, say: (text: string) => void): Promise<NestedLinux> {
  const files = qemuArchive(guest, `console=ttyS0 quiet cryptomgr.notests ${guestParameters({ mode: 'off' })}`);
  const outer: number[] = [],
    inner: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = cpuTime();
    let began = 0,
      up = 0;
    await debian(guest, { files, memory: 1 << 30, shadowVmcs: true }, (line, { time }) => {
      if (line === 'BEGIN') began = time;
      else if (up === 0 && line.includes(GUEST_READY)) up = time;
    });
    if (up === 0) throw new Error("Debian did not come up on Debian's KVM.");
    outer.push((began - start) / 1e9);
    inner.push((up - began) / 1e9);
    say(`nested Linux, round ${round + 1} of ${rounds}: ${inner[round].toFixed(1)} s of CPU time`);
  }
  const hypervisorSeconds = summarise(outer),
    guestSeconds = summarise(inner);
  return { hypervisorSeconds, guestSeconds, ratio: guestSeconds.median / hypervisorSeconds.median };
}

// ---------------------------------------------------------------------------------------------- all of it
type Hypervisor = 'small' | 'kvm';
const COST = '--cost';
const SHADOWED = 'shadowed';

/** The cost, as a process of its own has it. */
function inProcess(hypervisor: Hypervisor, shadowVmcs: boolean, rounds: number): NestedCost {
  const words = [import.meta.filename, String(rounds), COST, hypervisor, ...(shadowVmcs ? [SHADOWED] : [])],
    { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`The benchmark of nested VMX ended with status ${status}: ${stderr}`);
  return JSON.parse(stdout) as NestedCost;
}
async function costOf(hypervisor: Hypervisor, shadowVmcs: boolean, rounds: number): Promise<NestedCost> {
  return hypervisor === 'small'
    ? smallHypervisor(shadowVmcs, rounds)
    : kvm(await prepareDebianGuest(), shadowVmcs, rounds);
}

export async function nestedBench(
  rounds: number,
  withLinux: boolean,
  say: (text: string) => void,
): Promise<NestedResult> {
  const costs: NestedCost[] = [],
    skipped: string[] = [];
  const measure = (hypervisor: Hypervisor): void => {
    for (const shadowing of SHADOWING) {
      const found = inProcess(hypervisor, shadowing, rounds);
      say(`nested: ${found.name}, ${found.nanoseconds.median.toFixed(0)} ns`);
      costs.push(found);
    }
  };
  measure('small');
  let guest: DebianGuest;
  try {
    guest = await prepareDebianGuest();
    cpuidArchive(guest, 1, 1);
  } catch (error) {
    return { costs, skipped: [`Debian's KVM: ${(error as Error).message}`] };
  }
  measure('kvm');
  if (!withLinux) return { costs, skipped };
  const missing = qemuMissing();
  if (missing !== '') return { costs, skipped: [`Debian on Debian's KVM: ${missing}`] };
  return { costs, skipped, linux: await linux(guest, rounds, say) };
}

if (process.argv[1] === import.meta.filename) {
  const words = process.argv.slice(2),
    rounds = Number(words.find((word) => /^\d+$/.test(word)) ?? 5);
  const result = words.includes(COST)
    ? await costOf(words.includes('kvm') ? 'kvm' : 'small', words.includes(SHADOWED), rounds)
    : await nestedBench(rounds, words.includes('--linux'), (text) => process.stderr.write(`${text}\n`));
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
}
