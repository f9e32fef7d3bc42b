/** What a VM is made of, checked before anything exists. */
import * as v from 'valibot';
import { BackendToken } from './backend.js';
import type { Backend } from './backend.js';
import { checkFields } from './check.js';
import type { Fields } from './check.js';
import { ControlBook } from './controls.js';
import { fail } from './errors.js';
import type { LogSink } from './logger.js';
import { ClockToken, GuestMemoryToken, MachineConfigToken, SystemControlToken, WakeupToken } from './platform.js';
import { checkCapabilities, checkCapabilityNames, checkServices, listPlugins } from './plugin-list.js';
import type { ListedPlugin, PluginEntry } from './plugin-list.js';

export interface VmmOptions {
  readonly backend: Backend;
  /** RAM in bytes, whole 4096-byte pages. */
  readonly memory: number;
  /** 1 to 255; 1 by default. */
  readonly cpus?: number;
  /** `real` by default. */
  readonly time?: 'virtual' | 'real';
  readonly plugins?: readonly PluginEntry[];
  /** What happens when the guest asks for a reset: the run ends (default), or the machine starts again. */
  readonly onReset?: 'stop' | 'restart';
  readonly log?: LogSink;
  /** Other backends the caller knows of, so that the error about a missing capability can name a backend that has it. */
  readonly alternatives?: readonly Pick<Backend, 'name' | 'capabilities'>[];
  /** Plugins the caller knows of but has left out, so that the report of an exit that nobody handled can name one that handles it. */
  readonly otherPlugins?: readonly PluginEntry[];
}

const isObject = v.custom<object>((value) => typeof value === 'object' && value !== null);
const isFunction = v.custom<() => void>((value) => typeof value === 'function');

/** What each option must be. A caller that accepts further options adds fields for them. */
export const VMM_FIELDS: Fields = {
  backend: [
    v.custom((value) => typeof (value as { createVcpu?: unknown } | null)?.createVcpu === 'function'),
    'a backend, such as new VmxBackend()',
  ],
  memory: [v.number(), 'a number of bytes'],
  cpus: [v.number(), 'a whole number from 1 to 255'],
  time: [v.picklist(['virtual', 'real']), '"virtual" or "real"'],
  plugins: [v.array(v.unknown()), 'a list of plugins'],
  onReset: [v.picklist(['stop', 'restart']), '"stop" or "restart"'],
  log: [isFunction, 'a function that is given level, source and message'],
  alternatives: [v.array(isObject), 'a list of backends'],
  otherPlugins: [v.array(v.unknown()), 'a list of plugins'],
};

/** Checks the keys and values of options. Throws `COMPOSE_OPTIONS`. */
export function checkVmmOptions(options: object, fields: Fields = VMM_FIELDS): void {
  if (typeof options !== 'object' || options === null) {
    fail('COMPOSE_OPTIONS', `compose() takes an object with a backend and memory, not ${String(options)}.`);
  }
  checkFields(options, fields, { code: 'COMPOSE_OPTIONS', kind: 'an option of compose', where: 'In compose(): ' });
  for (const required of ['backend', 'memory'] as const) {
    if ((options as Partial<VmmOptions>)[required] === undefined) {
      fail('COMPOSE_OPTIONS', `In compose(): "${required}" is missing; it must be ${fields[required][1]}.`);
    }
  }
}

/** A checked composition. */
export interface Composition {
  readonly options: VmmOptions;
  readonly cpus: number;
  readonly time: 'virtual' | 'real';
  readonly plugins: readonly ListedPlugin[];
  readonly controls: ControlBook;
}

/** Services the kernel provides before any plugin is applied. */
const KERNEL_SERVICES = [
  BackendToken,
  ClockToken,
  GuestMemoryToken,
  MachineConfigToken,
  SystemControlToken,
  WakeupToken,
] as const;

/** Throws when the plugins do not fit together or the backend cannot serve them. */
export function checkComposition(options: VmmOptions): Composition {
  checkVmmOptions(options);
  const { backend, memory, cpus = 1, time = 'real' } = options;
  if (!Number.isSafeInteger(memory) || memory < 4096 || memory % 4096 !== 0) {
    fail('MEMORY_SIZE', `Guest memory must be whole 4096-byte pages, at least one, not ${String(memory)} bytes.`, {
      memory,
    });
  }
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > 255) {
    fail('CPU_COUNT', `A VM has 1 to 255 CPUs, not ${String(cpus)}.`, { cpus });
  }
  const listed = listPlugins([...(backend.plugins ?? []), ...(options.plugins ?? [])]);
  const { alternatives = [] } = options;
  checkCapabilityNames(listed, [backend, ...alternatives]);
  const plugins = listed.filter(({ declaration }) =>
    (declaration.appliesTo ?? []).every((capability) => backend.capabilities.has(capability)),
  );
  checkCapabilities(plugins, backend, alternatives);
  const needs = plugins.map(({ name, declaration }) => ({
    name,
    ...(declaration.needs && { needs: declaration.needs }),
  }));
  const controls = new ControlBook(backend.controls, backend.name, cpus, needs);
  checkServices(plugins, new Set<symbol>([...KERNEL_SERVICES, ...(backend.provides ?? [])]));
  return { options, cpus, time, plugins, controls };
}
