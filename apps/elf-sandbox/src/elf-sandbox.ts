/**
 * Can an archive harm the machine on which it is unpacked? Debian's busybox lists, unpacks and hashes the files of a
 * folder, each step in a virtual machine of its own that sees that folder, read-only, and nothing else.
 *
 * `npm start -- [--backend vmx|kvm] [FOLDER]`; this folder by default.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { definePlugin } from '@visorkit/core';
import { fetchDebianPackage } from '@visorkit/guests';
import { SystemCallTableToken } from '@visorkit/linux-abi';
import { runElf } from '@visorkit/run-elf';

const {
  values: { backend },
  positionals,
} = parseArgs({ options: { backend: { type: 'string', default: 'vmx' } }, allowPositionals: true });
const folder = resolve(positionals[0] ?? '.');
const busybox = `${(await fetchDebianPackage('busybox-static')).root}/bin/busybox`;

/** A plugin sees the machine and the table of system calls: this one tells what a program tried in vain. */
const curious = definePlugin({
  name: 'curious',
  uses: { table: SystemCallTableToken },
  apply({ hooks }, { table }) {
    hooks.paused.tap(() => {
      for (const { name, count } of table.missed())
        console.log(`   it tried ${name} ${count} times, which is not served`);
    });
  },
});

for (const args of [
  ['ls', '-A'],
  ['du', '-s', '.'],
  ['sh', '-c', 'echo no > made'],
  ['find', '.', '-type', 'f', '-name', '*.json'],
  ['sha256sum', 'package.json'],
  ['wget', 'http://example.org/'],
]) {
  console.log(`$ ${args.join(' ')}`);
  const { stdout, stderr, status, systemCalls, report } = await runElf({
    file: busybox,
    argv0: 'busybox',
    args,
    backend: backend as 'vmx' | 'kvm',
    plugins: [curious],
    timeout: 20,
    memory: '64M',
    cwd: '/data',
    mounts: [{ host: folder, guest: '/data', readOnly: true }],
  });
  process.stdout.write(Buffer.concat([stdout, stderr]));
  console.log(`   status ${status}, ${systemCalls} system calls, ${Math.round(report.wallSeconds * 1000)} ms`);
}
