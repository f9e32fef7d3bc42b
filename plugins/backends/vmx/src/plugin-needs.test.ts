/** What plugins ask the processor for: controls, exceptions, ports, MSRs, single steps, views. */
import { describe, expect, it } from 'vitest';
import { RESUME, RETRY, Stage } from '@visorkit/core';
import { CODE, HLT, run } from './test-guest.js';

describe('what plugins ask the processor for', () => {
  it('traps the controls they name', async () => {
    let seen = 0;
    const { report } = await run([0x0f, 0x31, HLT], {
      plugin: {
        needs: { primary: ['rdtsc-exiting'] },
        apply({ hooks }) {
          hooks.exit.for('rdtsc').tap('count', (_exit, vcpu) => {
            seen++;
            vcpu.setRegister32(0, 7);
            return RESUME;
          });
        },
      },
    });
    expect(seen).toBe(1);
    expect(report.exits).toMatchObject({ rdtsc: 1, hlt: 1 });
  });

  it('traps exceptions, ports and MSRs they name', async () => {
    const seen: string[] = [];
    // INT3; MOV ECX, C0000082H; RDMSR
    await run([0xcc, 0x66, 0xb9, 0x82, 0, 0, 0xc0, 0x0f, 0x32, HLT], {
      plugin: {
        needs: { exceptions: [3], msrs: { read: [0xc0000082] } },
        apply({ hooks }) {
          hooks.exit.for('exception').tap('count', (exit) => {
            seen.push(`exception ${exit.interruptionInfo & 0xff}`);
            return RESUME;
          });
          hooks.exit.for('rdmsr').tap('count', () => {
            seen.push('rdmsr');
            return RESUME;
          });
        },
      },
    });
    expect(seen).toEqual(['exception 3', 'rdmsr']);
  });

  it('single-steps with the monitor trap flag', async () => {
    const places: bigint[] = [];
    await run([0x40, 0x43, 0x41, HLT], {
      plugin: {
        needs: { primary: ['monitor-trap-flag'] },
        apply({ hooks }) {
          hooks.exit.for('monitor-trap-flag').tap('trace', (_exit, vcpu) => {
            places.push(vcpu.rip);
            return RETRY;
          });
        },
      },
    });
    expect(places).toEqual([0x1001n, 0x1002n, 0x1003n]);
  });

  it('single-steps over instructions that the framework carries out', async () => {
    const { vcpu, memory } = await run([0x0f, 0xa2, 0x90, 0x90], {
      // CPUID; NOP with TF: #DB through the vector table
      state: { rflags: 0x102n },
      plugin: {
        apply({ hooks }, used) {
          hooks.load.tap({ name: 'ivt', stage: Stage.Fallback }, async () => {
            const memory = used.memory;
            memory.writeU32(4, 0x2000);
            memory.writeU8(0x2000, HLT);
          });
        },
      },
    });
    expect(vcpu.rip).toBe(0x2001n);
    expect(memory.readU16(0x7ffa)).toBe(0x1002);
  });

  it('hides a page: it executes as it is and reads as something else', async () => {
    // MOV AL, [1000H]; MOV BL, [1001H] reads its own code
    const { vcpu, report } = await run([0xa0, 0x00, 0x10, 0x8a, 0x1e, 0x01, 0x10, HLT], {
      plugin: {
        apply({ hooks }, used) {
          hooks.started.tap('hide', () => used.views.base.hide(CODE, new Uint8Array(4096).fill(0x77)));
        },
      },
    });
    expect([vcpu.getRegister32(0) & 0xff, vcpu.getRegister32(3) & 0xff]).toEqual([0x77, 0x77]);
    expect(report.exits).toEqual({ hlt: 1 });
  });

  it('gives views: a write-protected page exits with what was tried', async () => {
    const tried: number[] = [];
    const { report } = await run([0xc6, 0x06, 0x00, 0x50, 0x11, HLT], {
      // MOV BYTE [5000H], 11H
      plugin: {
        apply({ hooks }, used) {
          const views = used.views;
          hooks.started.tap('protect', () => views.base.protect(0x5000, 5));
          hooks.exit.for('ept-violation').tap('see', (exit) => {
            tried.push(exit.qualification & 7, exit.gpa);
            views.base.restore(exit.gpa);
            return RETRY;
          });
        },
      },
    });
    expect(tried).toEqual([2, 0x5000]);
    expect(report.exits).toMatchObject({ 'ept-violation': 1 });
  });

  it('switches to a view of its own', async () => {
    const { vcpu } = await run([0x0f, 0x01, 0xc1, 0xa0, 0x00, 0x50, HLT], {
      // VMCALL; MOV AL, [5000H]
      plugin: {
        apply({ hooks }, used) {
          const views = used.views;
          hooks.exit.for('vmcall').tap({ name: 'switch', before: 'exits/vmcall' }, (exit, cpu) => {
            const view = views.create();
            view.hide(0x5000, new Uint8Array(4096).fill(0x33));
            views.use(view);
            return RESUME;
          });
        },
      },
    });
    expect(vcpu.getRegister32(0) & 0xff).toBe(0x33);
  });
});
