/**
 * What a VMCS of the hypervisor was last entered with. As long as neither its control and host fields have changed since, nor the machine's own controls, they need
 * neither be checked nor merged again: an entry compares, and copies what was merged then.
 */
import type { VmcsRegions } from '@visorkit/machine';

/** What else the merged controls depend on. */
export interface Circumstances {
  /** The hypervisor is in IA-32e mode. */
  readonly longMode: boolean;
  /** `VmcsRegions.changes`. */
  readonly changes: number;
  /** How often all EPT02 have been given back. */
  readonly drops: number;
}

export class Prepared {
  #valid = false;
  #longMode = false;
  #changes = 0;
  #drops = 0;

  /** `pages`: three pages in the format of a region, for the hypervisor's control and host fields, the machine's own controls, and the merged ones. */
  constructor(
    private readonly regions: VmcsRegions,
    readonly pages: readonly number[] = [regions.allocatePage(), regions.allocatePage(), regions.allocatePage()],
  ) {}

  /** Something that is not compared has changed. */
  forget(): void {
    this.#valid = false;
  }

  /** Everything is as it was. The machine's own VMCS is current. `vmcs12`: HPA of the hypervisor's. */
  holds(vmcs12: number, { longMode, changes, drops }: Circumstances): boolean {
    const { regions, pages } = this;
    return (
      this.#valid &&
      this.#longMode === longMode &&
      this.#changes === changes &&
      this.#drops === drops &&
      regions.same(vmcs12, pages[0], 'control-and-host') &&
      regions.same(regions.current, pages[1], 'control')
    );
  }

  /** The fields have passed their checks, and have been merged into vmcs02. The machine's own VMCS is still current. */
  keep(vmcs12: number, vmcs02: number, { longMode, changes, drops }: Circumstances): void {
    const { regions, pages } = this;
    regions.copy(pages[0], vmcs12, 'control-and-host');
    regions.copy(pages[1], regions.current, 'control');
    regions.copy(pages[2], vmcs02, 'control');
    this.#longMode = longMode;
    this.#changes = changes;
    this.#drops = drops;
    this.#valid = true;
  }

  /** The controls that were merged, once more. */
  use(vmcs02: number): void {
    this.regions.copy(vmcs02, this.pages[2], 'control');
  }
}
