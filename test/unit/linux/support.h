// Helpers of this folder's tests. Each Criterion test is a process of its own, so it may take a
// mount namespace and leave it to the kernel to clean up.
#ifndef TEST_UNIT_LINUX_SUPPORT_H
#define TEST_UNIT_LINUX_SUPPORT_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// A private mount namespace with an empty tmpfs on /mnt.
static inline void support_private_mounts(void)
{
    cr_assert_eq(unshare(CLONE_NEWNS), 0, "unshare: %s", strerror(errno));
    cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    cr_assert_eq(mount("test", "/mnt", "tmpfs", 0, NULL), 0, "tmpfs: %s", strerror(errno));
}

static inline void support_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    cr_assert(f, "%s: %s", path, strerror(errno));
    fputs(text, f);
    cr_assert_eq(fclose(f), 0, "%s: %s", path, strerror(errno));
}

static inline void support_read(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    cr_assert(f, "%s: %s", path, strerror(errno));
    size_t n = fread(out, 1, size - 1, f);
    out[n] = '\0';
    fclose(f);
}

static inline void support_mkdir(const char *path)
{
    cr_assert_eq(mkdir(path, 0755), 0, "%s: %s", path, strerror(errno));
}

static inline void support_pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

// A child that sleeps until it is killed.
static inline pid_t support_sleeper(void)
{
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    return pid;
}

// The status of a child, as waitpid tells it; fails the test after 5 seconds.
static inline int support_wait(pid_t pid)
{
    int status;
    for (int i = 0; i < 500; i++) {
        pid_t r = waitpid(pid, &status, WNOHANG);
        if (r == pid)
            return status;
        cr_assert_eq(r, 0, "waitpid %d: %s", (int)pid, strerror(errno));
        support_pause_ms(10);
    }
    cr_assert_fail("process %d did not end", (int)pid);
    return -1;
}

// Line "Key:\tvalue" of /proc/<pid>/status.
static inline void support_status(pid_t pid, const char *key, char *out, size_t size)
{
    char path[64], text[8192] = "\n", line[64];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    support_read(path, text + 1, sizeof(text) - 1);
    snprintf(line, sizeof(line), "\n%s:\t", key);
    char *at = strstr(text, line);
    cr_assert(at, "no %s in %s", key, path);
    at += strlen(line);
    snprintf(out, size, "%.*s", (int)strcspn(at, "\n"), at);
}

#endif
