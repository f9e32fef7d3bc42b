/*
 * Makes every system call that the sandbox serves and prints what came of it. The output must be the same on the host's own
 * Linux and in the sandbox: what differs from machine to machine is printed as whether it makes sense.
 * Runs in an empty folder of its own and uses relative paths.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/capability.h>
#include <pthread.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

static void show(const char *name, const char *label, long result) {
  if (result == -1) printf("%s %s = -1 %s\n", name, label, strerrorname_np(errno));
  else printf("%s %s = %ld\n", name, label, result);
}
static void sense(const char *name, const char *label, int good) { printf("%s %s %s\n", name, label, good ? "makes sense" : "IS WRONG"); }

/* A call whose result is printed; and one whose result is only judged. */
#define T(label, name, ...) show(#name, label, syscall(SYS_##name, ##__VA_ARGS__))
#define J(label, name, condition, ...) do { errno = 0; long r = syscall(SYS_##name, ##__VA_ARGS__); (void)r; sense(#name, label, (condition)); } while (0)

/* What must be so in the sandbox, and what may be so on a machine with limits and priorities of its own. */
#define HERE(sandbox, elsewhere) (getenv("SANDBOXED") ? (sandbox) : (elsewhere))

static void alarms(long microseconds) {
  struct itimerval timer = { { 0, microseconds }, { 0, microseconds } };
  int error = errno;
  setitimer(ITIMER_REAL, &timer, NULL);
  errno = error;
}
/*
 * A call that waits for every disk of the machine, however busy others keep them; it cannot fail. So it is made in the sandbox,
 * which has no disks, and not on the machine's own Linux.
 */
#define D(label, name, ...) do { if (getenv("SANDBOXED")) T(label, name, ##__VA_ARGS__); else show(#name, label, 0); } while (0)

/* A call that waits until an alarm; they come again and again, so that one before it waits is not the last. */
#define A(label, name, ...) do { alarms(150000); long r = syscall(SYS_##name, ##__VA_ARGS__); alarms(0); show(#name, label, r); } while (0)

static void text(const char *what, const void *bytes, long length) {
  printf("%s: ", what);
  for (long i = 0; i < length; i++) {
    unsigned char c = ((const unsigned char *)bytes)[i];
    if (c >= 32 && c < 127) putchar(c);
    else printf("\\%03o", c);
  }
  putchar('\n');
}

static void show_stat(const char *label, const struct stat *s) {
  printf("  %s: mode %o links %ld size %ld%s\n", label, s->st_mode, (long)s->st_nlink, S_ISDIR(s->st_mode) ? 0L : (long)s->st_size, s->st_uid == getuid() ? "" : " of somebody else");
}

static char buffer[1 << 16];

