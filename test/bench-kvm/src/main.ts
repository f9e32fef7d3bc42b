/** What the kvm backend costs on this machine: an exit, a kick. Prints JSON, and ends with status 1 when a bound is missed. */
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { checkKvm } from '@visorkit/backend-kvm';
import type { Summary } from './figures.js';
import { measureKick } from './kick.js';
import { measurePortIo } from './port-io.js';

function options() {
  try {
    const { values } = parseArgs({
      options: {
        rounds: { type: 'string', default: '101' },
        turns: { type: 'string', default: '1000' },
        kicks: { type: 'string', default: '201' },
        out: { type: 'string' },
      },
    });
    const [rounds, turns, kicks] = [values.rounds, values.turns, values.kicks].map(Number);
    if (![rounds, turns, kicks].every((count) => Number.isInteger(count) && count >= 1))
      throw new RangeError('--rounds, --turns and --kicks take whole numbers from 1 on.');
    return { rounds, turns, kicks, out: values.out };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exit(2);
  }
}

const { rounds, turns, kicks, out } = options();
const { usable, message } = checkKvm();
if (!usable) {
  process.stderr.write(`SKIPPED: ${message}\n`);
  process.exit(0);
}

const portIo = await measurePortIo(rounds, turns),
  kick = await measureKick(kicks);
const host = { processor: cpus()[0]?.model ?? '', cores: cpus().length, node: process.version, load: loadavg()[0] };
const text = `${JSON.stringify({ portIo, kick, host }, null, 2)}\n`;
if (out === undefined) process.stdout.write(text);
else writeFileSync(out, text);

const us = ({ median, least }: Summary): string =>
  `${(median / 1000).toFixed(2)} µs (best ${(least / 1000).toFixed(2)})`;
const { native, visorkit, ratio, processorRatio } = portIo;
process.stderr.write(
  `port I/O, wall: C ${us(native.wall)}, visorkit ${us(visorkit.wall)}, ratio ${ratio}; processor time: C ${us(native.processor)}, visorkit ${us(visorkit.processor)}, ratio ${processorRatio}\n`,
);
process.stderr.write(
  `kick: ${kick.delay.median.toFixed(2)} ms (least ${kick.delay.least.toFixed(2)}, most ${kick.delay.most.toFixed(2)})\n`,
);
// On a host with more to do than it has processors the wall's clock says little
const missed = [
  (host.load > host.cores ? processorRatio : ratio) > portIo.bound
    ? `The ratio of port I/O is more than ${portIo.bound}.`
    : '',
  kick.delay.median > kick.bound ? `The median of the kicks is more than ${kick.bound} ms.` : '',
].filter((line) => line !== '');
for (const line of missed) process.stderr.write(`${line}\n`);
process.exit(missed.length > 0 ? 1 : 0);
