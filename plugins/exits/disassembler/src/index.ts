/** Disassembly in reports, by iced-x86. */
import { DisassemblerToken, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { IcedDisassembler } from './iced.js';

export { IcedDisassembler };

/** The plugin that gives a VM its disassembler. */
export function disassembler(): Plugin {
  return definePlugin({
    name: 'disassembler',
    provides: [{ token: DisassemblerToken, make: () => new IcedDisassembler() }],
  });
}
