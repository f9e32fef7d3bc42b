/** Pins of the processors, besides those for interrupts, that the board of a PC drives or reads. A backend that has them provides the service. */
export interface ProcessorPins {
  /**
   * A20M#: with `closed` bit 20 of every physical address that a processor puts out is 0, so that odd megabytes show the even ones below them
   * (SDM 3A, 21.1.1). Costs nothing while it is open.
   */
  gateA20(closed: boolean): void;
  /**
   * FERR# is read by somebody: an unmasked x87 error with CR0.NE = 0 makes an exit for exception 16, before the waiting instruction that the
   * error would be reported at (SDM 1, 8.7.2). Who takes it answers HALT: the processor stops there until an interrupt comes. Unless this is
   * called such an error is forgotten.
   */
  wireErrors(): void;
  /** IGNNE#: vCPU `vcpu` does not report the x87 error that is pending now. The pin is released when the error is gone. */
  ignoreError(vcpu: number): void;
}
