/** Numbers of the KVM interface (Linux, Documentation/virt/kvm/api.rst and include/uapi/linux/kvm.h): requests, capabilities, layouts. */

const KVMIO = 0xae00;
const none = (number: number): number => KVMIO | number;
const write = (number: number, size: number): number => (0x4000_0000 | (size << 16) | KVMIO | number) >>> 0;
const read = (number: number, size: number): number => (0x8000_0000 | (size << 16) | KVMIO | number) >>> 0;
const both = (number: number, size: number): number => (0xc000_0000 | (size << 16) | KVMIO | number) >>> 0;

/** The version of the interface that has been in force since Linux 2.6.22. */
export const KVM_API_VERSION = 12;

/** Sizes of structures in bytes. */
export const Size = {
  REGS: 144,
  SREGS: 312,
  SREGS2: 320,
  FPU: 416,
  XSAVE: 4096,
  XCRS: 392,
  EVENTS: 64,
  MP_STATE: 4,
  DEBUGREGS: 128,
  GUEST_DEBUG: 72,
  LAPIC: 1024,
  IRQCHIP: 520,
  MSR: 16,
  CPUID_ENTRY: 40,
  MEMORY_REGION: 32,
  MSR_RANGE: 24,
  MSR_FILTER: 392,
  ENABLE_CAP: 104,
} as const;

/** Requests on /dev/kvm, a VM or a vCPU. */
export const Request = {
  GET_API_VERSION: none(0x00),
  CREATE_VM: none(0x01),
  GET_MSR_INDEX_LIST: both(0x02, 4),
  CHECK_EXTENSION: none(0x03),
  GET_VCPU_MMAP_SIZE: none(0x04),
  GET_SUPPORTED_CPUID: both(0x05, 8),
  CREATE_VCPU: none(0x41),
  GET_DIRTY_LOG: write(0x42, 16),
  SET_USER_MEMORY_REGION: write(0x46, Size.MEMORY_REGION),
  SET_TSS_ADDR: none(0x47),
  SET_IDENTITY_MAP_ADDR: write(0x48, 8),
  CREATE_IRQCHIP: none(0x60),
  IRQ_LINE: write(0x61, 8),
  GET_IRQCHIP: both(0x62, Size.IRQCHIP),
  SET_IRQCHIP: read(0x63, Size.IRQCHIP),
  SET_GSI_ROUTING: write(0x6a, 8),
  IRQFD: write(0x76, 32),
  IOEVENTFD: write(0x79, 64),
  SIGNAL_MSI: write(0xa5, 32),
  ENABLE_CAP: write(0xa3, Size.ENABLE_CAP),
  X86_SET_MSR_FILTER: write(0xc6, Size.MSR_FILTER),
  RUN: none(0x80),
  GET_REGS: read(0x81, Size.REGS),
  SET_REGS: write(0x82, Size.REGS),
  GET_SREGS: read(0x83, Size.SREGS),
  SET_SREGS: write(0x84, Size.SREGS),
  INTERRUPT: write(0x86, 4),
  GET_MSRS: both(0x88, 8),
  SET_MSRS: write(0x89, 8),
  SET_SIGNAL_MASK: write(0x8b, 4),
  GET_FPU: read(0x8c, Size.FPU),
  SET_FPU: write(0x8d, Size.FPU),
  GET_LAPIC: read(0x8e, Size.LAPIC),
  SET_LAPIC: write(0x8f, Size.LAPIC),
  SET_CPUID2: write(0x90, 8),
  GET_MP_STATE: read(0x98, Size.MP_STATE),
  SET_MP_STATE: write(0x99, Size.MP_STATE),
  NMI: none(0x9a),
  SET_GUEST_DEBUG: write(0x9b, Size.GUEST_DEBUG),
  GET_VCPU_EVENTS: read(0x9f, Size.EVENTS),
  SET_VCPU_EVENTS: write(0xa0, Size.EVENTS),
  GET_DEBUGREGS: read(0xa1, Size.DEBUGREGS),
  SET_DEBUGREGS: write(0xa2, Size.DEBUGREGS),
  GET_TSC_KHZ: none(0xa3),
  GET_XSAVE: read(0xa4, Size.XSAVE),
  SET_XSAVE: write(0xa5, Size.XSAVE),
  GET_XCRS: read(0xa6, Size.XCRS),
  SET_XCRS: write(0xa7, Size.XCRS),
  GET_XSAVE2: read(0xcf, Size.XSAVE),
  GET_SREGS2: read(0xcc, Size.SREGS2),
  SET_SREGS2: write(0xcd, Size.SREGS2),
} as const;

/** Extensions, as KVM_CHECK_EXTENSION numbers them. */
export const Extension = {
  IRQCHIP: 0,
  USER_MEMORY: 3,
  SET_TSS_ADDR: 4,
  EXT_CPUID: 7,
  NR_VCPUS: 9,
  MP_STATE: 14,
  IRQ_ROUTING: 25,
  USER_NMI: 22,
  SET_GUEST_DEBUG: 23,
  IRQFD: 32,
  IOEVENTFD: 36,
  SET_IDENTITY_MAP_ADDR: 37,
  VCPU_EVENTS: 41,
  DEBUGREGS: 50,
  XSAVE: 55,
  XCRS: 56,
  GET_TSC_KHZ: 61,
  MAX_VCPUS: 66,
  SIGNAL_MSI: 77,
  READONLY_MEM: 81,
  SPLIT_IRQCHIP: 121,
  IMMEDIATE_EXIT: 136,
  X86_USER_SPACE_MSR: 188,
  X86_MSR_FILTER: 189,
  SREGS2: 200,
  EXIT_HYPERCALL: 201,
  EXIT_ON_EMULATION_FAILURE: 204,
  XSAVE2: 208,
} as const;

