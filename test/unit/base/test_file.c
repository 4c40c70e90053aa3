#include "base/file.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

static char dir[64];
static int dirfd_;

static void setup(void)
{
    strcpy(dir, "/tmp/test_file.XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_geq(dirfd_, 0);
}

static void teardown(void)
{
    close(dirfd_);
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, dir), 0);
}

TestSuite(file, .init = setup, .fini = teardown);

static int read_text(const char *name, char *out, size_t max)
{
    struct buf b;
    buf_init(&b, max);
    int r = file_read_at(dirfd_, name, &b);
    if (r == 0)
        strcpy(out, buf_cstr(&b));
    else
        cr_assert_eq(b.len, 0);
    buf_free(&b);
    return r;
}

Test(file, reads_what_was_written)
{
    char text[64];
    cr_assert_eq(file_write_atomic_at(dirfd_, "a", "hello", 5, 0600), 0);
    cr_assert_eq(read_text("a", text, 60), 0);
    cr_assert_str_eq(text, "hello");
    struct stat st;
    cr_assert_eq(fstatat(dirfd_, "a", &st, 0), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
}

Test(file, read_stops_at_the_maximum)
{
    char text[64];
    cr_assert_eq(file_write_atomic_at(dirfd_, "a", "hello", 5, 0600), 0);
    cr_assert_eq(read_text("a", text, 5), 0);
    cr_assert_eq(read_text("a", text, 4), -EFBIG);
    cr_assert_eq(read_text("a", text, 0), -EFBIG);
    cr_assert_eq(file_write_atomic_at(dirfd_, "a", "", 0, 0600), 0);
    cr_assert_eq(read_text("a", text, 0), 0);
}

Test(file, read_takes_large_files_in_pieces)
{
    char *big = malloc(1000000);
    struct buf b;
    memset(big, 'x', 1000000);
    cr_assert_eq(file_write_atomic_at(dirfd_, "big", big, 1000000, 0600), 0);
    buf_init(&b, 1000000);
    cr_assert_eq(file_read_at(dirfd_, "big", &b), 0);
    cr_assert_eq(b.len, 1000000);
    cr_assert_eq(memcmp(b.data, big, b.len), 0);
    buf_free(&b);
    buf_init(&b, 999999);
    cr_assert_eq(file_read_at(dirfd_, "big", &b), -EFBIG);
    buf_free(&b);
    free(big);
}

Test(file, read_appends)
{
    struct buf b;
    buf_init(&b, 16);
    buf_append(&b, "x", 1);
    cr_assert_eq(file_write_atomic_at(dirfd_, "a", "yz", 2, 0600), 0);
    cr_assert_eq(file_read_at(dirfd_, "a", &b), 0);
    cr_assert_str_eq(buf_cstr(&b), "xyz");
    cr_assert_eq(file_read_at(dirfd_, "missing", &b), -ENOENT);
    cr_assert_eq(b.len, 3);
    buf_free(&b);
}

Test(file, reads_proc_files)
{
    struct buf b;
    buf_init(&b, 65536);
    cr_assert_eq(file_read_at(AT_FDCWD, "/proc/self/status", &b), 0);
    cr_assert_eq(strncmp(buf_cstr(&b), "Name:", 5), 0);
    buf_free(&b);
}

Test(file, read_refuses_everything_that_is_no_file, .timeout = 5)
{
    char text[64];
    cr_assert_eq(mkfifoat(dirfd_, "fifo", 0600), 0);
    cr_assert_eq(mkdirat(dirfd_, "dir", 0700), 0);
    cr_assert_eq(symlinkat("/etc/passwd", dirfd_, "link"), 0);
    cr_assert_eq(read_text("fifo", text, 60), -EINVAL);
    cr_assert_eq(read_text("dir", text, 60), -EISDIR);
    cr_assert_eq(read_text("link", text, 60), -ELOOP);
    struct buf b;
    buf_init(&b, 60);
    cr_assert_eq(file_read_at(AT_FDCWD, "/dev/zero", &b), -EINVAL);
    buf_free(&b);
}

Test(file, atomic_write_replaces_and_leaves_nothing_behind)
{
    char text[64];
    cr_assert_eq(file_write_atomic_at(dirfd_, ".a.tmp", "left over", 9, 0600), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "a", "first", 5, 0600), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "a", "second", 6, 0600), 0);
    cr_assert_eq(read_text("a", text, 60), 0);
    cr_assert_str_eq(text, "second");
    cr_assert_eq(faccessat(dirfd_, ".a.tmp", F_OK, 0), -1);
}

