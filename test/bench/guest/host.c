/* The kernels as a program of the host, which prints their checksums: what every machine's must be. */
#include <stdio.h>
#include "bench.h"

u8 arena[ARENA_BYTES] __attribute__((aligned(4096)));

static void run(const struct kernel *kernel) {
  for (; kernel->name; kernel++) {
    if (kernel->prepare) kernel->prepare();
    printf("%s %llx\n", kernel->name, kernel->run());
  }
}

int main(void) {
  run(integer_kernels);
  run(memory_kernels);
  run(branch_kernels);
  run(float_kernels);
  return 0;
}
