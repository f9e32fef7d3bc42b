/* A small Windows library, built by ../scripts/build-samples.mjs, that PE images and PDB files are read from in tests. */
#include "types.h"

#ifdef _WIN64
/* More members than fit in one record of a PDB file (64 KiB): the list goes on in another. */
#define ONE(n) u32 a_member_with_a_long_name_##n;
#define TEN(n) ONE(n##0) ONE(n##1) ONE(n##2) ONE(n##3) ONE(n##4) ONE(n##5) ONE(n##6) ONE(n##7) ONE(n##8) ONE(n##9)
#define HUNDRED(n) TEN(n##0) TEN(n##1) TEN(n##2) TEN(n##3) TEN(n##4) TEN(n##5) TEN(n##6) TEN(n##7) TEN(n##8) TEN(n##9)
struct large {
  HUNDRED(1) HUNDRED(2) HUNDRED(3) HUNDRED(4) HUNDRED(5) HUNDRED(6) HUNDRED(7) HUNDRED(8) HUNDRED(9)
  HUNDRED(10) HUNDRED(11) HUNDRED(12) HUNDRED(13) HUNDRED(14) HUNDRED(15) HUNDRED(16) HUNDRED(17) HUNDRED(18)
};
#else
struct large {
  u32 one;
};
#endif

struct task init_task = { .name = "swapper" };
static struct task hidden_task = { .name = "hidden" };
struct large large_one;
const u32 version = 7;

int leave(struct task *task, int how) {
  task->level = how;
  return task->flags;
}

struct task *first_task(void) {
  init_task.parent = &hidden_task;
  return hidden_task.parent ? hidden_task.parent : &init_task;
}

u32 size_of_large(void) {
  return sizeof large_one + version;
}

int _fltused;
int start(void *module, u32 reason, void *reserved) {
  return 1;
}
