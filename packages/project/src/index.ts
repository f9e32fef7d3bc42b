/** Configuration files and loading of plugins. */
export * from './config.js';
export * from './load-plugin.js';
