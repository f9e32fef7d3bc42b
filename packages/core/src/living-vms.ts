/** The VMs of this process: which there are, and a call when one comes or goes. */
import type { Undo } from './hook.js';
import type { Vmm } from './vmm.js';

/** A VM has come (it has memory and vCPUs, and nothing has run yet) or is going (it can still be looked at). */
export interface VmChange {
  readonly kind: 'created' | 'disposed';
  readonly vm: Vmm;
}

export type VmWatcher = (change: VmChange) => void;

/** What all copies of this package in the process share. */
interface Shared {
  ids: number;
  readonly vms: Set<Vmm>;
  readonly watchers: Set<{ readonly call: VmWatcher }>;
}

const KEY = Symbol.for('visorkit:living-vms');
const place = globalThis as { [KEY]?: Shared };
const shared = (place[KEY] ??= { ids: 0, vms: new Set(), watchers: new Set() });

/** The VMs that exist now, in the order in which they were created. */
export function livingVms(): readonly Vmm[] {
  return [...shared.vms];
}

/** Calls `watcher` whenever a VM of this process is created or disposed of. What it throws is logged by that VM. */
export function watchVms(watcher: VmWatcher): Undo {
  const entry = { call: watcher };
  shared.watchers.add(entry);
  return () => void shared.watchers.delete(entry);
}

/** The VMs' own side. */
export const living = {
  nextId: (): number => ++shared.ids,
  add(vm: Vmm): void {
    shared.vms.add(vm);
    tell({ kind: 'created', vm });
  },
  remove(vm: Vmm): void {
    if (shared.vms.delete(vm)) tell({ kind: 'disposed', vm });
  },
};

function tell(change: VmChange): void {
  for (const { call } of [...shared.watchers]) {
    try {
      call(change);
    } catch (error) {
      change.vm.logger.error(
        `a watcher of VMs failed when VM ${change.vm.id} was ${change.kind}: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
}
