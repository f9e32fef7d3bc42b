/** What plugins put into the ACPI namespace. */
import { fail, injectable } from '@visorkit/core';
import type { AcpiDevice, AcpiNamespace, AcpiResource } from '@visorkit/machine';
import {
  device,
  eisaId,
  integer,
  interrupt,
  ioPorts,
  memory,
  memory64,
  name,
  portRange,
  resources,
  string,
} from './aml.js';
import type { Aml } from './aml.js';

/** Names that the machine's own devices have (`dsdt.ts`). */
const OWN = /^(C[0-9A-F]{3}|PCI0|RTC|TIMR|KBD|MOU|COM\d|HPET)$/;
const NAME = /^[A-Z_][A-Z0-9_]{0,3}$/;
/** Three letters of a vendor that EISA knows, or four of one that ACPI knows, and four hexadecimal digits (6.1.5). */
const EISA_ID = /^[A-Z]{3}[0-9A-F]{4}$/;
const ACPI_ID = /^[A-Z0-9]{4}[0-9A-F]{4}$/;

@injectable()
export class AmlNamespace implements AcpiNamespace {
  readonly objects: Aml[] = [];
  readonly #names = new Set<string>();

  addDevice(described: AcpiDevice): void {
    const { name } = described;
    if (!NAME.test(name)) {
      fail(
        'ACPI_DEVICE',
        `An ACPI device cannot be called "${name}": one to four of A-Z, 0-9 and _, first no digit, are right.`,
        { name },
      );
    }
    if (OWN.test(name) || this.#names.has(name)) {
      fail('ACPI_DEVICE', `There is an ACPI device called "${name}" already; give this one another name.`, { name });
    }
    this.objects.push(deviceOf(described));
    this.#names.add(name);
  }

  addToSystemBus(aml: Aml): void {
    this.objects.push(aml);
  }
}

/** AML of a device. */
export function deviceOf(described: AcpiDevice): Aml {
  const { hardwareId, compatibleId, uid, resources: uses = [], coherent, objects = [] } = described;
  const body = [name('_HID', idOf(described.name, hardwareId))];
  if (compatibleId !== undefined) body.push(name('_CID', idOf(described.name, compatibleId)));
  if (uid !== undefined) body.push(name('_UID', integer(uid)));
  if (coherent !== undefined) body.push(name('_CCA', integer(coherent ? 1 : 0)));
  if (uses.length > 0) body.push(name('_CRS', resources(...uses.map(descriptorOf))));
  return device(described.name, ...body, ...objects);
}

function idOf(device: string, id: string): Aml {
  if (EISA_ID.test(id)) return eisaId(id);
  if (ACPI_ID.test(id)) return string(id);
  return fail(
    'ACPI_DEVICE',
    `The ACPI device "${device}" has the ID "${id}"; an EISA ID such as PNP0501 or an ACPI ID such as ACPI0007 is right.`,
    { device, id },
  );
}

function descriptorOf(use: AcpiResource): Aml {
  if ('ports' in use) {
    const [first, count] = use.ports;
    // The short descriptor counts to 255
    return count <= 0xff ? ioPorts(first, count) : portRange(first, first + count - 1, true);
  }
  if ('memory' in use) {
    const [gpa, length] = use.memory;
    return gpa + length <= 2 ** 32 ? memory(gpa, length, !use.readOnly) : memory64(gpa, length, !use.readOnly);
  }
  return interrupt(use.interrupt, use);
}
