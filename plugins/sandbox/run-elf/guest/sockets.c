/* Pairs of local sockets with every call for sockets, and calls that the other programs do not make. Every line is the same on Linux. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAY(...) do { printf(__VA_ARGS__); putchar('\n'); fflush(stdout); } while (0)
#define TRY(name, call) do { errno = 0; long r = (call); SAY("%s %ld %s", name, r, errno ? strerrorname_np(errno) : ""); } while (0)

static char text[70000];

static void events(int fd) {
  struct pollfd wanted = { fd, POLLIN | POLLOUT | POLLRDHUP, 0 };
  poll(&wanted, 1, 0);
  SAY("events %x", wanted.revents);
}

static void streams(int type) {
  int s[2];
  SAY("type %d", type);
  TRY("pair", socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s));
  TRY("send", send(s[0], "hello", 5, 0));
  TRY("sendto", sendto(s[0], "there", 5, MSG_DONTWAIT, 0, 0));
  TRY("nothing", send(s[0], "", 0, 0));
  events(s[1]);
  memset(text, 0, 20);
  TRY("peek", recv(s[1], text, 3, MSG_PEEK));
  TRY("recv", recv(s[1], text, 3, 0));
  SAY("%s", text);
  TRY("recvfrom", recvfrom(s[1], text, 20, 0, 0, 0));
  SAY("%s", text);
  TRY("recv", recv(s[1], text, 20, MSG_DONTWAIT));
  TRY("recv", recv(s[1], text, 20, MSG_DONTWAIT));
  char one[4] = "ab", two[8] = "cdefgh";
  struct iovec parts[2] = { { one, 2 }, { two, 6 } };
  struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
  TRY("sendmsg", sendmsg(s[1], &message, 0));
  parts[0].iov_len = 1;
  parts[1].iov_len = 3;
  memset(one, 0, 4);
  memset(two, 0, 8);
  TRY("recvmsg", recvmsg(s[0], &message, 0));
  SAY("%s %s flags %x control %d", one, two, message.msg_flags, (int)message.msg_controllen);
  TRY("the rest", recv(s[0], text, 20, 0));
  struct sockaddr_un address;
  socklen_t length = sizeof address;
  TRY("getsockname", getsockname(s[0], (void *)&address, &length));
  SAY("family %d length %d", address.sun_family, length);
  length = sizeof address;
  TRY("getpeername", getpeername(s[0], (void *)&address, &length));
  int value = 0;
  length = sizeof value;
  TRY("type", getsockopt(s[0], SOL_SOCKET, SO_TYPE, &value, &length));
  SAY("%d", value);
  TRY("error", getsockopt(s[0], SOL_SOCKET, SO_ERROR, &value, &length));
  TRY("domain", getsockopt(s[0], SOL_SOCKET, SO_DOMAIN, &value, &length));
  SAY("%d", value);
  value = 1;
  TRY("setsockopt", setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, &value, sizeof value));
  TRY("no option", getsockopt(s[0], SOL_SOCKET, 999, &value, &length));
  TRY("accept", accept(s[0], 0, 0));
  TRY("accept4", accept4(s[0], 0, 0, SOCK_CLOEXEC));
  TRY("shutdown what", shutdown(s[0], 7));
  TRY("shutdown", shutdown(s[0], SHUT_WR));
  events(s[0]);
  events(s[1]);
  TRY("after", send(s[0], "x", 1, MSG_NOSIGNAL));
  TRY("end", recv(s[1], text, 9, 0));
  TRY("back", send(s[1], "back", 4, 0));
  TRY("back", recv(s[0], text, 9, 0));
  close(s[1]);
  events(s[0]);
  TRY("closed", recv(s[0], text, 9, 0));
  TRY("closed", send(s[0], "x", 1, MSG_NOSIGNAL));
  close(s[0]);
}

static void rest(void) {
  int s[2], p[2], file = open("/dev/null", O_RDWR);
  struct sockaddr_un address = { AF_UNIX, "/nothing" };
  TRY("bad type", socketpair(AF_UNIX, 77, 0, s));
  TRY("bad protocol", socketpair(AF_UNIX, SOCK_STREAM, 99, s));
  TRY("no socket", send(file, "x", 1, 0));
  TRY("no socket", bind(file, (void *)&address, sizeof address));
  TRY("no socket", connect(file, (void *)&address, sizeof address));
  TRY("no socket", listen(file, 1));
  TRY("no socket", setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &file, 4));
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  TRY("listen", listen(s[0], 1));
  /* Between processes */
  if (!fork()) {
    char word[20] = { 0 };
    read(s[1], word, 19);
    write(s[1], word, strlen(word));
    _exit(0);
  }
  write(s[0], "echo", 4);
  memset(text, 0, 20);
  TRY("echo", read(s[0], text, 19));
  SAY("%s", text);
  wait(0);
  if (!fork()) {
    struct timespec some = { 0, 20000000 };
    for (int i = 0; i < 3; i++) {
      write(s[0], "part", 4);
      nanosleep(&some, 0);
    }
    _exit(0);
  }
  memset(text, 0, 20);
  TRY("all", recv(s[1], text, 12, MSG_WAITALL));
  SAY("%s", text);
  wait(0);
  pipe(p);
  struct iovec parts[2] = { { "one", 3 }, { "two", 3 } };
  TRY("vmsplice", vmsplice(p[1], parts, 2, 0));
  TRY("it", read(p[0], text, 9));
  TRY("vmsplice of no pipe", vmsplice(file, parts, 1, 0));
  int epoll = epoll_create1(0);
  struct epoll_event event = { EPOLLIN, { .u32 = 5 } }, got;
  struct timespec none = { 0, 1000 };
  epoll_ctl(epoll, EPOLL_CTL_ADD, p[0], &event);
  TRY("epoll_pwait2", syscall(SYS_epoll_pwait2, epoll, &got, 1, &none, 0, 0));
  sigset_t set, waiting;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &set, 0);
  siginfo_t info = { .si_signo = SIGRTMIN, .si_code = SI_QUEUE, .si_value.sival_int = 9 };
  TRY("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, &info));
  info.si_value.sival_int = 10;
  TRY("rt_tgsigqueueinfo", syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGRTMIN, &info));
  TRY("signalfd4", syscall(SYS_signalfd4, -1, &set, 8, SFD_NONBLOCK) > 0);
  for (int i = 0; i < 2; i++) {
    int signal = sigwaitinfo(&set, &info);
    SAY("%d %d", signal == SIGRTMIN, info.si_value.sival_int);
  }
  TRY("of nobody", syscall(SYS_rt_tgsigqueueinfo, getpid(), 999999, SIGRTMIN, &info));
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  streams(SOCK_STREAM);
  streams(SOCK_SEQPACKET);
  streams(SOCK_DGRAM);
  rest();
  return 42;
}
