/**
 * One hook: tapable's, with taps that can be removed and that know which plugin made them.
 *
 * tapable cannot remove a tap, and runs interceptors only in its own call function. Here a tap returns the function that removes it;
 * the kernel itself uses no interceptors, so that `isUsed()` says whether anybody listens; and code that flattens the taps into a
 * table of its own leaves the call to tapable if there are interceptors.
 */
import type { AsyncSeriesHook, SyncBailHook, SyncHook } from 'tapable';
import { fail } from './errors.js';

/** Takes back what was done. Calling it again does nothing. */
export type Undo = () => void;

export interface TapOptions {
  /** For reports, and for `before` of others; the plugin's name unless given. */
  readonly name?: string;
  /** See {@link Stage}; 0 unless given. */
  readonly stage?: number;
  /** Names of taps that this one comes before. */
  readonly before?: string | readonly string[];
}

/** A tap as it stands in a hook. */
export interface TapInfo {
  readonly name: string;
  /** The plugin that made the tap, '' for the application. */
  readonly plugin: string;
  readonly stage: number;
}

/** tapable's interceptors: told of each call, each tap that runs, each tap that is registered. */
export interface HookInterceptor {
  readonly name?: string;
  readonly call?: (...args: never[]) => void;
  readonly tap?: (tap: TapInfo) => void;
  readonly error?: (error: Error) => void;
  readonly result?: (result: never) => void;
  readonly done?: () => void;
}

/** What everybody can do with a hook. Adding or removing a tap takes effect at the next call. */
export interface Hook<F> {
  /** Adds a handler; what is returned takes it away again. */
  tap(handler: F): Undo;
  tap(options: string | TapOptions, handler: F): Undo;
  /** Adds an interceptor of tapable's; what is returned takes it away again. */
  intercept(interceptor: HookInterceptor): Undo;
  /** Whether anybody taps or intercepts it. */
  isUsed(): boolean;
  readonly taps: readonly TapInfo[];
}

/** A hook that is called at once and ignores what its handlers return. */
export interface SyncTaps<Args extends unknown[]> extends Hook<(...args: Args) => unknown> {
  call(...args: Args): void;
}

/** A hook whose handlers may take time. */
export interface AsyncTaps<Args extends unknown[]> extends Hook<(...args: Args) => unknown> {
  promise(...args: Args): Promise<void>;
}

type Handler = (...args: never[]) => unknown;
type AnyHook = SyncHook<unknown[]> | SyncBailHook<unknown[], unknown> | AsyncSeriesHook<unknown[]>;

/** The parts of tapable's hooks that are used here but are not in their types. */
interface Inside {
  readonly taps: (TapInfo & { readonly fn: Handler; readonly key?: object })[];
  readonly interceptors: unknown[];
  isUsed(): boolean;
  tap(options: object, handler: Handler): void;
  tapPromise(options: object, handler: Handler): void;
  intercept(interceptor: unknown): void;
  call(...args: unknown[]): unknown;
  promise(...args: unknown[]): Promise<unknown>;
  /** Makes the next call compile the hook anew. */
  _resetCompilation(): void;
}

/** Who taps, what to call at a change, and, if given, what to call before each handler. */
export interface HookOwner {
  /** The plugin whose code runs now, '' for none. */
  readonly currentPlugin: () => string;
  /** Called after each change of taps or interceptors. */
  readonly changed?: () => void;
  /** Called before each handler runs. */
  readonly running?: (plugin: string) => void;
}

/** A hook of the kernel. `asynchronous` says that its handlers may return promises. */
export class KernelHook<F extends Handler> implements Hook<F> {
  readonly #hook: Inside;
  readonly #owner: HookOwner;
  readonly #asynchronous: boolean;

  constructor(hook: AnyHook, owner: HookOwner, asynchronous = false) {
    this.#hook = hook as unknown as Inside;
    this.#owner = owner;
    this.#asynchronous = asynchronous;
  }

  get taps(): readonly TapInfo[] {
    return this.#hook.taps;
  }

  /** The handlers in order. */
  get handlers(): readonly F[] {
    return this.#hook.taps.map(({ fn }) => fn as F);
  }

  /** Whether calls have to go through tapable for its interceptors' sake. */
  get intercepted(): boolean {
    return this.#hook.interceptors.length > 0;
  }

  isUsed(): boolean {
    return this.#hook.isUsed();
  }

  tap(first: F | string | TapOptions, handler?: F): Undo {
    return this.tapFor(this.#owner.currentPlugin(), first, handler);
  }

  /** `tap` in the name of a plugin. */
  tapFor(plugin: string, first: F | string | TapOptions, handler: F | undefined): Undo {
    const hook = this.#hook;
    const [options, given] =
      typeof first === 'function' ? [{}, first] : [typeof first === 'string' ? { name: first } : first, handler];
    if (typeof given !== 'function') {
      fail(
        'HOOK_TAP',
        `A tap is tap(handler) or tap({ name, stage, before }, handler); the handler given is ${String(given)}.`,
      );
    }
    const { running } = this.#owner;
    const name = options.name ?? plugin;
    const known: Handler =
      running === undefined
        ? given
        : (...args) => {
            running(plugin === '' ? name : plugin);
            return given(...args);
          };
    // tapable copies the tap. The key finds the copy again; the function could not, because it may be tapped twice
    const key = {};
    const tap = { stage: 0, ...options, name: name === '' ? 'the application' : name, plugin, key };
    if (this.#asynchronous) hook.tapPromise(tap, async (...args) => known(...args));
    else hook.tap(tap, known);
    this.#owner.changed?.();
    return () => {
      const place = hook.taps.findIndex((other) => other.key === key);
      if (place < 0) return;
      hook.taps.splice(place, 1);
      hook._resetCompilation();
      this.#owner.changed?.();
    };
  }

  intercept(interceptor: HookInterceptor): Undo {
    const hook = this.#hook;
    hook.intercept(interceptor);
    const placed = hook.interceptors.at(-1);
    this.#owner.changed?.();
    return () => {
      const place = hook.interceptors.indexOf(placed);
      if (place < 0) return;
      hook.interceptors.splice(place, 1);
      hook._resetCompilation();
      this.#owner.changed?.();
    };
  }

  call(...args: Parameters<F>): ReturnType<F> {
    return this.#hook.call(...args) as ReturnType<F>;
  }

  async promise(...args: Parameters<F>): Promise<void> {
    await this.#hook.promise(...args);
  }
}

/** A hook as a plugin sees it: its taps carry the plugin's name. */
export class PluginHook<F extends Handler> implements Hook<F> {
  readonly #hook: KernelHook<F>;
  readonly #plugin: string;

  constructor(hook: KernelHook<F>, plugin: string) {
    this.#hook = hook;
    this.#plugin = plugin;
  }

  get taps(): readonly TapInfo[] {
    return this.#hook.taps;
  }

  isUsed(): boolean {
    return this.#hook.isUsed();
  }

  tap(first: F | string | TapOptions, handler?: F): Undo {
    return this.#hook.tapFor(this.#plugin, first, handler);
  }

  intercept(interceptor: HookInterceptor): Undo {
    return this.#hook.intercept(interceptor);
  }

  call(...args: Parameters<F>): ReturnType<F> {
    return this.#hook.call(...args);
  }

  promise(...args: Parameters<F>): Promise<void> {
    return this.#hook.promise(...args);
  }
}
