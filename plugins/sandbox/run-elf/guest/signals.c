/* signalfd, timers of a process, futexes with an owner, splice and tee, times to the nanosecond, the vDSO, UMIP. Every line is the same on Linux. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define SAY(...) do { printf(__VA_ARGS__); putchar('\n'); fflush(stdout); } while (0)
#define ERR(result) (errno = 0, (result) < 0 ? strerrorname_np(errno) : "ok")

/* What is so under UMIP, which the machine may not have. */
#define HERE(condition) (!getenv("SANDBOXED") || (condition))

static void signal_files(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGRTMIN);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, 0);
  int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  struct signalfd_siginfo info[4];
  struct pollfd wanted = { fd, POLLIN, 0 };
  SAY("nothing: %s", ERR(read(fd, info, sizeof info)));
  SAY("poll %d", poll(&wanted, 1, 0));
  SAY("too short: %s", ERR(read(fd, info, 100)));
  kill(getpid(), SIGUSR1);
  kill(getpid(), SIGUSR1);
  int ready = poll(&wanted, 1, 0);
  SAY("poll %d %x", ready, wanted.revents);
  sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 5 });
  sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 6 });
  memset(info, 0, sizeof info);
  int count = read(fd, info, sizeof info) / sizeof info[0];
  SAY("count %d", count);
  for (int i = 0; i < count; i++) SAY("%d code %d pid %d uid %d int %d", info[i].ssi_signo == SIGUSR1 ? 1 : info[i].ssi_signo == SIGRTMIN ? 2 : 0, info[i].ssi_code, info[i].ssi_pid == getpid(), info[i].ssi_uid == getuid(), info[i].ssi_int);
  /* A wait for it ends when one comes from another process */
  fcntl(fd, F_SETFL, 0);
  pid_t child = fork(), me = getpid();
  if (!child) {
    usleep(10000);
    kill(getppid(), SIGUSR1);
    _exit(3);
  }
  count = read(fd, info, sizeof info[0]);
  SAY("waited: %d %d from it %d", count, info[0].ssi_signo == SIGUSR1, info[0].ssi_pid == child);
  read(fd, info, sizeof info[0]);
  SAY("then %d status %d", info[0].ssi_signo == SIGCHLD, info[0].ssi_status);
  wait(0);
  sigprocmask(SIG_UNBLOCK, &set, 0);
}

static volatile sig_atomic_t fired, code, value;
static void on_timer(int signal, siginfo_t *info, void *context) {
  fired++;
  code = info->si_code;
  value = info->si_value.sival_int;
}

static void timers(void) {
  struct sigaction action = { .sa_sigaction = on_timer, .sa_flags = SA_SIGINFO };
  sigaction(SIGRTMIN + 2, &action, 0);
  struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = 77 };
  timer_t timer;
  SAY("create %s", ERR(timer_create(CLOCK_MONOTONIC, &event, &timer)));
  struct itimerspec once = { .it_value.tv_nsec = 5000000 }, old;
  timer_settime(timer, 0, &once, 0);
  while (!fired) pause();
  SAY("fired %d code %d value %d, overrun %d", fired, code, value, timer_getoverrun(timer));
  timer_gettime(timer, &old);
  SAY("over: %d %d", (int)old.it_value.tv_sec, (int)old.it_value.tv_nsec);
  /* While its signal is blocked, further expiries are counted */
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 2);
  sigprocmask(SIG_BLOCK, &set, 0);
  struct itimerspec periodic = { { 0, 10000000 }, { 0, 10000000 } }, none = { 0 };
  timer_settime(timer, 0, &periodic, 0);
  usleep(65000);
  timer_gettime(timer, &old);
  SAY("left some %d, period %d", old.it_value.tv_nsec > 0 && old.it_value.tv_nsec <= 10000000, (int)old.it_interval.tv_nsec);
  siginfo_t info;
  struct timespec now = { 0, 0 };
  int first = sigtimedwait(&set, &info, &now), second = sigtimedwait(&set, &info, &now);
  SAY("one signal %d, then %d, overrun %d %d", first == SIGRTMIN + 2, second, info.si_overrun > 2, timer_getoverrun(timer) == info.si_overrun);
  timer_settime(timer, 0, &none, 0);
  SAY("not a timer %s", ERR(syscall(SYS_timer_gettime, 999, &old)));
  SAY("delete %s", ERR(timer_delete(timer)));
  SAY("again %s", ERR(syscall(SYS_timer_delete, 12345)));
  SAY("bad clock %s", ERR(syscall(SYS_timer_create, 99, 0, &timer)));
}

