/**
 * The pair of 8259A programmable interrupt controllers of a PC (Intel 8259A data sheet, 231468), with the edge/level
 * control registers that EISA added at 0x4d0 and 0x4d1.
 */
import { injectable } from '@visorkit/core';
import { unsigned, wholeNumber } from '@visorkit/machine';
import type { Device, InterruptSource } from '@visorkit/machine';
import * as v from 'valibot';
import { BytePortDevice } from './byte-port-device.js';

/** Initialisation command word 1. */
const ICW1_INIT = 0x10;
const ICW1_LEVEL = 0x08;
const ICW1_SINGLE = 0x02;
const ICW1_ICW4 = 0x01;
/** Initialisation command word 4. */
const ICW4_SPECIAL_FULLY_NESTED = 0x10;
const ICW4_AUTO_EOI = 0x02;
/** Operation command word 3 (told from word 2 by bit 3). */
const OCW3_SELECT = 0x08;
const OCW3_POLL = 0x04;
const OCW3_READ_REGISTER = 0x02;
const OCW3_READ_ISR = 0x01;
const OCW3_SPECIAL_MASK_ENABLE = 0x40;
const OCW3_SPECIAL_MASK = 0x20;
/** The commands of operation command word 2 (bits 7-5: rotate, specific, end of interrupt). */
const Ocw2 = {
  clearRotateAuto: 0,
  nonSpecificEoi: 1,
  specificEoi: 3,
  setRotateAuto: 4,
  rotateNonSpecific: 5,
  setPriority: 6,
  rotateSpecific: 7,
} as const;

const CASCADE = 2;
const POLL_INTERRUPT = 0x80;

export interface Pic8259ChipState {
  lines: number;
  requests: number;
  inService: number;
  mask: number;
  elcr: number;
  vectorBase: number;
  lowestPriority: number;
  nextWord: number;
  needsWord4: boolean;
  single: boolean;
  levelTriggered: boolean;
  autoEoi: boolean;
  rotateOnAutoEoi: boolean;
  specialFullyNested: boolean;
  specialMask: boolean;
  poll: boolean;
  readInService: boolean;
}

const CHIP = v.strictObject({
  lines: unsigned(8),
  requests: unsigned(8),
  inService: unsigned(8),
  mask: unsigned(8),
  elcr: unsigned(8),
  vectorBase: unsigned(8),
  lowestPriority: unsigned(3),
  nextWord: wholeNumber(0, 4),
  needsWord4: v.boolean(),
  single: v.boolean(),
  levelTriggered: v.boolean(),
  autoEoi: v.boolean(),
  rotateOnAutoEoi: v.boolean(),
  specialFullyNested: v.boolean(),
  specialMask: v.boolean(),
  poll: v.boolean(),
  readInService: v.boolean(),
});

const powerOnState = (): Pic8259ChipState => ({
  lines: 0,
  requests: 0,
  inService: 0,
  mask: 0,
  elcr: 0,
  vectorBase: 0,
  lowestPriority: 7,
  nextWord: 0,
  needsWord4: false,
  single: false,
  levelTriggered: false,
  autoEoi: false,
  rotateOnAutoEoi: false,
  specialFullyNested: false,
  specialMask: false,
  poll: false,
  readInService: false,
});

/** One 8259A. The master sees the slave's output as a level on its cascade input. */
class Chip {
  state = powerOnState();
  /** The master's only: asks whether the slave requests. */
  slave: Chip | undefined;

  constructor(readonly elcrWritable: number) {}

