/**
 * A port that ends the run: whatever value is written, the machine stops with exit status (value << 1) | 1, so that no
 * value gives status 0. Test programs for virtual machines know it from QEMU as isa-debug-exit.
 */
import type { Device, PortDevice } from '@visorkit/machine';

export const DEBUG_EXIT_PORT = 0xf4;
export const DEBUG_EXIT_PORTS = 4;

/** Four ports; accesses of 1, 2 and 4 bytes. It keeps no state. */
export class IsaDebugExit implements PortDevice, Device<null> {
  readonly name = 'isa-debug-exit';

  /** @param exit told the exit status, 8 bits as a process has them, and the value that was written */
  constructor(private readonly exit: (status: number, value: number) => void) {}

  readPort(): number {
    return 0;
  }

  writePort(_port: number, _size: 1 | 2 | 4, value: number): void {
    this.exit(((value << 1) | 1) & 0xff, value);
  }

  reset(): void {}

  save(): null {
    return null;
  }

  restore(): void {}
}
