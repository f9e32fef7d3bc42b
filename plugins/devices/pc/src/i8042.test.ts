/** The keyboard controller with keyboard and mouse. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { I8042 } from './i8042.js';
import { TestLine, bytes } from './test-machine.js';

let keyboardIrq: TestLine;
let auxIrq: TestLine;
let resets: number;
let controller: I8042;
let port: ReturnType<typeof bytes>;
const make = (): I8042 => new I8042({ line: (gsi) => (gsi === 1 ? keyboardIrq : auxIrq) }, { reset: () => resets++ });
beforeEach(() => {
  keyboardIrq = new TestLine();
  auxIrq = new TestLine();
  resets = 0;
  controller = make();
  port = bytes(controller);
});
const command = (byte: number, ...parameters: number[]): void => {
  port.write(0x64, byte);
  for (const parameter of parameters) port.write(0x60, parameter);
};
/** Everything the output buffer gives, with its port: k or a. */
const drain = (): string[] => {
  const got: string[] = [];
  for (;;) {
    const status = port.read(0x64);
    if (!(status & 1) || got.length > 100) return got;
    got.push(`${status & 0x20 ? 'a' : 'k'}${port.read(0x60).toString(16)}`);
  }
};

describe('8042 (PS/2 Hardware Interface Technical Reference)', () => {
  it('tests itself and its ports', () => {
    command(0xaa);
    expect(drain()).toEqual(['k55']);
    command(0xab);
    command(0xa9);
    expect(drain()).toEqual(['k0']);
    expect(port.read(0x64) & 0x04).toBe(0x04);
  });

  it('keeps its command byte', () => {
    command(0x60, 0x47);
    command(0x20);
    expect(drain()).toEqual(['k47']);
    command(0xa7);
    command(0xad);
    command(0x20);
    expect(drain()).toEqual(['k77']);
  });

  it('loops bytes back as the keyboard or the mouse, with their interrupts', () => {
    command(0x60, 0x43);
    command(0xd3, 0xa5);
    expect(auxIrq.level).toBe(true);
    expect(drain()).toEqual(['aa5']);
    expect(auxIrq.level).toBe(false);
    command(0xd2, 0x5a);
    expect(keyboardIrq.level).toBe(true);
    expect(drain()).toEqual(['k5a']);
  });

  it('resets the processor through the output port and the pulse command', () => {
    command(0xfe);
    expect(resets).toBe(1);
    command(0xff);
    expect(resets).toBe(1);
    command(0xd1, 0xfe);
    expect(resets).toBe(2);
  });

  it('gates A20', () => {
    expect(controller.a20).toBe(true);
    command(0xd1, 0x01);
    expect(controller.a20).toBe(false);
    command(0xdf);
    expect(controller.a20).toBe(true);
    command(0xd0);
    expect(drain()).toEqual(['k3']);
    const gates: boolean[] = [];
    controller.onA20 = (enabled) => gates.push(enabled);
    for (const value of [0xdf, 0xdd, 0xdd]) command(value);
    controller.reset();
    expect(gates).toEqual([true, false, false, true]);
  });

  it('lets the keyboard answer its commands', () => {
    command(0x60, 0x01); // no translation
    port.write(0x60, 0xff);
    expect(drain()).toEqual(['kfa', 'kaa']);
    port.write(0x60, 0xf2);
    expect(drain()).toEqual(['kfa', 'kab', 'k83']);
    port.write(0x60, 0xed);
    port.write(0x60, 0x07);
    port.write(0x60, 0xee);
    port.write(0x60, 0x99);
    expect(drain()).toEqual(['kfa', 'kfa', 'kee', 'kfe']);
    port.write(0x60, 0xf0);
    port.write(0x60, 0x00);
    expect(drain()).toEqual(['kfa', 'kfa', 'k2']);
  });

  it('translates set 2 to set 1, the identity of the keyboard too', () => {
    port.write(0x60, 0xf2);
    expect(drain()).toEqual(['kfa', 'kab', 'k41']);
    controller.pressKeys([0x1c, 0xf0, 0x1c, 0xe0, 0x75, 0xe0, 0xf0, 0x75]);
    expect(drain()).toEqual(['k1e', 'k9e', 'ke0', 'k48', 'ke0', 'kc8']);
  });

  it('gives an edge for each byte of the keyboard', () => {
    controller.pressKeys([0x1c, 0xf0, 0x1c]);
    expect(drain().length).toBe(2);
    expect(keyboardIrq.edges).toBe(2);
  });

  it('keeps what the keyboard says while its port is disabled', () => {
    command(0xad);
    controller.pressKeys([0x1c]);
    expect(port.read(0x64) & 1).toBe(0);
    command(0xae);
    expect(drain()).toEqual(['k1e']);
  });

  it('lets the mouse answer its commands and report', () => {
    command(0x60, 0x47);
    command(0xd4, 0xff);
    expect(drain()).toEqual(['afa', 'aaa', 'a0']);
    for (const rate of [200, 100, 80]) {
      command(0xd4, 0xf3);
      command(0xd4, rate);
    }
    drain();
    command(0xd4, 0xf2);
    expect(drain()).toEqual(['afa', 'a0']);
    command(0xd4, 0xe9);
    expect(drain()).toEqual(['afa', 'a0', 'a2', 'a50']);
    controller.moveMouse(5, 5, 1);
    expect(drain()).toEqual([]);
    command(0xd4, 0xf4);
    drain();
    controller.moveMouse(-5, 0, 1);
    expect(drain()).toEqual(['a9', 'a0', 'a5']);
    expect(auxIrq.edges).toBeGreaterThan(0);
  });

  it('takes any programming, and its state survives saving', () => {
    const action = fc.tuple(fc.constantFrom(0x60, 0x64, -1, -2, -3), fc.nat(255));
    fc.assert(
      fc.property(fc.array(action, { maxLength: 100 }), (actions) => {
        const device = make();
        const run = (target: I8042, [kind, value]: [number, number]): number => {
          if (kind === -1) target.pressKeys([value]);
          else if (kind === -2) target.moveMouse(value - 128, value * 3 - 400, value & 7);
          else if (kind === -3) return target.readPort(value & 1 ? 0x60 : 0x64, 1);
          else target.writePort(kind, 1, value);
          return 0;
        };
        for (const one of actions) expect(run(device, one)).toBeLessThan(256);
        const copy = make();
        copy.restore(JSON.parse(JSON.stringify(device.save())));
        expect(copy.save()).toEqual(device.save());
        for (const one of actions.filter(([kind]) => kind !== -3)) {
          run(copy, one);
          run(device, one);
        }
        expect(copy.save()).toEqual(device.save());
      }),
    );
  });
});
