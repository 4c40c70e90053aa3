#include "support.h"

#include <signal.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "linux/confine.h"
#include "linux/mount.h"
#include "linux/userns.h"

#define OPTIONS(...)                                                                               \
    .options = (const char *const[]){__VA_ARGS__},                                                 \
    .n_options = sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)

static void apply(const struct mount_spec *spec, const char *target)
{
    struct error err = {0};
    cr_assert_eq(mount_apply(spec, target, &err), 0, "%s", err.text);
}

static enum status refused(const struct mount_spec *spec, const char *target, char *text)
{
    struct error err = {0};
    cr_assert_eq(mount_apply(spec, target, &err), -1);
    if (text)
        strcpy(text, err.text);
    return err.status;
}

static unsigned long flags_of(const char *path)
{
    struct statvfs st;
    cr_assert_eq(statvfs(path, &st), 0);
    return st.f_flag;
}

Test(mount, tmpfs_with_flags_and_data, .init = support_private_mounts)
{
    support_mkdir("/mnt/t");
    struct mount_spec spec = {
        .type = "tmpfs",
        .source = "tmp",
        OPTIONS("nosuid", "noexec", "nodev", "mode=1777", "size=64k", "rprivate", "defaults")};
    apply(&spec, "/mnt/t");
    unsigned long f = flags_of("/mnt/t");
    cr_assert(f & ST_NOSUID && f & ST_NOEXEC && f & ST_NODEV && !(f & ST_RDONLY));
    struct stat st;
    cr_assert_eq(stat("/mnt/t", &st), 0);
    cr_assert_eq(st.st_mode & 07777, 01777);
    cr_assert_eq(mount_is_mounted("/mnt/t"), 1);
    cr_assert_eq(mount_remove("/mnt/t"), 0);
    cr_assert_eq(mount_is_mounted("/mnt/t"), 0);
}

Test(mount, later_word_wins, .init = support_private_mounts)
{
    support_mkdir("/mnt/t");
    struct mount_spec spec = {.type = "tmpfs", .source = "tmp", OPTIONS("ro", "rw", "suid")};
    apply(&spec, "/mnt/t");
    cr_assert_not(flags_of("/mnt/t") & ST_RDONLY);
}

Test(mount, bind_is_read_only_and_source_is_not, .init = support_private_mounts)
{
    support_mkdir("/mnt/from");
    support_mkdir("/mnt/to");
    struct mount_spec spec = {
        .type = "bind", .source = "/mnt/from", OPTIONS("bind", "ro", "nosuid")};
    apply(&spec, "/mnt/to");
    support_write("/mnt/from/file", "x");
    cr_assert_eq(open("/mnt/to/file", O_WRONLY | O_CLOEXEC), -1);
    cr_assert_eq(errno, EROFS);
    cr_assert(flags_of("/mnt/to") & ST_NOSUID);
    cr_assert_not(flags_of("/mnt/from") & ST_NOSUID);
}

Test(mount, rbind_ro_holds_for_the_whole_tree, .init = support_private_mounts)
{
    support_mkdir("/mnt/from");
    support_mkdir("/mnt/to");
    support_mkdir("/mnt/from/sub");
    cr_assert_eq(mount("sub", "/mnt/from/sub", "tmpfs", 0, NULL), 0);
    struct mount_spec spec = {
        .type = "bind", .source = "/mnt/from", OPTIONS("rbind", "rprivate", "ro")};
    apply(&spec, "/mnt/to");
    cr_assert_eq(mkdir("/mnt/to/sub/x", 0755), -1);
    cr_assert_eq(errno, EROFS);
    cr_assert_eq(mkdir("/mnt/from/sub/x", 0755), 0);
}

Test(mount, or_for_its_uppermost_alone, .init = support_private_mounts)
{
    support_mkdir("/mnt/from");
    support_mkdir("/mnt/to");
    support_mkdir("/mnt/from/sub");
    cr_assert_eq(mount("sub", "/mnt/from/sub", "tmpfs", 0, NULL), 0);
    struct mount_spec spec = {.type = "bind",
                              .source = "/mnt/from",
                              OPTIONS("rbind", "rprivate", "ro"),
                              .flags_on_top = true};
    apply(&spec, "/mnt/to");
    cr_assert_eq(mkdir("/mnt/to/x", 0755), -1);
    cr_assert_eq(errno, EROFS);
    cr_assert_eq(mkdir("/mnt/to/sub/x", 0755), 0);
}

