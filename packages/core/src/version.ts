/** Version of this package: what a plugin's `kernel` range is compared with. The build keeps it that of package.json. */
export const KERNEL_VERSION = '0.1.0';
