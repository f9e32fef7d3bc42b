/* Futexes (futex(2)): of one process by address, in shared mappings by the object's page; with priority inheritance; robust lists. */
#include "kernel.h"
#include "memory.h"

enum {
  FUTEX_WAIT = 0, FUTEX_WAKE = 1, FUTEX_REQUEUE = 3, FUTEX_CMP_REQUEUE = 4, FUTEX_WAKE_OP = 5, FUTEX_LOCK_PI = 6, FUTEX_UNLOCK_PI = 7, FUTEX_TRYLOCK_PI = 8,
  FUTEX_WAIT_BITSET = 9, FUTEX_WAKE_BITSET = 10, FUTEX_LOCK_PI2 = 13,
};
enum { FUTEX_OWNER_DIED = 0x40000000, FUTEX_WAITERS = 0x80000000, FUTEX_TID = 0x3fffffff };

struct key { u64 of, at; };

/* What a futex is known by: processes that share a page mean the same one. Returns 0 or -EFAULT, -EINVAL. */
static s64 key_of(u64 address, struct key *key) {
  if (address & 3) return -EINVAL;
  struct vma *vma = vma_find(address);
  if (!vma) return -EFAULT;
  if (vma->flags & VMA_SHARED) *key = (struct key){ vma->object, vma->offset + (address - vma->start) };
  else *key = (struct key){ (u64)space, address };
  return 0;
}

static int waits_for(const struct thread *thread, const struct key *key) {
  return thread->state == THREAD_FUTEX && thread->futex_key[0] == key->of && thread->futex_key[1] == key->at;
}

static u64 order;

/* The one of those that wait for it that has waited longest; 0: none. */
static struct thread *longest(const struct key *key, u32 bits, u32 pi) {
  struct thread *first = 0;
  each_thread(thread)
    if (waits_for(thread, key) && thread->futex_bits & bits && thread->futex_pi == pi && (!first || thread->futex_order < first->futex_order)) first = thread;
  return first;
}

static void resume(struct thread *thread, s64 result) {
  thread->frame.rax = result;
  thread->state = THREAD_READY;
  thread->host_timed = 0;
  more_runnable();
}

static u64 wake(const struct key *key, u64 count, u32 bits) {
  u64 woken = 0;
  struct thread *thread;
  while (woken < count && (thread = longest(key, bits, 0))) {
    resume(thread, 0);
    woken++;
  }
  return woken;
}

/* The current thread waits. With a timeout the host watches the clock; its answer to the call is the timeout's. */
static s64 wait(const struct key *key, u32 bits, int pi, int timed, int *blocked) {
  current->futex_key[0] = key->of;
  current->futex_key[1] = key->at;
  current->futex_bits = bits;
  current->futex_pi = pi;
  current->futex_order = order++;
  current->host_timed = timed;
  current->state = THREAD_FUTEX;
  *blocked = 1;
  if (timed && host_syscall(current, 0)) {
    current->state = THREAD_READY;
    current->host_timed = 0;
    *blocked = 0;
    return current->frame.rax;
  }
  return 0;
}

/* ---- with priority inheritance: the word holds the owner's tid */

static s64 lock_pi(u64 address, const struct key *key, int try, int timed, int *blocked) {
  u32 word, owner;
  if (copy_from_user(&word, address, 4)) return -EFAULT;
  owner = word & FUTEX_TID;
  if (owner == current->tid) return -EDEADLK;
  if (!owner) {
    word = (word & FUTEX_OWNER_DIED) | current->tid | (longest(key, ~0u, 1) ? FUTEX_WAITERS : 0);
    return copy_to_user(address, &word, 4) ? -EFAULT : 0;
  }
  if (try) return -EAGAIN;
  if (!thread_of(owner)) return -ESRCH;
  word |= FUTEX_WAITERS;
  if (copy_to_user(address, &word, 4)) return -EFAULT;
  return wait(key, ~0u, 1, timed, blocked);
}

/* Hands the lock to the one that has waited longest. */
static void pass_on(u64 address, const struct key *key, u32 flags) {
  struct thread *next = longest(key, ~0u, 1);
  u32 word = flags;
  if (next) {
    resume(next, 0);
    word |= next->tid | (longest(key, ~0u, 1) ? FUTEX_WAITERS : 0);
  }
  copy_to_user(address, &word, 4);
}

static s64 unlock_pi(u64 address, const struct key *key) {
  u32 word;
  if (copy_from_user(&word, address, 4)) return -EFAULT;
  if ((word & FUTEX_TID) != current->tid) return -EPERM;
  pass_on(address, key, 0);
  return 0;
}

/* ---- FUTEX_WAKE_OP: wakes, and others too when what a word was compares as asked */

