// Real containers: the server drives runc (or $TEST_RUNTIME) on a busybox root. Skipped, with a
// reason, where there is no root, no runtime or no static busybox.
#include "support.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "linux/mount.h"
#include "task/ops.h"

static const char *busybox(void)
{
    static const char *const paths[] = {"/bin/busybox", "/usr/bin/busybox"};
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        if (access(paths[i], X_OK) == 0)
            return paths[i];
    }
    return NULL;
}

static bool can_run(void)
{
    char command[256];
    const char *runtime = getenv("TEST_RUNTIME") ? getenv("TEST_RUNTIME") : "runc";
    snprintf(command, sizeof command, "command -v %s >/dev/null", runtime);
    if (geteuid() != 0)
        cr_skip("containers need root\n");
    else if (system(command) != 0)
        cr_skip("no %s on this machine\n", runtime);
    else if (!busybox())
        cr_skip("no static busybox on this machine\n");
    else
        return true;
    return false;
}

static struct node *live_new(void)
{
    struct node *n = node_new(&task_oci_ops);
    char command[1024];
    snprintf(
        command, sizeof command,
        "cd %s && mkdir -p base/bin base/proc base/dev base/tmp base/sys && cp %s base/bin/ && "
        "for a in sh cat sleep echo kill true yes head tty stty tail dd seq; do ln -s busybox "
        "base/bin/$a; done",
        n->dir, busybox());
    cr_assert(system(command) == 0);
    return n;
}

struct bundle {
    char dir[128], fifo[3][160];
    int out, err, in;
};

