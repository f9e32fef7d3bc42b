/** The second tier of one processor: it is made when code becomes hot, and knows what earlier runs have kept. */
import type { ProcessorExports } from '../module.js';
import type { WasmMemory, WasmModule } from '../webassembly.js';
import type { Journal } from './journalling.js';
import { KeptRegions } from './kept-regions.js';
import { buildOf } from './module-sections.js';
import { countExecutions, thresholdOf } from './options.js';
import type { TranslatorOptions } from './options.js';
import { Translator } from './translator.js';

/** What it is a part of. */
export interface TierOf {
  /** The processor's, and what an instance of it in `memory` exports. */
  readonly module: WasmModule;
  readonly exports: ProcessorExports;
  readonly memory: WasmMemory;
  readonly journal: Journal;
}

export class Tier {
  /** Undefined: no code has become hot yet. */
  translator: Translator | undefined;
  private kept: KeptRegions | undefined;

  constructor(
    private readonly of: TierOf,
    private readonly options: TranslatorOptions,
  ) {
    countExecutions(of.exports, options);
  }

  /** The translator, made now if there is none. */
  get(): Translator {
    const { module, exports, memory, journal } = this.of;
    return (this.translator ??= new Translator(module, memory, exports, this.options, journal, this.kept));
  }

  /** As the engine's keepRegions. */
  keep(earlier?: Uint8Array): boolean {
    const { module, memory } = this.of,
      build = buildOf(module);
    if (build === undefined || this.options.verify === true || this.translator !== undefined) return false;
    const bytes = new Uint8Array(memory.buffer),
      words = new Uint32Array(memory.buffer);
    this.kept ??= new KeptRegions(bytes, words, build, thresholdOf(this.options));
    return earlier !== undefined && this.kept.load(earlier);
  }
  /** As the engine's keptRegions. */
  written(): Uint8Array<ArrayBuffer> | undefined {
    return this.kept?.written();
  }
}
