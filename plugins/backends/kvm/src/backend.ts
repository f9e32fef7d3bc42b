/** The kvm backend: guests on the machine's own /dev/kvm. */
import { SystemControlToken, definePlugin, fail, optional } from '@visorkit/core';
import type {
  Backend,
  BackendOptions,
  BackendVcpu,
  ControlSupport,
  CpuidEntry,
  GuestMemory,
  Plugin,
  ServiceSink,
  Token,
} from '@visorkit/core';
import { engineMemory } from '@visorkit/engine';
import * as layout from '@visorkit/engine/layout';
import {
  ArrayGuestMemory,
  CpuidTableToken,
  LocalApicsToken,
  MsrBusToken,
  TimeStampCounterToken,
} from '@visorkit/machine';
import { Msr } from '@visorkit/x86';
import { Assistant } from './assistant.js';
import { kvmCapabilities, kvmControls } from './capabilities.js';
import type { IrqchipMode } from './capabilities.js';
import { KvmClock } from './clock.js';
import { isAmd, supportedCpuid } from './cpuid.js';
import { Irqchip } from './irqchip.js';
import {
  Extension,
  HYPERCALL_MAP_GPA_RANGE,
  MSR_REASON_FILTER,
  MSR_REASON_INVALID,
  MSR_REASON_UNKNOWN,
  Request,
  Size,
} from './kvm-api.js';
import { libc } from './libc.js';
import { MemorySlots } from './memory-slots.js';
import { MsrFilter } from './msr-filter.js';
import { listedMsrs } from './msrs.js';
import { RunThread } from './run-thread.js';
import type { KickTarget } from './run-thread.js';
import { kvmError, openKvm, requireKvm } from './support.js';
import type { KvmSupport } from './support.js';
import { KvmVcpu } from './vcpu.js';
import type { MachineServices, VmParts } from './vm-parts.js';

export interface KvmBackendOptions {
  /**
   * Where the interrupt controllers are: `none` (default), the framework's own plugins; `kernel`, 8259s, I/O APIC and local APIC of
   * the kernel, with the plugin {@link kvmIrqchip} instead of the framework's; `split`, only the local APIC of the kernel: the framework's 8259s
   * go to its LINT0, and `irqchip.signal` gives it message-signalled interrupts.
   */
  readonly irqchip?: IrqchipMode;
  /** Whether the software processor executes what the kernel cannot emulate; yes by default. */
  readonly assist?: boolean;
  /** The device file, `/dev/kvm` by default. */
  readonly device?: string;
}

/** Addresses below 4 GiB that Intel's processors without unrestricted guests need for themselves: 4 pages from here. */
const PRIVATE_PAGES = 0xfeff_c000;
const PAGE = 4096;

/** Parts that exist once the VM does. */
interface Vm {
  readonly kvmFd: number;
  readonly vmFd: number;
  readonly thread: RunThread;
  readonly runSize: number;
  readonly options: BackendOptions;
  readonly irqchip: Irqchip | undefined;
}

export class KvmBackend implements Backend {
  readonly name = 'kvm';
  readonly capabilities: ReadonlySet<string>;
  readonly controls: ControlSupport;
  readonly cpuid: readonly CpuidEntry[];
  readonly provides: readonly Token<unknown>[] = [TimeStampCounterToken];
  /** Connects the backend with the machine around it. */
  readonly plugins: readonly Plugin[] = [
    definePlugin({
      name: 'backend-kvm',
      uses: {
        cpuid: optional(CpuidTableToken),
        msrs: optional(MsrBusToken),
        apics: optional(LocalApicsToken),
        system: SystemControlToken,
      },
      apply: (_host, machine) => {
        this.#machine = machine;
      },
    }),
  ];
  readonly support: KvmSupport;
  readonly clock = new KvmClock();
  readonly #irqchipMode: IrqchipMode;
  #vm: Vm | undefined;
  #machine: MachineServices | undefined;
  #parts: VmParts | undefined;
  readonly #vcpus: KvmVcpu[] = [];