// `args`: JSON array. `extra`: more members of the spec, each with a comma in front.
static void bundle_make(struct node *n, struct bundle *b, const char *id, const char *args,
                        bool terminal, const char *namespaces, const char *resources)
{
    static const char *const names[] = {"in", "out", "err"};
    char spec[8192];
    snprintf(b->dir, sizeof b->dir, "%s/b-%s", n->dir, id);
    cr_assert(mkdir(b->dir, 0700) == 0);
    char rootfs[160];
    snprintf(rootfs, sizeof rootfs, "%s/rootfs", b->dir);
    cr_assert(mkdir(rootfs, 0755) == 0);
    snprintf(
        spec, sizeof spec,
        "{\"ociVersion\":\"1.0.2\",\"process\":{\"terminal\":%s,\"consoleSize\":{\"height\":31,"
        "\"width\":97},\"user\":{\"uid\":0,\"gid\":0},\"args\":%s,\"env\":[\"PATH=/bin\"],"
        "\"cwd\":\"/\"},\"root\":{\"path\":\"rootfs\"},\"mounts\":[{\"destination\":\"/proc\","
        "\"type\":\"proc\",\"source\":\"proc\"},{\"destination\":\"/dev\",\"type\":\"tmpfs\","
        "\"source\":\"tmpfs\"},{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":"
        "\"devpts\",\"options\":[\"newinstance\",\"ptmxmode=0666\"]}],\"linux\":{"
        "\"cgroupsPath\":\"/task-test-%d-%s\",\"namespaces\":[{\"type\":\"mount\"},"
        "{\"type\":\"ipc\"},{\"type\":\"uts\"}%s]%s}}",
        terminal ? "true" : "false", args, getpid(), id, namespaces, resources);
    write_text(spec, "%s/config.json", b->dir);
    for (int i = 0; i < 3; i++) {
        snprintf(b->fifo[i], sizeof b->fifo[i], "%s/%s", b->dir, names[i]);
        cr_assert(mkfifo(b->fifo[i], 0700) == 0);
    }
    b->out = open(b->fifo[1], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    b->err = open(b->fifo[2], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    b->in = -1;
}

static void bundle_done(struct bundle *b)
{
    close(b->out);
    close(b->err);
    if (b->in >= 0)
        close(b->in);
}

#define PRIVATE_PID ",{\"type\":\"pid\"}"

static enum status create_with(struct node *n, struct bundle *b, const char *id, bool terminal,
                               Google__Any *options, struct answer *a)
{
    Task__CreateTaskRequest r = TASK__CREATE_TASK_REQUEST__INIT;
    Types__Mount m = TYPES__MOUNT__INIT, *mounts[] = {&m};
    char base[128];
    char *how[] = {(char *)"rbind", (char *)"ro"};
    snprintf(base, sizeof base, "%s/base", n->dir);
    m.type = (char *)"bind";
    m.source = base;
    m.options = how;
    m.n_options = ARRAY_SIZE(how);
    r.id = (char *)id;
    r.bundle = b->dir;
    r.stdin = b->fifo[0];
    r.stdout = b->fifo[1];
    r.stderr = b->fifo[2];
    r.terminal = terminal;
    r.rootfs = mounts;
    r.n_rootfs = 1;
    r.options = options;
    return node_call(n, "Create", &r, &task__create_task_response__descriptor, a);
}

static enum status create(struct node *n, struct bundle *b, const char *id, bool terminal,
                          struct answer *a)
{
    return create_with(n, b, id, terminal, NULL, a);
}

static void create_ok_with(struct node *n, struct bundle *b, const char *id, bool terminal,
                           Google__Any *options)
{
    struct answer a;
    enum status s = create_with(n, b, id, terminal, options, &a);
    cr_assert(s == STATUS_OK, "Create: %s", a.err.text);
    cr_assert(((Task__CreateTaskResponse *)a.msg)->pid > 1);
    answer_done(&a);
}

static void create_ok(struct node *n, struct bundle *b, const char *id, bool terminal)
{
    create_ok_with(n, b, id, terminal, NULL);
}

static enum status exec_add_with(struct node *n, const char *id, const char *exec_id,
                                 const char *args, bool terminal, const char *in, const char *out)
{
    Task__ExecProcessRequest r = TASK__EXEC_PROCESS_REQUEST__INIT;
    char process[1024];
    Google__Any any;
    snprintf(process, sizeof process,
             "{\"args\":%s,\"cwd\":\"/\",\"env\":[\"PATH=/bin\"],\"user\":{\"uid\":0,\"gid\":0}}",
             args);
    any_set(&any, ANY_OCI_PROCESS, process, strlen(process));
    r.id = (char *)id;
    r.exec_id = (char *)exec_id;
    r.stdin = (char *)(in ? in : "");
    r.stdout = (char *)(out ? out : "");
    r.terminal = terminal;
    r.spec = &any;
    enum status s = node_call(n, "Exec", &r, EMPTY, NULL);
    any_clear(&any);
    return s;
}

static enum status exec_add(struct node *n, const char *id, const char *exec_id, const char *args,
                            bool terminal, const char *out)
{
    return exec_add_with(n, id, exec_id, args, terminal, NULL, out);
}

static void start_sleeper(struct node *n, struct bundle *b, const char *id, const char *namespaces)
{
    bundle_make(n, b, id, "[\"sleep\",\"1000\"]", false, namespaces, "");
    create_ok(n, b, id, false);
    cr_assert(node_start(n, id, "") == STATUS_OK);
}

// Reads until the end of file or until `text` has come; runs the loop meanwhile.
static size_t read_all(struct node *n, int fd, char *buf, size_t size, const char *text)
{
    size_t len = 0;
    for (int i = 0; i < 500 && len < size - 1; i++) {
        ssize_t r = read(fd, buf + len, size - 1 - len);
        if (r > 0)
            len += (size_t)r;
        buf[len] = '\0';
        if (r == 0 || (text && strstr(buf, text)))
            break;
        if (r < 0)
            node_run(n, 0.01);
    }
    return len;
}

Test(runtime_live, a_container_lives_and_ends)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    struct answer wait, a;
    char buf[256];
    bundle_make(n, &b, "c1", "[\"sh\",\"-c\",\"echo out; echo err >&2; exit 42\"]", false,
                PRIVATE_PID, "");
    create_ok(n, &b, "c1", false);
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__CREATED);
    char rootfs[200];
    snprintf(rootfs, sizeof rootfs, "%s/rootfs", b.dir);
    cr_expect(mount_is_mounted(rootfs) == 1);
    node_wait_send(n, "c1", "", &wait);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    cr_expect(node_wait_code(n, &wait) == 42);
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__STOPPED);
    cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_NOT_FOUND);
    read_all(n, b.out, buf, sizeof buf, NULL);
    cr_expect(strcmp(buf, "out\n") == 0, "got '%s'", buf);
    read_all(n, b.err, buf, sizeof buf, NULL);
    cr_expect(strcmp(buf, "err\n") == 0, "got '%s'", buf);
    cr_expect(node_delete(n, "c1", "", &a) == STATUS_OK, "%s", a.err.text);
    cr_expect(((Task__DeleteResponse *)a.msg)->exit_status == 42);
    answer_done(&a);
    cr_expect(mount_is_mounted(rootfs) == 0);
    cr_expect(node_state(n, "c1", "") == -STATUS_NOT_FOUND);
    node_events_settle(n);
    cr_expect(node_event(n, "ns /tasks/create") == 0);
    cr_expect(node_event(n, "ns /tasks/start") == 1);
    cr_expect(node_event(n, "ns /tasks/exit c1 c1 42") == 2);
    cr_expect(node_event(n, "ns /tasks/delete") == 3);
    cr_expect(n->n_events == 4);
    bundle_done(&b);
    node_free(n);
}

// A runtime that runs the real one (`exec` or not) in a script of ours.
static void make_runtime(char script[64], const char *before, const char *after)
{
    char text[512];
    const char *real = getenv("TEST_RUNTIME") ? getenv("TEST_RUNTIME") : "runc";
    snprintf(text, sizeof text, "#!/bin/sh\n%s %s \"$@\"\n%s\n", before, real, after);
    snprintf(script, 64, "/tmp/task-test-runtime.%d", getpid());
    write_text(text, "%s", script);
    cr_assert(chmod(script, 0700) == 0);
    setenv("TEST_RUNTIME", script, 1);
}

