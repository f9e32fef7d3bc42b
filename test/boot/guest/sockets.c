/*
 * Sockets of each kind, for kernels of 32 bits: no library, which for 32 bits is seldom installed. Says that all is there, and waits.
 */
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/un.h>
#include <asm/unistd.h>

typedef unsigned long word;

enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, AF_NETLINK = 16, STREAM = 1, DGRAM = 2, RAW = 3, SIOCSIFFLAGS = 0x8914, IFF_UP = 1, IFF_RUNNING = 0x40 };

static long call(long number, word a, word b, word c, word d) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
  return result;
}

static void say(const char *text) {
  word length = 0;
  while (text[length]) length++;
  call(__NR_write, 1, (word)text, length, 0);
}

static long must(long result, const char *what) {
  if (result >= 0) return result;
  say("sockets: no ");
  say(what);
  say("\n");
  for (;;) call(__NR_exit, 1, 0, 0, 0);
}

static unsigned short network(unsigned short port) { return port << 8 | port >> 8; }

static long opened(int family, int type, const char *what) { return must(call(__NR_socket, family, type, 0, 0), what); }

static long bound(int family, int type, const void *address, word length, const char *what) {
  long at = opened(family, type, what);
  must(call(__NR_bind, at, (word)address, length, 0), what);
  return at;
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = network(port)};
  address.sin_addr.s_addr = 0x0100007f;
  return address;
}

void _start(void) {
  /* The loopback device is down at first */
  struct {
    char name[16];
    short flags;
    char rest[64];
  } device = {.name = "lo", .flags = IFF_UP | IFF_RUNNING};
  long control = opened(AF_INET, DGRAM, "control");
  must(call(__NR_ioctl, control, SIOCSIFFLAGS, (word)&device, 0), "loopback");
  call(__NR_close, control, 0, 0, 0);

  struct sockaddr_in address = loopback(4242);
  long listener = bound(AF_INET, STREAM, &address, sizeof address, "listener");
  must(call(__NR_listen, listener, 5, 0, 0), "listen");
  must(call(__NR_connect, opened(AF_INET, STREAM, "client"), (word)&address, sizeof address, 0), "connection");
  must(call(__NR_accept4, listener, 0, 0, 0), "accept");
  address = loopback(5353);
  bound(AF_INET, DGRAM, &address, sizeof address, "udp");
  struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/tmp/planted.sock"};
  must(call(__NR_listen, bound(AF_UNIX, STREAM, &path, sizeof path, "unix"), 1, 0, 0), "listen");
  struct sockaddr_un hidden = {.sun_family = AF_UNIX, .sun_path = "\0abstract"};
  bound(AF_UNIX, DGRAM, &hidden, 2 + 9, "abstract");
  opened(AF_NETLINK, RAW, "netlink");
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = network(4343)};
  six.sin6_addr.s6_addr[15] = 1;
  bound(AF_INET6, DGRAM, &six, sizeof six, "udp over IPv6");
  int ends[2];
  must(call(__NR_socketpair, AF_UNIX, STREAM, 0, (word)ends), "pair");
  say("sockets are there\n");
  for (;;) call(__NR_pause, 0, 0, 0, 0);
}
