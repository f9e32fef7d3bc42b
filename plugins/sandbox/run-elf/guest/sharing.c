/* Memory and files that are the same: mappings, reads and writes see one another at once. Every line is the same on Linux. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAY(...) do { printf(__VA_ARGS__); putchar('\n'); fflush(stdout); } while (0)

static void one_file(const char *kind, int fd, int other) {
  char text[20] = { 0 };
  ftruncate(fd, 3 * 4096 + 100);
  char *a = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  char *b = mmap(0, 2 * 4096, PROT_READ, MAP_SHARED, other, 4096);
  char *mine = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  memcpy(a + 4090, "across pages", 12);
  pread(other, text, 12, 4090);
  SAY("%s: a store is read: %s", kind, text);
  SAY("by the other mapping: %.6s", b);
  pwrite(fd, "WRITTEN", 7, 4092);
  SAY("a write is seen: %.12s, by the other: %.5s", a + 4090, b);
  SAY("a private page shows it: %.7s", mine + 4092);
  mine[4096] = '!';
  pwrite(fd, "again", 5, 4096);
  SAY("a copy stays: %.5s, the file: %.5s", mine + 4096, a + 4096);
  lseek(other, 4096, SEEK_SET);
  memset(text, 0, sizeof text);
  struct iovec parts[2] = { { text, 2 }, { text + 2, 3 } };
  readv(other, parts, 2);
  SAY("readv: %s", text);
  if (!fork()) {
    a[8192] = 'c';
    b = 0;
    pwrite(fd, "child", 5, 8200);
    _exit(0);
  }
  wait(0);
  pread(fd, text, 1, 8192);
  SAY("a child's store: %c, its write: %.5s", text[0], a + 8200);
  a[3 * 4096 + 99] = 'e';
  a[3 * 4096 + 200] = 'x'; /* behind the end: nobody else sees it in the file */
  struct stat status;
  fstat(fd, &status);
  SAY("size %d, last %d", (int)status.st_size, (int)pread(fd, text, 20, 3 * 4096 + 99));
  ftruncate(fd, 4096 + 3);
  ftruncate(fd, 4 * 4096);
  memset(text, 1, sizeof text);
  pread(fd, text, 5, 4096);
  SAY("cut off: %d %d %d, mapped %d %d", text[2] != 0, text[3], text[4], a[4096 + 2] != 0, a[4096 + 3]);
  munmap(a, 4096);
  munmap(mine, 4 * 4096);
  pread(other, text, 4, 4090);
  SAY("unmapped: %.4s", text);
  errno = 0;
  void *refused = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
  SAY("a shared mapping to write of a file open for reading: %d %s", refused == MAP_FAILED, strerrorname_np(errno));
  char *only = mmap(0, 4096, PROT_READ, MAP_SHARED, other, 0);
  errno = 0;
  SAY("nor by mprotect: %d %s", mprotect(only, 4096, PROT_READ | PROT_WRITE), strerrorname_np(errno));
}

/* What may be written can be read, however it is mapped; and calls on ranges with holes. */
static void ranges(void) {
  int fd = memfd_create("ranges", 0);
  ftruncate(fd, 4 * 4096);
  pwrite(fd, "q", 1, 4096);
  for (int kind = 0; kind < 4; kind++) {
    volatile char *at = mmap(0, 2 * 4096, PROT_WRITE, (kind & 1 ? MAP_PRIVATE : MAP_SHARED) | (kind & 2 ? MAP_ANONYMOUS : 0), kind & 2 ? -1 : fd, kind & 2 ? 0 : 4096);
    int first = at[0];
    at[4096] = 'w';
    SAY("only to be written: %d %d", first, at[4096]);
    munmap((void *)at, 2 * 4096);
  }
  char *a = mmap(0, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(a, 'a', 8 * 4096);
  munmap(a + 4096, 4096);
  for (int advice = 0; advice <= 4; advice++) {
    errno = 0;
    int result = madvise(a, 4 * 4096, advice);
    SAY("advice %d: %d %s", advice, result, errno ? strerrorname_np(errno) : "");
  }
  SAY("behind the hole: %d, and behind that: %d", a[2 * 4096], a[4 * 4096]);
  errno = 0;
  void *moved = mremap(a + 4096, 4096, 2 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, a);
  SAY("over itself: %d %s", moved == MAP_FAILED, strerrorname_np(errno));
  munmap(a + 6 * 4096, 4096);
  errno = 0;
  moved = mremap(a + 5 * 4096, 2 * 4096, 3 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, a + 2 * 4096);
  SAY("with a hole: %d %s, what was there: %c", moved == MAP_FAILED, strerrorname_np(errno), a[3 * 4096] ? a[3 * 4096] : '0');
  munmap(a, 8 * 4096);
  close(fd);
}

int main(void) {
  ranges();
  int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600), other = open("file", O_RDONLY);
  one_file("file", fd, other);
  unlink("file");
  fd = memfd_create("memory", 0);
  char path[40];
  sprintf(path, "/proc/self/fd/%d", fd);
  one_file("memfd", fd, open(path, O_RDONLY));
  /* Closed, the mapping goes on; what it holds is in the file afterwards */
  fd = open("later", O_RDWR | O_CREAT | O_TRUNC, 0600);
  ftruncate(fd, 4096);
  char *late = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  strcpy(late, "kept");
  char text[8] = { 0 };
  fd = open("later", O_RDONLY);
  read(fd, text, 4);
  SAY("opened anew: %s", text);
  msync(late, 4096, MS_SYNC);
  munmap(late, 4096);
  lseek(fd, 0, SEEK_SET);
  read(fd, text, 4);
  SAY("and after: %s", text);
  unlink("later");
  return 42;
}
