/** The options of `visorkit run`, which every command that runs a guest takes. */
import type { Command } from 'commander';

/** Options as commander gives them: text, or absent. */
export interface RunFlags {
  kernel?: string;
  firmware?: string;
  initrd?: string;
  module?: string[];
  append?: string;
  memory?: string;
  cpus?: string;
  cpu?: string;
  translate?: string;
  translations?: string;
  backend?: string;
  plugin?: string[];
  serial?: string;
  debugcon?: string;
  vga?: string;
  debugExit?: boolean;
  testdev?: boolean;
  time?: string;
  maxInstructions?: string;
  timeout?: string;
  save?: string;
  restore?: string;
  introspector?: string;
  profile?: string | true;
  report?: string;
  config?: string;
  loader?: string;
  address?: string;
  mode?: string;
  entry?: string;
  log?: string;
  verbose?: boolean;
}

/** Gathers an option that may be repeated. */
export const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

/**
 * Adds them to a command. `serial`: where the guest's serial console goes when nothing is said; the command itself sees to it. `profile: false`: the command has
 * another option of that name.
 */
export function addRunOptions(command: Command, { serial = 'stdio', profile = true } = {}): Command {
  command
    .option('--kernel <file>', 'bzImage, vmlinux or PVH ELF, multiboot image, flat binary, firmware')
    .option(
      '--firmware <file>',
      'start this first: OVMF, SeaBIOS, qboot; it gets the kernel, initrd and command line through fw_cfg',
    )
    .option('--initrd <file>', 'initial RAM disk, or first multiboot module')
    .option('--module <file>', 'multiboot module (repeatable)', collect)
    .option('--append <text>', 'kernel command line')
    .option('--memory <size>', 'RAM, as 256M or 1G (default 256M)')
    .option('--cpus <count>', 'processors (default 1)')
    .option('--cpu <features>', 'max, or max,-name,... to leave features out; also +vmx, vendor=intel|amd, phys-bits=N')
    .option(
      '--translate <when>',
      'on, off, verify, or after how many executions a block is translated to WebAssembly (vmx)',
    )
    .option(
      '--translations <file>',
      'keep what was translated there from run to run, or off (default: for operating systems, in the cache)',
    )
    .option('--backend <name>', 'vmx (default), kvm, or the path or package of another')
    .option('--plugin <path or package>', 'add a plugin (repeatable)', collect)
    .option('--serial <where>', `stdio, file:PATH or none (default ${serial}; Ctrl-a x leaves)`)
    .option('--debugcon <where>', 'output of ports 0xe9 and 0x402: stdio, file:PATH or none (default none)')
    .option('--vga <where>', 'a text screen (80x25): text, in the terminal; file:PATH, as lines; or none (default)')
    .option('--debug-exit', 'isa-debug-exit at port 0xf4: the status is (value<<1)|1')
    .option('--testdev', 'the test devices of kvm-unit-tests: pc-testdev, pci-testdev and hypercalls of KVM')
    .option('--time <kind>', 'real or virtual (default real); virtual time is repeatable to the instruction')
    .option('--max-instructions <count>', 'stop after so many guest instructions')
    .option('--timeout <seconds>', 'stop after so many seconds')
    .option('--save <file>', 'save the VM when its run ends, and each time the process gets SIGUSR2')
    .option('--restore <file>', 'go on with a saved VM; memory, CPUs and time are as they were')
    .option('--introspector <path>', 'answer "visorkit vmi" on a socket there, which only you may open');
  if (profile)
    command.option(
      '--profile [file]',
      'show at the end what the guest ran most, and whether it ran translated; .json for JSON',
    );
  return command
    .option('--report <file>', 'write a JSON report, - for standard output')
    .option('--config <file>', 'configuration file (default visorkit.config.ts or .mjs, if there is one)')
    .option('--loader <name>', 'boot loader, instead of recognising the image')
    .option('--address <number>', 'flat binary: load address')
    .option('--mode <mode>', 'flat binary: real16, protected32 or long64')
    .option('--entry <bits>', 'bzImage: 16, 32 or 64')
    .option('--log <level>', 'what plugins say: debug, info, warn, error or none (default info)')
    .option('--verbose', 'say at the end what happened');
}
