#include "task/remote_volume.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "linux/mount.h"

// In a mount namespace of its own: <root> is a tmpfs with sandbox/shared/ and source/.
static const char root[] = "/tmp";

static void make_dir(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    cr_assert(mkdir(path, 0755) == 0, "%s: %s", path, strerror(errno));
}

static void make_root(void)
{
    cr_assert(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
              mount("test", root, "tmpfs", 0, NULL) == 0);
    umask(0);
    make_dir("sandbox");
    make_dir("sandbox/shared");
    make_dir("sandbox/shared/c1");
    make_dir("sandbox/shared/c2");
    make_dir("source");
    make_dir("source/inside");
}

TestSuite(remote_volume, .init = make_root, .timeout = 60);

static int show(const char *container, const char *name, const char *source,
                enum remote_access access, struct error *err)
{
    struct remote_share share = {.source = (char *)source, .access = access};
    snprintf(share.name, sizeof(share.name), "%s", name);
    return remote_volume_show("/tmp/sandbox", container, &share, err);
}

static void shown(const char *container, const char *name, const char *source,
                  enum remote_access access)
{
    struct error err = {0};
    cr_assert_eq(show(container, name, source, access, &err), 0, "%s", err.text);
}

static void hidden(const char *container)
{
    struct error err = {0};
    cr_assert_eq(remote_volumes_hide("/tmp/sandbox", container, &err), 0, "%s", err.text);
}

static size_t count(const char *pattern)
{
    glob_t found;
    size_t n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    if (n)
        globfree(&found);
    return n;
}

static size_t volumes(void)
{
    return count("/tmp/sandbox/shared/volumes/*");
}

static bool has(const char *container, const char *name, const char *below)
{
    char path[256];
    snprintf(path, sizeof(path), "/tmp/sandbox/shared/%s/%s/%s", container, name, below);
    return access(path, F_OK) == 0;
}

static ino_t volume_of(const char *container, const char *name)
{
    char path[256], to[256] = "";
    struct stat st;
    snprintf(path, sizeof(path), "/tmp/sandbox/shared/%s/%s", container, name);
    cr_assert_gt(readlink(path, to, sizeof(to) - 1), 0, "%s is no link", path);
    cr_assert_eq(strncmp(to, "../volumes/", 11), 0, "%s", to);
    snprintf(path, sizeof(path), "/tmp/sandbox/shared/volumes/%s", to + 11);
    cr_assert_eq(mount_is_mounted(path), 1, "%s", path);
    cr_assert_eq(stat(path, &st), 0);
    return st.st_ino;
}

Test(remote_volume, who_has_none_leaves_nothing)
{
    hidden("c1");
    cr_expect_eq(count("/tmp/sandbox/*"), 1);
}

Test(remote_volume, two_containers_have_one)
{
    shown("c1", "m0", "/tmp/source", REMOTE_RW);
    shown("c2", "m5", "/tmp/../tmp/source/", REMOTE_RW);
    cr_expect_eq(volumes(), 1);
    cr_expect(has("c1", "m0", "inside") && has("c2", "m5", "inside"));
    cr_expect_eq(volume_of("c1", "m0"), volume_of("c2", "m5"));
    hidden("c1");
    cr_expect(volumes() == 1 && has("c2", "m5", "inside"), "the other still has it");
    hidden("c1");
    cr_expect(has("c2", "m5", "inside"), "twice is once");
    hidden("c2");
    cr_expect_eq(volumes(), 0);
    cr_expect_eq(count("/tmp/sandbox/volumes/*"), 0);
    cr_expect(access("/tmp/source/inside", F_OK) == 0, "what was shown is as it was");
}

Test(remote_volume, one_container_has_it_twice)
{
    shown("c1", "m0", "/tmp/source", REMOTE_RW);
    shown("c1", "m1", "/tmp/source", REMOTE_RW);
    cr_expect_eq(volumes(), 1);
    cr_expect(has("c1", "m0", "inside") && has("c1", "m1", "inside"));
    hidden("c1");
    cr_expect_eq(volumes(), 0);
}

Test(remote_volume, what_is_read_only_is_apart)
{
    shown("c1", "m0", "/tmp/source", REMOTE_RO);
    shown("c2", "m0", "/tmp/source", REMOTE_RW);
    shown("c2", "m1", "/tmp/source", REMOTE_RRO);
    cr_expect_eq(volumes(), 3);
    cr_expect(mkdir("/tmp/sandbox/shared/c1/m0/new", 0755) < 0 && errno == EROFS);
    cr_expect(mkdir("/tmp/sandbox/shared/c2/m1/new", 0755) < 0 && errno == EROFS);
    cr_expect_eq(mkdir("/tmp/sandbox/shared/c2/m0/new", 0755), 0);
    cr_expect(has("c1", "m0", "new"));
    hidden("c2");
    cr_expect(volumes() == 1 && has("c1", "m0", "new"));
}

