// Making, filling, emptying and removing cgroups. Every operation goes through all hierarchies that
// matter (v2: there is one); a cgroup that is missing in some of them is normal on v1, where OCI
// runtimes join only the controllers that they know.
#include "linux/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "linux/cgroup_internal.h"

// Rounds of signalling before we believe that somebody forks faster than we kill.
#define SIGNAL_ROUNDS_MAX 64
// Processes that are looked at through a pidfd at a time.
#define SIGNAL_BATCH 128

static void cleanup_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

// ---- trees -------------------------------------------------------------------------------------

// Called for every directory of a tree, children first. Returns 0 or a negative errno, which ends
// the walk.
typedef int (*tree_fn)(int dirfd, void *arg);

static int tree_walk(int fd, int depth, tree_fn fn, void *arg);

static bool is_child_dir(int dirfd, const struct dirent *e)
{
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
        return false;
    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR;
    struct stat st;
    return fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

// An own descriptor for reading the directory, positioned at its start.
static DIR *dir_open(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir && copy >= 0)
        close(copy);
    return dir;
}

static int child_open(int dirfd, const char *name)
{
    return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static int tree_walk(int fd, int depth, tree_fn fn, void *arg)
{
    if (depth > CGROUP_DEPTH_MAX)
        return -ELOOP;
    _cleanup_(cleanup_dir) DIR *dir = dir_open(fd);
    if (!dir)
        return errno == ENOENT ? 0 : -errno;
    struct dirent *e;
    while ((e = readdir(dir))) {
        if (!is_child_dir(fd, e))
            continue;
        _cleanup_close_ int child = child_open(fd, e->d_name);
        int r = child < 0 ? 0 : tree_walk(child, depth + 1, fn, arg);
        if (r < 0)
            return r;
    }
    return fn(fd, arg);
}

// Calls fn for the cgroup and everything below it in one hierarchy. Absent is success.
static int cgroup_walk(const struct cgroup_hierarchy *h, const char *path, tree_fn fn, void *arg)
{
    _cleanup_close_ int fd = cgroup_open(h, path);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    return tree_walk(fd, 0, fn, arg);
}

// ---- making ------------------------------------------------------------------------------------

// v2: hands the controllers that `parent` has on to its children. Each on its own, since one that
// is refused (processes in the parent, a threaded domain) must not cost the others.
static void controllers_enable(int parent)
{
    _cleanup_free_ char *text = cgroup_read_text(parent, "cgroup.controllers");
    char *save = NULL;
    for (char *name = text ? strtok_r(text, " \n", &save) : NULL; name;
         name = strtok_r(NULL, " \n", &save)) {
        char word[64];
        if (path_format(word, sizeof(word), "+%s", name) == 0)
            (void)file_write_value_at(parent, "cgroup.subtree_control", word);
    }
}

// v1: a new cpuset is empty and takes no process until it has cpus and memory nodes.
static int cpuset_inherit(int parent, int child)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_free_ char *own = cgroup_read_text(child, files[i]);
        if (!own || own[strspn(own, " \n")])
            continue; // not there, or set
        _cleanup_free_ char *value = cgroup_read_text(parent, files[i]);
        if (!value)
            continue;
        int r = file_write_value_at(child, files[i], value);
        if (r < 0)
            return r;
    }
    return 0;
}

