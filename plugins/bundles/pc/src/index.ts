/** A standard PC. */
export * from './pc-platform.js';
