/** What a page's worker would run: the addition, and a plugin class that the container makes, which `kernel` and decorators are asked of. */
import { VmxBackend } from '@visorkit/backend-vmx';
import { BackendToken, Vmm, inject, injectable } from '@visorkit/core';
import type { Backend } from '@visorkit/core';
import { addition } from '@visorkit/hello/addition';

@injectable()
class Decorated {
  static readonly pluginName = 'decorated';
  static readonly kernel = '>=0.1 <9';
  constructor(@inject(BackendToken) readonly backend: Backend) {}
  apply(): void {
    made = this.backend.name;
  }
}
let made = '';

/** `processor` is what VmxBackend takes. */
export async function page(processor?: URL | Uint8Array<ArrayBuffer>): Promise<unknown> {
  let printed = '';
  const exits: string[] = [];
  await using vmm = addition(
    new VmxBackend({ processor }),
    (text) => (printed += text),
    (line) => exits.push(line),
  );
  const { reason } = await vmm.run();
  await using other = new Vmm({ backend: new VmxBackend({ processor }), memory: 65536, plugins: [Decorated] });
  await other.create();
  return { printed, exits, reason, made };
}
