/**
 * Typed names of services.
 *
 * A token is a registered symbol (`Symbol.for`), so that a plugin which brings its own copy of a package still asks for
 * the same service. Tokens stand beside the interface they name.
 */
declare const serviceType: unique symbol;

/** The name of a service of type `T`. */
export type Token<T> = symbol & { readonly [serviceType]?: T };

/** Makes the token called `name`; the same name gives the same token. */
export function token<T>(name: string): Token<T> {
  return Symbol.for(`visorkit:${name}`) as Token<T>;
}

/** The name a token was made with, for messages. */
export function tokenName(of: Token<unknown>): string {
  return (of.description ?? String(of)).replace(/^visorkit:/, '');
}