// (Some builds of runc raise the limit of files again, so what the runtime has is looked at.)
Test(runtime_live, what_is_the_daemons_does_not_reach_a_container)
{
    if (!can_run())
        return;
    struct rlimit files, low;
    struct bundle b;
    char buf[256], script[64], told[80];
    make_runtime(script, "echo \"[$NOTIFY_SOCKET] $(ulimit -Sn)\" >>$0.log; exec", "");
    snprintf(told, sizeof told, "%s.log", script);
    setenv("NOTIFY_SOCKET", "/run/notify-test", 1); // makes "runc start" wait for the container
    getrlimit(RLIMIT_NOFILE, &files);
    low = (struct rlimit){.rlim_cur = 512, .rlim_max = files.rlim_max};
    setrlimit(RLIMIT_NOFILE, &low);
    struct node *n = live_new();
    setrlimit(RLIMIT_NOFILE, &files);
    bundle_make(n, &b, "c1", "[\"sh\",\"-c\",\"echo [$NOTIFY_SOCKET]\"]", false, PRIVATE_PID, "");
    create_ok(n, &b, "c1", false);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    cr_expect(node_wait(n, "c1", "") == 0);
    read_all(n, b.out, buf, sizeof buf, NULL);
    cr_expect(strcmp(buf, "[]\n") == 0, "got '%s'", buf);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    int fd = open(told, O_RDONLY | O_CLOEXEC);
    read_all(n, fd, buf, sizeof buf, NULL);
    close(fd);
    cr_expect(strcmp(buf, "[] 512\n[] 512\n[] 512\n") == 0, "got '%s'", buf);
    bundle_done(&b);
    node_free(n);
    unlink(script);
    unlink(told);
}

static int state_file(const struct node *n, const char *id, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/ns/%s/%s", n->dir, id, name);
    return access(path, F_OK);
}

// By the FIFO of runc's; with any other name the runtime is asked (what_is_the_daemons...).
Test(runtime_live, runc_is_not_run_to_start)
{
    if (!can_run())
        return;
    char dir[] = "/tmp/task-test-runc.XXXXXX", path[96], verbs[96], buf[512];
    struct bundle b;
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/runc", dir);
    snprintf(verbs, sizeof verbs, "%s/verbs", dir);
    snprintf(buf, sizeof buf, "#!/bin/sh\necho \"$@\" >>%s\nexec runc \"$@\"\n", verbs);
    write_text(buf, "%s", path);
    cr_assert(chmod(path, 0700) == 0);
    setenv("TEST_RUNTIME", path, 1);
    struct node *n = live_new();
    start_sleeper(n, &b, "c1", PRIVATE_PID);
    cr_expect(state_file(n, "c1", "state.json") == 0);
    cr_expect(state_file(n, "c1", "exec.fifo") < 0, "the container is not running to runc");
    cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_OK);
    cr_expect(node_wait(n, "c1", "") == 137);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    int fd = open(verbs, O_RDONLY | O_CLOEXEC);
    read_all(n, fd, buf, sizeof buf, NULL);
    close(fd);
    cr_expect(strstr(buf, " create ") && strstr(buf, " delete "), "got '%s'", buf);
    cr_expect(!strstr(buf, " start "), "got '%s'", buf);
    bundle_done(&b);
    node_free(n);
    cr_assert(file_remove_tree_at(AT_FDCWD, dir) == 0);
}

// While a start waits for the first process, that is killed.
Test(runtime_live, a_first_process_that_never_goes_on)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    struct answer a, wait;
    Task__StartRequest r = TASK__START_REQUEST__INIT;
    r.id = (char *)"c1";
    r.exec_id = (char *)"";
    bundle_make(n, &b, "c1", "[\"sleep\",\"9\"]", false, PRIVATE_PID, "");
    create_ok(n, &b, "c1", false);
    node_wait_send(n, "c1", "", &wait);
    pid_t init = task_find(n->server, "ns", "c1")->init.pid.pid;
    cr_assert(kill(init, SIGSTOP) == 0);
    node_send(n, "Start", &r, &task__start_response__descriptor, &a);
    node_run(n, 0.2);
    cr_expect(!a.over);
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__CREATED);
    cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_OK);
    node_await(n, &a, "Start");
    cr_expect(a.err.status == STATUS_FAILED_PRECONDITION, "%s", a.err.text);
    cr_expect(strstr(a.err.text, "ended before it was started"), "%s", a.err.text);
    answer_done(&a);
    cr_expect(node_wait_code(n, &wait) == 137);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    bundle_done(&b);
    node_free(n);
}

// Every exit of the container would be waited for in vain.
Test(runtime_live, a_process_that_is_not_there_is_no_container)
{
    if (!can_run())
        return;
    struct bundle b;
    struct answer a;
    char script[64], path[128];
    make_runtime(script, "",
                 "f=$(echo \"$*\" | sed -n 's/.*--pid-file \\([^ ]*\\).*/\\1/p'); "
                 "[ -z \"$f\" ] || echo 4194303 >$f; :");
    struct node *n = live_new();
    bundle_make(n, &b, "c1", "[\"sleep\",\"1000\"]", false, PRIVATE_PID, "");
    cr_expect(create(n, &b, "c1", false, &a) == STATUS_INTERNAL, "%s", a.err.text);
    cr_expect(strstr(a.err.text, "4194303"), "%s", a.err.text);
    answer_done(&a);
    snprintf(path, sizeof path, "%s/tasks/ns/c1.json", n->dir);
    cr_expect(access(path, F_OK) < 0);
    snprintf(path, sizeof path, "%s/ns/c1", n->dir);
    cr_expect(access(path, F_OK) < 0, "the runtime has forgotten it");
    bundle_done(&b);
    node_free(n);
    unlink(script);
}

static void end(struct node *n, struct bundle *b, const char *id)
{
    struct answer a;
    if (node_state(n, id, "") != TASK__STATUS__STOPPED) {
        node_kill(n, id, "", SIGKILL);
        cr_expect(node_wait(n, id, "") == 137);
    }
    cr_expect(node_delete(n, id, "", &a) == STATUS_OK, "%s", a.err.text);
    answer_done(&a);
    bundle_done(b);
}

