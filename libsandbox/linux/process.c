#include "linux/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

// /proc/<pid>/stat is below 1 KiB; the command name in it is at most 64 bytes.
#define STAT_MAX         4096
#define FIELD_START_TIME 22

static void cleanup_buf(struct buf *b)
{
    buf_free(b);
}

// Parses one stat line. The command name (field 2) may hold anything, also parentheses and blanks,
// so fields are counted behind the last ')'.
static int stat_parse(const char *text, char *ret_state, uint64_t *ret_start)
{
    const char *p = strrchr(text, ')');
    if (!p || p[1] != ' ' || p[2] == '\0')
        return -EINVAL;
    p += 2;
    char state = *p;
    for (int field = 3; field < FIELD_START_TIME; field++) {
        p = strchr(p, ' ');
        if (!p)
            return -EINVAL;
        p++;
    }
    char *end;
    errno = 0;
    unsigned long long start = strtoull(p, &end, 10);
    if (errno || end == p)
        return -EINVAL;
    *ret_state = state;
    *ret_start = start;
    return 0;
}

static int stat_read(pid_t pid, char *ret_state, uint64_t *ret_start)
{
    if (pid <= 0)
        return -ESRCH;
    char path[64];
    int r = path_format(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (r < 0)
        return r;
    _cleanup_(cleanup_buf) struct buf text = {0};
    buf_init(&text, STAT_MAX);
    r = file_read_at(AT_FDCWD, path, &text);
    if (r < 0)
        return r == -ENOMEM ? r : -ESRCH;
    const char *line = buf_cstr(&text);
    if (!line)
        return -ENOMEM;
    return stat_parse(line, ret_state, ret_start) < 0 ? -ESRCH : 0;
}

int process_identify(pid_t pid, struct process_id *ret_id)
{
    char state;
    uint64_t start;
    if (stat_read(pid, &state, &start) < 0)
        return -ESRCH;
    *ret_id = (struct process_id){.pid = pid, .start_time = start};
    return 0;
}

bool process_alive(const struct process_id *id)
{
    char state;
    uint64_t start;
    if (stat_read(id->pid, &state, &start) < 0)
        return false;
    return start == id->start_time && state != 'Z' && state != 'X' && state != 'x';
}

int process_open(const struct process_id *id)
{
    if (id->pid <= 0)
        return -ESRCH;
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, id->pid, 0);
    if (fd < 0)
        return errno == EINVAL ? -ESRCH : -errno; // EINVAL: a thread that is no group leader
    // The descriptor is bound to whoever had the pid; only then is it worth asking who that is.
    struct process_id now;
    int r = process_identify(id->pid, &now);
    if (r < 0)
        return r;
    return now.start_time == id->start_time ? take_fd(&fd) : -ESRCH;
}

int process_signal(const struct process_id *id, int signal)
{
    _cleanup_close_ int fd = process_open(id);
    if (fd < 0)
        return fd;
    return syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) < 0 ? -errno : 0;
}
