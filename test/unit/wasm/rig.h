// A bundle and a worker that runs it, for the tests of this folder: what the task server does, step
// by step. Modules are C (modules/), compiled by clang with a C library for WASI; tests are skipped
// where one of them or Wasmtime is missing.
#ifndef TEST_UNIT_WASM_RIG_H
#define TEST_UNIT_WASM_RIG_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "worker/worker.h"

#define RIG_WORKER TEST_BINARY_DIR "/wasm-task/wasm-worker"
#define RIG_ENGINE TEST_BINARY_DIR "/wasm-task/engine-wasmtime.so" // the one that is used
// Longest that a step may take; a worker that takes longer is killed and its test fails.
#define RIG_SECONDS 60

struct rig {
    char dir[64];                          // the bundle
    char cache[96];                        // below it
    pid_t pid;                             // the worker that was started
    int control, ready_end, go, code, out; // our ends; -1: none
    bool hold;  // it is held up when it has found its module, until it is heard
    int filled; // messages before its own
    struct worker_module module;
    struct worker_ready ready;
    char text[64000]; // output, once it has ended
};

static inline int rig_system(const char *const *argv)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void rig_path(const struct rig *r, const char *name, char out[256])
{
    cr_assert_eq(path_format(out, 256, "%s/%s", r->dir, name), 0);
}

static inline void rig_write(const struct rig *r, const char *name, const char *text, mode_t mode)
{
    char path[256];
    rig_path(r, name, path);
    FILE *f = fopen(path, "we");
    cr_assert(f, "%s: %s", path, strerror(errno));
    fputs(text, f);
    cr_assert_eq(fclose(f), 0);
    cr_assert_eq(chmod(path, mode), 0);
}

static inline void rig_mkdir(const struct rig *r, const char *name, mode_t mode)
{
    char path[256];
    rig_path(r, name, path);
    cr_assert_eq(mkdir(path, mode), 0, "%s: %s", path, strerror(errno));
    cr_assert_eq(chmod(path, mode), 0);
}

static inline void rig_open(struct rig *r)
{
    *r = (struct rig){.dir = "/tmp/wasm-test-XXXXXX",
                      .control = -1,
                      .ready_end = -1,
                      .go = -1,
                      .code = -1,
                      .out = -1};
    if (access(RIG_ENGINE, R_OK) < 0)
        cr_skip("wasmtime was not found when this was built");
    cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    cr_assert(mkdtemp(r->dir));
    snprintf(r->cache, sizeof(r->cache), "%s/cache", r->dir);
    rig_mkdir(r, "cache", 0700);
    rig_mkdir(r, "rootfs", 0755);
    rig_mkdir(r, "rootfs/tmp", 01777);
}

static inline void rig_close(struct rig *r)
{
    close_fd(&r->control);
    close_fd(&r->ready_end);
    close_fd(&r->go);
    close_fd(&r->code);
    close_fd(&r->out);
    if (r->dir[5] && strstr(r->dir, "XXXXXX") == NULL)
        cr_expect_eq(file_remove_tree_at(AT_FDCWD, r->dir), 0);
}

// Puts modules/NAME.c, compiled, into the root as NAME.wasm.
static inline void rig_build(struct rig *r, const char *name)
{
    char source[512], to[256];
    snprintf(source, sizeof(source), TEST_DATA "/unit/wasm/modules/%s.c", name);
    cr_assert_eq(path_format(to, sizeof(to), "%s/rootfs/%s.wasm", r->dir, name), 0);
    const char *const argv[] = {"clang", "--target=wasm32-wasi", "-O1", "-o", to, source, NULL};
    if (rig_system(argv) != 0) {
        rig_close(r);
        cr_skip("clang for wasm32-wasi, with its libraries, is missing");
    }
}

