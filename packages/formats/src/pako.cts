/**
 * pako, loaded when a host without zlib of its own first needs it. CommonJS, because a `require` inside a function waits until then in Node, and
 * in a bundle, where the library is found at build time.
 */
declare function require(name: 'pako'): typeof import('pako');

export = (): typeof import('pako') => require('pako');
