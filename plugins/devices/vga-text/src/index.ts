/** The text screen of a VGA. */
export { paintScreen } from './paint.js';
export { vgaText } from './plugin.js';
export type { VgaTextOptions } from './plugin.js';
export { COLUMNS, ROWS, TextScreenToken } from './text-screen.js';
export type { Cursor, TextScreen } from './text-screen.js';
export { Transcript } from './transcript.js';
export { VgaText } from './vga-text.js';
export type { VgaTextState } from './vga-text.js';