Test(mount, propagation_words_take_effect, .init = support_private_mounts)
{
    support_mkdir("/mnt/from");
    support_mkdir("/mnt/to");
    struct mount_spec spec = {.type = "bind", .source = "/mnt/from", OPTIONS("rbind", "rshared")};
    apply(&spec, "/mnt/to");
    char table[65536];
    support_read("/proc/self/mountinfo", table, sizeof(table));
    char *line = strstr(table, " /mnt/to ");
    cr_assert(line);
    *strchr(line, '\n') = '\0';
    cr_assert(strstr(line, " shared:"), "%s", line);
}

Test(mount, remount_changes_what_is_there, .init = support_private_mounts)
{
    support_mkdir("/mnt/t");
    struct mount_spec spec = {.type = "tmpfs", .source = "t", OPTIONS("rw")};
    apply(&spec, "/mnt/t");
    struct mount_spec again = {.type = "tmpfs", .source = "t", OPTIONS("remount", "ro")};
    apply(&again, "/mnt/t");
    cr_assert(flags_of("/mnt/t") & ST_RDONLY);
    cr_assert_eq(mount_remove("/mnt/t"), 0);
    cr_assert_eq(mount_is_mounted("/mnt/t"), 0);
}

// Lower directories /mnt/<long>/<i>, each with a file of its own.
static char *many_layers(int n, const char *parent)
{
    char *list = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&list, &len);
    fputs("lowerdir=", f);
    for (int i = 0; i < n; i++) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%d", parent, i);
        support_mkdir(path);
        fprintf(f, "%s%s", i ? ":" : "", path);
        snprintf(path, sizeof(path), "%s/%d/file%d", parent, i, i);
        support_write(path, "x");
    }
    fclose(f);
    return list;
}

Test(mount, overlay_with_more_options_than_a_page, .init = support_private_mounts)
{
    char parent[300] = "/mnt/";
    memset(parent + 5, 'l', 200);
    parent[205] = '\0';
    support_mkdir(parent);
    support_mkdir("/mnt/up");
    support_mkdir("/mnt/work");
    support_mkdir("/mnt/root");
    char *lower = many_layers(60, parent);
    cr_assert_gt(strlen(lower), 8192);
    struct mount_spec spec = {.type = "overlay",
                              .source = "overlay",
                              OPTIONS("workdir=/mnt/work", "upperdir=/mnt/up", lower, "index=off")};
    char before[4096], after[4096];
    cr_assert(getcwd(before, sizeof(before)));
    apply(&spec, "/mnt/root");
    cr_assert(getcwd(after, sizeof(after)));
    cr_assert_str_eq(before, after);
    cr_assert_eq(access("/mnt/root/file0", F_OK), 0);
    cr_assert_eq(access("/mnt/root/file59", F_OK), 0);
    support_write("/mnt/root/new", "x");
    cr_assert_eq(access("/mnt/up/new", F_OK), 0);
    free(lower);
}

Test(mount, overlay_that_cannot_be_shortened_is_refused, .init = support_private_mounts)
{
    support_mkdir("/mnt/root");
    char lower[6000] = "lowerdir=/a/";
    memset(lower + 12, 'x', 5000);
    struct mount_spec spec = {.type = "overlay", .source = "overlay", OPTIONS(lower)};
    char text[ERROR_TEXT_MAX];
    enum status status = refused(&spec, "/mnt/root", text);
    cr_assert_neq(status, STATUS_OK);
    char list[12000];
    size_t n = (size_t)snprintf(list, sizeof(list), "lowerdir=/a");
    while (n < 9000)
        n += (size_t)snprintf(list + n, sizeof(list) - n, ":/b%zu", n);
    struct mount_spec apart = {.type = "overlay", .source = "overlay", OPTIONS(list)};
    cr_assert_eq(refused(&apart, "/mnt/root", text), STATUS_INVALID_ARGUMENT);
    cr_assert(strstr(text, "too many layers"), "%s", text);
}

// ---- one layer more ----------------------------------------------------------------------------

static void overlay_below(const char *below, const char *const *options, size_t n)
{
    const struct mount_spec spec = {
        .type = "overlay", .source = "overlay", .options = options, .n_options = n, .below = below};
    apply(&spec, "/mnt/root");
}

static void make_layers(void)
{
    static const char *const dirs[] = {"low", "low/etc", "low2", "up", "work", "root", "below"};
    char path[64];
    support_private_mounts();
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        snprintf(path, sizeof(path), "/mnt/%s", dirs[i]);
        support_mkdir(path);
    }
    support_write("/mnt/low/etc/hosts", "of the image");
    support_mkdir("/mnt/below/etc");
    support_write("/mnt/below/etc/hosts", "");
    support_write("/mnt/below/etc/hostname", "");
}