/** kvm_run.exit_reason. */
export const RunExit = {
  UNKNOWN: 0,
  EXCEPTION: 1,
  IO: 2,
  HYPERCALL: 3,
  DEBUG: 4,
  HLT: 5,
  MMIO: 6,
  IRQ_WINDOW_OPEN: 7,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  SET_TPR: 11,
  NMI: 16,
  INTERNAL_ERROR: 17,
  SYSTEM_EVENT: 24,
  IOAPIC_EOI: 26,
  X86_RDMSR: 29,
  X86_WRMSR: 30,
  X86_BUS_LOCK: 33,
  MEMORY_FAULT: 39,
} as const;

const RUN_EXIT_NAMES = new Map<number, string>(
  Object.entries(RunExit).map(([name, number]) => [number, `KVM_EXIT_${name}`]),
);
/** For messages. */
export function runExitName(reason: number): string {
  return RUN_EXIT_NAMES.get(reason) ?? `exit reason ${reason} of KVM`;
}

/** Byte offsets in struct kvm_run. */
export const Run = {
  REQUEST_INTERRUPT_WINDOW: 0,
  IMMEDIATE_EXIT: 1,
  EXIT_REASON: 8,
  READY_FOR_INTERRUPT: 12,
  IF_FLAG: 13,
  FLAGS: 14,
  CR8: 16,
  APIC_BASE: 24,
  IO_DIRECTION: 32,
  IO_SIZE: 33,
  IO_PORT: 34,
  IO_COUNT: 36,
  IO_DATA_OFFSET: 40,
  MMIO_ADDRESS: 32,
  MMIO_DATA: 40,
  MMIO_LENGTH: 48,
  MMIO_WRITE: 52,
  DEBUG_EXCEPTION: 32,
  DEBUG_PC: 40,
  DEBUG_DR6: 48,
  HYPERCALL_NUMBER: 32,
  HYPERCALL_ARGUMENTS: 40,
  HYPERCALL_RESULT: 88,
  ENTRY_REASON: 32,
  HARDWARE_REASON: 32,
  ERROR_SUBERROR: 32,
  ERROR_COUNT: 36,
  ERROR_DATA: 40,
  ERROR_FLAGS: 40,
  ERROR_INSTRUCTION_SIZE: 48,
  ERROR_INSTRUCTION: 49,
  EVENT_TYPE: 32,
  MSR_ERROR: 32,
  MSR_REASON: 40,
  MSR_INDEX: 44,
  MSR_DATA: 48,
} as const;

/** run.internal.suberror: what the kernel could not do. */
export const INTERNAL_ERRORS: readonly (string | undefined)[] = [
  undefined,
  'it could not emulate an instruction',
  'two exceptions came at once',
  'an exit came while an event was being delivered',
  'the processor gave an exit it does not know',
];
export const INTERNAL_ERROR_EMULATION = 1;
/** run.emulation_failure.flags: the bytes of the instruction are there. */
export const HAS_INSTRUCTION_BYTES = 1;

/** Byte offsets in struct kvm_vcpu_events. */
export const Events = {
  EXCEPTION_INJECTED: 0,
  EXCEPTION_NUMBER: 1,
  EXCEPTION_HAS_ERROR: 2,
  EXCEPTION_PENDING: 3,
  EXCEPTION_ERROR: 4,
  INTERRUPT_INJECTED: 8,
  INTERRUPT_NUMBER: 9,
  INTERRUPT_SOFT: 10,
  INTERRUPT_SHADOW: 11,
  NMI_INJECTED: 12,
  NMI_PENDING: 13,
  NMI_MASKED: 14,
  SIPI_VECTOR: 16,
  FLAGS: 20,
} as const;
/** kvm_vcpu_events.flags: which fields KVM_SET_VCPU_EVENTS is to take. */
export const EVENTS_NMI_PENDING = 1,
  EVENTS_SIPI = 2,
  EVENTS_SHADOW = 4;

/** KVM_SET_USER_MEMORY_REGION flags. */
export const MEMORY_LOG_DIRTY = 1,
  MEMORY_READ_ONLY = 2;

/** KVM_CAP_X86_USER_SPACE_MSR: which refusals go to user space (#GP, unknown, filtered). */
export const MSR_REASON_INVALID = 1,
  MSR_REASON_UNKNOWN = 2,
  MSR_REASON_FILTER = 4;
/** KVM_X86_SET_MSR_FILTER: ranges of reads and of writes. */
export const MSR_FILTER_READ = 1,
  MSR_FILTER_WRITE = 2;

/** KVM_SET_GUEST_DEBUG control. */
export const GuestDebug = {
  ENABLE: 1,
  SINGLE_STEP: 2,
  USE_SOFTWARE_BREAKPOINTS: 0x1_0000,
  USE_HARDWARE_BREAKPOINTS: 0x2_0000,
} as const;

/** run.system_event.type. */
export const SYSTEM_EVENT_SHUTDOWN = 1,
  SYSTEM_EVENT_RESET = 2,
  SYSTEM_EVENT_CRASH = 3;

/** The hypercall that KVM_CAP_EXIT_HYPERCALL forwards: KVM_HC_MAP_GPA_RANGE. */
export const HYPERCALL_MAP_GPA_RANGE = 12;
