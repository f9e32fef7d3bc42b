/** The kernel of visorkit. */
export * from './errors.js';
export * from './token.js';
export * from './logger.js';
export * from './size.js';
export * from './exit-reasons.js';
export * from './exit.js';
export * from './platform.js';
export * from './vcpu.js';
export * from './controls.js';
export type { HeldControls } from './held-controls.js';
export { CAPABILITIES, CONTROL_GROUPS } from './names.js';
export type { Capability, ControlGroup, ControlName, MoreCapabilities } from './names.js';
export * from './backend.js';
export * from './backend-definition.js';
export { Stage } from './hooks.js';
export type {
  DeviceAccess,
  ExitHandler,
  ExitHook,
  ExitHooks,
  GuestEvent,
  Hooks,
  InjectedKind,
  VcpuStateChange,
} from './hooks.js';
export type { AsyncTaps, Hook, HookInterceptor, SyncTaps, TapInfo, TapOptions, Undo } from './hook.js';
export * from './plugin.js';
export { errorForReport, whereThrown } from './blame.js';
export * from './report.js';
export { KERNEL_VERSION } from './version.js';
export * from './host.js';
export * from './check.js';
export { NEEDS_FIELDS } from './plugin-list.js';
export { PluginHostToken } from './services.js';
export { SAVED_FORMAT } from './saving.js';
export type { SavedComposition, SavedMemory, SavedPart, SavedState, SavedVm } from './saving.js';
export { VMM_FIELDS, checkVmmOptions } from './composition.js';
export type { VmmOptions } from './composition.js';
export type { RunOptions } from './run-options.js';
export type { PluginEntry } from './plugin-list.js';
export type { VmmMove, VmmState } from './lifecycle.js';
export { summarizeExit } from './failure.js';
export { livingVms, watchVms } from './living-vms.js';
export type { VmChange, VmWatcher } from './living-vms.js';
export * from './vmm.js';
export * from './di.js';
