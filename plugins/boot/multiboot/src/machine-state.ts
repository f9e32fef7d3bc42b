/** The state of the processor at a multiboot kernel's entry; the same for both versions of Multiboot. */
import { ControlBits, FLAT_GDT_SIZE, KernelSelector, flatSegments, writeFlatGdt } from '@visorkit/machine';
import type { BootContext, BootLayout } from '@visorkit/machine';
import { ADDRESS_END, LOW_START } from './addresses.js';

const STACK_SIZE = 0x1000;

/** Takes the places of the GDT and the stack; called before anything else takes low memory. Gives the function that sets the state. */
export function prepareEntry(
  { memory, vcpu }: BootContext,
  layout: BootLayout,
): (entry: number, magic: number, info: number) => void {
  const gdt = layout.takeLow(FLAT_GDT_SIZE, 16, 'the GDT', LOW_START, ADDRESS_END);
  writeFlatGdt(memory, gdt, 32, KernelSelector);
  const stack = layout.takeLow(STACK_SIZE, 4096, 'the stack', LOW_START, ADDRESS_END) + STACK_SIZE;
  return (entry, magic, info) =>
    vcpu.setInitialState({
      mode: 'protected32',
      rip: BigInt(entry),
      rsp: BigInt(stack),
      rflags: 2n,
      registers: { rax: BigInt(magic), rbx: BigInt(info) },
      segments: flatSegments(32, KernelSelector),
      gdtr: { base: BigInt(gdt), limit: FLAT_GDT_SIZE - 1 },
      idtr: { base: 0n, limit: 0 },
      cr0: ControlBits.CR0_PE | ControlBits.CR0_ET,
    });
}