#define WRITABLE "workdir=/mnt/work", "upperdir=/mnt/up"

Test(mount, a_layer_below_is_under_all_others, .init = make_layers)
{
    static const char *const options[] = {WRITABLE, "lowerdir=/mnt/low"};
    char text[32];
    overlay_below("/mnt/below", options, ARRAY_SIZE(options));
    support_read("/mnt/root/etc/hosts", text, sizeof(text));
    cr_expect_str_eq(text, "of the image");
    cr_expect_eq(access("/mnt/root/etc/hostname", F_OK), 0);
    cr_expect_neq(access("/mnt/up/etc", F_OK), 0);
    support_write("/mnt/root/etc/hostname", "mine");
    support_read("/mnt/below/etc/hostname", text, sizeof(text));
    cr_expect_str_eq(text, "");
}

static void check_without(const char *below, const char *const *options, size_t n)
{
    overlay_below(below, options, n);
    cr_expect_eq(access("/mnt/root/etc/hosts", F_OK), 0);
    cr_expect_neq(access("/mnt/root/etc/hostname", F_OK), 0);
    cr_assert_eq(mount_remove("/mnt/root"), 0);
}

Test(mount, a_layer_below_that_would_change_something_is_left_out, .init = make_layers)
{
    static const char *const writable[] = {WRITABLE, "lowerdir=/mnt/low"};
    static const char *const readonly[] = {"lowerdir=/mnt/low:/mnt/low2"};
    check_without("/mnt/none", writable, ARRAY_SIZE(writable));
    check_without("/mnt/below/etc/hosts", writable, ARRAY_SIZE(writable));
    check_without("/mnt/below", readonly, ARRAY_SIZE(readonly));
    // Of another file system.
    apply(&(struct mount_spec){.type = "tmpfs", .source = "tmp"}, "/mnt/below");
    support_mkdir("/mnt/below/etc");
    support_write("/mnt/below/etc/hostname", "");
    check_without("/mnt/below", writable, ARRAY_SIZE(writable));
}

// The same as /mnt/low, in many layers. The list is the caller's.
static char *many_lowers(const char *dir, int n)
{
    char *list = NULL, name[300];
    size_t size = 0;
    FILE *f = open_memstream(&list, &size);
    cr_assert(f);
    fputs("lowerdir=", f);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%s/%d", dir, i);
        support_mkdir(name);
        fprintf(f, "%s%s", i ? ":" : "", name);
    }
    cr_assert_eq(fclose(f), 0);
    strcat(name, "/etc");
    support_mkdir(name);
    strcat(name, "/hosts");
    support_write(name, "");
    return list;
}

Test(mount, a_layer_below_that_would_be_too_much_is_left_out, .init = make_layers)
{
    char dir[256] = "/mnt/";
    memset(dir + 5, 'l', 200);
    support_mkdir(dir);
    char *more_than_a_page = many_lowers(dir, (int)sysconf(_SC_PAGESIZE) / 200);
    const char *const long_ones[] = {WRITABLE, more_than_a_page};
    check_without("/mnt/below", long_ones, ARRAY_SIZE(long_ones));
    free(more_than_a_page);
    // As many as the kernel takes.
    cr_assert(mkdir("/mnt/m", 0755) == 0 && chdir("/mnt") == 0);
    char *most = many_lowers("m", 500);
    const char *const many[] = {WRITABLE, most};
    if (strlen(most) < (size_t)sysconf(_SC_PAGESIZE))
        check_without("/mnt/below", many, ARRAY_SIZE(many));
    free(most);
}

Test(mount, a_layer_below_that_the_kernel_refuses_is_left_out, .init = make_layers)
{
    static const char *const options[] = {WRITABLE, "lowerdir=/mnt/low"};
    cr_assert_eq(mount("/mnt/below", "/mnt/below", NULL, MS_BIND, NULL), 0);
    cr_assert_eq(mount(NULL, "/mnt/below", NULL, MS_UNBINDABLE, NULL), 0);
    check_without("/mnt/below", options, ARRAY_SIZE(options));
}

// ---- id-mapped mounts --------------------------------------------------------------------------

#define MAPPED "uidmap=0:100000:65536", "gidmap=0:200000:65536"

