/** Functions of Linux's C library. */
import type { KoffiFunc } from 'koffi';

/**
 * A function of the C library by its prototype in C. Undefined where koffi has no native module for the platform, or the library no such function. The first
 * call loads the native module, some 15 ms.
 */
export async function libraryFunction(
  prototype: string,
): Promise<KoffiFunc<(...values: unknown[]) => number> | undefined> {
  try {
    const { default: koffi } = await import('koffi');
    return koffi.load(null).func(prototype);
  } catch {
    return undefined;
  }
}
