// The host here is a mount namespace of the test's own, whose root is shared as systemd makes it.
#include "support.h"

#include <sys/file.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "linux/mount.h"
#include "linux/mount_space.h"

static const char dir[] = "/mnt/dir";
static struct mount_space mounts;

static void host_with(unsigned long propagation)
{
    support_private_mounts();
    cr_assert_eq(mount(NULL, "/", NULL, MS_REC | propagation, NULL), 0);
    support_mkdir(dir);
    support_mkdir("/mnt/dir/pod");
    support_mkdir("/mnt/volume");
    log_setup("test", LOG_LEVEL_ERROR + 1);
}

static void shared_host(void)
{
    host_with(MS_SHARED);
}

static int namespace_now(void)
{
    int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0);
    return fd;
}

static ino_t identity(int fd)
{
    struct stat st;
    cr_assert_eq(fstat(fd, &st), 0);
    return st.st_ino;
}

static void enter(void)
{
    struct error err = {0};
    cr_assert_eq(mount_space_enter(dir, "peer.lock", &mounts, &err), 0, "%s", err.text);
}

// The same in a child, which must not run into the framework.
static void enter_or_exit(void)
{
    struct error err = {0};
    if (mount_space_enter(dir, "peer.lock", &mounts, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        _exit(1);
    }
}

static void go(int fd)
{
    cr_assert_eq(setns(fd, CLONE_NEWNS), 0, "%s", strerror(errno));
}

static void put(const char *at)
{
    cr_assert_eq(mount("test", at, "tmpfs", 0, NULL), 0, "%s: %s", at, strerror(errno));
}

Test(mount_space, only_what_is_below_the_directory_is_ours_alone, .init = shared_host)
{
    _cleanup_close_ int host = namespace_now();
    enter();
    _cleanup_close_ int space = namespace_now();
    cr_assert_neq(identity(space), identity(host));
    put("/mnt/dir/pod");
    put("/mnt/volume"); // a container with Bidirectional propagation
    go(host);
    cr_expect_eq(mount_is_mounted("/mnt/dir/pod"), 0);
    cr_expect_eq(mount_is_mounted("/mnt/volume"), 1);
    cr_assert_eq(umount("/mnt/volume"), 0);
    support_mkdir("/mnt/later");
    put("/mnt/later");
    go(space);
    cr_expect_eq(mount_is_mounted("/mnt/dir/pod"), 1);
    cr_expect_eq(mount_is_mounted("/mnt/volume"), 0);
    cr_expect_eq(mount_is_mounted("/mnt/later"), 1);
}

Test(mount_space, files_are_the_same, .init = shared_host)
{
    _cleanup_close_ int host = namespace_now();
    enter();
    support_write("/mnt/dir/record", "x");
    go(host);
    cr_expect_eq(access("/mnt/dir/record", F_OK), 0);
}

// One daemon starts the other.
Test(mount_space, who_is_in_it_stays, .init = shared_host)
{
    enter();
    _cleanup_close_ int space = namespace_now();
    enter();
    _cleanup_close_ int now = namespace_now();
    cr_expect_eq(identity(now), identity(space));
}

// Nobody is in it between the two.
Test(mount_space, the_next_daemon_finds_what_the_last_has_mounted, .init = shared_host)
{
    pid_t first = fork();
    if (first == 0) {
        enter_or_exit();
        _exit(mount("test", "/mnt/dir/pod", "tmpfs", 0, NULL) < 0);
    }
    cr_assert_eq(support_wait(first), 0);
    cr_expect_eq(mount_is_mounted("/mnt/dir/pod"), 0);
    enter();
    cr_expect_eq(mount_is_mounted("/mnt/dir/pod"), 1);
}

Test(mount_space, daemons_that_start_together_share_it, .init = shared_host)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t pids[8];
    for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
        if ((pids[i] = fork()) == 0) {
            enter_or_exit();
            ino_t id = identity(namespace_now());
            _exit(write(ends[1], &id, sizeof(id)) != sizeof(id));
        }
    }
    ino_t first = 0;
    for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
        ino_t id = 0;
        cr_assert_eq(support_wait(pids[i]), 0);
        cr_assert_eq(read(ends[0], &id, sizeof(id)), (ssize_t)sizeof(id));
        first = i == 0 ? id : first;
        cr_expect_eq(id, first);
    }
}

