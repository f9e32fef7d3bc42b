/**
 * LibVMI's libvmi.conf: what is known of guests, by their names. In the file stand blocks, `name { key = value; … }`; in the string that LibVMI's programs take, one block
 * alone, with or without a name.
 */
import { fail, instead } from '@visorkit/core';

export interface LibvmiDomain {
  /** Empty for a block without one. */
  readonly name: string;
  /** Where its block begins; from 1 on. */
  readonly line: number;
  /** All its keys but those of `files`, fit for `KnownOfGuest.values`: numbers as bigint, `ostype` and `pagemode` as text. */
  readonly values: Readonly<Record<string, bigint | string>>;
  /** Paths, as they stand there. */
  readonly files: { readonly [key in LibvmiFile]?: string };
}

export type LibvmiFile = 'sysmap' | 'rekall_profile' | 'volatility_ist';

type Kind = 'number' | 'file' | readonly string[];

/** Every key of LibVMI (config/lexicon.l), and what it takes. */
const KEYS: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ['ostype', ['Windows', 'Linux', 'FreeBSD', 'OSX']],
  [
    'pagemode',
    [
      'VMI_PM_LEGACY',
      'VMI_PM_PAE',
      'VMI_PM_IA32E',
      'VMI_PM_AARCH32',
      'VMI_PM_AARCH64',
      'VMI_PM_EPT_4L',
      'VMI_PM_EPT_5L',
    ],
  ],
  ...['sysmap', 'rekall_profile', 'volatility_ist'].map((key): [string, Kind] => [key, 'file']),
  ...[
    'kpgd',
    ...['tasks', 'mm', 'pid', 'name', 'pgd', 'addr', 'init_task', 'kaslr'].map((key) => `linux_${key}`),
    ...['ntoskrnl', 'ntoskrnl_va', 'tasks', 'pdbase', 'pid', 'pname', 'kdvb', 'kdbg', 'kpcr', 'sysproc'].map(
      (key) => `win_${key}`,
    ),
    ...['name', 'pid', 'vmspace', 'pmap', 'pgd'].map((key) => `freebsd_${key}`),
    ...['ttbr0', 'ttbr1'].flatMap((table) => [`aarch64_${table}_va_width`, `aarch64_${table}_granule_size`]),
  ].map((key): [string, Kind] => [key, 'number']),
]);
const LONGEST = 1 << 20;
/** A comment, a text in quotes, a mark, or a word; white space before it. */
const TOKEN = /\s*(?:#[^\n]*|"([^"\n]*)"|([{}=;])|([^\s{}=;"#]+)|(["]))/y;

/** Whether text begins as one. */
export function isLibvmiConf(start: string): boolean {
  return /^(?:\s*#[^\n]*\n)*\s*(?:"[^"\n]*"|[\w.-]+)?\s*\{\s*(?:#[^\n]*\n\s*)*(?:\w+\s*=|\})/.test(start);
}

/** Reads a libvmi.conf, or the string form. Throws `VMI_CONF` with the line, and what may be meant. */
export function parseLibvmiConf(text: string, { source = 'libvmi.conf' }: { source?: string } = {}): LibvmiDomain[] {
  const tokens = new Tokens(text, source);
  const domains: LibvmiDomain[] = [];
  const names = new Set<string>();
  for (let token = tokens.next(); token !== undefined; token = tokens.next()) {
    const { line } = token;
    let name = '';
    if (token.kind !== '{') {
      if (token.kind !== 'word' && token.kind !== 'text') tokens.wrong(token, 'the name of a guest, or {');
      name = token.text;
      tokens.need('{', 'the block of a guest begins with {');
    }
    if (names.has(name)) tokens.refuse(line, `there are two blocks ${name === '' ? 'without a name' : `"${name}"`}`);
    names.add(name);
    domains.push(readBlock(tokens, name, line));
  }
  if (domains.length === 0) tokens.refuse(1, 'it has no block; name { key = value; } is one');
  return domains;
}

function readBlock(tokens: Tokens, name: string, line: number): LibvmiDomain {
  const values: Record<string, bigint | string> = {};
  const files: { [key in LibvmiFile]?: string } = {};
  for (;;) {
    const key = tokens.next() ?? tokens.refuse(line, `the block ${name} { has no }`);
    if (key.kind === '}') return { name, line, values, files };
    if (key.kind === ';') continue;
    if (key.kind !== 'word') tokens.wrong(key, 'a key, or }');
    const kind = KEYS.get(key.text);
    if (kind === undefined) {
      const hint = instead(key.text, [...KEYS.keys()]);
      return tokens.refuse(key.line, `there is no key "${key.text}"${hint === '' ? '' : hint.replace(/\?$/, '')}`);
    }
    if (Object.hasOwn(values, key.text) || Object.hasOwn(files, key.text))
      tokens.refuse(key.line, `"${key.text}" is there twice`);
    tokens.need('=', `a value is given with =, as in ${key.text} = …`);
    const value = tokens.next() ?? tokens.refuse(key.line, `"${key.text}" has no value`);
    if (value.kind !== 'word' && value.kind !== 'text') tokens.wrong(value, `the value of "${key.text}"`);
    tokens.need(';', 'a value ends with ;');
    if (kind === 'file') files[key.text as LibvmiFile] = value.text;
    else
      values[key.text] =
        kind === 'number' ? numberOf(tokens, key.text, value) : choiceOf(tokens, key.text, value, kind);
  }
}

function numberOf(tokens: Tokens, key: string, { text, line }: Token): bigint {
  const number = /^(?:0x[0-9a-f]{1,16}|\d{1,20})$/i.test(text) ? BigInt(text) : -1n;
  if (number < 0n || number >= 1n << 64n)
    return tokens.refuse(line, `"${key}" is "${text}"; a number of up to 64 bits is right, as 0x1b8 or 440`);
  return number;
}

function choiceOf(tokens: Tokens, key: string, { text, line }: Token, choices: readonly string[]): string {
  const found = choices.find((choice) => choice === text);
  return found ?? tokens.refuse(line, `"${key}" is "${text}"; ${choices.join(', ')} are right`);
}

interface Token {
  readonly kind: '{' | '}' | '=' | ';' | 'word' | 'text';
  readonly text: string;
  readonly line: number;
}

/** What a text is made of, one after the other; undefined at the end. */
class Tokens {
  #at = 0;
  #line = 1;
  readonly #end: number;

  constructor(
    private readonly text: string,
    private readonly source: string,
  ) {
    if (text.length > LONGEST) this.refuse(1, `it has ${text.length} characters; up to ${LONGEST} are read`);
    this.#end = text.trimEnd().length;
  }

  next(): Token | undefined {
    while (this.#at < this.#end) {
      TOKEN.lastIndex = this.#at;
      const [whole, text, mark, word, quote] = TOKEN.exec(this.text) ?? this.refuse(this.#line, 'it cannot be read');
      this.#at += whole.length;
      for (const letter of whole) if (letter === '\n') this.#line++;
      const line = this.#line;
      if (quote !== undefined) this.refuse(line, 'a text has no second " on its line');
      if (mark !== undefined) return { kind: mark as '{', text: mark, line };
      if (text !== undefined) return { kind: 'text', text, line };
      if (word !== undefined) return { kind: 'word', text: word, line };
    }
    return undefined;
  }

  need(kind: Token['kind'], why: string): void {
    const line = this.#line;
    const token = this.next();
    if (token?.kind !== kind)
      this.refuse(line, `${why}${token === undefined ? ', and here it ends' : `; "${token.text}" stands there`}`);
  }

  wrong({ text, line }: Token, right: string): never {
    return this.refuse(line, `"${text}" stands where ${right} would be right`);
  }

  refuse(line: number, why: string): never {
    return fail('VMI_CONF', `${this.source}, line ${line}: ${why}.`, { line });
  }
}
