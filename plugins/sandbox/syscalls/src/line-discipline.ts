/**
 * What stands between the keys of a terminal and the program on it, as Linux does it (drivers/tty/n_tty.c): lines that can be edited, echo, control
 * characters that send signals, and the output's line ends. It knows no files.
 */
import { BLOCKED, Signal } from '@visorkit/linux-abi';
import { I, L, O, Termios, V } from './termios.js';

/** Whom it tells what. */
export interface TerminalSide {
  /** To the process group in front. */
  signal(signal: number): void;
  /** Bytes for the screen. */
  show(bytes: readonly number[]): void;
}

/** Bytes that wait for the program at most (N_TTY_BUF_SIZE, less one for the end of a line). */
const MOST_INPUT = 4095;
const TAB = 9,
  NEWLINE = 10,
  RETURN = 13,
  BACKSPACE = 8,
  SPACE = 32,
  CARET = 94,
  DELETE = 127;
/** Marks on bytes of the input: a line ends behind it; it is no byte but the end of a file. */
const END = 0x100,
  EOF = 0x200;

const isControl = (byte: number): boolean => byte < SPACE || byte === DELETE;
const isContinuation = (byte: number): boolean => (byte & 0xc0) === 0x80;
/** Letters are those of Latin-1, whatever the bytes mean (lib/ctype.c). */
const isWord = (byte: number): boolean =>
  (byte >= 48 && byte <= 57) ||
  (byte >= 65 && byte <= 90) ||
  (byte >= 97 && byte <= 122) ||
  byte === 95 ||
  (byte >= 0xc0 && byte !== 0xd7 && byte !== 0xf7);

export class LineDiscipline {
  termios = new Termios();
  /** Output waits: the program's, not the echo. */
  stopped = false;
  /** What the program can read; with {@link END} and {@link EOF}. */
  #input: number[] = [];
  /** The line that is being typed. */
  #line: number[] = [];
  #lines = 0;
  /** The next key is meant literally. */
  #literal = false;
  /** Column of the screen, and that where the line began. */
  #column = 0;
  #lineColumn = 0;
  /** Echo of the keys that are being typed, and the columns before them. */
  #echoed: number[] = [];
  #before: readonly [column: number, lineColumn: number] = [0, 0];

  constructor(private readonly side: TerminalSide) {}

  // ---- from the keys