static s64 wake_op(const struct key *key, u64 count, u64 address2, u64 count2, u32 operation) {
  struct key key2;
  u32 old, new;
  s64 outcome = key_of(address2, &key2);
  if (outcome) return outcome;
  if (copy_from_user(&old, address2, 4)) return -EFAULT;
  u32 kind = operation >> 28 & 7, compare = operation >> 24 & 15;
  s32 argument = (s32)(operation << 8) >> 20, against = (s32)(operation << 20) >> 20;
  if (operation >> 31) argument = 1 << (argument & 31);
  switch (kind) {
    case 0: new = argument; break;
    case 1: new = old + argument; break;
    case 2: new = old | argument; break;
    case 3: new = old & ~argument; break;
    case 4: new = old ^ argument; break;
    default: return -ENOSYS;
  }
  if (copy_to_user(address2, &new, 4)) return -EFAULT;
  s32 was = (s32)old;
  int holds;
  switch (compare) {
    case 0: holds = was == against; break;
    case 1: holds = was != against; break;
    case 2: holds = was < against; break;
    case 3: holds = was <= against; break;
    case 4: holds = was > against; break;
    case 5: holds = was >= against; break;
    default: return -ENOSYS;
  }
  u64 woken = wake(key, count, ~0u);
  return woken + (holds ? wake(&key2, count2, ~0u) : 0);
}

static s64 requeue(const struct key *key, u64 count, u64 most, u64 address2) {
  struct key to;
  s64 outcome = key_of(address2, &to);
  if (outcome) return outcome;
  u64 moved = wake(key, count, ~0u);
  struct thread *thread;
  while (most && (thread = longest(key, ~0u, 0))) {
    thread->futex_key[0] = to.of;
    thread->futex_key[1] = to.at;
    thread->futex_order = order++;
    moved++;
    most--;
    if (key->of == to.of && key->at == to.at) break;
  }
  return moved;
}

s64 sys_futex(u64 address, u64 op, u64 value, u64 timeout, u64 address2, u64 value3, int *blocked) {
  struct key key;
  u32 word, bits = ~0u;
  u64 command = op & 0x7f, count = (s32)value > 0 ? (s32)value : 1;
  /* A call that is not there is told from one with a wrong address */
  if (command == 2 || command > FUTEX_LOCK_PI2 || command == 11 || command == 12) return -ENOSYS;
  s64 outcome = key_of(address, &key);
  if (outcome == -EFAULT && (command == FUTEX_WAKE || command == FUTEX_WAKE_BITSET) && address < USER_END) return 0;
  if (outcome) return outcome;
  switch (command) {
    case FUTEX_WAIT_BITSET:
      bits = (u32)value3;
      /* fall through */
    case FUTEX_WAIT:
      if (!bits) return -EINVAL;
      if (copy_from_user(&word, address, 4)) return -EFAULT;
      if (word != (u32)value) return -EAGAIN;
      return wait(&key, bits, 0, timeout != 0, blocked);
    case FUTEX_WAKE_BITSET:
      bits = (u32)value3;
      if (!bits) return -EINVAL;
      /* fall through */
    case FUTEX_WAKE: return wake(&key, count, bits);
    case FUTEX_CMP_REQUEUE:
      if (copy_from_user(&word, address, 4)) return -EFAULT;
      if (word != (u32)value3) return -EAGAIN;
      /* fall through */
    case FUTEX_REQUEUE: return requeue(&key, (u32)value, (u32)timeout, address2);
    case FUTEX_WAKE_OP: return wake_op(&key, count, address2, (u32)timeout, (u32)value3);
    case FUTEX_LOCK_PI: case FUTEX_LOCK_PI2: return lock_pi(address, &key, 0, timeout != 0, blocked);
    case FUTEX_TRYLOCK_PI: return lock_pi(address, &key, 1, 0, blocked);
    default: return unlock_pi(address, &key);
  }
}

/* What a thread that ends still holds: the list at set_robust_list (Documentation/robust-futex-ABI). */
static void release_robust(struct thread *thread) {
  u64 head[3], entry;
  struct key key;
  if (!thread->robust_list || copy_from_user(head, thread->robust_list, 24)) return;
  entry = head[0];
  for (int i = 0; i < 2048 && (entry & ~1ul) != thread->robust_list; i++) {
    u32 word;
    u64 at = entry & ~1ul, address = at + head[1]; /* bit 0: a lock with priority inheritance */
    if (copy_from_user(&word, address, 4)) return;
    if ((word & FUTEX_TID) == thread->tid && !key_of(address, &key)) {
      if (entry & 1) pass_on(address, &key, FUTEX_OWNER_DIED);
      else {
        word = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        copy_to_user(address, &word, 4);
        wake(&key, 1, ~0u);
      }
    }
    if (copy_from_user(&entry, at, 8)) return;
  }
}

/* In the thread's own space. */
void futex_leave(struct thread *thread) {
  struct key key;
  release_robust(thread);
  if (!thread->clear_tid) return;
  u32 zero = 0;
  if (!copy_to_user(thread->clear_tid, &zero, 4) && !key_of(thread->clear_tid, &key)) wake(&key, 1, ~0u);
  thread->clear_tid = 0;
}
