/** A screen of characters, as others see it. */
import { token } from '@visorkit/core';
import type { Token } from '@visorkit/core';

export const COLUMNS = 80;
export const ROWS = 25;

export interface Cursor {
  /** From 0, downwards; beyond the screen where software hides it so. */
  readonly row: number;
  readonly column: number;
  readonly visible: boolean;
}

export interface TextScreen {
  /** The 25 rows of 80 characters, in Unicode. */
  rows(): string[];
  /** A copy of the 2000 cells: the character of code page 437 in bits 0 to 7, the attribute in bits 8 to 15. */
  cells(): Uint16Array;
  readonly cursor: Cursor;
  /**
   * Told after software moved the cursor or the screen, which most do after each character. The memory of the screen itself is plain RAM, and nobody is
   * told of writes there. Returns what ends it.
   */
  watch(listener: () => void): () => void;
}

export const TextScreenToken: Token<TextScreen> = token('text-screen', '@visorkit/vga-text');
