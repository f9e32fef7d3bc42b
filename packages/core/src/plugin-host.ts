/** What a plugin is given of its VM. */
import type { Backend } from './backend.js';
import type { Composition } from './composition.js';
import type { DisposalStack } from './disposal.js';
import { fail } from './errors.js';
import { outcomes } from './exit.js';
import { heldControls } from './held-controls.js';
import { hooksOf } from './hooks.js';
import type { KernelHooks } from './hooks.js';
import type { Logger } from './logger.js';
import type { Capability } from './names.js';
import { refuseMissing } from './plugin-list.js';
import type { PluginHost } from './plugin.js';
import type { SavedPart } from './saving.js';
import type { BackendVcpu } from './vcpu.js';

/** The VM. */
export interface HostParts {
  readonly composition: Composition;
  readonly backend: Backend;
  readonly hooks: KernelHooks;
  readonly vcpus: readonly BackendVcpu[];
  readonly logger: Logger;
  /** Where what plugins keep goes, by their names. */
  readonly parts: Map<string, SavedPart>;
  readonly disposal: DisposalStack;
}

/** The host of the plugin of that name. `make`: makes its classes. */
export function pluginHost(name: string, make: PluginHost['make'], vmm: HostParts): PluginHost {
  const { backend, composition, vcpus, parts } = vmm;
  const { controls, cpus, plugins } = composition;
  const { options } = plugins.find((plugin) => plugin.name === name)!;
  const { alternatives = [] } = composition.options;
  return Object.freeze({
    name,
    hooks: hooksOf(vmm.hooks, name),
    vcpus,
    require: (capabilities: readonly Capability[], what = name) => {
      const lacking = capabilities.filter((capability) => !backend.capabilities.has(capability));
      refuseMissing(new Map(lacking.map((capability) => [capability, [what]])), backend, alternatives);
    },
    controls: heldControls(controls, name, cpus, (vcpu) => vcpus[vcpu].setControls(controls.of(vcpu))),
    logger: vmm.logger.child(name),
    options,
    outcomes,
    make,
    onSave: (part: SavedPart) => {
      if (parts.has(name)) {
        fail('PLUGIN_PARTS', `Plugin ${name} has called onSave twice; one part holds all that it keeps.`, {
          plugin: name,
        });
      }
      parts.set(name, part);
    },
    onDispose: (undo: () => void | Promise<void>) => vmm.disposal.add(name, undo),
  });
}
