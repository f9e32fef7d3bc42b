/** Types whose parts are made when they are asked for: types refer to one another in circles. */
import type { Member, Type, TypeKind } from './type.js';

export const VOID: Type = { kind: 'void', name: '', size: 0 };
/** In the place of what a source lacks, or says wrongly. */
export const NO_TYPE: Type = { kind: 'unknown', name: '', size: 0 };

export class LazyPointer implements Type {
  readonly kind = 'pointer';
  readonly name = '';
  #target: Type | undefined;

  constructor(
    readonly size: number,
    private readonly find: () => Type,
  ) {}

  get target(): Type {
    return (this.#target ??= this.find());
  }
}

export class LazyArray implements Type {
  readonly kind = 'array';
  readonly name = '';
  #target: Type | undefined;

  readonly size: number;

  /** `length`: elements; where it is left out, as many as fit into `size`. */
  constructor(
    size: number,
    private readonly find: () => Type,
    private readonly length?: number,
  ) {
    // In damaged types a product of counts may be more than any number
    this.size = Math.min(size, Number.MAX_SAFE_INTEGER);
  }

  get target(): Type {
    return (this.#target ??= this.find());
  }
  get count(): number {
    if (this.length !== undefined) return this.length;
    return this.target.size === 0 ? 0 : Math.floor(this.size / this.target.size);
  }
}

export class LazyStructure implements Type {
  #members: readonly Member[] | undefined;

  constructor(
    readonly kind: TypeKind & ('struct' | 'union'),
    readonly name: string,
    readonly size: number,
    private readonly read: () => readonly Member[],
  ) {}

  get members(): readonly Member[] {
    return (this.#members ??= this.read());
  }
}
