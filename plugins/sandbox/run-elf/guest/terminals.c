/* Terminals in pairs: lines, echo, signals of keys, who has the terminal, how it ends. Every line is the same on Linux. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define SAY(...) do { printf(__VA_ARGS__); putchar('\n'); fflush(stdout); } while (0)
#define TRY(name, call) do { errno = 0; long r = (call); SAY("%s %ld %s", name, r, errno ? strerrorname_np(errno) : ""); } while (0)

static int s[2];
static void ring(int side) { write(s[side], "x", 1); }
static void await(int side) { char c; read(s[side], &c, 1); }

static int master, slave;
static char name[64];

static void open_pair(void) {
  master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
  TRY("grantpt", grantpt(master));
  TRY("unlockpt", unlockpt(master));
  strcpy(name, ptsname(master));
  SAY("name %d", !strncmp(name, "/dev/pts/", 9));
  slave = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
}

static void see(const char *what, int fd) {
  unsigned char text[300];
  errno = 0;
  long count = read(fd, text, sizeof text);
  printf("%s %ld %s: ", what, count, count < 0 ? strerrorname_np(errno) : "");
  for (long i = 0; i < count; i++)
    if (text[i] < ' ' || text[i] > '~') printf("\\%02x", text[i]);
    else putchar(text[i]);
  SAY("");
}
/* Linux passes bytes on from end to end in a thread of its own, which may be late. */
static void settle(void) {
  struct pollfd shown = { master, POLLIN, 0 };
  poll(&shown, 1, 200);
  usleep(20000);
}
static void type(const char *text) {
  write(master, text, strlen(text));
  settle();
  see("shown", master);
}
static void events(const char *what, int fd) {
  struct pollfd wanted = { fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0 };
  poll(&wanted, 1, 0);
  SAY("%s %x", what, wanted.revents);
}
static void change(tcflag_t input, tcflag_t output, tcflag_t local, int min, int time) {
  struct termios settings;
  tcgetattr(slave, &settings);
  settings.c_iflag ^= input;
  settings.c_oflag ^= output;
  settings.c_lflag ^= local;
  settings.c_cc[VMIN] = min;
  settings.c_cc[VTIME] = time;
  tcsetattr(slave, TCSANOW, &settings);
}

static void lines(void) {
  open_pair();
  struct stat of_slave, of_name;
  fstat(slave, &of_slave);
  stat(name, &of_name);
  SAY("same %d %d type %o", of_slave.st_ino == of_name.st_ino, of_slave.st_rdev == of_name.st_rdev, of_slave.st_mode & S_IFMT);
  SAY("tty %d %d named %d", isatty(slave), isatty(master), !strcmp(ttyname(slave), name));
  struct termios settings;
  tcgetattr(slave, &settings);
  SAY("%o %o %o %o", settings.c_iflag, settings.c_oflag, settings.c_cflag, settings.c_lflag);
  for (int i = 0; i < 17; i++) printf("%d ", settings.c_cc[i]);
  SAY("");
  events("slave", slave);
  events("master", master);
  see("nothing", slave);
  type("one");
  events("slave", slave);
  type("\r");
  events("slave", slave);
  see("line", slave);
  type("abc\177\177x two \027y\n");
  see("line", slave);
  type("wrong\025\001\tq\177\177\177ok\n");
  see("line", slave);
  type("\026\003lit\022\n");
  see("line", slave);
  type("half\004");
  see("half", slave);
  type("\004");
  see("end", slave);
  see("nothing", slave);
  type("one\ntwo\n");
  int waits = 0;
  TRY("FIONREAD", ioctl(slave, FIONREAD, &waits));
  SAY("%d", waits);
  see("one", slave);
  tcflush(slave, TCIFLUSH);
  see("flushed", slave);
  write(slave, "out\tput\n", 8);
  settle();
  events("master", master);
  see("output", master);
  change(0, 0, ECHO, 1, 0);
  type("secret\n");
  see("line", slave);
  change(0, 0, ECHO | ICANON, 1, 0);
  type("r\177\r");
  see("raw", slave);
  change(ICRNL, OPOST, ECHO, 2, 0);
  type("k");
  events("slave", slave);
  type("\r");
  events("slave", slave);
  see("raw", slave);
  write(slave, "a\n", 2);
  settle();
  see("raw output", master);
  close(slave);
  events("master", master);
  see("end", master);
  slave = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
  events("master", master);
  close(master);
  events("slave", slave);
  see("end", slave);
  TRY("write", write(slave, "x", 1));
  TRY("settings", tcgetattr(slave, &settings));
  close(slave);
  TRY("gone", open(name, O_RDWR));
}