// A program of ours sees what it is shown and what the host has, of now and of later.
Test(mount_space, a_program_sees_one_pod, .init = shared_host)
{
    support_mkdir("/mnt/dir/other");
    support_mkdir("/mnt/dir/pod/shm");
    enter();
    put("/mnt/dir/pod/shm");
    put("/mnt/dir/other");
    pid_t program = fork();
    if (program == 0) {
        int code = mount_space_show(&mounts, (const char *const[]){"/mnt/dir/pod", NULL}) < 0;
        code |= (mount_is_mounted("/mnt/dir/pod/shm") != 1) << 1;
        code |= (mount_is_mounted("/mnt/dir/other") != 0) << 2;
        // What a container mounts goes to the host, and from there to the others.
        code |= (mount("test", "/mnt/volume", "tmpfs", 0, NULL) < 0) << 3;
        _exit(code);
    }
    cr_expect_eq(support_wait(program), 0);
    cr_expect_eq(mount_is_mounted("/mnt/volume"), 1);
    program = fork();
    if (program == 0) {
        int code = mount_space_show(&mounts, NULL) < 0;
        code |= (mount_is_mounted("/mnt/dir/pod/shm") != 0) << 1;
        code |= (mount_is_mounted("/mnt/volume") != 1) << 2;
        _exit(code);
    }
    cr_expect_eq(support_wait(program), 0);
    program = fork();
    if (program == 0)
        _exit(mount_space_show(&mounts, (const char *const[]){"/mnt/dir/no", NULL}) != -ENOENT);
    cr_expect_eq(support_wait(program), 0);
    cr_expect_eq(mount_is_mounted("/mnt/dir/other"), 1);
}

// Whoever was linked before is gone.
Test(mount_space, the_host_sees_through_the_link, .init = shared_host)
{
    _cleanup_close_ int host = namespace_now();
    cr_assert_eq(symlink("/proc/1/root", "/mnt/dir/" MOUNT_SPACE_ROOT), 0);
    support_mkdir("/mnt/dir/pod/shm");
    enter();
    put("/mnt/dir/pod/shm");
    support_write("/mnt/dir/pod/shm/file", "x");
    cr_assert_eq(mount_space_link(dir), 0);
    pid_t other = fork();
    if (other == 0) {
        int code = setns(host, CLONE_NEWNS) < 0;
        code |= (access("/mnt/dir/pod/shm/file", F_OK) == 0) << 1;
        _exit(code | (access("/mnt/dir/" MOUNT_SPACE_ROOT "/mnt/dir/pod/shm/file", F_OK) < 0) << 2);
    }
    cr_expect_eq(support_wait(other), 0);
    mount_space_unlink(dir);
    cr_expect_eq(readlink("/mnt/dir/" MOUNT_SPACE_ROOT, (char[8]){0}, 8), -1);
}

Test(mount_space, there_and_back, .init = shared_host)
{
    ino_t host = identity(namespace_now());
    enter();
    ino_t own = identity(namespace_now());
    cr_expect_eq(mount_space_leave(&mounts), 0);
    cr_expect_eq(identity(namespace_now()), host);
    cr_expect_eq(mount_space_return(&mounts), 0);
    cr_expect_eq(identity(namespace_now()), own);
    mount_space_done(&mounts);
}

static void stays(void)
{
    _cleanup_close_ int host = namespace_now();
    enter();
    _cleanup_close_ int now = namespace_now();
    cr_expect_eq(identity(now), identity(host));
}

static void private_host(void)
{
    host_with(MS_PRIVATE);
}

