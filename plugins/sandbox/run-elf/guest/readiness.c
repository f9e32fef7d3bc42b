/*
 * What epoll and poll tell of pipes, eventfds, timerfds, pairs of sockets and another epoll while all of them are written, read, shut and closed in
 * orders made at random from fixed seeds. Every line is the same on Linux.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { READER, WRITER, COUNTER, TIMER, END, OTHER_END, INNER, FILES };

static unsigned long state;
static unsigned below(unsigned n) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (state >> 20) % n;
}
static long result(long value) { return value < 0 ? -errno : value; }

static char buffer[1 << 17];
static int fd[FILES], is_open[FILES], outer, disconnected[FILES];

static void make(int seed) {
  static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
  pipe2(fd + READER, O_NONBLOCK);
  fd[COUNTER] = eventfd(below(3), EFD_NONBLOCK | (below(2) ? EFD_SEMAPHORE : 0));
  fd[TIMER] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  socketpair(AF_UNIX, types[seed % 3] | SOCK_NONBLOCK, 0, fd + END);
  fd[INNER] = epoll_create1(0);
  outer = epoll_create1(0);
  for (int i = 0; i < FILES; i++) is_open[i] = 1, disconnected[i] = 0;
}

static void control(int file) {
  struct epoll_event event = { .data.u32 = file };
  event.events = (below(2) ? EPOLLIN : 0) | (below(2) ? EPOLLOUT : 0) | (below(4) ? EPOLLET : 0) | (below(5) ? 0 : EPOLLONESHOT) |
                 (below(3) ? 0 : EPOLLRDHUP);
  int in = below(4) == 0 && file != INNER ? fd[INNER] : outer, how = 1 + below(3);
  printf(" ctl%d%c%d,%x=%ld", file, in == outer ? 'o' : 'i', how, event.events, result(epoll_ctl(in, how, fd[file], &event)));
}

static void put(int file) {
  long done;
  if (file == COUNTER) {
    unsigned long value = below(5) == 0 ? 0xfffffffffffffffeul - below(2) : below(3);
    done = result(write(fd[file], &value, 8));
    printf(" w%d,%lx=%ld", file, value, done);
  } else if (file == TIMER) {
    struct itimerspec time = { .it_value.tv_nsec = below(3) ? 1 : 0 };
    struct timespec some = { 0, 3000000 };
    if (!below(3)) time.it_interval.tv_sec = 1000;
    timerfd_settime(fd[file], 0, &time, 0);
    nanosleep(&some, 0);
    printf(" t");
  } else if (file != READER && file != INNER && !disconnected[file]) {
    size_t length = below(6) == 0 ? (file == WRITER ? 65536 - below(2) * 4096 : 100) : 1 + below(20);
    done = result(write(fd[file], buffer, length));
    disconnected[file] = done == -ECONNREFUSED; /* what comes then depends on the version of Linux */
    printf(" w%d,%zu=%ld", file, length, done);
  }
}

static void take(int file) {
  if (file == WRITER || file == INNER) return;
  size_t length = below(5) == 0 ? 65536 - below(2) * 60000 : 8 + below(12);
  printf(" r%d,%zu=%ld", file, length, result(read(fd[file], buffer, length)));
}

static void end(int file) {
  if (below(12) == 0 && file != INNER) {
    close(fd[file]);
    is_open[file] = 0;
    printf(" c%d", file);
  } else if (below(8) == 0 && (file == END || file == OTHER_END)) {
    int how = below(3);
    printf(" s%d,%d=%ld", file, how, result(shutdown(fd[file], how)));
  }
}

static void look(void) {
  struct epoll_event events[10];
  int most = 1 + below(10), in = below(4) == 0 ? fd[INNER] : outer, count = epoll_wait(in, events, most, 0);
  printf(" %c%d:", in == outer ? 'O' : 'I', count);
  for (int i = 0; i < count; i++) printf("%d.%x,", events[i].data.u32, events[i].events);
  if (below(4) != 0) return;
  struct pollfd all[FILES];
  for (int i = 0; i < FILES; i++) all[i] = (struct pollfd){ is_open[i] ? fd[i] : -1, POLLIN | POLLOUT | POLLRDHUP | POLLPRI, 0 };
  poll(all, FILES, 0);
  printf(" p");
  for (int i = 0; i < FILES; i++) printf("%x.", all[i].revents);
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  for (int seed = 0; seed < 400; seed++) {
    state = seed * 0x9e3779b97f4a7c15ul + 88172645463325252ul;
    make(seed);
    printf("%d:", seed);
    for (int step = 0; step < 60; step++) {
      int file = below(FILES), what = below(10);
      if (what < 2) control(file);
      else if (what >= 7) look();
      else if (!is_open[file]) continue;
      else if (what < 4) put(file);
      else if (what < 6) take(file);
      else end(file);
    }
    printf("\n");
    for (int i = 0; i < FILES; i++)
      if (is_open[i]) close(fd[i]);
    close(outer);
  }
  return 42;
}
