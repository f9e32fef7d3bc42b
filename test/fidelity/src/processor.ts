export interface Processor { readonly memory: Uint8Array; enter(): void; exited(): boolean; flags(): number; setFlags(v: number): void; codeChanged(hpa: number, length: number): void; flushTlb(): void }
export async function createProcessor(ram: number): Promise<Processor> { throw new Error(String(ram)); }
