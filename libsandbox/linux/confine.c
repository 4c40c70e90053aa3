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
#include <sched.h>
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

// What would give a program more than it has, or reaches parts of the kernel that have little to do
// with serving a guest: namespaces, mounts, keys, programs for the kernel, modules, time. (Most of
// it takes capabilities, which it has not; in a user namespace it would have them.)
static const int server_calls[] = {
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(open_tree),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fsmount),
    SCMP_SYS(fspick),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(keyctl),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(fanotify_init),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(kcmp),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(reboot),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(acct),
    SCMP_SYS(quotactl),
    SCMP_SYS(syslog),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(adjtimex),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(vhangup),
};
static const uint64_t namespace_flags[] = {
    CLONE_NEWNS,  CLONE_NEWUTS, CLONE_NEWIPC,    CLONE_NEWUSER,
    CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP,
};

static void cleanup_filter(scmp_filter_ctx *ctx)
{
    if (*ctx)
        seccomp_release(*ctx);
}

// Calls that this architecture does not have are negative numbers and left out.
static int filter_add(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t n)
{
    int r = 0;
    for (size_t i = 0; i < n && r >= 0; i++)
        r = calls[i] < 0 ? 0 : seccomp_rule_add(ctx, action, calls[i], 0);
    return r;
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
    _cleanup_(cleanup_filter) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    int r = ctx ? filter_add(ctx, SCMP_ACT_ALLOW, init_calls, ARRAY_SIZE(init_calls)) : -ENOMEM;
    if (r >= 0)
        r = seccomp_load(ctx); // also sets no_new_privs
    return r < 0 ? error_errno(err, r, "system call filter of the pod's init") : 0;
}

int confine_server(struct error *err)
{
    const uint32_t no = SCMP_ACT_ERRNO(EPERM);
    _cleanup_(cleanup_filter) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int r = ctx ? filter_add(ctx, no, server_calls, ARRAY_SIZE(server_calls)) : -ENOMEM;
    for (size_t i = 0; i < ARRAY_SIZE(namespace_flags) && r >= 0; i++)
        r = seccomp_rule_add(
            ctx, no, SCMP_SYS(clone), 1,
            SCMP_A0_64(SCMP_CMP_MASKED_EQ, namespace_flags[i], namespace_flags[i]));
    // Its flags are in memory, where no filter looks; a C library then takes the other.
    if (r >= 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (r >= 0)
        r = seccomp_load(ctx);
    return r < 0 ? error_errno(err, r, "system call filter") : 0;
}
