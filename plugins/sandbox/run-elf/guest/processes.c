/*
 * Processes: what fork, vfork, execve, wait, groups, sessions and signals between processes give. Every line is the same on Linux. Numbers of
 * processes are told as relations only.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *self;
static int number = 1;
static volatile sig_atomic_t caught, caught_code, caught_pid;

#define SAY(...) do { printf(__VA_ARGS__); putchar('\n'); fflush(stdout); } while (0)

static void on_signal(int signal, siginfo_t *info, void *context) {
  caught = signal;
  caught_code = info->si_code;
  caught_pid = info->si_pid;
}

static void catch(int signal, int flags) {
  struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags };
  sigaction(signal, &action, 0);
}

static const char *how(int status) {
  static char text[80];
  if (WIFEXITED(status)) sprintf(text, "exit %d", WEXITSTATUS(status));
  else if (WIFSIGNALED(status)) sprintf(text, "signal %d", WTERMSIG(status));
  else if (WIFSTOPPED(status)) sprintf(text, "stopped %d", WSTOPSIG(status));
  else sprintf(text, "continued");
  return text;
}

static int status_of(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0) if (errno != EINTR) return -1;
  return status;
}

static void forks(void) {
  int private = 1, *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char *large = mmap(0, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(large, 'p', 64 * 4096);
  pid_t before = getpid(), child = fork();
  if (!child) {
    private = *shared = number = 2;
    large[5 * 4096] = 'c';
    SAY("child: pid differs %d, parent %d", getpid() != before, getppid() == before);
    SAY("child: %c%c", large[5 * 4096], large[6 * 4096]);
    _exit(9);
  }
  SAY("status %s", how(status_of(child)));
  SAY("private %d %d shared %d page %c", private, number, *shared, large[5 * 4096]);
  /* A page that the parent writes while the child still has it */
  int go[2];
  pipe(go);
  if (!(child = fork())) {
    char c;
    read(go[0], &c, 1);
    _exit(large[7 * 4096]);
  }
  large[7 * 4096] = 'z';
  write(go[1], "g", 1);
  SAY("the child's copy %d", WEXITSTATUS(status_of(child)) == 'p');
  /* A shared mapping whose pages are first touched after the fork */
  int *later = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (!(child = fork())) {
    later[1024] = 77;
    _exit(0);
  }
  status_of(child);
  SAY("first touched by the child %d", later[1024]);
  errno = 0;
  int none = waitpid(-1, 0, 0);
  SAY("no child %d %s", none, strerror(errno));
}

static void vforks(void) {
  int changed = 1;
  pid_t child = vfork();
  if (!child) {
    changed = 2;
    _exit(3);
  }
  SAY("vfork: %s, memory is shared %d", how(status_of(child)), changed);
  pid_t spawned;
  char *arguments[] = { (char *)self, "child", "spawned", 0 };
  int error = posix_spawn(&spawned, self, 0, 0, arguments, (char *[]){ "A=b", 0 });
  SAY("posix_spawn %d: %s", error, how(status_of(spawned)));
  error = posix_spawn(&spawned, "/nothing/here", 0, 0, arguments, environ);
  SAY("posix_spawn of nothing: %s", strerror(error));
}

