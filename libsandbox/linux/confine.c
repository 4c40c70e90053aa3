// Self-confinement. What it is for, and what not:
//
// - The daemons act on the node with nearly all of root's power (mounts, namespaces, cgroups); a
//   program that may mount and call setns() owns the node. Confinement narrows what a bug that is
//   not yet full control can reach (the kernel's keyrings, bpf, io_uring, module loading, raw io
//   ports, the clock) and says in one table what a daemon uses. It is no boundary against an
//   attacker who runs code in the daemon.
// - Everything but a process's own capabilities is inherited across exec for ever. A task server
//   starts OCI runtimes, whose containers may be privileged, hold setuid programs or install
//   seccomp profiles, so for it only its own capabilities shrink; exec gives uid 0 the bounding set
//   back.
// - The init of a pod is the opposite case: it needs nothing, so it gets nothing. Unknown system
//   calls fail instead of killing, since a C library may try new ones at start and live without.
#include "linux/confine.h"

#include <cap-ng.h>
#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>

#include "base/cleanup.h"

// What a daemon keeps.
static const struct {
    unsigned cap;
    bool sandboxer, task;
} kept[] = {
    {CAP_CHOWN, true, true},           // files and fifos of a pod with mapped users
    {CAP_DAC_OVERRIDE, true, true},    // root file systems that belong to other users
    {CAP_DAC_READ_SEARCH, true, true}, // the same
    {CAP_FOWNER, true, true},          // chmod on them
    {CAP_KILL, true, true},            // processes of mapped users
    {CAP_SETGID, true, true},          // becoming root of a user namespace
    {CAP_SETUID, true, true},          // the same
    {CAP_SETFCAP, true, true},         // user namespaces in which the host's root is somebody
    {CAP_SYS_CHROOT, true, true},      // coming back from a mount namespace
    {CAP_SETPCAP, true, true},         // dropping bounding sets in children
    {CAP_NET_ADMIN, true, false},      // net.* sysctls in the pod's network namespace
    {CAP_SYS_PTRACE, true, true},      // /proc/<pid>/ns and fd of processes of mapped users
    {CAP_SYS_ADMIN, true, true},       // mount, setns, unshare, sethostname, cgroups
    {CAP_SYS_RESOURCE, true, true},    // oom_score_adj, IPC limits by sysctl
    {CAP_IPC_OWNER, true, false},      // the pod's IPC namespace
};

// What a sandboxer and its jobs never do: parts of the kernel that are rich in bugs or in power.
static const int refused_calls[] = {
    SCMP_SYS(acct),
    SCMP_SYS(add_key),
    SCMP_SYS(adjtimex),
    SCMP_SYS(bpf),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(clock_settime),
    SCMP_SYS(delete_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(init_module),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(ioperm),
    SCMP_SYS(iopl),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(kexec_load),
    SCMP_SYS(keyctl),
    SCMP_SYS(lookup_dcookie),
    SCMP_SYS(modify_ldt),
    SCMP_SYS(move_pages),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(ptrace),
    SCMP_SYS(quotactl),
    SCMP_SYS(reboot),
    SCMP_SYS(request_key),
    SCMP_SYS(settimeofday),
    SCMP_SYS(swapoff),
    SCMP_SYS(swapon),
    SCMP_SYS(syslog),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(vhangup),
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

static bool keeps(enum confine_role role, size_t i)
{
    return role == CONFINE_SANDBOXER ? kept[i].sandboxer : kept[i].task;
}

// Keeps what is in the table and in the process's own sets.
static int capabilities_reduce(enum confine_role role)
{
    if (capng_get_caps_process() < 0)
        return -EPERM;
    bool have[ARRAY_SIZE(kept)];
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        have[i] = capng_have_capability(CAPNG_PERMITTED, kept[i].cap) > 0;
    capng_select_t sets = role == CONFINE_SANDBOXER ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS;
    capng_clear(sets);
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        if (!have[i] || !keeps(role, i))
            continue;
        unsigned types = CAPNG_EFFECTIVE | CAPNG_PERMITTED;
        if (role == CONFINE_SANDBOXER)
            types |= CAPNG_BOUNDING_SET;
        if (capng_update(CAPNG_ADD, (capng_type_t)types, kept[i].cap) < 0)
            return -EINVAL;
    }
    return capng_apply(sets) < 0 ? -EPERM : 0;
}

int confine_daemon(enum confine_role role, struct error *err)
{
    int r = capabilities_reduce(role);
    if (r < 0)
        return error_errno(err, r, "cannot give up capabilities");
    if (role != CONFINE_SANDBOXER)
        return 0;
    r = filter_load(SCMP_ACT_ALLOW, SCMP_ACT_ERRNO(EPERM), refused_calls,
                    ARRAY_SIZE(refused_calls));
    return r < 0 ? error_errno(err, r, "cannot load the system call filter") : 0;
}

int confine_init(struct error *err)
{
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_apply(CAPNG_SELECT_ALL) < 0)
        return error_errno(err, EPERM, "cannot drop the capabilities of the pod's init");
    int r = filter_load(SCMP_ACT_ERRNO(ENOSYS), SCMP_ACT_ALLOW, init_calls, ARRAY_SIZE(init_calls));
    return r < 0 ? error_errno(err, r, "system call filter of the pod's init") : 0;
}
