/*
 * Runs a guest of a few bytes on /dev/kvm, in real mode with its own page of memory.
 *   kvm            adds 2 and 2 and says what came of it on port 0x3f8
 *   kvm COUNT      so many CPUIDs, and how long they took by the clock here
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#define LOAD 0x1000

static const unsigned char sum[] = {
    0xba, 0xf8, 0x03, /* mov dx, 0x3f8 */
    0x00, 0xd8,       /* add al, bl */
    0x04, '0',        /* add al, '0' */
    0xee,             /* out dx, al */
    0xb0, '\n',       /* mov al, '\n' */
    0xee,             /* out dx, al */
    0xf4,             /* hlt */
};
static const unsigned char cpuids[] = {
    0x66, 0x31, 0xc0, /* again: xor eax, eax */
    0x0f, 0xa2,       /* cpuid */
    0x66, 0x4e,       /* dec esi */
    0x75, 0xf7,       /* jnz again */
    0xf4,             /* hlt */
};

static int must(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int count, char **words) {
    unsigned long turns = count > 1 ? strtoul(words[1], NULL, 0) : 0;
    int kvm = must(open("/dev/kvm", O_RDWR), "/dev/kvm");
    int vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    /* where a processor without unrestricted guests keeps what real mode is made of */
    must(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul), "KVM_SET_TSS_ADDR");
    unsigned char *memory = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) must(-1, "mmap");
    if (turns) memcpy(memory, cpuids, sizeof cpuids);
    else memcpy(memory, sum, sizeof sum);
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = LOAD, .memory_size = 0x1000, .userspace_addr = (unsigned long)memory};
    must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    int cpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    int size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    struct kvm_run *run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    if (run == MAP_FAILED) must(-1, "mmap of the vCPU");
    struct kvm_sregs segments;
    must(ioctl(cpu, KVM_GET_SREGS, &segments), "KVM_GET_SREGS");
    segments.cs.base = segments.cs.selector = 0;
    must(ioctl(cpu, KVM_SET_SREGS, &segments), "KVM_SET_SREGS");
    struct kvm_regs registers = {.rip = LOAD, .rax = 2, .rbx = 2, .rsi = turns, .rflags = 2};
    must(ioctl(cpu, KVM_SET_REGS, &registers), "KVM_SET_REGS");
    double start = now();
    for (;;) {
        must(ioctl(cpu, KVM_RUN, 0), "KVM_RUN");
        if (run->exit_reason == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_OUT && run->io.port == 0x3f8) {
            fwrite((char *)run + run->io.data_offset, run->io.size, run->io.count, stdout);
        } else if (run->exit_reason == KVM_EXIT_HLT) {
            break;
        } else {
            printf("exit %u, %llx\n", run->exit_reason, (unsigned long long)run->hw.hardware_exit_reason);
            return 1;
        }
    }
    if (turns) printf("%lu exits, %.0f ns each\n", turns, (now() - start) * 1e9 / turns);
    puts("halted");
    return 0;
}
