/** The options of `visorkit run`, each by what it does to a small guest. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GuestCode } from '@visorkit/testkit';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { Scratch, cli } from './test-cli.js';

vi.mock('node:fs', async (original) =>
  (await import('./test-writes.js')).catchWrites(await original<typeof import('node:fs')>()),
);

/** Whether standard input, output and error are to be terminals. */
const terminals = vi.hoisted(() => ({ are: false }));
vi.mock('./terminal.js', async (original) => ({
  ...(await original<typeof import('./terminal.js')>()),
  isTerminal: () => terminals.are,
}));

const scratch = new Scratch();
const folder = process.cwd();
afterAll(() => {
  process.chdir(folder);
  scratch.remove();
});

const virtual = ['--time', 'virtual'];
const hello = scratch.file('hello.bin', new GuestCode().print('hello\n').cli().hlt().build());
const loop = scratch.file('loop.bin', [0xeb, 0xfe]);
/** CPUID for the leaves 0 and 1, then halts. */
const cpuid = scratch.file('cpuid.bin', [0x66, 0x31, 0xc0, 0x0f, 0xa2, 0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0xfa, 0xf4]);
const run = (kernel: string, ...more: string[]) =>
  cli('run', '--kernel', kernel, '--mode', 'real16', '--serial', 'none', ...virtual, ...more);

describe('--firmware', () => {
  it('starts at the reset vector, and finds kernel, RAM disk and command line in fw_cfg', async () => {
    const image = new Uint8Array(0x10000);
    // Prints so many bytes of an item: MOV DX, 510H; MOV AX, item; OUT DX, AX; MOV CX, count; again: MOV DX, 511H; IN AL, DX; MOV DX, 3F8H; OUT DX, AL; LOOP again
    const print = (item: number, count: number): number[] => [
      0xba,
      0x10,
      0x05,
      0xb8,
      item,
      0,
      0xef,
      0xb9,
      count,
      0,
      0xba,
      0x11,
      0x05,
      0xec,
      0xba,
      0xf8,
      0x03,
      0xee,
      0xe2,
      0xf6,
    ];
    image.set([...print(0x11, 6), ...print(0x12, 4), ...print(0x15, 5), 0xfa, 0xf4], 0xf000);
    image.set([0xe9, 0x0d, 0xf0], 0xfff0); // JMP F000H
    const { status, out, err } = await cli(
      'run',
      '--firmware',
      scratch.file('fw.bin', image),
      '--kernel',
      scratch.file('kernel', 'kernel'),
      '--initrd',
      scratch.file('initrd', 'disk'),
      '--append',
      'quiet',
      ...virtual,
    );
    expect(err).toMatch(/halted/);
    expect(out).toBe('kerneldiskquiet');
    expect(status).toBe(68);
  });
});

describe('--vga', () => {
  // MOV AX, 0B800H; MOV ES, AX; MOV WORD ES:[0], 'H'; MOV WORD ES:[2], 'i'; CLI; HLT
  const screen = scratch.file('screen.bin', [
    ...[0xb8, 0x00, 0xb8, 0x8e, 0xc0],
    ...[0x26, 0xc7, 0x06, 0, 0, 0x48, 0x07, 0x26, 0xc7, 0x06, 2, 0, 0x69, 0x1f],
    ...[0xfa, 0xf4],
  ]);

  it('text shows what the guest writes at B8000H, file:PATH keeps it, and without it there is no screen', async () => {
    const show = (...more: string[]) => cli('run', '--kernel', screen, '--mode', 'real16', ...virtual, ...more);
    expect(await show('--vga', 'text')).toMatchObject({ out: 'Hi\n', status: 68 });
    const path = scratch.path('screen.txt');
    expect((await show('--vga', `file:${path}`)).out).toBe('');
    expect(readFileSync(path, 'utf8')).toBe('Hi\n');
    expect((await show()).out).toBe('');
    expect(await show('--vga', 'colour')).toMatchObject({
      status: 2,
      err: expect.stringMatching(/--vga takes text, file:PATH or none, not "colour"/),
    });
    const shared = await show('--vga', `file:${path}`, '--serial', `file:${path}`);
    expect(shared.err).toMatch(/--vga and another option both name .*OPTION_VALUE/);
  });

  it('text leaves the terminal to the screen, unless the serial port is to share it', async () => {
    const out = async (...more: string[]) =>
      (await cli('run', '--kernel', hello, '--mode', 'real16', ...virtual, '--vga', 'text', ...more)).out;
    expect(await out()).toBe('');
    expect(await out('--serial', 'stdio')).toBe('hello\n');
  });
});

