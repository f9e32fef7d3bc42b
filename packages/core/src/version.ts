/** Version of this package, which the `kernel` range of a plugin is compared with. The build keeps it that of package.json. */
export const KERNEL_VERSION = '0.1.0';
