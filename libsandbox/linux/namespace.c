// Making the namespaces of a pod.
//
//   caller (a forked job)          maker                          init (shared pid namespace only)
//   ---------------------          -----                          ------
//   finds or makes the user
//   namespace, starts         -->  joins user and net, unshares
//                                  ipc, uts (owned by user)
//                                  sets hostname, writes sysctls
//                                  unshares pid, forks         --> empty root, no capabilities
//                             <--  "made", pid of init         <-- "prepared"
//   pins /proc/<maker>/ns/*
//   and /proc/<init>/ns/pid
//   "go"                      ------------------------------->    filter, exec
//                             <------------------------------     end of file: it runs
//   ends the maker                                                 lives on, reparented
//
// The caller never changes its own namespaces: whoever pins must be privileged in the user
// namespace that owns the host's mounts, and a maker that has joined a pod's user namespace is not.
// It joins that one first, because a namespace belongs to the users of the one who makes it, and
// the kernel lets a container mount mqueue and proc only if the namespaces behind them belong to
// its own.
//
// Everything is pinned from a descriptor that was checked to be a namespace of the right kind and
// not the host's, so a path that changes its meaning in between cannot slip in another one.
//
// Until "go" the init dies with the maker and the maker with the caller, so a caller that is killed
// leaves no process behind. Pids are those of processes that nobody has waited for yet, so none of
// them can have been reused.
#include "linux/namespace.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "linux/mount.h"
#include "linux/namespace_internal.h"
#include "linux/userns.h"

// "/proc/<pid>/ns/<kind>", "/proc/self/fd/<fd>"
#define PROC_PATH_MAX 64
// Same as the kernel's __NEW_UTS_LEN.
#define HOSTNAME_LEN_MAX 64
#define PIN_PATH_MAX     4096

enum kind { KIND_IPC, KIND_UTS, KIND_NET, KIND_PID, KIND_USER, KIND_MAX_ };

static const struct {
    const char *name;
    int flag;
} kinds[] = {
    [KIND_IPC] = {"ipc", CLONE_NEWIPC},    [KIND_UTS] = {"uts", CLONE_NEWUTS},
    [KIND_NET] = {"net", CLONE_NEWNET},    [KIND_PID] = {"pid", CLONE_NEWPID},
    [KIND_USER] = {"user", CLONE_NEWUSER},
};
static_assert(ARRAY_SIZE(kinds) == KIND_MAX_, "every kind has a row");

static void cleanup_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

// ---- namespace files ---------------------------------------------------------------------------

// Is this descriptor a namespace of that kind? 0, -EINVAL or another errno.
static int kind_check(int fd, int flag)
{
    int type = ioctl(fd, NS_GET_NSTYPE);
    if (type < 0)
        return errno == ENOTTY ? -EINVAL : -errno;
    return type == flag ? 0 : -EINVAL;
}

static int open_kind(const char *path, enum kind kind, struct error *err)
{
    // Looking first opens no device and waits for no fifo.
    _cleanup_close_ int at = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (at < 0 || fstat(at, &st) < 0)
        return error_errno(err, errno, "%s namespace \"%.300s\"", kinds[kind].name, path);
    char self[PROC_PATH_MAX];
    (void)path_format(self, sizeof(self), "/proc/self/fd/%d", at);
    _cleanup_close_ int fd = S_ISREG(st.st_mode) ? open(self, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 || kind_check(fd, kinds[kind].flag) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "\"%.300s\" is not a %s namespace", path,
                         kinds[kind].name);
    return take_fd(&fd);
}

static int kind_find(const char *name)
{
    for (int i = 0; i < KIND_MAX_; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return i;
    return -1;
}

int namespace_open(const char *path, const char *kind, struct error *err)
{
    int k = kind_find(kind);
    if (k < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "unknown kind of namespace \"%.20s\"", kind);
    return open_kind(path, (enum kind)k, err);
}

int namespace_check(const char *path, const char *kind, struct error *err)
{
    _cleanup_close_ int fd = namespace_open(path, kind, err);
    return fd < 0 ? -1 : 0;
}

// The innermost pid of a process (the last word of NSpid in its status); 0 if it is gone.
static long inner_pid(pid_t pid)
{
    char path[PROC_PATH_MAX], line[256];
    (void)path_format(path, sizeof(path), "/proc/%d/status", (int)pid);
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "NSpid:", 6) != 0)
            continue;
        const char *last = strrchr(line, '\t');
        return last ? strtol(last + 1, NULL, 10) : 0;
    }
    return 0;
}

