/** Events of a booted Debian, compared with what its user did, and with what it reads of itself. */
import { LinuxKernel } from '@visorkit/os-linux';
import { readSavedVm } from '@visorkit/project';
import { LiveMemory, VmiEventsToken, introspectionEvents } from '@visorkit/vmi';
import type { VmiEvents } from '@visorkit/vmi';
import { MemoryViewsToken } from '@visorkit/machine';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootedDebian, bootedOf } from './booted.js';
import { BOOT_TIMEOUT, findDebianGuest, machineOf, titled } from './boots.js';
import type { Machine } from './boots.js';

const found = await findDebianGuest('amd64');
/** Of CR3: PCID, and the bit that chooses the half of KPTI's two tables. */
const ROOT = ~0x1fffn;

describe.skipIf(found.missing !== '')(titled('Events of Debian', found), () => {
  let machine: Machine, live: LiveMemory, kernel: LinuxKernel, events: VmiEvents;
  beforeAll(async () => {
    const file = await readSavedVm(await bootedDebian(found.value));
    machine = await machineOf({ ...bootedOf(found.value), typed: [':'], plugins: [introspectionEvents()] });
    await machine.vmm.restore(file);
    live = new LiveMemory(machine.vmm.memory);
    kernel = LinuxKernel.find(live)!;
    events = machine.vmm.services.get(VmiEventsToken);
  }, BOOT_TIMEOUT);
  afterAll(async () => {
    await machine?.[Symbol.asyncDispose]();
  });

  it('CR3 is written with the tables of processes that are there, and filters leave what they say', async () => {
    const all: bigint[] = [];
    const changes: bigint[] = [];
    const strangers: string[] = [];
    const swapper = BigInt(kernel.base.space.translate(kernel.base.symbol('init_top_pgt'))!) & ROOT;
    let before = -1n;
    const undos = [
      events.register({ register: 'cr3' }, ({ value, previous }) => {
        all.push(value);
        if (before >= 0n && previous !== before) strangers.push(`${previous.toString(16)} was not written`);
        before = value;
      }),
      events.register({ register: 'cr3', onChange: true }, ({ value }) => {
        changes.push(value);
        live.advance();
        const roots = new Set([...kernel.processes()].map(({ root }) => BigInt(root ?? 0) & ROOT));
        if ((value & ROOT) !== swapper && !roots.has(value & ROOT)) strangers.push(value.toString(16));
      }),
    ];
    expect(await answer('for i in 1 2 3; do (exec /bin/true); done; echo $i')).toBe('3');
    for (const undo of undos) undo();
    expect(strangers).toEqual([]);
    expect(changes.length).toBeGreaterThan(6); // to each of three processes, and back
    expect(changes.length).toBeLessThanOrEqual(all.length);
    expect(new Set(changes.map((value) => value & ROOT)).size).toBeGreaterThanOrEqual(2);

    // By value: the first one that comes a third time is subscribed to from there on
    const seen = new Map<bigint, number>();
    const [wanted, equal]: [bigint[], bigint[]] = [[], []];
    const more = [
      events.register({ register: 'cr3' }, ({ value }) => {
        const times = (seen.get(value) ?? 0) + 1;
        seen.set(value, times);
        if (more.length > 1) {
          if (value === chosen) wanted.push(value);
        } else if (times === 3) {
          chosen = value;
          more.push(events.register({ register: 'cr3', equal: value }, (event) => void equal.push(event.value)));
        }
      }),
    ];
    let chosen = 0n;
    await answer('for i in 1 2 3 4 5 6; do (exec /bin/true); done');
    for (const undo of more) undo();
    expect(equal.length).toBeGreaterThan(0);
    expect(equal).toEqual(wanted);
  });

  it('a function of the kernel is hit as often as the user called it, and the guest reads its own bytes', async () => {
    const address = kernel.base.symbol('__x64_sys_chdir');
    const clean = kernel.base.space.bytes(address, 64);
    expect(await readKernel(address)).toEqual([...clean]);
    let hits = 0;
    const undo = events.breakpointAt({ linear: address }, () => void hits++);
    const { pages } = machine.vmm.services.get(MemoryViewsToken);
    expect(pages[0].read(Number(address & 0xfffn), 1)).toEqual(Uint8Array.of(0xcc));
    await answer('cd /tmp; cd /; i=0; while [ $i -lt 40 ]; do cd /proc; i=$((i+1)); done; cd /');
    expect(hits).toBe(43);
    expect(await readKernel(address)).toEqual([...clean]);
    undo();
    const { exits } = machine.vmm.report!;
    await answer('cd /; cd /tmp; cd /');
    expect(hits).toBe(43);
    expect(machine.vmm.report!.exits.exception).toBe(exits.exception);
    expect(machine.vmm.services.get(MemoryViewsToken).pages).toEqual([]);
  });

  it('calls of a function have their arguments, and what they return', async () => {
    const seen: string[] = [];
    const undo = events.traceFunction(
      { name: 'do_mkdirat', resolve: (name) => kernel.base.symbols.address(name) },
      ({ arguments: [, , mode] }) => void seen.push(`mode ${(mode & 0o777n).toString(8)}`),
      { arguments: 3, onReturn: (value) => void seen.push(`gives ${BigInt.asIntN(32, value)}`) },
    );
    await answer('umask 0; mkdir /tmp/one; mkdir /tmp/one 2>/dev/null; mkdir -m 700 /tmp/two');
    undo();
    const EEXIST = -17;
    expect(seen).toEqual([
      'mode 777',
      'gives 0',
      'mode 777',
      `gives ${EEXIST}`,
      expect.stringMatching(/^mode 7/),
      'gives 0',
    ]);
  });

  it('bytes of the kernel are read when the user reads what they say, and not written', async () => {
    const address = kernel.base.symbol('saved_command_line');
    const place = kernel.base.space.translate(kernel.base.pointerAt(address))!;
    const seen: string[] = [];
    const undo = events.memory({ range: [place, place + 7], access: 'rw' }, ({ access }) => void seen.push(access));
    const line = await answer('cat /proc/cmdline');
    undo();
    expect(line).toContain('console=ttyS0');
    expect(seen.length).toBeGreaterThan(0);
    expect(new Set(seen)).toEqual(new Set(['r']));
  });

  /** 64 bytes of the kernel as the guest itself reads them, in /proc/kcore. */
  async function readKernel(address: bigint): Promise<number[]> {
    const dump = async (skip: bigint, blocks: number): Promise<number[]> =>
      (await answer(`dd if=/proc/kcore bs=64 skip=${skip} count=${blocks} 2>/dev/null | od -An -v -tx1`))
        .split(/\s+/)
        .filter((byte) => byte !== '')
        .map((byte) => Number.parseInt(byte, 16));
    const header = Buffer.from(await dump(0n, 16));
    expect(header.subarray(0, 4).toString('latin1')).toBe('\x7fELF');
    const [first, size, number] = [
      Number(header.readBigUInt64LE(32)),
      header.readUInt16LE(54),
      header.readUInt16LE(56),
    ];
    for (let at = first; at < first + size * number; at += size) {
      const [offset, linear, length] = [8, 16, 40].map((field) => header.readBigUInt64LE(at + field));
      if (address < linear || address >= linear + length) continue;
      const place = offset + address - linear,
        within = Number(place % 64n);
      return (await dump(place / 64n, 2)).slice(within, within + 64);
    }
    throw new Error(`/proc/kcore has nothing at 0x${address.toString(16)}.`);
  }

  /** What the shell writes for a line that is typed. */
  async function answer(line: string): Promise<string> {
    const before = machine.console.text.length;
    machine.input.push(Buffer.from(`echo be""gin; ${line}; echo t""he-end\n`));
    while (!machine.console.text.slice(before).includes('the-end\r\n')) {
      const { reason, why } = await machine.vmm.run({ maxInstructions: 20_000_000 });
      expect([reason, why]).toEqual(['max-instructions', expect.anything()]);
    }
    live.advance();
    const text = machine.console.text.slice(before);
    return text.slice(text.indexOf('begin\r\n') + 7, text.indexOf('the-end\r\n')).trimEnd();
  }
});
