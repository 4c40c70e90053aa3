#include "filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "filter_programs.h" // of filter_compile.c

static bool first_is_loaded;

// Into all threads.
static int load(const struct sock_filter *program, size_t n)
{
    // The kernel reads it.
    const struct sock_fprog all = {.len = (unsigned short)n,
                                   .filter = (struct sock_filter *)program};
    long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &all);
    return r < 0 ? -errno : r > 0 ? -EBUSY : 0; // more: a thread that cannot have it
}

int filter_before_compile(struct error *err)
{
    *before_compile_own_pid = (uint32_t)getpid();
    int r = load(before_compile, ARRAY_SIZE(before_compile));
    first_is_loaded = r == 0;
    return r < 0 ? error_errno(err, r, "system calls before the module is compiled") : 0;
}

int filter_before_run(struct error *err)
{
    int r = first_is_loaded ? load(before_run, ARRAY_SIZE(before_run)) : -EPERM;
    return r < 0 ? error_errno(err, r, "system calls before the module runs") : 0;
}
