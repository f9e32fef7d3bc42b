/** System calls of Linux served by the host, one plugin for each group. */
import type { Plugin } from '@visorkit/core';
import { attributes } from './attributes.js';
import { descriptors } from './descriptors.js';
import { directories } from './directories.js';
import { processes } from './executing.js';
import { fileEvents } from './inotify.js';
import { identity } from './identity.js';
import { memory, signals, threads } from './kernel-calls.js';
import { opening } from './opening.js';
import { pipes } from './pipes.js';
import { posixTimers } from './posix-timers.js';
import { readWrite } from './read-write.js';
import { signalFiles } from './signal-files.js';
import { sockets } from './sockets.js';
import { splicing } from './splicing.js';
import { status } from './status.js';
import { system } from './system.js';
import { time } from './time.js';
import { timerFiles } from './timer-files.js';
import { waiting } from './waiting.js';

/** Every group. */
export function linuxSystemCalls(): Plugin[] {
  return [
    readWrite(),
    descriptors(),
    opening(),
    status(),
    directories(),
    attributes(),
    memory(),
    signals(),
    threads(),
    processes(),
    time(),
    timerFiles(),
    posixTimers(),
    signalFiles(),
    identity(),
    system(),
    pipes(),
    sockets(),
    splicing(),
    waiting(),
    fileEvents(),
  ];
}

export {
  attributes,
  descriptors,
  directories,
  fileEvents,
  identity,
  memory,
  opening,
  pipes,
  posixTimers,
  processes,
  readWrite,
  signalFiles,
  signals,
  sockets,
  splicing,
  status,
  system,
  threads,
  time,
  timerFiles,
  waiting,
};
export { group } from './group.js';
export { linuxProcess } from './process-plugin.js';
export type { LinuxProcessOptions, Mount } from './process-plugin.js';
export type { HostInput, HostOutput, HostTerminal } from './streams.js';
