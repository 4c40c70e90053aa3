#include "support.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>

#include "base/cleanup.h"
#include "linux/cgroup_internal.h"

// A cgroup of this test alone, in the machine's hierarchies.
static struct cgroup_host *host;
static char top[64], sub[80];

static void remove_all(void)
{
    cgroup_signal_all(host, top, SIGKILL);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    for (int i = 0; i < 200 && cgroup_remove(host, top) == -EBUSY; i++)
        support_pause_ms(10);
}

static void setup(void)
{
    host = cgroup_host_open();
    cr_assert(host, "no cgroups: %s", strerror(errno));
    snprintf(top, sizeof(top), "/kuasar-unit-%d", (int)getpid());
    snprintf(sub, sizeof(sub), "%s/sub", top);
}

static void teardown(void)
{
    remove_all();
    cr_assert_not(cgroup_exists(host, top), "%s was left behind", top);
    host = cgroup_host_free(host);
}

static pid_t sleeper_in(const char *path)
{
    pid_t pid = support_sleeper();
    cr_assert_eq(cgroup_attach(host, path, pid), 0);
    return pid;
}

static void make(const char *path)
{
    bool created = false;
    cr_assert_eq(cgroup_make(host, path, &created), 0);
    cr_assert(created);
}

TestSuite(cgroup, .init = setup, .fini = teardown);

Test(cgroup, is_made_once_and_removed)
{
    bool created = false;
    cr_assert_not(cgroup_exists(host, top));
    make(sub);
    cr_assert(cgroup_exists(host, top) && cgroup_exists(host, sub));
    cr_assert_eq(cgroup_make(host, sub, &created), 0);
    cr_assert_not(created);
    cr_assert_eq(cgroup_remove(host, top), 0);
    cr_assert_not(cgroup_exists(host, top));
    cr_assert_eq(cgroup_remove(host, top), 0);
}

Test(cgroup, is_made_in_every_hierarchy)
{
    make(sub);
    for (size_t i = 0; i < host->n; i++) {
        int fd = cgroup_open(&host->h[i], sub);
        cr_assert_geq(fd, 0, "hierarchy %s", host->h[i].controllers);
        close(fd);
    }
}

Test(cgroup, takes_processes_and_tells_them)
{
    char other[96];
    snprintf(other, sizeof(other), "%s/other", top);
    make(sub);
    make(other);
    // (Version 2 takes none in a cgroup that hands controllers down.)
    pid_t a = sleeper_in(other), b = sleeper_in(sub);
    char *path = NULL;
    cr_assert_eq(cgroup_of_process(host, b, &path), 0);
    cr_assert_str_eq(path, sub);
    free(path);
    pid_t *pids = NULL;
    size_t n = 0;
    cr_assert_eq(cgroup_pids(host, top, &pids, &n), 0);
    cr_assert_eq(n, 2);
    cr_assert((pids[0] == a && pids[1] == b) || (pids[0] == b && pids[1] == a));
    free(pids);
    cr_assert_eq(cgroup_remove(host, top), -EBUSY);
    cr_assert_eq(cgroup_signal_all(host, top, SIGKILL), 2);
    support_wait(a);
    support_wait(b);
    cr_assert_eq(cgroup_signal_all(host, top, SIGKILL), 0);
}

static bool moves_to_where_it_is(void)
{
    char *before = NULL, *after = NULL;
    _cleanup_close_ int fd = cgroup_open_own_procs(host);
    bool same = fd >= 0 && cgroup_of_process(host, getpid(), &before) == 0 &&
                write(fd, "0", 1) == 1 && cgroup_of_process(host, getpid(), &after) == 0 &&
                strcmp(before, after) == 0;
    free(before);
    free(after);
    return same;
}

Test(cgroup, own_procs_move_nobody)
{
    cr_expect(moves_to_where_it_is());
    make(sub);
    pid_t pid = fork();
    if (pid == 0)
        _exit(cgroup_attach(host, sub, 0) == 0 && moves_to_where_it_is() ? 0 : 1);
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
}

