#include "sandbox/undo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "linux/cgroup.h"
#include "linux/mount.h"

// How often, and after what time, it is tried again to remove a cgroup that nobody sits in any
// more.
#define CGROUP_TRIES  100
#define CGROUP_TRY_NS (2 * 1000 * 1000)
// After what time processes that were killed are looked for again.
#define INMATES_TRY_MS 5

static const char *const kind_names[] = {
    [UNDO_PROCESS] = "process", [UNDO_MEMBERS] = "members", [UNDO_UNMOUNT] = "unmount",
    [UNDO_CGROUP] = "cgroup",   [UNDO_INMATES] = "inmates",
};
_Static_assert(ARRAY_SIZE(kind_names) == UNDO_KIND_MAX_, "every kind has a name");

const char *undo_kind_name(enum undo_kind kind)
{
    return kind < UNDO_KIND_MAX_ ? kind_names[kind] : "unknown";
}

int undo_push_path(struct undo *u, enum undo_kind kind, const char *path)
{
    if (u->n == UNDO_MAX)
        return -ENOSPC;
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    u->steps[u->n++] = (struct undo_step){.kind = kind, .path = copy};
    return 0;
}

int undo_push_process(struct undo *u, const struct process_id *process)
{
    if (u->n == UNDO_MAX)
        return -ENOSPC;
    u->steps[u->n++] = (struct undo_step){.kind = UNDO_PROCESS, .process = *process};
    return 0;
}

void undo_done(struct undo *u)
{
    for (size_t i = 0; i < u->n; i++)
        free(u->steps[i].path);
    u->n = 0;
}

// ---- JSON ------------------------------------------------------------------------------------

json_object *undo_to_json(const struct undo *u)
{
    json_object *array = json_object_new_array();
    for (size_t i = 0; array && i < u->n; i++) {
        const struct undo_step *s = &u->steps[i];
        json_object *o = json_object_new_object();
        if (!o || json_object_array_add(array, o) < 0) {
            json_object_put(o);
            json_object_put(array);
            return NULL;
        }
        json_object_object_add(o, "kind", json_object_new_string(undo_kind_name(s->kind)));
        if (s->path)
            json_object_object_add(o, "path", json_object_new_string(s->path));
        if (s->kind == UNDO_PROCESS) {
            json_object_object_add(o, "pid", json_object_new_int(s->process.pid));
            json_object_object_add(o, "start_time",
                                   json_object_new_int64((int64_t)s->process.start_time));
        }
    }
    return array;
}

static int kind_parse(const char *name, enum undo_kind *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++)
        if (strcmp(kind_names[i], name) == 0) {
            *ret = (enum undo_kind)i;
            return 0;
        }
    return -1;
}

static bool below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

// Is that a cgroup of the sandbox's own processes, which has its id in its name? (`dir` is the
// sandbox's.)
static bool is_of_sandbox(const char *path, const char *dir)
{
    const char *id = strrchr(dir, '/');
    return id && id[1] && strstr(strrchr(path, '/'), id + 1);
}

static int step_from_json(struct undo *u, json_object *o, const char *dir, struct error *err)
{
    const char *kind_name = "", *path = NULL;
    int64_t pid = 0, start_time = 0;
    enum undo_kind kind;
    if (json_get_string(o, "kind", &kind_name, err) < 0 ||
        json_get_string(o, "path", &path, err) < 0 || json_get_int(o, "pid", &pid, err) < 0 ||
        json_get_int(o, "start_time", &start_time, err) < 0)
        return -1;
    if (kind_parse(kind_name, &kind) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "undo: unknown kind \"%s\"", kind_name);
    if (kind == UNDO_PROCESS) {
        if (pid <= 1 || pid > INT32_MAX || start_time <= 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "undo: no process that can be ours");
        struct process_id id = {.pid = (pid_t)pid, .start_time = (uint64_t)start_time};
        return undo_push_process(u, &id) < 0 ? error_set(err, STATUS_INTERNAL, "undo: too long")
                                             : 0;
    }
    if (ident_path_check(path, "undo path", err) < 0)
        return -1;
    if (kind == UNDO_INMATES && !is_of_sandbox(path, dir))
        return error_set(err, STATUS_INVALID_ARGUMENT, "undo: cgroup %s is not the sandbox's own",
                         path);
    if (kind != UNDO_CGROUP && kind != UNDO_INMATES && !below(path, dir))
        return error_set(err, STATUS_INVALID_ARGUMENT, "undo: %s is not below %s", path, dir);
    return undo_push_path(u, kind, path) < 0 ? error_set(err, STATUS_INTERNAL, "undo: too long")
                                             : 0;
}

int undo_from_json(struct undo *u, json_object *array, const char *dir, struct error *err)
{
    *u = (struct undo){0};
    size_t n = array ? json_object_array_length(array) : 0;
    for (size_t i = 0; i < n; i++) {
        json_object *o = json_object_array_get_idx(array, i);
        if (!json_object_is_type(o, json_type_object)) {
            undo_done(u);
            return error_set(err, STATUS_INVALID_ARGUMENT, "undo: entry %zu is no object", i);
        }
        if (step_from_json(u, o, dir, err) < 0) {
            undo_done(u);
            return -1;
        }
    }
    return 0;
}