// As support_private_mounts, for kernels whose tmpfs can be mapped (Linux 6.3).
static void mapped_setup(void)
{
    support_private_mounts();
    support_mkdir("/mnt/probe");
    const struct id_maps maps = {{0, 1, 1}, {0, 1, 1}};
    struct error err = {0};
    int userns = userns_new(&maps, &err);
    cr_assert_geq(userns, 0, "%s", err.text);
    int tree = open_tree(AT_FDCWD, "/mnt/probe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)userns};
    bool can = tree >= 0 && mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0;
    close(tree);
    close(userns);
    if (!can)
        cr_skip_test("this kernel's tmpfs has no id-mapped mounts");
}

static void owner_is(const char *path, uid_t uid, gid_t gid)
{
    struct stat st;
    cr_assert_eq(lstat(path, &st), 0, "%s: %s", path, strerror(errno));
    cr_expect(st.st_uid == uid && st.st_gid == gid, "%s belongs to %u:%u, want %u:%u", path,
              st.st_uid, st.st_gid, uid, gid);
}

static void write_as(const char *path, uid_t uid, gid_t gid)
{
    support_write(path, "x");
    cr_assert_eq(chown(path, uid, gid), 0);
}

static void read_table(char *out, size_t size)
{
    support_read("/proc/self/mountinfo", out, size);
}

// What is assembled elsewhere must not show, nor the process have moved.
struct place {
    char table[65536], cwd[4096];
    ino_t mounts;
};

static struct place *place_of(void)
{
    struct place *p = calloc(1, sizeof(*p));
    struct stat st;
    cr_assert(p && getcwd(p->cwd, sizeof(p->cwd)));
    read_table(p->table, sizeof(p->table));
    cr_assert_eq(stat("/proc/self/ns/mnt", &st), 0);
    p->mounts = st.st_ino;
    return p;
}

// The mounts are those of before, and one more on `target` if that is not NULL.
static void place_is(struct place *before, const char *target)
{
    struct place *now = place_of();
    cr_expect_str_eq(now->cwd, before->cwd);
    cr_expect_eq(now->mounts, before->mounts, "in another mount namespace");
    size_t same = strlen(before->table);
    cr_expect_eq(strncmp(now->table, before->table, same), 0, "%s", now->table);
    char *more = now->table + same, *end = strchr(more, '\n');
    if (target) {
        char word[300];
        snprintf(word, sizeof(word), " %s ", target);
        cr_assert(end && end[1] == '\0' && strstr(more, word), "more mounts: %s", more);
    } else {
        cr_expect_str_eq(more, "");
    }
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a process was left behind");
    free(now);
    free(before);
}

static void mapped_overlay(const char *lower)
{
    support_mkdir("/mnt/up");
    support_mkdir("/mnt/work");
    support_mkdir("/mnt/root");
    cr_assert_eq(chown("/mnt/up", 100000, 200000), 0);
    struct mount_spec spec = {
        .type = "overlay",
        .source = "overlay",
        OPTIONS(MAPPED, "workdir=/mnt/work", "upperdir=/mnt/up", lower, "index=off", "rprivate")};
    cr_assert_eq(chdir("/mnt/up"), 0);
    struct place *before = place_of();
    apply(&spec, "/mnt/root");
    place_is(before, "/mnt/root");
}

static int writes_as_roots(void)
{
    static const char *const files[] = {"/mnt/root/a", "/mnt/root/b", "/mnt/root/new"};
    if (setgid(200000) < 0 || setuid(100000) < 0)
        return 1;
    for (size_t i = 0; i < 3; i++) {
        int fd = open(files[i], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, "y", 1) != 1)
            return 2;
        close(fd);
    }
    return 0;
}

