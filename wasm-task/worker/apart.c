#include "apart.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "code.h"
#include "enter.h"
#include "filter.h"

// What the process leaves behind.
struct outcome {
    bool done;
    int result; // of compile_apart
    struct error err;
};

// A file system of its own, that ends with the process. A descriptor or -1.
static int make_directory(const struct plan *p, struct error *err)
{
    const struct {
        const char *key;
        long long value;
    } numbers[] = {{"size", 2LL * WORKER_CODE_MAX}, {"uid", p->uid}, {"gid", p->gid}};
    char text[24];
    _cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    bool good = fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) == 0;
    for (size_t i = 0; i < ARRAY_SIZE(numbers) && good; i++) {
        snprintf(text, sizeof(text), "%lld", numbers[i].value);
        good = fsconfig(fs, FSCONFIG_SET_STRING, numbers[i].key, text, 0) == 0;
    }
    good = good && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0;
    int fd = good ? fsmount(fs, FSMOUNT_CLOEXEC,
                            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
                  : -1;
    return fd < 0 ? error_errno(err, errno, "a directory for the compiler") : fd;
}

// The standard files stay: what a compiler says there is the container's output.
static int close_others(int fd)
{
    return (fd > STDERR_FILENO + 1 && close_range(STDERR_FILENO + 1, (unsigned)fd - 1, 0) < 0) ||
                   close_range((unsigned)fd + 1, ~0u, 0) < 0
               ? -1
               : 0;
}

static int become(const struct plan *p, int code, pid_t parent, struct error *err)
{
    int attr = -1;
    if (enter_profile_open(p, &attr, err) < 0)
        return -1;
    _cleanup_close_ int dir = make_directory(p, err);
    if (dir < 0)
        return -1;
    if (fchdir(dir) < 0 || chroot(".") < 0)
        return error_errno(err, errno, "the compiler's directory");
    // An exec's are still the host's.
    if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) < 0)
        return error_errno(err, errno, "the compiler's namespaces");
    if (enter_identity(p, attr, err) < 0)
        return -1;
    (void)signal(SIGXFSZ, SIG_IGN); // too large a file (RLIMIT_FSIZE) is an error of a write
    umask(077);
    close_fd(&dir);
    // A change of the user has taken away what was set before.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || close_others(code) < 0)
        return error_errno(err, errno, "the compiler's process");
    return getppid() == parent ? filter_before_compile(err) : -1;
}

static pid_t start(const struct engine_ops *engine, const struct plan *p, const void *module,
                   size_t len, int code, struct outcome *out)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    out->result = become(p, code, parent, &out->err);
    if (out->result == 0)
        out->result = engine->compile_apart(module, len, code, &out->err);
    out->done = true;
    _exit(0);
}

// What it says may be an enemy's word.
static int believe(const struct engine_ops *engine, const struct outcome *said, int code,
                   struct error *err)
{
    if (!said->done)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "%s's compiler was killed: its memory is the container's, too; raise the "
                         "memory limit",
                         engine->name);
    if (said->result >= 0)
        return said->result > 0 && code_seal(code);
    if (said->err.status <= STATUS_OK || said->err.status >= STATUS_MAX_)
        return error_set(err, STATUS_INTERNAL, "%s's compiler failed", engine->name);
    return error_set(err, said->err.status, "%.*s", (int)sizeof(said->err.text) - 1,
                     said->err.text);
}

int apart_compile(const struct engine_ops *engine, const struct plan *p, const void *module,
                  size_t len, int code, struct error *err)
{
    struct outcome *said =
        mmap(NULL, sizeof(*said), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (said == MAP_FAILED)
        return error_errno(err, errno, "the compiler's process");
    pid_t pid = start(engine, p, module, len, code, said);
    int r = pid < 0 ? error_errno(err, errno, "the compiler's process") : 0;
    // Whether it is ours to reap or not (SA_NOCLDWAIT), it has ended then.
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (r == 0)
        r = believe(engine, said, code, err);
    munmap(said, sizeof(*said));
    return r;
}