  /** How many keys it takes now; a line that is too long goes on being taken, and is cut. */
  get room(): number {
    const used = this.#input.length + this.#line.length;
    return used < MOST_INPUT || (this.#canonical && this.#lines === 0) ? Math.max(1, MOST_INPUT - used) : 0;
  }

  /** Keys: as many as there is room for. */
  type(bytes: Uint8Array): number {
    let taken = 0;
    this.#before = [this.#column, this.#lineColumn];
    while (taken < bytes.length && this.room > 0) this.#key(bytes[taken++]);
    if (this.#echoed.length > 0) this.side.show(this.#echoed.splice(0));
    return taken;
  }

  get #canonical(): boolean {
    return this.termios.local(L.ICANON);
  }

  #key(key: number): void {
    const { termios } = this;
    let byte = termios.input(I.ISTRIP) ? key & 0x7f : key;
    if (this.#literal) {
      this.#literal = false;
      return this.#plain(byte);
    }
    if (termios.input(I.IXON)) {
      if (termios.is(byte, V.START)) return this.#go();
      if (termios.is(byte, V.STOP)) {
        this.stopped = true;
        return;
      }
      if (this.stopped && termios.input(I.IXANY)) this.#go();
    }
    if (termios.local(L.ISIG) && this.#sends(byte)) return;
    if (byte === RETURN) {
      if (termios.input(I.IGNCR)) return;
      if (termios.input(I.ICRNL)) byte = NEWLINE;
    } else if (byte === NEWLINE && termios.input(I.INLCR)) byte = RETURN;
    if (this.#canonical && this.#edits(byte)) return;
    this.#plain(byte, key === RETURN && byte === NEWLINE);
  }

  #go(): void {
    this.stopped = false;
    this.side.show([]);
  }

  /** ^C and its like. */
  #sends(byte: number): boolean {
    const { termios } = this;
    const signal = termios.is(byte, V.INTR)
      ? Signal.INT
      : termios.is(byte, V.QUIT)
        ? Signal.QUIT
        : termios.is(byte, V.SUSP)
          ? Signal.TSTP
          : 0;
    if (signal === 0) return false;
    if (!termios.local(L.NOFLSH)) {
      this.flushInput();
      this.#echoed = []; // what has not been shown yet
      [this.#column, this.#lineColumn] = this.#before;
    }
    this.stopped = false;
    if (termios.local(L.ECHO)) this.#echo(byte);
    this.side.signal(signal);
    return true;
  }

  /** Keys that mean something in a line. */
  #edits(byte: number): boolean {
    const { termios } = this,
      extended = termios.local(L.IEXTEN);
    if (termios.is(byte, V.ERASE) || termios.is(byte, V.KILL) || (extended && termios.is(byte, V.WERASE))) {
      this.#erase(byte);
      return true;
    }
    if (extended && termios.is(byte, V.LNEXT)) {
      this.#literal = true;
      if (termios.local(L.ECHO | L.ECHOCTL)) this.#show([CARET, BACKSPACE]);
      return true;
    }
    if (extended && termios.local(L.ECHO) && termios.is(byte, V.REPRINT)) {
      this.#echo(byte);
      this.#show([NEWLINE]);
      for (const old of this.#line) this.#echo(old);
      return true;
    }
    if (byte === NEWLINE) {
      if (termios.local(L.ECHO) || termios.local(L.ECHONL)) this.#show([NEWLINE]);
      this.#ends(NEWLINE | END);
      return true;
    }
    if (termios.is(byte, V.EOF)) {
      this.#ends(EOF | END);
      return true;
    }
    if (termios.is(byte, V.EOL) || (extended && termios.is(byte, V.EOL2))) {
      if (termios.local(L.ECHO)) this.#echo(byte);
      this.#ends(byte | END);
      return true;
    }
    return false;
  }

  /** `asNewline`: a return that became a newline is shown as one, a newline that is only a byte as ^J. */
  #plain(byte: number, asNewline = false): void {
    if (this.#canonical) {
      if (this.#input.length + this.#line.length >= MOST_INPUT) return;
      if (this.termios.local(L.ECHO)) {
        if (this.#line.length === 0) this.#lineColumn = this.#column;
        this.#echo(byte);
      }
      this.#line.push(byte);
    } else {
      if (this.termios.local(L.ECHO)) {
        if (asNewline) this.#show([byte]);
        else this.#echo(byte);
      }
      this.#input.push(byte);
    }
  }

  #ends(last: number): void {
    this.#input.push(...this.#line, last);
    this.#line = [];
    this.#lines++;
  }

  #erase(key: number): void {
    const { termios } = this,
      line = this.#line;
    if (line.length === 0) return;
    const echo = termios.local(L.ECHO),
      all = termios.is(key, V.KILL),
      word = !all && !termios.is(key, V.ERASE);
    if (all && !(echo && termios.local(L.ECHOK | L.ECHOKE | L.ECHOE))) {
      this.#line = [];
      if (!echo) return;
      this.#echo(key);
      if (termios.local(L.ECHOK)) this.#show([NEWLINE]);
      return;
    }
    let inWord = false;
    while (line.length > 0) {
      // A character of several bytes goes as a whole
      let first = line.length - 1;
      if (termios.input(I.IUTF8)) while (first > 0 && isContinuation(line[first])) first--;
      const byte = line[first];
      if (termios.input(I.IUTF8) && isContinuation(byte)) break; // nor is a part of one taken
      if (word) {
        if (isWord(byte)) inWord = true;
        else if (inWord) break;
      }
      line.length = first;
      if (echo) {
        if (!all && !word && !termios.local(L.ECHOE)) this.#echo(key);
        else if (byte === TAB) this.#eraseTab();
        else {
          const cells = !isControl(byte) ? 1 : termios.local(L.ECHOCTL) ? 2 : 0;
          for (let i = 0; i < cells; i++) this.#show([BACKSPACE, SPACE, BACKSPACE]);
        }
      }
      if (!all && !word) break;
    }
  }

  /** As many columns as the tab had: counted from the tab before, or from where the line began. */
  #eraseTab(): void {
    const before = this.#line.lastIndexOf(TAB);
    let column = before < 0 ? this.#lineColumn : 0;
    for (const byte of this.#line.slice(before + 1))
      if (isControl(byte)) column += this.termios.local(L.ECHOCTL) ? 2 : 0;
      else if (!(this.termios.input(I.IUTF8) && isContinuation(byte))) column++;
    for (let i = 8 - (column & 7); i > 0; i--) {
      this.#echoed.push(BACKSPACE);
      if (this.#column > 0) this.#column--;
    }
  }

  #echo(byte: number): void {
    if (isControl(byte) && byte !== TAB && this.termios.local(L.ECHOCTL)) {
      this.#echoed.push(CARET, byte ^ 0x40);
      this.#column += 2;
    } else this.#show([byte]);
  }