static uint32_t lock;
static int held;
static void *locker(void *nothing) {
  long result = syscall(SYS_futex, &lock, FUTEX_LOCK_PI, 0, 0, 0, 0);
  held = result == 0 && (lock & FUTEX_TID_MASK) == syscall(SYS_gettid);
  syscall(SYS_futex, &lock, FUTEX_UNLOCK_PI, 0, 0, 0, 0);
  return 0;
}

static void owned_futexes(void) {
  SAY("lock %s", ERR(syscall(SYS_futex, &lock, FUTEX_LOCK_PI, 0, 0, 0, 0)));
  SAY("mine %d", lock == syscall(SYS_gettid));
  SAY("twice %s", ERR(syscall(SYS_futex, &lock, FUTEX_LOCK_PI, 0, 0, 0, 0)));
  pthread_t thread;
  pthread_create(&thread, 0, locker, 0);
  while (!(__atomic_load_n(&lock, __ATOMIC_SEQ_CST) & FUTEX_WAITERS)) usleep(1000);
  SAY("unlock %s", ERR(syscall(SYS_futex, &lock, FUTEX_UNLOCK_PI, 0, 0, 0, 0)));
  pthread_join(thread, 0);
  SAY("handed over %d, free %d", held, lock);
  SAY("try %s", ERR(syscall(SYS_futex, &lock, FUTEX_TRYLOCK_PI, 0, 0, 0, 0)));
  lock = 1;
  SAY("not mine %s", ERR(syscall(SYS_futex, &lock, FUTEX_UNLOCK_PI, 0, 0, 0, 0)));
  pthread_mutexattr_t attributes;
  pthread_mutex_t mutex;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  SAY("mutex %d", pthread_mutex_init(&mutex, &attributes));
  SAY("lock %d", pthread_mutex_lock(&mutex));
  SAY("again %s", strerrorname_np(pthread_mutex_lock(&mutex)));
  SAY("unlock %d", pthread_mutex_unlock(&mutex));
  uint32_t one = 1, two = 2;
  long woken = syscall(SYS_futex, &one, FUTEX_WAKE_OP, 1, 1, &two, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 2));
  SAY("wake op %ld: %d", woken, two);
}

static void splices(void) {
  int a[2], b[2];
  char text[40] = { 0 };
  pipe(a);
  pipe(b);
  write(a[1], "through the pipe", 16);
  SAY("tee %d", (int)tee(a[0], b[1], 7, 0));
  SAY("splice %d", (int)splice(a[0], 0, b[1], 0, 100, 0));
  int count = read(b[0], text, 39);
  SAY("read %d %s", count, text);
  int fd = open("spliced", O_RDWR | O_CREAT | O_TRUNC, 0600);
  write(a[1], "to a file", 9);
  loff_t at = 3;
  count = splice(a[0], 0, fd, &at, 9, 0);
  SAY("to a file %d, offset %d", count, (int)at);
  at = 6;
  SAY("from it %d", (int)splice(fd, &at, a[1], 0, 100, 0));
  memset(text, 0, sizeof text);
  read(a[0], text, 39);
  SAY("%s, offset %d", text, (int)at);
  SAY("no pipe %s", ERR(splice(fd, 0, fd, 0, 1, 0)));
  SAY("offset of a pipe %s", ERR(splice(a[0], &at, b[1], 0, 1, 0)));
  SAY("empty %s", ERR(splice(a[0], 0, b[1], 0, 1, SPLICE_F_NONBLOCK)));
  SAY("tee of a file %s", ERR(tee(fd, b[1], 1, 0)));
  SAY("of one pipe %s", ERR(tee(a[0], a[1], 1, 0)));
  close(a[1]);
  SAY("at the end %d", (int)splice(a[0], 0, b[1], 0, 1, 0));
  struct timespec times[2] = { { 1234567890, 123456789 }, { 1600000000, 987654321 } };
  futimens(fd, times);
  struct stat status;
  fstat(fd, &status);
  SAY("%ld.%09ld %ld.%09ld", status.st_atim.tv_sec, status.st_atim.tv_nsec, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  times[0].tv_nsec = UTIME_OMIT;
  times[1].tv_nsec = 1;
  utimensat(AT_FDCWD, "spliced", times, 0);
  stat("spliced", &status);
  SAY("%ld.%09ld %ld.%09ld", status.st_atim.tv_sec, status.st_atim.tv_nsec, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  unlink("spliced");
}

/* Functions of the vDSO, found as a program without a C library finds them. */
static void *find(const char *name) {
  uint8_t *base = (void *)getauxval(AT_SYSINFO_EHDR);
  if (!base) return 0;
  Elf64_Ehdr *header = (void *)base;
  Elf64_Phdr *segments = (void *)(base + header->e_phoff);
  Elf64_Dyn *dynamic = 0;
  uint64_t load = 0;
  for (int i = 0; i < header->e_phnum; i++) {
    if (segments[i].p_type == PT_DYNAMIC) dynamic = (void *)(base + segments[i].p_offset);
    if (segments[i].p_type == PT_LOAD && !load) load = (uint64_t)base + segments[i].p_offset - segments[i].p_vaddr;
  }
  Elf64_Sym *symbols = 0;
  char *strings = 0;
  uint32_t *hash = 0;
  for (; dynamic && dynamic->d_tag; dynamic++) {
    if (dynamic->d_tag == DT_SYMTAB) symbols = (void *)(load + dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_STRTAB) strings = (void *)(load + dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_HASH) hash = (void *)(load + dynamic->d_un.d_ptr);
  }
  if (!symbols || !strings) return 0;
  for (uint32_t i = 0; i < (hash ? hash[1] : 40); i++)
    if (symbols[i].st_shndx && !strcmp(strings + symbols[i].st_name, name)) return (void *)(load + symbols[i].st_value);
  return 0;
}

static void vdso(void) {
  int (*gettime)(clockid_t, struct timespec *) = find("__vdso_clock_gettime");
  time_t (*seconds)(time_t *) = find("__vdso_time");
  int (*cpu)(unsigned *, unsigned *, void *) = find("__vdso_getcpu");
  struct timespec before, now, after;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &before);
  int result = gettime ? gettime(CLOCK_MONOTONIC, &now) : -1;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &after);
#define NS(t) ((t).tv_sec * 1000000000ll + (t).tv_nsec)
  SAY("vdso %d, in between %d, time %d, cpu %d", result, NS(before) <= NS(now) && NS(now) <= NS(after), seconds && seconds(0) > 1000000000, cpu ? cpu(0, 0, 0) : -1);
  uint64_t pairs[100];
  int fd = open("/proc/self/auxv", O_RDONLY), length = read(fd, pairs, sizeof pairs), same = length > 0;
  for (int i = 0; i * 16 < length && pairs[2 * i]; i++) same &= pairs[2 * i] == AT_HWCAP || pairs[2 * i] == AT_HWCAP2 /* the C library's own */ || getauxval(pairs[2 * i]) == pairs[2 * i + 1];
  SAY("auxv is the same %d, whole %d", same, length % 16 == 0 && pairs[length / 8 - 2] == 0);
}