  setLine(input: number, level: boolean): void {
    const state = this.state;
    const bit = 1 << input;
    if (level && !(state.lines & bit)) state.requests |= bit; // an edge is latched until acknowledged
    if (!level && this.#isLevel(bit)) state.requests &= ~bit;
    state.lines = level ? state.lines | bit : state.lines & ~bit;
  }

  /** The input to be served now, or -1: the highest request above what is in service. */
  request(): number {
    const state = this.state;
    const requests = this.#requests() & ~state.mask;
    if (requests === 0) return -1;
    let inService = state.inService;
    // Special mask mode: masked inputs no longer hold back lower ones (data sheet, "Special Mask Mode").
    if (state.specialMask) inService &= ~state.mask;
    // Special fully nested mode: the slave may interrupt again while one of its inputs is in service.
    if (state.specialFullyNested && this.slave) inService &= ~(1 << CASCADE);
    const first = this.#highest(requests);
    const current = inService === 0 ? 8 : this.#highest(inService);
    return first < current ? (first + state.lowestPriority + 1) & 7 : -1;
  }

  /** The interrupt acknowledge cycle for `input`. */
  acknowledge(input: number): void {
    const state = this.state;
    const bit = 1 << input;
    if (state.autoEoi) {
      if (state.rotateOnAutoEoi) state.lowestPriority = input;
    } else {
      state.inService |= bit;
    }
    if (!this.#isLevel(bit)) state.requests &= ~bit;
  }

  readCommand(): number {
    const state = this.state;
    if (state.poll) return this.#poll();
    return state.readInService ? state.inService : this.#requests();
  }

  readData(): number {
    return this.state.poll ? this.#poll() : this.state.mask;
  }

  writeCommand(value: number): void {
    if (value & ICW1_INIT) this.#initialise(value);
    else if (value & OCW3_SELECT) this.#operationWord3(value);
    else this.#operationWord2(value >> 5, value & 7);
  }

  writeData(value: number): void {
    const state = this.state;
    switch (state.nextWord) {
      case 2:
        state.vectorBase = value & 0xf8;
        state.nextWord = state.single ? (state.needsWord4 ? 4 : 0) : 3;
        break;
      case 3: // which input the slave is on is wired in a PC
        state.nextWord = state.needsWord4 ? 4 : 0;
        break;
      case 4:
        state.specialFullyNested = (value & ICW4_SPECIAL_FULLY_NESTED) !== 0;
        state.autoEoi = (value & ICW4_AUTO_EOI) !== 0;
        state.nextWord = 0;
        break;
      default:
        state.mask = value;
    }
  }

  writeElcr(value: number): void {
    const state = this.state;
    state.elcr = value & this.elcrWritable;
    // A level input requests exactly as long as it is high.
    state.requests = (state.requests & ~state.elcr) | (state.lines & state.elcr);
  }

  #initialise(word: number): void {
    const { lines, elcr } = this.state;
    // The edge sense circuit is reset: an input that is high must go low and high again, unless it is level sensed.
    this.state = { ...powerOnState(), lines, elcr, vectorBase: this.state.vectorBase };
    this.state.levelTriggered = (word & ICW1_LEVEL) !== 0;
    this.state.requests = lines & (this.state.levelTriggered ? 0xff : elcr);
    this.state.single = (word & ICW1_SINGLE) !== 0;
    this.state.needsWord4 = (word & ICW1_ICW4) !== 0;
    this.state.nextWord = 2;
  }

  #operationWord2(command: number, level: number): void {
    const state = this.state;
    switch (command) {
      case Ocw2.clearRotateAuto:
        state.rotateOnAutoEoi = false;
        break;
      case Ocw2.setRotateAuto:
        state.rotateOnAutoEoi = true;
        break;
      case Ocw2.nonSpecificEoi:
      case Ocw2.rotateNonSpecific: {
        let inService = state.inService;
        if (state.specialMask) inService &= ~state.mask; // masked levels are not cleared by a non-specific EOI
        if (inService === 0) break;
        const input = (this.#highest(inService) + state.lowestPriority + 1) & 7;
        state.inService &= ~(1 << input);
        if (command === Ocw2.rotateNonSpecific) state.lowestPriority = input;
        break;
      }
      case Ocw2.specificEoi:
        state.inService &= ~(1 << level);
        break;
      case Ocw2.setPriority:
        state.lowestPriority = level;
        break;
      case Ocw2.rotateSpecific:
        state.inService &= ~(1 << level);
        state.lowestPriority = level;
        break;
    }
  }

  #operationWord3(value: number): void {
    const state = this.state;
    state.poll = (value & OCW3_POLL) !== 0;
    if (value & OCW3_READ_REGISTER) state.readInService = (value & OCW3_READ_ISR) !== 0;
    if (value & OCW3_SPECIAL_MASK_ENABLE) state.specialMask = (value & OCW3_SPECIAL_MASK) !== 0;
  }

