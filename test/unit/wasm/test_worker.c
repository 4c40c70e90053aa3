// The worker as a whole: real modules in real containers.
#include "rig.h"

#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "cache.h"

static struct rig rig;

static void open_rig(void)
{
    rig_open(&rig);
}

static void close_rig(void)
{
    rig_close(&rig);
}

TestSuite(worker, .init = open_rig, .fini = close_rig);

#define NEW_PIDS ",{\"type\":\"pid\"}]"
#define NO_PIDS  "]"

static void run_everything(bool found, bool compiled)
{
    cr_expect_eq(rig_run(&rig), 0, "%s%s", rig.ready.err.text, rig.text);
    cr_expect_str_eq(rig.text, "all of it\n");
    cr_expect_eq(rig.module.cached, found);
    cr_expect_eq(rig.ready.code, compiled);
}

static void check_everything(bool cached)
{
    run_everything(cached, !cached);
}

Test(worker, does_all_that_wasi_offers_compiled_or_from_the_cache)
{
    struct error err = {0};
    rig_build(&rig, "everything");
    rig_spec(&rig, "\"/everything.wasm\",\"one\",\"two\"", ",\"env\":[\"NAME=value\"]", NO_PIDS,
             "");
    check_everything(false);
    cr_assert_eq(cache_keep(rig.cache, rig.module.name, rig.code, &err), 0, "%s", err.text);
    check_everything(true);
    rig_spec(&rig, "\"/everything.wasm\",\"one\",\"two\"",
             ",\"env\":[\"NAME=value\"],\"user\":{\"uid\":1000,\"gid\":1000}", NEW_PIDS, "");
    check_everything(true);
}

// What cannot be loaded is compiled, and said to be new; what is not trusted is not even looked at.
static void check_compiled(bool found)
{
    run_everything(found, true);
}

Test(worker, loads_no_code_that_others_could_have_written)
{
    struct error err = {0};
    char dir[512], code[600], other[512];
    rig_build(&rig, "everything");
    rig_spec(&rig, "\"/everything.wasm\",\"one\",\"two\"", ",\"env\":[\"NAME=value\"]", NO_PIDS,
             "");
    check_compiled(false);
    cr_assert_eq(cache_keep(rig.cache, rig.module.name, rig.code, &err), 0, "%s", err.text);
    cr_assert_eq(path_format(dir, sizeof(dir), "%s/%s", rig.cache, rig.module.name), 0);
    cr_assert_eq(path_format(code, sizeof(code), "%s/code", dir), 0);
    cr_assert_eq(path_format(other, sizeof(other), "%s/other", rig.cache), 0);
    cr_assert_eq(chmod(code, 0622), 0);
    check_compiled(false);
    cr_assert(chmod(code, 0644) == 0 && chown(code, 1000, 0) == 0);
    check_compiled(false);
    cr_assert(chown(code, 0, 0) == 0 && chmod(dir, 0775) == 0);
    check_compiled(false);
    cr_assert(chmod(dir, 0755) == 0 && chmod(rig.cache, 0720) == 0);
    check_compiled(false);
    cr_assert(chmod(rig.cache, 0700) == 0 && chown(rig.cache, 1000, 0) == 0);
    check_compiled(false);
    cr_assert_eq(chown(rig.cache, 0, 0), 0);
    cr_assert(link(code, other) == 0);
    check_compiled(false);
    cr_assert(unlink(other) == 0);
    check_everything(true);
    cr_assert(rename(dir, other) == 0 && symlink("other", dir) == 0);
    check_compiled(false);
    cr_assert(unlink(dir) == 0 && rename(other, dir) == 0 && rename(code, other) == 0 &&
              symlink("../other", code) == 0);
    check_compiled(false);
    cr_assert(unlink(code) == 0 && rename(other, code) == 0);
    check_everything(true);
    cr_assert_eq(truncate(code, 4096), 0);
    check_compiled(true);
    cr_assert_eq(truncate(code, 0), 0);
    check_compiled(true);
    rig_write(&rig, "forged", "\177ELF not really", 0644);
    char forged[256];
    rig_path(&rig, "forged", forged);
    cr_assert_eq(rename(forged, code), 0);
    check_compiled(true);
}

// The system call that a process is in; -1: none.
static long call_of(pid_t pid)
{
    char path[64], text[64];
    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    FILE *f = fopen(path, "re");
    cr_assert(f, "%s", path);
    const char *got = fgets(text, sizeof(text), f);
    fclose(f);
    return !got || strcmp(got, "running\n") == 0 ? -1 : atol(got);
}