static void executes(void) {
  pid_t child = fork();
  int kept = open("/dev/null", O_RDONLY), gone = open("/dev/null", O_RDONLY | O_CLOEXEC);
  char text[40], text2[40];
  sprintf(text, "%d", kept);
  sprintf(text2, "%d", gone);
  if (!child) {
    kept = open("/dev/null", O_RDONLY);
    signal(SIGUSR1, SIG_IGN);
    catch(SIGUSR2, 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, 0);
    kept = open("/dev/null", O_RDONLY);
    execve(self, (char *[]){ "the name", "child", "inherit", text, text2, 0 }, (char *[]){ "ONE=1", "TWO=2", 0 });
    _exit(99);
  }
  SAY("execve: %s", how(status_of(child)));
  close(kept);
  close(gone);
  errno = 0;
  execve("/nothing", (char *[]){ "x", 0 }, environ);
  SAY("nothing: %s", strerror(errno));
  char *longest = malloc(131073);
  memset(longest, 'x', 131072);
  longest[131072] = 0;
  execve(self, (char *[]){ "x", longest, 0 }, environ);
  SAY("an argument of 128 KiB: %s", strerror(errno));
  free(longest);
  execve("/", (char *[]){ "x", 0 }, environ);
  SAY("a folder: %s", strerror(errno));
  int fd = open("script", O_WRONLY | O_CREAT | O_TRUNC, 0755);
  dprintf(fd, "#!%s child script\nsomething\n", self);
  close(fd);
  if (!(child = fork())) {
    execve("./script", (char *[]){ "ignored", "one", "two", 0 }, environ);
    SAY("script: %s", strerror(errno));
    _exit(98);
  }
  SAY("script: %s", how(status_of(child)));
  fd = open("text", O_WRONLY | O_CREAT | O_TRUNC, 0755);
  dprintf(fd, "no program\n");
  close(fd);
  execve("./text", (char *[]){ "x", 0 }, environ);
  SAY("text: %s", strerror(errno));
  chmod("text", 0644);
  execve("./text", (char *[]){ "x", 0 }, environ);
  SAY("no right: %s", strerror(errno));
  unlink("script");
  unlink("text");
  if (!(child = fork())) {
    int program = open(self, O_RDONLY | O_CLOEXEC);
    syscall(SYS_execveat, program, "", (char *[]){ "at", "child", "at", 0 }, environ, AT_EMPTY_PATH);
    _exit(97);
  }
  SAY("execveat: %s", how(status_of(child)));
}

static void waits(void) {
  int status;
  pid_t children[3];
  for (int i = 0; i < 3; i++) if (!(children[i] = fork())) _exit(10 + i);
  SAY("the second: %s", how(status_of(children[1])));
  siginfo_t info = { 0 };
  int result = waitid(P_PID, children[2], &info, WEXITED | WNOWAIT);
  SAY("waitid %d: code %d status %d signal %d pid %d", result, info.si_code, info.si_status, info.si_signo, info.si_pid == children[2]);
  result = waitid(P_PID, children[2], &info, WEXITED);
  SAY("again %d: %d", result, info.si_status);
  pid_t any = wait(&status);
  SAY("any: the first %d, %s", any == children[0], how(status));
  pid_t child = fork();
  if (!child) {
    pause();
    _exit(0);
  }
  memset(&info, 1, sizeof info);
  result = waitid(P_ALL, 0, &info, WEXITED | WNOHANG);
  SAY("not yet: %d %d, signal %d pid %d", waitpid(child, &status, WNOHANG), result, info.si_signo, info.si_pid);
  kill(child, SIGSTOP);
  waitpid(child, &status, WUNTRACED);
  SAY("%s", how(status));
  kill(child, SIGCONT);
  waitpid(child, &status, WCONTINUED);
  SAY("%s", how(status));
  kill(child, SIGTERM);
  waitpid(child, &status, 0);
  SAY("%s", how(status));
  if (!(child = fork())) {
    *(volatile int *)16 = 1;
    _exit(0);
  }
  status = status_of(child);
  SAY("fault: signal %d", WTERMSIG(status));
  if (!(child = fork())) {
    abort();
  }
  SAY("abort: signal %d", WTERMSIG(status_of(child)));
  errno = 0;
  SAY("bad options %d %s", waitpid(-1, 0, 0x100), strerror(errno));
  SAY("kill of nobody %d %s", kill(999999, 0), strerror(errno));
}