// A directory that was made anew, and one on which something else is mounted.
Test(remote_volume, another_thing_of_the_same_name_is_another)
{
    shown("c1", "m0", "/tmp/source", REMOTE_RW);
    cr_assert_eq(rename("/tmp/source", "/tmp/was"), 0);
    make_dir("source");
    make_dir("source/later");
    shown("c2", "m0", "/tmp/source", REMOTE_RW);
    cr_expect(has("c1", "m0", "inside") && !has("c1", "m0", "later"));
    cr_expect(has("c2", "m0", "later") && !has("c2", "m0", "inside"));
    cr_assert_eq(mount("other", "/tmp/source", "tmpfs", 0, NULL), 0);
    shown("c2", "m1", "/tmp/source", REMOTE_RW);
    cr_expect(!has("c2", "m1", "later") && has("c2", "m0", "later"));
    hidden("c1");
    hidden("c2");
    cr_expect_eq(volumes(), 0);
}

Test(remote_volume, a_file_and_what_no_guest_can_have)
{
    struct error err = {0};
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/tmp/socket"};
    _cleanup_close_ int fd = creat("/tmp/file", 0644);
    _cleanup_close_ int s = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert(fd >= 0 && write(fd, "x", 1) == 1);
    cr_assert_eq(bind(s, (const struct sockaddr *)&address, sizeof(address)), 0);
    shown("c1", "m0", "/tmp/file", REMOTE_RO);
    cr_expect(open("/tmp/sandbox/shared/c1/m0", O_WRONLY | O_CLOEXEC) < 0 && errno == EROFS);
    cr_expect_eq(show("c1", "m1", "/tmp/socket", REMOTE_RW, &err), -1);
    cr_expect(err.status == STATUS_UNIMPLEMENTED && strstr(err.text, "/tmp/socket: is a socket"),
              "%s", err.text);
    cr_expect_eq(show("c1", "m1", "/tmp/absent", REMOTE_RW, &err), -1);
    cr_expect(err.status == STATUS_NOT_FOUND && strstr(err.text, "/tmp/absent"), "%s", err.text);
    cr_expect_eq(volumes(), 1);
    hidden("c1");
    cr_expect_eq(volumes(), 0);
}

// By who was killed before it was mounted, or before it was taken away.
Test(remote_volume, what_is_half_done_is_finished)
{
    char path[256];
    glob_t found;
    shown("c1", "m0", "/tmp/source", REMOTE_RW);
    cr_assert_eq(glob("/tmp/sandbox/shared/volumes/*", 0, NULL, &found), 0);
    snprintf(path, sizeof(path), "%s", found.gl_pathv[0]);
    globfree(&found);
    cr_assert_eq(mount_remove(path), 0);
    shown("c2", "m0", "/tmp/source", REMOTE_RW);
    cr_expect(has("c1", "m0", "inside") && has("c2", "m0", "inside"));
    cr_assert_eq(mount_remove(path), 0);
    hidden("c1");
    hidden("c2");
    cr_expect_eq(volumes(), 0);
    hidden("c3");
    struct error err = {0};
    cr_expect_eq(remote_volumes_hide("/tmp/absent", "c1", &err), 0, "%s", err.text);
}

// Jobs of containers that are created and removed at the same time.
Test(remote_volume, many_at_once)
{
    enum { JOBS = 16 };
    pid_t pids[JOBS];
    for (int i = 0; i < JOBS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct error err = {0};
            char container[16], path[64];
            int r = 0;
            snprintf(container, sizeof(container), "job%d", i);
            snprintf(path, sizeof(path), "/tmp/sandbox/shared/%s", container);
            for (int round = 0; r == 0 && round < 10; round++) {
                r = mkdir(path, 0755) | show(container, "m0", "/tmp/source", REMOTE_RW, &err);
                r |= has(container, "m0", "inside") ? 0 : -1;
                r |= remote_volumes_hide("/tmp/sandbox", container, &err);
                strcat(path, "/m0");
                r |= unlink(path);
                path[strlen(path) - 3] = '\0';
                r |= rmdir(path);
            }
            _exit(r ? 1 : 0);
        }
        cr_assert_gt(pids[i], 0);
    }
    for (int i = 0; i < JOBS; i++) {
        int status = -1;
        cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
        cr_expect_eq(status, 0, "job %d", i);
    }
    cr_expect_eq(volumes(), 0);
}