// The file of memory of that name that a process has open, opened anew.
static int open_memory_of(pid_t pid, const char *name)
{
    char dir[64], target[PATH_MAX];
    int fd = -1;
    snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)pid);
    DIR *fds = opendir(dir);
    cr_assert(fds, "%s", dir);
    for (struct dirent *e = readdir(fds); e && fd < 0; e = readdir(fds)) {
        ssize_t n = readlinkat(dirfd(fds), e->d_name, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        if (strncmp(target, "/memfd:", 7) == 0 && strncmp(target + 7, name, strlen(name)) == 0)
            fd = openat(dirfd(fds), e->d_name, O_RDWR | O_CLOEXEC);
    }
    closedir(fds);
    return fd;
}

static void hold_behind_its_module(void)
{
    rig.hold = true;
    rig_spawn(&rig);
    for (int i = 0; call_of(rig.pid) != SYS_sendmsg; i++) {
        cr_assert_lt(i, 10 * RIG_SECONDS * 100, "it does not come so far");
        usleep(1000);
    }
}

// Who gets hold of the copy, which the compiler has, cannot change it either.
Test(worker, the_copy_of_a_module_is_sealed)
{
    rig_build(&rig, "look");
    rig_spec(&rig, "\"/look.wasm\",\"/none\"", "", NO_PIDS, "");
    hold_behind_its_module();
    _cleanup_close_ int fd = open_memory_of(rig.pid, "module");
    cr_assert_geq(fd, 0);
    cr_expect(pwrite(fd, "x", 1, 0) < 0 && errno == EPERM);
    cr_expect(ftruncate(fd, 1) < 0 && errno == EPERM);
    cr_expect(ftruncate(fd, 1 << 20) < 0 && errno == EPERM);
    cr_expect(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM);
    cr_assert_eq(rig_hear(&rig), STATUS_OK, "%s", rig.ready.err.text);
    rig_go(&rig);
    cr_expect_eq(rig_wait(&rig), 0);
}

// Else the code of one would be kept under the name of another.
Test(worker, a_module_that_changes_after_it_was_looked_at_is_what_it_was)
{
    char path[256], text[4096];
    rig_build(&rig, "look");
    rig_build(&rig, "grow");
    rig_spec(&rig, "\"/look.wasm\",\"/none\"", "", NO_PIDS, "");
    hold_behind_its_module();
    // Written into the same file.
    rig_path(&rig, "rootfs/grow.wasm", path);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    rig_path(&rig, "rootfs/look.wasm", path);
    int to = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    for (ssize_t n; (n = read(from, text, sizeof(text))) > 0;)
        cr_assert_eq(write(to, text, (size_t)n), n);
    close(from);
    close(to);
    cr_assert_eq(rig_hear(&rig), STATUS_OK, "%s", rig.ready.err.text);
    rig_go(&rig);
    cr_expect_eq(rig_wait(&rig), 0);
    cr_expect_str_eq(rig.text, "-\n");
}

static void wait_until_it_runs(void)
{
    cr_assert_eq(rig_start(&rig), STATUS_OK, "%s", rig.ready.err.text);
    rig_go(&rig);
    ssize_t n = read(rig.out, rig.text, sizeof(rig.text) - 1);
    cr_assert_gt(n, 0);
    rig.text[n] = '\0';
    cr_assert_str_eq(rig.text, "running\n");
}

// The child of `pid`.
static pid_t child_of(pid_t pid)
{
    char path[64], text[64] = "";
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *f = fopen(path, "re");
    cr_assert(f && fgets(text, sizeof(text), f), "%s", path);
    fclose(f);
    return atoi(text);
}

Test(worker, a_busy_loop_ends_by_term)
{
    rig_build(&rig, "loop");
    rig_spec(&rig, "\"/loop.wasm\"", "", NO_PIDS, "");
    wait_until_it_runs();
    cr_assert_eq(kill(rig.pid, SIGTERM), 0);
    cr_assert_eq(rig_wait(&rig), 128 + SIGTERM);
}

