/** Interrupt controllers of the kernel, and the event descriptors that raise lines and ring doorbells without an exit. */
import { BackendToken, VisorkitError, definePlugin, fail } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { InterruptLinesToken } from '@visorkit/machine';
import type { IrqchipMode } from './capabilities.js';
import { Extension, Request, Size } from './kvm-api.js';
import { errno, libc, pollReadable } from './libc.js';
import { kvmError } from './support.js';

const EFD_CLOEXEC = 0x8_0000,
  EFD_NONBLOCK = 0x800;
/** KVM_IOEVENTFD flags: compare the value; the address is a port; take it back. */
const DATAMATCH = 1,
  PORT = 2,
  DEASSIGN = 4;
const IRQFD_DEASSIGN = 1;
const IO_APIC_PINS = 24;
const ROUTE_IRQCHIP = 1,
  ROUTE_BYTES = 48;
const PIC_MASTER = 0,
  PIC_SLAVE = 1,
  IO_APIC = 2;

export class Irqchip {
  constructor(
    private readonly vmFd: number,
    readonly mode: Exclude<IrqchipMode, 'none'>,
  ) {
    if (mode === 'split') {
      const request = new Uint8Array(Size.ENABLE_CAP),
        view = new DataView(request.buffer);
      view.setUint32(0, Extension.SPLIT_IRQCHIP, true);
      view.setBigUint64(8, BigInt(IO_APIC_PINS), true);
      if (libc().ioctlPointer(vmFd, Request.ENABLE_CAP, request) < 0)
        throw kvmError('local APICs without the other interrupt controllers');
    } else {
      if (libc().ioctl(vmFd, Request.CREATE_IRQCHIP, 0) < 0) throw kvmError('interrupt controllers in the kernel');
      this.#route();
    }
  }

  /** Level of a line, by global system interrupt. */
  setLine(gsi: number, level: boolean): void {
    if (libc().ioctlPointer(this.vmFd, Request.IRQ_LINE, Uint32Array.of(gsi, level ? 1 : 0)) < 0)
      throw kvmError(`line ${gsi}`);
  }

  /** A message-signalled interrupt: a write of `data` to `address`. */
  signal(address: number, data: number): void {
    const message = new Uint32Array(8);
    message[0] = address % 2 ** 32;
    message[1] = Math.floor(address / 2 ** 32);
    message[2] = data;
    if (libc().ioctlPointer(this.vmFd, Request.SIGNAL_MSI, message) < 0)
      throw kvmError('a message-signalled interrupt');
  }

  dispose(): void {}

  /** Lines as on a PC: interrupt 0 goes to input 2 of the I/O APIC, which ACPI's MADT says to software. */
  #route(): void {
    const routes: [gsi: number, chip: number, pin: number][] = [];
    for (let gsi = 0; gsi < IO_APIC_PINS; gsi++) {
      if (gsi === 2) continue;
      if (gsi < 8) routes.push([gsi, PIC_MASTER, gsi]);
      else if (gsi < 16) routes.push([gsi, PIC_SLAVE, gsi - 8]);
      routes.push([gsi, IO_APIC, gsi === 0 ? 2 : gsi]);
    }
    const table = new Uint32Array(2 + routes.length * (ROUTE_BYTES / 4));
    table[0] = routes.length;
    routes.forEach(([gsi, chip, pin], index) =>
      table.set([gsi, ROUTE_IRQCHIP, 0, 0, chip, pin], 2 + index * (ROUTE_BYTES / 4)),
    );
    if (libc().ioctlPointer(this.vmFd, Request.SET_GSI_ROUTING, table) < 0) throw kvmError('routes of interrupt lines');
  }
}

/** Puts the kernel's interrupt controllers into a machine in place of the framework's. */
export function kvmIrqchip(): Plugin {
  return definePlugin({
    name: 'kvm-irqchip',
    capabilities: ['irqchip.kernel'],
    uses: { backend: BackendToken, lines: InterruptLinesToken },
    apply(host, { backend, lines }) {
      const { irqchip } = backend as { irqchip?: Irqchip };
      if (irqchip === undefined)
        fail('KVM_IRQCHIP', 'The backend has no interrupt controllers in the kernel: make it with irqchip "kernel".');
      host.onDispose(
        lines.connect((gsi, level) => {
          if (gsi !== 2) irqchip.setLine(gsi, level);
        }),
      );
    },
  });
}

/** A counter that the kernel, or anybody with the descriptor, adds to. */
export class EventDescriptor {
  readonly fd: number;
  #poll: { close(): void } | undefined;
  readonly #value = new BigUint64Array(1);

  constructor() {
    this.fd = libc().eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (this.fd < 0) throw new VisorkitError('KVM_EVENTFD', `An event descriptor cannot be made: error ${errno()}.`);
  }

  /** Calls back from the event loop when something was added, with how much. */
  onEvent(callback: (count: number) => void): void {
    this.#poll?.close();
    this.#poll = pollReadable(this.fd, () => {
      const count = this.take();
      if (count > 0) callback(count);
    });
  }

  /** What was added since the last call. */
  take(): number {
    return libc().read(this.fd, this.#value, 8) === 8 ? Number(this.#value[0]) : 0;
  }

  add(count = 1): void {
    this.#value[0] = BigInt(count);
    libc().write(this.fd, this.#value, 8);
  }

  close(): void {
    this.#poll?.close();
    this.#poll = undefined;
    libc().close(this.fd);
  }
}

/** A place where a guest's write rings: it does not exit, and the kernel adds one to the descriptor. */
export interface Doorbell {
  /** Port, or guest-physical address. */
  readonly port?: number;
  readonly gpa?: number;
  /** Bytes of the write: 1, 2, 4, 8. */
  readonly size: 1 | 2 | 4 | 8;
  /** Only writes of this value ring; any by default. */
  readonly value?: number;
}

/** Makes the kernel ring the doorbell (KVM_IOEVENTFD). Returns the function that removes it. */
export function attachDoorbell(vmFd: number, event: EventDescriptor, doorbell: Doorbell): () => void {
  const { port, gpa, size, value } = doorbell;
  if ((port === undefined) === (gpa === undefined))
    fail('KVM_DOORBELL', 'A doorbell needs either a port or a guest-physical address, and not both.', { ...doorbell });
  const request = (flags: number): number => {
    const bytes = new Uint8Array(64),
      view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt(value ?? 0), true);
    view.setBigUint64(8, BigInt(port ?? gpa!), true);
    view.setUint32(16, size, true);
    view.setInt32(20, event.fd, true);
    view.setUint32(24, flags | (value === undefined ? 0 : DATAMATCH) | (port === undefined ? 0 : PORT), true);
    return libc().ioctlPointer(vmFd, Request.IOEVENTFD, bytes);
  };
  if (request(0) < 0) throw kvmError('a doorbell');
  return () => void request(DEASSIGN);
}

/** Adding to the descriptor raises the line once (KVM_IRQFD). Needs interrupt controllers in the kernel. Returns the function that ends it. */
export function attachLine(vmFd: number, event: EventDescriptor, gsi: number): () => void {
  const request = (flags: number): number =>
    libc().ioctlPointer(vmFd, Request.IRQFD, Uint32Array.of(event.fd, gsi, flags, 0, 0, 0, 0, 0));
  if (request(0) < 0) throw kvmError(`an event descriptor for line ${gsi}`);
  return () => void request(IRQFD_DEASSIGN);
}
