/**
 * Debian's unmodified i386 kernel: 32-bit paging without PAE, the 32-bit boot protocol, 32-bit programs. Two thirds of its way are
 * left out: its own tests of its cryptography (3.1 thousand million instructions) and the search for ISA cards with its long delays.
 */
import { readFileSync } from 'node:fs';
import { GUEST_READY, parseChecks, programsScript } from '@visorkit/guests';
import { beforeAll, describe, expect, it } from 'vitest';
import { BOOT_TIMEOUT, POWERED_OFF, boot, checkNames, complaints, findDebianGuest, titled } from './boots.js';
import type { Boot } from './boots.js';

const found = await findDebianGuest('i386');

describe.skipIf(found.missing !== '')(titled('Debian i386', found), () => {
  let run: Boot;
  beforeAll(async () => {
    const { kernel, initramfs } = found.value;
    run = await boot({
      image: readFileSync(kernel),
      mode: 'programs',
      initramfs,
      append: 'cryptomgr.notests noisapnp',
    });
  }, BOOT_TIMEOUT);

  it('boots, runs programs, and powers off', () => {
    expect(run.report).toMatchObject(POWERED_OFF);
    expect(run.output).toMatch(/Linux version .*-686 /);
    expect(run.output).toContain(GUEST_READY);
    expect(run.output).toMatch(/^CHECKS ok/m);
  });

  it.each(checkNames(programsScript()))('check %s', (name) => {
    expect(parseChecks(run.output).find((check) => check.name === name)).toMatchObject({ ok: true });
  });

  it('complains of nothing in its log', () => {
    expect(complaints(run.output)).toEqual([]);
  });

  it('honours write protection in supervisor mode', () => {
    expect(run.output).toMatch(/honours the WP bit even in supervisor mode\.\.\.Ok/);
  });
});
