// Self-confinement. What it is for, and what not:
//
// - The daemons act on the node with nearly all of root's power (mounts, namespaces, cgroups); a
//   program that may mount and call setns() owns the node. Giving up the rest narrows what a bug
//   that is not yet full control can reach, and is no boundary against an attacker who runs code in
//   the daemon.
// - What is inherited across exec for ever (bounding set, no_new_privs, a filter of system calls)
//   stays as it is. A task server starts OCI runtimes, whose containers may be privileged, hold
//   setuid programs or install seccomp profiles, and a sandboxer starts the task server.
// - An overlay works with the capabilities of who has mounted it, whoever uses it. So a daemon
//   keeps all that files may need.
// - The init of a pod is the opposite case: it needs nothing, so it gets nothing. Unknown system
//   calls fail instead of killing, since a C library may try new ones at start and live without.
#include "linux/confine.h"

#include <cap-ng.h>
#include <errno.h>
#include <seccomp.h>

#include "base/cleanup.h"

// What no daemon does.
static const unsigned unused[] = {
    CAP_AUDIT_CONTROL, CAP_AUDIT_READ, CAP_AUDIT_WRITE,    CAP_BLOCK_SUSPEND, CAP_NET_BROADCAST,
    CAP_NET_RAW,       CAP_SYSLOG,     CAP_SYS_BOOT,       CAP_SYS_MODULE,    CAP_SYS_PACCT,
    CAP_SYS_RAWIO,     CAP_SYS_TIME,   CAP_SYS_TTY_CONFIG, CAP_WAKE_ALARM,
};

// Report and wait (read, write), the start of a static program, and pod-init's own calls.
static const int init_calls[] = {
    SCMP_SYS(execveat),
    SCMP_SYS(brk),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(prlimit64),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getrandom),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fstat),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(prctl),
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

static void cleanup_filter(scmp_filter_ctx *ctx)
{
    if (*ctx)
        seccomp_release(*ctx);
}

// Loads a filter in which the calls of the list are the exception. Calls that this architecture
// does not have are negative numbers and left out.
static int filter_load(uint32_t otherwise, uint32_t listed, const int *calls, size_t n)
{
    _cleanup_(cleanup_filter) scmp_filter_ctx ctx = seccomp_init(otherwise);
    if (!ctx)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        int r = calls[i] < 0 ? 0 : seccomp_rule_add(ctx, listed, calls[i], 0);
        if (r < 0)
            return r;
    }
    return seccomp_load(ctx); // also sets no_new_privs
}

int confine_daemon(struct error *err)
{
    int r = capng_get_caps_process();
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(unused); i++)
        r = capng_update(CAPNG_DROP,
                         (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE),
                         unused[i]);
    if (r == 0)
        r = capng_apply(CAPNG_SELECT_CAPS);
    return r < 0 ? error_errno(err, EPERM, "cannot give up capabilities") : 0;
}

int confine_init(struct error *err)
{
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_apply(CAPNG_SELECT_ALL) < 0)
        return error_errno(err, EPERM, "cannot drop the capabilities of the pod's init");
    int r = filter_load(SCMP_ACT_ERRNO(ENOSYS), SCMP_ACT_ALLOW, init_calls, ARRAY_SIZE(init_calls));
    return r < 0 ? error_errno(err, r, "system call filter of the pod's init") : 0;
}
