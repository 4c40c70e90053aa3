// One sandboxer per state directory, and none while a job of a dead one is at work.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "sandbox/daemon.h"

static const struct sandbox_ops no_ops;

// Runs a sandboxer on `dir` in a child, which must not hold our lock.
static pid_t run(const char *dir, int lock_fd)
{
    static char listen[128], err[128];
    snprintf(listen, sizeof listen, "%s/s.sock", dir);
    snprintf(err, sizeof err, "%s/err", dir);
    const struct sandboxer kind = {.name = "test-sandboxer",
                                   .version = "0",
                                   .dir = dir,
                                   .listen = listen,
                                   .config = "/nonexistent",
                                   .task_program = "/bin/false",
                                   .libexec_dir = "/nonexistent",
                                   .ops = &no_ops};
    char *argv[] = {(char *)"test-sandboxer", (char *)"--log-level", (char *)"error", NULL};
    pid_t pid = fork();
    if (pid == 0) {
        close(lock_fd);
        // It would take a mount namespace of its own, and leave it on the host.
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            _exit(99);
        int fd = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, 2);
        _exit(sandboxer_main(&kind, 3, argv));
    }
    return pid;
}

static int lock(const char *dir)
{
    char path[128];
    snprintf(path, sizeof path, "%s/sandboxer.lock", dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    cr_assert_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
}

static bool has_recovered(const char *dir)
{
    char path[128];
    snprintf(path, sizeof path, "%s/sandboxes", dir);
    return access(path, F_OK) == 0;
}

Test(daemon, waits_for_the_jobs_of_a_dead_one)
{
    char dir[] = "/tmp/daemon-test.XXXXXX";
    cr_assert(mkdtemp(dir));
    int fd = lock(dir), status = -1;
    pid_t pid = run(dir, fd);
    usleep(300 * 1000);
    cr_expect(!has_recovered(dir));
    close(fd);
    for (int i = 0; i < 300 && !has_recovered(dir); i++)
        usleep(10 * 1000);
    cr_expect(has_recovered(dir));
    usleep(100 * 1000);
    kill(pid, SIGTERM);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", (unsigned)status);
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, dir), 0);
}

Test(daemon, refuses_to_be_the_second)
{
    char dir[] = "/tmp/daemon-test.XXXXXX", path[128], text[256] = "";
    cr_assert(mkdtemp(dir));
    int fd = lock(dir), status = -1;
    pid_t pid = run(dir, fd);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%x", (unsigned)status);
    cr_expect(!has_recovered(dir));
    snprintf(path, sizeof path, "%s/err", dir);
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    cr_assert(f && fgets(text, sizeof text, f));
    cr_expect(strstr(text, "another sandboxer already runs on"), "%s", text);
    close(fd);
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, dir), 0);
}
