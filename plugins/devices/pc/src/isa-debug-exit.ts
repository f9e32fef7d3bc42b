/**
 * A port that ends the run: whatever value is written, the machine stops with exit status (value << 1) | 1, so that no
 * value gives status 0. Test programs for virtual machines know it from QEMU as isa-debug-exit.
 */
import { inject, injectable, token } from '@visorkit/core';
import type { Token } from '@visorkit/core';
import { SystemControlToken } from '@visorkit/machine';
import type { Device, PortDevice, SystemControl } from '@visorkit/machine';
import * as v from 'valibot';

export const DEBUG_EXIT_PORT = 0xf4;
export const DEBUG_EXIT_PORTS = 4;

export interface IsaDebugExitSettings {
  /** First of its four ports. */
  readonly port: number;
}

export const IsaDebugExitSettingsToken: Token<IsaDebugExitSettings> = token('isa-debug-exit-settings');

/** Four ports; accesses of 1, 2 and 4 bytes. It keeps no state. */
@injectable()
export class IsaDebugExit implements PortDevice, Device<null> {
  readonly name = 'isa-debug-exit';
  readonly schema = v.null();

  constructor(
    @inject(IsaDebugExitSettingsToken) private readonly settings: IsaDebugExitSettings,
    @inject(SystemControlToken) private readonly system: Pick<SystemControl, 'exit'>,
  ) {}

  readPort(): number {
    return 0;
  }

  writePort(_port: number, _size: 1 | 2 | 4, value: number): void {
    const status = ((value << 1) | 1) & 0xff; // 8 bits, as a process has them
    this.system.exit(status, `the guest wrote ${value} to the debug exit port 0x${this.settings.port.toString(16)}`);
  }

  reset(): void {}

  save(): null {
    return null;
  }

  restore(): void {}
}