  /** The read after a poll command is an acknowledge and gives the level in binary (data sheet, "Poll Command"). */
  #poll(): number {
    this.state.poll = false;
    const input = this.request();
    if (input < 0) return 0;
    this.acknowledge(input);
    return POLL_INTERRUPT | input;
  }

  #isLevel(bit: number): boolean {
    return this.state.levelTriggered || (this.state.elcr & bit) !== 0;
  }

  #requests(): number {
    const requests = this.state.requests & 0xff;
    if (!this.slave) return requests;
    return this.slave.request() >= 0 ? requests | (1 << CASCADE) : requests & ~(1 << CASCADE);
  }

  /** Distance of the highest set bit from the top of the rotated priority order, 0 the highest. */
  #highest(bits: number): number {
    const first = this.state.lowestPriority + 1;
    for (let priority = 0; priority < 8; priority++) if (bits & (1 << ((priority + first) & 7))) return priority;
    return 8;
  }
}

export interface Pic8259State {
  master: Pic8259ChipState;
  slave: Pic8259ChipState;
}

/**
 * The master at 0x20, the slave at 0xa0 on the master's input 2, ELCR at 0x4d0. As an interrupt source it answers the
 * CPU's INTR pin and acknowledge cycle; a machine with a local APIC puts it behind LINT0.
 */
@injectable()
export class Pic8259Pair extends BytePortDevice implements Device<Pic8259State>, InterruptSource {
  readonly name = 'pic8259';
  readonly schema = v.strictObject({ master: CHIP, slave: CHIP });
  readonly #slave = new Chip(0xde); // IRQ 8 and 13 are always edges
  readonly #master = new Chip(0xf8); // IRQ 0, 1 and 2 are always edges
  /** Told when the INTR output changes. */
  onOutput: ((level: boolean) => void) | undefined;
  #pending = false;

  constructor() {
    super();
    this.#master.slave = this.#slave;
  }

  /** Level of the ISA interrupt `irq`, 0 to 15; 2 is the cascade and is not wired. Others are ignored. */
  setIrq(irq: number, level: boolean): void {
    if (irq === CASCADE || irq < 0 || irq > 15) return;
    if (irq < 8) this.#master.setLine(irq, level);
    else this.#slave.setLine(irq - 8, level);
    this.#update();
  }

  /** The INTR pin. */
  pending(): boolean {
    return this.#pending;
  }

  /** The acknowledge cycle. A request that vanished gives the spurious vector of input 7. */
  acknowledge(): number {
    const input = this.#master.request();
    let vector: number;
    if (input < 0) vector = this.#master.state.vectorBase | 7;
    else {
      const slaveInput = input === CASCADE ? this.#slave.request() : -1;
      this.#master.acknowledge(input);
      if (input !== CASCADE) vector = this.#master.state.vectorBase | input;
      else if (slaveInput < 0) vector = this.#slave.state.vectorBase | 7;
      else {
        this.#slave.acknowledge(slaveInput);
        vector = this.#slave.state.vectorBase | slaveInput;
      }
    }
    this.#update();
    return vector;
  }

  reset(): void {
    for (const chip of [this.#master, this.#slave]) chip.state = { ...powerOnState(), lines: chip.state.lines };
    this.#update();
  }

  save(): Pic8259State {
    return { master: { ...this.#master.state }, slave: { ...this.#slave.state } };
  }

  restore(state: Pic8259State): void {
    this.#master.state = { ...state.master };
    this.#slave.state = { ...state.slave };
    this.#pending = this.#master.request() >= 0;
  }

  protected readByte(port: number): number {
    if (port === 0x4d0) return this.#master.state.elcr;
    if (port === 0x4d1) return this.#slave.state.elcr;
    const chip = port & 0x80 ? this.#slave : this.#master;
    const value = port & 1 ? chip.readData() : chip.readCommand();
    this.#update();
    return value;
  }

  protected writeByte(port: number, value: number): void {
    if (port === 0x4d0) this.#master.writeElcr(value);
    else if (port === 0x4d1) this.#slave.writeElcr(value);
    else {
      const chip = port & 0x80 ? this.#slave : this.#master;
      if (port & 1) chip.writeData(value);
      else chip.writeCommand(value);
    }
    this.#update();
  }

  #update(): void {
    const level = this.#master.request() >= 0;
    if (level === this.#pending) return;
    this.#pending = level;
    this.onOutput?.(level);
  }
}
