/*
 * Files that are written, read, truncated, renamed and mapped at once, by a process and its children, in orders made at random from fixed seeds. What
 * mappings show and what read() gives is one thing, and ends where the file does (SIGBUS). Every line is the same on Linux.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 6
#define MAPS 4
#define LENGTH 40000

static unsigned long state;
static unsigned below(unsigned n) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (state >> 20) % n;
}
static long result(long value) { return value < 0 ? -errno : value; }

static char buffer[LENGTH];
static unsigned hash(long length) {
  unsigned sum = 7;
  for (long i = 0; i < length; i++) sum = sum * 31 + (unsigned char)buffer[i];
  return sum;
}

static sigjmp_buf back;
static volatile int signalled;
static void caught(int signal) {
  signalled = signal;
  siglongjmp(back, 1);
}

static int fd[FILES];
static struct { char *at; long length, offset; int file; } map[MAPS];

static const char *name(void) {
  static const char *names[] = { "m0", "m1", "m2" };
  return names[below(3)];
}
static long offset(void) {
  long at = below(3) == 0 ? below(20000) : (long)below(3) * 4096 + (int)below(3) - 1;
  return at < 0 ? 0 : at;
}
static long length(void) { return below(4) == 0 ? below(9000) : below(50); }

static void close_file(int k) {
  if (fd[k] >= 0) close(fd[k]);
  fd[k] = -1;
}
static void unmap(int i) {
  if (!map[i].at) return;
  munmap(map[i].at, map[i].length);
  close(map[i].file);
  map[i].at = 0;
}

static void open_file(int k) {
  static const int access[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };
  int flags = access[below(4)] | (below(3) ? O_CREAT : 0) | (below(5) ? 0 : O_TRUNC) | (below(5) ? 0 : O_APPEND) | (below(9) ? 0 : O_EXCL);
  const char *path = name();
  close_file(k);
  fd[k] = open(path, flags, 0600);
  printf(" o%d%s,%x=%d", k, path, flags, fd[k] < 0 ? -errno : 0);
}

static void transfer(int k, int what) {
  long at = offset(), count = length(), done;
  for (int i = 0; i < count; i++) buffer[i] = what < 2 ? (int)below(256) : 0;
  switch (what) {
    case 0: printf(" w%ld=%ld", count, result(write(fd[k], buffer, count))); break;
    case 1: printf(" pw%ld,%ld=%ld", count, at, result(pwrite(fd[k], buffer, count, at))); break;
    case 2: done = result(read(fd[k], buffer, count)); printf(" r%ld=%ld/%x", count, done, hash(done > 0 ? done : 0)); break;
    default: done = result(pread(fd[k], buffer, count, at)); printf(" pr%ld,%ld=%ld/%x", count, at, done, hash(done > 0 ? done : 0));
  }
}

static void make_map(int k) {
  static const int protections[] = { PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE };
  int i = below(MAPS), protection = protections[below(3)], how = below(4) ? MAP_SHARED : MAP_PRIVATE;
  long size = 1 + below(3 * 4096), from = below(3) * 4096;
  unmap(i);
  char *at = mmap(0, size, protection, how, fd[k], from);
  printf(" m%d,%ld,%ld,%d,%d=%d", i, size, from, protection, how, at == MAP_FAILED ? -errno : 0);
  if (at == MAP_FAILED) return;
  map[i].at = at;
  map[i].length = size;
  map[i].offset = from;
  map[i].file = dup(fd[k]);
}

/* Not between the end of a file and that of its last page: what is stored there may be seen later or not. */
static int is_defined(int i, long at) {
  struct stat status;
  if (!map[i].at || fstat(map[i].file, &status)) return 0;
  long place = map[i].offset + at, page = (status.st_size + 4095) & -4096l;
  return place < status.st_size || place >= page;
}