static bool is_init_of(pid_t pid, const struct stat *ns)
{
    char path[PROC_PATH_MAX];
    (void)path_format(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
    struct stat st;
    return stat(path, &st) == 0 && st.st_dev == ns->st_dev && st.st_ino == ns->st_ino &&
           inner_pid(pid) == 1;
}

int namespace_find_init(const char *pin, struct process_id *ret_init)
{
    struct error err = {0};
    _cleanup_close_ int fd = open_kind(pin, KIND_PID, &err);
    struct stat ns;
    if (fd < 0)
        return -ENOENT;
    if (fstat(fd, &ns) < 0)
        return -errno;
    _cleanup_(cleanup_dir) DIR *proc = opendir("/proc");
    if (!proc)
        return -errno;
    struct dirent *e;
    while ((e = readdir(proc))) {
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        if (*end || pid <= 0 || pid > INT_MAX)
            continue;
        struct process_id id;
        // Identified first, checked afterwards: the check holds for what was identified.
        if (process_identify((pid_t)pid, &id) == 0 && is_init_of((pid_t)pid, &ns) &&
            process_alive(&id)) {
            *ret_init = id;
            return 0;
        }
    }
    return -ENOENT;
}

// Do two descriptors name the same namespace? Errors count as yes: the answer guards the host's.
static bool is_same(int a, int b)
{
    struct stat x, y;
    if (fstat(a, &x) < 0 || fstat(b, &y) < 0)
        return true;
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int refuse_own(int fd, enum kind kind, struct error *err)
{
    char path[PROC_PATH_MAX];
    (void)path_format(path, sizeof(path), "/proc/self/ns/%s", kinds[kind].name);
    _cleanup_close_ int own = open_kind(path, kind, err);
    if (own < 0)
        return -1;
    if (is_same(own, fd))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "the pod's %s namespace is the host's own; a pod on the host's namespace "
                         "must say so in its configuration",
                         kinds[kind].name);
    return 0;
}

// ---- pins --------------------------------------------------------------------------------------

// Which pins exist, so that a failure removes exactly those.
struct pins {
    const char *dir;
    bool made[KIND_MAX_];
};

static int pin_path(const struct pins *pins, enum kind kind, char out[static PIN_PATH_MAX])
{
    return path_format(out, PIN_PATH_MAX, "%s/%s", pins->dir, kinds[kind].name);
}

static void pin_remove(const char *path)
{
    (void)mount_remove(path);
    (void)unlink(path);
}

static void pins_undo(struct pins *pins)
{
    for (int kind = 0; kind < KIND_MAX_; kind++) {
        char path[PIN_PATH_MAX];
        if (pins->made[kind] && pin_path(pins, (enum kind)kind, path) == 0)
            pin_remove(path);
        pins->made[kind] = false;
    }
}

// A new, empty file; what an earlier attempt left at its place goes first.
static int pin_create(const char *path)
{
    int flags = O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = open(path, flags, 0444);
    if (fd < 0 && errno == EEXIST) {
        pin_remove(path);
        fd = open(path, flags, 0444);
    }
    return fd < 0 ? -errno : fd;
}

// Binds the namespace behind `ns` to dir/<kind>, and looks at what came out.
static int pin_make(struct pins *pins, enum kind kind, int ns, struct error *err)
{
    if (refuse_own(ns, kind, err) < 0)
        return -1;
    char path[PIN_PATH_MAX], from[PROC_PATH_MAX], to[PROC_PATH_MAX];
    int r = pin_path(pins, kind, path);
    if (r < 0)
        return error_errno(err, r, "pin of the %s namespace", kinds[kind].name);
    _cleanup_close_ int file = pin_create(path);
    if (file < 0)
        return error_errno(err, file, "pin \"%.300s\"", path);
    pins->made[kind] = true;
    (void)path_format(from, sizeof(from), "/proc/self/fd/%d", ns);
    (void)path_format(to, sizeof(to), "/proc/self/fd/%d", file);
    if (mount(from, to, NULL, MS_BIND, NULL) < 0)
        return error_errno(err, errno, "pinning the %s namespace on \"%.300s\"", kinds[kind].name,
                           path);
    _cleanup_close_ int pinned = open_kind(path, kind, err);
    if (pinned < 0)
        return -1;
    if (!is_same(pinned, ns))
        return error_set(err, STATUS_INTERNAL, "pin \"%.300s\" holds another namespace", path);
    return 0;
}

static int pin_process(struct pins *pins, enum kind kind, pid_t pid, struct error *err)
{
    char path[PROC_PATH_MAX];
    (void)path_format(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kinds[kind].name);
    _cleanup_close_ int ns = open_kind(path, kind, err);
    return ns < 0 ? -1 : pin_make(pins, kind, ns, err);
}

// ---- the maker ---------------------------------------------------------------------------------

// One message of the maker: the error if there is one, else its work is done.
struct made {
    pid_t init; // 0: none
    struct error err;
};

struct maker {
    const struct namespace_plan *plan;
    int userns, netns; // -1: the host's
    int sock;          // to the caller
    int init_sock;     // the init's end; -1 without an init
    int program;       // the init's; -1 without an init
};

static bool is_set(const char *s)
{
    return s && s[0];
}

static int hostname_set(const char *name, struct error *err)
{
    if (strlen(name) > HOSTNAME_LEN_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "hostname \"%.80s\" is longer than the %d bytes that the kernel takes",
                         name, HOSTNAME_LEN_MAX);
    if (sethostname(name, strlen(name)) < 0)
        return error_errno(err, errno, "hostname \"%s\"", name);
    return 0;
}

// Dies with its parent, also when that has died already.
static void die_with(pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (parent != 0 && getppid() != parent)
        _exit(1);
}

// Becomes root of the pod's users. What was granted by the host's users is gone afterwards.
static int users_join(int userns, struct error *err)
{
    pid_t parent = getppid();
    if (setns(userns, CLONE_NEWUSER) < 0)
        return error_errno(err, errno, "joining the pod's user namespace");
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return error_errno(err, errno, "becoming root of the pod's user namespace");
    die_with(parent); // the kernel forgets this when ids change
    return 0;
}

static int maker_enter(const struct maker *m, struct error *err)
{
    const struct namespace_plan *plan = m->plan;
    if (m->userns >= 0 && users_join(m->userns, err) < 0)
        return -1;
    if (m->netns >= 0 && setns(m->netns, CLONE_NEWNET) < 0)
        return error_errno(err, errno, "joining network namespace \"%.300s\"", plan->netns);
    int flags = (plan->ipc ? CLONE_NEWIPC : 0) | (plan->uts ? CLONE_NEWUTS : 0);
    if (flags && unshare(flags) < 0)
        return error_errno(err, errno, "new ipc and uts namespaces");
    if (plan->uts && is_set(plan->hostname) && hostname_set(plan->hostname, err) < 0)
        return -1;
    for (size_t i = 0; i < plan->n_sysctls; i++)
        if (namespace_sysctl_write(&plan->sysctls[i], err) < 0)
            return -1;
    return 0;
}

static pid_t maker_start_init(struct maker *m, struct error *err)
{
    if (unshare(CLONE_NEWPID) < 0)
        return error_errno(err, errno, "new pid namespace");
    pid_t pid = fork();
    if (pid < 0)
        return error_errno(err, errno, "first process of the pid namespace");
    if (pid > 0) {
        close_fd(&m->init_sock); // its end of file is the init's message
        return pid;
    }
    // The maker is outside of this pid namespace, so getppid tells nothing. The maker's end shows
    // as end of file on the socket in the worst case.
    die_with(0);
    const struct namespace_init init = {.program = m->program,
                                        .path = m->plan->init_path,
                                        .name = m->plan->init_name,
                                        .sock = m->init_sock};
    namespace_init_main(&init);
}

static int maker_work(struct maker *m, struct made *made)
{
    // Before the users are joined: only the host's may look at the host's mounts.
    if (m->plan->pid) {
        m->program = namespace_init_open(m->plan->init_path, &made->err);
        if (m->program < 0)
            return -1;
    }
    if (maker_enter(m, &made->err) < 0)
        return -1;
    made->init = m->plan->pid ? maker_start_init(m, &made->err) : 0;
    return made->init < 0 ? -1 : 0;
}

// Does the work, tells, and holds the namespaces until the caller closes its end.
static _Noreturn void maker_run(struct maker *m, pid_t caller)
{
    die_with(caller);
    struct made made = {0};
    if (maker_work(m, &made) < 0)
        made.init = 0;
    if (write(m->sock, &made, sizeof(made)) != (ssize_t)sizeof(made))
        _exit(1);
    char end;
    while (read(m->sock, &end, 1) < 0 && errno == EINTR)
        ;
    _exit(0);
}

// ---- the caller --------------------------------------------------------------------------------

struct run {
    const struct namespace_plan *plan;
    struct pins pins;
    int userns, netns;
    int sock, init_sock; // to maker and init
    pid_t maker;
    struct process_id init;
};

static int plan_check(const struct namespace_plan *plan, struct error *err)
{
    if (!is_set(plan->dir))
        return error_set(err, STATUS_INTERNAL, "namespace plan without a directory");
    if (plan->pid && (!is_set(plan->init_path) || !is_set(plan->init_name)))
        return error_set(err, STATUS_INTERNAL, "pid namespace without an init program");
    if (plan->users && (!id_map_valid(&plan->users->uid) || !id_map_valid(&plan->users->gid)))
        return error_set(err, STATUS_INTERNAL, "user namespace without mappings");
    for (size_t i = 0; i < plan->n_sysctls; i++)
        if (namespace_sysctl_check(plan->sysctls[i].name, is_set(plan->netns), plan->ipc, err) < 0)
            return -1;
    return 0;
}

// One whole message from a peer. False at the end of the file or on an error.
static bool receive(int sock, void *message, size_t size)
{
    ssize_t n;
    do
        n = read(sock, message, size);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)size;
}

