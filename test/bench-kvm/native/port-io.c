/*
 * The least a program can do to run a guest with KVM and answer its port I/O: what the kvm backend is compared with.
 *
 * A guest in real mode writes to port 0x10 for ever; each write is one round trip. Reads numbers of round trips from standard input, a line
 * each, and prints how long one took and how much processor time of that, in nanoseconds, on a line each. A quarter as many come before, untimed.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static double now(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static volatile uint32_t sink;

int main(void) {
	static const uint8_t code[] = { 0xe6, 0x10, 0xeb, 0xfc }; /* again: out 0x10, al; jmp again */
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0) fail("/dev/kvm");
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0) fail("KVM_CREATE_VM");
	uint8_t *memory = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) fail("mmap");
	memcpy(memory + 0x1000, code, sizeof code);
	struct kvm_userspace_memory_region region = { .memory_size = 0x10000, .userspace_addr = (uint64_t)memory };
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) fail("KVM_SET_USER_MEMORY_REGION");
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfeffd000UL);
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0) fail("KVM_CREATE_VCPU");
	struct kvm_run *run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED) fail("mmap of kvm_run");
	struct kvm_sregs sregs;
	ioctl(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0) fail("KVM_SET_SREGS");
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
	if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0) fail("KVM_SET_REGS");

	char line[32];
	while (fgets(line, sizeof line, stdin) != NULL) {
		long turns = atol(line), warm = turns / 4;
		double start = 0, processor = 0;
		for (long turn = -warm; turn < turns; turn++) {
			if (turn == 0) {
				start = now(CLOCK_MONOTONIC);
				processor = now(CLOCK_PROCESS_CPUTIME_ID);
			}
			if (ioctl(vcpu, KVM_RUN, 0) < 0) fail("KVM_RUN");
			switch (run->exit_reason) {
			case KVM_EXIT_IO:
				if (run->io.port == 0x10) sink = *((uint8_t *)run + run->io.data_offset);
				break;
			default:
				fprintf(stderr, "exit reason %u\n", run->exit_reason);
				return 1;
			}
		}
		printf("%.1f %.1f\n", (now(CLOCK_MONOTONIC) - start) / turns, (now(CLOCK_PROCESS_CPUTIME_ID) - processor) / turns);
		fflush(stdout);
	}
	return 0;
}
