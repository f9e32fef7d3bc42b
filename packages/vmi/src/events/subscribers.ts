/** Who is told of events: in which order, what becomes of one that throws, and what is undone with the last. */
import { VisorkitError, fail } from '@visorkit/core';
import type { Logger, Undo } from '@visorkit/core';
import type { VmiEvent } from './event.js';
import type { AnyResponse, Answer } from './responses.js';

/** What becomes of the run when a handler throws: it ends with a report that names the subscriber, or the error is logged and the guest goes on. */
export type OnError = 'stop' | 'go-on';

/** How to be told of events. */
export interface SubscribeOptions {
  /** Who is asked first: lower numbers before higher ones, equal ones in the order of subscription. 0 unless given. */
  readonly order?: number;
  /** For reports; the handler's own name unless given. */
  readonly name?: string;
  /** Unless given, as the plugin was told. */
  readonly onError?: OnError;
}

/** One subscriber. */
export interface Subscription<E extends VmiEvent = VmiEvent> {
  readonly handler: (event: E) => AnyResponse | undefined | void;
  readonly kind: string;
  readonly name: string;
  readonly order: number;
  readonly onError: OnError;
  /** Fields that it may answer. */
  readonly fields: ReadonlySet<string>;
  /** Undefined: all vCPUs. */
  readonly vcpus: ReadonlySet<number> | undefined;
  /** Whether it wants this event; all of them unless given. */
  readonly wants: ((event: E) => boolean) | undefined;
  gone: boolean;
}

/** What all subscriptions of a VM have in common. */
export interface Surroundings {
  readonly plugin: string;
  readonly cpus: number;
  readonly logger: Logger;
  readonly onError: OnError;
}

let made = 0;

/** Checks what a caller gives, and makes a subscription of it. */
export function subscription<E extends VmiEvent>(
  around: Surroundings,
  kind: string,
  fields: ReadonlySet<string>,
  handler: Subscription<E>['handler'],
  options: SubscribeOptions,
  vcpus?: readonly number[],
  wants?: Subscription<E>['wants'],
): Subscription<E> {
  if (typeof handler !== 'function')
    fail('VMI_EVENT_FILTER', `The last argument of ${kind} is the handler, a function; it is ${String(handler)}.`);
  const { order = 0, name, onError = around.onError } = options;
  if (typeof order !== 'number' || Number.isNaN(order))
    fail('VMI_EVENT_FILTER', `The order of a subscriber is a number; it is ${String(order)}.`);
  if (onError !== 'stop' && onError !== 'go-on')
    fail('VMI_EVENT_FILTER', `onError is "stop" or "go-on", not ${JSON.stringify(onError)}.`);
  for (const index of vcpus ?? [])
    if (!Number.isInteger(index) || index < 0 || index >= around.cpus)
      fail('VMI_EVENT_FILTER', `There is no vCPU ${String(index)}; this VM has ${around.cpus}.`);
  made++;
  return {
    handler,
    kind,
    name: name ?? (handler.name || `subscriber ${made}`),
    order,
    onError,
    fields,
    vcpus: vcpus === undefined ? undefined : new Set(vcpus),
    wants,
    gone: false,
  };
}

/** Asks one subscriber. False: it does not want this event. */
export function ask<E extends VmiEvent>(
  { plugin, logger }: Surroundings,
  subscriber: Subscription<E>,
  event: E,
  answer: Answer,
): boolean {
  if (subscriber.gone) return false;
  if (subscriber.vcpus !== undefined && !subscriber.vcpus.has(event.vcpu.index)) return false;
  if (subscriber.wants !== undefined && !subscriber.wants(event)) return false;
  try {
    const response = subscriber.handler(event);
    if (response !== undefined) {
      checkResponse(subscriber, response as AnyResponse);
      answer.add(response as AnyResponse);
    }
  } catch (error) {
    const what = `the subscriber "${subscriber.name}" of ${subscriber.kind} events failed: ${error instanceof Error ? error.message : String(error)}`;
    if (subscriber.onError === 'go-on') logger.error(what);
    else
      throw new VisorkitError(
        'PLUGIN_FAILED',
        `Plugin ${plugin}: ${what}`,
        { plugin, subscriber: subscriber.name, event: subscriber.kind },
        error,
      );
  }
  return true;
}

function checkResponse({ kind, fields }: Subscription<never>, response: AnyResponse): void {
  const allowed = (): string => `it may answer nothing, or an object of ${[...fields].join(', ')}`;
  if (typeof response !== 'object' || response === null)
    fail('VMI_EVENT_RESPONSE', `A handler of ${kind} events answered ${String(response)}; ${allowed()}.`);
  if (typeof (response as PromiseLike<unknown>).then === 'function') {
    (response as PromiseLike<unknown>).then(undefined, () => {}); // nobody awaits it, so a later rejection must not end the process
    fail(
      'VMI_EVENT_RESPONSE',
      `A handler of ${kind} events is asynchronous: the guest waits for it, so it must answer at once.`,
    );
  }
  for (const field in response)
    if (!fields.has(field))
      fail(
        'VMI_EVENT_RESPONSE',
        `A handler of ${kind} events answered "${field}", which makes no sense there; ${allowed()}.`,
      );
}

/** Puts a subscriber in its place; the list that is given stays as it is, because it may be in use. */
export function placed<S extends { readonly order: number }>(list: readonly S[], one: S): readonly S[] {
  const at = list.findIndex(({ order }) => order > one.order);
  return at < 0 ? [...list, one] : [...list.slice(0, at), one, ...list.slice(at)];
}

/** What is needed as long as somebody uses it: made with the first user, undone with the last. */
export class WhileUsed {
  #users = 0;
  #undo: Undo | undefined;

  constructor(private readonly begin: () => Undo) {}

  get used(): boolean {
    return this.#users > 0;
  }

  use(): Undo {
    if (this.#users++ === 0) this.#undo = this.begin();
    return once(() => {
      if (--this.#users > 0) return;
      this.#undo?.();
      this.#undo = undefined;
    });
  }
}

/** All subscribers of one kind of event. */
export class Subscribers<E extends VmiEvent> {
  #list: readonly Subscription<E>[] = [];

  constructor(private readonly around: Surroundings) {}

  get used(): boolean {
    return this.#list.length > 0;
  }

  add(one: Subscription<E>): Undo {
    this.#list = placed(this.#list, one);
    return once(() => {
      one.gone = true;
      this.#list = this.#list.filter((other) => other !== one);
    });
  }

  /** Tells all who want the event. True: somebody did. */
  tell(event: E, answer: Answer): boolean {
    const list = this.#list;
    let wanted = false;
    for (let i = 0; i < list.length; i++) if (ask(this.around, list[i], event, answer)) wanted = true;
    return wanted;
  }
}

/** Does it the first time it is called. */
export function once(undo: Undo): Undo {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    undo();
  };
}

/** Undoes several things, the last first. */
export function together(...undos: readonly Undo[]): Undo {
  return once(() => {
    for (let i = undos.length - 1; i >= 0; i--) undos[i]();
  });
}
