/* Waiting for children: wait4(2), waitid(2). */
#include "kernel.h"
#include "signals.h"

enum { WNOHANG = 1, WUNTRACED = 2, WSTOPPED = 2, WEXITED = 4, WCONTINUED = 8, WNOWAIT = 0x1000000, WNOTHREAD = 0x20000000, WALL = 0x40000000, WCLONE = 0x80000000 };
#define CONTINUED_STATUS 0xffff

/* Which children are meant: P_ALL, P_PID, P_PGID of waitid. */
enum { P_ALL = 0, P_PID = 1, P_PGID = 2 };

struct news { u32 pid, code, status /* as wait4 has it */; u64 cpu; };

/* Looks for a child with news. 1: there is one; 0: not yet; -ECHILD: no such child. Taken unless WNOWAIT. */
static s64 look(struct process *parent, u32 type, u32 id, u64 options, struct news *news) {
  int any = 0;
  each_process(child) {
    if (child->parent != parent || (type == P_PID && child->pid != id) || (type == P_PGID && child->group != id)) continue;
    if (!(options & WALL) && !(options & WCLONE) != (child->exit_signal == SIGCHLD)) continue;
    any = 1;
    if (child->state == PROCESS_ZOMBIE && options & WEXITED) {
      *news = (struct news){ child->pid, child_code(child->status), child->status, child->cpu + child->children_cpu };
      if (!(options & WNOWAIT)) {
        parent->children_cpu += news->cpu;
        process_free(child);
      }
      return 1;
    }
    if (child->news == NEWS_STOPPED && options & WSTOPPED) *news = (struct news){ child->pid, CLD_STOPPED, child->stopped << 8 | 0x7f, child->cpu };
    else if (child->news == NEWS_CONTINUED && options & WCONTINUED) *news = (struct news){ child->pid, CLD_CONTINUED, CONTINUED_STATUS, child->cpu };
    else continue;
    if (!(options & WNOWAIT)) child->news = 0;
    return 1;
  }
  return any ? 0 : -ECHILD;
}

/* struct rusage: all time is user time. */
static s64 tell_usage(const struct news *news, u64 usage) {
  u64 words[18] = { 0 }, ns = (u64)((unsigned __int128)news->cpu * bell->cycle_ns >> 32);
  words[0] = ns / 1000000000;
  words[1] = ns % 1000000000 / 1000;
  return usage ? copy_to_user(usage, words, sizeof words) : 0;
}

static s64 tell_wait4(const struct news *news, u64 status, u64 usage) {
  if ((status && copy_to_user(status, &news->status, 4)) || tell_usage(news, usage)) return -EFAULT;
  return news->pid;
}

static u32 bare_status(const struct news *news) {
  return news->code == CLD_STOPPED ? news->status >> 8 : news->code == CLD_CONTINUED ? SIGCONT : child_status(news->status);
}

static s64 tell_waitid(const struct news *news, u64 at, u64 usage) {
  struct siginfo info = { .signal = SIGCHLD, .code = (s32)news->code, .value = { boot->uid << 32 | news->pid, bare_status(news) } };
  if ((at && copy_to_user(at, &info, sizeof info)) || tell_usage(news, usage)) return -EFAULT;
  return 0;
}

/* The wait that a thread's frame asks for, done or not: *result is there then. */
static int try_wait(struct thread *thread, s64 *result) {
  struct news news;
  struct frame *f = &thread->frame;
  s64 outcome = look(thread->process, thread->wait.type, thread->wait.id, thread->wait.options, &news);
  int by_id = f->orig_rax == NR_waitid;
  if (outcome == 0 && !(thread->wait.options & WNOHANG)) return 0;
  space_use(thread->process->space);
  if (outcome < 0) *result = outcome;
  else if (outcome == 0 && by_id) {
    struct siginfo none = { 0 };
    *result = f->rdx && copy_to_user(f->rdx, &none, sizeof none) ? -EFAULT : 0;
  } else if (outcome == 0) *result = 0;
  else *result = by_id ? tell_waitid(&news, f->rdx, f->r8) : tell_wait4(&news, f->rsi, f->r10);
  return 1;
}

int wait_over(struct thread *thread) {
  s64 result;
  if (!try_wait(thread, &result)) return 0;
  thread->frame.rax = result;
  return 1;
}

static s64 begin_wait(u32 type, u32 id, u64 options, int *blocked) {
  s64 result;
  current->wait.type = type;
  current->wait.id = id;
  current->wait.options = options;
  if (try_wait(current, &result)) return result;
  current->state = THREAD_WAIT;
  *blocked = 1;
  return 0;
}

s64 sys_wait4(s32 pid, u64 options, int *blocked) {
  if (options & ~(u64)(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE)) return -EINVAL;
  if (pid == (s32)0x80000000) return -ESRCH;
  options |= WEXITED;
  if (pid == -1) return begin_wait(P_ALL, 0, options, blocked);
  return pid > 0 ? begin_wait(P_PID, pid, options, blocked) : begin_wait(P_PGID, pid ? -pid : (s32)current->process->group, options, blocked);
}

s64 sys_waitid(u64 type, u32 id, u64 options, int *blocked) {
  if (options & ~(u64)(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WALL | WCLONE) || !(options & (WEXITED | WSTOPPED | WCONTINUED))) return -EINVAL;
  if (type > P_PGID || (type == P_PID && (s32)id <= 0) || (type == P_PGID && (s32)id < 0)) return -EINVAL;
  return begin_wait(type, type == P_PGID && !id ? current->process->group : id, options, blocked);
}