Test(mapped, overlay_shows_its_layers_as_the_pods, .init = mapped_setup)
{
    support_mkdir("/mnt/one");
    support_mkdir("/mnt/t:wo");
    write_as("/mnt/one/a", 0, 0);
    write_as("/mnt/one/c", 1000, 50);
    write_as("/mnt/t:wo/b", 0, 0);
    mapped_overlay("lowerdir=/mnt/t\\:wo:/mnt/one");
    owner_is("/mnt/root", 100000, 200000);
    owner_is("/mnt/root/a", 100000, 200000);
    owner_is("/mnt/root/b", 100000, 200000);
    owner_is("/mnt/root/c", 101000, 200050);
    // The layers themselves are as they were.
    owner_is("/mnt/one/a", 0, 0);
    owner_is("/mnt/t:wo/b", 0, 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(writes_as_roots());
    cr_assert_eq(support_wait(pid), 0);
    char text[8];
    support_read("/mnt/up/a", text, sizeof(text));
    cr_expect_str_eq(text, "xy");
    owner_is("/mnt/up/a", 100000, 200000);
    owner_is("/mnt/up/new", 100000, 200000);
    support_read("/mnt/one/a", text, sizeof(text));
    cr_expect_str_eq(text, "x");
    // One unmount is all.
    cr_assert_eq(umount2("/mnt/root", UMOUNT_NOFOLLOW), 0);
    cr_assert_eq(mount_is_mounted("/mnt/root"), 0);
}

Test(mapped, overlay_with_more_options_than_a_page, .init = mapped_setup)
{
    char parent[300] = "/mnt/";
    memset(parent + 5, 'l', 200);
    parent[205] = '\0';
    support_mkdir(parent);
    char *lower = many_layers(60, parent);
    mapped_overlay(lower);
    owner_is("/mnt/root/file0", 100000, 200000);
    owner_is("/mnt/root/file59", 100000, 200000);
    free(lower);
}

Test(mapped, shared_mounts_see_nothing_of_the_making, .init = mapped_setup)
{
    // As on a host: what is mounted below shows in every peer.
    cr_assert_eq(mount(NULL, "/mnt", NULL, MS_SHARED, NULL), 0);
    support_mkdir("/mnt/one");
    write_as("/mnt/one/a", 0, 0);
    mapped_overlay("lowerdir=/mnt/one");
    owner_is("/mnt/root/a", 100000, 200000);
    char table[65536];
    read_table(table, sizeof(table));
    cr_assert_not(strstr(table, " /mnt/one "), "%s", table);
}

Test(mapped, bind_and_others_are_mapped_themselves, .init = mapped_setup)
{
    support_mkdir("/mnt/from");
    support_mkdir("/mnt/from/sub");
    support_mkdir("/mnt/to");
    cr_assert_eq(mount("sub", "/mnt/from/sub", "tmpfs", 0, NULL), 0);
    write_as("/mnt/from/a", 0, 0);
    write_as("/mnt/from/sub/b", 7, 8);
    struct mount_spec bind = {
        .type = "bind", .source = "/mnt/from", OPTIONS(MAPPED, "rbind", "ro")};
    apply(&bind, "/mnt/to");
    owner_is("/mnt/to/a", 100000, 200000);
    owner_is("/mnt/to/sub/b", 100007, 200008);
    owner_is("/mnt/from/a", 0, 0);
    cr_assert_eq(open("/mnt/to/a", O_WRONLY | O_CLOEXEC), -1);
    cr_assert_eq(errno, EROFS);

    support_mkdir("/mnt/t");
    struct mount_spec tmpfs = {
        .type = "tmpfs", .source = "tmp", OPTIONS(MAPPED, "nosuid", "mode=0755", "rslave")};
    struct place *before = place_of();
    apply(&tmpfs, "/mnt/t");
    place_is(before, "/mnt/t");
    owner_is("/mnt/t", 100000, 200000);
    cr_assert(flags_of("/mnt/t") & ST_NOSUID);
}

// With the capabilities that the task server has left, and for a mapping to the host's root.
Test(mapped, a_confined_daemon_may, .init = mapped_setup)
{
    support_mkdir("/mnt/from");
    support_mkdir("/mnt/to");
    support_mkdir("/mnt/t");
    write_as("/mnt/from/a", 5, 5);
    struct error err = {0};
    cr_assert_eq(confine_daemon(&err), 0, "%s", err.text);
    struct mount_spec spec = {
        .type = "bind", .source = "/mnt/from", OPTIONS("uidmap=5:0:1", "gidmap=5:0:1")};
    apply(&spec, "/mnt/to");
    owner_is("/mnt/to/a", 0, 0);
    struct mount_spec tmpfs = {.type = "tmpfs", .source = "tmp", OPTIONS(MAPPED)};
    struct place *before = place_of();
    apply(&tmpfs, "/mnt/t");
    place_is(before, "/mnt/t");
    owner_is("/mnt/t", 100000, 200000);
}

Test(mapped, failure_leaves_nothing, .init = mapped_setup)
{
    static const struct {
        const char *lower;
        enum status status;
        const char *text;
    } rows[] = {
        {"lowerdir=/mnt/one:/mnt/absent", STATUS_NOT_FOUND, "/mnt/absent"},
        {"lowerdir=/mnt/one::/mnt/one", STATUS_INVALID_ARGUMENT, "lower directory"},
        {"lowerdir=", STATUS_INVALID_ARGUMENT, "lower directory"},
        {"lowerdir=one", STATUS_INVALID_ARGUMENT, "absolute"},
        {"lowerdir=/mnt/one/../one", STATUS_INVALID_ARGUMENT, ".."},
        // A file system that cannot be mapped.
        {"lowerdir=/mnt/one:/proc/self", STATUS_FAILED_PRECONDITION, "hostUsers: true"},
    };
    support_mkdir("/mnt/one");
    support_mkdir("/mnt/root");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mount_spec spec = {
            .type = "overlay", .source = "overlay", OPTIONS(rows[i].lower, MAPPED, "rprivate")};
        char text[ERROR_TEXT_MAX];
        struct place *before = place_of();
        cr_expect_eq(refused(&spec, "/mnt/root", text), rows[i].status, "%s", text);
        cr_expect(strstr(text, rows[i].text), "%s: %s", rows[i].lower, text);
        place_is(before, NULL);
    }
    // The kernel refuses when all has been prepared.
    struct mount_spec wild = {.type = "overlay",
                              .source = "overlay",
                              OPTIONS(MAPPED, "lowerdir=/mnt/one", "nosuchoption")};
    struct place *before = place_of();
    char text[ERROR_TEXT_MAX];
    cr_expect_eq(refused(&wild, "/mnt/root", text), STATUS_INVALID_ARGUMENT, "%s", text);
    place_is(before, NULL);
    struct mount_spec proc = {.type = "proc", .source = "proc", OPTIONS(MAPPED)};
    before = place_of();
    cr_expect_eq(refused(&proc, "/mnt/root", text), STATUS_INVALID_ARGUMENT);
    cr_expect(strstr(text, "hostUsers: true"), "%s", text);
    place_is(before, NULL);
}

