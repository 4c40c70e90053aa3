// Finding the hierarchies, and paths: how cgroups are named by the kernel, by OCI specs and by us.
//
// mountinfo and /proc/<pid>/cgroup print cgroups relative to the root of the reader's cgroup
// namespace; what lies outside begins with "/..". A mount may show a subtree only. Our paths are
// relative to the mounts, because that is what can be opened.
#include "linux/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "linux/mountinfo.h"

// Longest component of a path (a file name) and longest slice name.
#define NAME_LEN_MAX 255

static const char *const v1_controllers[] = {
    "cpu",  "cpuacct", "cpuset",   "memory",  "devices", "freezer", "blkio",
    "pids", "net_cls", "net_prio", "hugetlb", "rdma",    "misc",    "perf_event",
};

static void cleanup_buf(struct buf *b)
{
    buf_free(b);
}

static void cleanup_host(struct cgroup_host **h)
{
    cgroup_host_free(*h);
}

// ---- hierarchies -------------------------------------------------------------------------------

bool cgroup_list_has(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ",");
        if (len == n && memcmp(p, word, n) == 0)
            return true;
        p += len + (p[len] == ',');
    }
    return false;
}

static int hierarchy_add(struct cgroup_host *h, int fd, const char *root, const char *controllers)
{
    if (h->n == CGROUP_HIERARCHIES_MAX)
        return -E2BIG;
    struct cgroup_hierarchy *new = &h->h[h->n];
    *new = (struct cgroup_hierarchy){
        .fd = -1, .root = strdup(root), .controllers = strdup(controllers)};
    h->n++; // from here on cgroup_host_free cares for it
    if (!new->root || !new->controllers)
        return -ENOMEM;
    new->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return new->fd < 0 ? -errno : 0;
}

// The controllers among the options of a v1 super block, comma-separated, or its name.
static int v1_name(const char *options, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(v1_controllers); i++)
        if (cgroup_list_has(options, v1_controllers[i])) {
            int r = buf_printf(out, "%s%s", out->len ? "," : "", v1_controllers[i]);
            if (r < 0)
                return r;
        }
    const char *name = strstr(options, "name=");
    if (name && (name == options || name[-1] == ','))
        return buf_printf(out, "%s%.*s", out->len ? "," : "", (int)strcspn(name, ","), name);
    return 0;
}

static bool already_known(const struct cgroup_host *h, const char *controllers)
{
    for (size_t i = 0; i < h->n; i++)
        if (strcmp(h->h[i].controllers, controllers) == 0)
            return true;
    return false;
}