describe('--serial', () => {
  it("none drops the guest's words, file:PATH keeps them", async () => {
    expect((await run(hello)).out).toBe('');
    const path = scratch.path('serial.txt');
    const { out } = await cli('run', '--kernel', hello, '--mode', 'real16', '--serial', `file:${path}`, ...virtual);
    expect(out).toBe('');
    expect(readFileSync(path, 'latin1')).toBe('hello\n');
  });

  it('a file that takes nothing more ends the run', async () => {
    const chatter = scratch.file(
      'chatter.bin',
      new GuestCode().movDx(0x3f8).label('again').movAl(0x41).outDxAl().jmp('again').build(),
    );
    const { status, err } = await cli(
      'run',
      '--kernel',
      chatter,
      '--mode',
      'real16',
      '--serial',
      'file:/dev/full',
      '--timeout',
      '10',
    );
    expect(err).toMatch(/output of --serial cannot be written to "\/dev\/full": ENOSPC.*\[OUTPUT_FILE\]/);
    expect(status).toBe(78);
  });

  it('--debugcon gets what the guest writes to port 0xe9', async () => {
    const path = scratch.path('debugcon.txt');
    await run(
      scratch.file('debugcon.bin', new GuestCode().print('debug', 0xe9).hlt().build()),
      '--debugcon',
      `file:${path}`,
    );
    expect(readFileSync(path, 'latin1')).toBe('debug');
  });

  const talker = scratch.file(
    'talker.bin',
    new GuestCode().print('serial,').print('bochs,', 0xe9).print('serial,').print('bios,', 0x402).hlt().build(),
  );

  it.each([
    ['alone', []],
    ['with --debug-exit', ['--debug-exit']],
    ['with --testdev', ['--testdev']],
    ['with both', ['--debug-exit', '--testdev']],
  ])('--debugcon prints %s, with every --serial', async (_name, extra) => {
    const kept = scratch.path('kept.txt');
    const separate = ['--serial', 'none', '--debugcon', 'stdio'];
    expect((await cli('run', '--kernel', talker, '--mode', 'real16', ...virtual, ...separate, ...extra)).out).toBe(
      'bochs,bios,',
    );
    const everything = 'serial,bochs,serial,bios,';
    expect(
      (await cli('run', '--kernel', talker, '--mode', 'real16', ...virtual, '--debugcon', 'stdio', ...extra)).out,
    ).toBe(everything);
    const oneFile = ['--serial', `file:${kept}`, '--debugcon', `file:${scratch.folder}/./kept.txt`];
    await cli('run', '--kernel', talker, '--mode', 'real16', ...virtual, ...oneFile, ...extra);
    expect(readFileSync(kept, 'latin1')).toBe(everything);
  });
});

describe('the first words', () => {
  it('on a terminal say what is started, before the guest does; without one nothing is said', async () => {
    terminals.are = true;
    const { out, err } = await cli('run', '--kernel', hello, '--mode', 'real16', ...virtual).finally(
      () => (terminals.are = false),
    );
    expect(out).toBe('hello\n');
    expect(err).toMatch(
      /^visorkit: starting hello\.bin with 256 MiB on vmx; Ctrl-a x leaves\nvisorkit: The guest halted/,
    );
    expect((await cli('run', '--kernel', hello, '--mode', 'real16', ...virtual)).err).not.toContain('starting');
  });

  it('--version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    expect(await cli('--version')).toMatchObject({ out: `${version}\n`, status: 0 });
  });
});