// ---- running ---------------------------------------------------------------------------------

// Kills a process by pidfd and waits until it is gone (a zombie counts as gone).
static int end_process(const struct process_id *id)
{
    _cleanup_close_ int fd = process_open(id);
    if (fd == -ESRCH)
        return 0;
    int r = process_signal(id, SIGKILL);
    if (r < 0)
        return r == -ESRCH ? 0 : r;
    if (fd < 0)
        return fd;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    r = poll(&p, 1, UNDO_WAIT_MS);
    return r > 0 ? 0 : r == 0 ? -ETIMEDOUT : -errno;
}

// One round over /proc: kills everything that sits in the namespace file `pin`. Returns the number
// of processes found.
static int end_members_round(const struct stat *pin, const char *kind)
{
    DIR *proc = opendir("/proc");
    if (!proc)
        return -errno;
    int found = 0;
    for (struct dirent *e; (e = readdir(proc));) {
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        if (*end || pid <= 1 || pid == getpid())
            continue;
        char path[64];
        struct stat st;
        struct process_id id;
        if (path_format(path, sizeof path, "/proc/%ld/ns/%s", pid, kind) < 0 ||
            process_identify((pid_t)pid, &id) < 0 || stat(path, &st) < 0 ||
            st.st_ino != pin->st_ino || st.st_dev != pin->st_dev)
            continue;
        // A zombie still names its pid namespace, until somebody else has reaped it.
        if (!process_alive(&id))
            continue;
        found++;
        end_process(&id);
    }
    closedir(proc);
    return found;
}

static int end_members(const char *path)
{
    struct stat pin, own;
    const char *kind = strrchr(path, '/') + 1;
    char own_path[64];
    if (stat(path, &pin) < 0)
        return errno == ENOENT ? 0 : -errno;
    // Not pinned (any more), or the host's: nobody in there is ours.
    if (path_format(own_path, sizeof own_path, "/proc/self/ns/%s", kind) < 0 ||
        stat(own_path, &own) < 0 || pin.st_dev != own.st_dev || pin.st_ino == own.st_ino)
        return 0;
    for (int round = 0; round < 8; round++) {
        int found = end_members_round(&pin, kind);
        if (found <= 0)
            return found;
    }
    return -EBUSY;
}

static bool is_inhabited(const struct cgroup_host *host, const char *path)
{
    pid_t *pids = NULL;
    size_t n = 0;
    int r = cgroup_pids(host, path, &pids, &n);
    free(pids);
    return r < 0 || n > 0;
}

static int remove_cgroup(const char *path)
{
    struct cgroup_host *host = cgroup_host_open();
    if (!host)
        return -errno;
    int r = cgroup_remove(host, path);
    // A process that has ended is out of the list a little before it is out of the cgroup.
    for (int i = 0; r == -EBUSY && i < CGROUP_TRIES && !is_inhabited(host, path); i++) {
        nanosleep(&(struct timespec){.tv_nsec = CGROUP_TRY_NS}, NULL);
        r = cgroup_remove(host, path);
    }
    cgroup_host_free(host);
    // Whoever sits in it is not ours (the members of our namespaces are gone by now): another pod
    // was given the same parent.
    return r == -EBUSY ? 0 : r;
}

static int kill_inmates(const char *path)
{
    struct cgroup_host *host = cgroup_host_open();
    if (!host)
        return -errno;
    int r = 1;
    for (int i = 0; r > 0 && i < UNDO_WAIT_MS / INMATES_TRY_MS; i++) {
        r = cgroup_signal_all(host, path, SIGKILL);
        if (r > 0)
            r = is_inhabited(host, path);
        if (r > 0)
            nanosleep(&(struct timespec){.tv_nsec = INMATES_TRY_MS * 1000 * 1000}, NULL);
    }
    cgroup_host_free(host);
    return r > 0 ? -ETIMEDOUT : r;
}

static int run_step(const struct undo_step *s)
{
    switch (s->kind) {
    case UNDO_PROCESS:
        return end_process(&s->process);
    case UNDO_MEMBERS:
        return end_members(s->path);
    case UNDO_UNMOUNT:
        return mount_remove_below(s->path);
    case UNDO_CGROUP:
        return remove_cgroup(s->path);
    case UNDO_INMATES:
        return kill_inmates(s->path);
    case UNDO_KIND_MAX_:
        break;
    }
    return -EINVAL;
}

int undo_run(const struct undo *u, struct error *err)
{
    int failed = 0;
    for (size_t i = u->n; i-- > 0;) {
        const struct undo_step *s = &u->steps[i];
        int r = run_step(s);
        if (r < 0 && !failed) {
            failed = 1;
            error_errno(err, r, "cannot undo %s %s", undo_kind_name(s->kind),
                        s->path ? s->path : "");
        }
    }
    return failed ? -1 : 0;
}
