/** The part of the WebAssembly JavaScript API that the wrapper uses; Node's types leave it to the browser's. */

/** A compiled module: only handed around. */
export interface WasmModule {
  readonly [wasmModule]: true;
}
declare const wasmModule: unique symbol;

/** Linear memory that threads and the kernel can share. */
export interface WasmMemory {
  readonly buffer: SharedArrayBuffer;
}

/** A table of functions. */
export interface WasmTable {
  readonly length: number;
  get(index: number): ((...parameters: never[]) => unknown) | null;
  set(index: number, value: ((...parameters: never[]) => unknown) | null): void;
  /** Adds `count` empty places; returns the previous length. */
  grow(count: number): number;
}

interface WebAssemblyApi {
  compile(bytes: Uint8Array): Promise<WasmModule>;
  validate(bytes: Uint8Array): boolean;
  Module: {
    new (bytes: Uint8Array): WasmModule;
    /** Contents of the custom sections of this name. */
    customSections(module: WasmModule, name: string): ArrayBuffer[];
  };
  Instance: new (module: WasmModule, imports: Record<string, Record<string, unknown>>) => { readonly exports: unknown };
  Table: new (descriptor: { element: 'anyfunc'; initial: number }) => WasmTable;
  Memory: new (descriptor: { initial: number; maximum: number; shared: true }) => WasmMemory;
}

export const WebAssembly: WebAssemblyApi = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;