Test(cgroup, absent_is_no_error)
{
    pid_t *pids = NULL;
    size_t n = 7;
    cr_assert_eq(cgroup_pids(host, top, &pids, &n), 0);
    cr_assert_eq(n, 0);
    free(pids);
    cr_assert_eq(cgroup_signal_all(host, top, SIGKILL), 0);
    cr_assert_eq(cgroup_oom_kills(host, top), 0);
    struct cgroup_stats s;
    cr_assert_eq(cgroup_stats_read(host, top, &s), -ENOENT);
    cr_assert_eq(cgroup_attach(host, top, 0), -ENOENT);
    cr_assert_eq(cgroup_freeze(host, top, true), -ENOENT);
    cr_assert_eq(cgroup_oom_watch(host, top), -ENOENT);
    char *path = NULL;
    cr_assert_eq(cgroup_of_process(host, 1 << 22, &path), -ESRCH);
    cr_assert_eq(cgroup_of_process(host, 0, &path), -ESRCH);
}

Test(cgroup, kills_frozen_processes)
{
    make(sub);
    pid_t pid = sleeper_in(sub);
    cr_assert_eq(cgroup_freeze(host, sub, true), 0);
    support_pause_ms(20);
    if (!host->v2) { // where it dies of a plain kill as well
        kill(pid, SIGKILL);
        support_pause_ms(20);
        cr_assert_eq(waitpid(pid, NULL, WNOHANG), 0);
    }
    cr_assert_eq(cgroup_signal_all(host, top, SIGKILL), 1);
    support_wait(pid);
}

Test(cgroup, other_signals_come_once)
{
    make(top);
    int count[2];
    cr_assert_eq(pipe2(count, O_CLOEXEC), 0);
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct timespec t = {.tv_nsec = 300000000};
        while (sigtimedwait(&usr1, NULL, &t) == SIGUSR1)
            (void)!write(count[1], "x", 1);
        _exit(0);
    }
    cr_assert_eq(cgroup_attach(host, top, pid), 0);
    cr_assert_eq(cgroup_signal_all(host, top, SIGUSR1), 1);
    support_wait(pid);
    char got[8];
    cr_assert_eq(read(count[0], got, sizeof(got)), 1);
}

Test(cgroup, kills_a_process_that_forks)
{
    make(top);
    pid_t pid = fork();
    if (pid == 0) {
        cgroup_attach(host, top, 0);
        for (;;) { // always one generation ahead, at most a few processes
            if (fork() > 0) {
                support_pause_ms(1);
                _exit(0);
            }
            support_pause_ms(1);
        }
    }
    support_pause_ms(50);
    cr_assert_gt(cgroup_signal_all(host, top, SIGKILL), 0);
    // Who is killed is in the list until it has ended; one that got away would stay.
    size_t n = 1;
    for (int i = 0; n && i < 500; i++) {
        pid_t *pids = NULL;
        support_pause_ms(10);
        cr_assert_eq(cgroup_pids(host, top, &pids, &n), 0);
        free(pids);
    }
    cr_assert_eq(n, 0);
}

Test(cgroup, reads_real_numbers)
{
    make(sub);
    sleeper_in(sub);
    struct cgroup_stats s;
    cr_assert_eq(cgroup_stats_read(host, sub, &s), 0);
    cr_assert_eq(s.v2, cgroup_is_v2(host));
    cr_assert_eq(s.pids_current, 1);
    cr_assert_eq(s.pids_limit, CGROUP_UNLIMITED);
    cr_assert_gt(s.memory_limit, UINT64_C(1) << 60);
    cr_assert(s.memory_stat);
    cr_assert(strstr(s.memory_stat, "pgfault "));
    if (!s.v2)
        cr_assert(s.cpu_percpu && s.cpu_percpu[0]);
    cgroup_stats_done(&s);
}

// Eats memory until the kernel ends it.
static void eat(void)
{
    for (size_t i = 0; i < 64; i++) {
        char *p = malloc(1 << 20);
        if (p)
            memset(p, (int)i, 1 << 20);
    }
}

