/**
 * Suspend to RAM (S3) for a machine without firmware: everything but memory, the clock and the power management block
 * loses its state, and the wake event starts the processor at the waking vector of the FACS (ACPI specification 6.4,
 * 5.2.10 and 16.1.3), as firmware would after its own initialisation.
 */
import { HALT, PluginHostToken, RESUME, Stage, inject, injectable, token } from '@visorkit/core';
import type { Outcome, PluginHost, Token, Vcpu, VmExit } from '@visorkit/core';
import { DeviceListToken, GuestMemoryToken, LocalApicsToken, PortBusToken, unsigned } from '@visorkit/machine';
import type { Device, DeviceList, GuestMemory, LocalApics, PortBus } from '@visorkit/machine';
import * as v from 'valibot';
import { PM1_CONTROL, PmRegistersToken } from './pm-registers.js';
import type { PmRegisters } from './pm-registers.js';
import { FACS_WAKING_VECTOR } from './tables.js';

const FACS_SIGNATURE = 0x5343_4146;
const FACS_SIZE = 64;
const RFLAGS_IF = 0x200n;
/** Devices that keep their power, by name. */
const POWERED: ReadonlySet<string> = new Set(['acpi-pm', 'acpi-suspend', 'piix4-pm', 'rtc-mc146818']);

export interface SuspendState {
  asleep: boolean;
  /** A wake event came, and the processor has not been through its INIT yet. */
  waking: boolean;
  facs: number;
}

const STATE = v.strictObject({ asleep: v.boolean(), waking: v.boolean(), facs: unsigned(32) });

export const SuspendToRamToken: Token<SuspendToRam> = token('suspend-to-ram');

@injectable()
export class SuspendToRam implements Device<SuspendState> {
  readonly name = 'acpi-suspend';
  readonly schema = STATE;
  #asleep = false;
  #waking = false;
  /** Guest-physical address of the FACS that visorkit placed. */
  facs = 0;

  constructor(
    @inject(PluginHostToken) private readonly host: PluginHost,
    @inject(PmRegistersToken) private readonly pm: PmRegisters,
    @inject(GuestMemoryToken) private readonly memory: GuestMemory,
    @inject(DeviceListToken) private readonly devices: DeviceList,
    @inject(PortBusToken) private readonly ports: PortBus,
    @inject(LocalApicsToken, { isOptional: true }) private readonly apics?: LocalApics,
  ) {
    host.hooks.exit.for('io').tap({ stage: Stage.Machine - 1 }, (exit, vcpu) => this.#control(exit, vcpu));
    host.hooks.vcpuState.tap((vcpu, change) => {
      if (change === 'reset' && this.#waking && vcpu.index === 0) this.#resume(vcpu);
    });
  }

  /** A reset of the machine ends the sleep; the FACS stays where it is. */
  reset(): void {
    this.#asleep = false;
    this.#waking = false;
  }

  save(): SuspendState {
    return { asleep: this.#asleep, waking: this.#waking, facs: this.facs };
  }

  restore({ asleep, waking, facs }: SuspendState): void {
    this.#asleep = asleep;
    this.#waking = waking;
    this.facs = facs;
  }

  /** The guest wrote SLP_EN with the type of S3. Without a vector to wake to, the machine goes on. */
  sleep(): void {
    if (this.#vector() === 0 || this.apics === undefined) {
      this.host.logger.warn('the guest suspended to RAM without a waking vector in the FACS; the write is ignored');
      return;
    }
    this.#asleep = true;
    for (const device of this.devices) if (!POWERED.has(device.name)) device.reset();
    this.host.logger.info('the guest suspended to RAM');
  }

  /** A wake event. Returns true when the machine was asleep. */
  wake(): boolean {
    if (!this.#asleep) return false;
    this.#asleep = false;
    this.#waking = true;
    this.apics?.sendInit(0);
    return true;
  }

  /** The write that puts the machine to sleep is the last thing the processor does: it halts until the wake event. */
  #control(exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    const { io } = exit;
    const control = this.pm.base + PM1_CONTROL;
    if (io.port < control || io.port > control + 1 || io.input || io.string) return undefined;
    this.ports.write(io.port, io.size, io.value, vcpu.index);
    if (!this.#asleep) return RESUME;
    // A processor that halts with interrupts off could never be woken; its flags are lost in S3 anyway, and every
    // interrupt controller has just been reset.
    vcpu.rflags |= RFLAGS_IF;
    return HALT;
  }

  #vector(): number {
    const { memory, facs } = this;
    if (!memory.contains(facs, FACS_SIZE) || memory.readU32(facs) !== FACS_SIGNATURE) return 0;
    return memory.readU32(facs + FACS_WAKING_VECTOR);
  }

  /** The processor came out of INIT: real mode at the vector. */
  #resume(vcpu: Vcpu): void {
    this.#waking = false;
    const vector = this.#vector();
    const selector = (vector >>> 4) & 0xffff;
    vcpu.setInitialState({
      mode: 'real16',
      rip: BigInt(vector & 15),
      segments: { cs: { selector, base: BigInt(selector << 4), limit: 0xffff, accessRights: 0x9b } },
    });
    this.host.logger.info(`the guest woke up at ${selector.toString(16)}:${(vector & 15).toString(16)}`);
  }
}
