/* What the files about signals share. */
#pragma once

enum { SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9, SIGSEGV = 11, SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGTSTP = 20,
  SIGTTIN = 21, SIGTTOU = 22, SIGURG = 23, SIGWINCH = 28 };
#define bit(signal) (1ul << ((signal) - 1))
#define UNBLOCKABLE (bit(SIGKILL) | bit(SIGSTOP))
#define STOPPING (bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU))
#define IGNORED_BY_DEFAULT (bit(SIGCHLD) | bit(SIGCONT) | bit(SIGURG) | bit(SIGWINCH))
#define SIGRTMIN 32 /* signals from here on come as often as they are sent */
/* si_code */
enum { SI_USER = 0, SI_TIMER = -2, SI_TKILL = -6, SI_KERNEL = 0x80 };
enum { ILL_ILLOPN = 2, FPE_INTDIV = 1, FPE_FLTDIV = 3, FPE_FLTOVF, FPE_FLTUND, FPE_FLTRES, FPE_FLTINV, FPE_FLTSUB, SEGV_MAPERR = 1, BUS_ADRALN = 1, BUS_ADRERR,
  TRAP_BRKPT = 1, TRAP_TRACE, CLD_EXITED = 1, CLD_KILLED, CLD_STOPPED = 5, CLD_CONTINUED };

enum { SIG_DFL = 0, SIG_IGN = 1 };
enum { SA_NOCLDSTOP = 1, SA_NOCLDWAIT = 2, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000, SA_RESTART = 0x10000000, SA_NODEFER = 0x40000000, SA_RESETHAND = 0x80000000 };
enum { SS_ONSTACK = 1, SS_DISABLE = 2 };
#define SS_AUTODISARM 0x80000000u

/* si_code and si_status of SIGCHLD for a child that has ended; status as wait4 has it. */
static inline s32 child_code(u32 status) { return status & 0x7f ? CLD_KILLED : CLD_EXITED; }
static inline u32 child_status(u32 status) { return status & 0x7f ? status & 0x7f : status >> 8; }

int signal_ignored(const struct process *process, int signal);
/* Makes one pending: 0, or -EAGAIN when one that must be queued cannot be. */
s64 signal_add(struct pending *pending, const struct siginfo *info);
