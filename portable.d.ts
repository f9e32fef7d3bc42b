/**
 * What code of the frame may use besides the language (ES2023): what every host of JavaScript has, in the parts of it that are needed. Node's types and
 * a browser's are not there, so that the compiler refuses what only one of them has. What a host does (time, timers, files, messages)
 * is asked of `host` in @visorkit/core.
 */
declare class TextDecoder {
  constructor(encoding?: 'utf-8' | 'utf-16le', options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(bytes?: Uint8Array, options?: { stream?: boolean }): string;
}

declare class TextEncoder {
  encode(text: string): Uint8Array<ArrayBuffer>;
}

declare class URL {
  constructor(url: string, base?: string | URL);
  readonly href: string;
  readonly protocol: string;
  readonly pathname: string;
}

interface ImportMeta {
  readonly url: string;
}

interface AbortSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: 'abort', listener: () => void, options?: { once: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}
