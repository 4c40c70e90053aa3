#include "apart.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "code.h"
#include "engines.h"
#include "enter.h"
#include "filter.h"

// What the process leaves behind, in one write.
struct outcome {
    int result; // of compile_apart
    struct error err;
};
_Static_assert(sizeof(struct outcome) <= PIPE_BUF, "it comes whole or not at all");

// Descriptors of that process, behind the standard ones.
enum apart_fd {
    APART_MODULE = STDERR_FILENO + 1, // memfd
    APART_PROCESS,                    // memfd: the OCI process of which it is
    APART_SAID,                       // pipe: struct outcome
    APART_CODE,
    APART_USERS, // user namespace
    APART_END,
};

// ---- the process that compiles ------------------------------------------------------------------

// A file system of its own, that ends with the process. A descriptor or -1.
static int make_directory(const struct plan *p, struct error *err)
{
    const struct {
        const char *key;
        long long value;
    } numbers[] = {
        {"size", 2LL * WORKER_CODE_MAX}, {"uid", plan_host_uid(p)}, {"gid", plan_host_gid(p)}};
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
static int close_others(int a, int b)
{
    const unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);
    const unsigned ranges[][2] = {
        {STDERR_FILENO + 1, low - 1}, {low + 1, high - 1}, {high + 1, ~0u}};
    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
        if (ranges[i][0] <= ranges[i][1] && close_range(ranges[i][0], ranges[i][1], 0) < 0)
            return -1;
    }
    return 0;
}

static int become(const struct plan *p, int users, int code, int said, pid_t parent,
                  struct error *err)
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
    if (enter_identity(p, users, attr, err) < 0)
        return -1;
    (void)signal(SIGXFSZ, SIG_IGN); // too large a file (RLIMIT_FSIZE) is an error of a write
    umask(077);
    close_fd(&dir);
    // A change of the user has taken away what was set before.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || close_others(code, said) < 0)
        return error_errno(err, errno, "the compiler's process");
    return getppid() == parent ? filter_before_compile(err) : -1;
}

void apart_work(const struct engine_ops *engine, const struct plan *p, int users,
                const void *module, size_t len, int code, int said)
{
    struct outcome out = {0};
    out.result = become(p, users, code, said, getppid(), &out.err);
    if (out.result == 0)
        out.result = engine->compile_apart(module, len, code, &out.err);
    _exit(write(said, &out, sizeof(out)) != sizeof(out));
}

// All of it, read-only. NULL on error.
static const void *map(int fd, size_t *ret_len)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= 0)
        return NULL;
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    *ret_len = (size_t)st.st_size;
    return bytes == MAP_FAILED ? NULL : bytes;
}

// What compiles goes by the name of what has looked for the code.
static const struct engine_ops *load_engine(const char *name, const char *version,
                                            struct error *err)
{
    const struct engine_ops *engine = engines_load(name, ENGINE_WHOLE, err);
    if (!engine || strcmp(engine->version(), version) == 0)
        return engine;
    error_set(err, STATUS_FAILED_PRECONDITION,
              "%s was %.40s when the container began, and is %.40s now: start it again", name,
              version, engine->version());
    return NULL;
}

static int read_ids(struct id_maps *ids, char **argv)
{
    if (!argv[0][0] && !argv[1][0])
        return 0;
    return id_map_parse(argv[0], &ids->uid) < 0 ? -EINVAL : id_map_parse(argv[1], &ids->gid);
}

int apart_main(char **argv)
{
    static struct plan plan;
    struct outcome out = {.result = -1};
    size_t len = 0;
    (void)prctl(PR_SET_NAME, "wasm-worker"); // it was executed by another name
    const struct engine_ops *engine = load_engine(argv[0], argv[1], &out.err);
    const void *module = engine ? map(APART_MODULE, &len) : NULL;
    if (engine && !module)
        error_errno(&out.err, errno, "the module");
    if (module && plan_read_process(&plan, APART_PROCESS, &out.err) == 0) {
        int r = read_ids(&plan.ids, argv + 2);
        if (r == 0)
            apart_work(engine, &plan, plan.ids.uid.length ? APART_USERS : -1, module, len,
                       APART_CODE, APART_SAID);
        error_errno(&out.err, r, "ids of the user namespace");
    }
    return write(APART_SAID, &out, sizeof(out)) != sizeof(out);
}

