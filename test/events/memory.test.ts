/** Accesses to memory: which are told, what is told of them, and what may be answered. */
import { describe, expect, it } from 'vitest';
import type { MemoryAccess } from '@visorkit/vmi';
import { CODE, DATA, FUNCTION, OTHER, TABLES, asm, machineOf, runGuest } from './machine.js';

const { hlt, load, store, inc, xadd, movEax, print, call, ret, nop } = asm;

describe('memory events', () => {
  it('tell of a write: where, how much, what, and let it happen', async () => {
    const seen: unknown[] = [];
    const { output } = await runGuest({
      code: [movEax(0x1234_5678), store(DATA + 8), load(DATA + 8), print, hlt],
      subscribe: ({ events }) => {
        events.memory({ gpa: DATA, access: 'w' }, (event) => {
          const { access, gpa, gla, glaValid, offset, size, value, valueLow, walk, rip, vcpu } = event;
          seen.push({
            access,
            gpa,
            gla,
            glaValid,
            offset,
            size,
            value,
            valueLow,
            walk,
            rip,
            vcpu: vcpu.index,
            bytes: [...event.bytes],
          });
        });
      },
    });
    expect(output).toEqual([0x1234_5678]);
    expect(seen).toEqual([
      {
        access: 'w',
        gpa: DATA + 8,
        gla: BigInt(DATA + 8),
        glaValid: true,
        offset: 8,
        size: 4,
        value: 0x1234_5678n,
        valueLow: 0x1234_5678,
        walk: false,
        rip: BigInt(CODE + 5),
        vcpu: 0,
        bytes: [0x78, 0x56, 0x34, 0x12],
      },
    ]);
  });

  it.each<MemoryAccess>(['r', 'w', 'x', 'rw', 'rx', 'wx', 'rwx', 'rwx2n'])(
    'of kind %s are those of this kind',
    async (access) => {
      const seen: string[] = [];
      const { output } = await runGuest({
        // In the page: INC of a word, RET; then the word is read
        code: [call(CODE, FUNCTION), load(FUNCTION + 0x100), print, hlt],
        data: { [FUNCTION]: [...inc(FUNCTION + 0x100), ...ret], [FUNCTION + 0x100]: [41] },
        subscribe: ({ events }) => {
          events.memory({ range: [FUNCTION, FUNCTION + 0xff], access }, (event) => void seen.push(event.access));
          events.memory(
            { range: [FUNCTION + 0x100, FUNCTION + 0x103], access },
            (event) => void seen.push(event.access),
          );
        },
      });
      expect(output).toEqual([42]);
      const all = ['x', 'r', 'w', 'x', 'r'];
      // The first access to each of the two places
      expect(seen).toEqual(access === 'rwx2n' ? ['x', 'r'] : all.filter((kind) => access.includes(kind)));
    },
  );

  it('of kind w2x are of code that was written', async () => {
    const seen: bigint[] = [];
    const { output } = await runGuest({
      code: [
        call(CODE, FUNCTION),
        movEax(0xc3_9090),
        store(FUNCTION),
        call(CODE + 17, FUNCTION),
        load(DATA),
        print,
        hlt,
      ],
      data: { [FUNCTION]: [...nop, ...nop, ...ret] },
      subscribe: ({ events }) => void events.memory({ gpa: FUNCTION, access: 'w2x' }, ({ rip }) => void seen.push(rip)),
    });
    expect(output).toEqual([0]);
    // Behind the event the page counts as unwritten again
    expect(seen).toEqual([BigInt(FUNCTION)]);
  });

  it('everywhere come from every page', async () => {
    const pages = new Set<number>();
    const { output } = await runGuest({
      code: [movEax(7), store(DATA), store(OTHER), load(OTHER), print, hlt],
      subscribe: ({ events }) =>
        void events.memory({ everywhere: true, access: 'w' }, (event) => {
          if (!event.walk) pages.add(event.gpa);
        }),
    });
    expect(output).toEqual([7]);
    expect([...pages]).toEqual([DATA, OTHER]);
  });

  it('of page tables tell that the processor walks, and it goes on', async () => {
    const walks: boolean[] = [];
    const { output } = await runGuest({
      code: [movEax(TABLES), asm.movCr(3), load(DATA), print, hlt],
      data: { [DATA]: [5] },
      subscribe: ({ events }) =>
        void events.memory({ gpa: TABLES, access: 'rw' }, ({ walk, size }) => void walks.push(walk && size === 0)),
    });
    expect(output).toEqual([5]);
    expect(walks.length).toBeGreaterThan(0);
    expect(walks.every(Boolean)).toBe(true);
  });

  it('leave an instruction that reads and writes as it is', async () => {
    const seen: string[] = [];
    const { output } = await runGuest({
      code: [movEax(5), xadd(DATA), print, load(DATA), print, movEax(1), xadd(OTHER), print, load(OTHER), print, hlt],
      data: { [DATA]: [37], [OTHER]: [9] },
      subscribe: ({ events }) => {
        events.memory({ gpa: DATA, access: 'w' }, ({ value }) => void seen.push(`w ${value}`));
        events.memory({ gpa: OTHER, access: 'rw' }, ({ access, value }) => void seen.push(`${access} ${value}`));
      },
    });
    // XADD gives what was there, and adds
    expect(output).toEqual([37, 42, 9, 10]);
    expect(seen).toEqual(['w 42', 'r 0', 'w 10', 'r 0']);
  });

  it('may be answered with data', async () => {
    const { output } = await runGuest({
      code: [load(DATA), print, load(DATA + 4), print, hlt],
      data: { [DATA]: [1, 0, 0, 0, 2] },
      subscribe: ({ events }) =>
        void events.memory({ gpa: DATA, access: 'r' }, ({ offset }) =>
          offset === 0 ? { readData: Uint8Array.of(0x77, 0, 0, 0, 9) } : undefined,
        ),
    });
    expect(output).toEqual([0x77, 2]);
  });

  it('may be answered without the write', async () => {
    const { output } = await runGuest({
      code: [movEax(3), store(DATA), xadd(DATA), print, load(DATA), print, hlt],
      data: { [DATA]: [8] },
      subscribe: ({ events }) => void events.memory({ gpa: DATA, access: 'w' }, () => ({ withoutWrite: true })),
    });
    expect(output).toEqual([8, 8]);
  });

  it('are answered although the handler ends its subscription, or changes the view', async () => {
    const { output } = await runGuest({
      code: [
        movEax(3),
        store(DATA),
        load(DATA),
        print,
        load(OTHER),
        print,
        load(OTHER),
        print,
        store(OTHER),
        load(OTHER),
        print,
        hlt,
      ],
      data: { [DATA]: [8], [OTHER]: [9] },
      subscribe: ({ events, views }) => {
        const undo = events.memory({ gpa: DATA, access: 'w' }, () => {
          undo();
          return { withoutWrite: true };
        });
        const view = views.create();
        events.memory({ gpa: OTHER, access: 'r' }, () => ({ readData: Uint8Array.of(1, 0, 0, 0), view }));
      },
    });
    expect(output).toEqual([8, 1, 9, 9]);
  });

  it('may be answered with another instruction', async () => {
    const { output } = await runGuest({
      code: [call(CODE, FUNCTION), print, hlt],
      data: { [FUNCTION]: [...movEax(1), ...ret] },
      subscribe: ({ events }) =>
        void events.memory({ gpa: FUNCTION, access: 'x' }, ({ offset }) =>
          offset === 0 ? { instruction: Uint8Array.from(movEax(2)) } : undefined,
        ),
    });
    expect(output).toEqual([2]);
  });

  it('may be answered with registers, RIP among them', async () => {
    const { output } = await runGuest({
      code: [load(DATA), print, hlt],
      subscribe: ({ events }) =>
        void events.memory({ gpa: DATA, access: 'r' }, ({ rip }) => ({ registers: { rip: rip + 7n, rax: 0x55n } })),
    });
    expect(output).toEqual([0x55]);
  });

  it('cover an access across pages, one for each', async () => {
    const seen: string[] = [];
    await runGuest({
      code: [asm.movRax(0x1122_3344_5566_7788n), [0x48, ...store(OTHER - 3)], [0x48, ...load(OTHER - 3)], print, hlt],
      subscribe: ({ events }) => {
        events.memory({ range: [DATA, OTHER + 0xfff], access: 'rw' }, ({ access, gpa, size }) => {
          seen.push(`${access} ${gpa.toString(16)} ${size}`);
        });
      },
    });
    expect(seen).toEqual(['w 9ffd 3', 'w a000 5', 'r 9ffd 3', 'r a000 5']);
  });

  it('say when an answer cannot be carried out', async () => {
    const failures: string[] = [];
    const { output } = await runGuest({
      code: [load(DATA), print, hlt],
      data: { [DATA]: [4] },
      subscribe: ({ events }) => {
        events.memory({ gpa: DATA, access: 'r' }, () => ({ readData: Uint8Array.of(1) }));
        events.failedEmulation(({ why }) => void failures.push(why));
      },
    });
    expect(output).toEqual([4]);
    expect(failures).toEqual(['the read is of 4 bytes, and 1 were given']);
  });

  it('in another view are of the vCPU in it', async () => {
    const seen: string[] = [];
    const { output } = await runGuest({
      code: [movEax(1), store(DATA), asm.vmcall, movEax(2), store(DATA), load(DATA), print, hlt],
      subscribe: ({ events, views }) => {
        const view = views.create();
        events.memory({ gpa: DATA, access: 'w', view }, ({ value }) => void seen.push(`w ${value}`));
        events.guestRequest({}, () => ({ view }));
      },
    });
    expect(output).toEqual([2]);
    expect(seen).toEqual(['w 2']);
  });

  it('come from a view that is switched to for one instruction alone', async () => {
    const seen: string[] = [];
    const { output } = await runGuest({
      code: [movEax(1), asm.vmcall, store(DATA), store(DATA + 4), load(DATA), print, hlt],
      subscribe: ({ events, views }) => {
        const view = views.create();
        events.memory({ gpa: DATA, access: 'w', view }, ({ offset }) => void seen.push(`w ${offset}`));
        events.guestRequest({}, () => ({ viewOnce: view }));
      },
    });
    expect(output).toEqual([1]);
    expect(seen).toEqual(['w 0']);
  });

  it('need exactly one place, rights that exist, and memory', async () => {
    await using machine = await machineOf({ code: [hlt] });
    const { events } = machine.parts;
    const none = (): void => {};
    expect(() => events.memory({ access: 'r' }, none)).toThrow(
      /one of gpa, range: \[first, last\] and everywhere: true; 0 of them/,
    );
    expect(() => events.memory({ gpa: 0, everywhere: true, access: 'r' }, none)).toThrow(/2 of them/);
    expect(() => events.memory({ gpa: 0, access: 'wr' as 'rw' }, none)).toThrow(/it is "wr"/);
    expect(() => events.memory({ gpa: 0, acess: 'r' } as never, none)).toThrow(
      /"acess" is not a field of memory events/,
    );
    expect(() => events.memory({ gpa: 2 ** 40, access: 'r' }, none)).toThrow(/not mapped/);
    expect(() => events.memory({ gpa: 0, access: 'r', vcpus: [3] }, none)).toThrow(/There is no vCPU 3; this VM has 1/);
    expect(() => events.memory({ gpa: 0, access: 'r' }, none, { ordr: 3 } as never)).toThrow(
      /"ordr" is not an option of a subscriber/,
    );
  });
});