static void files(void) {
  int fd, other;
  struct stat s;
  struct iovec v[3] = { { "one ", 4 }, { "", 0 }, { "three", 5 } };
  T("creates", openat, AT_FDCWD, "file", O_CREAT | O_EXCL | O_RDWR, 0640);
  fd = 3;
  T("exists", openat, AT_FDCWD, "file", O_CREAT | O_EXCL | O_RDWR, 0640);
  T("missing", open, "missing", O_RDONLY);
  T("as folder", open, "file/x", O_RDONLY);
  T("null", open, NULL, O_RDONLY);
  T("empty", open, "", O_RDONLY);
  T("O_DIRECTORY on a file", open, "file", O_DIRECTORY);
  T("hello", write, fd, "hello world", 11);
  T("bad address", write, fd, (void *)1, 11);
  T("bad descriptor", write, 77, "x", 1);
  T("nothing", write, fd, NULL, 0);
  T("to 0", lseek, fd, 0, SEEK_SET);
  T("hello", read, fd, buffer, 5);
  text("  read", buffer, 5);
  T("bad address", read, fd, (void *)1, 5);
  T("from the end", lseek, fd, -3, SEEK_END);
  T("rest", read, fd, buffer, 100);
  T("end", read, fd, buffer, 100);
  T("before the start", lseek, fd, -1, SEEK_SET);
  T("beyond", lseek, fd, 100, SEEK_SET);
  T("invalid", lseek, fd, 0, 9);
  T("data", lseek, fd, 0, SEEK_DATA);
  T("hole", lseek, fd, 0, SEEK_HOLE);
  T("at 4", pread64, fd, buffer, 4, 4L);
  text("  read", buffer, 4);
  T("negative", pread64, fd, buffer, 4, -1L);
  T("at 20", pwrite64, fd, "later", 5, 20L);
  T("three parts", writev, fd, v, 3);
  T("too many", writev, fd, v, 2000);
  T("negative count", writev, fd, v, -1);
  T("to 0", lseek, fd, 0, SEEK_SET);
  char a[4], b[8];
  struct iovec w[2] = { { a, 4 }, { b, 8 } };
  T("two parts", readv, fd, w, 2);
  text("  first", a, 4);
  text("  second", b, 8);
  T("at 2", preadv, fd, w, 2, 2L, 0L);
  text("  first", a, 4);
  T("at 30", pwritev, fd, v, 3, 30L, 0L);
  T("at 30", preadv2, fd, w, 2, 30L, 0L, 0);
  text("  first", a, 4);
  T("at the position", preadv2, fd, w, 2, -1L, 0L, 0);
  T("at 40", pwritev2, fd, v, 3, 40L, 0L, 0);
  T("of the file", fstat, fd, &s);
  show_stat("file", &s);
  T("to 5", ftruncate, fd, 5L);
  T("negative", ftruncate, fd, -5L);
  T("to 12", ftruncate, fd, 12L);
  T("by name to 8", truncate, "file", 8L);
  T("missing", truncate, "missing", 8L);
  T("all", pread64, fd, buffer, 100, 0L);
  text("  contents", buffer, 8);
  T("to 64", fallocate, fd, 0, 0L, 64L);
  T("keep the size", fallocate, fd, 1, 0L, 128L);
  T("nothing", fallocate, fd, 0, 0L, 0L);
  T("size now", lseek, fd, 0, SEEK_END);
  T("file", fsync, fd);
  T("file", fdatasync, fd);
  D("all", sync);
  D("of the file", syncfs, fd);
  T("bad descriptor", syncfs, 77);
  T("sequential", fadvise64, fd, 0L, 0L, 2);
  T("ahead", readahead, fd, 0L, 4096L);
  T("a copy", dup, fd);
  T("to 9", dup2, fd, 9);
  T("the same", dup2, fd, fd);
  T("bad", dup2, 77, 9);
  T("far", dup2, fd, 1 << 30);
  T("to 10", dup3, fd, 10, O_CLOEXEC);
  T("the same", dup3, fd, fd, 0);
  T("flags of 10", fcntl, 10, F_GETFD);
  T("flags of 9", fcntl, 9, F_GETFD);
  T("set", fcntl, 9, F_SETFD, FD_CLOEXEC);
  T("flags of 9", fcntl, 9, F_GETFD);
  T("status", fcntl, fd, F_GETFL);
  T("append", fcntl, fd, F_SETFL, O_APPEND);
  T("status", fcntl, fd, F_GETFL);
  T("from 20", fcntl, fd, F_DUPFD, 20);
  T("from 20", fcntl, fd, F_DUPFD_CLOEXEC, 20);
  T("invalid", fcntl, fd, 999, 0);
  struct flock lock = { .l_type = F_WRLCK };
  T("lock", fcntl, fd, F_SETLK, &lock);
  T("who locks", fcntl, fd, F_GETLK, &lock);
  printf("  type %d\n", lock.l_type);
  T("exclusive", flock, fd, 2);
  T("appended", write, fd, "!", 1);
  T("where", lseek, fd, 0, SEEK_CUR);
  T("from 5", close_range, 9, 10, 0);
  T("closed", fcntl, 9, F_GETFD);
  T("copy", close, 4);
  T("again", close, 4);
  T("the others", close_range, 20, 30, 0);
  T("made", creat, "second", 0600);
  other = 4;
  T("not for reading", read, other, buffer, 1);
  T("to the start", lseek, fd, 0, SEEK_SET);
  T("everything", sendfile, other, fd, NULL, 1000L);
  long at = 2;
  T("from 2", sendfile, other, fd, &at, 10L);
  printf("  now at %ld\n", at);
  off_t from = 0;
  T("from 0", copy_file_range, fd, &from, other, NULL, 10L, 0);
  T("size", fstat, other, &s);
  show_stat("second", &s);
  T("not a terminal", ioctl, fd, TCGETS, buffer);
  T("close on exec", ioctl, fd, FIOCLEX);
  T("flags", fcntl, fd, F_GETFD);
  T("second", close, other);
  T("file", close, fd);
  T("only a path", open, "file", O_PATH);
  T("cannot be read", read, 3, buffer, 1);
  T("has a status", fstat, 3, &s);
  T("path", close, 3);
  T("nameless", openat, AT_FDCWD, ".", O_TMPFILE | O_RDWR, 0600);
  T("can be written", write, 3, "x", 1);
  T("nameless", close, 3);
  struct { unsigned long flags, mode, resolve; } how = { O_RDONLY, 0, 0 };
  T("by struct", openat2, AT_FDCWD, "file", &how, sizeof how);
  T("by struct", close, 3);
  T("short struct", openat2, AT_FDCWD, "file", &how, 8L);
}

static void status(void) {
  struct stat s;
  struct statfs fs;
  struct statx x;
  T("to file", symlink, "file", "link");
  T("to nowhere", symlink, "nowhere", "broken");
  T("to itself", symlink, "loop", "loop");
  T("empty", symlink, "", "x");
  T("exists", symlink, "file", "link");
  T("at", symlinkat, "file", AT_FDCWD, "link2");
  T("file", stat, "file", &s);
  show_stat("file", &s);
  T("link", stat, "link", &s);
  show_stat("link", &s);
  T("broken", stat, "broken", &s);
  T("loop", stat, "loop", &s);
  T("bad address", stat, "file", (void *)8);
  T("link", lstat, "link", &s);
  show_stat("link", &s);
  T("folder", newfstatat, AT_FDCWD, ".", &s, 0);
  T("no follow", newfstatat, AT_FDCWD, "link", &s, AT_SYMLINK_NOFOLLOW);
  T("empty path", newfstatat, AT_FDCWD, "", &s, 0);
  T("slash", newfstatat, AT_FDCWD, "file/", &s, 0);
  T("invalid flags", newfstatat, AT_FDCWD, "file", &s, 0x80000000);
  T("standard output", newfstatat, 1, "", &s, AT_EMPTY_PATH);
  T("file", statx, AT_FDCWD, "file", 0, STATX_BASIC_STATS, &x);
  printf("  mode %o size %llu\n", x.stx_mode, x.stx_size);
  T("file", access, "file", R_OK | W_OK);
  T("missing", access, "missing", F_OK);
  T("invalid", access, "file", 99);
  T("link", faccessat, AT_FDCWD, "link", R_OK);
  T("link itself", faccessat2, AT_FDCWD, "broken", F_OK, AT_SYMLINK_NOFOLLOW);
  T("link", readlink, "link", buffer, 100L);
  text("  target", buffer, 4);
  T("two bytes", readlink, "link", buffer, 2L);
  T("none", readlink, "link", buffer, 0L);
  T("a file", readlink, "file", buffer, 100L);
  T("link", readlinkat, AT_FDCWD, "link2", buffer, 100L);
  T("folder", statfs, ".", &fs);
  sense("statfs", "block size", fs.f_bsize >= 512 && fs.f_namelen == 255);
  int fd = open("file", O_RDONLY);
  T("file", fstatfs, fd, &fs);
  close(fd);
}