static void child_signals(void) {
  int status;
  catch(SIGCHLD, SA_RESTART);
  pid_t child = fork();
  if (!child) _exit(5);
  while (!caught) pause();
  SAY("SIGCHLD: %d code %d from it %d", caught, caught_code, caught_pid == child);
  SAY("%s", how(status_of(child)));
  signal(SIGCHLD, SIG_IGN);
  if (!(child = fork())) _exit(6);
  errno = 0;
  SAY("ignored: %d %s", waitpid(child, &status, 0), strerror(errno));
  signal(SIGCHLD, SIG_DFL);
  /* A signal ends a read of the parent, and restarts one */
  catch(SIGUSR1, 0);
  int ends[2];
  pipe(ends);
  pid_t me = getpid();
  if (!(child = fork())) {
    usleep(30000);
    kill(me, SIGUSR1);
    usleep(30000);
    catch(SIGUSR1, 0);
    write(ends[1], "x", 1);
    _exit(0);
  }
  char c = 0;
  caught = 0;
  int count = read(ends[0], &c, 1);
  SAY("read %d %s, signal %d code %d from it %d", count, strerror(errno), caught, caught_code, caught_pid == child);
  count = read(ends[0], &c, 1);
  SAY("read %d %c, %s", count, c, how(status_of(child)));
  /* sigqueue between processes */
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 1);
  sigprocmask(SIG_BLOCK, &set, 0);
  if (!(child = fork())) {
    for (int i = 1; i <= 3; i++) sigqueue(me, SIGRTMIN + 1, (union sigval){ .sival_int = i * 11 });
    _exit(0);
  }
  status_of(child);
  siginfo_t info;
  for (int i = 0; i < 3; i++) {
    int got = sigwaitinfo(&set, &info);
    SAY("queued %d: value %d code %d pid %d", got == SIGRTMIN + 1, info.si_value.sival_int, info.si_code, info.si_pid == child);
  }
}

static void groups(void) {
  int status;
  pid_t child = fork();
  if (!child) {
    SAY("group is the parent's %d, session too %d", getpgrp() == getpgid(getppid()), getsid(0) == getsid(getppid()));
    SAY("setpgid %d, group is its own %d", setpgid(0, 0), getpgrp() == getpid());
    SAY("setsid of a leader %d", setsid());
    _exit(0);
  }
  status_of(child);
  if (!(child = fork())) {
    SAY("setsid %d session %d group %d", setsid() == getpid(), getsid(0) == getpid(), getpgrp() == getpid());
    _exit(0);
  }
  status_of(child);
  pid_t children[2];
  for (int i = 0; i < 2; i++) {
    if (!(children[i] = fork())) {
      pause();
      _exit(0);
    }
    setpgid(children[i], children[0]);
  }
  SAY("one group %d", getpgid(children[1]) == children[0]);
  kill(-children[0], SIGUSR2);
  pid_t first = waitpid(-children[0], &status, 0);
  SAY("of the group %d %s", first == children[0] || first == children[1], how(status));
  waitpid(-children[0], &status, 0);
  SAY("the other %s", how(status));
  errno = 0;
  SAY("none left %d %s", waitpid(-children[0], &status, 0), strerror(errno));
}

static void orphans(void) {
  int ends[2];
  pipe(ends);
  pid_t child = fork();
  if (!child) {
    if (fork()) _exit(0);
    pid_t parent = getppid();
    for (int i = 0; i < 100 && getppid() == parent && i < 99; i++) usleep(1000);
    usleep(20000);
    write(ends[1], "orphan", 6);
    _exit(0);
  }
  status_of(child);
  close(ends[1]);
  char text[20] = { 0 };
  int count = read(ends[0], text, 19);
  SAY("%d %s, then %d", count, text, (int)read(ends[0], text, 1));
}

