/** SeaBIOS of Debian's package, started at the reset vector. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fetchDebianPackage } from '@visorkit/guests';
import { beforeAll, describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, boot, find, titled } from './boots.js';
import type { Boot } from './boots.js';

const found = await find(() => fetchDebianPackage('seabios'));
const MENU = 'Press ESC for boot menu';

describe.skipIf(found.missing !== '')(titled('SeaBIOS', found), () => {
  let run: Boot;
  beforeAll(async () => {
    run = await boot({ image: readFileSync(join(found.value.root, 'usr/share/seabios/bios-256k.bin')) }, 50e6);
  }, BOOT_TIMEOUT);

  it('shows its boot menu text on the serial port', () => {
    expect(run.output).toContain('SeaBIOS (version');
    expect(run.output).toContain(MENU);
  });

  it('tells on port 0x402 what it does, to the boot menu', () => {
    expect(run.debug).toContain('SeaBIOS (version');
    expect(run.debug).toContain(MENU);
  });
});
