#include "vmm/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/services.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "vmm/launch.h"

// Bytes of a guest's console, and of what is kept.
#define CONSOLE_MAX (64 * 1024)
#define FACTS_MAX   512
// Memory of the guest that is run.
#define PROBE_MEMORY ((uint64_t)VMM_MEMORY_MIN_MB << 20)

// ---- one trial ----------------------------------------------------------------------------------

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool said_it(const struct buf *console)
{
    return console->len &&
           memmem(console->data, console->len, GUEST_PROBE_MARK, strlen(GUEST_PROBE_MARK));
}

// Reads until the guest has said it, or has ended, or the time is over. Returns NULL if it has, or
// why not.
static const char *listen_to(int fd, struct buf *console)
{
    const double end = now() + PROBE_SECONDS;
    for (double left; (left = end - now()) > 0;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint8_t chunk[4096];
        if (poll(&p, 1, (int)(left * 1e3) + 1) <= 0)
            continue;
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return "it ended without a word of its guest";
        if (buf_append(console, chunk, (size_t)n) < 0)
            return "its console says too much";
        if (said_it(console))
            return NULL;
    }
    return "its guest says nothing";
}

// Runs a guest and ends it. Returns NULL if it works, or why not.
static const char *try_one(const struct vmm_ops *vmm, const char *dir, uid_t user,
                           const struct vmm_machine *machine, const char *accelerator,
                           struct error *err)
{
    static struct vmm_command c;
    const struct vmm_machine m = {.program = machine->program,
                                  .kernel = machine->kernel,
                                  .initrd = machine->initrd,
                                  .parameters = GUEST_PROBE_PARAMETER,
                                  .accelerator = accelerator,
                                  .vcpus = 1,
                                  .memory = PROBE_MEMORY,
                                  .bare = true};
    int ends[2];
    struct process_id id;
    struct buf console;
    c = (struct vmm_command){0};
    vmm->command(&m, &c);
    if (c.overflow || pipe2(ends, O_CLOEXEC) < 0) {
        error_set(err, STATUS_INTERNAL, "no pipe, or too long a command line");
        return err->text;
    }
    _cleanup_close_ int ours = ends[0];
    _cleanup_close_ int theirs = ends[1];
    const struct launch l = {.argv = c.argv,
                             .dir = dir,
                             .user = user,
                             .own_devices = true,
                             .filtered = true,
                             .dies_with_caller = true,
                             .output = theirs};
    if (launch(&l, &id, err) < 0)
        return err->text;
    close_fd(&theirs);
    buf_init(&console, CONSOLE_MAX);
    const char *why = listen_to(ours, &console);
    buf_free(&console);
    kill(id.pid, SIGKILL); // our child, not waited for: it is nobody else
    waitpid(id.pid, NULL, 0);
    return why;
}

// ---- what is kept -------------------------------------------------------------------------------

// What the answer depends on. Returns 0, or -1: one of the files is missing.
static int facts(const struct vmm_machine *m, char out[FACTS_MAX], struct error *err)
{
    const char *const files[] = {m->program, m->kernel, m->initrd};
    size_t used = 0;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        struct stat st;
        if (stat(files[i], &st) < 0)
            return error_errno(err, errno, "%s", files[i]);
        used += (size_t)snprintf(out + used, FACTS_MAX - used, " %llx:%llu:%lld.%09ld",
                                 (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
                                 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    }
    return 0;
}

// Returns the accelerator that was found for these facts, or NULL.
static const char *known(const struct vmm_ops *vmm, const char *path, const char *want)
{
    const char *found = NULL;
    struct buf b;
    buf_init(&b, FACTS_MAX);
    const char *text = file_read_at(AT_FDCWD, path, &b) == 0 ? buf_cstr(&b) : NULL;
    for (size_t i = 0; text && !found && vmm->accelerators[i]; i++) {
        size_t len = strlen(vmm->accelerators[i]);
        if (strncmp(text, vmm->accelerators[i], len) == 0 && strcmp(text + len, want) == 0)
            found = vmm->accelerators[i];
    }
    buf_free(&b);
    return found;
}

static const char *find(const struct vmm_ops *vmm, const char *dir, uid_t user,
                        const struct vmm_machine *m)
{
    size_t i = 0;
    for (; vmm->accelerators[i + 1]; i++) {
        struct error err = {0};
        const char *why = try_one(vmm, dir, user, m, vmm->accelerators[i], &err);
        if (!why)
            break;
        log_warn("%s: no guest runs by %s here (%s); trying %s", vmm->name, vmm->accelerators[i],
                 why, vmm->accelerators[i + 1]);
    }
    log_info("%s: guests run by %s", vmm->name, vmm->accelerators[i]);
    return vmm->accelerators[i];
}

int probe_accelerator(const struct vmm_ops *vmm, const char *dir, uid_t user, struct vmm_machine *m,
                      struct error *err)
{
    char path[PATH_MAX], lock[PATH_MAX], want[FACTS_MAX], text[FACTS_MAX + 32];
    if (!vmm->accelerators || m->accelerator)
        return 0;
    if (path_format(path, sizeof path, "%s/" PROBE_FILE "%s", dir, vmm->name) < 0 ||
        path_format(lock, sizeof lock, "%s.lock", path) < 0)
        return error_set(err, STATUS_INTERNAL, "state directory: path too long");
    if (facts(m, want, err) < 0)
        return -1;
    _cleanup_close_ int fd = open(lock, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        return error_errno(err, errno, "%s", lock);
    m->accelerator = known(vmm, path, want);
    if (m->accelerator)
        return 0;
    m->accelerator = find(vmm, dir, user, m);
    int n = snprintf(text, sizeof text, "%s%s", m->accelerator, want);
    int r = file_write_atomic_at(AT_FDCWD, path, text, (size_t)n, 0600);
    return r < 0 ? error_errno(err, r, "%s", path) : 0;
}
