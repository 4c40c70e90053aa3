// containerd runs `delete` in three situations that the command line does not tell apart:
// - after a normal Delete of a task that it had reloaded when it was restarted: everything is done;
// - when its connection to the task server broke: the server died, or is being replaced;
// - when the task server did not know a task or could not be reached while containerd started.
//
// In none of them is there something that this program could do better than the task server. While
// one listens, its containers are its business, and a container that it has must not be touched:
// killing it here would end a healthy container. When nobody listens, the next server finds what
// the last one left (processes, cgroup, mounts) in its own records and ends it; killing by what a
// bundle says would race with it. The bundle, with the root file system mounted in it, is
// containerd's, and containerd removes it after us. So nothing is changed here: the only duty is a
// valid answer, soon.
#include "shim/delete.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "shim/wire.h"

// Field numbers: containerd api/runtime/task/v3/shim.proto, google/protobuf/timestamp.proto.
#define RESPONSE_PID         1
#define RESPONSE_EXIT_STATUS 2
#define RESPONSE_EXITED_AT   3

// Appends the contents of a file of the bundle. Returns 0 or -1.
static int read_bundle_file(const char *bundle, const char *name, struct buf *out)
{
    _cleanup_close_ int dir = open(bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir >= 0 && file_read_at(dir, name, out) == 0 ? 0 : -1;
}

// "ttrpc+unix:///path", "unix:///path" or "/path". NULL for anything else.
static const char *socket_path(const char *address)
{
    static const char *const prefixes[] = {"ttrpc+unix://", "unix://", ""};
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        size_t len = strlen(prefixes[i]);
        if (strncmp(address, prefixes[i], len) == 0)
            return address[len] == '/' ? address + len : NULL;
    }
    return NULL;
}

void delete_server_path(const char *bundle, const char *fallback, char *out, size_t size)
{
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, BOOTSTRAP_SIZE_MAX);
    _cleanup_json_ json_object *doc = NULL;
    const char *address = NULL, *path = NULL;
    if (read_bundle_file(bundle, "bootstrap.json", &text) == 0)
        doc = json_parse(text.data, text.len, "bootstrap.json", NULL);
    if (json_object_is_type(doc, json_type_object) &&
        json_get_string(doc, "address", &address, NULL) == 0 && address)
        path = socket_path(address);
    if (!path || path_format(out, size, "%s", path) < 0)
        (void)path_format(out, size, "%s", fallback);
}

enum task_server delete_ask_server(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (path_format(addr.sun_path, sizeof addr.sun_path, "%s", path) < 0)
        return TASK_SERVER_UNKNOWN;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return TASK_SERVER_UNKNOWN;
    if (connect(fd, (const struct sockaddr *)(const void *)&addr, sizeof addr) == 0)
        return TASK_SERVER_LISTENS;
    switch (errno) {
    case EAGAIN: // its backlog is full
        return TASK_SERVER_LISTENS;
    case ECONNREFUSED:
    case ENOENT:
        return TASK_SERVER_GONE;
    default:
        return TASK_SERVER_UNKNOWN;
    }
}

uint32_t delete_init_pid(const char *bundle)
{
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, 32);
    const char *digits = read_bundle_file(bundle, "init.pid", &text) == 0 ? buf_cstr(&text) : NULL;
    char *end = NULL;
    unsigned long pid = digits && *digits >= '0' && *digits <= '9' ? strtoul(digits, &end, 10) : 0;
    if (!end || (*end && *end != '\n') || pid > INT32_MAX)
        return 0;
    return (uint32_t)pid;
}

int delete_encode(uint32_t pid, uint32_t exit_status, const struct timespec *exited_at,
                  struct buf *out)
{
    _cleanup_(buf_free) struct buf stamp;
    buf_init(&stamp, out->max);
    int r = wire_put_uint(&stamp, 1, (uint64_t)exited_at->tv_sec);
    if (r == 0)
        r = wire_put_uint(&stamp, 2, (uint64_t)exited_at->tv_nsec);
    if (r == 0)
        r = wire_put_uint(out, RESPONSE_PID, pid);
    if (r == 0)
        r = wire_put_uint(out, RESPONSE_EXIT_STATUS, exit_status);
    if (r == 0)
        r = wire_put_bytes(out, RESPONSE_EXITED_AT, stamp.data, stamp.len);
    return r;
}