static volatile int got;
static void note(int signal) { got = signal; }

/* A session of its own with the terminal. */
static void owner(void) {
  setsid();
  TRY("tty before", open("/dev/tty", O_RDWR));
  int own = open(name, O_RDWR);
  SAY("session %d front %d", tcgetsid(own) == getpid(), tcgetpgrp(own) == getpid());
  int tty = open("/dev/tty", O_RDWR);
  SAY("tty %d", tty >= 0);
  struct sigaction action = { .sa_handler = note };
  sigaction(SIGINT, &action, 0);
  sigaction(SIGWINCH, &action, 0);
  sigaction(SIGHUP, &action, 0);
  signal(SIGTTOU, SIG_IGN);
  sigset_t set, none;
  sigemptyset(&set);
  sigemptyset(&none);
  for (int i = 0; i < 3; i++) sigaddset(&set, (int[]){ SIGINT, SIGWINCH, SIGHUP }[i]);
  sigprocmask(SIG_BLOCK, &set, 0);
  ring(1);
  sigsuspend(&none);
  SAY("signal %d", got);
  ring(1);
  sigsuspend(&none);
  SAY("signal %d", got);
  /* A job in the background is stopped when it reads, and goes on in front */
  int job = fork(), status;
  if (!job) {
    char text[20] = { 0 };
    setpgid(0, 0);
    while (tcgetpgrp(own) == getppid() && getpgrp() != getpid()) {}
    long count = read(own, text, sizeof text);
    SAY("job %ld %s", count, strtok(text, "\n") ? text : strerrorname_np(errno));
    _exit(4);
  }
  setpgid(job, job);
  waitpid(job, &status, WUNTRACED);
  SAY("stopped %d", WIFSTOPPED(status) ? WSTOPSIG(status) : -1);
  TRY("front", tcsetpgrp(own, job));
  kill(-job, SIGCONT);
  ring(1);
  waitpid(job, &status, 0);
  SAY("ended %d", WEXITSTATUS(status));
  TRY("front", tcsetpgrp(own, getpgrp()));
  TRY("no other", ioctl(own, TIOCSCTTY, 0));
  close(tty);
  ring(1);
  sigsuspend(&none);
  SAY("signal %d", got);
  char c;
  TRY("read", read(own, &c, 1));
  TRY("write", write(own, "x", 1));
  TRY("front", tcgetpgrp(own));
  TRY("tty after", open("/dev/tty", O_RDWR));
  _exit(7);
}

static void control(void) {
  int status, child;
  open_pair();
  close(slave);
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  if (!(child = fork())) {
    close(master);
    owner();
  }
  await(0);
  write(master, "\003", 1);
  await(0);
  struct winsize size = { 24, 80 }, same;
  long done = ioctl(master, TIOCSWINSZ, &size);
  ioctl(master, TIOCGWINSZ, &same);
  await(0);
  SAY("size %ld: %d %d", done, same.ws_row, same.ws_col);
  write(master, "keys\n", 5);
  await(0);
  settle();
  see("shown", master);
  close(master);
  waitpid(child, &status, 0);
  SAY("status %d", WEXITSTATUS(status));
}

int main(void) {
  lines();
  control();
  return 42;
}
