/**
 * What joins the APICs of a machine: interrupt messages between processors and from the I/O APIC, and EOI broadcasts.
 */
import type { LocalApic } from './local-apic.js';
import { DeliveryMode, Shorthand } from './registers.js';

/** An I/O APIC as the bus sees it. */
export interface EoiListener {
  /** A processor finished a level-triggered interrupt of this vector. */
  endOfInterrupt(vector: number): void;
}

export class ApicBus {
  readonly apics: LocalApic[] = [];
  /** Index of the vCPU that executes now: an access to the APIC page goes to its registers. */
  current = 0;
  /** Told when an APIC's page moved or its mode changed. */
  onRelocated: (() => void) | undefined;
  /** Told when something arrived for a vCPU that may be halted. */
  onWake: ((vcpu: number) => void) | undefined;
  readonly #listeners: EoiListener[] = [];
  /** Where arbitration for the lowest priority begins, so that equal processors take turns. */
  #turn = 0;

  attach(apic: LocalApic): void {
    this.apics.push(apic);
  }

  addListener(listener: EoiListener): void {
    this.#listeners.push(listener);
  }

  /** An IPI from the interrupt command register (SDM 3A, 11.6.1). */
  send(
    sender: LocalApic,
    shorthand: number,
    destination: number,
    logical: boolean,
    mode: number,
    vector: number,
  ): void {
    switch (shorthand) {
      case Shorthand.self:
        if (mode === DeliveryMode.fixed || mode === DeliveryMode.nmi) sender.accept(mode, vector, false);
        break;
      case Shorthand.allIncludingSelf:
        this.#broadcast(undefined, mode, vector);
        break;
      case Shorthand.allExcludingSelf:
        this.#broadcast(sender, mode, vector);
        break;
      default:
        this.deliver(destination, logical, sender.x2apic, mode, vector, false);
    }
  }

  /**
   * Delivers a message; false when no processor took it.
   * @param wide the destination has 32 bits (x2APIC), not 8
   */
  deliver(destination: number, logical: boolean, wide: boolean, mode: number, vector: number, level: boolean): boolean {
    if (mode === DeliveryMode.lowestPriority) return this.#deliverLowest(destination, logical, wide, vector, level);
    let taken = false;
    for (const apic of this.apics) {
      if (apic.matches(destination, logical, wide) && apic.accept(mode, vector, level)) taken = true;
    }
    return taken;
  }

  /** A message-signalled interrupt (SDM 3A, 11.11): `address` 0xFEExxxxx, `data` as a function writes it. */
  message(address: number, data: number): boolean {
    const destination = (address >>> 12) & 0xff;
    const logical = (address & 4) !== 0;
    const level = (data & 0x8000) !== 0;
    if (level && !(data & 0x4000)) return true; // de-assertion of a level
    let mode = (data >> 8) & 7;
    // The redirection hint asks for the lowest priority among the destinations.
    if (address & 8 && mode === DeliveryMode.fixed) mode = DeliveryMode.lowestPriority;
    return this.deliver(destination, logical, false, mode, data & 0xff, level);
  }

  /** The level of the PIC's output, which is wired to LINT0 of every processor. */
  setLint0(level: boolean): void {
    for (const apic of this.apics) apic.setPin(0, level);
  }

  /** The level of the machine's NMI line, wired to LINT1 of every processor. */
  setLint1(level: boolean): void {
    for (const apic of this.apics) apic.setPin(1, level);
  }

  endOfInterrupt(vector: number): void {
    for (const listener of this.#listeners) listener.endOfInterrupt(vector);
  }

  relocated(): void {
    this.onRelocated?.();
  }

  wake(vcpu: number): void {
    this.onWake?.(vcpu);
  }

  #broadcast(except: LocalApic | undefined, mode: number, vector: number): void {
    for (const apic of this.apics) if (apic !== except && apic.enabled) apic.accept(mode, vector, false);
  }

  #deliverLowest(destination: number, logical: boolean, wide: boolean, vector: number, level: boolean): boolean {
    let best: LocalApic | undefined;
    const count = this.apics.length;
    for (let step = 0; step < count; step++) {
      const apic = this.apics[(this.#turn + step) % count];
      if (!apic.matches(destination, logical, wide)) continue;
      if (best === undefined || apic.priority < best.priority) best = apic;
    }
    if (best === undefined) return false;
    this.#turn = (best.index + 1) % count;
    return best.accept(DeliveryMode.lowestPriority, vector, level);
  }
}