Test(mapped, killed_at_any_moment_it_leaves_nothing, .init = mapped_setup)
{
    support_mkdir("/mnt/one");
    support_mkdir("/mnt/root");
    struct mount_spec spec = {
        .type = "overlay", .source = "overlay", OPTIONS(MAPPED, "lowerdir=/mnt/one:/mnt/probe")};
    for (int us = 0; us < 4000; us += 200) {
        struct place *before = place_of();
        pid_t pid = fork();
        if (pid == 0)
            _exit(mount_apply(&spec, "/mnt/root", NULL) < 0);
        struct timespec t = {.tv_nsec = us * 1000L};
        nanosleep(&t, NULL);
        kill(pid, SIGKILL);
        support_wait(pid);
        // All or nothing: the mount is on its target, or nowhere.
        place_is(before, mount_is_mounted("/mnt/root") ? "/mnt/root" : NULL);
        cr_assert_eq(mount_remove("/mnt/root"), 0);
    }
}

Test(mount, id_mappings_are_checked, .init = support_private_mounts)
{
    static const char *const bad[][2] = {
        {"uidmap=0:1000:10", "nosuid"},          {"gidmap=0:1000:10", "nosuid"},
        {"uidmap=0:1000:10", "gidmap="},         {"uidmap=0:1000:10,10:2000:1", "gidmap=0:1:1"},
        {"uidmap=0:1000:0", "gidmap=0:1000:10"},
    };
    support_mkdir("/mnt/t");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct mount_spec spec = {.type = "tmpfs", .source = "x", OPTIONS(bad[i][0], bad[i][1])};
        char text[ERROR_TEXT_MAX];
        cr_expect_eq(refused(&spec, "/mnt/t", text), STATUS_INVALID_ARGUMENT);
        cr_expect(strstr(text, "idmap="), "%s", text);
    }
    struct mount_spec spec = {.type = "tmpfs", .source = "x", OPTIONS(MAPPED, "remount", "ro")};
    cr_expect_eq(refused(&spec, "/mnt/t", NULL), STATUS_INVALID_ARGUMENT);
    cr_assert_eq(mount_is_mounted("/mnt/t"), 0);
}

Test(mount, target_must_not_be_a_link, .init = support_private_mounts)
{
    support_mkdir("/mnt/victim");
    cr_assert_eq(symlink("/mnt/victim", "/mnt/link"), 0);
    struct mount_spec spec = {.type = "tmpfs", .source = "x"};
    char text[ERROR_TEXT_MAX];
    cr_assert_eq(refused(&spec, "/mnt/link", text), STATUS_INVALID_ARGUMENT);
    cr_assert(strstr(text, "/mnt/link"));
    cr_assert_eq(mount_is_mounted("/mnt/victim"), 0);
    cr_assert_eq(refused(&spec, "/mnt/../mnt/victim", NULL), STATUS_INVALID_ARGUMENT);
    cr_assert_eq(refused(&spec, "mnt/victim", NULL), STATUS_INVALID_ARGUMENT);
    cr_assert_eq(refused(&spec, "/mnt/absent", NULL), STATUS_NOT_FOUND);
}

Test(mount, errors_name_everything, .init = support_private_mounts)
{
    support_mkdir("/mnt/t");
    struct mount_spec spec = {.type = "nosuchfs", .source = "src"};
    char text[ERROR_TEXT_MAX];
    refused(&spec, "/mnt/t", text);
    cr_assert(strstr(text, "nosuchfs") && strstr(text, "src") && strstr(text, "/mnt/t") &&
                  strstr(text, "module"),
              "%s", text);
}