static volatile sig_atomic_t trap_code;
static void on_trap(int signal, siginfo_t *info, void *context) { trap_code = info->si_code; }

static void processor(void) {
  struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
  sigaction(SIGTRAP, &action, 0);
  if (!getenv("WITHOUT_INT1")) { /* a machine whose hypervisor comes back to it for ever */
    __asm__ volatile(".byte 0xf1");
    SAY("INT1 code %d", trap_code);
  }
  __asm__ volatile("int3");
  SAY("INT3 code %x", trap_code);
  __asm__ volatile("pushf\n\torl $0x100, (%%rsp)\n\tpopf\n\tnop\n\tpushf\n\tandl $~0x100, (%%rsp)\n\tpopf" ::: "memory", "cc");
  SAY("TF code %d", trap_code);
  struct { uint16_t limit; uint64_t base; } __attribute__((packed)) table = { 1, 1 };
  uint64_t wide = 0x1111111111111111;
  uint32_t medium = 0x22222222;
  uint16_t narrow = 0x3333, memory[4] = { 0x4444, 0x4444, 0x4444, 0x4444 };
  __asm__ volatile("sgdt %0" : "=m"(table));
  SAY("SGDT %d", HERE(table.limit == 0 && table.base == 0xfffffffffffe0000));
  __asm__ volatile("sidt (%0)" : : "r"(&table) : "memory");
  SAY("SIDT %d", HERE(table.limit == 0 && table.base == 0xffffffffffff0000));
  __asm__ volatile("smsw %q0" : "+r"(wide));
  __asm__ volatile("smsw %k0" : "+r"(medium));
  __asm__ volatile("smsw %w0" : "+r"(narrow));
  SAY("SMSW %lx %x %x", wide, medium, narrow);
  __asm__ volatile("smsw 2(%0,%1,2)" : : "r"(memory), "r"(1ul) : "memory");
  SAY("in memory %x %x %x", memory[1], memory[2], memory[3]);
  __asm__ volatile("str %k0" : "=r"(medium));
  register uint64_t high __asm__("r9") = 0;
  __asm__ volatile("sldt %w0" : "+r"(high));
  SAY("STR %x SLDT %lx", medium, high);
}

int main(void) {
  signal_files();
  timers();
  owned_futexes();
  splices();
  vdso();
  processor();
  return 42;
}
