/** The text screen in a machine. */
import { definePlugin, fail } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, GuestMemoryToken, MemoryMapToken, MemoryType, checkPluginOptions } from '@visorkit/machine';
import * as v from 'valibot';
import { TextScreenToken } from './text-screen.js';
import type { TextScreen } from './text-screen.js';
import { TEXT_MEMORY, VGA_PORTS, VgaText } from './vga-text.js';

export interface VgaTextOptions {
  /** Told of the screen when the machine is made: to watch it, or to look at it now and then. What it returns is called when the machine is disposed of, for a last look. */
  readonly show?: (screen: TextScreen) => void | (() => void);
}

export function vgaText(options: VgaTextOptions = {}): Plugin {
  checkPluginOptions('vgaText', options, { show: [v.function(), 'a function that gets the screen'] });
  return definePlugin({
    name: 'vga-text',
    uses: { addDevice: AddDeviceToken, screen: TextScreenToken, memory: GuestMemoryToken, map: MemoryMapToken },
    provides: [{ token: TextScreenToken, type: VgaText }],
    apply(host, { addDevice, screen, memory, map }) {
      const { gpa, size } = TEXT_MEMORY;
      if (!memory.contains(gpa, size))
        fail('VGA_MEMORY', `A text screen needs a machine with at least ${(gpa + size) / 1024} KiB of memory.`);
      map.reserve(gpa, size, MemoryType.RESERVED);
      addDevice(screen as VgaText, { ports: VGA_PORTS });
      const end = options.show?.(screen);
      if (end !== undefined) host.onDispose(end);
    },
  });
}
