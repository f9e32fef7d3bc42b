/* Open files and names of senders over local sockets (SCM_RIGHTS, SCM_CREDENTIALS). Every line is the same on Linux. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAY(...) do { printf(__VA_ARGS__); putchar('\n'); fflush(stdout); } while (0)
#define TRY(name, call) do { errno = 0; long r = (call); SAY("%s %ld %s", name, r, errno ? strerrorname_np(errno) : ""); } while (0)

static char control[4096] __attribute__((aligned(8)));

static long send_files(int s, const char *text, const int *files, int count, int flags) {
  struct iovec part = { (void *)text, strlen(text) };
  struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
  memset(control, 0, sizeof control);
  if (count) {
    m.msg_control = control;
    m.msg_controllen = CMSG_SPACE(count * sizeof(int));
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(c), files, count * sizeof(int));
  }
  return sendmsg(s, &m, flags);
}

static int got[300], got_count;

/* Shows what came; files are kept in `got`. */
static void take(const char *name, int s, int size, int room, int flags) {
  char text[100] = { 0 };
  struct iovec part = { text, size };
  struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room };
  memset(control, 0x55, sizeof control);
  errno = 0;
  long r = recvmsg(s, &m, flags);
  SAY("%s: %ld %s \"%s\" flags %x control %d", name, r, errno ? strerrorname_np(errno) : "", text, m.msg_flags, (int)m.msg_controllen);
  if (r < 0) return;
  got_count = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
    int count = (c->cmsg_len - CMSG_LEN(0)) / 4;
    if (c->cmsg_type == SCM_RIGHTS) {
      SAY("  %d files", count);
      memcpy(got, CMSG_DATA(c), count * 4);
      got_count = count;
      for (int i = 0; i < count && i < 3; i++) SAY("  close-on-exec %d", fcntl(got[i], F_GETFD));
    } else if (c->cmsg_type == SCM_CREDENTIALS) {
      struct ucred *u = (void *)CMSG_DATA(c);
      SAY("  length %d from %s, user %s", (int)c->cmsg_len, u->pid == getpid() ? "me" : u->pid == 0 ? "nobody" : u->pid == getppid() ? "the parent" : "another",
        u->uid == getuid() ? "mine" : "other");
    }
  }
}
static void close_got(void) { while (got_count) close(got[--got_count]); }

static void between(int type) {
  int s[2], p[2];
  SAY("type %d", type);
  socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s);
  pipe(p);
  TRY("send", send_files(s[0], "pipe", p, 2, 0));
  close(p[0]);
  close(p[1]);
  if (!fork()) {
    take("child", s[1], 50, sizeof control, 0);
    write(got[1], "through", 7);
    close(got[1]);
    char text[20] = { 0 };
    TRY("child reads", read(got[0], text, 19));
    SAY("%s", text);
    TRY("end", read(got[0], text, 19));
    _exit(0);
  }
  wait(0);
  TRY("the parent gets nothing", recv(s[1], p, 4, 0));

  /* Borders */
  int file = open("/dev/null", O_RDONLY), two[2] = { file, file };
  send(s[0], "one", 3, 0);
  send_files(s[0], "two", two, 1, 0);
  send(s[0], "three", 5, 0);
  send_files(s[0], "four", two, 2, 0);
  take("a", s[1], 50, sizeof control, MSG_PEEK);
  close_got();
  take("b", s[1], 4, sizeof control, 0);
  close_got();
  take("c", s[1], 50, sizeof control, MSG_CMSG_CLOEXEC);
  close_got();
  take("d", s[1], 50, sizeof control, 0);
  close_got();
  take("e", s[1], 50, sizeof control, 0);
  close_got();
  take("f", s[1], 50, sizeof control, 0);
  close_got();
  /* Room */
  for (int room = 0; room < 48; room += 4) {
    send_files(s[0], "x", (int[]){ file, file, file }, 3, 0);
    take("room", s[1], 9, room, 0);
    close_got();
  }
  /* Without room at all: by read and by recv they are closed */
  pipe(p);
  send_files(s[0], "r", p + 1, 1, 0);
  close(p[1]);
  char c;
  TRY("read", read(s[1], &c, 1));
  TRY("the pipe ends", read(p[0], &c, 1));
  close(p[0]);
  /* Sent and never received */
  pipe(p);
  send_files(s[0], "r", p + 1, 1, 0);
  close(p[1]);
  close(s[1]);
  TRY("the pipe ends", read(p[0], &c, 1));
  close(p[0]);
  close(s[0]);
  /* A socket that is sent to itself */
  socketpair(AF_UNIX, type, 0, s);
  pipe(p);
  send_files(s[0], "s", (int[]){ s[1], p[1] }, 2, 0);
  close(p[1]);
  close(s[1]);
  struct pollfd end = { p[0], POLLIN };
  fcntl(p[0], F_SETFL, O_NONBLOCK);
  TRY("open while it can be received", read(p[0], &c, 1));
  close(s[0]);
  poll(&end, 1, 1000);
  TRY("collected", read(p[0], &c, 1));
  close(p[0]);
  close(file);
}

