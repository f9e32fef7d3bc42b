/**
 * VMCS shadowing for the guest's hypervisor (SDM 3C 25.6.15): its VMREADs and VMWRITEs do not leave the guest. vmcs12 has the format of a region of the
 * processor, so the link pointer of the machine's own VMCS is simply the page in the guest's memory where vmcs12 is.
 */
import { VmcsField as F } from '@visorkit/x86';
import { NO_LINK, PAGE, SHADOW, Secondary } from './bits.js';
import type { FieldSet } from './fields.js';
import type { Parts } from './parts.js';
import type { NestedVcpu } from './vcpu.js';

/** Fields of which a write keeps less than it is given, or something is to be done: all others may be written past the plugin. */
const ACCESS_RIGHTS = [F.GUEST_ES_ACCESS_RIGHTS, F.GUEST_TR_ACCESS_RIGHTS] as const;

export class Shadowing {
  /** Pages of the bitmaps: 1 exits. */
  #read = 0;
  #write = 0;

  constructor(private readonly parts: Parts) {}

  /** The processor can do it, and the options do not take it away. */
  get #possible(): boolean {
    const { regions, capabilities } = this.parts;
    return (
      capabilities.features.shadowVmcs &&
      (regions.capabilities.controls.secondary.allowed & Secondary.VMCS_SHADOWING) !== 0
    );
  }

  /** vmcs12 is another one, or none, from now on. The machine's own VMCS is current. */
  use(n: NestedVcpu): void {
    if (!this.#possible) return;
    const { regions } = this.parts,
      { page } = n.vmcs12;
    const own = regions.own(n.vcpu),
      secondary = own.read32(F.SECONDARY_CONTROLS);
    if (n.current < 0 || page < 0 || regions.words[page >>> 2] >= SHADOW) {
      if ((secondary & Secondary.VMCS_SHADOWING) !== 0) this.off(n);
      return;
    }
    if (this.#read === 0) this.#makeBitmaps();
    own.write64(F.VMREAD_BITMAP, BigInt(this.#read));
    own.write64(F.VMWRITE_BITMAP, BigInt(this.#write));
    own.write64(F.VMCS_LINK_POINTER, BigInt(page));
    own.write32(F.SECONDARY_CONTROLS, (secondary | Secondary.VMCS_SHADOWING) >>> 0);
  }

  off(n: NestedVcpu): void {
    const own = this.parts.regions.own(n.vcpu);
    own.write32(F.SECONDARY_CONTROLS, (own.read32(F.SECONDARY_CONTROLS) & ~Secondary.VMCS_SHADOWING) >>> 0);
    own.write64(F.VMCS_LINK_POINTER, NO_LINK);
  }

  /** An entry of the hypervisor itself has failed: it has overwritten the revision identifier of vmcs12, which the processor looks at. True: goes on without. */
  recover(n: NestedVcpu): boolean {
    const own = this.parts.regions.own(n.vcpu);
    if ((own.read32(F.SECONDARY_CONTROLS) & Secondary.VMCS_SHADOWING) === 0) return false;
    this.off(n);
    return true;
  }

  /** Somebody began to look at writes, or nobody does any more. */
  observersChanged(): void {
    if (this.#read !== 0) this.#fillWrites();
  }

  save(): { read: number; write: number } {
    return { read: this.#read, write: this.#write };
  }
  restore({ read, write }: { read: number; write: number }): void {
    this.#read = read;
    this.#write = write;
    this.observersChanged();
  }

  #makeBitmaps(): void {
    const { regions, fields } = this.parts;
    this.#read = regions.allocatePage();
    this.#write = regions.allocatePage();
    this.#allow(this.#read, fields, () => true);
    this.#fillWrites();
  }

  #fillWrites(): void {
    const { fields, hooks } = this.parts,
      [first, last] = ACCESS_RIGHTS;
    const watched = hooks.write.isUsed();
    this.#allow(this.#write, fields, (field) => !watched && (field < first || field > last));
  }

  #allow(bitmap: number, fields: FieldSet, allowed: (field: number) => boolean): void {
    const { bytes } = this.parts.regions;
    bytes.fill(0xff, bitmap, bitmap + PAGE);
    for (const field of fields.all) {
      if (!allowed(field)) continue;
      for (const encoding of fields.has(field + 1) ? [field, field + 1] : [field])
        bytes[bitmap + (encoding >>> 3)] &= ~(1 << (encoding & 7));
    }
  }
}
