/** What the plugin keeps about one vCPU. */
import type { Undo, Vcpu } from '@visorkit/core';
import type { Timer, VmcsRegions } from '@visorkit/machine';
import * as v from 'valibot';
import { RegionFields } from '@visorkit/machine';
import { Prepared } from './prepared.js';

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const address = v.pipe(v.number(), v.integer(), v.minValue(-1));

/** `VmcsRegions.timerTicks` begins anew at this. */
export const TIMER_TICKS = 2 ** 48;

/** As it is saved. Addresses of vmcs12 are guest-physical, those of regions and tables host-physical. */
export const SAVED_VCPU = v.object({
  vmxon: address,
  current: address,
  inGuest: v.boolean(),
  timerDeadline: count,
  featureControl: v.bigint(),
  regions: v.array(v.object({ vmcs12: address, region: count, used: count, prepared: v.array(count) })),
  active: v.nullable(v.number()),
  byMachine: v.boolean(),
  busLock: v.optional(v.boolean()),
  injected: count,
  alarm: v.boolean(),
});
export type SavedVcpu = v.InferOutput<typeof SAVED_VCPU>;

/** The VMCS that a vCPU runs a guest of its guest with: vmcs02. One for each vmcs12 entered of late. */
export interface Vmcs02 {
  /** Guest-physical address of the vmcs12 that it was made from; -1 none. */
  vmcs12: number;
  readonly region: number;
  /** When it was last used. */
  used: number;
  readonly prepared: Prepared;
}

export class NestedVcpu {
  /** Guest-physical address of the VMXON region; -1 outside VMX operation. */
  vmxon = -1;
  /** Guest-physical address of the current VMCS; -1 none. */
  current = -1;
  /** The hypervisor's guest runs. */
  inGuest = false;
  /** The current VMCS, where it is in memory. */
  readonly vmcs12: RegionFields;
  /** The VMCS that runs it, in its region. */
  readonly vmcs02: RegionFields;
  /** The backend's own, in its region. */
  readonly vmcs01: RegionFields;
  readonly regions: Vmcs02[] = [];
  active: Vmcs02 | undefined;
  /** When the hypervisor's preemption timer runs out, as `VmcsRegions.timerTicks` counts. */
  timerDeadline = 0;
  /** It has been set by an entry that is still to come: the field has its value. */
  timerFresh = false;
  /** VPIDs and the VMCS that last ran under them. */
  readonly vpids = new Map<number, number>();
  /** Generation of each EPT02 root when this vCPU last entered it. */
  readonly roots = new Map<number, number>();
  /** The bits of CR0 and CR4 that are fixed in VMX operation. */
  release: Undo | undefined;
  /** Wakes the run loop for the preemption timer of a guest that halts. */
  alarm: Timer | undefined;
  /** The last exit has been left to the machine. */
  byMachine = false;
  /** The guest has asserted a bus lock: the next exit to the hypervisor tells of it. */
  busLock = false;
  /** The event that waits for injection is there from an entry of the hypervisor, or from an interrupted delivery. */
  injected = 0;
  readonly #regions: VmcsRegions;

  constructor(
    readonly vcpu: Vcpu,
    regions: VmcsRegions,
  ) {
    this.#regions = regions;
    this.vmcs12 = new RegionFields(regions);
    this.vmcs02 = new RegionFields(regions);
    this.vmcs01 = new RegionFields(regions);
    this.vmcs01.page = regions.ownRegion(vcpu);
  }

  /**
   * What the hypervisor's preemption timer has left at that time, in ticks, 0 when it has run out: it counts down each time bit `shift` of the TSC changes
   * (SDM 3C 26.5.1), and so not once in 2^shift ticks of the TSC from any moment. A guest that is entered with 0 makes no progress, and neither does virtual time.
   */
  timerLeft(now: number): number {
    const left = (this.timerDeadline + TIMER_TICKS - now) % TIMER_TICKS;
    return left >= TIMER_TICKS / 2 ? 0 : Math.min(left, 0xffff_ffff);
  }

  save(featureControl: bigint): SavedVcpu {
    return {
      vmxon: this.vmxon,
      current: this.current,
      inGuest: this.inGuest,
      timerDeadline: this.timerDeadline,
      featureControl,
      regions: this.regions.map(({ vmcs12, region, used, prepared: { pages } }) => ({
        vmcs12,
        region,
        used,
        prepared: [...pages],
      })),
      active: this.active === undefined ? null : this.regions.indexOf(this.active),
      byMachine: this.byMachine,
      ...(this.busLock ? { busLock: true } : {}),
      injected: this.injected,
      alarm: this.alarm !== undefined,
    };
  }

  restore(state: SavedVcpu): void {
    this.vmxon = state.vmxon;
    this.current = state.current;
    this.inGuest = state.inGuest;
    this.timerDeadline = state.timerDeadline;
    const restored = state.regions.map(({ prepared, ...region }) => ({
      ...region,
      prepared: new Prepared(this.#regions, prepared),
    }));
    this.regions.splice(0, this.regions.length, ...restored);
    this.active = state.active === null ? undefined : this.regions[state.active];
    this.vmcs02.page = this.active?.region ?? -1;
    this.vpids.clear();
    this.roots.clear();
    this.byMachine = state.byMachine;
    this.busLock = state.busLock ?? false;
    this.injected = state.injected;
  }
}
