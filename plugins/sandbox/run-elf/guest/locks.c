/* Locks on files between processes: flock, fcntl's of POSIX and of open files, with waiting and deadlock. Every line is the same on Linux. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAY(...) do { printf(__VA_ARGS__); putchar('\n'); fflush(stdout); } while (0)
#define TRY(name, call) do { errno = 0; long r = (call); SAY("%s %ld %s", name, r, errno ? strerrorname_np(errno) : ""); } while (0)

static long lock(int fd, int how, int type, long start, long length) {
  struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };
  return fcntl(fd, how, &l);
}

static void who(const char *name, int fd, int how, int type, long start, long length) {
  struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };
  errno = 0;
  long r = fcntl(fd, how, &l);
  if (r || l.l_type == F_UNLCK) SAY("%s: %ld %s", name, r, errno ? strerrorname_np(errno) : "nobody");
  else SAY("%s: type %d from %d by %ld %ld of %s", name, l.l_type, l.l_whence, (long)l.l_start, (long)l.l_len, l.l_pid == -1 ? "a file" : l.l_pid == getppid() ? "the parent" : "another");
}

/* Steps of two processes: `s` is a pair of sockets. */
static int s[2];
static void ring(int side) { write(s[side], "x", 1); }
static void await(int side) { char c; read(s[side], &c, 1); }
static void rest(void) { struct timespec some = { 0, 30000000 }; nanosleep(&some, 0); }
static void nothing(int signal) {}

static void flocks(void) {
  int a = open("f", O_RDWR | O_CREAT, 0600), b = open("f", O_RDONLY), c = dup(a);
  TRY("shared", flock(a, LOCK_SH));
  TRY("shared too", flock(b, LOCK_SH | LOCK_NB));
  TRY("alone", flock(a, LOCK_EX | LOCK_NB)); /* the shared one is lost */
  TRY("b alone", flock(b, LOCK_EX | LOCK_NB));
  TRY("a again", flock(a, LOCK_SH | LOCK_NB));
  TRY("b shared", flock(b, LOCK_SH | LOCK_NB));
  TRY("a again", flock(a, LOCK_SH | LOCK_NB));
  TRY("unlock b", flock(b, LOCK_UN));
  TRY("by the copy", flock(c, LOCK_EX | LOCK_NB));
  TRY("unlock by the copy", flock(c, LOCK_UN));
  TRY("b", flock(b, LOCK_EX | LOCK_NB));
  close(b);
  TRY("after close", flock(a, LOCK_EX | LOCK_NB));
  close(a);
  b = open("f", O_RDWR);
  TRY("the copy keeps it", flock(b, LOCK_EX | LOCK_NB));
  TRY("nothing to do with fcntl", lock(b, F_SETLK, F_WRLCK, 0, 0));
  TRY("what", flock(b, 77));
  TRY("what", flock(b, LOCK_NB));
  TRY("no file", flock(99, LOCK_SH));
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  if (!fork()) {
    SAY("the child waits");
    ring(1);
    TRY("child", flock(b, LOCK_EX));
    _exit(0);
  }
  await(0);
  rest();
  SAY("the parent unlocks");
  flock(c, LOCK_UN);
  wait(0);
  close(s[0]);
  close(s[1]);
  close(c);
  close(b);
  int folder = open(".", O_RDONLY);
  TRY("a folder", flock(folder, LOCK_EX));
  close(folder);
}

static void records(void) {
  int fd = open("r", O_RDWR | O_CREAT, 0600), reader = open("r", O_RDONLY), writer = open("r", O_WRONLY);
  ftruncate(fd, 1000);
  TRY("write lock of a reader", lock(reader, F_SETLK, F_WRLCK, 0, 1));
  TRY("read lock of a writer", lock(writer, F_SETLK, F_RDLCK, 0, 1));
  TRY("bad type", lock(fd, F_SETLK, 7, 0, 1));
  TRY("get unlock", lock(fd, F_GETLK, F_UNLCK, 0, 1));
  TRY("before the file", lock(fd, F_SETLK, F_WRLCK, -1, 1));
  TRY("too far", lock(fd, F_SETLK, F_WRLCK, 0x7fffffffffffffff, 2));
  TRY("backwards", lock(fd, F_SETLK, F_WRLCK, 20, -10));
  TRY("backwards too far", lock(fd, F_SETLK, F_WRLCK, 5, -10));
  TRY("no file", lock(99, F_SETLK, F_WRLCK, 5, 10));
  TRY("more", lock(fd, F_SETLK, F_WRLCK, 20, 30));
  TRY("read in between", lock(fd, F_SETLK, F_RDLCK, 15, 10));
  TRY("far", lock(fd, F_SETLK, F_RDLCK, 100, 0));
  struct flock at = { .l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -10, .l_len = 5 };
  TRY("from the end", fcntl(fd, F_SETLK, &at));
  lseek(fd, 60, SEEK_SET);
  at = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = 1, .l_len = 2 };
  TRY("from here", fcntl(fd, F_SETLK, &at));
  who("own", fd, F_GETLK, F_WRLCK, 0, 0);
  if (!fork()) {
    who("0-", fd, F_GETLK, F_WRLCK, 0, 0);
    who("0-9", fd, F_GETLK, F_WRLCK, 0, 10);
    who("read 15-", fd, F_GETLK, F_RDLCK, 15, 40);
    who("15-", fd, F_GETLK, F_WRLCK, 15, 10);
    who("50-", fd, F_GETLK, F_WRLCK, 50, 11);
    who("60-", fd, F_GETLK, F_WRLCK, 60, 10);
    who("500-", fd, F_GETLK, F_WRLCK, 500, 1);
    who("read 500-", fd, F_GETLK, F_RDLCK, 500, 1);
    who("990-", fd, F_GETLK, F_RDLCK, 900, 95);
    TRY("child in between", lock(fd, F_SETLK, F_RDLCK, 18, 3));
    TRY("child", lock(fd, F_SETLK, F_WRLCK, 18, 3));
    TRY("child before", lock(fd, F_SETLK, F_WRLCK, 0, 10));
    TRY("child unlocks what is not its own", lock(fd, F_SETLK, F_UNLCK, 0, 0));
    who("still", fd, F_GETLK, F_WRLCK, 10, 1);
    _exit(0);
  }
  wait(0);
  TRY("hole", lock(fd, F_SETLK, F_UNLCK, 30, 10));
  if (!fork()) {
    who("25-", fd, F_GETLK, F_WRLCK, 25, 30);
    who("30-", fd, F_GETLK, F_WRLCK, 30, 10);
    who("30-", fd, F_GETLK, F_WRLCK, 30, 11);
    _exit(0);
  }
  wait(0);
  close(reader); /* of the same file: all locks of the process go */
  if (!fork()) {
    who("after close", fd, F_GETLK, F_WRLCK, 0, 0);
    _exit(0);
  }
  wait(0);
  close(writer);
  close(fd);
}

