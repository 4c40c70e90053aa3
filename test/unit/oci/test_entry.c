// The entry of a container, in a rootfs of a test's own.
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "oci/entry.h"

static char dir[] = "/tmp/entry-XXXXXX";
static int root;

static void write_file(const char *path, const char *text)
{
    int fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void make_root(void)
{
    static const char *const dirs[] = {"bin", "usr", "usr/bin", "work", "work/sub", "closed"};
    cr_assert(mkdtemp(dir));
    root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    cr_assert(root >= 0 && chmod(dir, 0755) == 0);
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        cr_assert_eq(mkdirat(root, dirs[i], 0755), 0);
    write_file("top", "top");
    write_file("bin/a", "bin");
    write_file("usr/bin/a", "usr");
    write_file("usr/bin/b", "b");
    write_file("work/mod", "mod");
    write_file("closed/c", "c");
}

static void remove_root(void)
{
    close(root);
    cr_expect_eq(file_remove_tree_at(AT_FDCWD, dir), 0);
}

TestSuite(oci_entry, .init = make_root, .fini = remove_root);

// What the file holds that is found, or "-errno".
static const char *found(const char *name, const char *cwd, const char *path)
{
    static char text[32];
    int fd = oci_entry_open(root, name, cwd, path);
    if (fd < 0) {
        snprintf(text, sizeof(text), "%d", fd);
        return text;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    return text;
}

#define NOT_THERE "-2"
#define NOT_OURS  "-13"

Test(oci_entry, paths_and_the_search)
{
    cr_expect_str_eq(found("/top", "/", NULL), "top");
    cr_expect_str_eq(found("/missing", "/", "/bin"), NOT_THERE);
    cr_expect_str_eq(found("./mod", "/work", "/bin"), "mod");
    cr_expect_str_eq(found("sub/../mod", "/work", NULL), "mod");
    cr_expect_str_eq(found("a", "/", "/bin:/usr/bin"), "bin");
    cr_expect_str_eq(found("a", "/", "/usr/bin:/bin"), "usr");
    cr_expect_str_eq(found("b", "/", "/bin:/usr/bin"), "b");
    cr_expect_str_eq(found("b", "/", "::/none:/usr/bin:"), "b");
    // Images that hold nothing but a module have it in the root.
    cr_expect_str_eq(found("top", "/work", "/bin"), "top");
    cr_expect_str_eq(found("top", "/work", NULL), "top");
    cr_expect_str_eq(found("mod", "/work", "/bin"), NOT_THERE); // not of the working directory
}

Test(oci_entry, names_that_are_too_long)
{
    char name[5000];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    cr_expect_lt(oci_entry_open(root, name, "/", "/bin"), 0);
    name[0] = '/';
    cr_expect_lt(oci_entry_open(root, name, "/", "/bin"), 0);
    name[1] = '/';
    name[0] = 'x';
    cr_expect_eq(oci_entry_open(root, name, "/work", NULL), -ENAMETOOLONG);
}

Test(oci_entry, links_stay_inside)
{
    cr_assert_eq(symlinkat("/usr/bin/b", root, "absolute"), 0);
    cr_assert_eq(symlinkat("../../../../../usr/bin/b", root, "work/up"), 0);
    cr_assert_eq(symlinkat("/etc/passwd", root, "passwd"), 0);
    cr_assert_eq(symlinkat("loop", root, "loop"), 0);
    cr_assert_eq(symlinkat("/proc/self/exe", root, "magic"), 0);
    cr_expect_str_eq(found("/absolute", "/", NULL), "b");
    cr_expect_str_eq(found("/work/up", "/", NULL), "b");
    cr_expect_str_eq(found("/../../../etc/passwd", "/", NULL), NOT_THERE);
    cr_expect_str_eq(found("/passwd", "/", NULL), NOT_THERE);
    cr_expect_str_eq(found("/magic", "/", NULL), NOT_THERE);
    cr_expect_eq(oci_entry_open(root, "/loop", "/", NULL), -ELOOP);
    cr_expect_str_eq(found("../../../../top", "/work", NULL), "top");
}

// Opening a device may begin something, and a FIFO waits for ever.
Test(oci_entry, nothing_but_files_is_opened)
{
    cr_assert_eq(mkfifoat(root, "bin/fifo", 0644), 0);
    cr_assert_eq(mknodat(root, "bin/tty", S_IFCHR | 0666, makedev(5, 0)), 0);
    cr_assert_eq(mknodat(root, "bin/socket", S_IFSOCK | 0666, 0), 0);
    cr_expect_str_eq(found("/bin/fifo", "/", NULL), NOT_OURS);
    cr_expect_str_eq(found("/bin/tty", "/", NULL), NOT_OURS); // ENXIO if it had been opened
    cr_expect_str_eq(found("/bin/socket", "/", NULL), NOT_OURS);
    cr_expect_str_eq(found("/bin", "/", NULL), NOT_OURS);
    cr_expect_str_eq(found("fifo", "/", "/bin:/usr/bin"), NOT_OURS);
    // A directory of that name is no program, and the search goes on (execvp).
    cr_assert_eq(mkdirat(root, "bin/b", 0755), 0);
    cr_expect_str_eq(found("b", "/", "/bin:/usr/bin"), "b");
}

Test(oci_entry, rights_are_the_callers)
{
    cr_assert_eq(fchmodat(root, "bin/a", 0600, 0), 0);
    cr_assert_eq(fchmodat(root, "closed", 0700, 0), 0);
    cr_expect_str_eq(found("/bin/a", "/", NULL), "bin");
    setfsuid(1000);
    cr_expect_str_eq(found("/bin/a", "/", NULL), NOT_OURS);
    cr_expect_str_eq(found("/closed/c", "/", NULL), NOT_OURS);
    cr_expect_str_eq(found("a", "/", "/bin:/usr/bin"), "usr");
    cr_expect_str_eq(found("a", "/", "/bin:/closed"), NOT_OURS);
    cr_expect_str_eq(found("/usr/bin/b", "/", NULL), "b");
    setfsuid(0);
}
