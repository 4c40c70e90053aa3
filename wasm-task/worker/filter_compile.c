// filter-compile: the filters of system calls of a worker (filter.h), as programs for the kernel
//
// SYNOPSIS  filter-compile FILE     (a header for filter.c)
//
// Runs when the product is built: libseccomp takes longer to make a program than a worker's whole
// start should, and it comes to the same one each time.
//
// What an engine calls was seen by tracing Wasmtime with modules that do all that WASI offers
// (test/unit/wasm/modules), and by reading which system calls Rust's standard library, tokio and
// glibc make for these. A call that is missing fails, and the process goes on: an engine or a C
// library that tries something new does without.
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <seccomp.h> // NOLINT(readability-duplicate-include): the library's
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

// ---- what is left ------------------------------------------------------------------------------

static const int run_calls[] = {
    // Memory and threads.
    SCMP_SYS(brk),
    SCMP_SYS(mmap), // until the second step, code too
    SCMP_SYS(mprotect),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(membarrier),
    SCMP_SYS(memfd_create), // what a memory begins with, and compiled code
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    // Signals: traps are faults.
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    // Time and chance.
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getrandom),
    // Waiting.
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(pipe2),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    // Open files.
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(preadv),
    SCMP_SYS(preadv2),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pwrite64),
    SCMP_SYS(pwritev),
    SCMP_SYS(pwritev2),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(dup),
    SCMP_SYS(dup3),
    SCMP_SYS(fstat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fadvise64),
    SCMP_SYS(fallocate),
    SCMP_SYS(ftruncate),
    SCMP_SYS(getdents64),
    // Names.
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(openat2),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(mkdirat),
    SCMP_SYS(unlinkat),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(linkat),
    SCMP_SYS(symlinkat),
    SCMP_SYS(utimensat),
    SCMP_SYS(getcwd),
    // Sockets that are there.
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(connect),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvmmsg),
};

// Code, and the second step; which takes them away.
static const int compile_calls[] = {
    SCMP_SYS(chdir),
    SCMP_SYS(fchdir),
    SCMP_SYS(seccomp),
    // Files of the linker that WasmEdge has (LLVM's).
    SCMP_SYS(rename),
    SCMP_SYS(unlink),
};

// What the C library has something else for if the kernel does not know it.
static const int unknown_calls[] = {
    SCMP_SYS(clone3),
    SCMP_SYS(faccessat2),
    SCMP_SYS(close_range),
    SCMP_SYS(futex_waitv),
};

// ---- what is left if it is called so ------------------------------------------------------------

#define ARGS_MAX 2

struct rule {
    int call;
    unsigned n;
    struct scmp_arg_cmp args[ARGS_MAX];
};

#define EQUAL(i, v)                                                                                \
    {                                                                                              \
        .arg = (i), .op = SCMP_CMP_EQ, .datum_a = (v)                                              \
    }
#define MASKED(i, m, v)                                                                            \
    {                                                                                              \
        .arg = (i), .op = SCMP_CMP_MASKED_EQ, .datum_a = (m), .datum_b = (v)                       \
    }

// No process but threads, and nothing new for them.
#define CLONE_NEW                                                                                  \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET | CLONE_PIDFD | CLONE_PTRACE | CLONE_PARENT | CLONE_VFORK)
#define CLONE_OURS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
// Without the flags that may come with the type (SOCK_CLOEXEC, SOCK_NONBLOCK).
#define SOCK_TYPES 0xf

static const struct rule rules[] = {
    {SCMP_SYS(clone), 1, {MASKED(0, CLONE_NEW | CLONE_OURS, CLONE_OURS)}},
    {SCMP_SYS(prlimit64), 1, {EQUAL(2, 0)}}, // reads
    {SCMP_SYS(prctl), 1, {EQUAL(0, PR_SET_NAME)}},
    {SCMP_SYS(prctl), 1, {EQUAL(0, PR_SET_VMA)}},
    // No other sockets than WASI's: none to programs of the node, whose sockets may be in a volume.
    {SCMP_SYS(socket), 2, {EQUAL(0, AF_INET), MASKED(1, SOCK_TYPES, SOCK_STREAM)}},
    {SCMP_SYS(socket), 2, {EQUAL(0, AF_INET), MASKED(1, SOCK_TYPES, SOCK_DGRAM)}},
    {SCMP_SYS(socket), 2, {EQUAL(0, AF_INET6), MASKED(1, SOCK_TYPES, SOCK_STREAM)}},
    {SCMP_SYS(socket), 2, {EQUAL(0, AF_INET6), MASKED(1, SOCK_TYPES, SOCK_DGRAM)}},
    // No input for a terminal (TIOCSTI), no file system's own.
    {SCMP_SYS(ioctl), 1, {EQUAL(1, FIONREAD)}},
    {SCMP_SYS(ioctl), 1, {EQUAL(1, FIONBIO)}},
    {SCMP_SYS(ioctl), 1, {EQUAL(1, FIOCLEX)}},
    {SCMP_SYS(ioctl), 1, {EQUAL(1, TCGETS)}},
    {SCMP_SYS(ioctl), 1, {EQUAL(1, TIOCGWINSZ)}},
    {SCMP_SYS(fcntl), 1, {EQUAL(1, F_GETFD)}},
    {SCMP_SYS(fcntl), 1, {EQUAL(1, F_SETFD)}},
    {SCMP_SYS(fcntl), 1, {EQUAL(1, F_GETFL)}},
    {SCMP_SYS(fcntl), 1, {EQUAL(1, F_SETFL)}},
    {SCMP_SYS(fcntl), 1, {EQUAL(1, F_DUPFD_CLOEXEC)}},
    {SCMP_SYS(fcntl), 1, {EQUAL(1, F_ADD_SEALS)}}, // of a memfd
};

