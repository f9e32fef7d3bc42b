/**
 * The two functions of semver that the kernel needs, loaded when a plugin first names a range: most never do, and a VM should start fast.
 * It is CommonJS because a `require` inside a function waits until then in Node, and in a bundle, where the library is found at build time.
 */
declare function require(name: 'semver/functions/satisfies'): typeof import('semver').satisfies;
declare function require(name: 'semver/ranges/valid'): typeof import('semver').validRange;

export = {
  /** Whether `range` is a range at all. */
  isRange: (range: string): boolean => require('semver/ranges/valid')(range) !== null,
  /** Whether `version` is in `range`; versions before a release count as the release. */
  satisfies: (version: string, range: string): boolean =>
    require('semver/functions/satisfies')(version, range, { includePrerelease: true }),
};