Test(worker, a_busy_loop_ends_by_term_as_the_first_process)
{
    rig_build(&rig, "loop");
    rig_spec(&rig, "\"/loop.wasm\"", ",\"user\":{\"uid\":1000,\"gid\":1000}", NEW_PIDS, "");
    wait_until_it_runs();
    // It went on in a child, which is ours now.
    cr_assert_eq(waitpid(rig.pid, NULL, 0), rig.pid);
    cr_assert_eq(kill(child_of(getpid()), SIGTERM), 0);
    cr_assert_eq(rig_wait(&rig), 128 + SIGTERM);
}

static void status_of(pid_t pid, const char *key, char out[64])
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    cr_assert(f);
    out[0] = '\0';
    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
            snprintf(out, 64, "%.*s", (int)strcspn(line + strlen(key) + 2, "\n"),
                     line + strlen(key) + 2);
    }
    fclose(f);
}

Test(worker, has_nothing_when_it_runs)
{
    static const char *const keys[][2] = {
        {"CapInh", "0000000000000000"},
        {"CapPrm", "0000000000000000"},
        {"CapEff", "0000000000000000"},
        {"CapBnd", "0000000000000000"},
        {"CapAmb", "0000000000000000"},
        {"NoNewPrivs", "1"},
        {"Seccomp", "2"},
        {"Groups", "7 "},
        {"Uid", "1000\t1000\t1000\t1000"},
        {"Umask", "0077"},
    };
    char value[64], path[64];
    rig_build(&rig, "loop");
    rig_spec(&rig, "\"/loop.wasm\"",
             ",\"user\":{\"uid\":1000,\"gid\":1000,\"additionalGids\":[7],\"umask\":63},"
             "\"rlimits\":[{\"type\":\"RLIMIT_FSIZE\",\"soft\":4096,\"hard\":4096}]",
             NO_PIDS, "");
    wait_until_it_runs();
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        status_of(rig.pid, keys[i][0], value);
        cr_expect_str_eq(value, keys[i][1], "%s: %s", keys[i][0], value);
    }
    // None but the standard ones of ours: no socket, no directory.
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)rig.pid);
    for (int fd = WORKER_CONTROL; fd < 64; fd++) {
        char link[96], to[128] = "";
        snprintf(link, sizeof(link), "%s/%d", path, fd);
        if (readlink(link, to, sizeof(to) - 1) > 0)
            cr_expect(strncmp(to, "anon_inode:", 11) == 0 || strcmp(to, "/") == 0 ||
                          strncmp(to, "/memfd:", 7) == 0,
                      "%d: %s", fd, to);
    }
    cr_assert_eq(kill(rig.pid, SIGKILL), 0);
    cr_expect_eq(rig_wait(&rig), 128 + SIGKILL);
}

Test(worker, namespaces_without_a_path_are_new)
{
    static const char *const kinds[] = {"net", "ipc", "uts", "cgroup", "mnt"};
    char name[64], now[64];
    cr_assert_eq(gethostname(name, sizeof(name)), 0);
    rig_build(&rig, "loop");
    rig_spec(&rig, "\"/loop.wasm\"", "",
             ",{\"type\":\"network\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"cgroup\"}]"
             "},\"hostname\":\"another\",\"annotations\":{",
             "");
    wait_until_it_runs();
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        char path[64], ours[64] = "", its[64] = "";
        snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)rig.pid, kinds[i]);
        cr_assert_gt(readlink(path, its, sizeof(its) - 1), 0, "%s", path);
        snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
        cr_assert_gt(readlink(path, ours, sizeof(ours) - 1), 0);
        cr_expect_str_neq(ours, its, "%s", kinds[i]);
    }
    cr_assert_eq(gethostname(now, sizeof(now)), 0);
    cr_expect_str_eq(now, name);
    cr_assert_eq(kill(rig.pid, SIGKILL), 0);
    cr_expect_eq(rig_wait(&rig), 128 + SIGKILL);
}

static int grow_with(const char *resources)
{
    char more[256];
    snprintf(more, sizeof(more), NO_PIDS "%s", resources);
    rig_spec(&rig, "\"/grow.wasm\"", "", more, "");
    cr_assert_eq(rig_run(&rig), 0, "%s%s", rig.ready.err.text, rig.text);
    return atoi(rig.text);
}

Test(worker, memory_has_the_limit_of_the_spec_less_what_the_engine_needs)
{
    rig_build(&rig, "grow");
    int n = grow_with(",\"resources\":{\"memory\":{\"limit\":67108864}}");
    cr_expect(n > 40 && n < 56, "%d", n);
    n = grow_with(",\"resources\":{\"memory\":{\"limit\":8388608}}");
    cr_expect(n > 0 && n < 4, "%d", n);
    // None.
    cr_expect_eq(grow_with(",\"resources\":{\"memory\":{\"limit\":-1}}"), 256);
    cr_expect_eq(grow_with(""), 256);
}