describe('--report', () => {
  const fields = {
    reason: 'halted',
    exitStatus: 68,
    why: expect.stringContaining('halted'),
    backend: 'vmx',
    time: 'virtual',
    guestInstructions: 15,
    wallSeconds: expect.any(Number),
    mips: expect.any(Number),
    exits: { io: 6, hlt: 1 },
    totalExits: 7,
  };
  it('- writes JSON to standard output, and nothing else goes there', async () => {
    const { out, status } = await run(hello, '--report', '-');
    const report = JSON.parse(out) as { wallSeconds: number };
    expect(report).toMatchObject(fields);
    expect(report.wallSeconds).toBeLessThan(10);
    expect(status).toBe(68);
  });

  it('FILE writes it there, also for a guest that failed', async () => {
    const path = scratch.path('report.json');
    await run(hello, '--report', path);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject(fields);
    const { status } = await run(
      scratch.file('ud.bin', [0x0f, 0x01, 0x1e, 0x09, 0x80, 0x0f, 0x0b, 0, 0]),
      '--report',
      path,
    ); // lidt with limit 0; ud2
    const report = JSON.parse(readFileSync(path, 'utf8')) as { failure: { vcpu: unknown; code: string[] } };
    expect(report).toMatchObject({
      reason: 'triple-fault',
      exitStatus: 70,
      failure: { exit: { name: 'triple-fault' }, vcpu: { mode: 'real16' } },
    });
    expect(report.failure.code.join('\n')).toContain('ud2');
    expect(status).toBe(70);
  });

  it('--verbose says the same in words', async () => {
    const { err } = await run(hello, '--verbose');
    expect(err).toMatch(/15 instructions/);
    expect(err).toMatch(/6 io/);
  });
});