static void pipelines(void) {
  int a[2], b[2];
  pipe(a);
  pipe(b);
  if (!fork()) {
    close(a[0]);
    for (int i = 0; i < 20000; i++) dprintf(a[1], "%d\n", i);
    _exit(0);
  }
  close(a[1]);
  if (!fork()) {
    FILE *in = fdopen(a[0], "r");
    long sum = 0, value;
    close(b[0]);
    while (fscanf(in, "%ld", &value) == 1) sum += value;
    dprintf(b[1], "sum %ld", sum);
    _exit(0);
  }
  close(a[0]);
  close(b[1]);
  char text[40] = { 0 };
  int length = 0, count;
  while ((count = read(b[0], text + length, 39 - length)) > 0) length += count;
  while (wait(0) > 0) {}
  SAY("%s", text);
  signal(SIGPIPE, SIG_DFL);
  pipe(a);
  pid_t child = fork();
  if (!child) {
    close(a[0]);
    for (;;) write(a[1], "x", 1);
  }
  close(a[1]);
  read(a[0], text, 1);
  close(a[0]);
  SAY("nobody reads: %s", how(status_of(child)));
  FILE *shell = popen("exit 3", "r");
  if (shell) pclose(shell);
  /* Positions are shared with the child */
  int fd = open("shared-position", O_RDWR | O_CREAT | O_TRUNC, 0600);
  write(fd, "0123456789", 10);
  lseek(fd, 2, SEEK_SET);
  if (!(child = fork())) {
    lseek(fd, 3, SEEK_CUR);
    _exit(0);
  }
  status_of(child);
  SAY("position %d", (int)lseek(fd, 0, SEEK_CUR));
  unlink("shared-position");
}

static int in_clone(void *argument) {
  *(int *)argument = 5;
  return 4;
}

static void end_thread(void) { syscall(SYS_exit, 0); }

static void clones(void) {
  static char stack[65536];
  int value = 1;
  pid_t child = clone(in_clone, stack + sizeof stack, CLONE_VM | CLONE_FILES | SIGCHLD, &value);
  SAY("clone with shared memory: %s, value %d", how(status_of(child)), value);
  errno = 0;
  /* Where its number cannot be written a thread begins all the same */
  void **top = (void **)(stack + sizeof stack - 64);
  *top = end_thread; /* the call returns to there in the new thread */
  long thread = syscall(SYS_clone, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID, top, 8, 0, 0);
  SAY("clone of a thread with a wrong address: %d", thread > 0);
  int result = syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0);
  SAY("a thread without memory %d %s", result, strerror(errno));
  int mode = umask(027);
  if (!(child = fork())) {
    umask(0);
    chdir("/");
    _exit(0);
  }
  status_of(child);
  SAY("umask %o", umask(mode));
}

static int child_main(int count, char **arguments) {
  const char *what = arguments[2];
  if (!strcmp(what, "inherit")) {
    sigset_t set;
    struct sigaction one, two;
    sigprocmask(SIG_BLOCK, 0, &set);
    sigaction(SIGUSR1, 0, &one);
    sigaction(SIGUSR2, 0, &two);
    SAY("name %s, %s %s", arguments[0], environ[0], environ[1]);
    SAY("ignored %d, caught is not %d, blocked %d", one.sa_handler == SIG_IGN, two.sa_handler == SIG_DFL, sigismember(&set, SIGHUP));
    return fcntl(atoi(arguments[3]), F_GETFD) == 0 && fcntl(atoi(arguments[4]), F_GETFD) < 0 ? 21 : 22;
  }
  if (!strcmp(what, "script")) return 23;
  for (int i = 3; i < count; i++) SAY("argument %s", arguments[i]);
  return 24;
}

