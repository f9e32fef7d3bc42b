/** The profile with its tables, and the plugin that adds it to a VM. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { OsProfilesToken, defineOsProfile } from '@visorkit/vmi';
import type { Column, Report } from '@visorkit/vmi';
import { FreebsdKernel } from './freebsd-kernel.js';

const text = (title: string): Column => ({ title });
const number = (title: string): Column => ({ title, kind: 'number' });
const address = (title: string): Column => ({ title, kind: 'address' });

export const FREEBSD_REPORTS: Readonly<Record<string, Report<FreebsdKernel>>> = {
  threads: {
    describe: 'threads of each process',
    columns: [number('PID'), text('NAME'), number('TID'), address('THREAD')],
    *rows(kernel, { pids }) {
      for (const { pid, name, address: proc } of kernel.processes())
        if (pids === undefined || pids.includes(pid))
          for (const { tid, address: thread } of kernel.threads(proc)) yield [pid, name, tid, thread];
    },
  },
  modules: {
    describe: 'the kernel and what is loaded into it',
    columns: [text('NAME'), address('BASE'), number('SIZE'), text('PATH')],
    *rows(kernel) {
      for (const { name, base, size, path } of kernel.modules()) yield [name, base, size, path];
    },
  },
  info: {
    describe: 'what the kernel says of itself',
    columns: [text('NAME'), text('VALUE')],
    *rows(kernel) {
      yield ['release', kernel.release];
      yield ['banner', kernel.banner];
      yield ['page tables', `${kernel.space.mode}, root at 0x${kernel.space.root.toString(16)}`];
      yield ['proc0', `at 0x${kernel.proc0.toString(16)}`];
      yield ['symbols', `${kernel.symbols.size}, from ${kernel.symbols.source}`];
      yield ['types', kernel.layout.source];
    },
  },
};

export const profile = defineOsProfile({
  name: 'freebsd',
  describe: 'FreeBSD for amd64: built-in offsets, or inferred ones; no profile file',
  find: (memory, known) => FreebsdKernel.find(memory, known),
  reports: FREEBSD_REPORTS,
});

/** Makes a VM's introspection (`VmiToken` of @visorkit/vmi) know FreeBSD. */
export function osFreebsd(): Plugin {
  return definePlugin({
    name: 'os-freebsd',
    uses: { profiles: OsProfilesToken },
    apply(host, { profiles }) {
      host.onDispose(profiles.add(profile));
    },
  });
}
