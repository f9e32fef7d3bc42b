/** Linux's C library. */

type NativeFunction = (...values: unknown[]) => number;

export interface CLibrary {
  /** A function by its prototype in C. Throws if there is none of that name. */
  functionOf(prototype: string): NativeFunction;
  addressOf(bytes: Uint8Array): bigint;
}

/** Undefined where koffi has no native module for the platform. The first call loads that module, some 15 ms. */
export async function cLibrary(): Promise<CLibrary | undefined> {
  try {
    const { default: koffi } = await import('koffi');
    const library = koffi.load(null);
    return {
      functionOf: (prototype) => library.func(prototype),
      addressOf: (bytes) => koffi.address(bytes),
    };
  } catch {
    return undefined;
  }
}
