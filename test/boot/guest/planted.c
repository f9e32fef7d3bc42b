/*
 * A process with something of everything that introspection tells of: threads with names, files, a deleted one, a pipe, an event, sockets of
 * each kind, mappings, a mount. It says that all is there, and waits.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void must(int right, const char *what) {
  if (right) return;
  fprintf(stderr, "planted: %s: %s\n", what, strerror(errno));
  exit(1);
}

static pthread_barrier_t ready;

static void *thread(void *name) {
  pthread_setname_np(pthread_self(), name);
  pthread_barrier_wait(&ready);
  for (;;) pause();
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int main(void) {
  /* The loopback device is down at first */
  struct ifreq device = {.ifr_name = "lo"};
  int control = socket(AF_INET, SOCK_DGRAM, 0);
  must(control >= 0, "socket");
  device.ifr_flags = IFF_UP | IFF_RUNNING;
  must(ioctl(control, SIOCSIFFLAGS, &device) == 0, "lo");
  close(control);

  must(mkdir("/seeds", 0755) == 0 && mount("seeds", "/seeds", "tmpfs", MS_RDONLY, 0) == 0, "mount");
  must(mkdir("/tmp/deep", 0755) == 0 && mkdir("/tmp/deep/er", 0755) == 0, "folders");
  int file = open("/tmp/deep/er/file.txt", O_RDWR | O_CREAT, 0644);
  must(file >= 0 && write(file, "planted", 7) == 7, "file");
  must(ftruncate(file, 8192) == 0, "file's length");
  must(open("/tmp/deep/er", O_RDONLY | O_DIRECTORY) >= 0, "folder");
  int deleted = open("/tmp/deleted.txt", O_WRONLY | O_CREAT, 0600);
  must(deleted >= 0 && unlink("/tmp/deleted.txt") == 0, "deleted file");
  int ends[2];
  must(pipe(ends) == 0, "pipe");
  must(eventfd(0, 0) >= 0, "eventfd");

  struct sockaddr_in address = loopback(4242);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 5) == 0, "listen");
  int client = socket(AF_INET, SOCK_STREAM, 0);
  must(connect(client, (struct sockaddr *)&address, sizeof address) == 0, "connect");
  must(accept(listener, 0, 0) >= 0, "accept");
  address = loopback(5353);
  must(bind(socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&address, sizeof address) == 0, "udp");
  struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/tmp/planted.sock"};
  int local = socket(AF_UNIX, SOCK_STREAM, 0);
  must(bind(local, (struct sockaddr *)&path, sizeof path) == 0 && listen(local, 1) == 0, "unix");
  struct sockaddr_un hidden = {.sun_family = AF_UNIX, .sun_path = "\0abstract"};
  must(bind(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&hidden, 2 + 9) == 0, "abstract");
  must(socket(AF_NETLINK, SOCK_RAW, 0) >= 0, "netlink");
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(4343), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  must(bind(socket(AF_INET6, SOCK_DGRAM, 0), (struct sockaddr *)&six, sizeof six) == 0, "udp over IPv6");
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "pair");

  must(mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) != MAP_FAILED, "shared mapping");
  must(mmap(0, 4096, PROT_READ, MAP_PRIVATE, file, 4096) != MAP_FAILED, "private mapping");
  must(mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "code");

  pthread_t threads[2];
  pthread_barrier_init(&ready, 0, 3);
  must(pthread_create(&threads[0], 0, thread, "worker-one") == 0, "thread");
  must(pthread_create(&threads[1], 0, thread, "worker-two") == 0, "thread");
  pthread_barrier_wait(&ready);
  printf("planted %d\n", getpid());
  fflush(stdout);
  for (;;) pause();
}