static void entries(int old) {
  char *names[16];
  int fd = open("folder", O_RDONLY | O_DIRECTORY), count = 0;
  long length = old ? syscall(SYS_getdents, fd, buffer, 1000L) : syscall(SYS_getdents64, fd, buffer, 1000L);
  for (long at = 0; at < length; at += *(unsigned short *)(buffer + at + 16)) names[count++] = buffer + at + (old ? 18 : 19);
  for (int i = 0; i < count; i++) for (int j = i + 1; j < count; j++) if (strcmp(names[i], names[j]) > 0) { char *t = names[i]; names[i] = names[j]; names[j] = t; }
  printf("%s:", old ? "getdents" : "getdents64");
  for (int i = 0; i < count; i++) printf(" %s", names[i]);
  printf("\n");
  T("end", getdents64, fd, buffer, 1000L);
  T("rewound", lseek, fd, 0, SEEK_SET);
  T("too small", getdents64, fd, buffer, 10L);
  T("folder", read, fd, buffer, 10L);
  close(fd);
}

static void directories(void) {
  struct stat s;
  T("folder", mkdir, "folder", 0755);
  T("exists", mkdir, "folder", 0755);
  T("no parent", mkdir, "missing/x", 0755);
  T("with slash", mkdir, "folder/sub/", 0700);
  T("at", mkdirat, AT_FDCWD, "folder/other", 0755);
  T("file", mknod, "folder/node", S_IFREG | 0644, 0L);
  T("file at", mknodat, AT_FDCWD, "folder/node2", S_IFREG | 0644, 0L);
  T("hard", link, "file", "folder/hard");
  T("exists", link, "file", "folder/hard");
  T("folder", link, "folder", "x");
  T("followed", linkat, AT_FDCWD, "link", AT_FDCWD, "folder/hard2", 0);
  T("links", stat, "file", &s);
  show_stat("file", &s);
  entries(0);
  entries(1);
  T("file as folder", rmdir, "file");
  T("not empty", rmdir, "folder");
  T("dot", rmdir, "folder/.");
  T("folder/sub", rmdir, "folder/sub");
  T("missing", rmdir, "folder/sub");
  T("hard", unlink, "folder/hard");
  T("folder", unlink, "folder");
  T("at", unlinkat, AT_FDCWD, "folder/node", 0);
  T("folder at", unlinkat, AT_FDCWD, "folder/other", AT_REMOVEDIR);
  T("invalid", unlinkat, AT_FDCWD, "folder/node2", 4);
  T("file", rename, "folder/node2", "folder/renamed");
  T("missing", rename, "folder/node2", "x");
  T("over a file", rename, "second", "folder/renamed");
  T("file over folder", rename, "file", "folder");
  T("folder over file", rename, "folder", "file");
  T("into itself", rename, "folder", "folder/inside");
  T("at", renameat, AT_FDCWD, "folder/renamed", AT_FDCWD, "second");
  T("not over", renameat2, AT_FDCWD, "second", AT_FDCWD, "file", 1);
  T("fresh", renameat2, AT_FDCWD, "second", AT_FDCWD, "third", 1);
  T("down", chdir, "folder");
  T("file from there", stat, "../file", &s);
  J("current", getcwd, r > 7 && strcmp(buffer + r - 8, "/folder") == 0, buffer, 1000L);
  T("short", getcwd, buffer, 2L);
  int fd = open("..", O_RDONLY | O_DIRECTORY);
  T("up", fchdir, fd);
  close(fd);
  fd = open("file", O_RDONLY);
  T("not a folder", fchdir, fd);
  T("relative to a file", openat, fd, "x", O_RDONLY);
  close(fd);
  T("not a folder", chdir, "file");
  fd = open("folder", O_RDONLY);
  T("relative", openat, fd, "hard2", O_RDONLY | O_NOFOLLOW);
  T("relative up", openat, fd, "../file", O_RDONLY);
  close(fd + 1);
  close(fd);
}

static void attributes(void) {
  struct stat s;
  struct timespec times[2] = { { 1000000000, 0 }, { 1000000001, 0 } };
  struct timeval old[2] = { { 1000000002, 0 }, { 1000000003, 0 } };
  struct utimbuf older = { 1000000004, 1000000005 };
  int fd = open("file", O_RDWR);
  T("600", chmod, "file", 0600);
  T("640", fchmod, fd, 0640);
  T("644", fchmodat, AT_FDCWD, "file", 0644);
  T("missing", chmod, "missing", 0644);
  stat("file", &s);
  show_stat("file", &s);
  T("self", chown, "file", getuid(), getgid());
  T("self", fchown, fd, -1, -1);
  T("self", lchown, "link", getuid(), getgid());
  T("self", fchownat, AT_FDCWD, "file", -1, -1, 0);
  T("set", utimensat, AT_FDCWD, "file", times, 0);
  stat("file", &s);
  printf("  %ld %ld\n", (long)s.st_atime, (long)s.st_mtime);
  times[0].tv_nsec = UTIME_OMIT;
  times[1].tv_sec = 1100000000;
  T("one of them", utimensat, fd, NULL, times, 0);
  times[1].tv_nsec = 2000000000;
  T("invalid", utimensat, AT_FDCWD, "file", times, 0);
  stat("file", &s);
  printf("  %ld %ld\n", (long)s.st_atime, (long)s.st_mtime);
  T("set", utimes, "file", old);
  T("set", futimesat, AT_FDCWD, "file", old);
  T("set", utime, "file", &older);
  stat("file", &s);
  printf("  %ld %ld\n", (long)s.st_atime, (long)s.st_mtime);
  T("now", utime, "file", NULL);
  stat("file", &s);
  sense("utime", "now", s.st_mtime >= time(NULL) - 5);
  printf("umask: %lo", syscall(SYS_umask, 077));
  printf(" then %lo\n", syscall(SYS_umask, 022));
  J("none", getxattr, r == -1 && (errno == ENODATA || errno == EOPNOTSUPP), "file", "user.x", buffer, 10L); /* a file system without them says so */
  T("none", lgetxattr, "missing", "user.x", buffer, 10L);
  J("none", listxattr, r >= 0, "file", buffer, 1000L);
  J("none", llistxattr, r >= 0, "link", buffer, 1000L);
  J("none", flistxattr, r >= 0, fd, buffer, 1000L);
  close(fd);
}

