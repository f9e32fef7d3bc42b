/** Disassembly in reports, by iced-x86. */
import { DisassemblerToken } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { IcedDisassembler } from './iced.js';

export { IcedDisassembler };

/** The plugin that gives a VM its disassembler. */
export function disassembler(): Plugin {
  return {
    name: 'disassembler',
    provides: [DisassemblerToken],
    apply: (host) => host.services.provide(DisassemblerToken, new IcedDisassembler()),
  };
}