// Makes path in one hierarchy. *ret_new is the number of components that were new (the last ones).
static int make_in(const struct cgroup_host *host, const struct cgroup_hierarchy *h,
                   const char *path, size_t *ret_new)
{
    bool cpuset = !host->v2 && cgroup_list_has(h->controllers, "cpuset");
    _cleanup_close_ int at = openat(h->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return -errno;
    *ret_new = 0;
    for (const char *p = path; *p;) {
        char name[NAME_MAX + 1];
        size_t n = strcspn(++p, "/");
        memcpy(name, p, n); // cgroup_path_valid has limited it
        name[n] = '\0';
        p += n;
        if (host->v2)
            controllers_enable(at);
        if (mkdirat(at, name, 0755) == 0)
            ++*ret_new;
        else if (errno != EEXIST)
            return -errno;
        int next = child_open(at, name);
        if (next < 0)
            return -errno;
        int r = cpuset ? cpuset_inherit(at, next) : 0;
        close_fd(&at);
        at = next;
        if (r < 0)
            return r;
    }
    return 0;
}

// Removes the last n components again.
static void unmake_in(const struct cgroup_hierarchy *h, const char *path, size_t n)
{
    _cleanup_free_ char *copy = strdup(path + 1);
    for (; copy && n > 0; n--) {
        if (unlinkat(h->fd, copy, AT_REMOVEDIR) < 0 && errno != ENOENT)
            return;
        char *slash = strrchr(copy, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

int cgroup_make(const struct cgroup_host *h, const char *path, bool *ret_created)
{
    if (!cgroup_path_valid(path))
        return -EINVAL;
    size_t made[CGROUP_HIERARCHIES_MAX] = {0};
    bool created = false;
    int r = 0;
    size_t i;
    for (i = 0; i < h->n && r == 0; i++) {
        r = make_in(h, &h->h[i], path, &made[i]);
        created = created || made[i] > 0;
    }
    if (r < 0) {
        while (i-- > 0)
            unmake_in(&h->h[i], path, made[i]);
        return r;
    }
    *ret_created = created;
    return 0;
}

int cgroup_attach(const struct cgroup_host *h, const char *path, pid_t pid)
{
    char text[32];
    (void)path_format(text, sizeof(text), "%d", (int)pid);
    bool any = false;
    for (size_t i = 0; i < h->n; i++) {
        _cleanup_close_ int fd = cgroup_open(&h->h[i], path);
        if (fd == -ENOENT)
            continue;
        int r = fd < 0 ? fd : file_write_value_at(fd, "cgroup.procs", text);
        if (r < 0)
            return r;
        any = true;
    }
    return any ? 0 : -ENOENT;
}

int cgroup_open_own_procs(const struct cgroup_host *h)
{
    static const char procs[] = "cgroup.procs";
    _cleanup_free_ char *path = NULL;
    int r = cgroup_of_process(h, getpid(), &path);
    if (r < 0)
        return r;
    const struct cgroup_hierarchy *memory = cgroup_hierarchy_find(h, "memory");
    bool root = strcmp(path, "/") == 0; // which cgroup_open does not take
    _cleanup_close_ int dir = root ? -1 : cgroup_open(memory, path);
    if (!root && dir < 0)
        return dir;
    int fd = openat(root ? memory->fd : dir, procs, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

bool cgroup_exists(const struct cgroup_host *h, const char *path)
{
    for (size_t i = 0; i < h->n; i++) {
        _cleanup_close_ int fd = cgroup_open(&h->h[i], path);
        if (fd >= 0)
            return true;
    }
    return false;
}

// ---- removing ----------------------------------------------------------------------------------

// Removes the children of one directory; they are empty by now, since the walk is children first.
static int children_remove(int dirfd, void *arg)
{
    (void)arg;
    _cleanup_(cleanup_dir) DIR *dir = dir_open(dirfd);
    if (!dir)
        return errno == ENOENT ? 0 : -errno;
    int r = 0;
    struct dirent *e;
    while ((e = readdir(dir)))
        if (is_child_dir(dirfd, e) && unlinkat(dirfd, e->d_name, AT_REMOVEDIR) < 0 &&
            errno != ENOENT && r == 0)
            r = -errno;
    return r;
}

static int remove_in(const struct cgroup_hierarchy *h, const char *path)
{
    int r = cgroup_walk(h, path, children_remove, NULL);
    if (r < 0)
        return r;
    if (unlinkat(h->fd, path + 1, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return -errno;
    return 0;
}

int cgroup_remove(const struct cgroup_host *h, const char *path)
{
    if (!cgroup_path_valid(path))
        return -EINVAL;
    int first = 0;
    for (size_t i = 0; i < h->n; i++) {
        int r = remove_in(&h->h[i], path);
        if (r < 0 && first == 0)
            first = r;
    }
    return first;
}

// ---- processes ---------------------------------------------------------------------------------

struct pid_list {
    pid_t *pids;
    size_t n, cap;
};

static void cleanup_pids(struct pid_list *l)
{
    free(l->pids);
}

static int pid_add(struct pid_list *l, pid_t pid)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        pid_t *more = reallocarray(l->pids, cap, sizeof(*more));
        if (!more)
            return -ENOMEM;
        l->pids = more;
        l->cap = cap;
    }
    l->pids[l->n++] = pid;
    return 0;
}

static bool pid_has(const struct pid_list *l, pid_t pid)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->pids[i] == pid)
            return true;
    return false;
}

// Adds the processes of one directory. "0" is one in a pid namespace that cannot see us.
static int pids_collect(int dirfd, void *arg)
{
    _cleanup_free_ char *text = cgroup_read_text(dirfd, "cgroup.procs");
    char *save = NULL;
    for (char *word = text ? strtok_r(text, " \n", &save) : NULL; word;
         word = strtok_r(NULL, " \n", &save)) {
        char *end;
        errno = 0;
        long pid = strtol(word, &end, 10);
        if (errno || *end || pid <= 0 || pid > INT_MAX)
            continue;
        int r = pid_add(arg, (pid_t)pid);
        if (r < 0)
            return r;
    }
    return 0;
}

static int pids_read(const struct cgroup_host *h, const char *path, struct pid_list *ret)
{
    if (!cgroup_path_valid(path))
        return -EINVAL;
    const struct cgroup_hierarchy *hierarchy = cgroup_hierarchy_find(h, "memory");
    return hierarchy ? cgroup_walk(hierarchy, path, pids_collect, ret) : 0;
}

int cgroup_pids(const struct cgroup_host *h, const char *path, pid_t **ret_pids, size_t *ret_n)
{
    _cleanup_(cleanup_pids) struct pid_list list = {0};
    int r = pids_read(h, path, &list);
    if (r < 0)
        return r;
    *ret_n = list.n;
    *ret_pids = take_ptr(list.pids);
    return 0;
}

// Signals pids[0..n), n <= SIGNAL_BATCH, that are still in the cgroup once we hold a descriptor of
// them: so a pid that went to another process in the meantime is never hit.
static int batch_signal(const struct cgroup_host *h, const char *path, const pid_t *pids, size_t n,
                        int signal)
{
    int fds[SIGNAL_BATCH];
    for (size_t i = 0; i < n; i++)
        fds[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
    _cleanup_(cleanup_pids) struct pid_list now = {0};
    int r = pids_read(h, path, &now);
    for (size_t i = 0; i < n; i++) {
        if (r == 0 && fds[i] >= 0 && pid_has(&now, pids[i]) &&
            syscall(SYS_pidfd_send_signal, fds[i], signal, NULL, 0) < 0 && errno != ESRCH)
            r = -errno;
        close_fd(&fds[i]);
    }
    return r;
}

static int thaw(int dirfd, void *arg)
{
    (void)arg;
    (void)file_write_value_at(dirfd, "freezer.state", "THAWED");
    return 0;
}

// Frozen processes die only when they run.
static void thaw_all(const struct cgroup_host *h, const char *path)
{
    const struct cgroup_hierarchy *freezer = h->v2 ? NULL : cgroup_hierarchy_find(h, "freezer");
    if (freezer)
        (void)cgroup_walk(freezer, path, thaw, NULL);
}

// Signals who is there and not in `seen` yet. *ret_news tells whether there was anybody.
static int round_signal(const struct cgroup_host *h, const char *path, int signal,
                        struct pid_list *seen, bool *ret_news)
{
    _cleanup_(cleanup_pids) struct pid_list now = {0}, news = {0};
    int r = pids_read(h, path, &now);
    for (size_t i = 0; i < now.n && r == 0; i++)
        if (!pid_has(seen, now.pids[i])) {
            r = pid_add(&news, now.pids[i]);
            if (r == 0)
                r = pid_add(seen, now.pids[i]);
        }
    for (size_t i = 0; i < news.n && r == 0; i += SIGNAL_BATCH) {
        size_t n = news.n - i < SIGNAL_BATCH ? news.n - i : SIGNAL_BATCH;
        r = batch_signal(h, path, news.pids + i, n, signal);
    }
    *ret_news = news.n > 0;
    return r;
}

// v2: the kernel kills the whole tree in one step, forks included (since 5.14).
static int kill_at_once(const struct cgroup_host *h, const char *path)
{
    _cleanup_close_ int fd = cgroup_open(&h->h[0], path);
    return fd < 0 ? fd : file_write_value_at(fd, "cgroup.kill", "1");
}

int cgroup_signal_all(const struct cgroup_host *h, const char *path, int signal)
{
    _cleanup_(cleanup_pids) struct pid_list seen = {0};
    if (h->v2 && signal == SIGKILL) {
        // Who is there is read for the count alone: a tree that is too deep to walk is killed, too.
        int r = pids_read(h, path, &seen);
        if (kill_at_once(h, path) == 0)
            return r < 0 ? 1 : (int)seen.n;
        seen.n = 0;
    }
    bool news = true;
    for (int round = 0; news && round < SIGNAL_ROUNDS_MAX; round++) {
        int r = round_signal(h, path, signal, &seen, &news);
        if (signal == SIGKILL)
            thaw_all(h, path);
        if (r < 0)
            return r;
    }
    return (int)seen.n;
}

int cgroup_freeze(const struct cgroup_host *h, const char *path, bool frozen)
{
    const struct cgroup_hierarchy *freezer = cgroup_hierarchy_find(h, "freezer");
    if (!freezer)
        return -EOPNOTSUPP;
    _cleanup_close_ int fd = cgroup_open(freezer, path);
    if (fd < 0)
        return fd;
    if (h->v2)
        return file_write_value_at(fd, "cgroup.freeze", frozen ? "1" : "0");
    return file_write_value_at(fd, "freezer.state", frozen ? "FROZEN" : "THAWED");
}

// ---- out of memory -----------------------------------------------------------------------------

static int oom_watch_v1(int dirfd)
{
    _cleanup_close_ int control = openat(dirfd, "memory.oom_control", O_RDONLY | O_CLOEXEC);
    if (control < 0)
        return -errno;
    _cleanup_close_ int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        return -errno;
    char text[64];
    (void)path_format(text, sizeof(text), "%d %d", event, control);
    int r = file_write_value_at(dirfd, "cgroup.event_control", text);
    return r < 0 ? r : take_fd(&event);
}

static int oom_watch_v2(int dirfd)
{
    _cleanup_close_ int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch < 0)
        return -errno;
    char path[64];
    (void)path_format(path, sizeof(path), "/proc/self/fd/%d/memory.events", dirfd);
    return inotify_add_watch(watch, path, IN_MODIFY) < 0 ? -errno : take_fd(&watch);
}

int cgroup_oom_watch(const struct cgroup_host *h, const char *path)
{
    const struct cgroup_hierarchy *memory = cgroup_hierarchy_find(h, "memory");
    if (!memory)
        return -EOPNOTSUPP;
    _cleanup_close_ int fd = cgroup_open(memory, path);
    if (fd < 0)
        return fd;
    return h->v2 ? oom_watch_v2(fd) : oom_watch_v1(fd);
}

uint64_t cgroup_oom_kills(const struct cgroup_host *h, const char *path)
{
    const struct cgroup_hierarchy *memory = cgroup_hierarchy_find(h, "memory");
    _cleanup_close_ int fd = memory ? cgroup_open(memory, path) : -1;
    if (fd < 0)
        return 0;
    _cleanup_free_ char *text =
        cgroup_read_text(fd, h->v2 ? "memory.events" : "memory.oom_control");
    return cgroup_stat_value(text, "oom_kill");
}
