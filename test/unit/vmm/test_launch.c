// Starting a machine's processes: who they are, what they see and hold.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vmm/launch.h"

TestSuite(launch, .timeout = 60);

static struct error err;

// Runs a shell script so and returns what it says.
static const char *says(struct launch l, const char *script)
{
    static char text[8192];
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct process_id id;
    int ends[2];
    size_t n = 0;
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    l.argv = argv;
    l.output = ends[1];
    l.dir = l.dir ? l.dir : "/";
    cr_assert_eq(launch(&l, &id, &err), 0, "%s", err.text);
    close(ends[1]);
    for (ssize_t r; (r = read(ends[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)r;
    text[n] = '\0';
    close(ends[0]);
    cr_assert_eq(waitpid(id.pid, NULL, 0), id.pid);
    return text;
}

Test(launch, a_user_without_rights)
{
    const struct launch l = {.user = 1342177290, .dir = "/tmp"};
    cr_assert_str_eq(
        says(l, "id -u; id -g; id -G; pwd; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status"),
        "1342177290\n1342177290\n1342177290\n/tmp\nCapEff:\t0000000000000000\n"
        "NoNewPrivs:\t1\n");
}

Test(launch, descriptors_have_their_numbers_and_there_are_no_others)
{
    int fds[3], more[2];
    cr_assert_eq(pipe(more), 0); // to be closed
    for (int i = 0; i < 3; i++) {
        char path[32];
        snprintf(path, sizeof path, "/proc/%d/%s", (int)getpid(),
                 (const char *[]){"stat", "maps", "limits"}[i]);
        fds[2 - i] = open(path, O_RDONLY); // in another order than they are given
    }
    const struct launch l = {.user = 65534, .fds = fds, .n_fds = 3};
    // (ls has one for the directory.)
    const char *text =
        says(l, "ls /proc/self/fd | tr '\\n' ' '; for i in 3 4 5; do basename $(readlink "
                "/proc/self/fd/$i); done; readlink /proc/self/fd/0");
    cr_assert_str_eq(text, "0 1 2 3 4 5 6 limits\nmaps\nstat\n/dev/null\n");
}

Test(launch, root_of_all_users_without_rights_outside)
{
    const struct launch l = {.own_users = true};
    const char *text = says(l, "id -u; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' ';"
                               "mknod /tmp/launch-test-null c 1 3 2>/dev/null || echo refused;"
                               "mount -t tmpfs none /mnt 2>/dev/null || echo refused");
    cr_assert_str_eq(text, "0\n 0 0 4294967295\n 0 0 4294967295\nrefused\nrefused\n");
}

Test(launch, a_monitor_has_devices_of_its_own)
{
    const struct launch l = {.user = 1342177290, .own_devices = true};
    struct stat before, after;
    cr_assert_eq(stat("/dev/null", &before), 0);
    const char *text =
        says(l, "ls -R /dev | tr '\\n' ' '; echo; test -w /dev/net/tun && test -w /dev/kvm &&"
                "echo x >/dev/null && echo y >/dev/shm/file && cat /dev/shm/file");
    cr_assert_str_eq(text,
                     "/dev: kvm net null random shm urandom zero  /dev/net: tun  /dev/shm: \ny\n");
    cr_assert_eq(stat("/dev/null", &after), 0);
    cr_assert_eq(before.st_dev, after.st_dev, "ours are as they were");
    cr_assert_lt(access("/dev/shm/file", F_OK), 0);
}

Test(launch, what_cannot_run_is_named)
{
    const char *const argv[] = {"/nowhere/vhost-device", NULL};
    struct process_id id;
    struct launch l = {.argv = argv, .dir = "/", .user = 65534, .output = -1};
    cr_assert_lt(launch(&l, &id, &err), 0);
    cr_assert_eq(err.status, STATUS_NOT_FOUND, "%s", err.text);
    cr_assert_not_null(strstr(err.text, "/nowhere/vhost-device"));
    l.dir = "/nowhere";
    cr_assert_lt(launch(&l, &id, &err), 0);
    cr_assert_not_null(strstr(err.text, "/nowhere"), "%s", err.text);
    cr_assert_lt(waitpid(-1, NULL, WNOHANG), 0, "no child is left");
}

// What any user may do otherwise.
Test(launch, a_filter_of_system_calls)
{
    const struct launch l = {.user = 1342177290, .filtered = true};
    static const char script[] =
        "grep Seccomp: /proc/self/status; for i in 1 2; do sh -c 'echo child $0' $i; done\n"
        "for what in -U -Ur -n -m; do unshare $what true 2>/dev/null && echo $what; done\n"
        "python3 -c 'import threading; t = threading.Thread(target=print, args=(\"thread\",)); "
        "t.start(); t.join()' 2>/dev/null || echo thread";
    cr_assert_str_eq(says(l, script), "Seccomp:\t2\nchild 1\nchild 2\nthread\n");
    const struct launch without = {.user = 1342177290};
    cr_assert_str_eq(says(without, "grep Seccomp: /proc/self/status"), "Seccomp:\t0\n");
}