// config.json: the members of `process` behind args, all others behind "linux".
static inline void rig_spec(const struct rig *r, const char *args, const char *process,
                            const char *linux_more, const char *more)
{
    char text[8192];
    cr_assert_eq(
        path_format(text, sizeof(text),
                    "{\"ociVersion\":\"1.2.0\",\"process\":{\"cwd\":\"/\",\"args\":[%s]%s},"
                    "\"root\":{\"path\":\"rootfs\"%s},"
                    "\"linux\":{\"namespaces\":[{\"type\":\"mount\"}%s}}",
                    args, process, more, linux_more),
        0);
    rig_write(r, "config.json", text, 0600);
}

// What the worker has, at the numbers of their indices, and from 10 on while they are put there.
static inline void rig_child(const struct rig *r, const int given[WORKER_EXTRA])
{
    int copies[WORKER_EXTRA];
    for (int i = 0; i < WORKER_EXTRA; i++)
        copies[i] = fcntl(given[i], F_DUPFD, 10);
    for (int i = 0; i < WORKER_EXTRA; i++) {
        if (dup2(copies[i], i) < 0)
            _exit(99);
    }
    close_range(WORKER_EXTRA, ~0U, 0);
    execl(RIG_WORKER, RIG_WORKER, "run", "wasmtime", r->cache, "", "", r->dir, NULL);
    _exit(98);
}

// Reads what comes, or 0 for the end.
static inline ssize_t rig_read(int fd, void *buf, size_t size)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, RIG_SECONDS * 1000), 1, "nothing comes");
    return read(fd, buf, size);
}

// Starts it.
static inline void rig_spawn(struct rig *r)
{
    int control[2], ready[2], go[2], out[2];
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
    cr_assert(pipe2(ready, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0 &&
              pipe2(out, O_CLOEXEC) == 0);
    close_fd(&r->code);
    r->code = memfd_create("code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_eq(ftruncate(r->code, WORKER_CODE_MAX), 0);
    r->filled = 0;
    while (r->hold && send(control[1], "", 1, MSG_DONTWAIT) == 1)
        r->filled++;
    const int given[WORKER_EXTRA] = {null, out[1], out[1], control[1], ready[1], go[0], r->code};
    r->pid = fork();
    cr_assert(r->pid >= 0);
    if (r->pid == 0)
        rig_child(r, given);
    close(null);
    close(control[1]);
    close(ready[1]);
    close(go[0]);
    close(out[1]);
    r->control = control[0];
    r->ready_end = ready[0];
    r->go = go[1];
    r->out = out[0];
}

// Hears whether it is ready.
static inline enum status rig_hear(struct rig *r)
{
    r->module = (struct worker_module){0};
    r->ready = (struct worker_ready){0};
    for (; r->filled > 0; r->filled--)
        cr_assert_eq(rig_read(r->control, &r->module, sizeof(r->module)), 1);
    (void)rig_read(r->control, &r->module, sizeof(r->module));
    cr_assert_eq(rig_read(r->ready_end, &r->ready, sizeof(r->ready)), sizeof(r->ready));
    close_fd(&r->control);
    close_fd(&r->ready_end);
    return r->ready.err.status;
}

static inline enum status rig_start(struct rig *r)
{
    rig_spawn(r);
    return rig_hear(r);
}

static inline void rig_go(struct rig *r)
{
    cr_assert_eq(write(r->go, "R", 1), 1);
    close_fd(&r->go);
}

// Its exit code as a shell shows it, or that of the process in which it went on. Collects its
// output.
static inline int rig_wait(struct rig *r)
{
    size_t len = strlen(r->text);
    int status = 0;
    close_fd(&r->go);
    for (ssize_t n = 1; n > 0; len += n > 0 ? (size_t)n : 0)
        n = rig_read(r->out, r->text + len, sizeof(r->text) - 1 - len);
    r->text[len] = '\0';
    for (pid_t pid; (pid = wait(&status)) > 0;)
        ;
    close_fd(&r->out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Start, go, end.
static inline int rig_run(struct rig *r)
{
    r->text[0] = '\0';
    if (rig_start(r) == STATUS_OK)
        rig_go(r);
    return rig_wait(r);
}

#endif
