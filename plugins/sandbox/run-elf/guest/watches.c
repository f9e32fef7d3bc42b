/* What inotify tells of files and folders: after each step all events that came. Every line is the same on Linux. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int in;
static unsigned cookies[16];
static int cookie_count;

/* Cookies are numbers of Linux's own: only which are the same counts. */
static int cookie(unsigned value) {
  if (!value) return 0;
  for (int i = 0; i < cookie_count; i++)
    if (cookies[i] == value) return i + 1;
  cookies[cookie_count++] = value;
  return cookie_count;
}

static void events(const char *step) {
  char buffer[8192];
  printf("%s:", step);
  for (;;) {
    int waits = 0;
    ioctl(in, FIONREAD, &waits);
    long count = read(in, buffer, sizeof buffer);
    if (count < 0) {
      printf(" %s\n", errno == EAGAIN ? "." : strerrorname_np(errno));
      return;
    }
    printf(" [%d]", waits == count);
    for (long at = 0; at < count;) {
      struct inotify_event *event = (void *)(buffer + at);
      printf(" %d:%x", event->wd, event->mask);
      if (event->cookie) printf("/%d", cookie(event->cookie));
      if (event->len) printf(" %s(%d)", event->name, event->len);
      at += sizeof *event + event->len;
    }
  }
}
static void call(const char *name, long result) {
  printf("%s %ld %s\n", name, result, result < 0 ? strerrorname_np(errno) : "");
}
#define TRY(name, what) call(name, what)

static void put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  write(fd, text, strlen(text));
  close(fd);
}

static void in_folder(void) {
  char text[10];
  mkdir("d", 0700);
  int wd = inotify_add_watch(in, "d", IN_ALL_EVENTS);
  printf("watch %d\n", wd);
  int fd = open("d/file", O_RDWR | O_CREAT, 0600);
  events("create");
  write(fd, "abc", 3);
  write(fd, "abc", 3);
  events("write");
  pread(fd, text, 3, 0);
  read(fd, text, 3);
  events("read");
  ftruncate(fd, 1);
  events("ftruncate");
  fchmod(fd, 0640);
  events("fchmod");
  close(fd);
  events("close");
  close(open("d/file", O_RDONLY));
  events("open and close");
  fd = open("d/file", O_WRONLY | O_APPEND);
  write(fd, "x", 1);
  close(fd);
  events("again");
  truncate("d/file", 0);
  events("truncate");
  chmod("d/file", 0600);
  events("chmod");
  utimes("d/file", 0);
  events("utimes");
  link("d/file", "d/second");
  events("link");
  symlink("file", "d/soft");
  events("symlink");
  mkdir("d/inner", 0700);
  events("mkdir");
  put("d/inner/deep", "x");
  events("deeper");
  rename("d/file", "d/other");
  events("rename");
  rename("d/other", "outside");
  events("out");
  rename("outside", "d/back");
  events("in");
  put("d/over", "x");
  events("put");
  rename("d/back", "d/over");
  events("over");
  rename("d/over", "d/second");
  events("same file");
  DIR *folder = opendir("d");
  events("opendir");
  while (readdir(folder)) {}
  closedir(folder);
  events("list");
  unlink("d/soft");
  unlink("d/second");
  events("unlink");
  fd = open("d/over", O_RDWR);
  unlink("d/over");
  events("unlink while open");
  write(fd, "x", 1);
  close(fd);
  events("close");
  unlink("d/inner/deep");
  rmdir("d/inner");
  events("rmdir");
  chmod("d", 0755);
  events("the folder itself");
  rename("d", "e");
  events("moved");
  put("e/new", "x");
  events("goes on");
  unlink("e/new");
  events("unlink");
  rmdir("e");
  events("gone");
  TRY("no longer", inotify_rm_watch(in, wd));
}

