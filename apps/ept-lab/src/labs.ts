/** The labs, each a plugin: what a hypervisor does with its guest's memory in a few lines. guest/guest.S is the guest. */
import { RESUME, RETRY, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { GuestMemoryToken, HypervisorMemoryToken, MemoryViewsToken, PageRights } from '@visorkit/machine';
import { VmcsField, eptTreeLines } from '@visorkit/x86';

type Print = (line: string) => void;

/** Addresses that the guest knows too. */
const DATA = 0x20_0000,
  CODE = 0x20_1000,
  WATCHED = 0x20_2000,
  FORBIDDEN = 0x20_3000,
  INFORMATION = 0x20_4000;
const MULTIPLY = 0x6d756c;
const { NONE, READ, RX } = PageRights;
const little = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const hex = (value: number): string => `0x${value.toString(16)}`;

/** The EPT tables that the guest's memory is translated by; one page is made read-only, which splits a large one. */
export const tables = (print: Print): Plugin =>
  definePlugin({
    name: 'tables',
    uses: { views: MemoryViewsToken, memory: HypervisorMemoryToken },
    apply({ hooks, vcpus }, { views, memory }) {
      hooks.started.tap(() => views.base.protect(DATA, READ));
      hooks.paused.tap(() => {
        const pointer = vcpus[0].vmcs!.read64(VmcsField.EPT_POINTER);
        for (const line of eptTreeLines(pointer, (address) => memory.readU64(address))) print(line);
      });
    },
  });

/** A hypercall of one's own. */
export const hypercall = (print: Print): Plugin =>
  definePlugin({
    name: 'hypercall',
    apply({ hooks }) {
      hooks.exit.for('vmcall').tap((_exit, vcpu) => {
        if (vcpu.rax !== BigInt(MULTIPLY)) return undefined; // another plugin's, or nobody's
        print(`hypercall: multiply ${vcpu.rbx} by ${vcpu.rcx}`);
        vcpu.rax = vcpu.rbx * vcpu.rcx;
        return RESUME;
      });
    },
  });

/** Two views of memory, which the guest switches between by itself. */
export const twoViews = (): Plugin =>
  definePlugin({
    name: 'two-views',
    needs: { secondary: ['enable-vm-functions'] },
    uses: { views: MemoryViewsToken },
    apply({ hooks }, { views }) {
      hooks.started.tap(() => {
        const other = views.allocatePage();
        other.write(little(2));
        views.create().remap(DATA, other);
        views.allowVmfunc();
      });
    },
  });

/** A function that can be called, and is read as something else. */
export const hidden = (): Plugin =>
  definePlugin({
    name: 'hidden',
    capabilities: ['ept.execute-only'],
    uses: { views: MemoryViewsToken, memory: GuestMemoryToken },
    apply({ hooks }, { views, memory }) {
      hooks.started.tap(() => {
        memory.write(CODE, Uint8Array.of(0xb8, 42, 0, 0, 0, 0xc3)); // MOV EAX, 42; RET
        views.base.hide(CODE, new Uint8Array(4096).fill(0xcc));
      });
    },
  });

/** Every write to a page, with what was there before. */
export const watched = (print: Print): Plugin =>
  definePlugin({
    name: 'watched',
    capabilities: ['emulation'],
    uses: { views: MemoryViewsToken, memory: GuestMemoryToken },
    apply({ hooks }, { views, memory }) {
      hooks.started.tap(() => views.base.protect(WATCHED, RX));
      hooks.exit.for('ept-violation').tap(({ gpa }, { rip, emulation }) => {
        if (gpa - (gpa % 4096) !== WATCHED) return undefined;
        print(`write at RIP 0x${rip.toString(16)}: ${memory.readU32(gpa)} becomes ${emulation!.valueLow}`);
        emulation!.allow();
        return RETRY;
      });
    },
  });

/** What is forbidden is an exception of the guest, vector 20, and no exit. */
export const exception = (): Plugin =>
  definePlugin({
    name: 'exception',
    needs: { secondary: ['ept-violation-ve', 'enable-vm-functions'] },
    uses: { views: MemoryViewsToken, memory: HypervisorMemoryToken, guest: GuestMemoryToken },
    apply({ hooks, vcpus }, { views, memory, guest }) {
      hooks.started.tap(() => {
        guest.write(FORBIDDEN, little(77));
        vcpus[0].vmcs!.write64(VmcsField.VIRTUALIZATION_EXCEPTION_INFORMATION, BigInt(memory.addressOf(INFORMATION)!));
        views.create(); // 1, in which the page may be read
        views.base.protect(FORBIDDEN, NONE);
        views.base.suppressVe(FORBIDDEN, false);
        views.allowVmfunc();
      });
    },
  });

/** Which pages the guest writes, from the processor's own log. */
export const logged = (print: Print): Plugin =>
  definePlugin({
    name: 'logged',
    capabilities: ['dirty-log'],
    uses: { views: MemoryViewsToken },
    apply({ hooks }, { views }) {
      hooks.started.tap(() => views.trackDirty('log'));
      hooks.paused.tap(() => {
        const written = views.base.dirtyPages().filter((gpa) => gpa >= 0x40_0000);
        print(
          `${written.length} pages were written: ${written.slice(0, 3).map(hex).join(', ')} … ${hex(written.at(-1)!)}`,
        );
      });
    },
  });