static int maker_fork(struct run *run, struct error *err)
{
    int pair[2] = {-1, -1}, init_pair[2] = {-1, -1};
    int type = SOCK_SEQPACKET | SOCK_CLOEXEC;
    if (socketpair(AF_UNIX, type, 0, pair) < 0)
        return error_errno(err, errno, "socket pair");
    run->sock = pair[0];
    if (run->plan->pid && socketpair(AF_UNIX, type, 0, init_pair) < 0) {
        close(pair[1]);
        return error_errno(err, errno, "socket pair");
    }
    run->init_sock = init_pair[0];
    pid_t self = getpid();
    run->maker = fork();
    if (run->maker == 0) {
        close(pair[0]); // else nobody would ever see the end of file
        if (init_pair[0] >= 0)
            close(init_pair[0]);
        struct maker maker = {.plan = run->plan,
                              .userns = run->userns,
                              .netns = run->netns,
                              .sock = pair[1],
                              .init_sock = init_pair[1],
                              .program = -1};
        maker_run(&maker, self);
    }
    int r = run->maker < 0 ? error_errno(err, errno, "process that makes namespaces") : 0;
    close(pair[1]);
    if (init_pair[1] >= 0)
        close(init_pair[1]);
    return r;
}

static int maker_wait(struct run *run, struct error *err)
{
    struct made made;
    if (!receive(run->sock, &made, sizeof(made)))
        return error_set(err, STATUS_INTERNAL, "the process that makes namespaces died");
    if (made.err.status != STATUS_OK) {
        *err = made.err;
        return -1;
    }
    run->init.pid = made.init;
    return 0;
}

