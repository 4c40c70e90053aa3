#include "support.h"

#include <sys/statvfs.h>

#include "linux/mount.h"

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

Test(mount, id_mapping_never_reaches_the_kernel, .init = support_private_mounts)
{
    support_mkdir("/mnt/t");
    struct mount_spec spec = {
        .type = "overlay", .source = "overlay", OPTIONS("uidmap=0:1000:100000", "lowerdir=/mnt")};
    cr_assert_eq(refused(&spec, "/mnt/t", NULL), STATUS_UNIMPLEMENTED);
    struct mount_spec gid = {.type = "tmpfs", .source = "x", OPTIONS("gidmap=0:1000:100000")};
    cr_assert_eq(refused(&gid, "/mnt/t", NULL), STATUS_UNIMPLEMENTED);
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