static void of_file(void) {
  put("f", "text");
  int wd = inotify_add_watch(in, "f", IN_ALL_EVENTS);
  link("f", "g");
  events("link");
  unlink("g");
  events("unlink one");
  rename("f", "h");
  events("rename");
  int fd = open("h", O_RDONLY);
  unlink("h");
  events("unlink");
  close(fd);
  events("close");
  put("f", "text");
  put("k", "text");
  inotify_add_watch(in, "k", IN_ALL_EVENTS);
  rename("f", "k");
  events("replaced");
  unlink("k");
  events("not this one");
  TRY("no longer", inotify_rm_watch(in, wd));
}

static void asked(void) {
  mkdir("d", 0700);
  int wd = inotify_add_watch(in, "d", IN_CREATE | IN_ONLYDIR);
  put("d/a", "x");
  events("create only");
  TRY("the same", inotify_add_watch(in, "d", IN_DELETE | IN_MASK_ADD) == wd);
  put("d/b", "x");
  unlink("d/a");
  events("create and delete");
  TRY("the same", inotify_add_watch(in, "d", IN_DELETE) == wd);
  put("d/a", "x");
  unlink("d/a");
  events("delete only");
  TRY("anew", inotify_add_watch(in, "d", IN_CREATE | IN_MASK_CREATE));
  TRY("both", inotify_add_watch(in, "d", IN_CREATE | IN_MASK_CREATE | IN_MASK_ADD));
  TRY("remove", inotify_rm_watch(in, wd));
  events("removed");
  TRY("remove", inotify_rm_watch(in, wd));
  inotify_add_watch(in, "d", IN_CREATE | IN_ONESHOT);
  put("d/c", "x");
  put("d/e", "x");
  events("once");
  symlink("d", "soft");
  TRY("no folder", inotify_add_watch(in, "d/c", IN_CREATE | IN_ONLYDIR));
  TRY("the link", inotify_add_watch(in, "soft", IN_ALL_EVENTS | IN_DONT_FOLLOW) > 0);
  unlink("soft");
  events("link");
  TRY("nothing", inotify_add_watch(in, "d", 0));
  TRY("no file", inotify_add_watch(in, "nowhere", IN_CREATE));
  TRY("no inotify", inotify_add_watch(0, "d", IN_CREATE));
  TRY("no watch", inotify_rm_watch(in, 999));
  TRY("flags", inotify_init1(7));
  for (int i = 0; i < 3; i++) unlink((char *[]){ "d/b", "d/c", "d/e" }[i]);
  rmdir("d");
}

static void waiting(void) {
  char text[100];
  mkdir("d", 0700);
  int own = inotify_init1(IN_CLOEXEC), epoll = epoll_create1(0), wd = inotify_add_watch(own, "d", IN_CREATE | IN_DELETE);
  struct epoll_event event = { .events = EPOLLIN | EPOLLET }, got;
  epoll_ctl(epoll, EPOLL_CTL_ADD, own, &event);
  printf("epoll %d", epoll_wait(epoll, &got, 1, 0));
  put("d/a", "");
  printf(" %d %d", epoll_wait(epoll, &got, 1, 0), epoll_wait(epoll, &got, 1, 0));
  put("d/b", "");
  printf(" %d\n", epoll_wait(epoll, &got, 1, 0));
  TRY("too small", read(own, text, 16));
  TRY("one", read(own, text, 40));
  TRY("the other", read(own, text, 100));
  /* Somebody else does something while this one waits */
  if (!fork()) {
    usleep(20000);
    unlink("d/a");
    _exit(0);
  }
  fflush(stdout);
  TRY("waited", read(own, text, 100));
  struct inotify_event *found = (void *)text;
  printf("%d %x %s\n", found->wd == wd, found->mask, found->name);
  wait(0);
  unlink("d/b");
  rmdir("d");
  close(own);
}

int main(void) {
  setbuf(stdout, 0);
  in = inotify_init1(IN_NONBLOCK);
  in_folder();
  of_file();
  asked();
  waiting();
  return 42;
}
