/** Events of a guest that runs. */
export type {
  BreakpointEvent,
  CpuidEvent,
  DescriptorEvent,
  DomainEvent,
  ExceptionEvent,
  FailedEmulationEvent,
  GuestRequestEvent,
  InterruptEvent,
  IoEvent,
  MemoryEvent,
  RegisterEvent,
  SingleStepEvent,
  VmExitEvent,
  VmiEvent,
} from './event.js';
export type { InterruptFilter, VcpuFilter } from './exception-events.js';
export type { BreakpointPlace } from './hidden-breakpoints.js';
export type { CpuidFilter, GuestRequestFilter, IoFilter, VmExitFilter } from './instruction-events.js';
export type { MemoryFilter } from './memory-events.js';
export { VmiEventsToken, introspectionEvents } from './plugin.js';
export type { EventHandler, IntrospectionEventsOptions, VmiEvents } from './plugin.js';
export type { RegisterFilter } from './register-events.js';
export type {
  BreakpointResponse,
  CommonResponse,
  DenyResponse,
  IoResponse,
  MemoryAccess,
  MemoryResponse,
  RegisterValues,
  ReinjectResponse,
} from './responses.js';
export type { OnError, SubscribeOptions } from './subscribers.js';
export type { CallingConvention, FunctionCall, SymbolResolver, TraceOptions } from './trace-function.js';