static void load(void) {
  int i = below(MAPS);
  long at = map[i].at ? below(map[i].length) : 0;
  volatile int value = -1;
  if (!is_defined(i, at)) return;
  signalled = 0;
  if (!sigsetjmp(back, 1)) value = (unsigned char)map[i].at[at];
  printf(" l%d,%ld=%d/%d", i, at, value, signalled);
}
static void store(void) {
  int i = below(MAPS), value = below(256);
  long at = map[i].at ? below(map[i].length) : 0;
  if (!is_defined(i, at)) return;
  signalled = 0;
  if (!sigsetjmp(back, 1)) map[i].at[at] = value;
  printf(" s%d,%ld=%d", i, at, signalled);
}

static void child(int k) {
  int i = below(MAPS), value = below(256), status;
  long at = map[i].at ? below(map[i].length) : 0;
  fflush(stdout);
  if (!fork()) {
    signal(SIGBUS, SIG_DFL);
    signal(SIGSEGV, SIG_DFL);
    if (is_defined(i, at)) map[i].at[at] = value;
    write(fd[k], "child", 5);
    _exit(lseek(fd[k], 0, SEEK_CUR) & 63);
  }
  wait(&status);
  printf(" f%d,%ld=%x", i, at, status & 0xff7f);
}

static void vectors(int k) {
  struct iovec parts[3] = { { buffer, below(100) }, { buffer + 100, below(5000) }, { buffer + 6000, below(10) } };
  int writes = below(2), j = below(FILES);
  printf(" v%d=%ld", writes, result(writes ? writev(fd[k], parts, 3) : readv(fd[k], parts, 3)));
  if (below(3) != 0 || fd[k] < 0 || j == k) return;
  close_file(j);
  fd[j] = dup(fd[k]);
}

static void names(void) {
  const char *from = name(), *to = name();
  switch (below(3)) {
    case 0: printf(" mv%s%s=%ld", from, to, result(rename(from, to))); break;
    case 1: printf(" ln%s%s=%ld", from, to, result(link(from, to))); break;
    default: printf(" rm%s=%ld", from, result(unlink(from)));
  }
}

static void look(int k) {
  struct stat status;
  if (below(2) ? stat(name(), &status) : fstat(fd[k], &status)) printf(" ?=%d", -errno);
  else printf(" ?=%ld,%ld", (long)status.st_size, (long)status.st_nlink);
}

static void step(void) {
  int k = below(FILES), what = below(22);
  if (what < 3) open_file(k);
  else if (what < 7) transfer(k, what - 3);
  else if (what < 9) make_map(k);
  else if (what < 12) load();
  else if (what < 15) store();
  else if (what == 15) child(k);
  else if (what == 16) names();
  else if (what == 17) look(k);
  else if (what == 18) vectors(k);
  else if (what == 19) {
    long at = offset();
    printf(" t%ld=%ld", at, result(ftruncate(fd[k], at)));
  } else if (what == 20) {
    int whence = below(3);
    long at = offset();
    printf(" k%ld,%d=%ld", at, whence, result(lseek(fd[k], at, whence)));
  } else {
    long at = offset(), count = length();
    printf(" a%ld,%ld=%ld", at, count, result(fallocate(fd[k], 0, at, count)));
  }
}

int main(void) {
  signal(SIGBUS, caught);
  signal(SIGSEGV, caught);
  for (int i = 0; i < FILES; i++) fd[i] = -1;
  for (int seed = 0; seed < 150; seed++) {
    state = seed * 0x9e3779b97f4a7c15ul + 88172645463325252ul;
    printf("%d:", seed);
    for (int i = 0; i < 100; i++) step();
    for (char path[] = "m0"; path[1] < '3'; path[1]++) {
      int file = open(path, O_RDONLY);
      long done = result(read(file, buffer, LENGTH));
      printf(" %s %ld %x", path, done, hash(done > 0 ? done : 0));
      close(file);
      unlink(path);
    }
    printf("\n");
    for (int i = 0; i < FILES; i++) close_file(i);
    for (int i = 0; i < MAPS; i++) unmap(i);
  }
  return 42;
}