static void memory(void) {
  long page = 4096;
  char *p = (char *)syscall(SYS_mmap, NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
  sense("mmap", "anonymous", p != MAP_FAILED && p[0] == 0 && p[4 * page - 1] == 0);
  p[page] = 'x';
  T("nothing", mmap, NULL, 0L, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
  T("no type", mmap, NULL, page, PROT_READ, MAP_ANONYMOUS, -1, 0L);
  T("odd offset", mmap, NULL, page, PROT_READ, MAP_PRIVATE, 0, 1L);
  T("bad file", mmap, NULL, page, PROT_READ, MAP_PRIVATE, 77, 0L);
  T("odd address", mmap, p + 1, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0L);
  T("taken", mmap, p, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0L);
  T("read only", mprotect, p + page, page, PROT_READ);
  sense("mprotect", "kept", p[page] == 'x');
  T("writable", mprotect, p + page, page, PROT_READ | PROT_WRITE);
  p[page] = 'y';
  T("odd", mprotect, p + 1, page, PROT_READ);
  T("a hole in the middle", munmap, p + 2 * page, page);
  T("over the hole", mprotect, p, 4 * page, PROT_READ);
  T("odd", munmap, p + 1, page);
  T("nothing", munmap, p, 0L);
  unsigned char resident[4];
  T("two pages", mincore, p, 2 * page, resident);
  sense("mincore", "resident", resident[1] & 1);
  T("hole", mincore, p + 2 * page, page, resident);
  T("rest", mprotect, p, 2 * page, PROT_READ | PROT_WRITE);
  T("give back", madvise, p + page, page, MADV_DONTNEED);
  sense("madvise", "zero again", p[page] == 0);
  T("invalid", madvise, p, page, 12345);
  T("hole", madvise, p + 2 * page, page, MADV_DONTNEED);
  strcpy(p, "moves");
  char *q = (char *)syscall(SYS_mremap, p, 2 * page, 64 * page, MREMAP_MAYMOVE);
  sense("mremap", "grown", q != MAP_FAILED && strcmp(q, "moves") == 0 && q[63 * page] == 0);
  T("shrunk", mremap, q + 32 * page, 32 * page, 0L, 0);
  J("shrunk", mremap, (char *)r == q, q, 64 * page, page, 0);
  T("not there", mremap, q + 8 * page, page, 2 * page, MREMAP_MAYMOVE);
  T("invalid", mremap, q, page, page, 99);
  T("lock", mlock, q, page);
  T("lock", mlock2, q, page, 0);
  T("unlock", munlock, q, page);
  T("unlock", munlockall);
  char *top = (char *)syscall(SYS_brk, 0L);
  J("grown", brk, r == (long)top + 100000, top + 100000);
  sense("brk", "zero", top[99999] == 0);
  J("back", brk, r == (long)top, top);
  J("nonsense", brk, r == (long)top, 1L);
  int fd = open("mapped", O_CREAT | O_RDWR | O_TRUNC, 0644);
  for (int i = 0; i < 2; i++) { memset(buffer, 'a' + i, page); if (write(fd, buffer, page) != page) abort(); }
  if (write(fd, "end", 3) != 3) abort();
  char *m = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  sense("mmap", "file", m != MAP_FAILED && m[0] == 'a' && m[page] == 'b' && memcmp(m + 2 * page, "end\0", 4) == 0);
  m[0] = 'z';
  T("private", pread64, fd, buffer, 1, 0L);
  text("  file has", buffer, 1);
  char *shared = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  shared[page] = 'S';
  T("shared", msync, shared, 3 * page, MS_SYNC);
  T("invalid", msync, shared, page, 77);
  T("shared", pread64, fd, buffer, 1, page);
  text("  file has", buffer, 1);
  shared[2 * page] = 'E';
  T("shared", munmap, shared, 3 * page);
  T("written", pread64, fd, buffer, 3, 2 * page);
  text("  file has", buffer, 3);
  char *second = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, page);
  sense("mmap", "at an offset", second[0] == 'S');
  close(fd);
  sense("mmap", "after close", second[1] == 'b');
  fd = open("file", O_WRONLY);
  T("not readable", mmap, NULL, page, PROT_READ, MAP_PRIVATE, fd, 0L);
  close(fd);
  J("all", mlockall, HERE(r == 0, r == 0 || errno == ENOMEM || errno == EPERM), 1); /* RLIMIT_MEMLOCK */
  T("all", munlockall);
}

static void clocks(void) {
  struct timespec t, u;
  struct timeval v;
  struct itimerval timer = { { 0, 0 }, { 100, 0 } }, before;
  struct tms tms;
  struct rusage usage;
  J("real", clock_gettime, r == 0 && t.tv_sec > 1700000000, CLOCK_REALTIME, &t);
  J("monotonic", clock_gettime, r == 0, CLOCK_MONOTONIC, &t);
  T("cpu", clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &u);
  T("invalid", clock_gettime, 99, &t);
  T("bad address", clock_gettime, 0, (void *)8);
  J("resolution", clock_getres, r == 0 && u.tv_nsec > 0, CLOCK_MONOTONIC, &u);
  J("now", gettimeofday, r == 0 && v.tv_sec > 1700000000, &v, NULL);
  J("now", time, r > 1700000000 && r - v.tv_sec < 3, NULL);
  t = (struct timespec){ 0, 2000000 };
  T("2 ms", nanosleep, &t, NULL);
  t.tv_nsec = 1000000000;
  T("invalid", nanosleep, &t, NULL);
  clock_gettime(CLOCK_MONOTONIC, &t);
  t.tv_nsec += 3000000;
  if (t.tv_nsec >= 1000000000) { t.tv_sec++; t.tv_nsec -= 1000000000; }
  T("until", clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
  clock_gettime(CLOCK_MONOTONIC, &u);
  sense("clock_nanosleep", "reached", u.tv_sec > t.tv_sec || (u.tv_sec == t.tv_sec && u.tv_nsec >= t.tv_nsec));
  T("past", clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &(struct timespec){ 1, 0 }, NULL);
  T("100 s", setitimer, ITIMER_REAL, &timer, &before);
  printf("  before %ld\n", before.it_value.tv_sec);
  T("left", getitimer, ITIMER_REAL, &timer);
  sense("getitimer", "left", timer.it_value.tv_sec == 99 || timer.it_value.tv_sec == 100);
  T("invalid", getitimer, 9, &timer);
  J("5 s", alarm, r == 100 || r == 99, 5);
  T("off", alarm, 0);
  J("all", times, r > 0, &tms);
  J("self", getrusage, r == 0, RUSAGE_SELF, &usage);
  T("children", getrusage, RUSAGE_CHILDREN, &usage);
  T("invalid", getrusage, 77, &usage);
}

static void identity(void) {
  unsigned ids[3];
  struct rlimit limit;
  struct utsname name;
  struct sysinfo info;
  unsigned long mask = 0;
  J("real", getuid, r == getuid());
  J("effective", geteuid, r == getuid());
  J("real", getgid, r == getgid());
  J("effective", getegid, r == getgid());
  J("all", getresuid, r == 0 && ids[2] == getuid(), &ids[0], &ids[1], &ids[2]);
  J("all", getresgid, r == 0 && ids[2] == getgid(), &ids[0], &ids[1], &ids[2]);
  T("same", setuid, getuid());
  T("same", setgid, getgid());
  T("same", setreuid, -1, getuid());
  T("same", setregid, -1, getgid());
  T("same", setresuid, -1, -1, -1);
  T("same", setresgid, -1, -1, -1);
  J("same", setfsuid, r == getuid(), getuid());
  J("same", setfsgid, r == getgid(), getgid());
  J("count", getgroups, r >= 0, 0, NULL);
  T("negative", getgroups, -1, NULL);
  J("process", getpid, r > 0);
  J("thread", gettid, r == getpid());
  J("parent", getppid, r > 0);
  J("group", getpgrp, r > 0);
  J("group", getpgid, r > 0, 0);
  J("session", getsid, r > 0, 0);
  T("name", prctl, PR_SET_NAME, "a long name that is cut", 0, 0, 0);
  T("name", prctl, PR_GET_NAME, buffer, 0, 0, 0);
  printf("  %s\n", buffer);
  J("dumpable", prctl, HERE(r == 1, r >= 0 && r <= 2), PR_GET_DUMPABLE, 0, 0, 0, 0);
  T("invalid", prctl, 123456, 0, 0, 0, 0);
  T("stack", getrlimit, RLIMIT_STACK, &limit);
  sense("getrlimit", "stack", limit.rlim_cur >= 1 << 20);
  limit.rlim_cur = 0;
  T("core", setrlimit, RLIMIT_CORE, &limit);
  T("files", prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
  sense("prlimit64", "files", limit.rlim_cur >= 256);
  T("invalid", prlimit64, 0, 99, NULL, &limit);
  J("names", uname, r == 0 && strcmp(name.sysname, "Linux") == 0 && strcmp(name.machine, "x86_64") == 0, &name);
  T("bad address", uname, (void *)8);
  J("machine", sysinfo, r == 0 && info.totalram > 0 && info.mem_unit > 0, &info);
  J("bytes", getrandom, r == 16, buffer, 16L, 0);
  T("invalid", getrandom, buffer, 16L, 99);
  J("processors", sched_getaffinity, r >= 8 && (mask & 1) + 1, 0, 8L, &mask);
  T("too small", sched_getaffinity, 0, 1L, &mask);
  J("which", sched_getscheduler, HERE(r == SCHED_OTHER, r >= 0), 0);
  T("least", sched_get_priority_min, SCHED_OTHER);
  T("most", sched_get_priority_max, SCHED_FIFO);
  J("nice", getpriority, HERE(r == 20, r >= 1 && r <= 40), PRIO_PROCESS, 0);
  T("query", personality, 0xffffffff);
  T("give way", sched_yield);
  struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
  struct __user_cap_data_struct data[2];
  T("read", capget, &head, data);
  unsigned cpu;
  T("which", getcpu, &cpu, NULL, NULL);
  unsigned long base;
  J("fs", arch_prctl, r == 0 && base != 0, 0x1003, &base);
  T("invalid", arch_prctl, 0x9999, &base);
  int word = 0;
  J("address", set_tid_address, r == gettid(), &word);
  T("size", set_robust_list, NULL, 3L);
  T("no child", wait4, -1, NULL, 0, NULL);
  struct sched_param parameters;
  struct timespec turn;
  T("parameters", sched_getparam, 0, &parameters);
  T("parameters of nobody", sched_getparam, -1, &parameters);
  T("policy of nobody", sched_getscheduler, -1);
  T("processors of nobody", sched_getaffinity, -1, 8L, &mask);
  T("no policy", sched_get_priority_min, -23);
  parameters.sched_priority = 5;
  T("priority without one", sched_setparam, 0, &parameters);
  parameters.sched_priority = 0;
  T("batch", sched_setscheduler, 0, SCHED_BATCH, &parameters);
  T("batch", sched_getscheduler, 0);
  T("same", sched_setparam, 0, &parameters);
  T("back", sched_setscheduler, 0, SCHED_OTHER, &parameters);
  T("no policy", sched_setscheduler, 0, 77, &parameters);
  T("too high", sched_setscheduler, 0, SCHED_RR, &parameters);
  J("turn", sched_rr_get_interval, r == 0 && turn.tv_sec == 0 && turn.tv_nsec >= 0, 0, &turn);
  T("turn of nobody", sched_rr_get_interval, -1, &turn);
  T("whose", getpriority, 7, 0);
  T("whose", setpriority, 7, 0, 1);
  J("nicer", setpriority, r == 0 && syscall(SYS_getpriority, PRIO_PROCESS, 0) == 20 - 19, PRIO_PROCESS, 0, 19);
}

static void pipes(void) {
  int p[2], q[2];
  struct pollfd polled[3];
  T("bad address", pipe, NULL);
  T("made", pipe, p);
  T("flags", pipe2, q, O_NONBLOCK | O_CLOEXEC);
  T("invalid", pipe2, q, 12345);
  printf("  descriptors %d %d %d %d\n", p[0], p[1], q[0], q[1]);
  T("empty", read, q[0], buffer, 1L);
  T("write", write, p[1], "pipe", 4L);
  int left;
  T("bytes", ioctl, p[0], FIONREAD, &left);
  printf("  %d\n", left);
  polled[0] = (struct pollfd){ p[0], POLLIN | POLLOUT, 0 };
  polled[1] = (struct pollfd){ p[1], POLLIN | POLLOUT, 0 };
  polled[2] = (struct pollfd){ 77, POLLIN, 0 };
  T("three", poll, polled, 3, 0);
  printf("  %x %x %x\n", polled[0].revents, polled[1].revents, polled[2].revents);
  polled[0].fd = q[0];
  T("timeout", poll, polled, 1, 5);
  struct timespec none = { 0, 1000000 };
  T("timeout", ppoll, polled, 1, &none, NULL, 8L);
  fd_set in, out;
  FD_ZERO(&in); FD_ZERO(&out);
  FD_SET(p[0], &in); FD_SET(q[0], &in); FD_SET(p[1], &out);
  T("three", select, q[1] + 1, &in, &out, NULL, NULL);
  printf("  %d %d %d\n", !!FD_ISSET(p[0], &in), !!FD_ISSET(q[0], &in), !!FD_ISSET(p[1], &out));
  FD_ZERO(&in); FD_SET(q[0], &in);
  T("timeout", pselect6, q[0] + 1, &in, NULL, NULL, &none, NULL);
  FD_ZERO(&in); FD_SET(70, &in);
  T("bad descriptor", select, 71, &in, NULL, NULL, NULL);
  T("read", read, p[0], buffer, 100L);
  T("not seekable", lseek, p[0], 0L, SEEK_CUR);
  T("wrong end", write, p[0], "x", 1L);
  T("fill", write, q[1], buffer, 65536L);
  T("full", write, q[1], "x", 1L);
  T("reader", close, q[0]);
  signal(SIGPIPE, SIG_IGN);
  T("no reader", write, q[1], "x", 1L);
  polled[0] = (struct pollfd){ q[1], POLLOUT, 0 };
  T("no reader", poll, polled, 1, 0);
  printf("  %x\n", polled[0].revents & POLLERR);
  T("writer", close, q[1]);
  T("writer", close, p[1]);
  T("end", read, p[0], buffer, 1L);
  T("reader", close, p[0]);
  T("made", eventfd, 3);
  int e = 3;
  unsigned long value;
  T("value", read, e, &value, 8L);
  printf("  %lu\n", value);
  T("semaphore", eventfd2, 2, EFD_NONBLOCK | EFD_SEMAPHORE);
  T("one", read, 4, &value, 8L);
  T("two", read, 4, &value, 8L);
  T("none", read, 4, &value, 8L);
  value = 5;
  T("more", write, 4, &value, 8L);
  T("short", write, 4, &value, 4L);
  T("made", epoll_create1, 0);
  T("made", epoll_create, 1);
  struct epoll_event event = { EPOLLIN, { .u64 = 42 } }, got[4];
  T("add", epoll_ctl, 5, EPOLL_CTL_ADD, 4, &event);
  T("again", epoll_ctl, 5, EPOLL_CTL_ADD, 4, &event);
  T("ready", epoll_wait, 5, got, 4, 0);
  printf("  %x %lu\n", got[0].events, (unsigned long)got[0].data.u64);
  event.events = EPOLLIN | EPOLLONESHOT;
  T("change", epoll_ctl, 5, EPOLL_CTL_MOD, 4, &event);
  T("once", epoll_pwait, 5, got, 4, 0, NULL, 8L);
  T("no more", epoll_wait, 5, got, 4, 2);
  T("remove", epoll_ctl, 5, EPOLL_CTL_DEL, 4, &event);
  T("missing", epoll_ctl, 5, EPOLL_CTL_DEL, 4, &event);
  int fd = open("file", O_RDONLY);
  T("regular file", epoll_ctl, 5, EPOLL_CTL_ADD, fd, &event);
  T("invalid", epoll_wait, 5, got, 0, 0);
  for (int i = 3; i <= fd; i++) close(i);
}

static void timer_files(void) {
  struct itimerspec soon = { { 0, 0 }, { 0, 2000000 } }, often = { { 0, 1000000 }, { 0, 1000000 } }, before, past = { { 0, 0 }, { 1, 0 } }, none = { { 0, 0 }, { 0, 0 } };
  struct itimerspec far = { { 5, 0 }, { 1000, 0 } }, wrong = { { 0, 0 }, { 0, 1000000000 } };
  unsigned long times;
  T("made", timerfd_create, CLOCK_MONOTONIC, 0);
  T("does not block", timerfd_create, CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  T("of CPU time", timerfd_create, CLOCK_PROCESS_CPUTIME_ID, 0);
  T("invalid", timerfd_create, CLOCK_MONOTONIC, 1);
  T("flags", fcntl, 4, F_GETFL);
  T("off", timerfd_gettime, 3, &before);
  printf("  %ld %ld\n", before.it_value.tv_sec, before.it_value.tv_nsec);
  T("never set", read, 4, &times, 8L);
  T("once", timerfd_settime, 3, 0, &soon, NULL);
  T("once", read, 3, &times, 8L);
  printf("  %lu\n", times);
  T("short", read, 3, &times, 4L);
  T("not for writing", write, 3, &times, 8L);
  T("often", timerfd_settime, 3, 0, &often, &before);
  printf("  before %ld %ld\n", before.it_value.tv_sec, before.it_value.tv_nsec);
  struct timespec pause = { 0, 5500000 };
  nanosleep(&pause, NULL);
  T("often", read, 3, &times, 8L);
  sense("timerfd", "several times", times >= 5);
  struct pollfd polled = { 3, POLLIN, 0 };
  T("until it comes", poll, &polled, 1, 1000);
  printf("  %x\n", polled.revents);
  T("far", timerfd_settime, 3, 0, &far, &before);
  printf("  before, every %ld\n", before.it_interval.tv_nsec);
  T("far", timerfd_gettime, 3, &before);
  sense("timerfd_gettime", "left", before.it_value.tv_sec == 999 && before.it_interval.tv_sec == 5);
  T("not yet", poll, &polled, 1, 0);
  T("past", timerfd_settime, 4, TFD_TIMER_ABSTIME, &past, NULL);
  polled.fd = 4;
  T("past", poll, &polled, 1, 1000);
  T("past", read, 4, &times, 8L);
  printf("  %lu\n", times);
  T("off", timerfd_settime, 4, 0, &none, NULL);
  T("off", read, 4, &times, 8L);
  T("invalid", timerfd_settime, 4, 0, &wrong, NULL);
  T("invalid", timerfd_settime, 4, 99, &soon, NULL);
  T("no timer", timerfd_settime, 1, 0, &soon, NULL);
  T("bad descriptor", timerfd_gettime, 77, &before);
  T("bad address", timerfd_settime, 4, 0, (void *)8, NULL);
  close(3);
  close(4);
  struct stat s;
  T("made", memfd_create, "mine", MFD_CLOEXEC);
  T("flags", fcntl, 3, F_GETFD);
  T("written", write, 3, "in memory", 9L);
  T("of it", fstat, 3, &s);
  show_stat("memfd", &s);
  long length = readlink("/proc/self/fd/3", buffer, 100);
  text("  name", buffer, length);
  T("larger", ftruncate, 3, 8192L);
  char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
  sense("mmap", "memfd", m != MAP_FAILED && memcmp(m, "in memory", 10) == 0);
  m[4096] = 'x';
  T("memfd", msync, m, 8192L, MS_SYNC);
  T("through the mapping", pread64, 3, buffer, 1, 4096L);
  text("  read", buffer, 1);
  munmap(m, 8192);
  T("invalid", memfd_create, "mine", 0x40000000);
  memset(buffer, 'n', 250);
  buffer[250] = 0;
  T("name too long", memfd_create, buffer, 0);
  T("no name", memfd_create, NULL, 0);
  close(3);
}

static volatile int handled, code;
static void *volatile address;
static volatile long on_stack;
static sigjmp_buf back;
static char alternate[16384] __attribute__((aligned(16)));

static void count(int signal) { handled = signal; }
static void detail(int signal, siginfo_t *info, void *context) {
  ucontext_t *user = context;
  handled = signal;
  code = info->si_code;
  address = info->si_addr;
  on_stack = (char *)&user >= alternate && (char *)&user < alternate + sizeof alternate;
}
static void jump(int signal, siginfo_t *info, void *context) { detail(signal, info, context); siglongjmp(back, 1); }

static void install(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
  struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };
  sigaction(signal, &action, NULL);
}

static void signals(void) {
  struct sigaction action = { .sa_handler = count }, old;
  sigset_t set, pending;
  sigaction(SIGUSR1, &action, NULL);
  raise(SIGUSR1);
  printf("tgkill handled %d\n", handled);
  handled = 0;
  T("self", kill, getpid(), SIGUSR1);
  printf("  handled %d\n", handled);
  handled = 0;
  T("self", tkill, gettid(), SIGUSR1);
  printf("  handled %d\n", handled);
  T("self", tgkill, getpid(), gettid(), 0);
  T("invalid", kill, getpid(), 99);
  T("nobody", kill, 99999999, 0);
  T("invalid", rt_sigaction, SIGKILL, &action, NULL, 8L);
  T("size", rt_sigaction, SIGUSR1, NULL, NULL, 4L);
  sigaction(SIGUSR1, NULL, &old);
  sense("rt_sigaction", "old handler", old.sa_handler == count);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  T("block", rt_sigprocmask, SIG_BLOCK, &set, NULL, 8L);
  T("invalid", rt_sigprocmask, 99, &set, NULL, 8L);
  handled = 0;
  raise(SIGUSR1);
  printf("  handled %d\n", handled);
  sigemptyset(&pending);
  T("which", rt_sigpending, &pending, 8L);
  printf("  pending %d\n", sigismember(&pending, SIGUSR1));
  struct timespec soon = { 0, 1000000 };
  siginfo_t info;
  T("taken", rt_sigtimedwait, &set, &info, &soon, 8L);
  printf("  signal %d code %d\n", info.si_signo, info.si_code);
  T("timeout", rt_sigtimedwait, &set, &info, &soon, 8L);
  raise(SIGUSR1);
  sigset_t none;
  sigemptyset(&none);
  T("until it comes", rt_sigsuspend, &none, 8L);
  printf("  handled %d\n", handled);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  /* A timer ends calls that wait */
  sigaction(SIGALRM, &action, NULL);
  A("until the alarm", pause);
  printf("  handled %d\n", handled);
  struct timespec longer = { 10, 0 }, left;
  A("interrupted", nanosleep, &longer, &left);
  sense("nanosleep", "what is left", left.tv_sec == 9);
  int p[2];
  if (pipe(p)) abort();
  A("interrupted", read, p[0], buffer, 1L);
  A("interrupted", poll, &(struct pollfd){ p[0], POLLIN, 0 }, 1, -1);
  close(p[0]);
  close(p[1]);
  /* Faults */
  install(SIGSEGV, jump, SA_NODEFER);
  if (!sigsetjmp(back, 1)) *(volatile int *)16 = 1;
  printf("SIGSEGV code %d address %p\n", code, address);
  char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!sigsetjmp(back, 1)) *(volatile char *)page = 1;
  printf("SIGSEGV code %d at the page %d\n", code, address == page);
  if (!sigsetjmp(back, 1)) __asm__ volatile("hlt");
  printf("SIGSEGV code %d address %p\n", code, address);
  if (!sigsetjmp(back, 1)) ((void (*)(void))page)();
  printf("SIGSEGV code %d at the page %d\n", code, address == page);
  install(SIGILL, jump, SA_NODEFER);
  if (!sigsetjmp(back, 1)) __asm__ volatile("ud2");
  printf("SIGILL code %d\n", code);
  install(SIGFPE, jump, SA_NODEFER);
  if (!sigsetjmp(back, 1)) { int zero = 0; __asm__ volatile("cltd\n\tidivl %1" : : "a"(1), "r"(zero) : "edx"); }
  printf("SIGFPE code %d\n", code);
  install(SIGTRAP, detail, 0);
  __asm__ volatile("int3");
  printf("SIGTRAP code %d\n", code);
  int fd = open("mapped", O_RDWR);
  char *beyond = mmap(NULL, 1 << 20, PROT_READ, MAP_SHARED, fd, 0);
  install(SIGBUS, jump, SA_NODEFER);
  if (!sigsetjmp(back, 1)) printf("%d", ((volatile char *)beyond)[1 << 19]);
  printf("SIGBUS code %d at the place %d\n", code, address == beyond + (1 << 19));
  close(fd);
  /* Another stack, and floating-point state that outlives a handler */
  stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate }, before;
  T("set", sigaltstack, &stack, &before);
  printf("  before %d\n", before.ss_flags);
  T("too small", sigaltstack, &(stack_t){ .ss_sp = alternate, .ss_size = 100 }, NULL);
  install(SIGUSR2, detail, SA_ONSTACK);
  double x = 1.5;
  __asm__ volatile("" : "+x"(x));
  raise(SIGUSR2);
  printf("SIGUSR2 on its stack %ld, %g\n", on_stack, x * 2);
  stack.ss_flags = SS_DISABLE;
  T("off", sigaltstack, &stack, NULL);
  install(SIGUSR2, detail, SA_RESETHAND);
  raise(SIGUSR2);
  sigaction(SIGUSR2, NULL, &old);
  printf("SIGUSR2 reset %d\n", old.sa_handler == SIG_DFL);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int ready, total;

static void *worker(void *argument) {
  long mine = (long)argument;
  volatile double sum = 0;
  for (int i = 0; i < 20000; i++) sum += mine; /* floating-point registers of its own */
  pthread_mutex_lock(&mutex);
  total += (int)(sum / 20000);
  ready++;
  pthread_cond_signal(&condition);
  pthread_mutex_unlock(&mutex);
  return argument;
}

static void threads(void) {
  int word = 1;
  struct timespec soon = { 0, 1000000 };
  T("another value", futex, &word, FUTEX_WAIT, 2, NULL, NULL, 0);
  T("timeout", futex, &word, FUTEX_WAIT, 1, &soon, NULL, 0);
  T("nobody waits", futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
  T("unaligned", futex, (char *)&word + 1, FUTEX_WAIT, 1, NULL, NULL, 0);
  T("invalid", futex, &word, 99, 1, NULL, NULL, 0);
  pthread_t all[4];
  pthread_attr_t small; /* else a stack is as large as RLIMIT_STACK allows, which may be more than there is */
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 1 << 18);
  for (long i = 0; i < 4; i++) {
    int error = pthread_create(&all[i], &small, worker, (void *)(i + 1));
    if (error != 0) { printf("no thread: %s\n", strerror(error)); syscall(SYS_exit_group, 1); }
  }
  pthread_mutex_lock(&mutex);
  while (ready < 4) pthread_cond_wait(&condition, &mutex);
  pthread_mutex_unlock(&mutex);
  long joined = 0;
  for (int i = 0; i < 4; i++) { void *result; pthread_join(all[i], &result); joined += (long)result; }
  printf("clone: %d threads, sum %d, joined %ld\n", ready, total, joined);
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 1 << 16);
  umask(022);
  printf("argc %d argv1 %s env %s\n", argc, argc > 1 ? argv[1] : "-", getenv("GREETING") ? getenv("GREETING") : "-");
  files();
  status();
  directories();
  attributes();
  memory();
  clocks();
  identity();
  pipes();
  timer_files();
  signals();
  threads();
  syscall(SYS_exit_group, 42);
}
