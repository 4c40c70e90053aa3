// containerd runs the shim with -info once per handler when it starts, and again whenever a
// container has id-mapped mounts. A handler without features loses read-only-recursive mounts and
// user namespaces, and some containerd versions crash on it. So the answer must be quick and must
// always come.
//
// The cache is one file per program path, in a directory that only we can write to. Its first line
// is the identity of the program file (path, device, inode, size, times); behind it comes the
// program's JSON. Another identity, another owner, or text that is not what we would take from the
// program itself: the file counts for nothing and is written anew.
#include "shim/features.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

// What any runtime does. Nothing here that a container could rely on in vain: recursive read-only
// mounts ("rro"), user namespaces and id-mapped mounts are missing on purpose.
static const char built_in[] =
    "{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.0.2\","
    "\"mountOptions\":[\"bind\",\"nodev\",\"noexec\",\"nosuid\",\"private\",\"rbind\",\"ro\","
    "\"rprivate\",\"rshared\",\"rslave\",\"rw\",\"shared\",\"slave\"],"
    "\"linux\":{\"namespaces\":[\"cgroup\",\"ipc\",\"mount\",\"network\",\"pid\",\"uts\"]}}";

#define IDENTITY_MAX (PATH_MAX + 256)

// Is this an executable file? Then its identity, one line.
static bool identify(const char *path, char identity[IDENTITY_MAX])
{
    struct stat st;
    if (access(path, X_OK) < 0 || stat(path, &st) < 0 || !S_ISREG(st.st_mode) || strchr(path, '\n'))
        return false;
    return path_format(identity, IDENTITY_MAX, "features 3 %jx %ju %jd %jd.%09ld %jd.%09ld %s\n",
                       (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, (intmax_t)st.st_size,
                       (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (intmax_t)st.st_ctim.tv_sec,
                       st.st_ctim.tv_nsec, path) == 0;
}

// Looks the program up. Returns 0 or -1.
static int find_program(const char *engine, char path[PATH_MAX], char identity[IDENTITY_MAX])
{
    if (strchr(engine, '/'))
        return engine[0] == '/' && path_format(path, PATH_MAX, "%s", engine) == 0 &&
                       identify(path, identity)
                   ? 0
                   : -1;
    const char *dirs = getenv("PATH");
    for (const char *p = dirs ? dirs : "/usr/sbin:/usr/bin:/sbin:/bin"; *p;) {
        size_t len = strcspn(p, ":");
        if (p[0] == '/' && path_format(path, PATH_MAX, "%.*s/%s", (int)len, p, engine) == 0 &&
            identify(path, identity))
            return 0;
        p += len;
        p += *p == ':';
    }
    return -1;
}

// A features document that containerd can use: it unmarshals into a struct, and a wrong type costs
// the handler all its features.
static int check_features(const void *data, size_t len, struct error *err)
{
    _cleanup_json_ json_object *doc = json_parse(data, len, "features", err);
    if (!doc)
        return -1;
    const char *version = NULL;
    json_object *options = NULL, *lin = NULL, *namespaces = NULL;
    if (!json_object_is_type(doc, json_type_object))
        return error_set(err, STATUS_INVALID_ARGUMENT, "features: not an object");
    if (json_get_string(doc, "ociVersionMax", &version, err) < 0 ||
        json_get_array(doc, "mountOptions", &options, err) < 0 ||
        json_get_object(doc, "linux", &lin, err) < 0 ||
        (lin && json_get_array(lin, "namespaces", &namespaces, err) < 0))
        return error_wrap(err, "features");
    return version ? 0 : error_set(err, STATUS_INVALID_ARGUMENT, "features: no ociVersionMax");
}

// FNV-1a: a file name for a path. Two paths with one name only take turns in the cache.
static void cache_name(const char *path, char name[40])
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *p = path; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    (void)path_format(name, 40, "features-%016" PRIx64, hash);
}

// The cache directory, if nobody but us can write to it. Returns a descriptor or -1.
static int open_cache(const char *dir)
{
    if (file_mkdir_all(dir, 0700) < 0)
        return -1;
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022))
        return -1;
    return take_fd(&fd);
}