Test(runtime_live, execs_report_their_ends)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    struct answer a, wait;
    Task__StartRequest r = TASK__START_REQUEST__INIT;
    start_sleeper(n, &b, "c1", PRIVATE_PID);
    cr_expect(node_start(n, "c1", "") == STATUS_FAILED_PRECONDITION);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_FAILED_PRECONDITION);
    cr_expect(exec_add(n, "c1", "x1", "[\"sh\",\"-c\",\"exit 7\"]", false, NULL) == STATUS_OK);
    cr_expect(exec_add(n, "c1", "x1", "[\"true\"]", false, NULL) == STATUS_ALREADY_EXISTS);
    node_wait_send(n, "c1", "x1", &wait);
    cr_expect(node_start(n, "c1", "x1") == STATUS_OK);
    cr_expect(node_wait_code(n, &wait) == 7);
    cr_expect(node_delete(n, "c1", "x1", NULL) == STATUS_OK);
    cr_expect(node_state(n, "c1", "x1") == -STATUS_NOT_FOUND);

    cr_expect(exec_add(n, "c1", "x2", "[\"/nothing/here\"]", false, NULL) == STATUS_OK);
    node_wait_send(n, "c1", "x2", &wait);
    r.id = (char *)"c1";
    r.exec_id = (char *)"x2";
    cr_expect(node_call(n, "Start", &r, &task__start_response__descriptor, &a) != STATUS_OK);
    cr_expect(strstr(a.err.text, "/nothing/here"), "%s", a.err.text);
    cr_expect(node_wait_code(n, &wait) == 255);
    cr_expect(node_wait(n, "c1", "x2") == 255, "a late Wait is answered at once");
    cr_expect(node_state(n, "c1", "x2") == TASK__STATUS__STOPPED);
    cr_expect(node_delete(n, "c1", "x2", NULL) == STATUS_OK);

    cr_expect(exec_add(n, "c1", "x3", "[\"sleep\",\"500\"]", false, NULL) == STATUS_OK);
    cr_expect(node_kill(n, "c1", "x3", SIGKILL) == STATUS_FAILED_PRECONDITION);
    cr_expect(node_start(n, "c1", "x3") == STATUS_OK);
    cr_expect(node_delete(n, "c1", "x3", NULL) == STATUS_FAILED_PRECONDITION);
    cr_expect(node_kill(n, "c1", "x3", 999) == STATUS_INVALID_ARGUMENT);
    cr_expect(node_kill(n, "c1", "x3", SIGTERM) == STATUS_OK);
    cr_expect(node_wait(n, "c1", "x3") == 128 + SIGTERM);
    end(n, &b, "c1");
    node_events_settle(n);
    cr_expect(node_event(n, "ns /tasks/exec-added") < node_event(n, "ns /tasks/exec-started"));
    cr_expect(node_event(n, "ns /tasks/exec-started") < node_event(n, "ns /tasks/exit c1 x1 7"));
    cr_expect(node_event_count(n, "ns /tasks/exit") == 3);
    node_free(n);
}

Test(runtime_live, either_version_of_the_task_api_leads_a_whole_life)
{
    static const char *const services[] = {SERVICE_TASK_V2, SERVICE_TASK_V3};
    for (size_t i = 0; i < ARRAY_SIZE(services) && can_run(); i++) {
        struct node *n = live_new();
        struct bundle b;
        n->service = services[i];
        start_sleeper(n, &b, "c1", PRIVATE_PID);
        cr_expect(node_state(n, "c1", "") == TASK__STATUS__RUNNING);
        cr_expect(exec_add(n, "c1", "x1", "[\"sh\",\"-c\",\"exit 7\"]", false, NULL) == STATUS_OK);
        cr_expect(node_start(n, "c1", "x1") == STATUS_OK);
        cr_expect(node_wait(n, "c1", "x1") == 7);
        cr_expect(node_delete(n, "c1", "x1", NULL) == STATUS_OK);
        end(n, &b, "c1");
        cr_expect(node_state(n, "c1", "") == -STATUS_NOT_FOUND);
        node_free(n);
    }
}

// Start is over when the runtime has let its process go; the program comes a moment later.
static void await_sleep(struct node *n, const char *exec_id)
{
    char path[64], comm[32] = "";
    struct task *t = task_find(n->server, "ns", "c1");
    snprintf(path, sizeof path, "/proc/%d/comm", (int)task_process_find(t, exec_id)->pid.pid);
    for (int i = 0; i < 1000 && strcmp(comm, "sleep\n") != 0; i++) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t len = fd < 0 ? -1 : read(fd, comm, sizeof comm - 1);
        comm[len < 0 ? 0 : len] = '\0';
        node_run(n, 0.01);
    }
    cr_assert_str_eq(comm, "sleep\n");
}

