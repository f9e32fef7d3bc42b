/** The interface of a machine's local APICs for its other parts. The device itself is a plugin. */

/** The local APIC of one vCPU as the processor's handlers see it. */
export interface LocalApicPort {
  /**
   * Task-priority class, 0-15: what CR8 reads and writes (SDM 3A, 11.8.6). Works whether or not the APIC is enabled.
   */
  cr8: number;
  /** IA32_APIC_BASE.EN: what CPUID.01H:EDX[9] shows. */
  readonly enabled: boolean;
  /** IA32_APIC_BASE.EXTD. */
  readonly x2apic: boolean;
  /** Initial APIC ID, as CPUID.01H:EBX[31:24] and leaf 0BH report it. */
  readonly id: number;
}

/** The local APICs of a machine. */
export interface LocalApics {
  forVcpu(index: number): LocalApicPort;
  /** A message-signalled interrupt (SDM 3A, 11.11): a write of `data` to `address` 0xFEExxxxx. */
  sendMessage(address: number, data: number): void;
  /** The vCPU's time stamp counter was written, so a deadline that counts in it falls at another time. */
  timeStampCounterChanged(index: number): void;
  /** An INIT for one processor, as from its INIT# pin. */
  sendInit(index: number): void;
  /** Level of the machine's NMI line, LINT1 of every APIC. */
  setNmi(level: boolean): void;
  /** Level of the 8259's output, LINT0 of every APIC. */
  setExternal(level: boolean): void;
}

/** The guest's time stamp counter against the VM's clock. Provided by the backend's side; without it 1 tick is 1 ns. */
export interface TimeStampCounter {
  /** Ticks per second. */
  readonly frequency: number;
  /** What RDTSC gives now on a vCPU. */
  read(vcpu: number): bigint;
  /**
   * Clock time (ns since the VM's start) at which a vCPU's counter reaches `tsc`; a time in the past when it has
   * reached it already.
   */
  timeAt(tsc: bigint, vcpu: number): number;
}