static void refused(enum status status, const char *text)
{
    cr_expect_eq(rig_run(&rig), 125);
    cr_expect_eq(rig.ready.err.status, status, "%s", rig.ready.err.text);
    cr_expect(strstr(rig.ready.err.text, text), "%s", rig.ready.err.text);
}

Test(worker, the_module_must_be_readable_by_its_user)
{
    static const char user[] = ",\"user\":{\"uid\":1000,\"gid\":1000,\"additionalGids\":[7]}";
    char path[256], dir[256];
    rig_build(&rig, "look");
    rig_mkdir(&rig, "rootfs/d", 0755);
    rig_path(&rig, "rootfs/d/look.wasm", path);
    rig_path(&rig, "rootfs/d", dir);
    char from[256];
    rig_path(&rig, "rootfs/look.wasm", from);
    cr_assert_eq(rename(from, path), 0);
    cr_assert_eq(chmod(path, 0640), 0);

    rig_spec(&rig, "\"/d/look.wasm\"", user, NO_PIDS, "");
    refused(STATUS_PERMISSION_DENIED, "process.args[0]: \"/d/look.wasm\"");
    cr_assert_eq(chown(path, 0, 7), 0); // a supplementary group's
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
    cr_assert_eq(chown(path, 1000, 0), 0);
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
    cr_assert_eq(chmod(dir, 0700), 0);
    refused(STATUS_PERMISSION_DENIED, "user 1000 may");
    rig_spec(&rig, "\"/d/look.wasm\"", "", NO_PIDS, "");
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
}

Test(worker, what_is_no_file_is_not_opened)
{
    char path[256];
    rig_path(&rig, "rootfs/null", path);
    cr_assert_eq(mknod(path, S_IFCHR | 0666, makedev(1, 3)), 0);
    rig_spec(&rig, "\"/null\"", "", NO_PIDS, "");
    refused(STATUS_PERMISSION_DENIED, "is no file that user 0 may read");
    rig_write(&rig, "rootfs/text", "this is no module", 0644);
    rig_spec(&rig, "\"/text\"", "", NO_PIDS, "");
    refused(STATUS_INVALID_ARGUMENT, "is no WebAssembly");
    rig_write(&rig, "rootfs/broken", "", 0644);
    rig_spec(&rig, "\"/missing\"", "", NO_PIDS, "");
    refused(STATUS_NOT_FOUND, "process.args[0]");
}

Test(worker, a_profile_that_cannot_be_taken_is_no_container)
{
    rig_build(&rig, "look");
    rig_spec(&rig, "\"/look.wasm\"", ",\"apparmorProfile\":\"no-such-profile\"", NO_PIDS, "");
    cr_expect_eq(rig_run(&rig), 125);
    cr_expect(strstr(rig.ready.err.text, "process.apparmorProfile no-such-profile"), "%s",
              rig.ready.err.text);
}

// What `look` says of files "open", "masked" and "readonly", and directories of these names in /d.
#define LOOK                                                                                       \
    "\"/look.wasm\",\"/open\",\"/masked\",\"/readonly\",\"/d/open\",\"/d/masked\",\"/d/readonly\""

static void make_files(void)
{
    rig_build(&rig, "look");
    rig_mkdir(&rig, "rootfs/d", 0755);
    static const char *const names[] = {"open", "masked", "readonly"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char file[64], dir[64];
        snprintf(file, sizeof(file), "rootfs/%s", names[i]);
        snprintf(dir, sizeof(dir), "rootfs/d/%s", names[i]);
        rig_write(&rig, file, "text", 0666);
        rig_mkdir(&rig, dir, 0777);
    }
}

Test(worker, masked_and_readonly_paths)
{
    make_files();
    rig_spec(&rig, LOOK, "", NO_PIDS, "");
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
    cr_expect_str_eq(rig.text, "rw\nrw\nrw\nrw\nrw\nrw\n");
    rig_spec(&rig, LOOK, "",
             NO_PIDS ",\"maskedPaths\":[\"/proc/kcore\",\"/masked\",\"/d/masked\"],"
                     "\"readonlyPaths\":[\"/readonly\",\"/d/../d/readonly\",\"/proc/sys\"]",
             "");
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
    cr_expect_str_eq(rig.text, "rw\n-\nr\nrw\nr\nr\n");
}

