/** Values of command-line options: checked where they are read, with a sentence that says what would be right. */
import { fail, parseSize } from '@visorkit/core';

/** A whole number from `least` to `most`. */
export function whole(option: string, text: string, least: number, most: number): number {
  const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    fail('OPTION_VALUE', `${option} takes a whole number from ${least} to ${most}, not "${text}".`, {
      option,
      value: text,
    });
  }
  return value;
}

/** `on`, `off`, or after how many executions of a block its code is translated; `verify`, which may have such a number behind a colon. */
export function executions(option: string, text: string): boolean | number | 'verify' | `verify:${number}` {
  if (text === 'on' || text === 'off') return text === 'on';
  if (text === 'verify') return text;
  const [, verify, count] = /^(verify:)?(.*)$/s.exec(text)!;
  if (/^[a-z]/i.test(count!))
    fail('OPTION_VALUE', `${option} takes on, off, verify, or a whole number from 1 to 1000000, not "${text}".`, {
      option,
      value: text,
    });
  const threshold = whole(option, count!, 1, 1_000_000);
  return verify === undefined ? threshold : `verify:${threshold}`;
}

/** A positive number of seconds. */
export function seconds(option: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value <= 0) {
    fail('OPTION_VALUE', `${option} takes a positive number of seconds, not "${text}".`, { option, value: text });
  }
  return value;
}

/** One of a few words. */
export function word<Word extends string>(option: string, text: string, words: readonly Word[]): Word {
  if (!(words as readonly string[]).includes(text)) {
    fail('OPTION_VALUE', `${option} takes one of ${words.join(', ')}, not "${text}".`, { option, value: text });
  }
  return text as Word;
}

/** An amount of memory. */
export function size(option: string, text: string): number {
  return parseSize(text, option);
}