  /** Throws `KVM_UNAVAILABLE`, saying what is wrong and how to put it right, when this machine's KVM cannot be used. */
  constructor(private readonly options: KvmBackendOptions = {}) {
    const { device, irqchip = 'none', assist = true } = options;
    this.support = requireKvm(device);
    this.#irqchipMode = irqchip;
    this.capabilities = kvmCapabilities(this.support, irqchip, assist);
    this.controls = kvmControls(this.support, irqchip);
    const fd = openKvm(device);
    try {
      this.cpuid = supportedCpuid(fd);
    } finally {
      libc().close(fd);
    }
  }

  open(options: BackendOptions): void {
    const { cpus, time } = options,
      { extensions } = this.support;
    if (time !== 'real')
      fail(
        'KVM_TIME',
        'The kvm backend has real time only: the kernel does not count what the guest retires. Ask for time "real", or use the backend vmx.',
        { time },
      );
    const most = extensions.MAX_VCPUS ?? extensions.NR_VCPUS ?? 1;
    if (cpus > most)
      fail('KVM_CPUS', `KVM on this machine makes at most ${most} vCPUs for a VM; ${cpus} were asked for.`, {
        cpus,
        most,
      });
    if (cpus > 1 && this.#irqchipMode !== 'none') {
      fail(
        'KVM_CPUS',
        `With interrupt controllers in the kernel the kvm backend runs one CPU; ${cpus} were asked for. Use the framework's own controllers (irqchip: 'none').`,
        { cpus },
      );
    }
    const { ioctl, close } = libc();
    const kvmFd = openKvm(this.options.device);
    const vmFd = ioctl(kvmFd, Request.CREATE_VM, 0);
    if (vmFd < 0) {
      const error = kvmError('a virtual machine');
      close(kvmFd);
      throw error;
    }
    const thread = RunThread.acquire();
    this.#vm = {
      kvmFd,
      vmFd,
      thread,
      options,
      runSize: ioctl(kvmFd, Request.GET_VCPU_MMAP_SIZE, 0),
      irqchip: this.#irqchipMode === 'none' ? undefined : new Irqchip(vmFd, this.#irqchipMode),
    };
    this.clock.restart();
    this.#setUp(vmFd);
  }

  createMemory(size: number): GuestMemory {
    const vm = this.#required(),
      { kvmFd, vmFd, options } = vm,
      { assist = true } = this.options;
    // The software processor's own layout, so that it can work on the same RAM when it is needed
    const linear = engineMemory(size);
    const memory = new ArrayGuestMemory(size, linear.buffer, layout.GUEST_RAM);
    const slots = new MemorySlots(vmFd, memory.regions, linear.buffer);
    this.#parts = {
      ...vm,
      extensions: this.support.extensions,
      supportedCpuid: this.cpuid,
      amd: isAmd(this.cpuid),
      listedMsrs: listedMsrs(kvmFd),
      cpus: options.cpus,
      controls: options.controls,
      msrFilter: new MsrFilter(vm.vmFd),
      kernelApic: vm.irqchip !== undefined,
      kernelPic: vm.irqchip?.mode === 'kernel',
      memory,
      slots,
      clock: this.clock,
      assistant: assist ? new Assistant(linear, size, slots) : undefined,
      machine: () => this.#machine ?? fail('BACKEND_NOT_OPEN', 'A vCPU of kvm runs only when the plugins are applied.'),
    };
    return memory;
  }

  createVcpu(index: number): BackendVcpu {
    const vcpu = new KvmVcpu(index, this.#requiredParts());
    this.#vcpus.push(vcpu);
    return vcpu;
  }

  provideServices(services: ServiceSink): void {
    const kilohertz = libc().ioctl(this.#vcpus[0].fd, Request.GET_TSC_KHZ, 0);
    const frequency = kilohertz > 0 ? kilohertz * 1000 : 1e9;
    const read = (vcpu: number): bigint => this.#vcpus[vcpu].readMsr(Msr.IA32_TIME_STAMP_COUNTER);
    services.provide(TimeStampCounterToken, {
      frequency,
      read,
      timeAt: (tsc, vcpu) =>
        this.clock.now() + Math.ceil(Number(BigInt.asIntN(64, tsc - read(vcpu))) * (1e9 / frequency)),
    });
  }

  mapRom(gpa: number, bytes: Uint8Array): void {
    this.#requiredParts().slots.addRom(gpa, bytes);
  }

  /** What went on beside the exits, by name. */
  statistics(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    const assisted = this.#vcpus.reduce((sum, vcpu) => sum + vcpu.assisted, 0);
    if (assisted > 0) counts['assisted instructions'] = assisted;
    for (const [instruction, count] of this.#parts?.assistant?.counts ?? []) counts[`assisted ${instruction}`] = count;
    return counts;
  }

  /** What to pass to {@link kick} so that a running vCPU returns: plain data that can be sent to another thread. */
  get kickTarget(): KickTarget {
    return this.#required().thread.target;
  }

  /** Which pages the guest writes: RAM, read-only memory. */
  get slots(): MemorySlots {
    return this.#requiredParts().slots;
  }

  /** The kernel's interrupt controllers; undefined with `irqchip: 'none'`. */
  get irqchip(): Irqchip | undefined {
    return this.#required().irqchip;
  }

  /** The VM's file descriptor, for requests that have no method here. */
  get vmFd(): number {
    return this.#required().vmFd;
  }

  dispose(): void {
    const vm = this.#vm;
    this.#vm = undefined;
    for (const vcpu of this.#vcpus.splice(0)) vcpu.dispose();
    if (vm !== undefined) {
      vm.irqchip?.dispose();
      libc().close(vm.vmFd);
      libc().close(vm.kvmFd);
      vm.thread.release();
    }
    this.#parts?.slots.dispose();
    this.#parts = undefined;
    this.#machine = undefined;
  }

  #setUp(vmFd: number): void {
    const { extensions } = this.support,
      { ioctl, ioctlPointer } = libc();
    if ((extensions.SET_IDENTITY_MAP_ADDR ?? 0) > 0)
      ioctlPointer(vmFd, Request.SET_IDENTITY_MAP_ADDR, BigUint64Array.of(BigInt(PRIVATE_PAGES)));
    if ((extensions.SET_TSS_ADDR ?? 0) > 0) ioctl(vmFd, Request.SET_TSS_ADDR, PRIVATE_PAGES + PAGE);
    if ((extensions.X86_USER_SPACE_MSR ?? 0) > 0)
      this.#enable(vmFd, Extension.X86_USER_SPACE_MSR, MSR_REASON_INVALID | MSR_REASON_UNKNOWN | MSR_REASON_FILTER);
    if ((extensions.EXIT_ON_EMULATION_FAILURE ?? 0) > 0) this.#enable(vmFd, Extension.EXIT_ON_EMULATION_FAILURE, 1);
    if (this.capabilities.has('hypercall.map-gpa-range'))
      this.#enable(vmFd, Extension.EXIT_HYPERCALL, 2 ** HYPERCALL_MAP_GPA_RANGE);
  }

  #enable(vmFd: number, extension: number, argument: number): void {
    const request = new Uint8Array(Size.ENABLE_CAP),
      view = new DataView(request.buffer);
    view.setUint32(0, extension, true);
    view.setBigUint64(8, BigInt(argument), true);
    if (libc().ioctlPointer(vmFd, Request.ENABLE_CAP, request) < 0) throw kvmError(`extension ${extension}`);
  }

  #required(): Vm {
    return this.#vm ?? fail('BACKEND_NOT_OPEN', 'The kvm backend was not opened, or was disposed.');
  }
  #requiredParts(): VmParts {
    return this.#parts ?? fail('BACKEND_NOT_OPEN', 'The kvm backend has no memory yet, or was disposed.');
  }
}

/** Makes the backend for one VM. */
export function kvm(options: KvmBackendOptions = {}): KvmBackend {
  return new KvmBackend(options);
}
