/* The same structures, as a Linux kernel describes its own (BTF). */
#include "types.h"

struct task init_task;
