/** A PCI device made with the frame's toolkit, as a guest finds it, places it, and takes its interrupts in every way there is. */
import { apic } from '@visorkit/apic';
import { definePlugin, inject, injectable } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { pci } from '@visorkit/devices-pc';
import { AddDeviceToken, PciEndpointsToken, PciHeader, pciPinGsi, unsigned } from '@visorkit/machine';
import type { Device, MmioDevice, PciEndpoint, PciEndpointState, PciEndpoints } from '@visorkit/machine';
import * as v from 'valibot';
import { AX, DI, DX, code } from './code.js';
import type { Code } from './code.js';
import { conform } from './conform.js';
import { CODE, TABLES } from './machine.js';

interface BellState {
  pci: PciEndpointState;
  rings: number;
}

/** Rings by its pin (a write of 0 at offset 0, until one at offset 4), or by vector n (a write of n + 1). */
@injectable()
class Bell implements Device<BellState>, MmioDevice {
  readonly name = 'bell';
  readonly schema: v.GenericSchema<BellState>;
  readonly #pci: PciEndpoint;
  #rings = 0;

  constructor(@inject(PciEndpointsToken) endpoints: PciEndpoints) {
    const made = (this.#pci = endpoints.make({
      name: this.name,
      vendor: 0x1b36,
      device: 0x00be,
      classCode: 0xff_0000,
      interruptPin: 1,
    }));
    made.addMemory(0, { size: 0x1000, bits: 64, prefetchable: true }, this);
    made.addPorts(2, 16, { readPort: (port) => 0x50 + port + this.#rings, writePort: () => {} });
    made.addMsi(2);
    made.addMsix(3, { bar: 4 });
    this.schema = v.strictObject({ pci: made.schema, rings: unsigned(32) });
  }

  readMmio(): number {
    return this.#rings;
  }
  writeMmio(offset: number, _size: number, value: number): void {
    if (offset === 4) return this.#pci.setPin(false);
    this.#rings++;
    if (value === 0) this.#pci.setPin(true);
    else this.#pci.signal(value - 1);
  }
  reset(): void {
    this.#rings = 0;
    this.#pci.reset();
  }
  save(): BellState {
    return { pci: this.#pci.save(), rings: this.#rings };
  }
  restore({ pci: state, rings }: BellState): void {
    this.#pci.restore(state);
    this.#rings = rings;
  }
}

const bell = (): Plugin =>
  definePlugin({
    name: 'bell',
    uses: { addDevice: AddDeviceToken },
    apply: (host, { addDevice }) => addDevice(host.make(Bell)),
  });

/** The first free slot behind the two bridges. */
const SLOT = 2;
const LOCAL_APIC = 0xfee0_0000,
  IO_APIC = 0xfec0_0000,
  EOI = 0xb0,
  SPURIOUS = 0xf0;
/** Vectors: the pin, two of MSI, one of MSI-X. */
const [BY_PIN, BY_MSI, BY_MSIX] = [0x50, 0x60, 0x70];
/** Where the guest puts the device's memory: above 4 GiB, then below; the MSI-X table; the ports. */
const HIGH = 0x8_0000_0000,
  LOW = 0xd200_0000,
  MSIX_TABLE = 0xd100_0000,
  PORTS = 0xc000;
const COUNTS = 0x9000,
  SEEN = 0x9100,
  HANDLERS = 0x6000,
  DIRECTORY = 0x3_0000;
/** Capabilities, in the order in which the device adds them. */
const MSI = 0x40,
  MSIX = 0x58;
const [OUT_DX_EAX, IN_EAX_DX, PUSH_RAX, PUSH_RDI, POP_RAX, POP_RDI] = [0xef, 0xed, 0x50, 0x57, 0x58, 0x5f];

const select = (guest: Code, register: number): Code =>
  guest
    .mov(DX, 0xcf8)
    .mov(AX, 0x8000_0000 + SLOT * 0x800 + register)
    .raw(OUT_DX_EAX)
    .mov(DX, 0xcfc);
const configure = (guest: Code, register: number, value: number): Code =>
  select(guest, register).mov(AX, value).raw(OUT_DX_EAX);
const poke = (guest: Code, gpa: number, value: number): Code => guest.mov64(DI, BigInt(gpa)).mov(AX, value).store(0);
const see = (guest: Code, place: number): Code => guest.mov(DI, SEEN + 4 * place).store(0);

/** Counts, has the device lower its pin if need be, and ends the interrupt. */
function handler(count: number, acknowledge?: number): Code {
  const guest = code()
    .raw(PUSH_RAX, PUSH_RDI)
    .mov(DI, COUNTS + 4 * count)
    .raw(0xff, 0x07); // INC dword [RDI]
  if (acknowledge !== undefined) poke(guest, acknowledge + 4, 0);
  return poke(guest, LOCAL_APIC + EOI, 0)
    .raw(POP_RDI, POP_RAX)
    .iretq();
}

function main(): Code {
  const guest = code();
  select(guest, PciHeader.vendor).raw(IN_EAX_DX);
  see(guest, 0);
  // How large is the first base address register?
  configure(guest, PciHeader.bar0, 0xffff_ffff).raw(IN_EAX_DX);
  see(guest, 1);
  configure(guest, PciHeader.bar0, HIGH % 2 ** 32);
  configure(guest, PciHeader.bar0 + 4, Math.floor(HIGH / 2 ** 32));
  configure(guest, PciHeader.bar0 + 8, PORTS);
  configure(guest, PciHeader.bar0 + 16, MSIX_TABLE);
  configure(guest, PciHeader.command, 7);
  // APICs: the pin's line is level triggered
  poke(guest, LOCAL_APIC + SPURIOUS, 0x1ff);
  const entry = 0x10 + 2 * pciPinGsi(SLOT, 0);
  poke(guest, IO_APIC, entry + 1);
  poke(guest, IO_APIC + 0x10, 0);
  poke(guest, IO_APIC, entry);
  poke(guest, IO_APIC + 0x10, 0x8000 | BY_PIN);
  guest.sti();
  poke(guest, HIGH, 0).nop(4);
  // MSI: two vectors, the second one rings; then the device moves, and the first one rings
  configure(guest, MSI + 4, LOCAL_APIC);
  configure(guest, MSI + 12, BY_MSI);
  configure(guest, MSI, 0x0011_0000);
  poke(guest, HIGH, 2).nop(4);
  configure(guest, PciHeader.bar0, LOW);
  configure(guest, PciHeader.bar0 + 4, 0);
  poke(guest, LOW, 1).nop(4);
  configure(guest, MSI, 0);
  // MSI-X: masked first, so that the interrupt is pending, then not
  const [vector, pending] = [2, MSIX_TABLE + 3 * 16];
  poke(guest, MSIX_TABLE + 16 * vector, LOCAL_APIC);
  poke(guest, MSIX_TABLE + 16 * vector + 8, BY_MSIX);
  configure(guest, MSIX, 0x8000_0000);
  poke(guest, LOW, vector + 1).nop(4);
  guest.mov64(DI, BigInt(pending)).load(0);
  see(guest, 2);
  guest.mov(DI, COUNTS + 12).load(0);
  see(guest, 3);
  poke(guest, MSIX_TABLE + 16 * vector + 12, 0).nop(4);
  guest.mov(DX, PORTS + 1).raw(IN_EAX_DX);
  see(guest, 4);
  return guest.end();
}

const words = (...values: number[]): number[] => [...new Uint8Array(Uint32Array.from(values).buffer)];

conform(
  'PCI: a device is found, sized, placed and moved, and interrupts by its pin, MSI and MSI-X',
  {
    mode: 'long64',
    code: code().raw(0xe9, ...words(0x1_0000 - CODE - 5)), // JMP: the code is longer than its place
    data: {
      0x1_0000: main(),
      // A page of 2 MiB where the device is above 4 GiB
      [TABLES + 0x1000 + 8 * (HIGH / 2 ** 30)]: Uint8Array.from(words(DIRECTORY | 3, 0)),
      [DIRECTORY]: Uint8Array.from(words((HIGH % 2 ** 32) | 0x83, Math.floor(HIGH / 2 ** 32))),
      [HANDLERS]: handler(0, HIGH),
      [HANDLERS + 0x100]: handler(1),
      [HANDLERS + 0x200]: handler(2),
      [HANDLERS + 0x300]: handler(3),
    },
    handlers: {
      [BY_PIN]: HANDLERS,
      [BY_MSI]: HANDLERS + 0x100,
      [BY_MSI + 1]: HANDLERS + 0x200,
      [BY_MSIX]: HANDLERS + 0x300,
    },
    plugins: () => [bell(), apic(), pci()],
    shows: { counts: [COUNTS, 16], seen: [SEEN, 20] },
  },
  {
    memory: {
      counts: words(1, 1, 1, 1),
      seen: words(0x00be_1b36, 0xffff_f00c, 1 << 2, 0, 0x50 + 1 + 4),
    },
  },
);