/* CPU time is of who computes, not of who waits. */
static double cpu(clockid_t clock) {
  struct timespec t;
  if (clock_gettime(clock, &t)) return -1;
  return t.tv_sec + t.tv_nsec / 1e9;
}
static void *compute(void *unused) {
  while (cpu(CLOCK_THREAD_CPUTIME_ID) < 0.06) {}
  return 0;
}
static void cpu_times(void) {
  struct timespec some = { 0, 120000000 };
  struct rusage usage;
  struct tms before, after;
  double own = cpu(CLOCK_PROCESS_CPUTIME_ID);
  times(&before);
  nanosleep(&some, 0);
  SAY("sleeping costs little %d", cpu(CLOCK_PROCESS_CPUTIME_ID) - own < 0.1);
  if (!fork()) {
    SAY("a child begins anew %d", cpu(CLOCK_PROCESS_CPUTIME_ID) < 0.05);
    while (cpu(CLOCK_PROCESS_CPUTIME_ID) < 0.06) {}
    _exit(0);
  }
  wait4(-1, 0, 0, &usage);
  double child = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  SAY("of the child %d", child >= 0.05 && child < 0.5);
  SAY("not of the parent %d", cpu(CLOCK_PROCESS_CPUTIME_ID) - own < 0.15);
  getrusage(RUSAGE_CHILDREN, &usage);
  SAY("of children %d", usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6 >= child - 0.02);
  times(&after);
  SAY("in ticks %d", after.tms_cutime + after.tms_cstime - before.tms_cutime - before.tms_cstime >= 4);
  pthread_t thread;
  own = cpu(CLOCK_PROCESS_CPUTIME_ID);
  double mine = cpu(CLOCK_THREAD_CPUTIME_ID);
  pthread_create(&thread, 0, compute, 0);
  pthread_join(thread, 0);
  SAY("of a thread %d %d", cpu(CLOCK_PROCESS_CPUTIME_ID) - own >= 0.05, cpu(CLOCK_THREAD_CPUTIME_ID) - mine < 0.05);
  clockid_t clock;
  pthread_getcpuclockid(pthread_self(), &clock);
  SAY("by its clock %d", cpu(clock) > 0 && cpu(clock) <= cpu(CLOCK_THREAD_CPUTIME_ID));
  clock_getcpuclockid(getpid(), &clock);
  SAY("by the process's clock %d", cpu(clock) > 0 && cpu(clock) <= cpu(CLOCK_PROCESS_CPUTIME_ID));
}

/* The keys of a terminal do not stop a group that nobody in its session could have going on. */
static void stops(void) {
  int status, child = fork();
  if (!child) {
    setsid();
    kill(getpid(), SIGTSTP);
    SAY("not stopped");
    int job = fork();
    if (!job) {
      setpgid(0, 0);
      kill(getpid(), SIGTSTP);
      _exit(6);
    }
    waitpid(job, &status, WUNTRACED);
    SAY("stopped %d by %d", WIFSTOPPED(status), WIFSTOPPED(status) ? WSTOPSIG(status) : 0);
    kill(job, SIGCONT);
    waitpid(job, &status, 0);
    _exit(WEXITSTATUS(status));
  }
  siginfo_t info;
  waitid(P_PID, child, &info, WEXITED | WNOWAIT);
  SAY("the end %d", info.si_status);
  child = fork();
  if (!child) _exit(0);
  waitid(P_PID, child, &info, WEXITED | WNOWAIT);
  SAY("a group for who has ended: %d", setpgid(child, child));
  while (wait(0) > 0) {}
}

int main(int count, char **arguments) {
  setvbuf(stdout, 0, _IOLBF, 0);
  if (count > 2 && !strcmp(arguments[1], "child")) return child_main(count, arguments);
  if (count > 2 && !strcmp(arguments[1], "child script")) {
    for (int i = 2; i < count; i++) SAY("script argument %s", arguments[i]);
    return 23;
  }
  static char path[4096];
  readlink("/proc/self/exe", path, sizeof path - 1);
  self = path;
  forks();
  vforks();
  executes();
  waits();
  child_signals();
  groups();
  orphans();
  stops();
  pipelines();
  clones();
  cpu_times();
  SAY("end");
  return 42;
}