Test(mount, limit_on_options, .init = support_private_mounts)
{
    support_mkdir("/mnt/t");
    static const char *many[MOUNT_OPTIONS_MAX + 1];
    for (size_t i = 0; i < MOUNT_OPTIONS_MAX + 1; i++)
        many[i] = "rw";
    struct mount_spec spec = {
        .type = "tmpfs", .source = "t", .options = many, .n_options = MOUNT_OPTIONS_MAX + 1};
    cr_assert_eq(refused(&spec, "/mnt/t", NULL), STATUS_INVALID_ARGUMENT);
    spec.n_options = MOUNT_OPTIONS_MAX;
    apply(&spec, "/mnt/t");
}

Test(mount, remove_takes_all_layers_and_no_more, .init = support_private_mounts)
{
    support_mkdir("/mnt/t");
    for (int i = 0; i < 3; i++)
        cr_assert_eq(mount("t", "/mnt/t", "tmpfs", 0, NULL), 0);
    cr_assert_eq(mount_remove("/mnt/t"), 0);
    cr_assert_eq(mount_is_mounted("/mnt/t"), 0);
    cr_assert_eq(mount_is_mounted("/mnt"), 1);
    cr_assert_eq(mount_remove("/mnt/t"), 0);
    cr_assert_eq(mount_remove("/mnt/absent"), 0);
    cr_assert_eq(mount_remove("/mnt/absent/deeper"), 0);
}

Test(mount, remove_does_not_follow_a_link, .init = support_private_mounts)
{
    support_mkdir("/mnt/t");
    cr_assert_eq(mount("t", "/mnt/t", "tmpfs", 0, NULL), 0);
    cr_assert_eq(symlink("/mnt/t", "/mnt/link"), 0);
    cr_assert_eq(mount_remove("/mnt/link"), 0);
    cr_assert_eq(mount_is_mounted("/mnt/t"), 1);
}

Test(mount, remove_below_compares_components, .init = support_private_mounts)
{
    static const char *const dirs[] = {"/mnt/b", "/mnt/bc", "/mnt/b/x", "/mnt/b/x/y"};
    for (size_t i = 0; i < 4; i++) {
        support_mkdir(dirs[i]);
        cr_assert_eq(mount("t", dirs[i], "tmpfs", 0, NULL), 0);
    }
    cr_assert_eq(mount("t", "/mnt/b/x", "tmpfs", 0, NULL), 0); // hides y
    cr_assert_eq(mount_remove_below("/mnt/b"), 0);
    cr_assert_eq(mount_is_mounted("/mnt/b"), 0);
    cr_assert_eq(mount_is_mounted("/mnt/bc"), 1);
    char table[65536];
    support_read("/proc/self/mountinfo", table, sizeof(table));
    cr_assert_not(strstr(table, " /mnt/b/"), "%s", table);
    cr_assert_not(strstr(table, " /mnt/b "), "%s", table);
}

Test(mount, remove_below_understands_escapes_and_links, .init = support_private_mounts)
{
    support_mkdir("/mnt/a b\n\\c");
    support_mkdir("/mnt/a b\n\\c/d");
    cr_assert_eq(mount("t", "/mnt/a b\n\\c/d", "tmpfs", 0, NULL), 0);
    cr_assert_eq(mount_is_mounted("/mnt/a b\n\\c/d"), 1);
    support_mkdir("/mnt/real");
    support_mkdir("/mnt/real/d");
    cr_assert_eq(mount("t", "/mnt/real/d", "tmpfs", 0, NULL), 0);
    cr_assert_eq(symlink("/mnt/real", "/mnt/alias"), 0);
    cr_assert_eq(mount_is_mounted("/mnt/alias/d"), 1);
    cr_assert_eq(mount_remove_below("/mnt/a b\n\\c"), 0);
    cr_assert_eq(mount_is_mounted("/mnt/a b\n\\c/d"), 0);
    cr_assert_eq(mount_remove_below("/mnt/alias/d"), 0);
    cr_assert_eq(mount_is_mounted("/mnt/real/d"), 0);
    cr_assert_eq(mount_remove_below("/mnt/absent"), 0);
    cr_assert_eq(mount_remove_below("relative"), -EINVAL);
}

// ---- recursive words, and mounting on a descriptor ----------------------------------------------