Test(file, atomic_write_replaces_a_symlink_instead_of_following_it)
{
    char text[64];
    cr_assert_eq(file_write_atomic_at(dirfd_, "target", "old", 3, 0600), 0);
    cr_assert_eq(symlinkat("target", dirfd_, "a"), 0);
    cr_assert_eq(symlinkat("target", dirfd_, ".a.tmp"), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "a", "new", 3, 0600), 0);
    cr_assert_eq(read_text("target", text, 60), 0);
    cr_assert_str_eq(text, "old");
    cr_assert_eq(read_text("a", text, 60), 0);
    cr_assert_str_eq(text, "new");
}

Test(file, atomic_write_works_below_a_directory_and_reports_errors)
{
    cr_assert_eq(mkdirat(dirfd_, "sub", 0700), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "sub/a", "x", 1, 0600), 0);
    cr_assert_eq(faccessat(dirfd_, "sub/a", F_OK, 0), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "none/a", "x", 1, 0600), -ENOENT);
    cr_assert_eq(file_write_atomic_at(dirfd_, "sub", "x", 1, 0600), -EISDIR);
    cr_assert_eq(file_write_atomic_at(dirfd_, "sub/", "x", 1, 0600), -EINVAL);
    cr_assert_eq(faccessat(dirfd_, ".sub.tmp", F_OK, 0), -1);
}

Test(file, failed_atomic_write_keeps_the_old_contents)
{
    char text[64];
    cr_assert_eq(file_write_atomic_at(dirfd_, "a", "old", 3, 0600), 0);
    cr_assert_eq(mkdirat(dirfd_, ".a.tmp", 0700), 0);
    cr_assert_lt(file_write_atomic_at(dirfd_, "a", "new", 3, 0600), 0);
    cr_assert_eq(read_text("a", text, 60), 0);
    cr_assert_str_eq(text, "old");
}

Test(file, value_needs_an_existing_file)
{
    char text[64];
    cr_assert_eq(file_write_value_at(dirfd_, "v", "1"), -ENOENT);
    cr_assert_eq(file_write_atomic_at(dirfd_, "v", "12345", 5, 0600), 0);
    cr_assert_eq(file_write_value_at(dirfd_, "v", "max"), 0);
    cr_assert_eq(read_text("v", text, 60), 0);
    cr_assert_str_eq(text, "max");
}

Test(file, mkdir_all_makes_every_component)
{
    char path[256];
    struct stat st;
    umask(022);
    snprintf(path, sizeof path, "%s/a//b/c/", dir);
    cr_assert_eq(file_mkdir_all(path, 0711), 0);
    cr_assert_eq(file_mkdir_all(path, 0700), 0);
    cr_assert_eq(fstatat(dirfd_, "a/b", &st, 0), 0);
    cr_assert_eq(st.st_mode & 0777, 0711);
    cr_assert_eq(file_mkdir_all("/", 0700), 0);
    cr_assert_eq(file_mkdir_all("", 0700), -ENOENT);
}

Test(file, mkdir_all_refuses_a_file_or_symlink_at_the_end)
{
    char path[256];
    cr_assert_eq(mkdirat(dirfd_, "real", 0700), 0);
    cr_assert_eq(symlinkat("real", dirfd_, "link"), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "file", "x", 1, 0600), 0);
    snprintf(path, sizeof path, "%s/link", dir);
    cr_assert_eq(file_mkdir_all(path, 0700), -ENOTDIR);
    snprintf(path, sizeof path, "%s/link/sub", dir);
    cr_assert_eq(file_mkdir_all(path, 0700), 0);
    snprintf(path, sizeof path, "%s/file", dir);
    cr_assert_eq(file_mkdir_all(path, 0700), -ENOTDIR);
    snprintf(path, sizeof path, "%s/file/sub", dir);
    cr_assert_eq(file_mkdir_all(path, 0700), -ENOTDIR);
}

