#include "ctl/find_containerd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "ctl/trust.h"

// What the kernel puts behind the path of a program whose file has gone, as an upgrade does.
#define DELETED " (deleted)"

// Everything is read through a descriptor of /proc/PID: that is one process, also when its number
// is given to another meanwhile.
static int open_process(const struct doctor *d, pid_t pid)
{
    char path[PATH_MAX];
    if (doctor_path(d, path, sizeof path, "/proc/%d", (int)pid) < 0)
        return -1;
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

// Reads a file of /proc/PID; text is NUL-terminated, and empty where it cannot be read.
static size_t read_file(int proc, const char *name, char *text, size_t size)
{
    _cleanup_close_ int fd = openat(proc, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    n = n < 0 ? 0 : n;
    text[n] = '\0';
    return (size_t)n;
}

static bool read_link(int dir, const char *name, char *text, size_t size)
{
    ssize_t n = readlinkat(dir, name, text, size);
    if (n <= 0 || (size_t)n == size)
        return false;
    text[n] = '\0';
    return true;
}

// ---- does it count? -----------------------------------------------------------------------------

static int check_user(int proc, struct error *err)
{
    char text[4096];
    unsigned real, effective, saved, us = geteuid();
    read_file(proc, "status", text, sizeof text);
    const char *line = strstr(text, "\nUid:"); // a line break in the name is escaped
    if (!line || sscanf(line, "\nUid: %u %u %u", &real, &effective, &saved) != 3)
        return error_set(err, STATUS_FAILED_PRECONDITION, "its user is not known");
    if (real == us && effective == us && saved == us)
        return 0;
    return error_set(err, STATUS_FAILED_PRECONDITION, "it runs as user %u (effective %u, saved %u)",
                     real, effective, saved);
}

static int check_namespace(const struct doctor *d, int proc, struct error *err)
{
    char self[PATH_MAX], ours[64], its[64];
    if (doctor_path(d, self, sizeof self, "/proc/self/ns/mnt") == 0 &&
        read_link(AT_FDCWD, self, ours, sizeof ours) &&
        read_link(proc, "ns/mnt", its, sizeof its) && strcmp(ours, its) == 0)
        return 0;
    return error_set(err, STATUS_FAILED_PRECONDITION, "it runs in another mount namespace");
}

// ---- what it was given --------------------------------------------------------------------------

static void take_environment(int proc, struct containerd *c)
{
    char text[32768];
    size_t n = read_file(proc, "environ", text, sizeof text);
    for (size_t i = 0; i < n; i += strlen(text + i) + 1)
        if (strncmp(text + i, "PATH=", 5) == 0)
            snprintf(c->path, sizeof c->path, "%s", text + i + 5);
}

// The value of --config, -c in all the forms that containerd takes.
static const char *config_of(const char *argument, const char *next)
{
    argument += argument[0] == '-' && argument[1] == '-';
    if (strcmp(argument, "-config") == 0 || strcmp(argument, "-c") == 0)
        return next;
    if (strncmp(argument, "-config=", 8) == 0)
        return argument + 8;
    return strncmp(argument, "-c=", 3) == 0 ? argument + 3 : NULL;
}

static void take_arguments(int proc, struct containerd *c)
{
    char text[8192];
    size_t n = read_file(proc, "cmdline", text, sizeof text);
    for (size_t i = 0; i < n; i += strlen(text + i) + 1) {
        size_t behind = i + strlen(text + i) + 1;
        const char *value = config_of(text + i, behind < n ? text + behind : NULL);
        if (value && *value)
            snprintf(c->config, sizeof c->config, "%s", value);
    }
}

// ---- all ----------------------------------------------------------------------------------------

static bool take_process(const struct doctor *d, pid_t pid, struct containerd *c, struct error *why)
{
    char exe[PATH_MAX];
    struct error err = {0};
    _cleanup_close_ int proc = open_process(d, pid);
    if (proc < 0 || !read_link(proc, "exe", exe, sizeof exe))
        return false;
    char *deleted = strstr(exe, DELETED);
    bool replaced = deleted && !deleted[strlen(DELETED)];
    if (replaced)
        *deleted = '\0';
    const char *name = strrchr(exe, '/');
    if (!name || strcmp(name, "/containerd") != 0)
        return false;
    if (check_user(proc, &err) < 0 || check_namespace(d, proc, &err) < 0 ||
        trust_program(d, exe, &err) < 0) {
        error_set(why, err.status, "process %d (%s): %s", (int)pid, exe, err.text);
        return false;
    }
    c->pid = pid;
    c->replaced = replaced;
    snprintf(c->program, sizeof c->program, "%s", exe);
    take_environment(proc, c);
    take_arguments(proc, c);
    return true;
}

bool find_containerd(const struct doctor *d, struct containerd *c, struct error *why)
{
    char path[PATH_MAX];
    bool taken = false;
    DIR *dir = doctor_path(d, path, sizeof path, "/proc") == 0 ? opendir(path) : NULL;
    for (const struct dirent *e; dir && !taken && (e = readdir(dir));) {
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        taken = !*end && pid > 0 && take_process(d, (pid_t)pid, c, why);
    }
    if (dir)
        closedir(dir);
    return taken;
}
