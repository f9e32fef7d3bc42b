/** The labs, each a function that prints what it finds in a guest. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { LinuxKernel } from '@visorkit/os-linux';
import { WindowsKernel, timeText } from '@visorkit/os-windows';
import { VmiEventsToken } from '@visorkit/vmi';
import type { SymbolTable, Vmi } from '@visorkit/vmi';

export type Print = (line: string) => void;

const hex = (value: bigint | number | undefined): string => (value === undefined ? '-' : `0x${value.toString(16)}`);

/** Lab 1: which Windows this is, by the header of its kernel's image. */
export function whichWindows({ kernel }: Vmi, print: Print): void {
  if (!(kernel instanceof WindowsKernel)) return print(`This is no Windows, but ${kernel.os} ${kernel.release}.`);
  const { guid } = kernel;
  const { image } = kernel.base;
  if (guid === undefined || image === undefined) return print("The headers of the kernel's image are not in memory.");
  print(`image ${guid.pe}, symbols ${guid.pdbName} ${guid.pdb} age ${guid.age}`);
  for (const { name, address, size } of image.sections)
    print(`section ${name.padEnd(8)} at ${hex(address)}, ${size} bytes`);
}

/** Lab 2: a plugin that tells each change of CR3: the processor goes from a process to another. */
export const processSwitches = (print: Print): Plugin =>
  definePlugin({
    name: 'process-switches',
    uses: { events: VmiEventsToken },
    apply(_host, { events }) {
      events.register({ register: 'cr3', onChange: true }, ({ vcpu, value, previous }) =>
        print(
          `vCPU ${vcpu.index}: CR3 ${hex(previous)} to ${hex(value)}, RBX ${hex(vcpu.rbx)}, CR0 ${hex(vcpu.getControlRegister(0))}`,
        ),
      );
    },
  });

/** Lab 3: processes with their page tables and parents, and when the first thread of each was made. */
export function processList({ kernel }: Vmi, print: Print): void {
  for (const { pid, ppid, name, root, address } of kernel.processes()) {
    const [first] = firstThread(kernel, address);
    print(`${String(pid).padStart(5)} ${name.padEnd(16)} parent ${ppid}, tables at ${hex(root)}${first ?? ''}`);
  }
}

function* firstThread(kernel: Vmi['kernel'], process: bigint): Generator<string> {
  if (kernel instanceof WindowsKernel)
    for (const { pid, tid, created } of kernel.threads(process)) yield `, thread ${pid}.${tid} of ${timeText(created)}`;
  if (kernel instanceof LinuxKernel)
    for (const { pid, startTime } of kernel.threads(process))
      yield `, thread ${pid} made ${(Number(startTime) / 1e9).toFixed(3)} s after the boot`;
}

/** Lab 4: the first bytes at a symbol, and who says where it is: the kernel itself, or a System.map beside it. */
export function mapSymbol(vmi: Vmi, name: string, print: Print, map?: SymbolTable): void {
  const { symbols } = vmi.kernel;
  const own = symbols.address(name);
  print(`${name} is at ${hex(own)} by ${symbols.source}`);
  if (map !== undefined) print(`${name} is at ${hex(map.address(name))} by ${map.source}, as it was linked`);
  if (own === undefined) return;
  for (let at = own; at < own + 64n; at += 8n) {
    const near = vmi.symbolAt(vmi.u64({ linear: at }));
    print(`${hex(at)}: ${hex(vmi.u64({ linear: at }))}${near?.offset === 0n ? ` ${near.symbol.name}` : ''}`);
  }
}