Test(file, mkdir_all_refuses_a_path_that_is_too_long)
{
    char path[5000];
    memset(path, '/', sizeof path);
    memset(path + 4500, 'a', 100);
    path[4600] = '\0';
    cr_assert_eq(file_mkdir_all(path, 0700), -ENAMETOOLONG);
}

Test(file, remove_tree_takes_everything_but_follows_nothing)
{
    char path[256];
    snprintf(path, sizeof path, "%s/t/a/b/c", dir);
    cr_assert_eq(file_mkdir_all(path, 0700), 0);
    cr_assert_eq(mkdirat(dirfd_, "keep", 0700), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "keep/x", "x", 1, 0600), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "t/a/x", "x", 1, 0), 0);
    cr_assert_eq(symlinkat("../../keep", dirfd_, "t/a/link"), 0);
    cr_assert_eq(symlinkat("nowhere", dirfd_, "t/dangling"), 0);
    cr_assert_eq(mkfifoat(dirfd_, "t/fifo", 0600), 0);
    cr_assert_eq(file_remove_tree_at(dirfd_, "t"), 0);
    cr_assert_eq(faccessat(dirfd_, "t", F_OK, AT_SYMLINK_NOFOLLOW), -1);
    cr_assert_eq(faccessat(dirfd_, "keep/x", F_OK, 0), 0);
}

Test(file, remove_tree_of_a_symlink_a_file_or_nothing)
{
    cr_assert_eq(mkdirat(dirfd_, "keep", 0700), 0);
    cr_assert_eq(symlinkat("keep", dirfd_, "link"), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "file", "x", 1, 0600), 0);
    cr_assert_eq(file_remove_tree_at(dirfd_, "link"), 0);
    cr_assert_eq(faccessat(dirfd_, "keep", F_OK, 0), 0);
    cr_assert_eq(file_remove_tree_at(dirfd_, "file"), 0);
    cr_assert_eq(file_remove_tree_at(dirfd_, "file"), 0);
    cr_assert_eq(file_remove_tree_at(dirfd_, "none/file"), 0);
}

Test(file, remove_tree_depth_is_limited)
{
    // Made step by step: the whole is longer than a path may be.
    int at = dup(dirfd_), depth = 0;
    for (; depth < 200; depth++) {
        cr_assert_eq(mkdirat(at, "d", 0700), 0);
        int next = openat(at, "d", O_RDONLY | O_DIRECTORY);
        cr_assert_geq(next, 0);
        close(at);
        at = next;
    }
    close(at);
    cr_assert_eq(file_remove_tree_at(dirfd_, "d"), -ENAMETOOLONG);
    // From further down it goes.
    char below[512] = "d";
    for (int i = 1; i < 100; i++)
        strcat(below, "/d");
    cr_assert_eq(file_remove_tree_at(dirfd_, below), 0);
    cr_assert_eq(file_remove_tree_at(dirfd_, "d"), 0);
}

// Runs in a mount namespace of its own; skips where that is not allowed.
static void own_mounts(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        cr_skip_test("needs a mount namespace");
    // The old descriptor looks into the old namespace.
    close(dirfd_);
    dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_geq(dirfd_, 0);
}