// Code that is there stays, and nothing else becomes code.
static const struct rule code_rules[] = {
    {SCMP_SYS(mmap), 1, {MASKED(2, PROT_EXEC, PROT_EXEC)}},
    {SCMP_SYS(mprotect), 1, {MASKED(2, PROT_EXEC, PROT_EXEC)}},
};

// ---- compiling ----------------------------------------------------------------------------------

// In the place of the worker's own pid; larger than any (PID_MAX_LIMIT).
#define OWN_PID     0x7ffffff1u
#define PROGRAM_MAX 4096 // instructions; the kernel's limit (BPF_MAXINSNS)

// Calls that this architecture does not have are negative numbers and left out.
static int add_calls(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t n)
{
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = calls[i] < 0 ? 0 : seccomp_rule_add(ctx, action, calls[i], 0);
    return r;
}

static int add_rules(scmp_filter_ctx ctx, uint32_t action, const struct rule *list, size_t n)
{
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = seccomp_rule_add_array(ctx, action, list[i].call, list[i].n, list[i].args);
    return r;
}

// A process that gives up (abort) may signal itself.
static int add_own_signal(scmp_filter_ctx ctx)
{
    const struct scmp_arg_cmp own = EQUAL(0, OWN_PID);
    return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &own);
}

static int allow_what_is_left(scmp_filter_ctx ctx)
{
    int r = add_calls(ctx, SCMP_ACT_ERRNO(ENOSYS), unknown_calls, ARRAY_SIZE(unknown_calls));
    if (r == 0)
        r = add_calls(ctx, SCMP_ACT_ALLOW, run_calls, ARRAY_SIZE(run_calls));
    if (r == 0)
        r = add_calls(ctx, SCMP_ACT_ALLOW, compile_calls, ARRAY_SIZE(compile_calls));
    if (r == 0)
        r = add_rules(ctx, SCMP_ACT_ALLOW, rules, ARRAY_SIZE(rules));
    return r < 0 ? r : add_own_signal(ctx);
}

// Both filters are asked for every call, and the stricter one is obeyed: this one needs no list of
// what is left.
static int take_away(scmp_filter_ctx ctx)
{
    int r = add_calls(ctx, SCMP_ACT_ERRNO(EPERM), compile_calls, ARRAY_SIZE(compile_calls));
    return r < 0 ? r : add_rules(ctx, SCMP_ACT_ERRNO(EPERM), code_rules, ARRAY_SIZE(code_rules));
}

// The number of instructions, or a negative errno.
static ssize_t compile(uint32_t otherwise, int (*fill)(scmp_filter_ctx ctx),
                       struct sock_filter program[PROGRAM_MAX])
{
    FILE *file = tmpfile();
    scmp_filter_ctx ctx = seccomp_init(otherwise);
    int r = !file || !ctx ? -ENOMEM : seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); // a tree
    if (r == 0)
        r = fill(ctx);
    if (r == 0)
        r = seccomp_export_bpf(ctx, fileno(file));
    ssize_t n = r < 0 ? r : pread(fileno(file), program, PROGRAM_MAX * sizeof(*program), 0);
    if (r == 0 && n < 0)
        n = -errno;
    if (ctx)
        seccomp_release(ctx);
    if (file)
        fclose(file);
    return n < 0 ? n : n / (ssize_t)sizeof(*program);
}

// ---- printing -----------------------------------------------------------------------------------

// How many instructions have the own pid; the number of the last one.
static size_t find_own_pid(const struct sock_filter *program, size_t n, size_t *ret)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        if (program[i].k == OWN_PID) {
            *ret = i;
            found++;
        }
    }
    return found;
}

static int print(const char *name, uint32_t otherwise, int (*fill)(scmp_filter_ctx ctx),
                 bool has_own_pid)
{
    static struct sock_filter program[PROGRAM_MAX];
    ssize_t n = compile(otherwise, fill, program);
    size_t own = 0;
    if (n <= 0 || n == PROGRAM_MAX || find_own_pid(program, (size_t)n, &own) != has_own_pid) {
        fprintf(stderr, "filter-compile: %s: %s\n", name,
                n < 0 ? strerror((int)-n) : "not the program that was expected");
        return -1;
    }
    printf("static %sstruct sock_filter %s[] = {\n", has_own_pid ? "" : "const ", name);
    for (ssize_t i = 0; i < n; i++)
        printf("    {0x%x, %u, %u, 0x%x},\n", program[i].code, program[i].jt, program[i].jf,
               program[i].k);
    puts("};");
    if (has_own_pid)
        printf("// What the own pid goes into.\nstatic uint32_t *const %s_own_pid = &%s[%zu].k;\n",
               name, name, own);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2 || !freopen(argv[1], "we", stdout)) {
        fprintf(stderr, "usage: filter-compile FILE\n");
        return 2;
    }
    puts("// Written by filter-compile.");
    return print("before_compile", SCMP_ACT_ERRNO(EPERM), allow_what_is_left, true) < 0 ||
           print("before_run", SCMP_ACT_ALLOW, take_away, false) < 0 || fflush(stdout) != 0;
}
