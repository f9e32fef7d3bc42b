/** The pair of 8259A interrupt controllers. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { Pic8259Pair } from './pic8259.js';
import { bytes } from './test-machine.js';

let pic: Pic8259Pair;
let port: ReturnType<typeof bytes>;
const initialise = (word4 = 0x01): void => {
  port.write(0x20, 0x11);
  port.write(0x21, 0x20);
  port.write(0x21, 0x04);
  port.write(0x21, word4);
  port.write(0xa0, 0x11);
  port.write(0xa1, 0x28);
  port.write(0xa1, 0x02);
  port.write(0xa1, word4);
};
const pulse = (irq: number): void => {
  pic.setIrq(irq, true);
  pic.setIrq(irq, false);
};
beforeEach(() => {
  pic = new Pic8259Pair();
  port = bytes(pic);
  initialise();
});

describe('8259A pair (Intel 231468)', () => {
  it('gives the vectors that ICW2 set, the slave through the cascade', () => {
    pulse(3);
    expect(pic.pending()).toBe(true);
    expect(pic.acknowledge()).toBe(0x23);
    port.write(0x20, 0x20);
    pulse(12);
    expect(pic.acknowledge()).toBe(0x2c);
    expect(pic.pending()).toBe(false);
  });

  it('serves lower numbers first, and higher ones only after EOI', () => {
    pulse(4);
    pulse(1);
    expect(pic.acknowledge()).toBe(0x21);
    expect(pic.pending()).toBe(false);
    pulse(0);
    expect(pic.acknowledge()).toBe(0x20);
    port.write(0x20, 0x20);
    expect(pic.pending()).toBe(false);
    port.write(0x20, 0x20);
    expect(pic.acknowledge()).toBe(0x24);
  });

  it('masks inputs, and keeps their requests', () => {
    port.write(0x21, 0x10);
    expect(port.read(0x21)).toBe(0x10);
    pulse(4);
    expect(pic.pending()).toBe(false);
    port.write(0x20, 0x0a);
    expect(port.read(0x20)).toBe(0x10);
    port.write(0x21, 0);
    expect(pic.acknowledge()).toBe(0x24);
  });

  it('shows requests and service through OCW3', () => {
    pulse(5);
    pic.acknowledge();
    pulse(9);
    port.write(0x20, 0x0a);
    expect(port.read(0x20)).toBe(0x04); // the slave's request on the cascade
    port.write(0x20, 0x0b);
    expect(port.read(0x20)).toBe(0x20);
    port.write(0xa0, 0x0a);
    expect(port.read(0xa0)).toBe(0x02);
  });

  it('ends a named level with a specific EOI', () => {
    pulse(2 + 1);
    pulse(6);
    pic.acknowledge();
    port.write(0x20, 0x63);
    expect(pic.acknowledge()).toBe(0x26);
  });

  it('ends interrupts by itself in automatic EOI mode', () => {
    initialise(0x03);
    pulse(3);
    expect(pic.acknowledge()).toBe(0x23);
    pulse(3);
    expect(pic.acknowledge()).toBe(0x23);
    port.write(0x20, 0x0b);
    expect(port.read(0x20)).toBe(0);
  });

  it('rotates priorities after a rotating EOI and to a set priority', () => {
    pulse(3);
    pic.acknowledge();
    port.write(0x20, 0xa0); // rotate on non-specific EOI: 3 becomes the lowest
    pulse(3);
    pulse(7);
    expect(pic.acknowledge()).toBe(0x27);
    port.write(0x20, 0x20);
    pic.acknowledge();
    port.write(0x20, 0x20);
    port.write(0x20, 0xc6); // lowest is 6: order 7, 0, 1 …
    pulse(0);
    pulse(7);
    expect(pic.acknowledge()).toBe(0x27);
  });

  it('rotates in automatic EOI mode', () => {
    initialise(0x03);
    port.write(0x20, 0x80);
    pulse(1);
    expect(pic.acknowledge()).toBe(0x21);
    pulse(1);
    pulse(4);
    expect(pic.acknowledge()).toBe(0x24);
    expect(pic.acknowledge()).toBe(0x21);
  });

  it('lets all unmasked levels through in special mask mode', () => {
    pulse(1);
    pic.acknowledge();
    pulse(4);
    expect(pic.pending()).toBe(false);
    port.write(0x21, 0x02);
    port.write(0x20, 0x68);
    expect(pic.acknowledge()).toBe(0x24);
    port.write(0x20, 0x48);
    expect(pic.pending()).toBe(false);
  });

  it('nests the slave in special fully nested mode', () => {
    initialise(0x11);
    pulse(12);
    expect(pic.acknowledge()).toBe(0x2c);
    pulse(8);
    expect(pic.pending()).toBe(true);
    expect(pic.acknowledge()).toBe(0x28);
  });

  it('acknowledges by polling', () => {
    port.write(0x20, 0x0c);
    expect(port.read(0x20)).toBe(0);
    pulse(6);
    port.write(0x20, 0x0c);
    expect(port.read(0x20)).toBe(0x86);
    expect(pic.pending()).toBe(false);
    port.write(0x20, 0x0b);
    expect(port.read(0x20)).toBe(0x40);
  });

  it('senses levels where the ELCR says so', () => {
    port.write(0x4d1, 0xff);
    port.write(0x4d0, 0xff);
    expect([port.read(0x4d0), port.read(0x4d1)]).toEqual([0xf8, 0xde]);
    pic.setIrq(10, true);
    expect(pic.acknowledge()).toBe(0x2a);
    port.write(0xa0, 0x20);
    port.write(0x20, 0x20);
    expect(pic.pending()).toBe(true); // still high
    pic.setIrq(10, false);
    expect(pic.pending()).toBe(false);
  });

  it('gives the spurious vector 7 when the request is gone', () => {
    port.write(0x4d0, 0x20);
    pic.setIrq(5, true);
    pic.setIrq(5, false);
    expect(pic.acknowledge()).toBe(0x27);
    port.write(0x20, 0x0b);
    expect(port.read(0x20)).toBe(0); // nothing is in service
  });

  it('needs a new edge after initialisation', () => {
    pic.setIrq(1, true);
    initialise();
    expect(pic.pending()).toBe(false);
    pic.setIrq(1, false);
    pic.setIrq(1, true);
    expect(pic.acknowledge()).toBe(0x21);
  });

  it('tells changes of its output', () => {
    const levels: boolean[] = [];
    pic = new Pic8259Pair((level) => levels.push(level));
    port = bytes(pic);
    initialise();
    pulse(1);
    pic.acknowledge();
    expect(levels).toEqual([true, false]);
  });

  it('takes any programming, and its state survives saving', () => {
    const step = fc.oneof(
      fc.tuple(fc.constantFrom(0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1), fc.nat(255)),
      fc.tuple(fc.constant(-1), fc.nat(31)),
      fc.tuple(fc.constant(-2), fc.constant(0)),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const device = new Pic8259Pair();
        const run = (target: Pic8259Pair, [kind, value]: [number, number]): number => {
          if (kind === -1) target.setIrq(value >> 1, (value & 1) === 1);
          else if (kind === -2) return target.pending() ? target.acknowledge() : -1;
          else {
            target.writePort(kind, 1, value);
            return target.readPort(kind, 1);
          }
          return 0;
        };
        for (const one of steps) expect(run(device, one)).toBeLessThan(256);
        const copy = new Pic8259Pair();
        copy.restore(JSON.parse(JSON.stringify(device.save())));
        expect(copy.pending()).toBe(device.pending());
        for (const one of steps.slice(0, 20)) expect(run(copy, one)).toBe(run(device, one));
        expect(copy.save()).toEqual(device.save());
      }),
    );
  });
});