// ---- the worker that waits for it ---------------------------------------------------------------

// What it says may be an enemy's word.
static int believe(const char *engine, const struct outcome *said, int code, struct error *err)
{
    if (said->result >= 0)
        return said->result > 0 && code_seal(code);
    if (said->err.status <= STATUS_OK || said->err.status >= STATUS_MAX_)
        return error_set(err, STATUS_INTERNAL, "%s's compiler failed", engine);
    return error_set(err, said->err.status, "%.*s", (int)sizeof(said->err.text) - 1,
                     said->err.text);
}

int apart_wait(const char *engine, pid_t pid, int said, int code, struct error *err)
{
    struct outcome out;
    // Whether it is ours to reap or not (SA_NOCLDWAIT), it has ended then.
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (read(said, &out, sizeof(out)) != sizeof(out))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "%s's compiler ended without a word, killed perhaps: its memory is the "
                         "container's, too; raise the memory limit",
                         engine);
    return believe(engine, &out, code, err);
}

// In the child: puts them on their numbers and executes. `copies` lie above all of these, and are
// closed with everything else when it does.
static int execute(char *const argv[], const int copies[APART_END], pid_t parent)
{
    static char *const env[] = {NULL};
    for (int i = APART_MODULE; i < APART_END; i++) {
        if (copies[i] < 0 || dup2(copies[i], i) < 0)
            return -1;
    }
    if (close_range(APART_END, ~0u, CLOSE_RANGE_CLOEXEC) < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -1;
    // This very program, whatever has become of its file.
    return getppid() == parent ? execve("/proc/self/exe", argv, env) : -1;
}

// "inside:outside:length", or "" for none.
static char *id_map_text(const struct id_map *m, char text[static 40])
{
    text[0] = '\0';
    if (m->length)
        (void)path_format(text, 40, "%u:%u:%u", m->inside, m->outside, m->length);
    return text;
}

static pid_t start(const struct engine_ops *engine, const struct plan *p, const int fds[APART_END])
{
    char uids[40], gids[40];
    char *const argv[] = {(char *)"wasm-worker",
                          (char *)"compile",
                          (char *)engine->name,
                          (char *)engine->version(),
                          id_map_text(&p->ids.uid, uids),
                          id_map_text(&p->ids.gid, gids),
                          NULL};
    struct outcome out = {.result = -1};
    int copies[APART_END];
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    for (int i = APART_MODULE; i < APART_END; i++)
        copies[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, APART_END);
    (void)execute(argv, copies, parent);
    error_errno(&out.err, errno, "the compiler's process");
    _exit(write(copies[APART_SAID], &out, sizeof(out)) != sizeof(out));
}

int apart_compile(const struct engine_ops *engine, const struct plan *p, int users, int module,
                  int code, struct error *err)
{
    int said[2];
    _cleanup_close_ int process = json_memory_file(p->process, "process");
    if (process < 0 || pipe2(said, O_CLOEXEC) < 0)
        return error_errno(err, process < 0 ? process : errno, "the compiler's process");
    const int fds[APART_END] = {[APART_MODULE] = module,
                                [APART_PROCESS] = process,
                                [APART_SAID] = said[1],
                                [APART_CODE] = code,
                                // Each has one, if only what is there already.
                                [APART_USERS] = users >= 0 ? users : module};
    pid_t pid = start(engine, p, fds);
    int e = errno;
    close_fd(&said[1]);
    int r = pid < 0 ? error_errno(err, e, "the compiler's process")
                    : apart_wait(engine->name, pid, said[0], code, err);
    close_fd(&said[0]);
    return r;
}
