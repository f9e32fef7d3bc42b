/** What exits on kvm because a plugin asked for it, before the run or for a time. */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { RESUME, RETRY, Stage } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { kvm } from './index.js';
import { HLT, flat32, kvmUsable, ran } from './test-machine.js';

const usable = kvmUsable();
/** Without the processor's help the kernel does not get over VMCALL. */
const software = existsSync('/sys/module/kvm_pvm');
if (usable && software)
  process.stderr.write(
    "SKIPPED: the hypercall that KVM forwards. This machine's KVM (module kvm_pvm) has no VMCALL for guests that do not know of it.\n",
  );

describe.skipIf(!usable)('what plugins ask of kvm', () => {
  it("MSRs they name exit, others are the kernel's", async () => {
    const seen: string[] = [];
    const plugin: Partial<Plugin> = {
      needs: { msrs: { read: [0xc000_0082], write: [0xc000_0082] } },
      apply({ hooks }) {
        hooks.exit.for('rdmsr').tap({ name: 'see', stage: Stage.Observe }, (_exit, vcpu) => {
          seen.push(`read ${vcpu.getRegister32(1).toString(16)}`);
          vcpu.setRegister32(0, 0x1234);
          vcpu.setRegister32(2, 0x5678);
          return RESUME;
        });
        hooks.exit.for('wrmsr').tap({ name: 'see', stage: Stage.Observe }, (_exit, vcpu) => {
          seen.push(`write ${vcpu.getRegister32(1).toString(16)} ${vcpu.getRegister32(0)}`);
          return RESUME;
        });
      },
    };
    // MOV ECX, C0000082H; MOV EAX, 7; WRMSR; RDMSR; MOV ESI, EAX; MOV ECX, C0000081H; RDMSR
    const code = [
      0xb9,
      0x82,
      0,
      0,
      0xc0,
      0xb8,
      7,
      0,
      0,
      0,
      0x0f,
      0x30,
      0x0f,
      0x32,
      0x89,
      0xc6,
      0x89,
      0xd7,
      0xb9,
      0x81,
      0,
      0,
      0xc0,
      0x0f,
      0x32,
      HLT,
    ];
    await ran(code, { state: flat32, plugin }, ({ vcpu }) => {
      expect(seen).toEqual(['write c0000082 7', 'read c0000082']);
      expect([vcpu.getRegister32(6), vcpu.getRegister32(7)]).toEqual([0x1234, 0x5678]);
    });
  });

  it('an MSR that nobody has gives #GP', async () => {
    // MOV ECX, 12345678H; RDMSR in real mode: vector 13
    const code = [0x66, 0xb9, 0x78, 0x56, 0x34, 0x12, 0x0f, 0x32, HLT];
    await ran(
      code,
      { data: { 0x34: Uint8Array.of(0x10, 0x40, 0, 0), 0x4010: Uint8Array.of(0xb3, 0x99, HLT) } },
      ({ vcpu, report }) => {
        expect(vcpu.rbx & 0xffn).toBe(0x99n);
        expect(report.exits.rdmsr).toBe(1);
      },
    );
  });

  it.skipIf(software)('the hypercall that the kernel forwards', async () => {
    const calls: bigint[][] = [];
    const plugin: Partial<Plugin> = {
      apply({ hooks }) {
        hooks.exit.for('vmcall').tap({ name: 'answer', stage: Stage.Observe }, (_exit, vcpu) => {
          calls.push([vcpu.rax, vcpu.rbx, vcpu.rcx, vcpu.rdx]);
          vcpu.rax = 0x1234n;
          return RESUME;
        });
      },
    };
    const amd = kvm().cpuid.some(({ leaf, ebx }) => leaf === 0 && ebx === 0x6874_7541);
    // VMCALL (VMMCALL) of 12, MAP_GPA_RANGE, with a page and a count; then of 77, which the kernel refuses itself
    const call = [0x0f, 0x01, amd ? 0xd9 : 0xc1];
    await ran(
      [
        0xb8,
        12,
        0,
        0,
        0,
        0xbb,
        0,
        0x50,
        0,
        0,
        0xb9,
        1,
        0,
        0,
        0,
        0x31,
        0xd2,
        ...call,
        0x89,
        0xc6,
        0xb8,
        77,
        0,
        0,
        0,
        ...call,
        HLT,
      ],
      { state: flat32, plugin },
      ({ vcpu, report }) => {
        expect(calls).toEqual([[12n, 0x5000n, 1n, 0n]]);
        expect([vcpu.getRegister32(6), vcpu.getRegister32(0) | 0, report.exits.vmcall]).toEqual([0x1234, -1000, 1]);
      },
    );
  });

  it('single-steps', async () => {
    const places: bigint[] = [];
    const plugin: Partial<Plugin> = {
      needs: { primary: ['monitor-trap-flag'] },
      apply({ hooks }) {
        hooks.exit.for('monitor-trap-flag').tap('trace', (_exit, vcpu) => {
          places.push(vcpu.rip);
          return RETRY;
        });
      },
    };
    await ran([0x40, 0x43, 0x41, HLT], { plugin }, ({ report }) => {
      expect(places).toEqual([0x1001n, 0x1002n, 0x1003n]);
      expect(report.exits.hlt).toBe(1);
    });
  });

  it('breakpoints in debug registers exit', async () => {
    const seen: string[] = [];
    const plugin: Partial<Plugin> = {
      needs: { exceptions: [1, 3] },
      apply({ hooks, vcpus }) {
        hooks.loaded.tap({ name: 'break', stage: Stage.Fallback }, () => {
          vcpus[0].setDebugRegister(0, 0x1001n);
          vcpus[0].setDebugRegister(7, 0x402n);
        });
        hooks.exit.for('exception').tap({ name: 'see', stage: Stage.Observe }, (exit, vcpu) => {
          seen.push(`${exit.interruptionInfo & 0xff} at ${vcpu.rip.toString(16)} ${exit.qualification}`);
          vcpu.setDebugRegister(7, 0x400n);
          return RESUME;
        });
      },
    };
    await ran([0x90, 0x90, 0x43, HLT], { plugin }, ({ vcpu }) => {
      expect(seen).toEqual(['1 at 1001 1']);
      expect(vcpu.rbx & 0xffffn).toBe(1n);
    });
  });
});

