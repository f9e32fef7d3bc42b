/**
 * Which vector a processor is to be interrupted with: request, service and trigger-mode registers against the task
 * priority (SDM 3A, 11.8).
 */
import { ApicRegister } from './registers.js';
import { VectorSet } from './vector-set.js';

export interface InterruptPriorityState {
  taskPriority: number;
  inService: number[];
  request: number[];
  triggerMode: number[];
}

export class InterruptPriority {
  readonly #request = new VectorSet();
  readonly #inService = new VectorSet();
  readonly #triggerMode = new VectorSet();
  #taskPriority = 0;
  #deliverable = false;

  /** Whether a requested vector is above the processor priority. */
  get deliverable(): boolean {
    return this.#deliverable;
  }

  /** TPR, 0-255. */
  get task(): number {
    return this.#taskPriority;
  }

  set task(value: number) {
    this.#taskPriority = value & 0xff;
    this.#evaluate();
  }

  /** PPR (11.8.3.1): the task priority or the class of what is in service, whichever is higher. */
  get processor(): number {
    const inService = this.#inService.highest();
    const serviceClass = inService < 0 ? 0 : inService & 0xf0;
    return (this.#taskPriority & 0xf0) >= serviceClass ? this.#taskPriority : serviceClass;
  }

  /** A request comes in. */
  accept(vector: number, level: boolean): void {
    this.#request.set(vector);
    if (level) this.#triggerMode.set(vector);
    else this.#triggerMode.clear(vector);
    this.#evaluate();
  }

  /** The processor takes the highest request; -1 when none is deliverable. */
  acknowledge(): number {
    if (!this.#deliverable) return -1;
    const vector = this.#request.highest();
    this.#request.clear(vector);
    this.#inService.set(vector);
    this.#evaluate();
    return vector;
  }

  /** The highest interrupt in service ends. Gives its vector if it was level triggered, else -1. */
  endOfInterrupt(): number {
    const vector = this.#inService.highest();
    if (vector < 0) return -1;
    this.#inService.clear(vector);
    this.#evaluate();
    return this.#triggerMode.has(vector) ? vector : -1;
  }

  /** The 32-bit words of ISR, TMR and IRR by register number; undefined for other registers. */
  word(register: number): number | undefined {
    if (register < ApicRegister.inService || register >= ApicRegister.request + 8) return undefined;
    const set =
      register >= ApicRegister.request
        ? this.#request
        : register >= ApicRegister.triggerMode
          ? this.#triggerMode
          : this.#inService;
    return set.word(register & 7);
  }

  /** Forgets everything but the task priority. */
  clear(): void {
    this.#request.empty();
    this.#inService.empty();
    this.#triggerMode.empty();
    this.#evaluate();
  }

  save(): InterruptPriorityState {
    return {
      taskPriority: this.#taskPriority,
      inService: this.#inService.save(),
      request: this.#request.save(),
      triggerMode: this.#triggerMode.save(),
    };
  }

  restore(state: InterruptPriorityState): void {
    this.#taskPriority = state.taskPriority;
    this.#inService.restore(state.inService);
    this.#request.restore(state.request);
    this.#triggerMode.restore(state.triggerMode);
    this.#evaluate();
  }

  #evaluate(): void {
    const vector = this.#request.highest();
    this.#deliverable = vector >= 0 && (vector & 0xf0) > (this.processor & 0xf0);
  }
}
