/* The structures that every provider of types is asked about: see ../src/types/providers.test.ts. The sizes of all fields are the same on Linux and on Windows. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

enum state { STATE_RUNNING, STATE_WAITING = 5, STATE_DEAD = -1 };

struct list {
  struct list *next, *prev;
};

struct credentials {
  u32 uid;
  u32 gid;
};

union word {
  u32 whole;
  u8 bytes[4];
};

struct task {
  volatile enum state state;
  u32 flags : 3;
  u32 kind : 5;
  int level : 4;
  u32 : 0;
  u64 wide : 40;
  struct list tasks;
  struct {
    u32 pid;
    union {
      u32 tgid;
      struct {
        u16 low, high;
      };
    };
  };
  /* "uid" is no field of a task: only that of this one. */
  struct credentials owner;
  const struct credentials *cred;
  struct task *parent;
  union word words[2][3];
  char name[16];
  s64 nice;
  double load;
  void (*leave)(struct task *, int);
  struct undescribed *secret;
};
