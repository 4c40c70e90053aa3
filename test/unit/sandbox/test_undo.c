#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "linux/cgroup.h"
#include "linux/mount.h"
#include "sandbox/undo.h"

static json_object *steps(const char *text)
{
    struct error err = {0};
    json_object *o = json_parse(text, strlen(text), "steps", &err);
    cr_assert(o, "%s", err.text);
    return o;
}

Test(undo, survives_the_journal)
{
    struct undo u = {0}, back;
    struct process_id p = {.pid = 4711, .start_time = 99};
    struct error err = {0};
    cr_assert_eq(undo_push_path(&u, UNDO_UNMOUNT, "/d/x"), 0);
    cr_assert_eq(undo_push_path(&u, UNDO_CGROUP, "/pod"), 0);
    cr_assert_eq(undo_push_process(&u, &p), 0);
    cr_assert_eq(undo_push_path(&u, UNDO_INMATES, "/pod/of-d.scope"), 0);
    json_object *o = undo_to_json(&u);
    cr_assert_eq(undo_from_json(&back, o, "/d", &err), 0, "%s", err.text);
    cr_assert_eq(back.n, 4);
    cr_assert_str_eq(back.steps[0].path, "/d/x");
    cr_assert_eq(back.steps[1].kind, UNDO_CGROUP);
    cr_assert_eq(back.steps[2].process.pid, 4711);
    cr_assert_eq(back.steps[2].process.start_time, 99);
    cr_assert_eq(back.steps[3].kind, UNDO_INMATES);
    json_object_put(o);
    undo_done(&u);
    undo_done(&back);
}

Test(undo, a_list_from_outside_cannot_leave_its_directory)
{
    static const char *const bad[] = {
        "[{\"kind\":\"unmount\",\"path\":\"/etc\"}]",
        "[{\"kind\":\"unmount\",\"path\":\"/d/../etc\"}]",
        "[{\"kind\":\"unmount\",\"path\":\"/dx\"}]",
        "[{\"kind\":\"unmount\",\"path\":\"d\"}]",
        "[{\"kind\":\"unmount\"}]",
        "[{\"kind\":\"inmates\",\"path\":\"/kubepo\"}]",
        "[{\"kind\":\"inmates\",\"path\":\"/d/kubepos\"}]",
        "[{\"kind\":\"inmates\",\"path\":\"/\"}]",
        "[{\"kind\":\"format\",\"path\":\"/d/x\"}]",
        "[{\"kind\":\"process\",\"pid\":1,\"start_time\":1}]",
        "[{\"kind\":\"process\",\"pid\":-1,\"start_time\":1}]",
        "[{\"kind\":\"process\",\"pid\":5000}]",
        "[7]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct undo u;
        struct error err = {0};
        json_object *o = steps(bad[i]);
        cr_expect_lt(undo_from_json(&u, o, "/d", &err), 0, "%s was taken", bad[i]);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        json_object_put(o);
    }
}

Test(undo, is_bounded)
{
    struct undo u = {0};
    for (int i = 0; i < UNDO_MAX; i++)
        cr_assert_eq(undo_push_path(&u, UNDO_UNMOUNT, "/d"), 0);
    cr_assert_eq(undo_push_path(&u, UNDO_UNMOUNT, "/d"), -ENOSPC);
    undo_done(&u);
}

// Threads whose first one has ended are no process of a kind that /proc shows as alive.
static void *wait_for_ever(void *arg)
{
    for (;;)
        pause();
    return NULL;
}

Test(undo, kills_who_is_in_the_cgroup_and_removes_it)
{
    struct undo u = {0};
    struct error err = {0};
    bool made;
    char path[64];
    struct cgroup_host *host = cgroup_host_open();
    snprintf(path, sizeof path, "/undo-test-%d", (int)getpid());
    if (!host || cgroup_make(host, path, &made) < 0)
        cr_skip_test("no cgroup can be made here");
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            pthread_t thread;
            if (i < 2 && pthread_create(&thread, NULL, wait_for_ever, NULL) == 0)
                pthread_exit(NULL); // the first thread of two of them
            wait_for_ever(NULL);
        }
        cr_assert_eq(cgroup_attach(host, path, pids[i]), 0);
    }
    cr_assert_eq(undo_push_path(&u, UNDO_CGROUP, path), 0);
    cr_assert_eq(undo_push_path(&u, UNDO_INMATES, path), 0);
    cr_assert_eq(undo_run(&u, &err), 0, "%s", err.text);
    cr_assert_not(cgroup_exists(host, path));
    for (int i = 0; i < 4; i++) {
        int status;
        cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
        cr_assert(WIFSIGNALED(status));
    }
    cr_assert_eq(undo_run(&u, &err), 0, "once more: %s", err.text);
    undo_done(&u);
    cgroup_host_free(host);
}

