/** What the kvm backend costs on this machine: an exit, a kick. Prints JSON, and ends with status 1 when a bound is missed. */
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { checkKvm } from '@visorkit/backend-kvm';
import type { Summary } from './figures.js';
import { measureKick } from './kick.js';
import { measurePortIo } from './port-io.js';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '101' }, turns: { type: 'string', default: '1000' }, kicks: { type: 'string', default: '201' }, out: { type: 'string' } } });
const rounds = Number(values.rounds), turns = Number(values.turns), kicks = Number(values.kicks);
if (!(rounds >= 1) || !(turns >= 1) || !(kicks >= 1)) throw new RangeError('--rounds, --turns and --kicks are whole numbers from 1 on.');
const { usable, message } = checkKvm();
if (!usable) {
  process.stderr.write(`SKIPPED: ${message}\n`);
  process.exit(0);
}

const portIo = await measurePortIo(rounds, turns), kick = await measureKick(kicks);
const host = { processor: cpus()[0]?.model ?? '', cores: cpus().length, node: process.version, load: loadavg()[0] };
const text = `${JSON.stringify({ portIo, kick, host }, null, 2)}\n`;
if (values.out === undefined) process.stdout.write(text);
else writeFileSync(values.out, text);

const us = ({ median, least }: Summary): string => `${(median / 1000).toFixed(2)} µs (best ${(least / 1000).toFixed(2)})`;
const { native, visorkit, ratio, processorRatio } = portIo;
process.stderr.write(`port I/O, wall: C ${us(native.wall)}, visorkit ${us(visorkit.wall)}, ratio ${ratio}; processor time: C ${us(native.processor)}, visorkit ${us(visorkit.processor)}, ratio ${processorRatio}\n`);
process.stderr.write(`kick: ${kick.delay.median.toFixed(2)} ms (least ${kick.delay.least.toFixed(2)}, most ${kick.delay.most.toFixed(2)})\n`);
// On a host with more to do than it has processors the wall's clock says little
const missed = [
  (host.load > host.cores ? processorRatio : ratio) > portIo.bound ? `The ratio of port I/O is more than ${portIo.bound}.` : '',
  kick.delay.median > kick.bound ? `The median of the kicks is more than ${kick.bound} ms.` : '',
].filter((line) => line !== '');
for (const line of missed) process.stderr.write(`${line}\n`);
process.exit(missed.length > 0 ? 1 : 0);