// In a shared pid namespace, where none ends with another: what init's end does is a SIGKILL.
Test(runtime_live, a_signal_for_all_reaches_every_process)
{
    static const char *const execs[] = {"x1", "x2"};
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    start_sleeper(n, &b, "c1", "");
    for (size_t i = 0; i < ARRAY_SIZE(execs); i++) {
        cr_expect(exec_add(n, "c1", execs[i], "[\"sleep\",\"500\"]", false, NULL) == STATUS_OK);
        cr_expect(node_start(n, "c1", execs[i]) == STATUS_OK);
        await_sleep(n, execs[i]);
    }
    cr_expect(node_kill_with(n, "c1", "x1", SIGTERM, true) == STATUS_INVALID_ARGUMENT);
    cr_expect(node_kill_with(n, "c1", "", SIGTERM, true) == STATUS_OK);
    for (size_t i = 0; i < ARRAY_SIZE(execs); i++)
        cr_expect(node_wait(n, "c1", execs[i]) == 128 + SIGTERM);
    cr_expect(node_wait(n, "c1", "") == 128 + SIGTERM);
    end(n, &b, "c1");
    node_free(n);
}

static void lives_at_a_root(const char *root, struct node *n, Google__Any *options)
{
    struct bundle b;
    char path[160];
    bundle_make(n, &b, "c1", "[\"sleep\",\"1000\"]", false, PRIVATE_PID, "");
    create_ok_with(n, &b, "c1", false, options);
    any_clear(options);
    snprintf(path, sizeof path, "%s/ns/c1", root);
    cr_expect(access(path, F_OK) == 0, "the runtime's state is not at %s", root);
    cr_expect(state_file(n, "c1", "") < 0, "the runtime's state is at the server's root");
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    end(n, &b, "c1");
    cr_expect(access(path, F_OK) < 0);
    node_free(n);
}

Test(runtime_live, a_root_of_the_options)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    Options__RuncOptions runc = OPTIONS__RUNC_OPTIONS__INIT;
    Google__Any options;
    char root[96];
    snprintf(root, sizeof root, "%s/elsewhere", n->dir);
    runc.root = root;
    cr_assert(any_pack(&options, ANY_RUNC_OPTIONS, &runc.base) == 0);
    lives_at_a_root(root, n, &options);
}

Test(runtime_live, a_root_of_the_options_as_a_table)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    Options__RuntimeOptions table = OPTIONS__RUNTIME_OPTIONS__INIT;
    Google__Any options;
    char root[96], text[128];
    snprintf(root, sizeof root, "%s/elsewhere", n->dir);
    snprintf(text, sizeof text, "Root = \"%s\"\n", root);
    table.config_body = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = strlen(text)};
    cr_assert(any_pack(&options, ANY_RUNTIME_OPTIONS, &table.base) == 0);
    lives_at_a_root(root, n, &options);
}

static void ends_with_init(const char *namespaces)
{
    struct node *n = live_new();
    struct bundle b;
    struct answer exec_wait, init_wait;
    start_sleeper(n, &b, "c1", namespaces);
    cr_expect(exec_add(n, "c1", "x1", "[\"sleep\",\"500\"]", false, NULL) == STATUS_OK);
    cr_expect(exec_add(n, "c1", "x2", "[\"sh\",\"-c\",\"sleep 77 & sleep 88\"]", false, NULL) ==
              STATUS_OK);
    cr_expect(node_start(n, "c1", "x1") == STATUS_OK);
    cr_expect(node_start(n, "c1", "x2") == STATUS_OK);
    node_wait_send(n, "c1", "x1", &exec_wait);
    node_wait_send(n, "c1", "", &init_wait);
    cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_OK); // init alone
    cr_expect(node_wait_code(n, &init_wait) == 137);
    cr_expect(exec_wait.over, "the exec's end comes before init's");
    cr_expect(node_wait_code(n, &exec_wait) == 137);
    cr_expect(node_wait(n, "c1", "x2") == 137);
    pid_t *pids = NULL;
    size_t count = 0;
    struct task *t = task_find(n->server, "ns", "c1");
    cr_assert(t && t->cgroup);
    for (int i = 0; i < 100; i++) {
        free(pids);
        cgroup_pids(n->server->cgroups, t->cgroup, &pids, &count);
        if (!count)
            break;
        node_run(n, 0.02);
    }
    free(pids);
    cr_expect(count == 0, "%zu processes are left", count);
    end(n, &b, "c1");
    node_events_settle(n);
    int last = node_event(n, "ns /tasks/exit c1 c1 137");
    cr_expect(last > node_event(n, "ns /tasks/exit c1 x1 137"));
    cr_expect(last > node_event(n, "ns /tasks/exit c1 x2 137"));
    cr_expect(node_event_count(n, "ns /tasks/exit") == 3);
    node_free(n);
}

Test(runtime_live, everything_ends_with_init_of_a_private_pid_namespace)
{
    if (can_run())
        ends_with_init(PRIVATE_PID);
}

Test(runtime_live, everything_ends_with_init_of_a_shared_pid_namespace)
{
    if (can_run())
        ends_with_init("");
}

