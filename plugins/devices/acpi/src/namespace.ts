/** What plugins put into the ACPI namespace. */
import { injectable } from '@visorkit/core';
import type { AcpiNamespace } from '@visorkit/machine';
import type { Aml } from './aml.js';

@injectable()
export class AmlNamespace implements AcpiNamespace {
  readonly objects: Aml[] = [];

  addToSystemBus(aml: Aml): void {
    this.objects.push(aml);
  }
}
