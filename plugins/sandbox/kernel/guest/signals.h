/* What the files about signals share. */
#pragma once

enum { SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9, SIGSEGV = 11, SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGTSTP = 20,
  SIGTTIN = 21, SIGTTOU = 22, SIGURG = 23, SIGWINCH = 28 };
#define bit(signal) (1ul << ((signal) - 1))
#define UNBLOCKABLE (bit(SIGKILL) | bit(SIGSTOP))
#define STOPPING (bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU))
#define IGNORED_BY_DEFAULT (bit(SIGCHLD) | bit(SIGCONT) | bit(SIGURG) | bit(SIGWINCH))
enum { SI_TIMER = -2 };
#define FIRST_QUEUED 32 /* signals from here on come as often as they are sent */

enum { SIG_DFL = 0, SIG_IGN = 1 };
enum { SA_NOCLDSTOP = 1, SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000, SA_RESTART = 0x10000000, SA_NODEFER = 0x40000000, SA_RESETHAND = 0x80000000 };
enum { SS_ONSTACK = 1, SS_DISABLE = 2 };
#define SS_AUTODISARM 0x80000000u

struct action *action_of(const struct process *process, int signal);
int signal_ignored(const struct process *process, int signal);
/* Makes one pending: 0, or -EAGAIN when one that must be queued cannot be. */
s64 signal_add(struct pending *pending, const struct siginfo *info);