// The files of one exec are not another's, whatever their names.
Test(runtime_live, execs_with_names_like_files)
{
    if (!can_run())
        return;
    static const char *const names[] = {"a",     "a-process", "a-pid",
                                        "a.pid", "log-a",     "a-process.json"};
    struct node *n = live_new();
    struct bundle b;
    struct answer answers[ARRAY_SIZE(names)];
    start_sleeper(n, &b, "c1", PRIVATE_PID);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        cr_expect(exec_add(n, "c1", names[i], "[\"true\"]", false, NULL) == STATUS_OK);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        Task__StartRequest r = TASK__START_REQUEST__INIT;
        r.id = (char *)"c1";
        r.exec_id = (char *)names[i];
        node_send(n, "Start", &r, &task__start_response__descriptor, &answers[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        node_await(n, &answers[i], "Start");
        cr_expect(answers[i].msg, "%s: %s", names[i], answers[i].err.text);
        answer_done(&answers[i]);
        cr_expect(node_wait(n, "c1", names[i]) == 0);
    }
    end(n, &b, "c1");
    node_free(n);
}

Test(runtime_live, stdin_stays_open_until_close_io)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    struct answer wait;
    char buf[256];
    Task__CloseIORequest r = TASK__CLOSE_IOREQUEST__INIT;
    bundle_make(n, &b, "c1", "[\"cat\"]", false, PRIVATE_PID, "");
    create_ok(n, &b, "c1", false);
    node_wait_send(n, "c1", "", &wait);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    for (int i = 0; i < 2; i++) { // a reader that comes and goes
        int in = open(b.fifo[0], O_WRONLY | O_NONBLOCK);
        cr_assert(in >= 0);
        cr_assert(write(in, "hello\n", 6) == 6);
        close(in);
        read_all(n, b.out, buf, sizeof buf, "\n");
        cr_expect(strcmp(buf, "hello\n") == 0, "got '%s'", buf);
    }
    cr_expect(!wait.over);
    r.id = (char *)"c1";
    r.stdin = true;
    cr_expect(node_call(n, "CloseIO", &r, EMPTY, NULL) == STATUS_OK);
    cr_expect(node_call(n, "CloseIO", &r, EMPTY, NULL) == STATUS_OK);
    cr_expect(node_wait_code(n, &wait) == 0);
    end(n, &b, "c1");
    node_free(n);
}

// A client whose input is empty is done with it before the process is there.
Test(runtime_live, a_close_io_before_the_start_of_an_exec_counts)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    char fifo[160];
    Task__CloseIORequest r = TASK__CLOSE_IOREQUEST__INIT;
    start_sleeper(n, &b, "c1", PRIVATE_PID);
    snprintf(fifo, sizeof fifo, "%s/x1", b.dir);
    cr_assert(mkfifo(fifo, 0700) == 0);
    cr_expect(exec_add_with(n, "c1", "x1", "[\"cat\"]", false, fifo, NULL) == STATUS_OK);
    r.id = (char *)"c1";
    r.exec_id = (char *)"x1";
    r.stdin = true;
    cr_expect(node_call(n, "CloseIO", &r, EMPTY, NULL) == STATUS_OK);
    cr_expect(node_start(n, "c1", "x1") == STATUS_OK);
    cr_expect(node_wait(n, "c1", "x1") == 0);
    end(n, &b, "c1");
    node_free(n);
}

Test(runtime_live, a_terminal_copies_resizes_and_ends)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    struct answer wait;
    char buf[8192];
    Task__ResizePtyRequest r = TASK__RESIZE_PTY_REQUEST__INIT;
    bundle_make(n, &b, "c1",
                "[\"sh\",\"-c\",\"stty size; read x; stty size; echo got $x; exit 3\"]", true,
                PRIVATE_PID, "");
    create_ok(n, &b, "c1", true);
    node_wait_send(n, "c1", "", &wait);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    read_all(n, b.out, buf, sizeof buf, "\n");
    cr_expect(strstr(buf, "31 97"), "got '%s'", buf);
    r.id = (char *)"c1";
    r.width = 120;
    r.height = 40;
    cr_expect(node_call(n, "ResizePty", &r, EMPTY, NULL) == STATUS_OK);
    b.in = open(b.fifo[0], O_WRONLY | O_NONBLOCK);
    cr_assert(write(b.in, "word\n", 5) == 5);
    read_all(n, b.out, buf, sizeof buf, NULL); // until the end of file
    cr_expect(strstr(buf, "40 120"), "got '%s'", buf);
    cr_expect(strstr(buf, "got word"), "got '%s'", buf);
    cr_expect(node_wait_code(n, &wait) == 3);
    end(n, &b, "c1");
    node_free(n);
}

Test(runtime_live, a_terminal_that_nobody_reads_delays_nothing_and_loses_nothing)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    struct answer wait;
    static char buf[400000];
    bundle_make(n, &b, "c1", "[\"sh\",\"-c\",\"seq 1 20000\"]", true, PRIVATE_PID, "");
    create_ok(n, &b, "c1", true);
    node_wait_send(n, "c1", "", &wait);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    node_run(n, 0.5);
    cr_expect(!wait.over, "back-pressure reaches the process");
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__RUNNING);
    size_t len = read_all(n, b.out, buf, sizeof buf, NULL);
    cr_expect(len == 108894 + 20000, "%zu bytes came", len); // each \n is \r\n
    cr_expect(node_wait_code(n, &wait) == 0);
    end(n, &b, "c1");
    node_free(n);
}

