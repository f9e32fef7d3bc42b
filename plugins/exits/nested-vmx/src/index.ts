/**
 * Nested VMX: the guest is a hypervisor. As in KVM, the machine is L0: VMX instructions of the guest are exits, and the plugin keeps vmcs12 in the guest's
 * memory, merges it with what the machine needs into vmcs02, and gives the hypervisor the exits that it asked for.
 */
import { EventGateToken, ExitReason, RETRY, Stage, checkValue, definePlugin, optional, token } from '@visorkit/core';
import type { EventGate, Outcome, Plugin, Token, Vcpu, VmExit } from '@visorkit/core';
import {
  ClockToken,
  CpuidTableToken,
  LocalApicsToken,
  MmioBusToken,
  MsrBusToken,
  TimeStampCounterToken,
  TimerQueueToken,
  VmcsRegionsToken,
  checkPluginOptions,
} from '@visorkit/machine';
import {
  Cr0,
  Cr4,
  CrAccess,
  Msr,
  Vector,
  crAccess,
  crNumber,
  crRegister,
  exitReasonEntry,
  VMX_INSTRUCTION_EXITS,
} from '@visorkit/x86';
import * as v from 'valibot';
import { VmxMsrs, capabilitiesOf, requireControls } from './capabilities.js';
import type { Capabilities } from './capabilities.js';
import { Entering } from './entry.js';
import { Ept02Set } from './ept02.js';
import { Ept12 } from './ept12.js';
import { NestedEvents } from './events.js';
import { FieldSet } from './fields.js';
import { GuestExits } from './guest-exits.js';
import { NestedVmxToken, Taps } from './hooks.js';
import type { NestedVmx, NestedVmxHooks } from './hooks.js';
import { VmxInstructions } from './instructions.js';
import { Leaving } from './leaving.js';
import { HypervisorMemory } from './memory.js';
import { MsrAreas } from './msr-areas.js';
import { OPTIONS, featuresOf } from './options.js';
import type { NestedVmxOptions } from './options.js';
import type { EarlyParts, Parts } from './parts.js';
import { Shadowing } from './shadowing.js';
import { NestedVcpu, SAVED_VCPU } from './vcpu.js';
import { Violations } from './violations.js';

export { NestedVmxToken } from './hooks.js';
export type {
  FieldWrite,
  GuestGuestExit,
  NestedVmx,
  NestedVmxHooks,
  Taps,
  VmcsSwitch,
  VmxInstruction,
} from './hooks.js';
export type { NestedVmxOptions } from './options.js';

const CPUID_VMX = 1 << 5;
/** Reasons up to INSTRUCTION_TIMEOUT. */
const EXIT_REASONS = 76;

/** What the processor never exits for. */
const NOT_GIVEN = new Set<number>([
  ExitReason.EXTERNAL_INTERRUPT,
  ExitReason.INIT,
  ExitReason.SIPI,
  ExitReason.IO_SMI,
  ExitReason.OTHER_SMI,
  ExitReason.ENTRY_FAILURE_MACHINE_CHECK,
  ExitReason.ENCLS,
  ExitReason.GETSEC,
  ExitReason.RSM,
  ExitReason.PCONFIG,
  ExitReason.LOADIWKEY,
  ExitReason.ENCLV,
  ExitReason.ENQCMD,
  ExitReason.ENQCMDS,
]);

const SAVED = v.object({
  vcpus: v.array(SAVED_VCPU),
  tables: v.array(
    v.object({
      pointer: v.number(),
      byMode: v.boolean(),
      root: v.number(),
      tables: v.array(v.number()),
      generation: v.number(),
      subPages: v.number(),
      subPagesFor: v.number(),
    }),
  ),
  nowhere: v.number(),
  shadowing: v.object({ read: v.number(), write: v.number() }),
});

/** The pieces that exist once the VM does. */
interface Made {
  readonly parts: Parts;
  readonly exits: GuestExits;
  readonly leaving: Leaving;
  readonly instructions: VmxInstructions;
  readonly entering: Entering;
  readonly shadowing: Shadowing;
  readonly events: NestedEvents;
}

