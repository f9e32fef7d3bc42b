/** Configuration files, loading of plugins, backends and subcommands, files of saved VMs. `@visorkit/project/introspection` has what introspection needs. */
export * from './commands.js';
export * from './config.js';
export { exitAtOnce } from './exit-at-once.js';
export { FileSource } from './file-source.js';
export { spareThisProcessor } from './helper-threads.js';
export { adviseHugePages, largeBuffer } from './huge-pages.js';
export { keepModule, keptModule } from './kept-module.js';
export { keepTranslations } from './kept-translations.js';
export * from './load-backend.js';
export * from './load-plugin.js';
export { importFile, resolveModule } from './modules.js';
export type { SharedModules } from './modules.js';
export { openSavedVm, readSavedVm, writeSavedVm } from './saved-file.js';
export type { StoredVm } from './saved-file.js';