static void check_mount_survives(const char *source, const char *type, unsigned long flags)
{
    char path[256], keep[256];
    own_mounts();
    snprintf(path, sizeof path, "%s/t/sub/mnt", dir);
    snprintf(keep, sizeof keep, "%s/keep", dir);
    cr_assert_eq(file_mkdir_all(path, 0700), 0);
    cr_assert_eq(file_mkdir_all(keep, 0700), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "t/sub/other", "x", 1, 0600), 0);
    cr_assert_eq(mount(source ? keep : "none", path, type, flags, NULL), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "t/sub/mnt/x", "x", 1, 0600), 0);
    cr_assert_eq(file_remove_tree_at(dirfd_, "t"), -EBUSY);
    cr_assert_eq(file_remove_tree_at(dirfd_, "t/sub/mnt"), -EBUSY);
    cr_assert_eq(faccessat(dirfd_, "t/sub/mnt/x", F_OK, 0), 0);
    cr_assert_eq(faccessat(dirfd_, "t/sub/other", F_OK, 0), -1);
    cr_assert_eq(umount(path), 0);
    cr_assert_eq(file_remove_tree_at(dirfd_, "t"), 0);
}

Test(file, remove_tree_does_not_enter_another_file_system)
{
    check_mount_survives(NULL, "tmpfs", 0);
}

Test(file, remove_tree_does_not_enter_a_bind_mount)
{
    check_mount_survives("keep", NULL, MS_BIND);
    cr_assert_eq(faccessat(dirfd_, "keep/x", F_OK, 0), 0);
}

static int read_inside(const char *path)
{
    char text[8] = "";
    int fd = file_open_inside(dirfd_, path, O_RDONLY);
    if (fd < 0)
        return fd;
    cr_assert_geq(read(fd, text, sizeof(text) - 1), 0);
    close(fd);
    return text[0];
}

Test(file, what_is_opened_inside_is_inside)
{
    cr_assert(mkdirat(dirfd_, "d", 0755) == 0 && symlinkat("/f", dirfd_, "d/absolute") == 0 &&
              symlinkat("../../../../f", dirfd_, "d/up") == 0 &&
              symlinkat("/proc/self/root", dirfd_, "d/out") == 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "f", "x", 1, 0600), 0);
    cr_expect_eq(read_inside("f"), 'x');
    cr_expect_eq(read_inside("/d/absolute"), 'x');
    cr_expect_eq(read_inside("d/up"), 'x');
    cr_expect_eq(read_inside("/../../f"), 'x');
    cr_expect_eq(read_inside("d/out/f"), -ENOENT);
    cr_expect_eq(read_inside("none"), -ENOENT);
    int proc = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    cr_expect_eq(file_open_inside(proc, "root/etc", O_PATH), -ELOOP);
    close(proc);
}

// The kernel gives up a way back when anything moves on the node.
Test(file, what_is_opened_inside_is_found_while_others_move)
{
    cr_assert(mkdirat(dirfd_, "d", 0755) == 0 && mkdirat(dirfd_, "moving", 0755) == 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "f", "x", 1, 0600), 0);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 100000; i++)
            (void)(i % 2 ? renameat(dirfd_, "moved", dirfd_, "moving")
                         : renameat(dirfd_, "moving", dirfd_, "moved"));
        _exit(0);
    }
    cr_assert_gt(pid, 0);
    for (int i = 0; i < 20000; i++)
        cr_assert_eq(read_inside("d/../d/../d/../f"), 'x');
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

Test(file, leaks_no_descriptors)
{
    char path[256];
    int before = open("/dev/null", O_RDONLY);
    close(before);
    snprintf(path, sizeof path, "%s/t/a/b", dir);
    cr_assert_eq(file_mkdir_all(path, 0700), 0);
    cr_assert_eq(file_write_atomic_at(dirfd_, "t/x", "x", 1, 0600), 0);
    cr_assert_eq(read_text("t/x", path, 60), 0);
    cr_assert_eq(file_write_value_at(dirfd_, "t/x", "y"), 0);
    cr_assert_eq(file_remove_tree_at(dirfd_, "t"), 0);
    int after = open("/dev/null", O_RDONLY);
    close(after);
    cr_assert_eq(before, after);
}

Test(file, path_format_is_bounded)
{
    char out[8];
    cr_assert_eq(path_format(out, sizeof out, "/%s", "abcdef"), 0);
    cr_assert_str_eq(out, "/abcdef");
    cr_assert_eq(path_format(out, sizeof out, "/%s", "abcdefg"), -ENAMETOOLONG);
}
