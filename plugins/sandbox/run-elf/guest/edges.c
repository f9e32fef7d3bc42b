/*
 * EPOLLET: an event for each arrival, whatever was left unread. Pipes, eventfds, timerfds and socket pairs go through all orders of a few
 * steps; after each step the events of two looks are printed. Every line is the same on Linux.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int epoll;

static void look(void) {
  struct epoll_event events[4];
  for (int i = 0; i < 2; i++) {
    int count = epoll_wait(epoll, events, 4, 0);
    printf(" %d", count);
    for (int j = 0; j < count; j++) printf("(%c%x)", (int)events[j].data.u32, events[j].events);
  }
}

static void watch(int fd, char name, uint32_t events) {
  struct epoll_event event = { .events = events, .data.u32 = name };
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static char buffer[200000];

enum { PIPE, EVENT, STREAM, DATAGRAM, PACKET, KINDS };
static const char *KIND[] = { "pipe", "event", "stream", "datagram", "packet" };

/* a: where things arrive, b: where they are sent. */
static int a, b;

static void make(int kind) {
  int ends[2];
  if (kind == PIPE) {
    pipe2(ends, O_NONBLOCK);
    a = ends[0];
    b = ends[1];
  } else if (kind == EVENT) a = b = eventfd(0, EFD_NONBLOCK);
  else {
    socketpair(AF_UNIX, (kind == STREAM ? SOCK_STREAM : kind == DATAGRAM ? SOCK_DGRAM : SOCK_SEQPACKET) | SOCK_NONBLOCK, 0, ends);
    a = ends[0];
    b = ends[1];
  }
}

static int step(int kind, char what) {
  uint64_t value = 1;
  switch (what) {
    case 'w': return kind == EVENT ? write(b, &value, 8) : write(b, "xyz", 3); /* an arrival */
    case 'r': return kind == EVENT ? read(a, &value, 8) : read(a, buffer, 1); /* part of it taken, or of a message the whole */
    case 'd': { /* all taken */
      int count, all = 0;
      while ((count = kind == EVENT ? read(a, &value, 8) : read(a, buffer, sizeof buffer)) > 0) all += count;
      return all;
    }
    case 'm': { /* the same again */
      struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u32 = 'a' };
      return epoll_ctl(epoll, EPOLL_CTL_MOD, a, &event);
    }
    default: return -1;
  }
}

static void run(int kind, const char *steps, uint32_t events) {
  epoll = epoll_create1(0);
  make(kind);
  watch(a, 'a', events | EPOLLIN);
  printf("%s %s %x:", KIND[kind], steps, events);
  look();
  for (const char *at = steps; *at; at++) {
    printf(", %c %d", *at, step(kind, *at));
    look();
  }
  printf(", close");
  if (b != a) close(b);
  look();
  printf("\n");
  close(a);
  close(epoll);
}

/* All words of `length` letters. */
static void orders(int kind, int length) {
  static const char letters[] = "wrdm";
  int all = 1;
  for (int i = 0; i < length; i++) all *= 4;
  for (int number = 0; number < all; number++) {
    char word[10] = { 0 };
    for (int i = 0, rest = number; i < length; i++, rest /= 4) word[i] = letters[rest % 4];
    run(kind, word, EPOLLET);
  }
}

/* The sender's side: room is an event when there was none. */
static void room(int kind) {
  epoll = epoll_create1(0);
  make(kind);
  watch(b, 'b', EPOLLOUT | EPOLLET);
  printf("%s room:", KIND[kind]);
  look();
  if (kind == EVENT) {
    uint64_t most = UINT64_MAX - 1;
    write(b, &most, 8);
    look();
    read(a, &most, 8);
    look();
    read(a, &most, 8);
    look();
  } else if (kind == PIPE) {
    write(b, "x", 1);
    look();
    read(a, buffer, 1); /* it was not full */
    look();
    while (write(b, buffer, 4096) > 0) {}
    look();
    read(a, buffer, 4096);
    look();
    read(a, buffer, 4096);
    look();
    read(a, buffer, sizeof buffer);
    look();
  } else {
    write(b, "abc", 3);
    look();
    read(a, buffer, 1);
    look();
    read(a, buffer, 10);
    look();
  }
  close(a);
  look();
  printf("\n");
  if (b != a) close(b);
  close(epoll);
}

static void wait_a_little(void) { usleep(12000); }

static void timers(void) {
  struct itimerspec once = { .it_value.tv_nsec = 5000000 }, again = { { 0, 5000000 }, { 0, 5000000 } };
  uint64_t count;
  epoll = epoll_create1(0);
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  watch(fd, 't', EPOLLIN | EPOLLET);
  printf("timer:");
  look();
  timerfd_settime(fd, 0, &once, 0);
  look();
  wait_a_little();
  look();
  timerfd_settime(fd, 0, &once, 0);
  look();
  wait_a_little();
  look();
  printf(" read %d", (int)read(fd, &count, 8));
  timerfd_settime(fd, 0, &again, 0);
  wait_a_little();
  look();
  wait_a_little();
  look(); /* a period goes on when it has been read */
  printf(" read %d", (int)read(fd, &count, 8));
  wait_a_little();
  look();
  printf("\n");
  close(fd);
  close(epoll);
}

static void others(void) {
  int one[2], two[2];
  pipe2(one, O_NONBLOCK);
  pipe2(two, O_NONBLOCK);
  epoll = epoll_create1(0);
  watch(one[0], '1', EPOLLIN);
  watch(two[0], '2', EPOLLIN);
  printf("order:");
  write(two[1], "x", 1);
  write(one[1], "x", 1);
  look();
  read(two[0], buffer, 1);
  look();
  printf("\noneshot:");
  struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.u32 = '1' };
  epoll_ctl(epoll, EPOLL_CTL_MOD, one[0], &event);
  look();
  write(one[1], "x", 1);
  look();
  epoll_ctl(epoll, EPOLL_CTL_MOD, one[0], &event);
  look();
  printf("\nnested:");
  int inner = epoll, outer = epoll_create1(0);
  struct epoll_event in = { .events = EPOLLIN, .data.u32 = 'n' };
  epoll_ctl(outer, EPOLL_CTL_ADD, inner, &in);
  write(two[1], "x", 1);
  epoll = outer;
  look();
  epoll = inner;
  look();
  errno = 0;
  printf(" loop %d %s", epoll_ctl(inner, EPOLL_CTL_ADD, outer, &in), strerrorname_np(errno));
  printf("\nduplicate:");
  read(two[0], buffer, 9);
  int copy = dup(two[0]);
  close(two[0]);
  write(two[1], "x", 1);
  look(); /* the open file is still there under another number */
  close(copy);
  look();
  printf("\n");
}

int main(void) {
  for (int kind = 0; kind < KINDS; kind++) {
    for (int length = 1; length <= 4; length++) orders(kind, length);
    run(kind, "wwrwd", 0);
    room(kind);
  }
  timers();
  others();
  return 42;
}
