/** `visorkit doctor`: what this machine can do, and what is missing for the rest. */
import { spawnSync } from 'node:child_process';
import { totalmem } from 'node:os';
import { VmxBackend } from '@visorkit/backend-vmx';
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

async function vmx(): Promise<Finding> {
  const backend = new VmxBackend();
  try {
    await backend.open({
      memory: 1 << 20,
      cpus: 1,
      time: 'virtual',
      controls: { pin: 0, primary: 0, secondary: 0, exit: 0, entry: 0 } as never,
    });
    return {
      name: 'vmx backend',
      ok: true,
      required: true,
      detail: `software VT-x and EPT; ${[...backend.capabilities].sort().join(', ')}`,
    };
  } catch (error) {
    return { name: 'vmx backend', ok: false, required: true, detail: (error as Error).message };
  } finally {
    await Promise.resolve(backend.dispose()).catch(() => {});
  }
}

async function kvm(): Promise<Finding> {
  const base = { name: 'kvm backend', required: false };
  try {
    const { checkKvm, kvm } = await import('@visorkit/backend-kvm');
    const { usable, message } = checkKvm();
    if (!usable) return { ...base, ok: false, detail: message };
    return { ...base, ok: true, detail: `${message} ${[...kvm().capabilities].sort().join(', ')}` };
  } catch (error) {
    return { ...base, ok: false, detail: `its parts cannot be loaded: ${(error as Error).message}` };
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
    await vmx(),
    await kvm(),
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