// Waits for the init's next message: an error, or (ok_at_end: end of file, else: the empty error)
// success.
static int init_wait(struct run *run, bool ok_at_end, struct error *err)
{
    struct error told;
    bool got = receive(run->init_sock, &told, sizeof(told));
    if (got && told.status != STATUS_OK) {
        *err = told;
        return -1;
    }
    if (got == ok_at_end)
        return error_set(err, STATUS_INTERNAL, "the pod's init died while it was started");
    return 0;
}

static int pin_all(struct run *run, struct error *err)
{
    const struct namespace_plan *plan = run->plan;
    if (run->userns >= 0 && pin_make(&run->pins, KIND_USER, run->userns, err) < 0)
        return -1;
    if (run->netns >= 0 && pin_make(&run->pins, KIND_NET, run->netns, err) < 0)
        return -1;
    if (plan->ipc && pin_process(&run->pins, KIND_IPC, run->maker, err) < 0)
        return -1;
    if (plan->uts && pin_process(&run->pins, KIND_UTS, run->maker, err) < 0)
        return -1;
    if (plan->pid && pin_process(&run->pins, KIND_PID, run->init.pid, err) < 0)
        return -1;
    return 0;
}

static int init_go(struct run *run, struct error *err)
{
    if (process_identify(run->init.pid, &run->init) < 0)
        return error_set(err, STATUS_INTERNAL, "the pod's init died while it was started");
    if (write(run->init_sock, "g", 1) != 1)
        return error_errno(err, errno, "starting the pod's init");
    if (init_wait(run, true, err) < 0)
        return -1;
    if (!process_alive(&run->init))
        return error_set(err, STATUS_INTERNAL, "the pod's init ended at once");
    return 0;
}

