#include "support.h"

#include <signal.h>
#include <sys/utsname.h>

#include "linux/confine.h"
#include "linux/mount.h"
#include "linux/namespace.h"
#include "linux/userns.h"

#define INIT TEST_BINARY_DIR "/runc-sandboxer/init/pod-init"

// A mount namespace, a pin directory, and we are the subreaper that the init comes to.
static void setup(void)
{
    support_private_mounts();
    support_mkdir("/mnt/pod");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static ino_t ns_of(const char *path)
{
    struct stat st;
    cr_assert_eq(stat(path, &st), 0, "%s: %s", path, strerror(errno));
    return st.st_ino;
}

// A network namespace bound to /mnt/netns, as a CNI caller makes it.
static void make_netns(void)
{
    support_write("/mnt/netns", "");
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWNET) < 0 ||
              mount("/proc/self/ns/net", "/mnt/netns", NULL, MS_BIND, NULL) < 0);
    cr_assert_eq(support_wait(pid), 0);
}

// Runs the plan in a child, as a job does, and hands the init over.
struct answer {
    int r;
    struct process_id init;
    struct error err;
};

static struct answer run(const struct namespace_plan *plan)
{
    int pair[2];
    cr_assert_eq(pipe2(pair, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct answer a = {0};
        ino_t ipc = ns_of("/proc/self/ns/ipc"), net = ns_of("/proc/self/ns/net");
        a.r = namespace_plan_run(plan, &a.init, &a.err);
        if (ns_of("/proc/self/ns/ipc") != ipc || ns_of("/proc/self/ns/net") != net)
            _exit(2);
        _exit(write(pair[1], &a, sizeof(a)) != (ssize_t)sizeof(a));
    }
    close(pair[1]);
    struct answer a;
    cr_assert_eq(read(pair[0], &a, sizeof(a)), (ssize_t)sizeof(a));
    close(pair[0]);
    cr_assert_eq(support_wait(pid), 0);
    return a;
}

static struct process_id run_ok(const struct namespace_plan *plan)
{
    struct answer a = run(plan);
    cr_assert_eq(a.r, 0, "%s", a.err.text);
    return a.init;
}

// Joins a pinned namespace in a child and calls fn; its result is the child's exit status.
static int inside(const char *pin, int (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(pin, O_RDONLY | O_CLOEXEC);
        _exit(fd < 0 || setns(fd, 0) < 0 ? 99 : fn());
    }
    int status = support_wait(pid);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void nothing_left(void)
{
    static const char *const pins[] = {"/mnt/pod/ipc", "/mnt/pod/uts", "/mnt/pod/net",
                                       "/mnt/pod/pid", "/mnt/pod/user"};
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(mount_is_mounted(pins[i]), 0, "%s", pins[i]);
        cr_assert_eq(access(pins[i], F_OK), -1, "%s", pins[i]);
    }
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a process was left behind");
    cr_assert_eq(errno, ECHILD);
}

static int has_hostname(void)
{
    struct utsname u;
    return uname(&u) < 0 || strcmp(u.nodename, "pod-host") != 0;
}

Test(namespace, pins_outlive_their_maker_and_keep_the_hostname, .init = setup)
{
    struct utsname before, after;
    uname(&before);
    struct namespace_plan plan = {
        .dir = "/mnt/pod", .ipc = true, .uts = true, .hostname = "pod-host"};
    struct process_id init = run_ok(&plan);
    cr_assert_eq(init.pid, 0);
    cr_assert_eq(namespace_check("/mnt/pod/ipc", "ipc", NULL), 0);
    cr_assert_eq(namespace_check("/mnt/pod/uts", "uts", NULL), 0);
    cr_assert_neq(ns_of("/mnt/pod/ipc"), ns_of("/proc/self/ns/ipc"));
    cr_assert_neq(ns_of("/mnt/pod/uts"), ns_of("/proc/self/ns/uts"));
    cr_assert_eq(inside("/mnt/pod/uts", has_hostname), 0);
    uname(&after);
    cr_assert_str_eq(before.nodename, after.nodename);
    cr_assert_eq(access("/mnt/pod/net", F_OK), -1);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

static int forwards(void)
{
    char text[16] = "";
    support_read("/proc/sys/net/ipv4/ip_unprivileged_port_start", text, sizeof(text));
    return strcmp(text, "7\n") != 0;
}

static int shm_limited(void)
{
    char text[32] = "";
    support_read("/proc/sys/kernel/shmmni", text, sizeof(text));
    return strcmp(text, "77\n") != 0;
}

Test(namespace, netns_is_joined_and_sysctls_land_in_it, .init = setup)
{
    make_netns();
    char host_net[16], host_shm[32];
    support_read("/proc/sys/net/ipv4/ip_unprivileged_port_start", host_net, sizeof(host_net));
    support_read("/proc/sys/kernel/shmmni", host_shm, sizeof(host_shm));
    const struct sysctl sysctls[] = {{"net.ipv4.ip_unprivileged_port_start", "7"},
                                     {"kernel.shmmni", "77"}};
    struct namespace_plan plan = {
        .dir = "/mnt/pod", .ipc = true, .netns = "/mnt/netns", .sysctls = sysctls, .n_sysctls = 2};
    run_ok(&plan);
    cr_assert_eq(ns_of("/mnt/pod/net"), ns_of("/mnt/netns"));
    // The pin outlives the caller's own mount of it.
    cr_assert_eq(umount2("/mnt/netns", MNT_DETACH), 0);
    cr_assert_eq(inside("/mnt/pod/net", forwards), 0);
    cr_assert_eq(inside("/mnt/pod/ipc", shm_limited), 0);
    char now[32];
    support_read("/proc/sys/net/ipv4/ip_unprivileged_port_start", now, sizeof(now));
    cr_assert_str_eq(now, host_net);
    support_read("/proc/sys/kernel/shmmni", now, sizeof(now));
    cr_assert_str_eq(now, host_shm);
}

static void refuse(const struct namespace_plan *plan, enum status status, const char *word)
{
    struct answer a = run(plan);
    cr_assert_eq(a.r, -1);
    cr_assert_eq(a.err.status, status, "%s: %s", status_name(a.err.status), a.err.text);
    cr_assert(strstr(a.err.text, word), "%s", a.err.text);
    support_pause_ms(20); // a killed init may still be on its way
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    nothing_left();
}

Test(namespace, hostile_netns_paths_are_refused, .init = setup)
{
    struct namespace_plan plan = {.dir = "/mnt/pod", .ipc = true, .uts = true};
    plan.netns = "/mnt/absent";
    refuse(&plan, STATUS_NOT_FOUND, "/mnt/absent");
    support_write("/mnt/file", "");
    plan.netns = "/mnt/file";
    refuse(&plan, STATUS_INVALID_ARGUMENT, "not a net namespace");
    cr_assert_eq(mkfifo("/mnt/fifo", 0600), 0);
    plan.netns = "/mnt/fifo"; // nobody ever writes: must not wait
    refuse(&plan, STATUS_INVALID_ARGUMENT, "not a net namespace");
    plan.netns = "/proc/self/ns/ipc";
    refuse(&plan, STATUS_INVALID_ARGUMENT, "not a net namespace");
    plan.netns = "/proc/self/ns/net";
    refuse(&plan, STATUS_FAILED_PRECONDITION, "host's own");
}

Test(namespace, failure_leaves_nothing, .init = setup)
{
    make_netns();
    struct sysctl bad = {"net.ipv4.no_such_thing", "1"};
    struct namespace_plan plan = {.dir = "/mnt/pod",
                                  .ipc = true,
                                  .uts = true,
                                  .pid = true,
                                  .netns = "/mnt/netns",
                                  .sysctls = &bad,
                                  .n_sysctls = 1,
                                  .init_path = INIT,
                                  .init_name = "pod-init"};
    refuse(&plan, STATUS_INVALID_ARGUMENT, "net.ipv4.no_such_thing");
    bad = (struct sysctl){"net.ipv4.ip_forward", "bogus"};
    refuse(&plan, STATUS_INVALID_ARGUMENT, "net.ipv4.ip_forward");
    bad = (struct sysctl){"kernel.pid_max", "4194304"};
    refuse(&plan, STATUS_INVALID_ARGUMENT, "kernel.pid_max");
    plan.n_sysctls = 0;
    plan.init_path = "/mnt/absent";
    refuse(&plan, STATUS_NOT_FOUND, "/mnt/absent");
    plan.init_path = "/mnt";
    refuse(&plan, STATUS_FAILED_PRECONDITION, "not an executable file");
    support_write("/mnt/not-elf", "no program\n");
    chmod("/mnt/not-elf", 0755);
    plan.init_path = "/mnt/not-elf"; // everything is pinned by then
    struct answer a = run(&plan);
    cr_assert_eq(a.r, -1);
    cr_assert(strstr(a.err.text, "/mnt/not-elf"), "%s", a.err.text);
    support_pause_ms(20);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    nothing_left();
    char hostname[80];
    memset(hostname, 'h', 70);
    hostname[70] = '\0';
    struct namespace_plan uts = {.dir = "/mnt/pod", .uts = true, .hostname = hostname};
    refuse(&uts, STATUS_INVALID_ARGUMENT, "hostname");
}

Test(namespace, leftovers_are_replaced, .init = setup)
{
    struct namespace_plan plan = {.dir = "/mnt/pod", .ipc = true};
    run_ok(&plan);
    ino_t first = ns_of("/mnt/pod/ipc");
    int keep = open("/mnt/pod/ipc", O_RDONLY | O_CLOEXEC); // so that the number is not used again
    run_ok(&plan);
    cr_assert_neq(ns_of("/mnt/pod/ipc"), first);
    close(keep);
    cr_assert_eq(mount_remove("/mnt/pod/ipc"), 0);
    struct stat st;
    cr_assert_eq(stat("/mnt/pod/ipc", &st), 0);
    cr_assert(S_ISREG(st.st_mode) && st.st_size == 0);
    cr_assert_eq(unlink("/mnt/pod/ipc"), 0);
    support_write("/mnt/victim", "precious");
    cr_assert_eq(symlink("/mnt/victim", "/mnt/pod/ipc"), 0);
    run_ok(&plan);
    char text[16];
    support_read("/mnt/victim", text, sizeof(text));
    cr_assert_str_eq(text, "precious");
    cr_assert_eq(namespace_check("/mnt/pod/ipc", "ipc", NULL), 0);
}

Test(namespace, check_tells_the_kinds_apart)
{
    struct error err = {0};
    static const char *const kinds[] = {"net", "ipc", "uts", "pid", "user"};
    for (size_t i = 0; i < 5; i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
        for (size_t k = 0; k < 5; k++)
            cr_assert_eq(namespace_check(path, kinds[k], &err), i == k ? 0 : -1);
    }
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_assert_eq(namespace_check("/proc/0/ns/net", "net", &err), -1);
    cr_assert_eq(err.status, STATUS_NOT_FOUND);
    cr_assert_eq(namespace_check("/dev/null", "net", &err), -1);
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_assert_eq(namespace_check("/proc/self/ns/mnt", "mnt", &err), -1);
}

// ---- users -------------------------------------------------------------------------------------

static const struct id_maps users = {{0, 100000, 65536}, {0, 200000, 1000}};

static ino_t owner_of(const char *path)
{
    struct error err = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
    int owner = userns_of(fd, &err);
    cr_assert_geq(owner, 0, "%s", err.text);
    struct stat st;
    cr_assert_eq(fstat(owner, &st), 0);
    close(owner);
    close(fd);
    return st.st_ino;
}

// A network namespace in a user namespace of its own, bound to /mnt/netns, as containerd makes it.
static void make_user_netns(const struct id_maps *maps)
{
    struct error err = {0};
    int user = userns_new(maps, &err), pair[2];
    cr_assert_geq(user, 0, "%s", err.text);
    cr_assert_eq(pipe2(pair, O_CLOEXEC), 0);
    support_write("/mnt/netns", "");
    pid_t pid = fork();
    if (pid == 0) {
        if (setns(user, CLONE_NEWUSER) < 0 || unshare(CLONE_NEWNET) < 0)
            _exit(1);
        (void)!write(pair[1], "x", 1);
        for (;;)
            pause();
    }
    close(user);
    char x, path[64];
    cr_assert_eq(read(pair[0], &x, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    cr_assert_eq(mount(path, "/mnt/netns", NULL, MS_BIND, NULL), 0, "%s", strerror(errno));
    kill(pid, SIGKILL);
    support_wait(pid);
    close(pair[0]);
    close(pair[1]);
}

static int join_all(const char *const *pins)
{
    for (; *pins; pins++) {
        int fd = open(*pins, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || setns(fd, 0) < 0)
            return -1;
        close(fd);
    }
    return 0;
}

// What a container does there: its mqueue, and its share of the ids.
static int mounts_mqueue(void)
{
    static const char *const rest[] = {"/mnt/pod/ipc", "/mnt/pod/uts", NULL};
    char map[64];
    support_read("/proc/self/uid_map", map, sizeof(map));
    unsigned inside = 1, outside, length = 0;
    if (sscanf(map, "%u %u %u", &inside, &outside, &length) != 3 || inside != 0 || length != 65536)
        return 1;
    if (setresuid(0, 0, 0) < 0)
        return 2;
    if (join_all(rest) < 0)
        return 3;
    if (unshare(CLONE_NEWNS) < 0)
        return 4;
    // Anywhere that these users may look up.
    return mount("mqueue", "/proc", "mqueue", 0, NULL) < 0 ? 5 : has_hostname();
}

static void are_the_users_own(const char *const *pins)
{
    for (; *pins; pins++)
        cr_expect_eq(owner_of(*pins), ns_of("/mnt/pod/user"), "%s belongs to others", *pins);
}

Test(userns, is_new_with_the_hosts_network, .init = setup)
{
    struct sysctl sysctl = {"kernel.shm_rmid_forced", "1"};
    struct utsname u;
    cr_assert_eq(uname(&u), 0);
    // Before Linux 6.9 these are the host's root's to write alone.
    long major = strtol(u.release, NULL, 10), minor = strtol(strchr(u.release, '.') + 1, NULL, 10);
    bool can = major > 6 || (major == 6 && minor >= 9);
    struct namespace_plan plan = {.dir = "/mnt/pod",
                                  .ipc = true,
                                  .uts = true,
                                  .hostname = "pod-host",
                                  .users = &users,
                                  .sysctls = &sysctl,
                                  .n_sysctls = can ? 1 : 0};
    run_ok(&plan);
    static const char *const pins[] = {"/mnt/pod/ipc", "/mnt/pod/uts", NULL};
    cr_assert_eq(namespace_check("/mnt/pod/user", "user", NULL), 0);
    cr_assert_neq(ns_of("/mnt/pod/user"), ns_of("/proc/self/ns/user"));
    are_the_users_own(pins);
    cr_assert_eq(access("/mnt/pod/net", F_OK), -1);
    cr_assert_eq(inside("/mnt/pod/user", mounts_mqueue), 0);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

Test(userns, is_the_owner_of_the_network, .init = setup)
{
    make_user_netns(&users);
    struct sysctl sysctl = {"net.ipv4.ip_unprivileged_port_start", "7"};
    struct namespace_plan plan = {.dir = "/mnt/pod",
                                  .ipc = true,
                                  .uts = true,
                                  .hostname = "pod-host",
                                  .netns = "/mnt/netns",
                                  .users = &users,
                                  .sysctls = &sysctl,
                                  .n_sysctls = 1};
    run_ok(&plan);
    static const char *const pins[] = {"/mnt/pod/ipc", "/mnt/pod/uts", "/mnt/pod/net", NULL};
    cr_assert_eq(ns_of("/mnt/pod/user"), owner_of("/mnt/netns"));
    cr_assert_eq(ns_of("/mnt/pod/net"), ns_of("/mnt/netns"));
    cr_assert_eq(umount2("/mnt/netns", MNT_DETACH), 0);
    are_the_users_own(pins);
    cr_assert_eq(inside("/mnt/pod/net", forwards), 0);
    cr_assert_eq(inside("/mnt/pod/user", mounts_mqueue), 0);
}

Test(userns, of_others_are_refused, .init = setup)
{
    struct namespace_plan plan = {
        .dir = "/mnt/pod", .ipc = true, .uts = true, .netns = "/mnt/netns", .users = &users};
    make_netns();
    refuse(&plan, STATUS_FAILED_PRECONDITION, "belongs to the host's users");
    cr_assert_eq(umount2("/mnt/netns", MNT_DETACH), 0);
    struct id_maps other = users;
    other.gid.length--;
    make_user_netns(&other);
    refuse(&plan, STATUS_FAILED_PRECONDITION, "other id mappings");
    struct id_maps bad = {{0, 1, 0}, {0, 1, 1}};
    plan.users = &bad;
    refuse(&plan, STATUS_INTERNAL, "mappings");
}

// A failure behind the user namespace: what the kernel does not have as a sysctl.
Test(userns, failure_leaves_nothing, .init = setup)
{
    struct sysctl sysctl = {"fs.mqueue.no_such_thing", "1"};
    struct namespace_plan plan = {.dir = "/mnt/pod",
                                  .ipc = true,
                                  .uts = true,
                                  .users = &users,
                                  .sysctls = &sysctl,
                                  .n_sysctls = 1};
    refuse(&plan, STATUS_INVALID_ARGUMENT, "fs.mqueue.no_such_thing");
}

Test(userns, lives_as_long_as_its_descriptor_and_has_no_process)
{
    struct error err = {0};
    struct id_maps seen;
    int fd = userns_new(&users, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_assert_eq(errno, ECHILD);
    cr_assert_neq(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setns(fd, CLONE_NEWUSER) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    int r = -1;
    for (int i = 0; i < 500 && !(r == 0 && id_maps_equal(&seen, &users)); i++) {
        support_pause_ms(10);
        r = userns_maps(pid, &seen);
    }
    cr_expect(r == 0 && id_maps_equal(&seen, &users));
    kill(pid, SIGKILL);
    support_wait(pid);
    struct id_maps overlong = {{0, 4294967295, 1}, {0, 1, 1}};
    cr_expect_eq(userns_new(&overlong, &err), -1);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

// ---- the init ----------------------------------------------------------------------------------

static void skip_without_init(void)
{
    if (access(INIT, X_OK) < 0)
        cr_skip_test("pod-init is not built");
    setup();
}

// A failing assertion ends the test, and the init must not stay: a guard kills it then.
static void end_with_the_test(const struct process_id *init)
{
    int life[2];
    cr_assert_eq(pipe2(life, O_CLOEXEC), 0);
    pid_t guard = fork();
    if (guard == 0) {
        close(life[1]);
        close(STDOUT_FILENO);
        close(STDERR_FILENO);
        char end;
        (void)!read(life[0], &end, 1);
        process_signal(init, SIGKILL);
        _exit(0);
    }
    close(life[0]);
}

static struct process_id run_init(void)
{
    make_netns();
    static const struct namespace_plan plan = {.dir = "/mnt/pod",
                                               .ipc = true,
                                               .uts = true,
                                               .pid = true,
                                               .netns = "/mnt/netns",
                                               .hostname = "pod-host",
                                               .init_path = INIT,
                                               .init_name = "/usr/libexec/kuasar/pod-init"};
    struct process_id init = run_ok(&plan);
    cr_assert_gt(init.pid, 1);
    cr_assert(process_alive(&init));
    end_with_the_test(&init);
    return init;
}

// The same with users of its own.
static struct process_id run_users_init(void)
{
    make_user_netns(&users);
    static const struct namespace_plan plan = {.dir = "/mnt/pod",
                                               .ipc = true,
                                               .uts = true,
                                               .pid = true,
                                               .netns = "/mnt/netns",
                                               .users = &users,
                                               .init_path = INIT,
                                               .init_name = "pod-init"};
    struct process_id init = run_ok(&plan);
    cr_assert_gt(init.pid, 1);
    end_with_the_test(&init);
    return init;
}

static void end(const struct process_id *init, int sig)
{
    cr_assert_eq(process_signal(init, sig), 0);
    int status = support_wait(init->pid);
    if (sig == SIGKILL)
        cr_assert(WIFSIGNALED(status));
    else
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_assert_not(process_alive(init));
}

static ino_t ns_of_pid(pid_t pid, const char *kind)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kind);
    return ns_of(path);
}

static void is_locked_down(const struct process_id *at)
{
    const struct process_id init = *at;
    char value[64];
    static const char *const caps[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    for (size_t i = 0; i < 5; i++) {
        support_status(init.pid, caps[i], value, sizeof(value));
        cr_assert_str_eq(value, "0000000000000000", "%s", caps[i]);
    }
    support_status(init.pid, "NoNewPrivs", value, sizeof(value));
    cr_assert_str_eq(value, "1");
    support_status(init.pid, "Seccomp", value, sizeof(value));
    cr_assert_str_eq(value, "2");
    support_status(init.pid, "Name", value, sizeof(value));
    cr_assert_str_eq(value, "pod-init");
    support_status(init.pid, "NSpid", value, sizeof(value));
    cr_assert(strstr(value, "\t1"), "%s", value);
}

static void has_an_empty_root_and_no_descriptors(const struct process_id *at)
{
    const struct process_id init = *at;
    char path[64];
    for (int fd = 0; fd < 3; fd++) {
        char link[64] = "";
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)init.pid, fd);
        cr_assert_gt(readlink(path, link, sizeof(link) - 1), 0);
        cr_assert_str_eq(link, "/dev/null");
    }
    for (int fd = 3; fd < 64; fd++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)init.pid, fd);
        cr_assert_eq(access(path, F_OK), -1, "descriptor %d is open", fd);
    }
    char table[4096];
    snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)init.pid);
    support_read(path, table, sizeof(table));
    cr_assert(strstr(table, " / / ro,"), "%s", table);
    cr_assert_eq(strchr(table, '\n')[1], '\0', "more than one mount: %s", table);
    snprintf(path, sizeof(path), "/proc/%d/root/x", (int)init.pid);
    cr_assert_eq(mkdir(path, 0755), -1);
    cr_assert_eq(errno, EROFS);
}

Test(namespace, init_is_locked_down, .init = skip_without_init)
{
    struct process_id init = run_init();
    is_locked_down(&init);
    end(&init, SIGKILL);
}

Test(namespace, init_has_an_empty_root_and_no_descriptors, .init = skip_without_init)
{
    struct process_id init = run_init();
    has_an_empty_root_and_no_descriptors(&init);
    end(&init, SIGTERM);
}

// With the capabilities that a daemon has left.
Test(userns, a_confined_daemon_may_make_it, .init = skip_without_init)
{
    struct error err = {0};
    static const struct id_maps to_root = {{0, 0, 1000}, {0, 0, 1000}};
    struct namespace_plan plan = {.dir = "/mnt/pod",
                                  .ipc = true,
                                  .uts = true,
                                  .pid = true,
                                  .hostname = "pod-host",
                                  .users = &to_root,
                                  .init_path = INIT,
                                  .init_name = "pod-init"};
    cr_assert_eq(confine_daemon(&err), 0, "%s", err.text);
    struct process_id init = run_ok(&plan);
    end_with_the_test(&init);
    end(&init, SIGTERM);
}

static int mounts_proc(void)
{
    static const char *const pid_ns[] = {"/mnt/pod/pid", NULL};
    if (setresuid(0, 0, 0) < 0 || join_all(pid_ns) < 0 || unshare(CLONE_NEWNS) < 0)
        return 1;
    pid_t pid = fork(); // the first one in the pid namespace
    if (pid == 0)
        _exit(mount("proc", "/proc", "proc", 0, NULL) < 0 ? 2 : 0);
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

Test(userns, init_is_in_it_and_locked_down, .init = skip_without_init)
{
    struct process_id init = run_users_init();
    is_locked_down(&init);
    has_an_empty_root_and_no_descriptors(&init);
    char value[64];
    support_status(init.pid, "Uid", value, sizeof(value));
    cr_assert_str_eq(value, "100000\t100000\t100000\t100000");
    support_status(init.pid, "Gid", value, sizeof(value));
    cr_assert_str_eq(value, "200000\t200000\t200000\t200000");
    support_status(init.pid, "Groups", value, sizeof(value));
    cr_assert_eq(strspn(value, " "), strlen(value), "groups: %s", value);
    cr_assert_eq(ns_of_pid(init.pid, "user"), ns_of("/mnt/pod/user"));
    static const char *const pins[] = {"/mnt/pod/pid", "/mnt/pod/net", NULL};
    are_the_users_own(pins);
    struct process_id found;
    cr_assert_eq(namespace_find_init("/mnt/pod/pid", &found), 0);
    cr_assert_eq(found.pid, init.pid);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    cr_assert_eq(inside("/mnt/pod/user", mounts_proc), 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    end(&init, SIGTERM);
}

Test(namespace, init_program_cannot_be_written_through_proc, .init = skip_without_init)
{
    support_write("/mnt/init", "");
    // A copy that is not in use anywhere else, so that "text file busy" cannot be the reason.
    cr_assert_eq(system("cp " INIT " /mnt/init && chmod 755 /mnt/init"), 0);
    struct namespace_plan plan = {
        .dir = "/mnt/pod", .pid = true, .init_path = "/mnt/init", .init_name = "pod-init"};
    struct process_id init = run_ok(&plan);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)init.pid);
    int exe = open(path, O_PATH | O_CLOEXEC);
    cr_assert_geq(exe, 0);
    end(&init, SIGKILL);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", exe);
    cr_assert_eq(open(path, O_WRONLY | O_CLOEXEC), -1);
    cr_assert_eq(errno, EROFS);
    close(exe);
}

Test(namespace, init_is_in_the_pods_namespaces, .init = skip_without_init)
{
    struct process_id init = run_init();
    cr_assert_eq(ns_of_pid(init.pid, "ipc"), ns_of("/mnt/pod/ipc"));
    cr_assert_eq(ns_of_pid(init.pid, "uts"), ns_of("/mnt/pod/uts"));
    cr_assert_eq(ns_of_pid(init.pid, "net"), ns_of("/mnt/pod/net"));
    cr_assert_eq(ns_of_pid(init.pid, "pid"), ns_of("/mnt/pod/pid"));
    cr_assert_neq(ns_of_pid(init.pid, "mnt"), ns_of("/proc/self/ns/mnt"));
    cr_assert_neq(ns_of_pid(init.pid, "pid"), ns_of("/proc/self/ns/pid"));
    end(&init, SIGINT);
}

// Runs in the pod's pid namespace: leaves an orphan that ends at once, tells whether it was reaped.
static int orphan(void)
{
    int pair[2];
    if (pipe(pair) < 0)
        return 1;
    pid_t child = fork(); // the first one that is in the joined namespace
    if (child == 0) {
        pid_t middle = fork();
        if (middle == 0) {
            pid_t grandchild = fork();
            if (grandchild == 0) {
                support_pause_ms(50);
                _exit(0);
            }
            (void)!write(pair[1], &grandchild, sizeof(grandchild));
            _exit(0);
        }
        waitpid(middle, NULL, 0);
        pid_t grandchild;
        if (read(pair[0], &grandchild, sizeof(grandchild)) != sizeof(grandchild))
            _exit(2);
        if (kill(grandchild, 0) < 0)
            _exit(3); // must still be there
        for (int i = 0; i < 200; i++) {
            if (kill(grandchild, 0) < 0 && errno == ESRCH)
                _exit(0); // a zombie would still be found
            support_pause_ms(10);
        }
        _exit(4);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 5;
}

Test(namespace, init_is_found_by_its_pin, .init = skip_without_init)
{
    struct process_id init = run_init(), found = {0};
    cr_assert_eq(namespace_find_init("/mnt/pod/pid", &found), 0);
    cr_assert_eq(found.pid, init.pid);
    cr_assert_eq(found.start_time, init.start_time);
    end(&init, SIGKILL);
    cr_assert_eq(namespace_find_init("/mnt/pod/pid", &found), -ENOENT);
    cr_assert_eq(namespace_find_init("/mnt/pod/absent", &found), -ENOENT);
    cr_assert_eq(namespace_find_init("/mnt/pod/ipc", &found), -ENOENT);
}

Test(namespace, init_reaps_orphans, .init = skip_without_init)
{
    struct process_id init = run_init();
    // The child of the namespace must not have us as its reaper.
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    cr_assert_eq(inside("/mnt/pod/pid", orphan), 0);
    cr_assert(process_alive(&init));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    end(&init, SIGTERM);
}

static int stay(void)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    int status;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : 1;
}

Test(namespace, death_of_the_init_ends_everything_in_it, .init = skip_without_init)
{
    struct process_id init = run_init();
    pid_t member = fork();
    if (member == 0) {
        int fd = open("/mnt/pod/pid", O_RDONLY | O_CLOEXEC);
        _exit(fd < 0 || setns(fd, 0) < 0 ? 99 : stay());
    }
    support_pause_ms(50);
    int pidfd = process_open(&init);
    cr_assert_geq(pidfd, 0);
    end(&init, SIGTERM);
    cr_assert_eq(support_wait(member), 0);
    close(pidfd);
}

Test(namespace, signals_from_the_namespace_do_not_stop_the_reaping, .init = skip_without_init)
{
    struct process_id init = run_init();
    static const int harmless[] = {SIGHUP, SIGUSR1, SIGPIPE, SIGALRM, SIGCHLD, SIGQUIT};
    for (size_t i = 0; i < 6; i++)
        cr_assert_eq(process_signal(&init, harmless[i]), 0);
    cr_assert_eq(process_signal(&init, SIGSTOP), 0);
    cr_assert_eq(process_signal(&init, SIGCONT), 0);
    support_pause_ms(50);
    cr_assert(process_alive(&init));
    end(&init, SIGTERM);
}

static void kill_at_every_moment(const struct id_maps *maps)
{
    // Kills the caller at ever later moments; whatever it has reached, either it answered or
    // everything is gone.
    for (int us = 0; us < 6000; us += 300) {
        struct namespace_plan plan = {.dir = "/mnt/pod",
                                      .ipc = true,
                                      .uts = true,
                                      .pid = true,
                                      .users = maps,
                                      .init_path = INIT,
                                      .init_name = "pod-init"};
        pid_t pid = fork();
        if (pid == 0) {
            struct process_id init;
            // An init that was told to go is the answer's business.
            _exit(namespace_plan_run(&plan, &init, NULL) == 0 && kill(init.pid, SIGKILL) == 0 ? 7
                                                                                              : 8);
        }
        struct timespec t = {.tv_nsec = us * 1000};
        nanosleep(&t, NULL);
        kill(pid, SIGKILL);
        support_wait(pid);
        struct process_id init;
        if (namespace_find_init("/mnt/pod/pid", &init) == 0)
            cr_assert_eq(process_signal(&init, SIGKILL), 0);
        bool clean = false;
        for (int i = 0; i < 100 && !clean; i++) {
            while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
            clean = waitpid(-1, NULL, WNOHANG) < 0;
            if (!clean)
                support_pause_ms(5);
        }
        cr_expect(clean, "killed after %d us: a process stayed", us);
        cr_assert_eq(mount_remove_below("/mnt/pod"), 0);
    }
}

Test(namespace, killed_caller_leaves_no_process, .init = skip_without_init)
{
    kill_at_every_moment(NULL);
}

Test(userns, killed_caller_leaves_no_process, .init = skip_without_init)
{
    kill_at_every_moment(&users);
}