Test(mount_space, not_where_later_mounts_of_the_host_would_not_be_seen, .init = private_host)
{
    stays();
}

Test(mount_space, not_beside_mounts_from_before, .init = shared_host)
{
    put("/mnt/dir/pod");
    stays();
}

// It was there first, and could not have one.
Test(mount_space, not_beside_a_daemon_that_has_none, .init = shared_host)
{
    _cleanup_close_ int lock = open("/mnt/dir/peer.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(flock(lock, LOCK_EX), 0);
    stays();
    cr_assert_eq(flock(lock, LOCK_UN), 0);
    ino_t host = identity(namespace_now());
    enter();
    cr_expect_neq(identity(namespace_now()), host);
}

Test(mount_space, a_host_that_shares_all_sees_nothing_either, .init = shared_host)
{
    _cleanup_close_ int host = namespace_now();
    support_mkdir("/mnt/dir/pod/shm");
    enter();
    put("/mnt/dir/pod/shm");
    go(host);
    cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL), 0);
    cr_assert_eq(mount_space_return(&mounts), 0);
    pid_t program = fork();
    if (program == 0)
        _exit(mount_space_show(&mounts, (const char *const[]){"/mnt/dir/pod", NULL}) != 0);
    cr_expect_eq(support_wait(program), 0);
    go(host);
    cr_expect_eq(mount_is_mounted("/mnt/dir/pod"), 0);
}

Test(mount_space, mounts_from_before_are_found_by_any_name, .init = shared_host)
{
    struct error err = {0};
    _cleanup_close_ int host = namespace_now();
    put("/mnt/dir/pod");
    cr_expect_eq(mount_space_enter("/mnt//dir/", "peer.lock", &mounts, &err), 0, "%s", err.text);
    cr_expect_eq(identity(namespace_now()), identity(host));
}

// The one who was killed had bound the directory, and made the file of the pin.
Test(mount_space, one_that_was_half_made_is_finished, .init = shared_host)
{
    cr_assert_eq(mount(dir, dir, NULL, MS_BIND, NULL), 0);
    support_write("/mnt/dir/" MOUNT_SPACE_PIN, "");
    _cleanup_close_ int host = namespace_now();
    enter();
    put("/mnt/dir/pod");
    go(host);
    cr_expect_eq(mount_is_mounted("/mnt/dir/pod"), 0);
}

Test(mount_space, a_pin_of_something_else_is_an_error, .init = shared_host)
{
    struct error err = {0};
    support_write("/mnt/dir/" MOUNT_SPACE_PIN, "");
    cr_assert_eq(mount("/proc/self/ns/net", "/mnt/dir/" MOUNT_SPACE_PIN, NULL, MS_BIND, NULL), 0);
    cr_assert_eq(mount_space_enter(dir, "peer.lock", &mounts, &err), -1);
    cr_expect(strstr(err.text, "/mnt/dir/" MOUNT_SPACE_PIN), "%s", err.text);
}

static void stay_on(int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
}

// With Linux 6.18 a namespace that was made on another processor may not be pinned.
Test(mount_space, made_on_whatever_processor)
{
    cpu_set_t all, now;
    cr_assert_eq(sched_getaffinity(0, sizeof(all), &all), 0);
    for (int at = 0; at < 4; at++) {
        if (!CPU_ISSET(at / 2, &all) || !CPU_ISSET(at % 2, &all))
            continue; // a machine with one processor
        pid_t pid = fork();
        if (pid == 0) {
            stay_on(at / 2);
            shared_host();
            ino_t host = identity(namespace_now());
            stay_on(at % 2);
            (void)sched_setaffinity(0, sizeof(all), &all);
            enter_or_exit();
            (void)sched_getaffinity(0, sizeof(now), &now);
            _exit(identity(namespace_now()) == host || !CPU_EQUAL(&now, &all));
        }
        cr_expect_eq(support_wait(pid), 0, "host made on %d, we begin on %d", at / 2, at % 2);
    }
}