static void waits(void) {
  int fd = open("w", O_RDWR | O_CREAT, 0600);
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  lock(fd, F_SETLK, F_WRLCK, 0, 10);
  if (!fork()) {
    TRY("child has 20", lock(fd, F_SETLK, F_WRLCK, 20, 10));
    ring(1);
    TRY("child waits for 0", lock(fd, F_SETLKW, F_WRLCK, 0, 10));
    _exit(0);
  }
  await(0);
  rest();
  TRY("deadlock", lock(fd, F_SETLKW, F_WRLCK, 25, 1));
  SAY("the parent unlocks");
  lock(fd, F_SETLK, F_UNLCK, 0, 10);
  TRY("the end of the child", lock(fd, F_SETLKW, F_WRLCK, 25, 1));
  wait(0);
  TRY("unlock", lock(fd, F_SETLK, F_UNLCK, 0, 0));
  /* A ring of three */
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  for (int i = 1; i < 3; i++)
    if (!fork()) {
      lock(fd, F_SETLK, F_WRLCK, i, 1);
      ring(1);
      if (i == 1) rest();
      lock(fd, F_SETLKW, F_WRLCK, (i + 1) % 3, 1);
      _exit(0);
    }
  await(0);
  await(0);
  rest();
  rest();
  TRY("ring", lock(fd, F_SETLKW, F_WRLCK, 1, 1));
  lock(fd, F_SETLK, F_UNLCK, 0, 0);
  while (wait(0) > 0) {}
  /* A signal ends the waiting; with SA_RESTART it goes on */
  struct sigaction action = { .sa_handler = nothing };
  sigaction(SIGUSR1, &action, 0);
  lock(fd, F_SETLK, F_WRLCK, 0, 0);
  int child = fork();
  if (!child) {
    ring(1);
    TRY("interrupted", lock(fd, F_SETLKW, F_WRLCK, 0, 0));
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, 0);
    ring(1);
    TRY("restarted", lock(fd, F_SETLKW, F_WRLCK, 0, 0));
    _exit(0);
  }
  await(0);
  rest();
  kill(child, SIGUSR1);
  await(0);
  rest();
  kill(child, SIGUSR1);
  rest();
  SAY("the parent unlocks");
  lock(fd, F_SETLK, F_UNLCK, 0, 0);
  wait(0);
  /* Locks outlive exec's like, and go with their process */
  if (!fork()) {
    lock(fd, F_SETLK, F_WRLCK, 0, 0);
    ring(1);
    await(1);
    _exit(0);
  }
  await(0);
  TRY("taken", lock(fd, F_SETLK, F_WRLCK, 5, 1));
  ring(0);
  wait(0);
  TRY("gone", lock(fd, F_SETLK, F_WRLCK, 5, 1));
  close(fd);
}

static void files(void) {
  int a = open("o", O_RDWR | O_CREAT, 0600), b = open("o", O_RDWR);
  struct flock l = { .l_type = F_WRLCK, .l_pid = 5 };
  TRY("pid", fcntl(a, F_OFD_SETLK, &l));
  TRY("a", lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
  TRY("b", lock(b, F_OFD_SETLK, F_WRLCK, 5, 10));
  TRY("b behind", lock(b, F_OFD_SETLK, F_WRLCK, 10, 10));
  who("of b", b, F_OFD_GETLK, F_RDLCK, 0, 0);
  TRY("the process", lock(a, F_SETLK, F_RDLCK, 0, 5));
  who("of the process", a, F_GETLK, F_RDLCK, 0, 5);
  close(dup(a));
  TRY("kept", lock(b, F_OFD_SETLK, F_WRLCK, 5, 1));
  if (!fork()) {
    TRY("child has it too", lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
    TRY("child unlocks", lock(a, F_OFD_SETLK, F_UNLCK, 0, 3));
    close(a);
    TRY("child waits", lock(b, F_OFD_SETLKW, F_WRLCK, 3, 3));
    _exit(0);
  }
  rest();
  SAY("the parent closes");
  close(a);
  wait(0);
  TRY("b again", lock(b, F_OFD_SETLK, F_WRLCK, 0, 1));
  close(b);
}

int main(void) {
  alarm(20);
  flocks();
  records();
  waits();
  files();
  return 42;
}
