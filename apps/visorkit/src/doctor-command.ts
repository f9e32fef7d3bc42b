/** `visorkit doctor`: what this machine can do, and what is missing for the rest. */
import { spawnSync } from 'node:child_process';
import { totalmem } from 'node:os';
import type { BackendDefinition } from '@visorkit/core';
import { DEFAULT_BACKEND, ownBackend, ownBackends } from './backends.js';
import { writeAll } from './serial.js';

interface Finding {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** Whether visorkit cannot work without it. */
  readonly required: boolean;
}

/** Oldest Node.js that everything runs on. */
const OLDEST_NODE = [20, 19] as const;

function node(): Finding {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const ok = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
  return {
    name: 'Node.js',
    ok,
    required: true,
    detail: `${process.versions.node}${ok ? '' : `; ${OLDEST_NODE.join('.')} or newer is needed`}`,
  };
}

async function backend(own: string): Promise<Finding> {
  const base = { name: `${own} backend`, required: own === DEFAULT_BACKEND };
  let definition: BackendDefinition;
  try {
    definition = await ownBackend(own);
  } catch (error) {
    return { ...base, ok: false, detail: `its parts cannot be loaded: ${(error as Error).message}` };
  }
  try {
    const { usable, message } = (await definition.check?.()) ?? { usable: true, message: `${definition.describe};` };
    if (!usable) return { ...base, ok: false, detail: message };
    const { capabilities } = await definition.create({});
    return { ...base, ok: true, detail: `${message} ${[...capabilities].sort().join(', ')}` };
  } catch (error) {
    return { ...base, ok: false, detail: (error as Error).message };
  }
}

function program(name: string, use: string): Finding {
  const found = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' });
  const ok = found.status === 0;
  return { name, ok, required: false, detail: ok ? found.stdout.trim() : `not installed; ${use}` };
}

export async function doctorCommand(flags: { json?: boolean }): Promise<number> {
  const findings: Finding[] = [
    node(),
    ...(await Promise.all(ownBackends().map(backend))),
    { name: 'memory', ok: totalmem() > 1 << 30, required: false, detail: `${Math.round(totalmem() / 2 ** 20)} MiB` },
    program('apt-get', 'needed to fetch Debian kernels for the demonstration'),
    program('gcc', 'needed for the comparison with the real processor'),
    program('qemu-system-x86_64', 'a peer in the benchmarks'),
    program('bochs', 'a peer in the benchmarks'),
  ];
  if (flags.json === true) writeAll(1, Buffer.from(`${JSON.stringify(findings, null, 2)}\n`));
  else {
    const width = Math.max(...findings.map((finding) => finding.name.length));
    for (const { name, ok, required, detail } of findings)
      writeAll(1, Buffer.from(`${ok ? 'yes' : required ? 'NO ' : 'no '}  ${name.padEnd(width)}  ${detail}\n`));
  }
  return findings.some((finding) => finding.required && !finding.ok) ? 1 : 0;
}