Test(worker, a_readonly_root)
{
    make_files();
    rig_spec(&rig, LOOK, "", NO_PIDS, ",\"readonly\":true");
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
    cr_expect_str_eq(rig.text, "r\nr\nr\nr\nr\nr\n");
}

static void mounts(const char *options)
{
    char text[1024];
    snprintf(text, sizeof(text),
             NO_PIDS "},\"mounts\":[{\"destination\":\"/d/open\",\"type\":\"bind\",\"source\":"
                     "\"%s/volume\",\"options\":[%s]}],\"annotations\":{",
             rig.dir, options);
    rig_spec(&rig, LOOK, "", text, "");
}

Test(worker, mounts_are_as_they_were_asked_for)
{
    make_files();
    rig_mkdir(&rig, "volume", 0777);
    mounts("\"rbind\",\"rprivate\",\"rw\"");
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
    cr_expect_str_eq(rig.text, "rw\nrw\nrw\nrw\nrw\nrw\n");
    mounts("\"rbind\",\"rprivate\",\"ro\"");
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
    cr_expect_str_eq(rig.text, "rw\nrw\nrw\nr\nrw\nrw\n");
    mounts("\"rbind\",\"rprivate\",\"rro\"");
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
    cr_expect_str_eq(rig.text, "rw\nrw\nrw\nr\nrw\nrw\n");
    mounts("\"rbind\",\"idmap\"");
    refused(STATUS_INVALID_ARGUMENT, "idmap");
}

static void run_below(const char *options, const char *want)
{
    char text[1024];
    snprintf(text, sizeof(text),
             NO_PIDS "},\"mounts\":[{\"destination\":\"/v\",\"source\":\"%s/volume\","
                     "\"options\":[%s]}],\"annotations\":{",
             rig.dir, options);
    rig_spec(&rig, "\"/look.wasm\",\"/v\",\"/v/below\"", "", text, "");
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
    cr_expect_str_eq(rig.text, want, "%s: %s", options, rig.text);
}

Test(worker, recursive_words_hold_for_mounts_below)
{
    char below[256];
    rig_build(&rig, "look");
    rig_mkdir(&rig, "volume", 0777);
    rig_mkdir(&rig, "volume/below", 0777);
    rig_path(&rig, "volume/below", below);
    cr_assert(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
              mount("test", below, "tmpfs", 0, "mode=0777") == 0);
    run_below("\"rbind\",\"rw\"", "rw\nrw\n");
    run_below("\"rbind\",\"rro\"", "r\nr\n");
    // Stricter than runc, for which this is of the uppermost alone.
    run_below("\"rbind\",\"ro\"", "r\nr\n");
    cr_assert_eq(umount(below), 0);
}

// What a mount goes on is made, through links that stay inside.
Test(worker, mount_points_are_made)
{
    char link[256];
    rig_build(&rig, "look");
    rig_mkdir(&rig, "volume", 0777);
    rig_mkdir(&rig, "rootfs/real", 0755);
    rig_path(&rig, "rootfs/link", link);
    cr_assert_eq(symlink("/real", link), 0);
    char text[1024];
    snprintf(text, sizeof(text),
             NO_PIDS "},\"mounts\":["
                     "{\"destination\":\"/link/a/b/\",\"source\":\"%s/volume\",\"options\":"
                     "[\"rbind\"]},"
                     "{\"destination\":\"/new/file\",\"source\":\"%s/config.json\","
                     "\"options\":[\"bind\",\"ro\"]}],\"annotations\":{",
             rig.dir, rig.dir);
    rig_spec(&rig, "\"/look.wasm\",\"/real/a/b\",\"/new/file\",\"/new/none\"", "", text, "");
    cr_expect_eq(rig_run(&rig), 0, "%s", rig.ready.err.text);
    cr_expect_str_eq(rig.text, "rw\nr\n-\n");
}

Test(worker, nothing_is_mounted_over_the_root)
{
    rig_build(&rig, "look");
    rig_spec(&rig, "\"/look.wasm\"", "",
             NO_PIDS "},\"mounts\":[{\"destination\":\"/tmp/..\",\"type\":\"tmpfs\",\"source\":"
                     "\"tmpfs\"}],\"annotations\":{",
             "");
    refused(STATUS_INVALID_ARGUMENT, "mounts[0]: destination /tmp/..");
}
