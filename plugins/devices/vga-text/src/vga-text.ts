/**
 * A VGA in its text mode 3 (IBM VGA/XGA Technical Reference, chapter 2): 80 columns and 25 rows at B8000H. The registers keep what software writes; those
 * that move the cursor and the screen have effect. The memory is the machine's RAM there, so that a guest writes it at full speed; there are no
 * graphics, no planes and no fonts.
 */
import { inject, injectable } from '@visorkit/core';
import { GuestMemoryToken, unsigned, wholeNumber } from '@visorkit/machine';
import type { Device, GuestMemory, PortDevice } from '@visorkit/machine';
import * as v from 'valibot';
import { CODE_PAGE_437 } from './code-page.js';
import { COLUMNS, ROWS } from './text-screen.js';
import type { Cursor, TextScreen } from './text-screen.js';

/** The memory of the screen. */
export const TEXT_MEMORY = { gpa: 0xb_8000, size: 0x8000 } as const;
/** Ports: the adapter's, the CRT controller's with colour, and the status register. */
export const VGA_PORTS: readonly (readonly [first: number, count: number])[] = [
  [0x3c0, 16],
  [0x3d4, 2],
  [0x3da, 1],
];

const Port = {
  attribute: 0x3c0,
  attributeData: 0x3c1,
  miscellaneous: 0x3c2,
  sequencer: 0x3c4,
  dacMask: 0x3c6,
  dacRead: 0x3c7,
  dacWrite: 0x3c8,
  dacData: 0x3c9,
  miscellaneousRead: 0x3cc,
  graphics: 0x3ce,
  crtc: 0x3d4,
  status: 0x3da,
} as const;

/** Registers of the CRT controller. */
const Crtc = { cursorStart: 0x0a, startHigh: 0x0c, startLow: 0x0d, cursorHigh: 0x0e, cursorLow: 0x0f } as const;
const CURSOR_OFF = 1 << 5;
/** Of the status register: the beam is between rows, or on its way back to the top. */
const NOT_DISPLAYING = 1 | 8;
const BLANK = 0x0720;
const DAC_SIZE = 768;

/** What a BIOS leaves in the registers for mode 3. */
const MODE_3 = {
  crtc: [
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x1f,
    0x96, 0xb9, 0xa3, 0xff,
  ],
  attribute: [0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0, 0x0f, 8, 0],
  sequencer: [3, 0, 3, 0, 2],
  graphics: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
  miscellaneous: 0x67,
} as const;

/** Registers behind an index and a data port. */
interface Indexed {
  index: number;
  values: number[];
}

export interface VgaTextState {
  crtc: Indexed;
  attribute: Indexed;
  sequencer: Indexed;
  graphics: Indexed;
  /** The next write to the attribute controller is data. */
  attributeData: boolean;
  miscellaneous: number;
  dac: { mask: number; position: number; reading: boolean; values: number[] };
  retrace: boolean;
}

const bytes = (length: number) => v.pipe(v.array(unsigned(8)), v.length(length));
const indexed = (length: number) => v.strictObject({ index: unsigned(8), values: bytes(length) });

function powerOn(): VgaTextState {
  const registers = (values: readonly number[]): Indexed => ({ index: 0, values: [...values] });
  return {
    crtc: registers(MODE_3.crtc),
    attribute: registers(MODE_3.attribute),
    sequencer: registers(MODE_3.sequencer),
    graphics: registers(MODE_3.graphics),
    attributeData: false,
    miscellaneous: MODE_3.miscellaneous,
    dac: { mask: 0xff, position: 0, reading: false, values: new Array<number>(DAC_SIZE).fill(0) },
    retrace: false,
  };
}

function copyOf(state: VgaTextState): VgaTextState {
  const registers = ({ index, values }: Indexed): Indexed => ({ index, values: [...values] });
  return {
    ...state,
    crtc: registers(state.crtc),
    attribute: registers(state.attribute),
    sequencer: registers(state.sequencer),
    graphics: registers(state.graphics),
    dac: { ...state.dac, values: [...state.dac.values] },
  };
}

@injectable()
export class VgaText implements Device<VgaTextState>, PortDevice, TextScreen {
  readonly name = 'vga-text';
  readonly schema = v.strictObject({
    crtc: indexed(MODE_3.crtc.length),
    attribute: indexed(MODE_3.attribute.length),
    sequencer: indexed(MODE_3.sequencer.length),
    graphics: indexed(MODE_3.graphics.length),
    attributeData: v.boolean(),
    miscellaneous: unsigned(8),
    dac: v.strictObject({
      mask: unsigned(8),
      position: wholeNumber(0, DAC_SIZE - 1),
      reading: v.boolean(),
      values: bytes(DAC_SIZE),
    }),
    retrace: v.boolean(),
  });
  #state = powerOn();
  #watchers: readonly (() => void)[] = [];

  constructor(@inject(GuestMemoryToken) private readonly memory: GuestMemory) {}

  readPort(port: number, size: 1 | 2 | 4): number {
    let value = 0;
    for (let byte = 0; byte < size; byte++) value |= this.#read(port + byte) << (8 * byte);
    return value >>> 0;
  }

