/*
 * Signals that a process sends to itself, queues, blocks, waits for, reads from a signalfd and gets from its children, in orders made at random from
 * fixed seeds: which come, in which order, with what, and what waits. Every line is the same on Linux.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const int SIGNALS[] = { SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD, SIGCONT, SIGWINCH, 34, 35, 40 };
enum { COUNT = sizeof SIGNALS / sizeof *SIGNALS };
/* Those that are ignored unless something is done. */
static int harmless(int k) { return k >= 3 && k <= 5; }

static unsigned long state;
static unsigned below(unsigned n) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (state >> 20) % n;
}

static unsigned bits(const sigset_t *set) {
  unsigned found = 0;
  for (int k = 0; k < COUNT; k++) found |= sigismember(set, SIGNALS[k]) ? 1u << k : 0;
  return found;
}
static sigset_t some(void) {
  sigset_t set;
  sigemptyset(&set);
  for (int k = 0; k < COUNT; k++)
    if (below(3) == 0) sigaddset(&set, SIGNALS[k]);
  return set;
}

static int raises; /* so many handlers raise one more */
static void handle(int signal, siginfo_t *info, void *context) {
  sigset_t mask;
  sigprocmask(SIG_BLOCK, 0, &mask);
  printf(" <%d:%d,%d,%x>", signal, info->si_code, info->si_code == SI_QUEUE ? info->si_value.sival_int : 0, bits(&mask));
  if (raises > 0) raise(SIGNALS[--raises]);
}

static sighandler_t handler_of(int signal) {
  struct sigaction action;
  sigaction(signal, 0, &action);
  return action.sa_handler;
}
/* Whether it would end the process. */
static int ends(int k) { return !harmless(k) && handler_of(SIGNALS[k]) == SIG_DFL; }

static void reset(void) {
  sigset_t all;
  struct timespec none = { 0, 0 };
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, 0);
  while (sigtimedwait(&all, 0, &none) > 0) {}
  for (int k = 0; k < COUNT; k++) signal(SIGNALS[k], harmless(k) ? SIG_DFL : SIG_IGN);
  while (sigtimedwait(&all, 0, &none) > 0) {}
  sigprocmask(SIG_UNBLOCK, &all, 0);
}

static void set_action(int k) {
  struct sigaction action = { 0 };
  action.sa_flags = SA_SIGINFO | (below(4) ? 0 : SA_NODEFER) | (below(5) || !harmless(k) ? 0 : SA_RESETHAND) | (below(2) ? SA_RESTART : 0);
  action.sa_mask = some();
  action.sa_sigaction = handle;
  if (below(5) == 0) {
    action.sa_flags = 0;
    action.sa_handler = harmless(k) && below(2) ? SIG_DFL : SIG_IGN;
  }
  printf(" A%d,%x=%d", SIGNALS[k], action.sa_flags, sigaction(SIGNALS[k], &action, 0));
}

static void send(int k) {
  if (ends(k)) return;
  raises = below(8) == 0 && !ends(0) && !ends(1) ? 2 : 0;
  printf(" K%d", SIGNALS[k]);
  kill(getpid(), SIGNALS[k]);
  raises = 0;
}
static void queue(int k) {
  union sigval value = { .sival_int = below(100) };
  if (ends(k)) return;
  printf(" Q%d,%d", SIGNALS[k], value.sival_int);
  printf("=%d", sigqueue(getpid(), SIGNALS[k], value));
}

static void take(void) {
  sigset_t set = some(), before;
  siginfo_t info;
  struct timespec none = { 0, 0 };
  sigprocmask(SIG_BLOCK, &set, &before);
  int signal = sigtimedwait(&set, &info, &none);
  printf(" W%x=%d", bits(&set), signal < 0 ? -errno : signal);
  if (signal > 0) printf("/%d,%d", info.si_code, info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
  sigprocmask(SIG_SETMASK, &before, 0);
}

static void suspend(void) {
  sigset_t set = some(), waiting;
  sigpending(&waiting);
  for (int k = 0; k < COUNT; k++) {
    sighandler_t handler = handler_of(SIGNALS[k]);
    if (!sigismember(&waiting, SIGNALS[k]) || sigismember(&set, SIGNALS[k]) || handler == SIG_IGN || handler == SIG_DFL) continue;
    printf(" S%x", bits(&set));
    sigsuspend(&set);
    printf("=%d", errno);
    return;
  }
}

static int file = -1;
static void read_file(void) {
  struct signalfd_siginfo found[3];
  struct pollfd wanted = { file, POLLIN };
  if (file < 0) return;
  poll(&wanted, 1, 0);
  long count = read(file, found, sizeof found);
  printf(" R%x=%ld", wanted.revents, count < 0 ? -errno : count);
  for (int i = 0; i < count / (long)sizeof *found; i++)
    printf("/%d,%d,%d", found[i].ssi_signo, found[i].ssi_code, found[i].ssi_code == SI_QUEUE ? found[i].ssi_int : 0);
}

static void child(void) {
  int status = -1;
  fflush(stdout);
  int pid = fork();
  if (!pid) _exit(below(5));
  int ended = waitpid(pid, &status, 0);
  printf(" C%d,%x", ended < 0 ? -errno : ended == pid, status);
}

static void step(void) {
  int k = below(COUNT), what = below(13);
  sigset_t set, before;
  if (what < 2) set_action(k);
  else if (what < 4) {
    int how = below(3);
    set = some();
    printf(" M%d,%x", how, bits(&set));
    sigprocmask(how, &set, &before);
    printf("=%x", bits(&before));
  } else if (what < 6) send(k);
  else if (what == 6) queue(k);
  else if (what == 7) {
    sigpending(&set);
    printf(" P%x", bits(&set));
  } else if (what == 8) take();
  else if (what == 9) {
    set = some();
    file = signalfd(file, &set, SFD_NONBLOCK);
    printf(" F%x=%d", bits(&set), file >= 0);
  } else if (what == 10) read_file();
  else if (what == 11) suspend();
  else child();
}

int main(void) {
  static char buffer[1 << 16];
  setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  for (int seed = 0; seed < 250; seed++) {
    state = seed * 0x9e3779b97f4a7c15ul + 88172645463325252ul;
    reset();
    printf("%d:", seed);
    for (int i = 0; i < 60; i++) step();
    printf("\n");
    fflush(stdout);
    if (file >= 0) close(file);
    file = -1;
  }
  return 42;
}
