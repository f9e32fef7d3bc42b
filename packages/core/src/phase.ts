/** What the kernel is doing. Numbers, as everything that is stored at each exit. */
export const Phase = { GUEST: 0, EXIT: 1, ENTRY: 2, TIMER: 3, INTERRUPT: 4 } as const;
export type Phase = (typeof Phase)[keyof typeof Phase];