// /mnt/from with a tmpfs in it, /mnt/to.
static void fill_tree(void)
{
    support_mkdir("/mnt/from");
    support_mkdir("/mnt/from/in");
    support_mkdir("/mnt/to");
    apply(&(struct mount_spec){.type = "tmpfs", .source = "tmp"}, "/mnt/from/in");
}

static void make_tree(void)
{
    support_private_mounts();
    fill_tree();
}

Test(mount, recursive_words_hold_for_the_whole_tree, .init = make_tree)
{
    struct mount_spec spec = {
        .type = "bind", .source = "/mnt/from", OPTIONS("rbind", "rro", "rnosuid", "noexec")};
    apply(&spec, "/mnt/to");
    cr_assert(flags_of("/mnt/to") & ST_RDONLY && flags_of("/mnt/to/in") & ST_RDONLY);
    cr_assert(flags_of("/mnt/to/in") & ST_NOSUID && flags_of("/mnt/to/in") & ST_NOEXEC);
    cr_assert_not((flags_of("/mnt/from") | flags_of("/mnt/from/in")) & ST_RDONLY);
    cr_assert_eq(mount_remove("/mnt/to"), 0);
    spec = (struct mount_spec){
        .type = "bind", .source = "/mnt/from", OPTIONS("rbind", "ro", "rrw", "rro")};
    apply(&spec, "/mnt/to");
    cr_assert(flags_of("/mnt/to") & ST_RDONLY && flags_of("/mnt/to/in") & ST_RDONLY);
    cr_assert_eq(mount_remove("/mnt/to"), 0);
    // Of something that is no tree, too.
    spec = (struct mount_spec){.type = "tmpfs", .source = "tmp", OPTIONS("rro")};
    apply(&spec, "/mnt/to");
    cr_assert(flags_of("/mnt/to") & ST_RDONLY);
}

static enum status apply_at_with(const struct mount_spec *spec, int userns, const char *target,
                                 struct error *err)
{
    int fd = open(target, O_PATH | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    int r = mount_apply_at(spec, userns, fd, "name", err);
    close(fd);
    return r == 0 ? STATUS_OK : err->status;
}

static enum status apply_at(const struct mount_spec *spec, const char *target, struct error *err)
{
    return apply_at_with(spec, -1, target, err);
}

static void mapped_tree_setup(void)
{
    mapped_setup();
    fill_tree();
}

// As an OCI runtime does: what is mounted below stays as it is.
Test(mount, on_a_descriptor_with_other_owners, .init = mapped_tree_setup)
{
    const struct id_maps maps = {{0, 100000, 10}, {0, 200000, 10}};
    struct error err = {0};
    struct mount_spec bind = {.type = "bind", .source = "/mnt/from", OPTIONS("rbind")};
    int userns = userns_new(&maps, &err);
    cr_assert_geq(userns, 0, "%s", err.text);
    cr_assert_eq(apply_at_with(&bind, userns, "/mnt/to", &err), STATUS_OK, "%s", err.text);
    owner_is("/mnt/to", 100000, 200000);
    owner_is("/mnt/to/in", 0, 0);
    close(userns);
}

Test(mount, on_a_descriptor, .init = make_tree)
{
    struct error err = {0};
    struct mount_spec bind = {.type = "bind", .source = "/mnt/from", OPTIONS("rbind", "ro")};
    cr_assert_eq(apply_at(&bind, "/mnt/to", &err), STATUS_OK, "%s", err.text);
    cr_assert(flags_of("/mnt/to/in") & ST_RDONLY);
    cr_assert_eq(mount_remove("/mnt/to"), 0);
    struct mount_spec tmpfs = {.type = "tmpfs", .source = "tmp", OPTIONS("size=64k", "nosuid")};
    cr_assert_eq(apply_at(&tmpfs, "/mnt/to", &err), STATUS_OK, "%s", err.text);
    cr_assert(flags_of("/mnt/to") & ST_NOSUID);
}

Test(mount, on_a_descriptor_nothing_is_passed_over, .init = make_tree)
{
    struct error err = {0};
    struct mount_spec bad[] = {
        {.type = "bind", .source = "/mnt/from", OPTIONS("idmap")},
        {.type = "bind", .source = "/mnt/from", OPTIONS("uidmap=0:1:1", "gidmap=0:1:1")},
        {.type = "bind", .source = "/mnt/from", OPTIONS("remount", "ro")},
        {.type = "overlay", .source = "overlay", OPTIONS("lowerdir=/mnt/from")},
        {.type = "bind"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        cr_expect_eq(apply_at(&bad[i], "/mnt/to", &err), STATUS_INVALID_ARGUMENT, "%zu: %s", i,
                     err.text);
        cr_expect_eq(mount_is_mounted("/mnt/to"), 0);
    }
}