describe.skipIf(!usable)('what is held for a time on kvm', () => {
  it('single steps: from one instruction to another', async () => {
    const places: bigint[] = [];
    const plugin: Partial<Plugin> = {
      apply({ hooks, controls }) {
        let release: (() => void) | undefined;
        hooks.exit.for('io').tap(() => {
          if (release === undefined) release = controls.hold({ primary: ['monitor-trap-flag'] });
          else release();
          return undefined;
        });
        hooks.exit.for('monitor-trap-flag').tap((_exit, vcpu) => {
          places.push(vcpu.rip);
          return RETRY;
        });
      },
    };
    // INC AX; OUT 10H; INC BX; INC CX; OUT 10H; INC DX; HLT
    await ran([0x40, 0xe6, 0x10, 0x43, 0x41, 0xe6, 0x10, 0x42, HLT], { plugin }, ({ vcpu, report }) => {
      expect(places).toEqual(expect.arrayContaining([0x1004n, 0x1005n]));
      expect(places.every((rip) => rip >= 0x1003n && rip <= 0x1007n)).toBe(true);
      expect([vcpu.rdx & 0xffffn, report.reason]).toEqual([1n, 'halted']);
    });
  });

  it('an MSR: it exits while somebody wants it', async () => {
    const seen: number[] = [];
    let turn = 0;
    const plugin: Partial<Plugin> = {
      apply({ hooks, controls }) {
        let release: (() => void) | undefined;
        hooks.exit.for('io').tap(() => {
          if (++turn === 2) release = controls.hold({ msrs: { read: [0xc000_0082] } });
          if (turn === 3) release!();
          return undefined;
        });
        hooks.exit.for('rdmsr').tap(() => void seen.push(turn));
      },
    };
    // MOV ECX, C0000082H; MOV BL, 4; again: OUT 10H, AL; RDMSR; DEC BL; JNZ again; HLT
    const code = [0xb9, 0x82, 0, 0, 0xc0, 0xb3, 4, 0xe6, 0x10, 0x0f, 0x32, 0xfe, 0xcb, 0x75, 0xf8, HLT];
    await ran(code, { state: flat32, plugin }, ({ report }) => {
      expect([seen, turn, report.reason]).toEqual([[2], 4, 'halted']);
    });
  });
});