/** Lets the guest be a hypervisor. Options take features away. */
export function nestedVmx(options: NestedVmxOptions = {}): Plugin {
  checkPluginOptions('nestedVmx', options, OPTIONS);
  const features = featuresOf(options);
  return definePlugin({
    name: 'nested-vmx',
    capabilities: ['vmcs.regions', 'vmcs'],
    handles: VMX_INSTRUCTION_EXITS,
    uses: {
      regions: VmcsRegionsToken,
      table: CpuidTableToken,
      msrBus: MsrBusToken,
      mmio: MmioBusToken,
      timers: TimerQueueToken,
      clock: ClockToken,
      counter: optional(TimeStampCounterToken),
      apics: optional(LocalApicsToken),
      service: NestedServiceToken,
    },
    provides: [
      { token: NestedServiceToken, scope: 'private', make: () => new NestedService() },
      { token: NestedVmxToken, make: ({ service }) => service.api },
      { token: EventGateToken, make: ({ service }) => service.gate },
    ],
    apply(host, { regions, table, msrBus, mmio, timers, clock, counter, apics, service }) {
      requireControls(regions.capabilities);
      const { vcpus, hooks } = host;
      regions.allowVmxe();
      table.patch(1, 0, ({ ecx }) => ({ ecx: (ecx | CPUID_VMX) >>> 0 }));
      let capabilities: Capabilities | undefined;
      const offered = (): Capabilities => (capabilities ??= capabilitiesOf(regions.capabilities, features, table));
      const msrs = new VmxMsrs(regions.revision, offered, vcpus.length);
      host.onDispose(msrBus.register(Msr.IA32_FEATURE_CONTROL, 1, msrs, host.name));
      host.onDispose(
        msrBus.register(Msr.IA32_VMX_BASIC, Msr.IA32_VMX_VMFUNC - Msr.IA32_VMX_BASIC + 1, msrs, host.name),
      );
      const memory = new HypervisorMemory(regions, vcpus.length);
      const nested = vcpus.map((vcpu) => new NestedVcpu(vcpu, regions));
      const early: EarlyParts = {
        regions,
        memory,
        ept12: new Ept12(memory, regions.words, regions.capabilities.physicalBits),
        ept02: new Ept02Set(regions),
        msrs,
        msrBus,
        areas: new MsrAreas(memory, msrBus, regions),
        mmio,
        timers,
        clock,
        nanoseconds: 1e9 / (counter?.frequency ?? 1e9),
        apics,
        hooks: service.hooks,
        nested,
        nowhere: { page: regions.allocatePage() },
        holdFixedBits: (vcpu) => host.controls.hold({ crBits: { cr0: Cr0.PE | Cr0.NE | Cr0.PG, cr4: Cr4.VMXE } }, vcpu),
      };
      let made: Made | undefined;
      const machine = (): Made =>
        (made ??= make({ ...early, capabilities: offered(), fields: new FieldSet(offered()) }));
      service.use(nested, machine);
      host.onDispose(regions.onOwnControls((index) => made?.entering.merging.ownControlsChanged(index)));

      const tapped = { stage: Stage.Observe, name: 'nested-vmx' };
      for (let reason = 0; reason < EXIT_REASONS; reason++) {
        if (exitReasonEntry(reason) === undefined || NOT_GIVEN.has(reason)) continue;
        hooks.exit.for(reason).tap(tapped, (exit, vcpu) => {
          const n = nested[vcpu.index];
          if (n.inGuest) return machine().exits.handle(n, exit, vcpu);
          if (!exit.entryFailure || n.vmxon < 0) return undefined;
          return machine().shadowing.recover(n) ? RETRY : machine().leaving.corrupted(n, vcpu);
        });
      }
      for (const name of VMX_INSTRUCTION_EXITS)
        hooks.exit
          .for(name)
          .tap({ stage: Stage.Architecture }, (exit, vcpu) =>
            machine().instructions.handle(nested[vcpu.index], exit, vcpu),
          );
      // CR0 and CR4 as VMX operation fixes them, of the hypervisor itself
      hooks.exit
        .for(ExitReason.CONTROL_REGISTER)
        .tap({ stage: Stage.Observe, name: 'nested-vmx/fixed' }, (exit, vcpu) =>
          fixedBits(nested[vcpu.index], exit, vcpu),
        );
      hooks.beforeEntry.tap((vcpu) => {
        const n = nested[vcpu.index];
        if (n.inGuest) machine().exits.beforeEntry(n, vcpu);
      });
      hooks.afterExit.tap((exit, vcpu, outcome) => {
        const n = nested[vcpu.index];
        if (n.inGuest && n.byMachine) machine().exits.afterExit(n, exit, vcpu, outcome);
      });
      hooks.reset.tap(() => {
        for (const n of nested) leaveVmx(n, early, made?.shadowing);
        msrs.reset();
      });
      host.onSave({
        save: () => ({
          vcpus: nested.map((n) => n.save(msrs.control[n.vcpu.index])),
          tables: early.ept02.save(),
          nowhere: early.nowhere.page,
          shadowing: machine().shadowing.save(),
        }),
        check: (state) => void checkSaved(state),
        restore: (state) => {
          const saved = checkSaved(state);
          memory.forget();
          early.ept02.restore(saved.tables);
          early.nowhere.page = saved.nowhere;
          machine().shadowing.restore(saved.shadowing);
          saved.vcpus.forEach((state, index) => {
            const n = nested[index];
            n.release?.();
            n.release = undefined;
            n.restore(state);
            msrs.control[index] = state.featureControl;
            n.vmcs12.page = n.current < 0 ? -1 : memory.page(n.vcpu, n.current);
            if (n.vmxon >= 0) n.release = early.holdFixedBits(n.vcpu);
            n.alarm?.cancel();
            n.alarm = undefined;
            if (state.alarm) machine().exits.setAlarm(n, n.vcpu);
          });
        },
      });
    },
  });
}