describe('how guests end', () => {
  const program = (name: string, ...bytes: number[]) => scratch.file(`${name}.bin`, bytes);

  it('--debug-exit gives (value << 1) | 1', async () => {
    for (const value of [0, 1, 0x31, 0x7f]) {
      const { status, err } = await run(program('exit', 0xb0, value, 0xe6, 0xf4), '--debug-exit');
      expect(status).toBe((value << 1) | 1);
      expect(err).toBe('');
    }
    // No other device comes with it: the scratch port of pc-testdev reads as a port of nobody's, and with --testdev as it was written
    const scratchPort = [0xb0, 0x2a, 0xe6, 0xe0, 0xe4, 0xe0, 0xe6, 0xf4];
    expect((await run(program('scratch', ...scratchPort), '--debug-exit')).status).toBe(((0xff << 1) | 1) & 0xff);
    expect((await run(program('scratch', ...scratchPort), '--debug-exit', '--testdev')).status).toBe((0x2a << 1) | 1);
    // Without the option the port is nobody's
    expect((await run(program('exit', 0xb0, 1, 0xe6, 0xf4, 0xf4))).status).toBe(68);
  });

  it('--max-instructions is exact', async () => {
    for (const count of [1, 2, 999, 123_457]) {
      const { status, out, err } = await run(loop, '--max-instructions', String(count), '--report', '-');
      expect(JSON.parse(out)).toMatchObject({ reason: 'max-instructions', guestInstructions: count, exitStatus: 122 });
      expect(err).toMatch(new RegExp(`retired ${count} instructions, the limit`));
      expect(status).toBe(122);
    }
  });

  it('--timeout ends a guest that loops, in virtual and in real time, also in one instruction or in faults', async () => {
    const endless = {
      jmp: [0xeb, 0xfe],
      'rep ins': [0x66, 0xb9, 0xff, 0xff, 0xff, 0xff, 0x31, 0xff, 0x67, 0xf3, 0x6c], // ecx = 4 Gi; a32 rep insb
      'ud2 whose handler is ud2': [0xbc, 0, 0x70, 0xc7, 0x06, 0x18, 0, 0, 0x10, 0xc7, 0x06, 0x1a, 0, 0, 0, 0x0f, 0x0b],
    };
    for (const [name, bytes] of Object.entries(endless)) {
      for (const time of ['real', 'virtual']) {
        const began = performance.now();
        const { status, err } = await run(program('endless', ...bytes), '--timeout', '0.3', '--time', time);
        expect(err, name).toMatch(/longer than its time limit/);
        expect(status, name).toBe(124);
        expect(performance.now() - began, name).toBeLessThan(4000);
      }
    }
  });

  it('a jump into nothing, a triple fault, a halt for good, a reset, a power-off', async () => {
    const nothing = await cli(
      'run',
      '--kernel',
      program('nothing', 0xb8, 0, 0, 0, 0xd0, 0xff, 0xe0),
      '--mode',
      'protected32',
      '--serial',
      'none',
      ...virtual,
    ); // mov eax, 0xd0000000; jmp eax
    expect(nothing).toMatchObject({
      status: 72,
      err: expect.stringMatching(/jumped to guest-physical 0xd0000000 .*where there is no memory to execute from/),
    });
    const triple = await cli(
      'run',
      '--kernel',
      program('triple', 0x0f, 0x0b),
      '--mode',
      'long64',
      '--serial',
      'none',
      ...virtual,
    );
    expect(triple).toMatchObject({ status: 70, err: expect.stringMatching(/triple-faulted at RIP 0x100000/) });
    expect(await run(program('halt', 0xfa, 0xf4))).toMatchObject({
      status: 68,
      err: expect.stringMatching(/halted with interrupts off/),
    });
    expect(await run(program('reset', 0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe))).toMatchObject({ status: 0 });
    expect(await run(program('off', 0xba, 0x04, 0x06, 0xb8, 0, 0x20, 0xef, 0xeb, 0xfe))).toMatchObject({ status: 0 });
  });

  it('writes outside RAM are swallowed as on a PC, and told with --log debug', async () => {
    const outside = program('outside', 0xc7, 0x05, 0, 0, 0, 0xd0, 1, 0, 0, 0, 0xa1, 0, 0, 0, 0xd0, 0xfa, 0xf4); // mov [0xd0000000], 1; mov eax, [0xd0000000]; cli; hlt
    const { err, status } = await cli(
      'run',
      '--kernel',
      outside,
      '--mode',
      'protected32',
      '--serial',
      'none',
      ...virtual,
      '--log',
      'debug',
    );
    expect(err).toMatch(/the guest writes guest-physical 0xd0000000, where there is neither RAM nor a device/);
    expect(status).toBe(68);
  });
});

describe('--time virtual', () => {
  it('gives the same run twice: output, instructions, exits', async () => {
    // Prints the low byte of the time stamp counter and of the PIT's counter some hundred times, between halts that a timer ends
    const code = new GuestCode()
      .raw(0xb9, 200, 0)
      .label('again')
      .raw(0x0f, 0x31)
      .movDx(0xe9)
      .outDxAl()
      .raw(0xb0, 0, 0xe6, 0x43, 0xe4, 0x40)
      .movDx(0xe9)
      .outDxAl()
      .raw(0xe2)
      .build();
    const kernel = scratch.file('clock.bin', [...code, (3 - code.length - 1) & 0xff, 0xfa, 0xf4]);
    const once = async (): Promise<unknown[]> => {
      const path = scratch.path('clock.txt');
      const { out } = await run(kernel, '--debugcon', `file:${path}`, '--report', '-');
      const { guestInstructions, guestNanoseconds, exits } = JSON.parse(out) as Record<string, unknown>;
      return [readFileSync(path, 'hex'), guestInstructions, guestNanoseconds, exits];
    };
    const first = await once();
    expect((first[0] as string).length).toBe(800);
    expect(await once()).toEqual(first);
  });
});

