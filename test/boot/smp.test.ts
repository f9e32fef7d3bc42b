/** Several processors that take turns on the software processor: start-up by INIT and SIPI, LOCK, the same run every time. */
import { vmx } from '@visorkit/backend-vmx';
import { assemble } from 'visorkit';
import { describe, expect, it } from 'vitest';

const CPUS = 4;
const LOAD = 0x8000;
const ENTRY = 0x100;

/** What the application processors run, in real mode at 0x8000: each counts itself at 0x9000 and halts. */
const application = [
  0xf0,
  0xff,
  0x06,
  0x00,
  0x90, // lock inc word [0x9000]
  0xf4,
  0xeb,
  0xfd, // hlt; jmp to it
];
/** The bootstrap processor: starts the others and waits for all of them. */
const bootstrap = [
  0xc7,
  0x05,
  0xf0,
  0x00,
  0xe0,
  0xfe,
  0xff,
  0x01,
  0x00,
  0x00, // spurious-interrupt vector register: enable the local APIC
  0xc7,
  0x05,
  0x00,
  0x03,
  0xe0,
  0xfe,
  0x00,
  0x45,
  0x0c,
  0x00, // interrupt command: INIT to all but this one
  0xc7,
  0x05,
  0x00,
  0x03,
  0xe0,
  0xfe,
  LOAD >> 12,
  0x46,
  0x0c,
  0x00, // start-up at 0x8000
  0x66,
  0x83,
  0x3d,
  0x00,
  0x90,
  0x00,
  0x00,
  CPUS - 1, // cmp word [0x9000], 3
  0x75,
  0xf6, // jne to the comparison
  0xb0,
  0x2a,
  0xe6,
  0xf4, // out 0xf4, 42
];

function image(): Uint8Array {
  const bytes = new Uint8Array(ENTRY + bootstrap.length);
  bytes.set(application);
  bytes.set(bootstrap, ENTRY);
  return bytes;
}

async function run(cpus: number) {
  await using vmm = await assemble({
    backend: vmx(),
    memory: 16 << 20,
    cpus,
    time: 'virtual',
    debugExit: true,
    plugins: [],
    console: {},
    boot: { image: image(), loader: 'flat', options: { address: LOAD, entry: LOAD + ENTRY, mode: 'protected32' } },
  });
  return await vmm.run({ maxInstructions: 50_000_000 });
}

describe('several processors', () => {
  it('starts the others, which all count', async () => {
    expect(await run(CPUS)).toMatchObject({ reason: 'exit', exitStatus: (0x2a << 1) | 1 });
  });

  it('gives the same run every time', async () => {
    const [first, second] = [await run(CPUS), await run(CPUS)];
    expect(second.guestInstructions).toBe(first.guestInstructions);
    expect(second.exits).toEqual(first.exits);
    expect(second.guestNanoseconds).toBe(first.guestNanoseconds);
  });

  it('keeps to an instruction limit that counts all of them', async () => {
    // one processor fewer than the program waits for: it never ends
    const report = await run(CPUS - 1);
    expect(report.reason).toBe('max-instructions');
    expect(report.guestInstructions).toBe(50_000_000);
  });
});