// Appends the cached features. Returns 0 or -1 (`out` is unchanged).
static int cache_read(int dir, const char *name, const char *identity, struct buf *out)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_uid != geteuid() ||
        (st.st_mode & 077))
        return -1;
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, FEATURES_SIZE_MAX + IDENTITY_MAX);
    size_t head = strlen(identity);
    if (file_read_at(dir, name, &text) < 0 || text.len <= head ||
        memcmp(text.data, identity, head) != 0)
        return -1;
    buf_consume(&text, head);
    if (check_features(text.data, text.len, NULL) < 0)
        return -1;
    return buf_append(out, text.data, text.len) < 0 ? -1 : 0;
}

// Best effort: without a cache the next caller asks the program again.
static void cache_write(int dir, const char *name, const char *identity, const struct buf *features)
{
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, FEATURES_SIZE_MAX + IDENTITY_MAX);
    if (buf_append(&text, identity, strlen(identity)) == 0 &&
        buf_append(&text, features->data, features->len) == 0)
        (void)file_write_atomic_at(dir, name, text.data, text.len, 0600);
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

// Reads until the end of the pipe, the limit or the deadline. Returns 0 or a negative errno.
static int read_all(int fd, int64_t deadline, struct buf *out)
{
    for (;;) {
        int64_t left = deadline - now_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return ready < 0 ? -errno : -ETIMEDOUT;
        char piece[4096];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = buf_append(out, piece, (size_t)n);
        if (r < 0)
            return r;
    }
}

// Waits for the program's end. Returns its exit code, or -ETIMEDOUT.
static int wait_exit(pid_t pid, int64_t deadline)
{
    int status = 0;
    for (;;) {
        pid_t r = waitpid(pid, &status, WNOHANG);
        if (r == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (r < 0 && errno != EINTR)
            return -errno;
        // Its output has ended, so it is about to.
        if (now_ms() >= deadline)
            return -ETIMEDOUT;
        (void)poll(NULL, 0, 1);
    }
}

// Starts `<path> features` in a process group of its own, standard output in a pipe whose read end
// is *ret_fd. Returns 0 or a negative errno.
static int spawn_features(const char *path, pid_t *ret_pid, int *ret_fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    char program[PATH_MAX], verb[] = "features";
    (void)path_format(program, sizeof program, "%s", path);
    char *const argv[] = {program, verb, NULL};
    int r = posix_spawn(ret_pid, path, &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (r != 0)
        close(ends[0]);
    else
        *ret_fd = ends[0];
    return -r;
}

// Asks the program. Returns 0 or -1 (`out` is unchanged).
static int ask_program(const char *path, struct buf *out, struct error *err)
{
    pid_t pid = 0;
    _cleanup_close_ int fd = -1;
    int r = spawn_features(path, &pid, &fd);
    if (r < 0)
        return error_errno(err, r, "%s features", path);

    _cleanup_(buf_free) struct buf text;
    buf_init(&text, FEATURES_SIZE_MAX);
    int64_t deadline = now_ms() + FEATURES_TIMEOUT * 1000;
    r = read_all(fd, deadline, &text);
    int code = r < 0 ? r : wait_exit(pid, deadline);
    if (code < 0) {
        // Whatever it left behind goes too; the zombie ends with us.
        (void)kill(-pid, SIGKILL);
        return error_errno(err, code, "%s features", path);
    }
    if (code != 0)
        return error_set(err, STATUS_UNKNOWN, "%s features: exit status %d", path, code);
    if (check_features(text.data, text.len, err) < 0)
        return error_wrap(err, "%s", path);
    r = buf_append(out, text.data, text.len);
    return r < 0 ? error_errno(err, r, "features") : 0;
}

static int find_features(const char *engine, const char *dir, struct buf *out, struct error *err)
{
    char path[PATH_MAX], identity[IDENTITY_MAX], name[40];
    if (find_program(engine, path, identity) < 0)
        return error_set(err, STATUS_NOT_FOUND,
                         "%s: no such program in PATH; install it or set `runtime` in the "
                         "configuration",
                         engine);
    cache_name(path, name);
    _cleanup_close_ int cache = open_cache(dir);
    if (cache >= 0 && cache_read(cache, name, identity, out) == 0)
        return 0;
    size_t before = out->len;
    if (ask_program(path, out, err) < 0)
        return -1;
    if (cache >= 0) {
        const struct buf added = {.data = out->data + before, .len = out->len - before};
        cache_write(cache, name, identity, &added);
    }
    return 0;
}

int features_get(const char *engine, const char *dir, struct buf *out, struct error *err)
{
    if (find_features(engine, dir, out, err) == 0)
        return 0;
    (void)buf_append(out, built_in, sizeof built_in - 1);
    return -1;
}
