/**
 * Suspend to RAM (S3) for a machine without firmware: everything but memory, the clock and the power management block
 * loses its state, and the wake event starts the processor at the waking vector of the FACS (ACPI specification 6.4,
 * 5.2.10 and 16.1.3), as firmware would after its own initialisation.
 */
import { HALT, RESUME, Stage } from '@visorkit/core';
import type { Outcome, PluginHost, Vcpu, VmExit } from '@visorkit/core';
import { DeviceListToken, GuestMemoryToken, LocalApicsToken, PortBusToken } from '@visorkit/machine';
import { FACS_WAKING_VECTOR } from './tables.js';

const FACS_SIGNATURE = 0x5343_4146;
const FACS_SIZE = 64;
const RFLAGS_IF = 0x200n;
/** Devices that keep their power, by name. */
const POWERED: ReadonlySet<string> = new Set(['acpi-pm', 'piix4-pm', 'rtc-mc146818']);

export class SuspendToRam {
  #asleep = false;
  #waking = false;

  /**
   * @param facs guest-physical address of the FACS that visorkit placed
   * @param control port of the PM1 control register
   */
  constructor(
    private readonly host: PluginHost,
    private readonly facs: () => number,
    private readonly control: () => number,
  ) {
    host.hooks.exit
      .for('io')
      .tap({ name: 'acpi', stage: Stage.Machine - 1 }, (exit, vcpu) => this.#control(exit, vcpu));
    host.hooks.vcpuState.tap('acpi', (vcpu, change) => {
      if (change === 'reset' && this.#waking && vcpu.index === 0) this.#resume(vcpu);
    });
    host.hooks.reset.tap('acpi', () => {
      this.#asleep = false;
      this.#waking = false;
    });
  }

  /** The guest wrote SLP_EN with the type of S3. Without a vector to wake to, the machine goes on. */
  sleep(): void {
    if (this.#vector() === 0 || !this.host.services.has(LocalApicsToken)) {
      this.host.logger.warn('the guest suspended to RAM without a waking vector in the FACS; the write is ignored');
      return;
    }
    this.#asleep = true;
    for (const device of this.host.services.get(DeviceListToken)) if (!POWERED.has(device.name)) device.reset();
    this.host.logger.info('the guest suspended to RAM');
  }

  /** A wake event. Returns true when the machine was asleep. */
  wake(): boolean {
    if (!this.#asleep) return false;
    this.#asleep = false;
    this.#waking = true;
    this.host.services.get(LocalApicsToken).sendInit(0);
    return true;
  }

  /** The write that puts the machine to sleep is the last thing the processor does: it halts until the wake event. */
  #control(exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    const { io } = exit;
    const control = this.control();
    if (io.port < control || io.port > control + 1 || io.input || io.string) return undefined;
    this.host.services.get(PortBusToken).write(io.port, io.size, io.value);
    if (!this.#asleep) return RESUME;
    // A processor that halts with interrupts off could never be woken; its flags are lost in S3 anyway, and every
    // interrupt controller has just been reset.
    vcpu.rflags |= RFLAGS_IF;
    return HALT;
  }

  #vector(): number {
    const memory = this.host.services.get(GuestMemoryToken);
    const facs = this.facs();
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
