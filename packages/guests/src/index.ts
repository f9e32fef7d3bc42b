/** Guests to run: Debian's packages, unpacked in a cache, and initramfs images of busybox. */
export type { DebianArchitecture, DebianSuite } from './apt.js';
export { defaultCacheFolder } from './cache.js';
export {
  CHECK_FOLDER,
  checkFiles,
  type CheckResult,
  checksPassed,
  parseChecks,
  programsScript,
  selfCheckScript,
} from './check-scripts.js';
export { type DebianGuest, type DebianGuestOptions, prepareDebianGuest } from './debian-guest.js';
export {
  type DebianPackage,
  fetchDebianPackage,
  type FetchOptions,
  type FetchProgress,
  kernelImage,
} from './debian-package.js';
export { GUEST_READY, type GuestMode, guestParameters, type GuestParameters, initScript } from './init-script.js';
export { busyboxApplets, type InitramfsFile, type InitramfsOptions, makeBusyboxInitramfs } from './initramfs.js';