describe('--plugin and configurations', () => {
  const THREE_LINES = `export default { name: 'log-cpuid', apply({ hooks, logger }) {
  hooks.exit.for('cpuid').tap('log-cpuid', (exit, vcpu) => logger.info(\`CPUID \${vcpu.rax.toString(16)}\`));
} };
`;
  it('a folder from outside the workspace logs every CPUID exit in three lines; a .ts file does too', async () => {
    scratch.file('log-cpuid/package.json', '{ "name": "log-cpuid", "type": "module", "exports": "./index.js" }');
    scratch.file('log-cpuid/index.js', THREE_LINES);
    const typed = scratch.file(
      'typed.ts',
      `import type { Plugin } from '@visorkit/core';\nconst plugin: Plugin = ${THREE_LINES.slice('export default '.length).replace("'log-cpuid'", "'typed'")}export default plugin;\n`,
    );
    for (const [plugin, name] of [
      [scratch.path('log-cpuid'), 'log-cpuid'],
      [typed, 'typed'],
    ] as const) {
      expect((await run(cpuid, '--plugin', plugin)).err).toMatch(new RegExp(`^${name}: CPUID 0\\n${name}: CPUID 1\\n`));
    }
    expect((await run(cpuid, '--plugin', scratch.path('log-cpuid'), '--log', 'warn')).err).not.toContain('CPUID 0');
  });

  it.each(['ts', 'mjs'])(
    'visorkit.config.%s with defineVmm is found in the folder; options win over it',
    async (ending) => {
      const home = scratch.path(`project-${ending}`);
      const importing =
        ending === 'ts' ? "import { defineVmm } from '@visorkit/project';" : 'const defineVmm = (config) => config;';
      scratch.file(
        `project-${ending}/visorkit.config.${ending}`,
        `${importing}\nexport default defineVmm({ kernel: '../hello.bin', loader: 'flat', memory: '16M', time: 'virtual', serial: 'file:out.txt', report: '-', plugins: ['../log-cpuid'] });\n`,
      );
      try {
        process.chdir(home);
        const configured = await cli('run');
        expect(JSON.parse(configured.out)).toMatchObject({ reason: 'halted', time: 'virtual', guestInstructions: 15 });
        expect(readFileSync(join(home, 'out.txt'), 'latin1')).toBe('hello\n');
        const overridden = await cli('run', '--kernel', cpuid, '--max-instructions', '2', '--serial', 'none');
        expect(JSON.parse(overridden.out)).toMatchObject({ reason: 'max-instructions' });
        expect(overridden.err).toContain('log-cpuid: CPUID 0');
      } finally {
        process.chdir(folder);
      }
      const elsewhere = await cli('run', '--config', join(home, `visorkit.config.${ending}`));
      expect(elsewhere.status).toBe(68);
    },
  );
});

describe('visorkit doctor', () => {
  it('says what the machine can do, in lines and as JSON', async () => {
    const { out, status } = await cli('doctor');
    expect(out).toMatch(/^yes +Node\.js/m);
    expect(out).toMatch(/^yes +vmx backend .*ept\.execute-only/m);
    expect(out).toMatch(/kvm backend/);
    expect(status).toBe(0);
    const findings = JSON.parse((await cli('doctor', '--json')).out) as {
      name: string;
      ok: boolean;
      required: boolean;
      detail: string;
    }[];
    expect(findings.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['Node.js', 'vmx backend', 'kvm backend', 'memory', 'apt-get', 'gcc']),
    );
    for (const finding of findings)
      expect(finding).toEqual({
        name: expect.any(String),
        ok: expect.any(Boolean),
        required: expect.any(Boolean),
        detail: expect.any(String),
      });
  });
});
