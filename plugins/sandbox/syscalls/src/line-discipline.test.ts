/** Lines that are typed, echo, control characters, line ends: the rules of termios(3), one by one. */
import { BLOCKED, Signal } from '@visorkit/linux-abi';
import { beforeEach, describe, expect, it } from 'vitest';
import { LineDiscipline } from './line-discipline.js';
import { I, L, O, Termios, V } from './termios.js';

let line: LineDiscipline, shown: string, signals: number[];
beforeEach(() => {
  shown = '';
  signals = [];
  line = new LineDiscipline({
    signal: (signal) => signals.push(signal),
    show: (bytes) => {
      shown += String.fromCharCode(...bytes);
    },
  });
});

const type = (text: string): number => line.type(Buffer.from(text, 'latin1'));
const read = (most = 100, waited = false): string | number => {
  const target = new Uint8Array(most),
    count = line.read(target, waited);
  return count < 0 ? count : Buffer.from(target.subarray(0, count)).toString('latin1');
};
/** What has been shown since the last look. */
const screen = (): string => {
  const text = shown;
  shown = '';
  return text;
};
interface Changes {
  readonly input?: number;
  readonly output?: number;
  readonly local?: number;
  readonly controls?: Readonly<Record<number, number>>;
}
/** Other flags: those that are named are turned over. */
function change({ input = 0, output = 0, local = 0, controls = {} }: Changes): void {
  const bytes = line.termios.bytes.slice(),
    view = new DataView(bytes.buffer);
  [input, output, 0, local].forEach((bits, i) => view.setUint32(4 * i, view.getUint32(4 * i, true) ^ bits, true));
  for (const [place, value] of Object.entries(controls)) bytes[17 + Number(place)] = value;
  line.set(new Termios(bytes));
}

describe('a line', () => {
  it('is there when it ends, and is read one by one', () => {
    type('one');
    expect([read(), screen()]).toEqual([BLOCKED, 'one']);
    type('\rtwo\n');
    expect([screen(), line.available]).toEqual(['\r\ntwo\r\n', 8]);
    expect([read(), read(2), read(), read()]).toEqual(['one\n', 'tw', 'o\n', BLOCKED]);
  });

  it('can be edited: a character, a word, all of it', () => {
    type('abc\x7fd');
    expect(screen()).toBe('abc\b \bd');
    type(' two  \x17x');
    expect(screen()).toBe(` two  ${'\b \b'.repeat(5)}x`);
    type('\x15y\n');
    expect([screen(), read()]).toEqual([`${'\b \b'.repeat(5)}y\r\n`, 'y\n']);
    type('\x7f\x15\x17\n');
    expect([screen(), read()]).toEqual(['\r\n', '\n']);
  });

  it('shows control characters as two, and takes them away as two', () => {
    type('a\x01\x7f\x7f');
    expect(screen()).toBe('a^A\b \b\b \b\b \b');
  });

  it('takes a tab away with all its columns', () => {
    type('abc\td\x7f\x7f');
    expect(screen()).toBe(`abc\td\b \b${'\b'.repeat(5)}`);
  });

  it('takes words of Latin-1 away as a whole', () => {
    type('\xa4\xe4b\x17');
    expect(screen()).toBe(`\xa4\xe4b${'\b \b'.repeat(2)}`);
  });

  it('counts columns from where the line began', () => {
    line.write(Buffer.from('> '));
    type('a\t\x7f');
    expect(screen()).toBe(`> a\t${'\b'.repeat(5)}`);
  });

  it('takes characters of several bytes away as a whole with IUTF8', () => {
    change({ input: I.IUTF8 });
    type('\xa4\x7f'); // nor a part of one
    expect(screen()).toBe('\xa4');
    type('\n');
    read();
    screen();
    type('\xc3\xa4\x7fb\n');
    expect([screen(), read()]).toEqual(['\xc3\xa4\b \bb\r\n', 'b\n']);
  });

  it('ends without a byte at ^D, which is the end of the file where nothing was typed', () => {
    type('ab\x04\x04');
    expect([read(), read(), read(), screen()]).toEqual(['ab', '', BLOCKED, 'ab']);
    type('cd\x04ef\n');
    expect([read(2), read()]).toEqual(['cd', 'ef\n']); // a full buffer takes the end along
  });

  it('takes the next key literally after ^V, and is shown again by ^R', () => {
    type('a\x16\x03\x12');
    expect([screen(), signals]).toEqual(['a^\b^C^R\r\na^C', []]);
    type('\n');
    expect(read()).toBe('a\x03\n');
  });

  it('is not shown without ECHO, but its end is with ECHONL', () => {
    change({ local: L.ECHO });
    type('secret\x7f\n');
    expect([screen(), read()]).toEqual(['', 'secre\n']);
    change({ local: L.ECHONL });
    type('x\n');
    expect(screen()).toBe('\r\n');
  });

  it('without ECHOE, or ECHOKE, shows the keys that take away', () => {
    change({ local: L.ECHOE });
    type('ab\x7f\x15c\n');
    expect([screen(), read()]).toEqual(['ab^?^U\r\nc\r\n', 'c\n']);
  });

  it('ends at other characters too, where they are set', () => {
    change({ controls: { [V.EOL]: 59 } });
    type('a;b');
    expect([read(), read()]).toEqual(['a;', BLOCKED]);
  });

  it('is cut where it is too long, and more lines wait outside', () => {
    expect(type(`${'x'.repeat(5000)}\n`)).toBe(5001);
    expect([read(10_000), line.room > 0]).toEqual([`${'x'.repeat(4095)}\n`, true]);
    type(`${'y'.repeat(4094)}\n`);
    expect([line.room, type('z')]).toEqual([0, 0]);
  });
});

