/** What tests of the processor need, here and elsewhere: the same valid VMCS to start from, and the second tier for those that drive the module themselves. */
import { EptBuilder, VmcsField, eptPointer } from '@visorkit/x86';
import type { Engine } from './engine.js';
import { GUEST_RAM, REGIONS_LEFT } from './layout.js';
import { OWN_STATE, writeControls, writeHostState } from './vmcs-setup.js';

export { countExecutions } from './translator/options.js';
export { Translator } from './translator/translator.js';

/**
 * Writes a VMCS that passes every check of VM entry: EPT over all of RAM, and a guest in 64-bit mode with restricted state (its own
 * paging on, page tables as `cr3` says). Returns the EPT builder.
 */
export function writeValidVmcs(engine: Engine, cr3 = 0x1000n): EptBuilder {
  const { vmcs, pages, words } = engine;
  const ept = new EptBuilder({
    words,
    allocatePage: () => pages.allocatePage(),
    freePage: (page) => pages.freePage(page),
  });
  ept.map(0, GUEST_RAM, engine.memory.size);
  writeControls(vmcs, 'pin', ['nmi-exiting', 'virtual-nmis']);
  writeControls(vmcs, 'primary', ['hlt-exiting', 'unconditional-io-exiting', 'activate-secondary-controls']);
  writeControls(vmcs, 'secondary', ['enable-ept', 'enable-vpid', 'enable-rdtscp', 'enable-invpcid']);
  writeControls(vmcs, 'exit', OWN_STATE.exit);
  writeControls(vmcs, 'entry', [...OWN_STATE.entry, 'ia-32e-mode-guest']);
  vmcs.write32(VmcsField.VPID, 1);
  vmcs.write64(VmcsField.EPT_POINTER, eptPointer(ept.root));
  vmcs.write64(VmcsField.VMCS_LINK_POINTER, 0xffff_ffff_ffff_ffffn);
  writeHostState(vmcs);

  engine.reset(true);
  const data = { selector: 0x10, base: 0n, limit: 0xffff_ffff, accessRights: 0xc093 };
  engine.setSegment(1, { selector: 0x08, base: 0n, limit: 0xffff_ffff, accessRights: 0xa09b });
  for (const index of [0, 2, 3, 4, 5]) engine.setSegment(index, data);
  engine.setSegment(6, { selector: 0, base: 0n, limit: 0, accessRights: 0x10000 });
  engine.setSegment(7, { selector: 0x20, base: 0n, limit: 0x67, accessRights: 0x8b });
  engine.cr0 = 0x8000_0031n;
  engine.cr3 = cr3;
  engine.cr4 = 0x20n;
  engine.efer = 0x500n;
  engine.rip = 0n;
  engine.rflags = 2;
  return ept;
}

/** Writes 4-level page tables at `gpa` (three pages) that map the first GiB onto itself with 2 MiB pages, user and writable. */
export function writeIdentityTables(engine: Engine, gpa = 0x1000): void {
  const { memory } = engine;
  memory.writeU64(gpa, BigInt(gpa + 0x1000) | 7n);
  memory.writeU64(gpa + 0x1000, BigInt(gpa + 0x2000) | 7n);
  for (let i = 0; i < 512; i++) memory.writeU64(gpa + 0x2000 + i * 8, BigInt(i * 0x200000) | 0x87n);
}

/** Descriptor tables of a 64-bit guest: code at selector 8, data at 16, and `gates` interrupt gates that lead to a HLT at `handler` + vector. */
export function writeHaltingHandlers(
  engine: Engine,
  { gdt, idt, handler, gates = 256 }: { gdt: number; idt: number; handler: number; gates?: number },
): void {
  const { memory } = engine;
  memory.writeU64(gdt + 8, 0x00af9b000000ffffn);
  memory.writeU64(gdt + 16, 0x00cf93000000ffffn);
  for (let vector = 0; vector < gates; vector++) {
    const offset = handler + vector;
    memory.writeU64(
      idt + vector * 16,
      BigInt(offset & 0xffff) | (8n << 16n) | (0x8en << 40n) | (BigInt(offset >>> 16) << 48n),
    );
  }
  memory.fill(handler, 256, HLT);
  engine.idtr = { base: BigInt(idt), limit: 4095 };
  engine.gdtr = { base: BigInt(gdt), limit: 0xff };
}

/** How often translated regions have been left for the run loop, or refused to be entered. */
export function regionsLeft({ words }: Pick<Engine, 'words'>): number {
  let sum = 0;
  for (let why = 0; why < WAYS_TO_LEAVE; why++) sum += words[(REGIONS_LEFT >>> 2) + why];
  return sum;
}

const HLT = 0xf4;
/** LEFT_ codes of code-layout.ts. */
const WAYS_TO_LEAVE = 8;
