/**
 * Typed names of services.
 *
 * A token is a registered symbol (`Symbol.for`), so that a plugin which brings its own copy of a package still asks for
 * the same service. Tokens stand beside the interface they name.
 */
declare const serviceType: unique symbol;

/** The name of a service of type `T`. */
export type Token<T> = symbol & { readonly [serviceType]?: T };

/** A service that a plugin uses when somebody provides it. */
export interface OptionalToken<T> {
  readonly optional: Token<T>;
}

/** Packages that provide a service, by its token: for the error of a VM that lacks it. */
const usualProviders = new Map<symbol, string>();

/**
 * Makes the token called `name`; the same name gives the same token. `providedBy` says which package usually provides
 * the service, so that a VM without it can say what to add.
 */
export function token<T>(name: string, providedBy?: string): Token<T> {
  const made = Symbol.for(`visorkit:${name}`) as Token<T>;
  if (providedBy !== undefined) usualProviders.set(made, providedBy);
  return made;
}

/** Marks a token in a plugin's `uses` as optional: if nobody provides the service, the plugin gets `undefined`. */
export function optional<T>(of: Token<T>): OptionalToken<T> {
  return { optional: of };
}

/** The name a token was made with, for messages. */
export function tokenName(of: Token<unknown>): string {
  return (of.description ?? String(of)).replace(/^visorkit:/, '');
}

/** The package that usually provides a service, if the token says so. */
export function usualProvider(of: Token<unknown>): string | undefined {
  return usualProviders.get(of);
}
