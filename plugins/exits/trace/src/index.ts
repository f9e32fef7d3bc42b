/** A trace of exits, and of what the hypervisor does at them. */
export { CodeProfileToken, codeProfile } from './code-profile.js';
export type {
  CodeProfile,
  CodeProfileOptions,
  CodeProfileResult,
  ProfiledCode,
  ProfiledReason,
} from './code-profile.js';
export { Counter, Histogram, HistogramSet } from './counts.js';
export type { CountRow } from './counts.js';
export { traceFilter } from './filter.js';
export type { TraceFilter } from './filter.js';
export { TRACE_FORMATS, traceFormat } from './formats.js';
export type { TraceFormat, TraceFormatName, TraceSummary } from './formats.js';
export type { TraceOptions } from './options.js';
export { TRACE_FIELDS, TRACE_KINDS, TraceRecord } from './record.js';
export type { TraceField, TraceFieldName, TraceKind } from './record.js';
export { countTable, histogramText, topFrame, topRows } from './tables.js';
export { TraceToken, needsIntrospection, trace } from './tracer.js';
export type { Trace } from './tracer.js';