static void wrong(void) {
  int s[2], many[254], file = open("/dev/null", O_RDONLY);
  for (int i = 0; i < 254; i++) many[i] = file;
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  TRY("bad file", send_files(s[0], "x", (int[]){ 99 }, 1, 0));
  TRY("too many", send_files(s[0], "x", many, 254, 0));
  TRY("many", send_files(s[0], "x", many, 253, 0));
  take("many", s[1], 9, sizeof control, 0);
  close_got();
  TRY("no bytes", send_files(s[0], "", &file, 1, 0));
  TRY("nothing came", recv(s[1], many, 1, MSG_DONTWAIT));
  struct iovec part = { "x", 1 };
  struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 20 };
  struct cmsghdr *c = (void *)control;
  memset(control, 0, sizeof control);
  *c = (struct cmsghdr){ .cmsg_len = 20, .cmsg_level = SOL_SOCKET, .cmsg_type = 77 };
  TRY("type", sendmsg(s[0], &m, 0));
  c->cmsg_level = 55;
  TRY("level", sendmsg(s[0], &m, 0));
  *c = (struct cmsghdr){ .cmsg_len = 24, .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
  TRY("length", sendmsg(s[0], &m, 0));
  c->cmsg_len = 8;
  TRY("length", sendmsg(s[0], &m, 0));
  /* A file too many for the table */
  struct rlimit old, few;
  getrlimit(RLIMIT_NOFILE, &old);
  few = old;
  few.rlim_cur = dup(0) + 2;
  send_files(s[0], "x", many, 5, 0);
  setrlimit(RLIMIT_NOFILE, &few);
  recv(s[1], many, 1, 0);
  take("no room", s[1], 9, sizeof control, 0);
  setrlimit(RLIMIT_NOFILE, &old);
}

static void names(void) {
  int s[2], one = 1, value = 9;
  socklen_t length = sizeof value;
  struct ucred peer;
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  TRY("passcred", getsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &value, &length));
  SAY("%d", value);
  length = sizeof peer;
  TRY("peercred", getsockopt(s[1], SOL_SOCKET, SO_PEERCRED, &peer, &length));
  SAY("%d %d %d length %d", peer.pid == getpid(), peer.uid == getuid(), peer.gid == getgid(), length);
  send(s[0], "before", 6, 0);
  TRY("set", setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
  length = sizeof value;
  TRY("passcred", getsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &value, &length));
  SAY("%d", value);
  send(s[0], "one", 3, 0);
  send(s[0], "two", 3, 0);
  if (!fork()) {
    send(s[0], "child", 5, 0);
    int file = open("/dev/null", O_RDONLY);
    send_files(s[0], "with", &file, 1, 0);
    _exit(0);
  }
  wait(0);
  take("before", s[1], 50, sizeof control, 0);
  take("both", s[1], 50, sizeof control, 0);
  take("child", s[1], 50, sizeof control, 0);
  send(s[0], "x", 1, 0);
  take("little room", s[1], 50, 20, 0);
  send(s[0], "x", 1, 0);
  take("none", s[1], 50, 0, 0);
  struct iovec part = { "x", 1 };
  struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(struct ucred)) };
  struct cmsghdr *c = (void *)control;
  memset(control, 0, sizeof control);
  *c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(struct ucred)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS };
  *(struct ucred *)CMSG_DATA(c) = (struct ucred){ getpid(), getuid(), getgid() };
  TRY("own name", sendmsg(s[0], &m, 0));
  take("own name", s[1], 50, sizeof control, 0);
}

int main(void) {
  alarm(20);
  between(SOCK_STREAM);
  between(SOCK_SEQPACKET);
  between(SOCK_DGRAM);
  wrong();
  names();
  return 42;
}
