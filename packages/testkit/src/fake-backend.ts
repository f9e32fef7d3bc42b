/** A backend without a processor: its vCPUs play scripts. */
import { exitReasonEntry, EXIT_REASON_COUNT } from '@visorkit/core';
import type { Backend, BackendOptions, ControlSupport, CpuidEntry, ExecutionClock, GuestMemory } from '@visorkit/core';
import { ArrayGuestMemory, HostClock, RetirementClock } from '@visorkit/machine';
import { FakeVcpu } from './fake-vcpu.js';
import type { ScriptedExit } from './fake-vcpu.js';

export interface FakeBackendOptions {
  readonly name?: string;
  /** In addition to every `exit.*`. */
  readonly capabilities?: readonly string[];
  /** Capabilities to leave out. */
  readonly without?: readonly string[];
  readonly controls?: Partial<ControlSupport['allowed']>;
  readonly cpuid?: readonly CpuidEntry[];
  /** Is given each vCPU as it is made: to play scripts. */
  readonly vcpu?: (vcpu: FakeVcpu) => void;
}

/** The controls that can be set unless a test says otherwise. */
const FAKE_PRIMARY_CONTROLS = [
  'hlt-exiting',
  'invlpg-exiting',
  'mwait-exiting',
  'rdpmc-exiting',
  'rdtsc-exiting',
  'cr3-load-exiting',
  'cr3-store-exiting',
  'cr8-load-exiting',
  'cr8-store-exiting',
  'mov-dr-exiting',
  'monitor-exiting',
  'pause-exiting',
];

export class FakeBackend implements Backend {
  readonly name: string;
  readonly capabilities: ReadonlySet<string>;
  readonly controls: ControlSupport;
  readonly cpuid: readonly CpuidEntry[];
  readonly vcpus: FakeVcpu[] = [];
  /** What `open` was given. */
  opened: BackendOptions | undefined;
  /** How often `dispose` was called. */
  disposals = 0;
  clock: ExecutionClock = new HostClock();

  constructor(private readonly options: FakeBackendOptions = {}) {
    this.name = options.name ?? 'fake';
    const capabilities = new Set<string>(options.capabilities ?? []);
    for (let reason = 0; reason < EXIT_REASON_COUNT; reason++) {
      const entry = exitReasonEntry(reason);
      if (entry !== undefined) capabilities.add(`exit.${entry.name}`);
    }
    capabilities.add('deterministic').add('instruction-count');
    for (const capability of options.without ?? []) capabilities.delete(capability);
    this.capabilities = capabilities;
    const none: ReadonlySet<string> = new Set();
    this.controls = {
      allowed: {
        pin: none,
        primary: new Set(FAKE_PRIMARY_CONTROLS),
        secondary: none,
        exit: none,
        entry: none,
        ...options.controls,
      },
    };
    this.cpuid = options.cpuid ?? [];
  }

  open(options: BackendOptions): void {
    this.opened = options;
    if (options.time === 'virtual')
      this.clock = new RetirementClock(() => this.vcpus.reduce((sum, vcpu) => sum + vcpu.instructions, 0));
  }

  createMemory(size: number): GuestMemory {
    return new ArrayGuestMemory(size);
  }

  createVcpu(index: number): FakeVcpu {
    const vcpu = new FakeVcpu(index, () => this.clock.now());
    this.vcpus.push(vcpu);
    this.options.vcpu?.(vcpu);
    return vcpu;
  }

  dispose(): void {
    this.disposals++;
  }
}

/** A backend whose vCPU 0 plays a script. */
export function fakeBackend(script: readonly ScriptedExit[] = [], options: FakeBackendOptions = {}): FakeBackend {
  return new FakeBackend({
    ...options,
    vcpu: (vcpu) => {
      if (vcpu.index === 0) vcpu.play(...script);
      options.vcpu?.(vcpu);
    },
  });
}