Test(runtime_live, pids_stats_pause_update)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    struct answer a;
    start_sleeper(n, &b, "c1", PRIVATE_PID);
    cr_expect(exec_add(n, "c1", "x1", "[\"sleep\",\"500\"]", false, NULL) == STATUS_OK);
    cr_expect(node_start(n, "c1", "x1") == STATUS_OK);
    Task__PidsRequest pids = TASK__PIDS_REQUEST__INIT;
    pids.id = (char *)"c1";
    cr_expect(node_call(n, "Pids", &pids, &task__pids_response__descriptor, &a) == STATUS_OK);
    Task__PidsResponse *list = (Task__PidsResponse *)a.msg;
    cr_expect(list->n_processes == 2, "%zu", list->n_processes);
    size_t named = 0;
    for (size_t i = 0; i < list->n_processes; i++)
        named += any_is(list->processes[i]->info, ANY_PROCESS_DETAILS);
    cr_expect(named == 1);
    answer_done(&a);

    Task__StatsRequest stats = TASK__STATS_REQUEST__INIT;
    stats.id = (char *)"c1";
    cr_expect(node_call(n, "Stats", &stats, &task__stats_response__descriptor, &a) == STATUS_OK,
              "%s", a.err.text);
    answer_done(&a);

    Task__PauseRequest pause_req = TASK__PAUSE_REQUEST__INIT;
    Task__ResumeRequest resume_req = TASK__RESUME_REQUEST__INIT;
    pause_req.id = resume_req.id = (char *)"c1";
    cr_expect(node_call(n, "Resume", &resume_req, EMPTY, NULL) == STATUS_FAILED_PRECONDITION);
    cr_expect(node_call(n, "Pause", &pause_req, EMPTY, &a) == STATUS_OK, "%s", a.err.text);
    answer_done(&a);
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__PAUSED);
    cr_expect(node_call(n, "Resume", &resume_req, EMPTY, &a) == STATUS_OK, "%s", a.err.text);
    answer_done(&a);
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__RUNNING);

    Task__UpdateTaskRequest update = TASK__UPDATE_TASK_REQUEST__INIT;
    Google__Any any;
    const char *json = "{\"memory\":{\"limit\":67108864}}";
    any_set(&any, ANY_OCI_RESOURCES, json, strlen(json));
    update.id = (char *)"c1";
    update.resources = &any;
    cr_expect(node_call(n, "Update", &update, EMPTY, &a) == STATUS_OK, "%s", a.err.text);
    answer_done(&a);
    any_clear(&any);

    cr_expect(node_call(n, "Pause", &pause_req, EMPTY, NULL) == STATUS_OK);
    cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_OK, "a frozen container can be killed");
    cr_expect(node_wait(n, "c1", "") == 137);
    cr_expect(node_call(n, "Stats", &stats, &task__stats_response__descriptor, &a) == STATUS_OK,
              "numbers stay until Delete: %s", a.err.text);
    answer_done(&a);
    cr_expect(node_call(n, "Pids", &pids, &task__pids_response__descriptor, &a) == STATUS_OK);
    cr_expect(((Task__PidsResponse *)a.msg)->n_processes == 1, "init stays until Delete");
    answer_done(&a);
    end(n, &b, "c1");
    node_events_settle(n);
    cr_expect(node_event_count(n, "ns /tasks/paused") == 2);
    cr_expect(node_event_count(n, "ns /tasks/resumed") == 1);
    node_free(n);
}

Test(runtime_live, an_out_of_memory_kill_is_told_before_the_exit)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    bundle_make(n, &b, "c1",
                "[\"sh\",\"-c\",\"sleep 0.2; dd if=/dev/zero of=/dev/null bs=64M count=1\"]", false,
                PRIVATE_PID, ",\"resources\":{\"memory\":{\"limit\":16777216,\"swap\":16777216}}");
    create_ok(n, &b, "c1", false);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    int code = node_wait(n, "c1", "");
    char buf[512];
    read_all(n, b.err, buf, sizeof buf, NULL);
    cr_expect(code == 137, "code %d: %s", code, buf);
    node_events_settle(n);
    cr_expect(node_event(n, "ns /tasks/oom") > 0);
    cr_expect(node_event(n, "ns /tasks/oom") < node_event(n, "ns /tasks/exit"));
    end(n, &b, "c1");
    node_free(n);
}

Test(runtime_live, create_failure_leaves_nothing)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    struct answer a;
    char path[200];
    bundle_make(n, &b, "c1", "[\"/no/such/program\"]", false, PRIVATE_PID, "");
    if (create(n, &b, "c1", false, &a) == STATUS_OK) { // told at Start
        Task__StartRequest r = TASK__START_REQUEST__INIT;
        answer_done(&a);
        r.id = (char *)"c1";
        cr_expect(node_call(n, "Start", &r, &task__start_response__descriptor, &a) != STATUS_OK);
        cr_expect(strstr(a.err.text, "/no/such/program"), "%s", a.err.text);
        node_wait(n, "c1", "");
        end(n, &b, "c1");
    } else {
        cr_expect(strstr(a.err.text, "/no/such/program"), "%s", a.err.text);
        bundle_done(&b);
    }
    cr_expect(node_state(n, "c1", "") == -STATUS_NOT_FOUND);
    snprintf(path, sizeof path, "%s/rootfs", b.dir);
    cr_expect(mount_is_mounted(path) == 0);
    snprintf(path, sizeof path, "%s/tasks/ns/c1.json", n->dir);
    cr_expect(access(path, F_OK) < 0);
    node_free(n);
}

