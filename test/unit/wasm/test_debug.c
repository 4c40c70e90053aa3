// A tool of the node's in a container: found, and what it finds. (Real ones are in the end-to-end
// tests.)
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "worker/debug.h"
#include "worker/enter.h"

static char base[] = "/tmp/debug-XXXXXX"; // "tools", and "rootfs" of the container
static char *env[] = {(char *)"PATH=/none:/bin", NULL};

static void path_of(char out[PATH_MAX], const char *name)
{
    cr_assert_eq(path_format(out, PATH_MAX, "%s/%s", base, name), 0);
}

static void make_dir(const char *name)
{
    char path[PATH_MAX];
    path_of(path, name);
    cr_assert_eq(mkdir(path, 0755), 0, "%s", path);
}

static void make_file(const char *name)
{
    char path[PATH_MAX];
    path_of(path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    cr_assert(fd >= 0, "%s", path);
    close(fd);
}

static void make_link(const char *to, const char *name)
{
    char path[PATH_MAX];
    path_of(path, name);
    cr_assert_eq(symlink(to, path), 0, "%s", path);
}

static void make(void)
{
    static const char *const dirs[] = {"tools",       "tools/container", "tools/bin",
                                       "tools/extra", "rootfs",          "rootfs/data"};
    if (geteuid() != 0)
        cr_skip("not root");
    umask(022);
    // What is mounted here ends with the test.
    cr_assert(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    cr_assert(mkdtemp(base));
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        make_dir(dirs[i]);
    make_file("tools/bin/tool");
    make_file("rootfs/data/file");
    make_link("/bin/tool", "tools/bin/other");
    make_link("/etc/passwd", "rootfs/data/outside");
    make_link("/etc", "rootfs/cwd");
}

static void drop(void)
{
    if (geteuid() == 0)
        cr_expect_eq(file_remove_tree_at(AT_FDCWD, base), 0);
}

TestSuite(debug, .init = make, .fini = drop);

// debug_find's tree for a program; -1: it is not there.
static int find(const char *program)
{
    char tools[PATH_MAX], *args[] = {(char *)program, NULL};
    const struct plan p = {.args = args, .env = env, .cwd = "/bin"};
    struct error err = {0};
    int tree = -1;
    path_of(tools, "tools");
    cr_assert_eq(debug_find(tools, &p, &tree, &err), 0, "%s", err.text);
    return tree;
}

static void expect_found(const char *program, bool found)
{
    _cleanup_close_ int tree = find(program);
    cr_expect_eq(tree >= 0, found, "%s", program);
}

Test(debug, is_found_in_path_or_by_an_absolute_one)
{
    expect_found("tool", true);
    expect_found("other", true); // its link is the tools' own
    expect_found("/bin/tool", true);
    expect_found("./tool", false);
    expect_found("bin/tool", false);
    expect_found("nothing", false);
    expect_found("/bin/tool/none", false);
}

Test(debug, what_is_mounted_below_is_not_there)
{
    char extra[PATH_MAX], here[PATH_MAX];
    path_of(extra, "tools/extra");
    path_of(here, "tools/bin");
    cr_assert_eq(mount(here, extra, NULL, MS_BIND, NULL), 0);
    expect_found("/extra/tool", false);
    cr_assert_eq(umount2(extra, MNT_DETACH), 0);
}

Test(debug, nobody_can_write_there)
{
    _cleanup_close_ int tree = find("tool");
    cr_assert(tree >= 0);
    cr_expect(openat(tree, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644) < 0 && errno == EROFS);
    cr_expect(openat(tree, "bin/tool", O_WRONLY | O_CLOEXEC) < 0 && errno == EROFS);
}

Test(debug, a_directory_that_is_not_roots_alone_is_refused)
{
    char tools[PATH_MAX], *args[] = {(char *)"tool", NULL};
    const struct plan p = {.args = args, .env = env, .cwd = "/"};
    struct error err = {0};
    int tree = -1;
    path_of(tools, "tools");
    cr_assert_eq(chmod(tools, 0777), 0);
    cr_expect(debug_find(tools, &p, &tree, &err) == -1 && tree == -1);
    cr_expect_eq(err.status, STATUS_FAILED_PRECONDITION);
}

// ---- inside -------------------------------------------------------------------------------------

static void say(int to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(int to, const char *fmt, ...)
{
    char text[PATH_MAX];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (write(to, text, (size_t)n) != n)
        _exit(1);
}

static void say_whether(int to, const char *what, int r)
{
    say(to, "%s: %s\n", what, r < 0 ? strerror(errno) : "yes");
}

// In a container: what there is.
_Noreturn static void look_around(const char *cwd, int tree, int to)
{
    struct plan p = {.cwd = cwd};
    struct error err = {0};
    char here[PATH_MAX];
    path_of(p.root, "rootfs");
    int root = enter_mounts(&p, -1, &err);
    if (root < 0 || enter_root(&p, root, &err) < 0 || debug_enter(tree, cwd, &err) < 0) {
        say(to, "%s\n", err.text);
        _exit(1);
    }
    say(to, "%s\n", getcwd(here, sizeof(here)) ? here : "?");
    say_whether(to, "tool", access("/bin/tool", X_OK));
    say_whether(to, "tools can be changed", open("/bin/new", O_CREAT | O_WRONLY, 0644));
    say_whether(to, "file", access("/container/data/file", R_OK));
    say_whether(to, "it can be changed", open("/container/data/file", O_WRONLY));
    say_whether(to, "outside", access("/container/data/outside", F_OK));
    say_whether(to, "above", access("/../rootfs", F_OK));
    _exit(0);
}

static void expect_seen(const char *cwd, const char *want)
{
    char text[4096] = "";
    int ends[2], tree = find("tool");
    size_t len = 0;
    cr_assert(tree >= 0 && pipe2(ends, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0)
        look_around(cwd, tree, ends[1]);
    close(ends[1]);
    for (ssize_t n = 1; n > 0; len += n > 0 ? (size_t)n : 0)
        n = read(ends[0], text + len, sizeof(text) - 1 - len);
    waitpid(pid, NULL, 0);
    close(ends[0]);
    close(tree);
    cr_expect_str_eq(text, want);
}

Test(debug, the_tools_are_the_root_and_the_container_lies_in_it)
{
    expect_seen("/data", "/container/data\n"
                         "tool: yes\n"
                         "tools can be changed: Read-only file system\n"
                         "file: yes\n"
                         "it can be changed: yes\n"
                         "outside: No such file or directory\n"
                         "above: No such file or directory\n");
}

Test(debug, a_working_directory_leads_nowhere_else)
{
    expect_seen("/cwd", "process.cwd /cwd: No such file or directory\n");
}
