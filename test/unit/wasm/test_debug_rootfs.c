// Which directory is taken for one that has root's tools, and what is said of others.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "debug_rootfs.h"

static char base[] = "/tmp/debug-rootfs-XXXXXX"; // "above/tools" is good

// The path of what is in it, in one of two places.
static const char *at(const char *name)
{
    static char paths[2][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 2];
    cr_assert_eq(path_format(path, PATH_MAX, "%s/%s", base, name), 0);
    return path;
}

static void make(void)
{
    if (geteuid() != 0)
        cr_skip("not root");
    umask(022);
    cr_assert(mkdtemp(base));
    cr_assert(mkdir(at("above"), 0755) == 0 && mkdir(at("above/tools"), 0755) == 0 &&
              mkdir(at("above/tools/container"), 0755) == 0);
}

static void drop(void)
{
    if (geteuid() == 0)
        cr_expect_eq(file_remove_tree_at(AT_FDCWD, base), 0);
}

TestSuite(debug_rootfs, .init = make, .fini = drop);

static void expect_taken(const char *path)
{
    struct error err = {0};
    struct stat st;
    _cleanup_close_ int fd = debug_rootfs_open(path, &err);
    cr_assert(fd >= 0, "%s", err.text);
    cr_expect(fstatat(fd, DEBUG_CONTAINER, &st, 0) == 0 && S_ISDIR(st.st_mode));
}

static void expect_refused(const char *path, const char *part, const char *says)
{
    struct error err = {0};
    cr_expect_eq(debug_rootfs_open(path, &err), -1);
    cr_expect(strncmp(err.text, "debug_rootfs: ", strlen("debug_rootfs: ")) == 0 &&
                  strstr(err.text, part) && strstr(err.text, says),
              "%s", err.text);
}

Test(debug_rootfs, a_directory_of_roots)
{
    char odd[PATH_MAX];
    expect_taken(at("above/tools"));
    cr_assert_eq(path_format(odd, sizeof(odd), "/%s///above//tools/", base), 0);
    expect_taken(odd);
}

Test(debug_rootfs, what_others_can_write_is_none)
{
    const char *path = at("above/tools");
    cr_assert_eq(chmod(path, 0775), 0);
    expect_refused(path, "above/tools has mode 0775", "chmod go-w");
    cr_assert_eq(chmod(path, 01777), 0);
    expect_refused(path, "above/tools has mode 1777", "chmod go-w");
    cr_assert(chmod(path, 0755) == 0 && chown(path, 1000, 0) == 0);
    expect_refused(path, "above/tools belongs to user 1000", "chown root");
}

Test(debug_rootfs, nor_what_lies_in_it)
{
    const char *path = at("above/tools"), *above = at("above");
    cr_assert_eq(chmod(above, 0777), 0);
    expect_refused(path, "above has mode 0777", "chmod go-w");
    cr_assert_eq(chmod(above, 01777), 0); // what is root's there stays
    expect_taken(path);
    cr_assert(chmod(above, 0755) == 0 && chown(above, 1000, 0) == 0);
    expect_refused(path, "above belongs to user 1000", "chown root");
}

Test(debug_rootfs, links_lead_nowhere)
{
    cr_assert(symlink("tools", at("above/link")) == 0 && symlink("above", at("beside")) == 0);
    expect_refused(at("above/link"), "above/link", "no link");
    expect_refused(at("beside/tools"), "beside", "no link");
}

Test(debug_rootfs, what_is_missing_is_said)
{
    expect_refused(at("above/none"), "above/none", "No such file");
    cr_assert_eq(rmdir(at("above/tools/container")), 0);
    expect_refused(at("above/tools"), "no directory container", "make an empty one");
    cr_assert_eq(symlink("/etc", at("above/tools/container")), 0);
    expect_refused(at("above/tools"), "no directory container", "make an empty one");
}

Test(debug_rootfs, the_whole_node_is_none)
{
    expect_refused("/", "all of the node", "nothing but tools");
    expect_refused("//", "all of the node", "nothing but tools");
}