  writePort(port: number, size: 1 | 2 | 4, value: number): void {
    for (let byte = 0; byte < size; byte++) this.#write(port + byte, (value >>> (8 * byte)) & 0xff);
  }

  cells(): Uint16Array {
    const cells = new Uint16Array(ROWS * COLUMNS);
    const { gpa, size } = TEXT_MEMORY;
    let at = (this.#word(Crtc.startHigh) * 2) % size;
    for (let cell = 0; cell < cells.length; cell++) {
      cells[cell] = this.memory.readU16(gpa + at);
      at = (at + 2) % size;
    }
    return cells;
  }

  rows(): string[] {
    const cells = this.cells();
    return Array.from({ length: ROWS }, (_, row) => {
      let text = '';
      for (const cell of cells.subarray(row * COLUMNS, (row + 1) * COLUMNS)) text += CODE_PAGE_437[cell & 0xff];
      return text;
    });
  }

  get cursor(): Cursor {
    const { values } = this.#state.crtc;
    const at = (this.#word(Crtc.cursorHigh) - this.#word(Crtc.startHigh)) & 0xffff;
    return {
      row: Math.floor(at / COLUMNS),
      column: at % COLUMNS,
      visible: (values[Crtc.cursorStart] & CURSOR_OFF) === 0 && at < ROWS * COLUMNS,
    };
  }

  watch(listener: () => void): () => void {
    this.#watchers = [...this.#watchers, listener];
    return () => {
      this.#watchers = this.#watchers.filter((other) => other !== listener);
    };
  }

  reset(): void {
    this.#state = powerOn();
  }

  /** A BIOS clears the screen. */
  setUp(): void {
    const { gpa, size } = TEXT_MEMORY;
    this.memory.write(gpa, new Uint8Array(new Uint16Array(size / 2).fill(BLANK).buffer));
  }

  save(): VgaTextState {
    return copyOf(this.#state);
  }

  restore(state: VgaTextState): void {
    this.#state = copyOf(state);
  }

  /** Two registers of the CRT controller, the first the upper half. */
  #word(register: number): number {
    const { values } = this.#state.crtc;
    return (values[register] << 8) | values[register + 1];
  }

  #read(port: number): number {
    const state = this.#state;
    const { dac } = state;
    switch (port) {
      case Port.attribute:
        return state.attribute.index;
      case Port.attributeData:
        return state.attribute.values[state.attribute.index & 0x1f] ?? 0;
      case Port.sequencer:
        return state.sequencer.index;
      case Port.sequencer + 1:
        return selected(state.sequencer);
      case Port.dacMask:
        return dac.mask;
      case Port.dacRead:
        return dac.reading ? 3 : 0;
      case Port.dacWrite:
        return Math.floor(dac.position / 3);
      case Port.dacData:
        return dac.values[this.#dacNext()];
      case Port.miscellaneousRead:
        return state.miscellaneous;
      case Port.graphics:
        return state.graphics.index;
      case Port.graphics + 1:
        return selected(state.graphics);
      case Port.crtc:
        return state.crtc.index;
      case Port.crtc + 1:
        return selected(state.crtc);
      case Port.status:
        // Software waits for the beam to come and to go
        state.attributeData = false;
        state.retrace = !state.retrace;
        return state.retrace ? NOT_DISPLAYING : 0;
      default:
        return 0; // input status 0, feature control
    }
  }

  #write(port: number, value: number): void {
    const state = this.#state;
    const { dac } = state;
    switch (port) {
      case Port.attribute:
        if (!state.attributeData) state.attribute.index = value & 0x3f;
        else if ((state.attribute.index & 0x1f) < state.attribute.values.length)
          state.attribute.values[state.attribute.index & 0x1f] = value;
        state.attributeData = !state.attributeData;
        break;
      case Port.miscellaneous:
        state.miscellaneous = value;
        break;
      case Port.sequencer:
        state.sequencer.index = value;
        break;
      case Port.sequencer + 1:
        setSelected(state.sequencer, value);
        break;
      case Port.dacMask:
        dac.mask = value;
        break;
      case Port.dacRead:
      case Port.dacWrite:
        dac.position = value * 3;
        dac.reading = port === Port.dacRead;
        break;
      case Port.dacData:
        dac.values[this.#dacNext()] = value & 0x3f;
        break;
      case Port.graphics:
        state.graphics.index = value;
        break;
      case Port.graphics + 1:
        setSelected(state.graphics, value);
        break;
      case Port.crtc:
        state.crtc.index = value;
        break;
      case Port.crtc + 1:
        setSelected(state.crtc, value);
        if (MOVING.has(state.crtc.index)) for (const told of this.#watchers) told();
        break;
    }
  }

  #dacNext(): number {
    const { dac } = this.#state;
    const position = dac.position;
    dac.position = (position + 1) % DAC_SIZE;
    return position;
  }
}

/** The lower half of a pair is written last, as a rule; the upper one alone says nothing yet. */
const MOVING: ReadonlySet<number> = new Set([Crtc.cursorStart, Crtc.startLow, Crtc.cursorLow]);

const selected = ({ index, values }: Indexed): number => values[index] ?? 0;

function setSelected({ index, values }: Indexed, value: number): void {
  if (index < values.length) values[index] = value;
}
