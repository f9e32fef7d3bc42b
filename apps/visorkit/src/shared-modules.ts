/** The packages that a plugin or a configuration may import although nobody installed them beside it. */

const PACKAGES: Readonly<Record<string, () => Promise<unknown>>> = {
  '@visorkit/backend-vmx': () => import('@visorkit/backend-vmx'),
  '@visorkit/devices-pc': () => import('@visorkit/devices-pc'),
  '@visorkit/exits': () => import('@visorkit/exits'),
  '@visorkit/formats': () => import('@visorkit/formats'),
  '@visorkit/machine': () => import('@visorkit/machine'),
  '@visorkit/pc': () => import('@visorkit/pc'),
  '@visorkit/vmi': () => import('@visorkit/vmi'),
  '@visorkit/x86': () => import('@visorkit/x86'),
  valibot: () => import('valibot'),
};

/** All of them; `@visorkit/core` and `@visorkit/project` need no naming. */
export async function sharedModules(): Promise<Readonly<Record<string, unknown>>> {
  return Object.fromEntries(
    await Promise.all(Object.entries(PACKAGES).map(async ([name, load]) => [name, await load()] as const)),
  );
}
