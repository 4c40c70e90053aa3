#include "task/mountpoints.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static char root[] = "/tmp/mountpoints-XXXXXX";

static void make_root(void)
{
    cr_assert(mkdtemp(root));
}

static void remove_root(void)
{
    cr_expect_eq(file_remove_tree_at(AT_FDCWD, root), 0);
}

TestSuite(mountpoints, .init = make_root, .fini = remove_root);

static const char *in_root(const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    return path;
}

static mode_t mode_of(const char *name)
{
    struct stat st;
    return lstat(in_root(name), &st) == 0 ? st.st_mode : 0;
}

static void check_tree(void)
{
    static const char *const dirs[] = {"a/b", "a/b/dev", "a/b/dev/shm", "a/b/etc"};
    static const char *const files[] = {"a/b/etc/hosts", "a/b/etc/hostname", "a/b/etc/resolv.conf"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        cr_expect_eq(mode_of(dirs[i]), S_IFDIR | 0755, "%s: %o", dirs[i], mode_of(dirs[i]));
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        cr_expect_eq(mode_of(files[i]), S_IFREG | 0644, "%s: %o", files[i], mode_of(files[i]));
}

Test(mountpoints, are_made_once_and_repaired)
{
    struct error err = {0};
    char dir[256];
    umask(077);
    strcpy(dir, in_root("a/b"));
    cr_assert_eq(mountpoints_make(dir, &err), 0, "%s", err.text);
    check_tree();
    cr_assert_eq(mountpoints_make(dir, &err), 0, "%s", err.text);
    cr_assert_eq(unlink(in_root("a/b/etc/hosts")), 0);
    cr_assert_eq(chmod(in_root("a/b/etc"), 0700), 0);
    cr_assert_eq(mountpoints_make(dir, &err), 0, "%s", err.text);
    check_tree();
}

Test(mountpoints, what_is_something_else_is_refused)
{
    struct error err = {0};
    char dir[256];
    strcpy(dir, in_root("a"));
    cr_assert_eq(mountpoints_make(dir, &err), 0, "%s", err.text);
    cr_assert(unlink(in_root("a/etc/hosts")) == 0 &&
              symlink("/etc/hosts", in_root("a/etc/hosts")) == 0);
    cr_expect_eq(mountpoints_make(dir, &err), -1);
    cr_expect(strstr(err.text, dir), "%s", err.text);
    cr_assert(unlink(in_root("a/etc/hosts")) == 0 && symlink("x", in_root("a/etc/x")) == 0);
    cr_expect_eq(mountpoints_make(dir, &err), -1);
    cr_expect(strstr(err.text, "not ours"), "%s", err.text);
    cr_assert_eq(unlink(in_root("a/etc/x")), 0);
    cr_expect_eq(mountpoints_make(dir, &err), 0, "%s", err.text);
    cr_assert_eq(truncate(in_root("a/etc/hosts"), 1), 0);
    cr_expect_eq(mountpoints_make(dir, &err), -1);
    cr_assert_eq(mkdir(in_root("other"), 0755), 0);
    cr_assert_eq(symlink("other", in_root("link")), 0);
    strcpy(dir, in_root("link"));
    cr_expect_eq(mountpoints_make(dir, &err), -1);
}

static bool fits(const char *mounts, const struct pod *pod)
{
    char text[1024];
    struct error err = {0};
    snprintf(text, sizeof(text), "{\"mounts\":[%s]}", mounts);
    _cleanup_json_ json_object *spec = json_parse(text, strlen(text), "spec", &err);
    cr_assert(spec, "%s", err.text);
    return mountpoints_fit(spec, pod);
}

#define AT(path) "{\"destination\":\"" path "\"}"

Test(mountpoints, all_of_them_must_be_mounted_over)
{
    static const struct pod pod = {0}, users = {.user_ns = (char *)"/run/x"};
    const char *all = AT("/proc") "," AT("/etc/hosts") "," AT("/etc//hostname") "," AT(
        "/etc/resolv.conf") "," AT("/dev/shm/");
    cr_expect(fits(all, &pod));
    cr_expect_not(fits(all, &users));
    cr_expect_not(fits(AT("/etc/hosts") "," AT("/etc/hostname") "," AT("/dev/shm"), &pod));
    cr_expect_not(fits(AT("/etc"), &pod));
    cr_expect_not(fits("", &pod));
}