// The user namespace: the one that the network was made in, else a new one.
static int users_open(struct run *run, struct error *err)
{
    run->userns = run->netns >= 0 ? userns_of(run->netns, err) : userns_new(run->plan->users, err);
    if (run->userns < 0)
        return -1;
    _cleanup_close_ int own = open_kind("/proc/self/ns/user", KIND_USER, err);
    if (own < 0)
        return -1;
    if (is_same(own, run->userns))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "network namespace \"%.300s\" belongs to the host's users, but the pod "
                         "has users of its own; it must be made in the pod's user namespace",
                         run->plan->netns);
    return 0;
}

// With other mappings the files that are prepared for the pod would belong to nobody in it.
static int users_check(const struct run *run, struct error *err)
{
    struct id_maps maps;
    int r = userns_maps(run->maker, &maps);
    if (r < 0 && r != -ERANGE)
        return error_errno(err, r, "mappings of the pod's user namespace");
    if (r == -ERANGE || !id_maps_equal(&maps, run->plan->users))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "network namespace \"%.300s\" belongs to a user namespace with other id "
                         "mappings than the pod's",
                         run->plan->netns);
    return 0;
}

static int run_steps(struct run *run, struct error *err)
{
    const struct namespace_plan *plan = run->plan;
    if (is_set(plan->netns)) {
        run->netns = open_kind(plan->netns, KIND_NET, err);
        if (run->netns < 0 || refuse_own(run->netns, KIND_NET, err) < 0)
            return -1;
    }
    if (plan->users && users_open(run, err) < 0)
        return -1;
    if (maker_fork(run, err) < 0 || maker_wait(run, err) < 0)
        return -1;
    if (plan->users && run->netns >= 0 && users_check(run, err) < 0)
        return -1;
    if (plan->pid && init_wait(run, false, err) < 0)
        return -1;
    if (pin_all(run, err) < 0)
        return -1;
    return plan->pid ? init_go(run, err) : 0;
}

// Ends the maker; after a failure also the init, which nobody has waited for as long as the maker
// is there.
static void run_done(struct run *run, bool failed)
{
    if (run->maker > 0) {
        if (failed && run->init.pid > 0)
            (void)kill(run->init.pid, SIGKILL);
        if (failed)
            (void)kill(run->maker, SIGKILL);
        close_fd(&run->sock); // lets it end
        while (waitpid(run->maker, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (failed)
        pins_undo(&run->pins);
    close_fd(&run->sock);
    close_fd(&run->init_sock);
    close_fd(&run->netns);
    close_fd(&run->userns);
}

int namespace_plan_run(const struct namespace_plan *plan, struct process_id *ret_init,
                       struct error *err)
{
    struct error local = {0};
    struct run run = {.plan = plan,
                      .pins = {.dir = plan->dir},
                      .userns = -1,
                      .netns = -1,
                      .sock = -1,
                      .init_sock = -1};
    int r = plan_check(plan, &local);
    if (r == 0)
        r = run_steps(&run, &local);
    run_done(&run, r < 0);
    if (r < 0) {
        if (err)
            *err = local;
        return -1;
    }
    *ret_init = run.init;
    return 0;
}