Test(cgroup, out_of_memory_is_seen)
{
    make(top);
    const struct cgroup_hierarchy *memory = cgroup_hierarchy_find(host, "memory");
    int fd = cgroup_open(memory, top);
    int limit = openat(fd, host->v2 ? "memory.max" : "memory.limit_in_bytes", O_WRONLY | O_CLOEXEC);
    cr_assert_geq(limit, 0);
    cr_assert_eq(write(limit, "8388608", 7), 7);
    close(limit);
    close(fd);
    int watch = cgroup_oom_watch(host, top);
    cr_assert_geq(watch, 0);
    struct pollfd p = {.fd = watch, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        cgroup_attach(host, top, 0);
        eat();
        _exit(0);
    }
    int status = support_wait(pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cr_assert_eq(poll(&p, 1, 2000), 1);
    char buf[4096];
    cr_assert_gt(read(watch, buf, sizeof(buf)), 0);
    cr_assert_eq(read(watch, buf, sizeof(buf)), -1);
    cr_assert_eq(errno, EAGAIN);
    close(watch);
    cr_assert_eq(cgroup_oom_kills(host, top), 1);
}

Test(cgroup, failed_make_takes_back_what_it_made)
{
    make(top);
    // The last hierarchy refuses: its cgroup may not have children.
    const struct cgroup_hierarchy *last = &host->h[host->n - 1];
    int fd = cgroup_open(last, top);
    int max = openat(fd, "cgroup.max.depth", O_WRONLY | O_CLOEXEC);
    if (max < 0) {
        close(fd);
        // v1 has no such limit: a name that is too long for one hierarchy is too long for all
        char deep[CGROUP_PATH_MAX];
        size_t n = (size_t)snprintf(deep, sizeof(deep), "%s/a/", top);
        memset(deep + n, 'x', 256);
        deep[n + 256] = '\0';
        bool created = false;
        cr_assert_eq(cgroup_make(host, deep, &created), -EINVAL);
        cr_assert_not(created);
    } else {
        cr_assert_eq(write(max, "0", 1), 1);
        close(max);
        close(fd);
        bool created = false;
        cr_assert_eq(cgroup_make(host, sub, &created), -EAGAIN);
    }
    for (size_t i = 0; i < host->n; i++)
        cr_assert_eq(cgroup_open(&host->h[i], sub), -ENOENT);
}

Test(cgroup, hostile_paths_are_refused)
{
    static const char *const bad[] = {"",      "/",    "relative", "/..", "/a/../b", "/a//b",
                                      "/a/b/", "/./a", "/a/.",     "//a", "/a\nb",   NULL};
    for (size_t i = 0; i == 0 || bad[i - 1]; i++) {
        bool created = false;
        cr_assert_eq(cgroup_make(host, bad[i], &created), -EINVAL, "%s", bad[i]);
        cr_assert_eq(cgroup_remove(host, bad[i]), -EINVAL, "%s", bad[i]);
        cr_assert_eq(cgroup_signal_all(host, bad[i], SIGKILL), -EINVAL, "%s", bad[i]);
        cr_assert_eq(cgroup_attach(host, bad[i], 0), -EINVAL, "%s", bad[i]);
        cr_assert_not(cgroup_exists(host, bad[i]));
        if (!bad[i])
            break;
    }
}

// ---- names --------------------------------------------------------------------------------------

Test(cgroup_names, spec_paths)
{
    static const struct {
        const char *spec, *path;
    } rows[] = {
        {"/k8s.io/c1", "/k8s.io/c1"},
        {"/kubepods/burstable/podX/c1", "/kubepods/burstable/podX/c1"},
        {"kubepods/podX", "/kubepods/podX"},
        {"a.slice", "/a.slice"},
        {"kubepods-burstable-podx_y.slice",
         "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx_y.slice"},
        {"/kubepods.slice/kubepods-podx.slice", "/kubepods.slice/kubepods-podx.slice"},
        {"kubepods-podx.slice:cri-containerd:abc",
         "/kubepods.slice/kubepods-podx.slice/cri-containerd-abc.scope"},
        {":cri:abc", "/system.slice/cri-abc.scope"},
        {"-.slice:cri:abc", "/cri-abc.scope"},
        {"a.slice::abc", "/a.slice/abc.scope"},
        {"a.slice:x:b.slice", "/a.slice/b.slice"},
        {"", NULL},
        {"/", NULL},
        {"-.slice", NULL},
        {"/a/../b", NULL},
        {"../b", NULL},
        {"/a//b", NULL},
        {"a-.slice", NULL},
        {"-a.slice", NULL},
        {"a--b.slice", NULL},
        {".slice", NULL},
        {"a.slice:b", NULL},
        {"a.slice:b:", NULL},
        {"a.slice:b:c:d", NULL},
        {"a.slice:../..:c", NULL},
        {"a.slice:b:../c", NULL},
        {"nounit:b:c", NULL},
        {"a/b.slice:c:d", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *path = NULL;
        int r = cgroup_path_from_spec(rows[i].spec, &path);
        cr_assert_eq(r, rows[i].path ? 0 : -EINVAL, "%s: %d", rows[i].spec, r);
        if (rows[i].path)
            cr_assert_str_eq(path, rows[i].path);
        free(path);
    }
    char *path = NULL;
    cr_assert_eq(cgroup_path_from_spec(NULL, &path), -EINVAL);
    char endless[CGROUP_PATH_MAX + 10];
    memset(endless, 'a', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = '\0';
    cr_assert_eq(cgroup_path_from_spec(endless, &path), -EINVAL);
}

Test(cgroup_names, many_dashes_in_a_slice_stay_bounded)
{
    char slice[256] = "";
    for (size_t i = 0; i < 240; i += 2) {
        slice[i] = 'a';
        slice[i + 1] = '-';
    }
    strcpy(slice + 239, ".slice");
    char *path = NULL;
    cr_assert_eq(cgroup_path_from_spec(slice, &path), -EINVAL);
}

Test(cgroup_names, below_the_root_of_a_mount)
{
    static const struct {
        const char *root, *path, *below;
    } rows[] = {
        {"/", "/a/b", "/a/b"},
        {"/", "/", "/"},
        {"/docker/x", "/docker/x/a", "/a"},
        {"/docker/x", "/docker/x", "/"},
        {"/docker/x", "/docker/xy", NULL}, // components, not letters
        {"/docker/x", "/other", NULL},
        {"/..", "/../k8s.io/c", "/k8s.io/c"},
        {"/../..", "/../../k8s.io/c", "/k8s.io/c"},
        {"/..", "/own", NULL}, // the name of the own root is not known
        {"/", "/../outside", NULL},
        {"/../sib", "/../sib/x", "/x"},
        {"/..", "/..", "/"},
        {"/", "/..a", "/..a"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *below = NULL;
        int r = cgroup_path_below_root(rows[i].root, rows[i].path, &below);
        cr_assert_eq(r, rows[i].below ? 0 : -EXDEV, "%s in %s", rows[i].path, rows[i].root);
        if (rows[i].below)
            cr_assert_str_eq(below, rows[i].below);
        free(below);
    }
}

Test(cgroup_names, words_of_a_list)
{
    cr_assert(cgroup_list_has("cpu,cpuacct", "cpu"));
    cr_assert(cgroup_list_has("cpu,cpuacct", "cpuacct"));
    cr_assert_not(cgroup_list_has("cpuacct,cpuset", "cpu"));
    cr_assert_not(cgroup_list_has("", "cpu"));
    cr_assert_not(cgroup_list_has("cp", "cpu"));
}

Test(cgroup_names, own_cgroup_namespace)
{
    // In a cgroup namespace of its own a process finds its cgroups by the mounts it can see.
    setup();
    make(sub);
    pid_t pid = fork();
    if (pid == 0) {
        if (cgroup_attach(host, sub, 0) < 0 || unshare(CLONE_NEWCGROUP) < 0)
            _exit(1);
        struct cgroup_host *inner = cgroup_host_open();
        if (!inner)
            _exit(2);
        if (!cgroup_exists(inner, sub)) // the mounts still show the host's tree
            _exit(3);
        char *path = NULL;
        int r = cgroup_of_process(inner, getppid(), &path);
        _exit(r == -EXDEV || r == 0 ? 0 : 4);
    }
    int status = support_wait(pid);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 0, "%d", WEXITSTATUS(status));
    teardown();
}