describe('control characters', () => {
  it('send signals, and what was typed is lost', () => {
    for (const key of 'abc\x03\x1c\x1a') type(key);
    expect([screen(), signals]).toEqual(['abc^C^\\^Z', [Signal.INT, Signal.QUIT, Signal.TSTP]]);
    type('abc\x03'); // all at once: what has not been shown yet is lost too
    expect(screen()).toBe('^C');
    type('d\n');
    expect(read()).toBe('d\n');
  });

  it('leave it with NOFLSH, and are plain without ISIG', () => {
    change({ local: L.NOFLSH });
    type('abc\x03\n');
    expect([read(), signals]).toEqual(['abc\n', [Signal.INT]]);
    change({ local: L.ISIG });
    type('\x03\n');
    expect([read(), signals]).toEqual(['\x03\n', [Signal.INT]]);
  });

  it('stop the output and let it go on', () => {
    type('\x13');
    expect(line.stopped).toBe(true);
    type('a');
    expect([line.stopped, screen()]).toEqual([true, 'a']);
    type('\x11');
    expect([line.stopped, read()]).toEqual([false, BLOCKED]);
    type('\x13');
    change({ input: I.IXANY });
    type('b');
    expect(line.stopped).toBe(false);
  });
});

describe('without lines', () => {
  beforeEach(() => change({ local: L.ICANON | L.ECHO }));

  it('each byte is there at once', () => {
    type('a\x7f\r');
    expect([read(), read(), screen()]).toEqual(['a\x7f\n', BLOCKED, '']);
  });

  it('a newline is shown as a control character, a return that becomes one as a new line', () => {
    change({ local: L.ECHO });
    type('\n\r');
    expect([screen(), read()]).toEqual(['^J\r\n', '\n\n']);
  });

  it('what waits when lines begin is one line, and ends of files before are NULs', () => {
    type('ab\ncd');
    change({ local: L.ICANON });
    type('e\n\x04');
    expect([read(), read()]).toEqual(['ab\ncd', 'e\n']);
    change({ local: L.ICANON });
    expect(read()).toBe('\0');
  });

  it('VMIN bytes are waited for, or as many as fit', () => {
    change({ controls: { [V.MIN]: 3 } });
    type('ab');
    expect([read(), line.readable, read(2)]).toEqual([BLOCKED, false, 'ab']);
    type('abc');
    expect([line.readable, read()]).toEqual([true, 'abc']);
  });

  it('with VTIME a read ends after it: from its beginning, or from the first byte on', () => {
    change({ controls: { [V.MIN]: 0, [V.TIME]: 5 } });
    expect([line.patience, read(), read(9, true)]).toEqual([5e8, BLOCKED, '']);
    change({ controls: { [V.MIN]: 3 } });
    expect([line.patience, read(9, true)]).toEqual([Infinity, BLOCKED]);
    type('a');
    expect([line.patience, read(), read(9, true)]).toEqual([5e8, BLOCKED, 'a']);
  });

  it('with neither, a read does not wait', () => {
    change({ controls: { [V.MIN]: 0 } });
    expect(read()).toBe('');
  });

  it('what was typed of a line before is there', () => {
    change({ local: L.ICANON });
    type('ab');
    change({ local: L.ICANON });
    expect(read()).toBe('ab');
  });
});

describe('line ends', () => {
  it('of the input are turned, or dropped', () => {
    change({ input: I.ICRNL | I.INLCR });
    type('a\rb\n');
    expect(read()).toBe(BLOCKED);
    change({ input: I.IGNCR | I.INLCR });
    type('\rc\n');
    expect(read()).toBe('a\rb\rc\n');
  });

  it('of the output become two characters, and tabs spaces with XTABS', () => {
    const write = (text: string): string => {
      line.write(Buffer.from(text, 'latin1'));
      return screen();
    };
    expect(write('a\nb')).toBe('a\r\nb');
    change({ output: O.XTABS });
    expect(write('\rab\tc\n')).toBe('\rab      c\r\n');
    change({ output: O.ONLCR | O.OCRNL | O.XTABS });
    expect(write('a\rb\n')).toBe('a\nb\n');
    change({ output: O.OPOST });
    expect(write('a\r\n')).toBe('a\r\n');
  });
});
