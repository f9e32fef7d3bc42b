/**
 * A vitest reporter that ends test files which do not end by themselves.
 *
 * vitest's own time limits are timers of the worker's event loop. A worker whose thread is inside a call that does not return (a guest in
 * KVM_RUN, a child process waited for, a loop of the processor) never sees them, and one such file would keep the whole run from ending. Here the
 * parent looks: it says which file it is and what its process is doing, and ends that process. vitest then counts the file as failed.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { relative } from 'node:path';
import { root } from './steps.mjs';

/** The longest file takes some forty seconds; this leaves room for a machine ten times slower. */
const LIMIT_SECONDS = Number(process.env.VISORKIT_TEST_FILE_SECONDS ?? 480);
const LOOK_EVERY_MS = Math.min(5000, LIMIT_SECONDS * 250);
/** A killed process that is still there after so long is inside the kernel and cannot be ended. */
const PATIENCE_SECONDS = 60;
/** Linux counts the start of processes in these units. */
const TICKS_PER_SECOND = 100;

export default class StuckFiles {
  #started = new Map();
  /** When workers were killed, by pid. */
  #killed = new Map();
  #timer;

  onTestRunStart() {
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
    this.#timer.unref();
  }

  onTestModuleQueued(module) {
    this.#started.set(module.moduleId, performance.now());
  }
  onTestModuleEnd(module) {
    this.#started.delete(module.moduleId);
  }
  onTestRunEnd() {
    clearInterval(this.#timer);
  }

  #look() {
    for (const [file, since] of this.#started) {
      const seconds = (performance.now() - since) / 1000;
      if (seconds < LIMIT_SECONDS) continue;
      this.#started.delete(file);
      process.stderr.write(
        `STUCK: ${relative(root, file)} has not ended after ${Math.round(seconds)} s. Its process is ended, and the file counts as failed.\n`,
      );
      // A worker serves one file, so the worker of a stuck file is one that is as old
      for (const pid of childrenOlderThan(LIMIT_SECONDS - LOOK_EVERY_MS / 1000)) {
        for (const each of [pid, ...descendantsOf(pid)]) describe(each);
        for (const each of [...descendantsOf(pid), pid]) kill(each);
        this.#killed.set(pid, performance.now());
      }
    }
    this.#giveUp();
  }

  /** vitest waits for its workers to end. One that cannot be ended is not waited for. */
  #giveUp() {
    const alive = new Set(this.#killed.size > 0 ? processes().map(({ pid }) => pid) : []);
    for (const [pid, since] of this.#killed) {
      if (!alive.has(pid)) this.#killed.delete(pid);
      else if ((performance.now() - since) / 1000 > PATIENCE_SECONDS) {
        process.stderr.write(`Process ${pid} cannot be ended; the run is given up.\n`);
        describe(pid);
        process.exit(1);
      }
    }
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

/** Parent and age in seconds of every process; empty where there is no procfs. */
function processes() {
  const uptime = Number(read('/proc/uptime').split(' ')[0]);
  let names = [];
  try {
    names = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    // Not Linux: the run goes on waiting, but it has been said for what
  }
  return names.flatMap((name) => {
    // pid (command) state ppid …; the command may hold anything, parentheses too
    const fields = read(`/proc/${name}/stat`)
      .replace(/^.*\) /s, '')
      .split(' ');
    return fields.length > 20
      ? [{ pid: Number(name), parent: Number(fields[1]), age: uptime - Number(fields[19]) / TICKS_PER_SECOND }]
      : [];
  });
}

function childrenOlderThan(seconds) {
  return processes()
    .filter(({ parent, age }) => parent === process.pid && age > seconds)
    .map(({ pid }) => pid);
}

function descendantsOf(pid, all = processes()) {
  return all.filter(({ parent }) => parent === pid).flatMap((child) => [child.pid, ...descendantsOf(child.pid, all)]);
}

/** What a process is doing, by thread: the system call it is in and where in the kernel it waits. */
function describe(pid) {
  process.stderr.write(`  process ${pid}: ${read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').slice(0, 200)}\n`);
  let threads = [];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return; // it has just ended
  }
  for (const thread of threads) {
    const at = `/proc/${pid}/task/${thread}`,
      state = /^State:\s*(.*)$/m.exec(read(`${at}/status`))?.[1] ?? '';
    process.stderr.write(
      `    ${read(`${at}/comm`)} ${thread}: ${state}; system call ${read(`${at}/syscall`) || 'unknown'}; ${read(`${at}/wchan`)}\n`,
    );
    const stack = read(`${at}/stack`)
      .split('\n')
      .slice(0, 6)
      .map((line) => line.replace(/^\[<0>\] /, ''))
      .join(' < ');
    if (Number(thread) === pid && stack !== '') process.stderr.write(`      ${stack}\n`);
  }
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has just ended
  }
}
