/** A package that this one depends on, imported by a name that is only known at run time. A bundle has a list instead of this file. */
export const importPackage = (name: string): Promise<unknown> => import(/* @vite-ignore */ name);