function checkSaved(state: unknown): v.InferOutput<typeof SAVED> {
  return checkValue(SAVED, state, 'NESTED_STATE', 'The saved state of nested VMX');
}

/** In VMX operation CR0 and CR4 have bits that stay set: clearing one is #GP(0) (SDM 3C 24.8, appendix A.7 and A.8). */
function fixedBits(n: NestedVcpu, { qualification }: VmExit, vcpu: Vcpu): Outcome | undefined {
  if (n.vmxon < 0 || n.inGuest || crAccess(qualification) !== CrAccess.MOV_TO) return undefined;
  const number = crNumber(qualification);
  const fixed = number === 0 ? Cr0.PE | Cr0.NE | Cr0.PG : number === 4 ? Cr4.VMXE : 0n;
  if ((vcpu.getRegister(crRegister(qualification)) & fixed) === fixed) return undefined;
  vcpu.injectException(Vector.GP, 0);
  return RETRY;
}

function make(parts: Parts): Made {
  const leaving = new Leaving(parts);
  const entering = new Entering(parts, leaving);
  const shadowing = new Shadowing(parts);
  const instructions = new VmxInstructions(parts, entering, shadowing);
  const exits = new GuestExits(parts, leaving, new Violations(parts, leaving), instructions);
  return { parts, exits, leaving, instructions, entering, shadowing, events: new NestedEvents(parts, leaving, exits) };
}

/** The vCPU is outside VMX operation, with the backend's own VMCS. */
function leaveVmx(n: NestedVcpu, { regions }: EarlyParts, shadowing: Shadowing | undefined): void {
  if (regions.otherIsCurrent(n.vcpu)) regions.load(n.vcpu, regions.ownRegion(n.vcpu));
  shadowing?.off(n);
  n.release?.();
  n.release = undefined;
  n.inGuest = false;
  n.vmxon = n.current = -1;
}

/** What other plugins, and the run loop, are given before the VM exists. */
class NestedService {
  #nested: readonly NestedVcpu[] | undefined;
  #machine: (() => Made) | undefined;
  readonly hooks: NestedVmxHooks = {
    instruction: new Taps(),
    write: new Taps(() => this.#machine?.().shadowing.observersChanged()),
    exit: new Taps(),
    vmcsSwitch: new Taps(),
  };

  use(nested: readonly NestedVcpu[], machine: () => Made): void {
    this.#nested = nested;
    this.#machine = machine;
  }

  get api(): NestedVmx {
    const of = ({ index }: Pick<Vcpu, 'index'>): NestedVcpu | undefined => this.#nested?.[index];
    return {
      hooks: this.hooks,
      inVmxOperation: (vcpu) => (of(vcpu)?.vmxon ?? -1) >= 0,
      inGuest: (vcpu) => of(vcpu)?.inGuest ?? false,
      currentVmcs: (vcpu) => of(vcpu)?.current ?? -1,
      read: (vcpu, field) => {
        const n = of(vcpu);
        if (n === undefined || n.current < 0 || n.vmcs12.page < 0 || !this.#machine!().parts.fields.has(field))
          return undefined;
        return n.vmcs12.read64(field);
      },
    };
  }

  get gate(): EventGate {
    const machine = (): Made => this.#machine!();
    return {
      interrupt: (vcpu, source, halted) => machine().events.interrupt(vcpu, source, halted),
      nmi: (vcpu, halted) => machine().events.nmi(vcpu, halted),
      init: (vcpu, halted) => machine().events.init(vcpu, halted),
      startup: (vcpu, vector) => machine().events.startup(vcpu, vector),
      listens: (vcpu) => machine().events.listens(vcpu),
      wakes: (vcpu) => machine().events.wakes(vcpu),
    };
  }
}

const NestedServiceToken: Token<NestedService> = token('nested-vmx-service');