Test(undo, ends_exactly_the_recorded_process)
{
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    struct process_id id, stranger;
    struct error err = {0};
    cr_assert_eq(process_identify(pid, &id), 0);
    // The same pid with another start time is somebody else.
    stranger = id;
    stranger.start_time++;
    struct undo u = {0};
    undo_push_process(&u, &stranger);
    cr_assert_eq(undo_run(&u, &err), 0, "%s", err.text);
    cr_assert_eq(waitpid(pid, NULL, WNOHANG), 0, "a stranger was killed");
    undo_done(&u);

    undo_push_process(&u, &id);
    cr_assert_eq(undo_run(&u, &err), 0, "%s", err.text);
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cr_assert_eq(undo_run(&u, &err), 0, "a second run finds nothing to do");
    undo_done(&u);
}

Test(undo, ends_the_members_of_a_pinned_namespace_and_unmounts)
{
    cr_assert_eq(unshare(CLONE_NEWNS), 0);
    cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    char dir[] = "/tmp/undo-XXXXXX", pin[64];
    cr_assert(mkdtemp(dir));
    snprintf(pin, sizeof pin, "%s/uts", dir);
    close(open(pin, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    int go[2];
    cr_assert_eq(pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWUTS) || mount("/proc/self/ns/uts", pin, NULL, MS_BIND, NULL) ||
            write(go[1], "", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    char c;
    cr_assert_eq(read(go[0], &c, 1), 1);
    struct undo u = {0};
    struct error err = {0};
    undo_push_path(&u, UNDO_UNMOUNT, dir);
    undo_push_path(&u, UNDO_MEMBERS, pin);
    cr_assert_eq(undo_run(&u, &err), 0, "%s", err.text);
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(mount_is_mounted(pin), 0);
    cr_assert_eq(undo_run(&u, &err), 0, "a second run: %s", err.text);
    undo_done(&u);
    unlink(pin);
    rmdir(dir);
}

Test(undo, a_zombie_is_no_member)
{
    cr_assert_eq(unshare(CLONE_NEWNS), 0);
    cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    char dir[] = "/tmp/undo-XXXXXX", pin[64], ns[64];
    cr_assert(mkdtemp(dir));
    snprintf(pin, sizeof pin, "%s/pid", dir);
    close(open(pin, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    cr_assert_eq(unshare(CLONE_NEWPID), 0);
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    snprintf(ns, sizeof ns, "/proc/%d/ns/pid", pid);
    cr_assert_eq(mount(ns, pin, NULL, MS_BIND, NULL), 0);
    struct undo u = {0};
    struct error err = {0};
    undo_push_path(&u, UNDO_MEMBERS, pin);
    // Nobody reaps it while the list runs.
    cr_assert_eq(undo_run(&u, &err), 0, "%s", err.text);
    cr_assert_eq(undo_run(&u, &err), 0, "%s", err.text);
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status));
    undo_done(&u);
    umount2(pin, MNT_DETACH);
    unlink(pin);
    rmdir(dir);
}

Test(undo, never_ends_members_of_the_hosts_namespace)
{
    cr_assert_eq(unshare(CLONE_NEWNS), 0);
    cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    char dir[] = "/tmp/undo-XXXXXX", pin[64];
    cr_assert(mkdtemp(dir));
    snprintf(pin, sizeof pin, "%s/uts", dir);
    close(open(pin, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    cr_assert_eq(mount("/proc/self/ns/uts", pin, NULL, MS_BIND, NULL), 0);
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    struct undo u = {0};
    struct error err = {0};
    undo_push_path(&u, UNDO_MEMBERS, pin);
    cr_assert_eq(undo_run(&u, &err), 0, "%s", err.text);
    cr_assert_eq(waitpid(pid, NULL, WNOHANG), 0, "a process of the host's namespace was killed");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    undo_done(&u);
    umount2(pin, MNT_DETACH);
    unlink(pin);
    rmdir(dir);
}
