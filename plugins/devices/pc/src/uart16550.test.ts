/** The 16550A serial port. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { CaptureOutput } from '@visorkit/machine';
import { TestLine, TestTime, bytes } from './test-machine.js';
import { Uart16550 } from './uart16550.js';

const BASE = 0x3f8;
const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7].map((offset) => BASE + offset);
const FCR = IIR;
const OUT2 = 0x08;

let time: TestTime;
let irq: TestLine;
let output: CaptureOutput;
let uart: Uart16550;
let port: ReturnType<typeof bytes>;
const make = (): Uart16550 => new Uart16550({ irq, output, clock: time.clock, timers: time.timers });
beforeEach(() => {
  time = new TestTime();
  irq = new TestLine();
  output = new CaptureOutput();
  uart = make();
  port = bytes(uart);
});
const receive = (text: string): void => {
  for (const character of text) uart.receive(character.charCodeAt(0));
};

describe('16550A (PC16550D data sheet)', () => {
  it('is idle after reset: transmitter empty, no interrupt', () => {
    expect(port.read(LSR)).toBe(0x60);
    expect(port.read(IIR)).toBe(0x01);
    expect(port.read(MSR)).toBe(0xb0);
    expect(irq.level).toBe(false);
  });

  it('sends bytes, cut to the character size', () => {
    port.write(LCR, 0x03);
    port.write(DATA, 0x41);
    port.write(LCR, 0x02);
    port.write(DATA, 0xc2);
    expect(output.text).toBe('AB');
    expect(port.read(LSR)).toBe(0x60);
  });

  it('keeps the divisor behind DLAB', () => {
    port.write(LCR, 0x83);
    port.write(DATA, 0x0c);
    port.write(IER, 0x01);
    expect([port.read(DATA), port.read(IER)]).toEqual([0x0c, 0x01]);
    port.write(LCR, 0x03);
    expect(port.read(IER)).toBe(0);
    expect(uart.baud).toBeCloseTo(115_200 / 0x10c);
    expect(output.bytes.length).toBe(0);
  });

  it('masks the bits its registers do not have, and keeps the scratch register', () => {
    port.write(IER, 0xff);
    port.write(MCR, 0xff);
    port.write(SCR, 0xa5);
    expect([port.read(IER), port.read(MCR) & 0xe0, port.read(SCR)]).toEqual([0x0f, 0, 0xa5]);
  });

  it('holds one character without FIFOs; the rest waits on the line', () => {
    receive('xyz');
    expect(port.read(LSR) & 0x01).toBe(1);
    expect(String.fromCharCode(port.read(DATA), port.read(DATA), port.read(DATA))).toBe('xyz');
    expect(port.read(LSR) & 0x03).toBe(0);
  });

  it('without FIFOs each character that waited comes with an edge of its own, as an edge-triggered 8259 needs it', () => {
    port.write(MCR, OUT2);
    port.write(IER, 0x01);
    receive('xyz');
    for (let edges = 1; edges <= 3; edges++) {
      expect([irq.level, irq.edges]).toEqual([true, edges]);
      port.read(DATA);
    }
    expect(irq.level).toBe(false);
  });

  it('reports FIFOs in the identification register only while they are on', () => {
    port.write(FCR, 0xc1);
    expect(port.read(IIR)).toBe(0xc1);
    port.write(FCR, 0);
    expect(port.read(IIR)).toBe(0x01);
  });

  it('interrupts at the trigger level, and falls below it by reading', () => {
    port.write(MCR, OUT2);
    port.write(FCR, 0x81); // 8 characters
    port.write(IER, 0x01);
    receive('1234567');
    expect(irq.level).toBe(false);
    receive('8');
    expect(irq.level).toBe(true);
    expect(port.read(IIR)).toBe(0xc4);
    port.read(DATA);
    expect(port.read(IIR)).toBe(0xc1);
    expect(irq.level).toBe(false);
  });

  it('times out after four character times with characters below the trigger level', () => {
    port.write(LCR, 0x83);
    port.write(DATA, 1);
    port.write(IER, 0);
    port.write(LCR, 0x03);
    port.write(MCR, OUT2);
    port.write(FCR, 0xc1);
    port.write(IER, 0x01);
    receive('a');
    const fourCharacters = Math.round((4 * 10 * 1e9) / 115_200);
    time.advance(fourCharacters - 1);
    expect(irq.level).toBe(false);
    time.advance(1);
    expect(port.read(IIR)).toBe(0xcc);
    expect(irq.level).toBe(true);
    port.read(DATA);
    expect(irq.level).toBe(false);
  });

  it('requests the transmitter interrupt when it is enabled and after each byte; reading IIR clears it', () => {
    port.write(MCR, OUT2);
    port.write(IER, 0x02);
    expect(irq.level).toBe(true);
    expect(port.read(IIR)).toBe(0x02);
    expect(irq.level).toBe(false);
    expect(port.read(IIR)).toBe(0x01);
    port.write(DATA, 0x20);
    expect(irq.level).toBe(true);
    port.write(IER, 0x00);
    expect(irq.level).toBe(false);
    port.write(IER, 0x02);
    expect(port.read(IIR)).toBe(0x02);
  });

  it('serves interrupts in order of priority', () => {
    port.write(MCR, OUT2);
    port.write(FCR, 0x01);
    port.write(IER, 0x0f);
    uart.setModemInputs({ clearToSend: false });
    uart.receiveBreak();
    expect(port.read(IIR) & 0x0f).toBe(0x06);
    expect(port.read(LSR)).toBe(0xf1); // break, data, FIFO error, empty transmitter
    expect(port.read(IIR) & 0x0f).toBe(0x04);
    port.read(DATA);
    expect(port.read(IIR) & 0x0f).toBe(0x02);
    expect(port.read(IIR) & 0x0f).toBe(0x00);
    expect(port.read(MSR)).toBe(0xa1);
    expect(port.read(IIR) & 0x0f).toBe(0x01);
    expect(irq.level).toBe(false);
  });

  it('tells each change of the modem inputs once', () => {
    uart.setModemInputs({ ringIndicator: true });
    expect(port.read(MSR)).toBe(0xf0);
    uart.setModemInputs({ ringIndicator: false, carrierDetect: false });
    expect(port.read(MSR)).toBe(0x3c);
    expect(port.read(MSR)).toBe(0x30);
  });

  it('loops back data and modem lines, cut from the outside', () => {
    port.write(MCR, 0x10 | 0x0a); // RTS and OUT2
    expect(port.read(MSR) & 0xf0).toBe(0x90);
    receive('!');
    expect(port.read(LSR) & 1).toBe(0);
    port.write(LCR, 0x03);
    port.write(DATA, 0x5a);
    expect(port.read(DATA)).toBe(0x5a);
    expect(output.bytes.length).toBe(0);
    port.write(DATA, 1);
    port.write(DATA, 2);
    expect(port.read(LSR) & 0x03).toBe(0x03); // overrun
    expect(port.read(LSR) & 0x02).toBe(0);
    expect(port.read(DATA)).toBe(2);
  });

  it('keeps what it received when the FIFO is full and loses nothing', () => {
    port.write(FCR, 0x01);
    const text = 'The quick brown fox jumps over the lazy dog';
    receive(text);
    let got = '';
    while (port.read(LSR) & 1) got += String.fromCharCode(port.read(DATA));
    expect(got).toBe(text);
  });

  it('drives the line only with OUT2', () => {
    port.write(IER, 0x02);
    expect(irq.level).toBe(false);
    port.write(MCR, OUT2);
    expect(irq.level).toBe(true);
  });

  it('takes any programming, and its state survives saving', () => {
    const action = fc.tuple(fc.nat(9), fc.nat(255));
    fc.assert(
      fc.property(fc.array(action, { maxLength: 100 }), (actions) => {
        time = new TestTime();
        uart = make();
        for (const [offset, value] of actions) {
          if (offset === 8) uart.receive(value);
          else if (offset === 9) time.advance(value * 10_000);
          else {
            uart.writePort(BASE + offset, 1, value);
            expect(uart.readPort(BASE + ((offset + value) & 7), 1)).toBeLessThan(256);
          }
        }
        const state = JSON.parse(JSON.stringify(uart.save()));
        irq = new TestLine();
        const copy = make();
        copy.restore(state);
        expect(copy.save()).toEqual(uart.save());
        for (const offset of [2, 5, 6, 0, 5])
          expect(copy.readPort(BASE + offset, 1)).toBe(uart.readPort(BASE + offset, 1));
      }),
    );
  });
});
