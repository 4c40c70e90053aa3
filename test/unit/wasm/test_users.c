// Containers of a pod with a user namespace: whose ids they have, and whose files they make.
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "linux/userns.h"
#include "worker/apart.h"
#include "worker/enter.h"

// Inside from 0 on.
static const struct id_maps ids = {{0, 100000, 1000}, {0, 200000, 1000}};

static char base[] = "/tmp/users-XXXXXX";
static int users = -1;

// What is mounted here ends with the test.
static void make(void)
{
    struct error err = {0};
    if (geteuid() != 0)
        cr_skip("not root");
    cr_assert(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    cr_assert_not_null(mkdtemp(base));
    cr_assert_eq(mount("tmpfs", base, "tmpfs", 0, "mode=0755"), 0);
    users = userns_new(&ids, &err);
    cr_assert_geq(users, 0, "%s", err.text);
}

static void take_away(void)
{
    (void)umount2(base, MNT_DETACH);
    (void)rmdir(base);
}

TestSuite(users, .init = make, .fini = take_away);

static int exit_code(pid_t pid)
{
    int status;
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// ---- who it is ----------------------------------------------------------------------------------

static int read_text(const char *path, char *out, size_t size)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    out[n < 0 ? 0 : n] = '\0';
    return n < 0 ? -1 : 0;
}

// 0, or a number for what is wrong.
static int become(void)
{
    gid_t group = 44;
    char map[64];
    struct error err = {0};
    struct stat st;
    const struct plan plan = {
        .uid = 7,
        .gid = 8,
        .groups = &group,
        .n_groups = 1,
        .ids = ids,
    };
    if (enter_identity(&plan, users, -1, &err) < 0)
        return 2;
    if (getuid() != 7 || getgid() != 8 || getgroups(1, &group) != 1 || group != 44)
        return 3;
    if (read_text("/proc/self/uid_map", map, sizeof(map)) < 0 || atoi(map + 11) != 100000)
        return 4;
    // What belongs to the host's root is nobody's here.
    return stat("/", &st) == 0 && st.st_uid == 65534 ? 0 : 5;
}

Test(users, is_who_the_pod_says)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(become());
    cr_expect_eq(exit_code(pid), 0);
}

static void write_file(const char *name, uid_t uid, mode_t mode)
{
    char path[PATH_MAX];
    (void)path_format(path, sizeof(path), "%s/%s", base, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, mode);
    cr_assert(fd >= 0 && fchown(fd, uid, 0) == 0);
    close(fd);
}

static bool can_open(const char *name)
{
    char path[PATH_MAX];
    (void)path_format(path, sizeof(path), "%s/%s", base, name);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

// The module is looked for before the namespace is joined, but as its user.
Test(users, opens_files_as_the_hosts_user_that_it_is)
{
    struct error err = {0};
    const struct plan plan = {.uid = 7, .gid = 8, .ids = ids};
    write_file("mine", 100007, 0400);
    write_file("hosts", 7, 0400);
    cr_assert_eq(enter_user(&plan, &err), 0, "%s", err.text);
    bool mine = can_open("mine"), hosts = can_open("hosts");
    cr_assert_eq(enter_user_left(&err), 0, "%s", err.text);
    cr_expect(mine && !hosts);
    cr_expect(can_open("hosts"));
}

// ---- its files ----------------------------------------------------------------------------------

static int look(int root, const char *path)
{
    struct stat st;
    _cleanup_close_ int fd = file_open_inside(root, path, O_PATH);
    return fd >= 0 && fstat(fd, &st) == 0 ? (int)st.st_uid : -1;
}

// What is made, in a mount namespace of its own: 0, or a number.
static int mount_all(void)
{
    char volume[PATH_MAX];
    static const char *const readonly[] = {"ro"};
    struct plan_mount mounts[] = {
        {"/made/here", {.type = "tmpfs", .source = "tmpfs"}, false},
        {"/mapped", {.type = "bind", .source = volume}, true},
        {"/mapped/new/inner", {.type = "bind", .source = volume}, true},
        {"/plain", {.type = "bind", .source = volume}, false},
        {"/sealed",
         {.type = "tmpfs", .source = "tmpfs", .options = readonly, .n_options = 1},
         false},
    };
    struct plan plan = {.ids = ids, .mounts = mounts, .n_mounts = ARRAY_SIZE(mounts)};
    struct error err = {0};
    (void)path_format(volume, sizeof(volume), "%s/volume", base);
    (void)path_format(plan.root, sizeof(plan.root), "%s/root", base);
    if (mkdir(volume, 0755) < 0 || mkdir(plan.root, 0755) < 0)
        return 10;
    _cleanup_close_ int root = enter_mounts(&plan, users, &err);
    if (root < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 11;
    }
    if (look(root, "/made") != 100000 || look(root, "/made/here") != 100000 ||
        look(root, "/sealed") != 100000)
        return 12;
    // What is made in a volume belongs there to who its owner is there.
    if (look(root, "/mapped") != 100000 || look(root, "/mapped/new") != 100000 ||
        look(root, "/plain") != 0 || look(root, "/plain/new") != 0)
        return 13;
    // And it is itself again.
    return (uid_t)setfsuid((uid_t)-1) == 0 ? 0 : 14;
}

Test(users, own_what_is_made_for_them)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(mount_all());
    cr_expect_eq(exit_code(pid), 0);
}

// ---- a compiler of its own ----------------------------------------------------------------------

static int look_around(const void *bytes, size_t len, int fd, struct error *err)
{
    struct stat st;
    if (stat("/", &st) < 0)
        return error_errno(err, errno, "/");
    return error_set(err, STATUS_ABORTED, "%u is in the directory of %u", getuid(), st.st_uid);
}

Test(users, compile_as_they_are)
{
    const struct engine_ops engine = {.name = "test", .compile_apart = look_around};
    const struct plan plan = {.uid = 7, .gid = 8, .ids = ids};
    struct error err = {0};
    int said[2];
    _cleanup_close_ int code = memfd_create("code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert(code >= 0 && pipe2(said, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0)
        apart_work(&engine, &plan, users, "x", 1, code, said[1]);
    cr_assert(pid > 0);
    close(said[1]);
    cr_expect_eq(apart_wait("test", pid, said[0], code, &err), -1);
    close(said[0]);
    cr_expect_str_eq(err.text, "7 is in the directory of 7");
}