Test(runtime_live, a_created_container_can_be_deleted)
{
    if (!can_run())
        return;
    struct node *n = live_new();
    struct bundle b;
    struct answer a, wait;
    bundle_make(n, &b, "c1", "[\"sleep\",\"9\"]", false, PRIVATE_PID, "");
    create_ok(n, &b, "c1", false);
    node_wait_send(n, "c1", "", &wait);
    cr_expect(node_delete(n, "c1", "", &a) == STATUS_OK, "%s", a.err.text);
    answer_done(&a);
    cr_expect(node_wait_code(n, &wait) == 137);
    bundle_done(&b);
    node_free(n);
}

static void recovered(void *arg)
{
    *(bool *)arg = true;
}

static void succeed(bool bundle_gone)
{
    struct node *n = live_new();
    struct bundle b;
    char path[200];
    start_sleeper(n, &b, "c1", PRIVATE_PID);
    struct process_id init = task_find(n->server, "ns", "c1")->init.pid;
    node_stop_server(n); // containers are left as they are
    cr_expect(process_alive(&init));
    write_text("{\"version\":1,", "%s/tasks/ns/broken.json", n->dir);
    write_text("{\"version\":2}", "%s/tasks/ns/future.json", n->dir);

    if (bundle_gone) { // what containerd does when the server dies
        snprintf(path, sizeof path, "%s/rootfs", b.dir);
        cr_assert(mount_remove(path) == 0);
        cr_assert(file_remove_tree_at(AT_FDCWD, b.dir) == 0);
    }
    struct error err = {0};
    const struct task_config config = {.dir = n->dir,
                                       .runtime_root = n->dir,
                                       .containerd_events = n->events_sock,
                                       .ops = &task_oci_ops};
    bool over = false;
    n->server = task_server_new(n->loop, n->reaper, &config, &err);
    cr_assert(n->server);
    log_setup("test", LOG_LEVEL_ERROR + 1);
    cr_assert(task_server_recover(n->server, recovered, &over) == 0);
    cr_assert(node_run_until(n, &over, 10));
    cr_expect(!process_alive(&init));
    snprintf(path, sizeof path, "%s/rootfs", b.dir);
    cr_expect(mount_is_mounted(path) == 0);
    snprintf(path, sizeof path, "%s/tasks/ns/c1.json", n->dir);
    cr_expect(access(path, F_OK) < 0);
    snprintf(path, sizeof path, "%s/ns/c1", n->dir);
    cr_expect(access(path, F_OK) < 0, "the runtime's state is gone");
    snprintf(path, sizeof path, "%s/tasks/ns/broken.json", n->dir);
    cr_expect(access(path, F_OK) < 0);
    snprintf(path, sizeof path, "ls %s/quarantine | grep -c '^task-ns-'", n->dir);
    FILE *f = popen(path, "r");
    int count = 0;
    cr_assert(fscanf(f, "%d", &count) == 1);
    pclose(f);
    cr_expect(count == 2, "%d records in quarantine", count);
    node_events_settle(n);
    cr_expect(node_event(n, "ns /tasks/exit c1 c1 137") >= 0);
    bundle_done(&b);
    node_free(n);
}

Test(runtime_live, a_successor_cleans_up_what_a_dead_server_left)
{
    if (can_run())
        succeed(false);
}

Test(runtime_live, a_successor_cleans_up_without_the_bundle)
{
    if (can_run())
        succeed(true);
}

Test(runtime_live, many_containers_at_once)
{
    enum { COUNT = 16 };
    static struct bundle bundles[COUNT];
    static struct answer answers[COUNT], waits[COUNT];
    if (!can_run())
        return;
    struct node *n = live_new();
    for (int i = 0; i < COUNT; i++) {
        Task__CreateTaskRequest r = TASK__CREATE_TASK_REQUEST__INIT;
        char id[16], args[64];
        snprintf(id, sizeof id, "c%d", i);
        snprintf(args, sizeof args, "[\"/bin/busybox\",\"sh\",\"-c\",\"exit %d\"]", i);
        bundle_make(n, &bundles[i], id, args, false, PRIVATE_PID, "");
        Types__Mount m = TYPES__MOUNT__INIT, *mounts[] = {&m};
        char base[128];
        char *options[] = {(char *)"rbind", (char *)"ro"};
        snprintf(base, sizeof base, "%s/base", n->dir);
        m.type = (char *)"bind";
        m.source = base;
        m.options = options;
        m.n_options = 2;
        r.id = id;
        r.bundle = bundles[i].dir;
        r.rootfs = mounts;
        r.n_rootfs = 1;
        node_send(n, "Create", &r, &task__create_task_response__descriptor, &answers[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        Task__StartRequest r = TASK__START_REQUEST__INIT;
        char id[16];
        snprintf(id, sizeof id, "c%d", i);
        node_await(n, &answers[i], "Create");
        cr_assert(answers[i].msg, "%s", answers[i].err.text);
        answer_done(&answers[i]);
        r.id = id;
        node_send(n, "Start", &r, &task__start_response__descriptor, &answers[i]);
        node_wait_send(n, id, "", &waits[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        char id[16];
        snprintf(id, sizeof id, "c%d", i);
        cr_expect(node_wait_code(n, &waits[i]) == i);
        node_await(n, &answers[i], "Start");
        cr_expect(answers[i].err.status == STATUS_OK, "%s", answers[i].err.text);
        answer_done(&answers[i]);
        end(n, &bundles[i], id);
    }
    node_free(n);
}
