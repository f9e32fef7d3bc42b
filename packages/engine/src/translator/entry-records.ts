/** The first records of blocks, where the interpreter finds a block's region and counts what asks for one: fields E_ of code-layout.ts. */
import { E_COUNT, E_COUNTER, E_CROSSED, E_FUNCTION, E_LIMIT, E_WAITS } from '../code-layout.js';
import { TIER_THRESHOLD } from '../layout.js';

const NEVER = 0xffff_ffff;
/** If a region cannot be made again when it asks, it asks again after this share of the entries. */
const SOONER = 8;

export class EntryRecords {
  constructor(
    private readonly words: Uint32Array,
    /** Entries after which a region asks to be made again. */
    readonly most: number,
  ) {}

  /** Function of the block's region in the table, 0 none. */
  functionOf(record: number): number {
    return this.words[(record + E_FUNCTION) >>> 2]!;
  }
  /** How often the block's region has been entered, if that is counted. */
  entriesOf(record: number): number {
    const counter = this.words[(record + E_COUNTER) >>> 2]!;
    return counter === 0 ? 0 : this.words[counter >>> 2]!;
  }
  /** Whether a page keeps ending between accesses of the region that share a check. */
  isCrossed(record: number): boolean {
    return this.words[(record + E_CROSSED) >>> 2]! >= 2 * this.threshold;
  }

  /** The block is entered as a region from now on, whose entries are counted in the word at `counter`, 0: they are not. */
  enter(record: number, index: number, counter: number): void {
    this.words[(record + E_FUNCTION) >>> 2] = index;
    this.words[(record + E_COUNTER) >>> 2] = counter;
    this.waitOn(record);
  }
  /** The block is interpreted again, and asks when it has run as often as any other must. */
  withdraw(record: number): void {
    this.words[(record + E_FUNCTION) >>> 2] = 0;
    this.words[(record + E_COUNTER) >>> 2] = 0;
    this.countAgain(record);
  }
  /** Whether the block asks before it has run as often as others must, since it is known. */
  isEarly(record: number): boolean {
    return this.words[(record + E_COUNT) >>> 2]! < this.threshold;
  }
  /** It is not known after all: it asks when others do. */
  waitLonger(record: number): void {
    this.words[(record + E_LIMIT) >>> 2] = this.threshold;
    this.words[(record + E_WAITS) >>> 2] = 0;
  }
  /** The block does not ask any more. */
  silence(record: number): void {
    this.words[(record + E_LIMIT) >>> 2] = NEVER;
  }
  countAgain(record: number): void {
    this.words[(record + E_COUNT) >>> 2] = 0;
    this.waitOn(record);
  }
  /** A region that is to be made again stays as it is for now. */
  askLater(record: number): void {
    this.words[this.words[(record + E_COUNTER) >>> 2]! >>> 2] = this.most - Math.ceil(this.most / SOONER);
    this.waitOn(record);
  }

  private waitOn(record: number): void {
    const { words } = this;
    words[(record + E_LIMIT) >>> 2] = words[(record + E_COUNT) >>> 2]! + this.threshold;
    words[(record + E_WAITS) >>> 2] = 0;
  }
  private get threshold(): number {
    return this.words[TIER_THRESHOLD >>> 2]!;
  }
}
