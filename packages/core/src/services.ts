/**
 * The services of one VM: a tsyringe child container of its own, so that two VMs never meet.
 *
 * Everything is registered under symbol tokens and injected with `@inject(token)` on every constructor parameter; nothing
 * depends on emitted type metadata. tsyringe's own disposal is not used: it runs in order of creation and leaves out what
 * was registered as a value. The VM's {@link DisposalStack} does it in reverse order.
 */
import 'reflect-metadata';
import { container as root } from 'tsyringe';
import type { DependencyContainer } from 'tsyringe';
import type { DisposalStack } from './disposal.js';
import { disposerOf } from './disposal.js';
import { VisorkitError, isVisorkitError } from './errors.js';
import type { Services } from './plugin.js';
import type { Token } from './token.js';
import { tokenName } from './token.js';

export class ServiceContainer implements Services {
  readonly #container: DependencyContainer = root.createChildContainer();
  readonly #owners = new Map<symbol, string>();

  constructor(
    private readonly currentPlugin: () => string,
    private readonly disposal: DisposalStack,
  ) {}

  get<T>(token: Token<T>): T {
    if (!this.has(token)) {
      const asker = this.currentPlugin();
      throw new VisorkitError(
        'SERVICE_MISSING',
        `${asker === '' ? 'The VM' : `Plugin ${asker}`} asks for the service "${tokenName(token)}", which nobody provides. Add a plugin that provides it${asker === '' ? '' : `, and name it in requires.services so that it is applied before ${asker}`}.`,
        { service: tokenName(token), plugin: asker },
      );
    }
    return this.#container.resolve<T>(token);
  }

  find<T>(token: Token<T>): T | undefined {
    return this.has(token) ? this.#container.resolve<T>(token) : undefined;
  }

  has(token: Token<unknown>): boolean {
    return this.#owners.has(token);
  }

  /** Who provides a service. */
  ownerOf(token: Token<unknown>): string | undefined {
    return this.#owners.get(token);
  }

  provide<T>(token: Token<T>, value: T): void {
    const owner = this.currentPlugin() || 'the kernel';
    const other = this.#owners.get(token);
    if (other !== undefined) {
      throw new VisorkitError(
        'SERVICE_CONFLICT',
        `${owner} provides the service "${tokenName(token)}", but ${other} already does. Leave one of them out.`,
        { service: tokenName(token), plugins: [other, owner] },
      );
    }
    this.#container.register(token, { useValue: value });
    this.#owners.set(token, owner);
  }

  make<T>(type: new (...dependencies: never[]) => T): T {
    let made: T;
    try {
      made = this.#container.resolve(type as unknown as new (...dependencies: unknown[]) => T);
    } catch (error) {
      if (isVisorkitError(error)) throw error;
      throw new VisorkitError(
        'SERVICE_MAKE',
        `${type.name} could not be made: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}. Each constructor parameter needs @inject(token), and each token a plugin that provides it.`,
        { type: type.name },
        error,
      );
    }
    const dispose = disposerOf(made);
    if (dispose !== undefined) this.disposal.add(type.name, dispose);
    return made;
  }

  /** Forgets everything; called last. */
  clear(): void {
    this.#owners.clear();
    this.#container.reset();
  }
}