// Takes one line of the mount table if it is a hierarchy of the wanted version that can be seen
// there (a mount may lie under another one).
static int mount_take(struct cgroup_host *h, const struct mountinfo *m)
{
    if (strcmp(m->fstype, h->v2 ? "cgroup2" : "cgroup") != 0)
        return 0;
    _cleanup_(cleanup_buf) struct buf name = {0};
    buf_init(&name, NAME_LEN_MAX);
    int r = h->v2 ? 0 : v1_name(m->super_options, &name);
    if (r < 0)
        return r;
    const char *controllers = buf_cstr(&name);
    if (!controllers)
        return -ENOMEM;
    if ((!h->v2 && name.len == 0) || already_known(h, controllers))
        return 0;
    _cleanup_close_ int fd = open(m->target, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;
    if (fd < 0 || fstatfs(fd, &fs) < 0)
        return 0;
    if (fs.f_type != (h->v2 ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC))
        return 0;
    return hierarchy_add(h, fd, m->root, controllers);
}

// Collects all hierarchies of h->v2's version. The usual place comes first, so that a copy of it
// somewhere else is not preferred.
static int hierarchies_collect(struct cgroup_host *h)
{
    for (int usual = 1; usual >= 0; usual--) {
        _cleanup_(cleanup_buf) struct buf table = {0};
        int r = mountinfo_read(&table);
        if (r < 0)
            return r;
        char *cursor = (char *)table.data;
        struct mountinfo m;
        while (mountinfo_next(&cursor, &m)) {
            if ((strncmp(m.target, "/sys/fs/cgroup", 14) == 0) != usual)
                continue;
            r = mount_take(h, &m);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static void hierarchies_forget(struct cgroup_host *h)
{
    for (size_t i = 0; i < h->n; i++) {
        close_fd(&h->h[i].fd);
        free(h->h[i].root);
        free(h->h[i].controllers);
    }
    h->n = 0;
}

struct cgroup_host *cgroup_host_free(struct cgroup_host *h)
{
    if (h) {
        hierarchies_forget(h);
        free(h);
    }
    return NULL;
}

struct cgroup_host *cgroup_host_open(void)
{
    _cleanup_(cleanup_host) struct cgroup_host *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    int r = hierarchies_collect(h);
    if (r == 0 && !cgroup_hierarchy_find(h, "memory")) {
        hierarchies_forget(h);
        h->v2 = true;
        r = hierarchies_collect(h);
    }
    if (r == 0 && h->n == 0)
        r = -ENODEV;
    if (r < 0) {
        errno = -r;
        return NULL;
    }
    return take_ptr(h);
}

static int fake_v1(struct cgroup_host *h, int rootfd)
{
    for (size_t i = 0; i < ARRAY_SIZE(v1_controllers); i++) {
        _cleanup_close_ int fd =
            openat(rootfd, v1_controllers[i], O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        int r = fd < 0 ? 0 : hierarchy_add(h, fd, "/", v1_controllers[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

struct cgroup_host *cgroup_host_open_at(const char *root, bool v2)
{
    _cleanup_(cleanup_host) struct cgroup_host *h = calloc(1, sizeof(*h));
    _cleanup_close_ int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (!h || fd < 0)
        return NULL;
    h->v2 = v2;
    int r = v2 ? hierarchy_add(h, fd, "/", "") : fake_v1(h, fd);
    if (r < 0) {
        errno = -r;
        return NULL;
    }
    return take_ptr(h);
}

bool cgroup_is_v2(const struct cgroup_host *h)
{
    return h->v2;
}

const struct cgroup_hierarchy *cgroup_hierarchy_find(const struct cgroup_host *h,
                                                     const char *controller)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->v2 || cgroup_list_has(h->h[i].controllers, controller))
            return &h->h[i];
    return NULL;
}

// ---- paths -------------------------------------------------------------------------------------

bool cgroup_path_valid(const char *path)
{
    if (!path || path[0] != '/' || strlen(path) > CGROUP_PATH_MAX)
        return false;
    for (const char *p = path; *p;) {
        size_t n = strcspn(++p, "/");
        if (n == 0 || n > NAME_LEN_MAX || (n == 1 && p[0] == '.') ||
            (n == 2 && p[0] == '.' && p[1] == '.') || memchr(p, '\n', n))
            return false;
        p += n;
    }
    return true;
}

int cgroup_open(const struct cgroup_hierarchy *h, const char *path)
{
    if (!cgroup_path_valid(path))
        return -EINVAL;
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, h->fd, path + 1, &how, sizeof(how));
    return fd < 0 ? -errno : fd;
}

char *cgroup_read_text(int dirfd, const char *name)
{
    struct buf text;
    buf_init(&text, CGROUP_FILE_MAX);
    if (file_read_at(dirfd, name, &text) < 0 || !buf_cstr(&text)) {
        buf_free(&text);
        return NULL;
    }
    return (char *)text.data;
}

// Skips leading "/.." components and counts them.
static const char *skip_ups(const char *path, size_t *ret_ups)
{
    *ret_ups = 0;
    while (strncmp(path, "/..", 3) == 0 && (path[3] == '/' || path[3] == '\0')) {
        path += 3;
        ++*ret_ups;
    }
    return path;
}

int cgroup_path_below_root(const char *root, const char *path, char **ret)
{
    size_t root_ups, path_ups;
    root = skip_ups(root, &root_ups);
    path = skip_ups(path, &path_ups);
    // Different heights: the names in between are nowhere to be read.
    if (root_ups != path_ups)
        return -EXDEV;
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(root, path, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return -EXDEV;
    *ret = strdup(path[n] ? path + n : "/");
    return *ret ? 0 : -ENOMEM;
}

// Finds the line of /proc/<pid>/cgroup ("id:controllers:path") for a controller ("": version 2) and
// cuts it off behind the path, which is returned.
static char *line_find(char *text, const char *controller)
{
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *list = strchr(line, ':');
        char *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        list++;
        bool hit = controller[0] ? cgroup_list_has(list, controller)
                                 : strncmp(line, "0:", 2) == 0 && list[0] == '\0';
        if (hit)
            return path;
    }
    return NULL;
}

int cgroup_of_process(const struct cgroup_host *h, pid_t pid, char **ret)
{
    if (pid <= 0)
        return -ESRCH;
    char file[64];
    (void)path_format(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
    _cleanup_(cleanup_buf) struct buf text = {0};
    buf_init(&text, CGROUP_FILE_MAX);
    int r = file_read_at(AT_FDCWD, file, &text);
    if (r < 0)
        return r == -ENOENT ? -ESRCH : r;
    if (!buf_cstr(&text))
        return -ENOMEM;
    const struct cgroup_hierarchy *memory = cgroup_hierarchy_find(h, "memory");
    const char *path = memory ? line_find((char *)text.data, h->v2 ? "" : "memory") : NULL;
    if (!path)
        return -ENOENT;
    static const char deleted[] = " (deleted)";
    size_t n = strlen(path), d = sizeof(deleted) - 1;
    if (n > d && strcmp(path + n - d, deleted) == 0)
        return -ENOENT;
    return cgroup_path_below_root(memory->root, path, ret);
}

// ---- paths in specs ----------------------------------------------------------------------------

static bool ends_with(const char *s, size_t len, const char *end)
{
    size_t n = strlen(end);
    return len >= n && memcmp(s + len - n, end, n) == 0;
}

// Appends where systemd puts a slice: "a-b.slice" lies in "a.slice", "-.slice" is the root.
// systemd.slice(5).
static int slice_expand(struct buf *out, const char *slice, size_t len)
{
    if (!ends_with(slice, len, ".slice") || len > NAME_LEN_MAX || memchr(slice, '/', len))
        return -EINVAL;
    size_t stem = len - strlen(".slice");
    if (stem == 1 && slice[0] == '-')
        return 0;
    for (size_t i = 0; i <= stem; i++) {
        if (i < stem && slice[i] != '-')
            continue;
        if (i == 0 || slice[i - 1] == '-' || (i == stem && slice[stem - 1] == '-'))
            return -EINVAL; // an empty part
        int r = buf_printf(out, "/%.*s.slice", (int)i, slice);
        if (r < 0)
            return r;
    }
    return 0;
}

// "slice:prefix:name", as runc's systemd driver reads it: the unit is prefix-name.scope, or the
// name alone if that is a slice itself or there is no prefix.
static int unit_expand(struct buf *out, const char *spec, const char *prefix)
{
    size_t slice_len = (size_t)(prefix - spec);
    prefix++;
    const char *name = strchr(prefix, ':');
    if (!name || name[1] == '\0' || strchr(name + 1, ':') || strchr(spec, '/'))
        return -EINVAL;
    int prefix_len = (int)(name - prefix);
    name++;
    static const char system_slice[] = "system.slice";
    int r = slice_len ? slice_expand(out, spec, slice_len)
                      : slice_expand(out, system_slice, sizeof(system_slice) - 1);
    if (r < 0)
        return r;
    if (ends_with(name, strlen(name), ".slice"))
        return buf_printf(out, "/%s", name);
    return buf_printf(out, "/%.*s%s%s.scope", prefix_len, prefix, prefix_len ? "-" : "", name);
}

int cgroup_path_from_spec(const char *cgroups_path, char **ret)
{
    if (!cgroups_path || !cgroups_path[0] || strlen(cgroups_path) > CGROUP_PATH_MAX)
        return -EINVAL;
    struct buf out;
    buf_init(&out, CGROUP_PATH_MAX);
    size_t len = strlen(cgroups_path);
    const char *colon = strchr(cgroups_path, ':');
    int r;
    if (cgroups_path[0] == '/')
        r = buf_append(&out, cgroups_path, len);
    else if (colon)
        r = unit_expand(&out, cgroups_path, colon);
    else if (!strchr(cgroups_path, '/') && ends_with(cgroups_path, len, ".slice"))
        r = slice_expand(&out, cgroups_path, len);
    else
        r = buf_printf(&out, "/%s", cgroups_path);
    const char *path = r < 0 ? NULL : buf_cstr(&out);
    if (r == 0 && !path)
        r = -ENOMEM;
    if (r == 0 && !cgroup_path_valid(path))
        r = -EINVAL;
    if (r < 0) {
        buf_free(&out);
        return r == -EMSGSIZE ? -EINVAL : r;
    }
    *ret = (char *)out.data;
    return 0;
}