  /** Echo that goes the way of output. */
  #show(bytes: Iterable<number>): void {
    for (const byte of this.#processed(bytes)) this.#echoed.push(byte);
  }

  // ---- to the screen

  /** What the program writes, as it goes to the screen. */
  write(bytes: Uint8Array): void {
    this.side.show(this.#processed(bytes));
  }

  /** Columns are counted only where output is processed at all. */
  #processed(bytes: Iterable<number>): number[] {
    const { termios } = this,
      out: number[] = [];
    if (!termios.output(O.OPOST)) return [...bytes];
    for (let byte of bytes) {
      switch (byte) {
        case NEWLINE:
          if (termios.output(O.ONLRET) || termios.output(O.ONLCR)) this.#column = 0;
          if (termios.output(O.ONLCR)) out.push(RETURN);
          this.#lineColumn = this.#column;
          break;
        case RETURN:
          if (termios.output(O.ONOCR) && this.#column === 0) continue;
          if (termios.output(O.OCRNL)) byte = NEWLINE;
          if (byte === RETURN || termios.output(O.ONLRET)) this.#column = this.#lineColumn = 0;
          break;
        case TAB: {
          const width = 8 - (this.#column & 7);
          this.#column += width;
          if (!termios.output(O.XTABS)) break;
          for (let i = 0; i < width; i++) out.push(SPACE);
          continue;
        }
        case BACKSPACE:
          if (this.#column > 0) this.#column--;
          break;
        default:
          if (!isControl(byte) && !(termios.input(I.IUTF8) && isContinuation(byte))) this.#column++;
      }
      out.push(byte);
    }
    return out;
  }

  // ---- to the program

  /** Bytes that FIONREAD tells of: whole lines, or what there is. */
  get available(): number {
    if (!this.#canonical) return this.#input.length;
    return this.#lines === 0 ? 0 : this.#input.filter((byte) => (byte & EOF) === 0).length;
  }

  /** Whether a read would get something; `least`: for poll, VMIN counts where no time is set. */
  get readable(): boolean {
    if (this.#canonical) return this.#lines > 0;
    const least = this.termios.control(V.TIME) === 0 ? Math.max(1, this.termios.control(V.MIN)) : 1;
    return this.#input.length >= least;
  }

  /** Takes a line, or what there is; BLOCKED: nothing yet. `waited`: the time of VTIME is over. */
  read(target: Uint8Array, waited: boolean): number {
    if (this.#canonical) return this.#lines === 0 ? BLOCKED : this.#take(target);
    const least = this.termios.control(V.MIN),
      enough = Math.min(Math.max(1, least), target.length);
    if (this.#input.length >= enough) return this.#take(target);
    const timed = this.termios.control(V.TIME) > 0;
    if (least === 0 && !timed) return this.#take(target);
    if (waited && (least === 0 || this.#input.length > 0)) return this.#take(target);
    return BLOCKED;
  }

  /** ns that a read waits: from its beginning without VMIN, else from the last byte on; Infinity: until there is enough. */
  get patience(): number {
    const time = this.termios.control(V.TIME);
    if (this.#canonical || time === 0) return Infinity;
    return this.termios.control(V.MIN) > 0 && this.#input.length === 0 ? Infinity : time * 1e8;
  }
  /** Bytes that wait: when it grows, a read with VMIN and VTIME begins to wait anew. */
  get pending(): number {
    return this.#input.length;
  }

  #take(target: Uint8Array): number {
    let count = 0;
    while (count < target.length && this.#input.length > 0) {
      const byte = this.#input.shift()!;
      if ((byte & EOF) === 0) target[count++] = byte & 0xff;
      if ((byte & END) !== 0) {
        this.#lines--;
        return count;
      }
    }
    // A full buffer takes the end of the file behind it along, so that it does not look like one of its own
    if (this.#canonical && count > 0 && ((this.#input[0] ?? 0) & EOF) !== 0) {
      this.#input.shift();
      this.#lines--;
    }
    return count;
  }

  /** Other settings. What was typed of a line is there at once when there are no lines any more. */
  set(termios: Termios): void {
    const before = this.#canonical;
    this.termios = termios;
    if (before !== this.#canonical) {
      // All that waits is bytes from then on, or one line
      this.#input = [...this.#input, ...this.#line].map((byte) => ((byte & EOF) !== 0 ? 0 : byte & 0xff));
      this.#line = [];
      this.#lines = 0;
      if (this.#canonical && this.#input.length > 0) {
        this.#input[this.#input.length - 1] |= END;
        this.#lines = 1;
      }
    }
    if (!termios.input(I.IXON)) this.stopped = false;
  }

  flushInput(): void {
    this.#input = [];
    this.#line = [];
    this.#lines = 0;
  }
}
