// The Task service over a kind of task that does what the test says: what containerd sees while
// operations hang, fail, are cancelled, and while processes end at bad moments.
#include "support.h"

#include <signal.h>

#include "oci/pod.h"
#include "stream_peer.h"

// ---- the fake kind ----------------------------------------------------------------------------

static struct fake {
    const char *slow_create; // id whose create is held
    bool slow_start, slow_exec, fail_exec, fail_remove, kill_is_late;
    struct task_done held;
    unsigned removed, cancelled, next_pid;
} fake;

static void done_ok(struct task_done done)
{
    done.fn(done.arg, NULL);
}

static void done_fail(struct task_done done, enum status status)
{
    struct error err = {0};
    error_set(&err, status, "fake error");
    done.fn(done.arg, &err);
}

static int fake_open(struct task *t, const Google__Any *options, const struct pod *pod,
                     json_object *spec, struct error *err)
{
    t->engine = &fake;
    return 0;
}

static json_object *fake_describe(const struct task *t)
{
    return json_object_new_object();
}

static int fake_adopt(struct task *t, json_object *described, struct error *err)
{
    t->engine = &fake;
    return 0;
}

static void fake_close(struct task *t)
{
    t->engine = NULL;
}

static void fake_create(struct task *t, struct task_done done)
{
    t->init.pid.pid = (pid_t)(100000 + fake.next_pid++);
    if (fake.slow_create && strcmp(t->id, fake.slow_create) == 0)
        fake.held = done;
    else
        done_ok(done);
}

static void fake_start(struct task *t, struct task_done done)
{
    if (fake.slow_start)
        fake.held = done;
    else
        done_ok(done);
}

static void fake_exec_start(struct task_process *p, struct task_done done)
{
    p->pid.pid = (pid_t)(200000 + fake.next_pid++);
    if (fake.slow_exec)
        fake.held = done;
    else if (fake.fail_exec)
        done_fail(done, STATUS_UNKNOWN);
    else
        done_ok(done);
}

static void fake_cancel(struct task_process *p)
{
    struct task_done held = fake.held;
    fake.cancelled++;
    fake.held = (struct task_done){0};
    if (held.fn)
        done_fail(held, STATUS_CANCELLED);
}

static void fake_exit(struct task_process *p, uint32_t code)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    task_process_exited(p, code, &now);
}

static void fake_remove(struct task *t, struct task_done done)
{
    fake.removed++;
    if (fake.fail_remove)
        done_fail(done, STATUS_INTERNAL);
    else
        done_ok(done);
}

static void fake_reap(struct task *t)
{
}

static void fake_kill(struct task_process *p, int sig, bool all, struct task_done done)
{
    if (sig == SIGKILL && !fake.kill_is_late)
        fake_exit(p, 137);
    done_ok(done);
}

static void fake_pids(struct task *t, struct task_pids_done done)
{
    done.fn(done.arg, NULL, 0, NULL);
}

static void fake_stats(struct task *t, struct task_stats_done done)
{
    struct error err = {0};
    error_set(&err, STATUS_NOT_FOUND, "no numbers");
    done.fn(done.arg, NULL, &err);
}

static void fake_update(struct task *t, const void *resources, size_t len, struct task_done done)
{
    done_ok(done);
}

static void fake_pause(struct task *t, struct task_done done)
{
    done_ok(done);
}

static void fake_release(struct task_process *p)
{
}

static const struct task_ops fake_ops = {
    .name = "fake",
    .open = fake_open,
    .describe = fake_describe,
    .adopt = fake_adopt,
    .close = fake_close,
    .create = fake_create,
    .start = fake_start,
    .exec_start = fake_exec_start,
    .cancel = fake_cancel,
    .remove = fake_remove,
    .reap = fake_reap,
    .kill = fake_kill,
    .pids = fake_pids,
    .stats = fake_stats,
    .update = fake_update,
    .pause = fake_pause,
    .resume = fake_pause,
    .release = fake_release,
};

// ---- helpers ----------------------------------------------------------------------------------

static void make_bundle(struct node *n, const char *id, const char *sandbox, char bundle[128])
{
    char spec[1024];
    snprintf(bundle, 128, "%s/b-%s", n->dir, id);
    mkdir(bundle, 0700);
    snprintf(
        spec, sizeof spec,
        "{\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"},\"root\":{\"path\":\"rootfs\"},"
        "\"mounts\":[],\"linux\":{\"namespaces\":[{\"type\":\"pid\"}]},\"annotations\":{%s%s%s}}",
        sandbox ? "\"io.kubernetes.cri.sandbox-id\":\"" : "", sandbox ? sandbox : "",
        sandbox ? "\"" : "");
    write_text(spec, "%s/config.json", bundle);
}

static void make_pod(struct node *n, const char *sandbox)
{
    char dir[128];
    const struct pod pod = {.id = (char *)sandbox};
    struct error err = {0};
    snprintf(dir, sizeof dir, "%s/sandboxes/%s", n->dir, sandbox);
    file_mkdir_all(dir, 0700);
    cr_assert(pod_store(&pod, dir, &err) == 0, "%s", err.text);
}

static void send_create(struct node *n, const char *id, const char *sandbox, double timeout,
                        struct answer *a)
{
    Task__CreateTaskRequest r = TASK__CREATE_TASK_REQUEST__INIT;
    char bundle[128];
    make_bundle(n, id, sandbox, bundle);
    r.id = (char *)id;
    r.bundle = bundle;
    node_send_on(n, n->client, SERVICE_TASK_V3, "Create", &r,
                 &task__create_task_response__descriptor, timeout, a);
}

static enum status create(struct node *n, const char *id, const char *sandbox)
{
    struct answer a;
    send_create(n, id, sandbox, 0, &a);
    node_await(n, &a, "Create");
    answer_done(&a);
    return a.err.status;
}

static enum status exec_add_to(struct node *n, const char *id, const char *exec_id, const char *out)
{
    Task__ExecProcessRequest r = TASK__EXEC_PROCESS_REQUEST__INIT;
    Google__Any any;
    const char *process = "{\"args\":[\"x\"],\"cwd\":\"/\"}";
    any_set(&any, ANY_OCI_PROCESS, process, strlen(process));
    r.id = (char *)id;
    r.exec_id = (char *)exec_id;
    r.stdout = (char *)out;
    r.spec = &any;
    enum status s = node_call(n, "Exec", &r, EMPTY, NULL);
    any_clear(&any);
    return s;
}

static enum status exec_add(struct node *n, const char *id, const char *exec_id)
{
    return exec_add_to(n, id, exec_id, "");
}

static struct node *fake_node(void)
{
    fake = (struct fake){0};
    return node_new(&fake_ops);
}

static struct task *task_of(struct node *n, const char *id)
{
    struct task *t = task_find(n->server, "ns", id);
    cr_assert(t);
    return t;
}

// ---- tests ------------------------------------------------------------------------------------

Test(service, a_hanging_create_holds_up_nobody_and_can_be_cancelled)
{
    struct node *n = fake_node();
    struct answer slow;
    char path[160];
    fake.slow_create = "slow";
    send_create(n, "slow", NULL, 0.7, &slow);
    cr_expect(create(n, "c2", NULL) == STATUS_OK);
    cr_expect(node_start(n, "c2", "") == STATUS_OK);
    cr_expect(create(n, "slow", NULL) == STATUS_ALREADY_EXISTS);
    cr_expect(node_state(n, "slow", "") == TASK__STATUS__CREATED, "State answers meanwhile");
    cr_expect(node_kill(n, "c2", "", SIGKILL) == STATUS_OK);
    cr_expect(node_wait(n, "c2", "") == 137);
    cr_expect(node_delete(n, "c2", "", NULL) == STATUS_OK);
    cr_expect(!slow.over);
    snprintf(path, sizeof path, "%s/tasks/ns/slow.json", n->dir);
    cr_expect(access(path, F_OK) == 0, "the record comes before the runtime");
    node_await(n, &slow, "Create");
    cr_expect(slow.err.status == STATUS_DEADLINE_EXCEEDED);
    node_run(n, 0.1);
    cr_expect(fake.cancelled == 1);
    cr_expect(fake.removed == 2);
    cr_expect(node_state(n, "slow", "") == -STATUS_NOT_FOUND);
    cr_expect(access(path, F_OK) < 0);
    node_events_settle(n);
    cr_expect(node_event_count(n, "ns /tasks/create") == 1);
    cr_expect(node_event_count(n, "ns /tasks/exit") == 1, "nothing of the cancelled one is told");
    cr_expect(create(n, "slow2", NULL) == STATUS_OK);
    node_free(n);
}

Test(service, state_and_event_name_the_bundle_that_create_was_given)
{
    struct node *n = fake_node();
    Task__StateRequest r = TASK__STATE_REQUEST__INIT;
    struct answer a;
    char bundle[128], event[160];
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    make_bundle(n, "c1", NULL, bundle);
    r.id = (char *)"c1";
    cr_assert(node_call(n, "State", &r, &task__state_response__descriptor, &a) == STATUS_OK);
    cr_expect_str_eq(((Task__StateResponse *)a.msg)->bundle, bundle);
    answer_done(&a);
    node_events_settle(n);
    snprintf(event, sizeof event, "ns /tasks/create c1 %s", bundle);
    cr_expect(node_event(n, event) >= 0);
    node_free(n);
}

Test(service, an_exit_during_start_is_told_after_the_start)
{
    struct node *n = fake_node();
    struct answer start, wait;
    Task__StartRequest r = TASK__START_REQUEST__INIT;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    fake.slow_start = true;
    r.id = (char *)"c1";
    node_wait_send(n, "c1", "", &wait);
    node_send(n, "Start", &r, &task__start_response__descriptor, &start);
    node_run(n, 0.1);
    fake_exit(&task_of(n, "c1")->init, 5);
    node_run(n, 0.1);
    cr_expect(!wait.over);
    done_ok(fake.held);
    cr_expect(node_wait_code(n, &wait) == 5);
    node_await(n, &start, "Start");
    cr_expect(start.err.status == STATUS_OK);
    answer_done(&start);
    node_events_settle(n);
    cr_expect(node_event(n, "ns /tasks/start") >= 0);
    cr_expect(node_event(n, "ns /tasks/start") < node_event(n, "ns /tasks/exit c1 c1 5"));
    node_free(n);
}

// Else containerd shows 255 for the exit of a program that is faster than its Wait.
Test(service, a_wait_that_comes_behind_the_delete_learns_the_exit_code)
{
    struct node *n = fake_node();
    for (int i = 0; i < 2; i++) { // the name may be used again
        cr_expect(create(n, "c1", NULL) == STATUS_OK);
        cr_expect(node_start(n, "c1", "") == STATUS_OK);
        cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_OK);
        cr_expect(node_wait(n, "c1", "") == 137);
        cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
        cr_expect(node_wait(n, "c1", "") == 137);
    }
    cr_expect(node_state(n, "c1", "") == -STATUS_NOT_FOUND);
    node_free(n);
}

Test(service, a_failed_start_ends_the_process_and_its_waits)
{
    struct node *n = fake_node();
    struct answer start, wait;
    Task__StartRequest r = TASK__START_REQUEST__INIT;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    fake.slow_start = true;
    r.id = (char *)"c1";
    node_wait_send(n, "c1", "", &wait);
    node_send(n, "Start", &r, &task__start_response__descriptor, &start);
    node_run(n, 0.1);
    done_fail(fake.held, STATUS_UNKNOWN);
    node_await(n, &start, "Start");
    cr_expect(start.err.status == STATUS_UNKNOWN);
    cr_expect(node_wait_code(n, &wait) == 137);
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__STOPPED);
    cr_expect(node_start(n, "c1", "") == STATUS_FAILED_PRECONDITION);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    node_free(n);
}

Test(service, waits_are_many_bounded_and_may_be_abandoned)
{
    struct node *n = fake_node();
    static struct answer waits[TASK_WAITERS_MAX + 1];
    struct error err = {0};
    Task__WaitRequest r = TASK__WAIT_REQUEST__INIT;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    struct ttrpc_client *other = ttrpc_client_new(n->loop, n->sock, NULL, NULL);
    r.id = (char *)"c1";
    for (int i = 0; i < 5; i++)
        node_send_on(n, other, SERVICE_TASK_V2, "Wait", &r, &task__wait_response__descriptor, 0,
                     &waits[i]);
    node_run(n, 0.1);
    cr_expect(task_of(n, "c1")->init.n_waiters == 5);
    ttrpc_client_free(other);
    node_run(n, 0.1);
    cr_expect(task_of(n, "c1")->init.n_waiters == 0, "a lost connection leaves no waiter");
    struct ttrpc_client *clients[2];
    for (int c = 0; c < 2; c++)
        clients[c] = ttrpc_client_new(n->loop, n->sock, NULL, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(waits); i++)
        node_send_on(n, clients[i % 2], SERVICE_TASK_V3, "Wait", &r,
                     &task__wait_response__descriptor, 0, &waits[i]);
    node_run(n, 0.3);
    size_t refused = 0, ended = 0;
    for (size_t i = 0; i < ARRAY_SIZE(waits); i++)
        refused += waits[i].over && waits[i].err.status == STATUS_RESOURCE_EXHAUSTED;
    cr_expect(refused == 1, "%zu", refused);
    cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_OK);
    node_run(n, 0.3);
    for (size_t i = 0; i < ARRAY_SIZE(waits); i++) {
        ended += waits[i].over && waits[i].msg;
        answer_done(&waits[i]);
    }
    cr_expect(ended == TASK_WAITERS_MAX, "%zu", ended);
    for (int c = 0; c < 2; c++)
        ttrpc_client_free(clients[c]);
    (void)err;
    node_free(n);
}

Test(service, an_exec_in_flight_ends_with_init)
{
    struct node *n = fake_node();
    struct answer start, wait;
    Task__StartRequest r = TASK__START_REQUEST__INIT;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    cr_expect(exec_add(n, "c1", "x1") == STATUS_OK);
    cr_expect(exec_add(n, "c1", "x2") == STATUS_OK);
    cr_expect(node_start(n, "c1", "x1") == STATUS_OK);
    fake.slow_exec = true;
    r.id = (char *)"c1";
    r.exec_id = (char *)"x2";
    node_send(n, "Start", &r, &task__start_response__descriptor, &start);
    node_wait_send(n, "c1", "x2", &wait);
    node_run(n, 0.1);
    cr_expect(node_delete(n, "c1", "x2", NULL) == STATUS_FAILED_PRECONDITION);
    cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_OK);
    node_await(n, &start, "Start");
    cr_expect(start.err.status == STATUS_CANCELLED);
    cr_expect(node_wait_code(n, &wait) == 255);
    cr_expect(node_wait(n, "c1", "x1") == 137);
    cr_expect(node_wait(n, "c1", "") == 137);
    cr_expect(exec_add(n, "c1", "x3") == STATUS_FAILED_PRECONDITION);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    node_events_settle(n);
    cr_expect(node_event(n, "ns /tasks/exit c1 x1 137") <
              node_event(n, "ns /tasks/exit c1 c1 137"));
    cr_expect(node_event_count(n, "ns /tasks/exit") == 2);
    node_free(n);
}

Test(service, init_is_reported_although_an_exec_resists)
{
    struct node *n = fake_node();
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    cr_expect(exec_add(n, "c1", "x1") == STATUS_OK);
    cr_expect(node_start(n, "c1", "x1") == STATUS_OK);
    fake.kill_is_late = true;
    fake_exit(&task_of(n, "c1")->init, 3);
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__RUNNING);
    cr_expect(node_wait(n, "c1", "") == 3);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    node_free(n);
}

Test(service, a_start_that_hangs_does_not_hide_the_exit)
{
    struct node *n = fake_node();
    struct answer start, wait;
    Task__StartRequest r = TASK__START_REQUEST__INIT;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    fake.slow_start = true;
    r.id = (char *)"c1";
    node_wait_send(n, "c1", "", &wait);
    node_send(n, "Start", &r, &task__start_response__descriptor, &start);
    node_run(n, 0.1);
    fake_exit(&task_of(n, "c1")->init, 9);
    cr_expect(!node_run_until(n, &wait.over, TASK_EXEC_END_SECONDS / 2));
    cr_expect(node_wait_code(n, &wait) == 9);
    node_await(n, &start, "Start");
    cr_expect(start.err.status == STATUS_CANCELLED);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    node_events_settle(n);
    cr_expect(node_event_count(n, "ns /tasks/exit c1 c1 9") == 1);
    node_free(n);
}

Test(service, an_exec_in_flight_does_not_hold_up_delete)
{
    struct node *n = fake_node();
    struct answer start;
    Task__StartRequest r = TASK__START_REQUEST__INIT;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    cr_expect(exec_add(n, "c1", "x1") == STATUS_OK);
    fake.slow_exec = true;
    r.id = (char *)"c1";
    r.exec_id = (char *)"x1";
    node_send(n, "Start", &r, &task__start_response__descriptor, &start);
    node_run(n, 0.1);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    node_await(n, &start, "Start");
    cr_expect(start.err.status == STATUS_CANCELLED);
    node_free(n);
}

Test(service, finished_execs_make_room)
{
    struct node *n = fake_node();
    char exec_id[16];
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    for (int i = 0; i < TASK_EXECS_MAX; i++) {
        snprintf(exec_id, sizeof exec_id, "x%d", i);
        cr_assert(exec_add(n, "c1", exec_id) == STATUS_OK);
    }
    cr_expect(exec_add(n, "c1", "more") == STATUS_RESOURCE_EXHAUSTED);
    cr_expect(node_start(n, "c1", "x7") == STATUS_OK);
    cr_expect(node_kill(n, "c1", "x7", SIGKILL) == STATUS_OK);
    cr_expect(node_wait(n, "c1", "x7") == 137);
    cr_expect(exec_add(n, "c1", "more") == STATUS_OK);
    cr_expect(node_state(n, "c1", "x7") == -STATUS_NOT_FOUND);
    node_free(n);
}

Test(service, a_failed_delete_can_be_repeated)
{
    struct node *n = fake_node();
    char path[160];
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    fake.fail_remove = true;
    cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_OK);
    log_setup("test", LOG_LEVEL_ERROR);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_INTERNAL);
    snprintf(path, sizeof path, "%s/tasks/ns/c1.json", n->dir);
    cr_expect(access(path, F_OK) == 0, "the record stays");
    fake.fail_remove = false;
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    cr_expect(access(path, F_OK) < 0);
    node_free(n);
}

Test(service, what_a_container_holds_is_given_back_when_it_has_ended)
{
    struct node *n = fake_node();
    char path[160];
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    cr_expect(fake.removed == 0);
    cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_OK);
    cr_expect(node_wait(n, "c1", "") == 137);
    cr_expect(fake.removed == 1);
    snprintf(path, sizeof path, "%s/tasks/ns/c1.json", n->dir);
    cr_expect(access(path, F_OK) == 0, "the record stays until Delete");
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__STOPPED);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    cr_expect(fake.removed == 1, "not once more");
    cr_expect(access(path, F_OK) < 0);
    node_free(n);
}

Test(service, ids_are_checked_at_the_door)
{
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "a/b",
                                      "../c1",
                                      "a b",
                                      "-x",
                                      "a\n",
                                      ("0123456789012345678901234567890123456789"
                                       "0123456789012345678901234567890123456789")};
    struct node *n = fake_node();
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        Task__CreateTaskRequest r = TASK__CREATE_TASK_REQUEST__INIT;
        r.id = (char *)bad[i];
        r.bundle = (char *)"/tmp";
        cr_expect(node_call(n, "Create", &r, &task__create_task_response__descriptor, NULL) ==
                      STATUS_INVALID_ARGUMENT,
                  "id '%s'", bad[i]);
        cr_expect(node_state(n, bad[i], "") == -STATUS_INVALID_ARGUMENT, "id '%s'", bad[i]);
        cr_expect(exec_add(n, "c1", bad[i]) == STATUS_INVALID_ARGUMENT, "exec '%s'", bad[i]);
    }
    node_free(n);
}

Test(service, without_a_namespace_nothing_is_served)
{
    struct node *n = fake_node();
    struct answer a = {.type = &task__connect_response__descriptor};
    struct error err = {0};
    cr_assert(ttrpc_client_call(n->client, SERVICE_TASK_V3, "Connect", NULL, 0, 0, NULL,
                                answer_come, &a, &err));
    node_await(n, &a, "Connect");
    cr_expect(a.err.status == STATUS_INVALID_ARGUMENT);
    cr_expect(strstr(a.err.text, "containerd-namespace-ttrpc"), "%s", a.err.text);
    node_free(n);
}

Test(service, unknown_containers)
{
    struct node *n = fake_node();
    struct answer a;
    Task__ConnectRequest connect = TASK__CONNECT_REQUEST__INIT;
    Task__PidsRequest pids = TASK__PIDS_REQUEST__INIT;
    Task__ShutdownRequest shutdown = TASK__SHUTDOWN_REQUEST__INIT;
    Task__CheckpointTaskRequest checkpoint = TASK__CHECKPOINT_TASK_REQUEST__INIT;
    connect.id = pids.id = shutdown.id = checkpoint.id = (char *)"nobody";
    cr_expect(node_call(n, "Connect", &connect, &task__connect_response__descriptor, &a) ==
              STATUS_OK);
    cr_expect(((Task__ConnectResponse *)a.msg)->task_pid == 0);
    cr_expect(((Task__ConnectResponse *)a.msg)->shim_pid == (uint32_t)getpid());
    answer_done(&a);
    cr_expect(node_call(n, "Pids", &pids, &task__pids_response__descriptor, NULL) ==
              STATUS_NOT_FOUND);
    cr_expect(node_call(n, "Shutdown", &shutdown, EMPTY, NULL) == STATUS_OK);
    cr_expect(node_call(n, "Checkpoint", &checkpoint, EMPTY, NULL) == STATUS_UNIMPLEMENTED);
    cr_expect(node_start(n, "nobody", "") == STATUS_NOT_FOUND);
    cr_expect(node_kill(n, "nobody", "", 9) == STATUS_NOT_FOUND);
    cr_expect(node_delete(n, "nobody", "", NULL) == STATUS_NOT_FOUND);
    node_free(n);
}

Test(service, a_container_of_an_unknown_sandbox_is_refused_with_its_name)
{
    struct node *n = fake_node();
    struct answer a;
    send_create(n, "c1", "pod7", 0, &a);
    node_await(n, &a, "Create");
    cr_expect(a.err.status == STATUS_FAILED_PRECONDITION);
    cr_expect(strstr(a.err.text, "pod7"), "%s", a.err.text);
    make_pod(n, "pod7");
    cr_expect(create(n, "c1", "pod7") == STATUS_OK);
    node_free(n);
}

Test(service, the_end_of_a_sandbox_ends_its_containers_and_no_others)
{
    struct node *n = fake_node();
    struct answer w1, w2, slow, end;
    Internal__EndRequest r = INTERNAL__END_REQUEST__INIT;
    make_pod(n, "pod1");
    make_pod(n, "pod2");
    cr_expect(create(n, "a", "pod1") == STATUS_OK);
    cr_expect(create(n, "b", "pod1") == STATUS_OK);
    cr_expect(create(n, "c", "pod2") == STATUS_OK);
    cr_expect(node_start(n, "a", "") == STATUS_OK);
    cr_expect(node_start(n, "c", "") == STATUS_OK);
    fake.slow_create = "slow";
    send_create(n, "slow", "pod1", 0, &slow);
    node_wait_send(n, "a", "", &w1);
    node_wait_send(n, "c", "", &w2);
    node_run(n, 0.1);
    r.sandbox_id = (char *)"pod1";
    r.exit_status = 255;
    node_send_on(n, n->client, SERVICE_PODS, "End", &r, &internal__end_response__descriptor, 0,
                 &end);
    node_await(n, &end, "End");
    cr_expect(end.err.status == STATUS_OK, "%s", end.err.text);
    cr_expect(((Internal__EndResponse *)end.msg)->tasks == 3);
    answer_done(&end);
    cr_expect(node_wait_code(n, &w1) == 255);
    cr_expect(!w2.over);
    node_await(n, &slow, "Create");
    cr_expect(slow.err.status == STATUS_CANCELLED);
    cr_expect(node_state(n, "b", "") == TASK__STATUS__STOPPED);
    cr_expect(node_state(n, "c", "") == TASK__STATUS__RUNNING);
    cr_expect(node_delete(n, "a", "", NULL) == STATUS_OK);
    r.sandbox_id = (char *)"pod3";
    node_send_on(n, n->client, SERVICE_PODS, "End", &r, &internal__end_response__descriptor, 0,
                 &end);
    node_await(n, &end, "End");
    cr_expect(((Internal__EndResponse *)end.msg)->tasks == 0);
    answer_done(&end);
    node_kill(n, "c", "", SIGKILL);
    node_wait_code(n, &w2);
    node_free(n);
}

static void flag(void *arg)
{
    *(bool *)arg = true;
}

Test(service, a_draining_server_takes_nothing_new_and_ends_with_its_last_container)
{
    struct node *n = fake_node();
    bool drained = false;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    task_server_drain(n->server, flag, &drained);
    node_run(n, 0.1);
    cr_expect(!drained);
    cr_expect(create(n, "c2", NULL) == STATUS_UNAVAILABLE);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    cr_expect(node_run_until(n, &drained, 3));
    cr_expect(node_event(n, "ns /tasks/delete") >= 0);
    node_free(n);
}

static void end_sandbox(struct node *n, const char *sandbox)
{
    Internal__EndRequest r = INTERNAL__END_REQUEST__INIT;
    struct answer end;
    r.sandbox_id = (char *)sandbox;
    r.exit_status = 137;
    node_send_on(n, n->client, SERVICE_PODS, "End", &r, &internal__end_response__descriptor, 0,
                 &end);
    node_await(n, &end, "End");
    cr_expect(end.msg, "%s", end.err.text);
    answer_done(&end);
}

static void release_now(struct node *n, const char *id)
{
    struct task *t = task_of(n, id);
    cr_expect(ev_is_active(&t->release_timer));
    cr_expect(ev_timer_remaining(n->loop, &t->release_timer) > TASK_RELEASE_SECONDS / 2);
    ev_feed_event(n->loop, &t->release_timer, EV_TIMER);
    node_run(n, 0.05);
}

Test(service, tasks_of_an_ended_sandbox_that_nobody_deletes_are_released)
{
    struct node *n = fake_node();
    struct answer a;
    char record[160];
    bool drained = false;
    make_pod(n, "pod1");
    cr_expect(create(n, "a", "pod1") == STATUS_OK);
    cr_expect(create(n, "b", NULL) == STATUS_OK);
    cr_expect(node_start(n, "a", "") == STATUS_OK);
    fake.fail_remove = true;
    end_sandbox(n, "pod1");
    cr_expect(!ev_is_active(&task_of(n, "b")->release_timer));
    release_now(n, "a");
    cr_expect(!task_of(n, "a")->released, "it is tried again");
    fake.fail_remove = false;
    release_now(n, "a");
    cr_expect(fake.removed == 3);
    cr_expect(!ev_is_active(&task_of(n, "a")->release_timer));
    snprintf(record, sizeof record, "%s/tasks/ns/a.json", n->dir);
    cr_expect(access(record, F_OK) < 0);
    cr_expect(node_wait(n, "a", "") == 137, "containerd may still ask");
    cr_expect(node_delete(n, "a", "", &a) == STATUS_OK);
    cr_expect(((Task__DeleteResponse *)a.msg)->exit_status == 137);
    answer_done(&a);
    cr_expect(fake.removed == 3);

    cr_expect(create(n, "a", "pod1") == STATUS_OK);
    end_sandbox(n, "pod1");
    release_now(n, "a");
    cr_expect(node_delete(n, "b", "", NULL) == STATUS_OK);
    task_server_drain(n->server, flag, &drained);
    cr_expect(node_run_until(n, &drained, 3), "a released task holds up no end");
    node_free(n);
}

Test(service, released_tasks_are_forgotten_in_the_end)
{
    struct node *n = fake_node();
    char id[16];
    make_pod(n, "pod1");
    for (int i = 0; i <= TASK_RELEASED_MAX; i++) {
        snprintf(id, sizeof id, "c%d", i);
        cr_assert(create(n, id, "pod1") == STATUS_OK);
    }
    end_sandbox(n, "pod1");
    for (int i = 0; i <= TASK_RELEASED_MAX; i++) {
        snprintf(id, sizeof id, "c%d", i);
        ev_feed_event(n->loop, &task_of(n, id)->release_timer, EV_TIMER);
    }
    node_run(n, 0.1);
    cr_expect(task_server_count(n->server) == TASK_RELEASED_MAX);
    cr_expect(node_state(n, "c0", "") == -STATUS_NOT_FOUND);
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__STOPPED);
    node_free(n);
}

Test(service, operations_of_one_container_keep_their_order)
{
    struct node *n = fake_node();
    struct answer start, pause, exec;
    Task__StartRequest r = TASK__START_REQUEST__INIT;
    Task__PauseRequest p = TASK__PAUSE_REQUEST__INIT;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    cr_expect(exec_add(n, "c1", "x1") == STATUS_OK);
    cr_expect(exec_add(n, "c1", "x2") == STATUS_OK);
    cr_expect(exec_add(n, "c1", "x3") == STATUS_OK);
    r.id = p.id = (char *)"c1";
    r.exec_id = (char *)"x1";
    fake.slow_exec = true;
    node_send(n, "Start", &r, &task__start_response__descriptor, &start);
    node_run(n, 0.1);
    fake.slow_exec = false;
    cr_expect(node_start(n, "c1", "x2") == STATUS_OK, "execs start side by side");
    node_send(n, "Pause", &p, EMPTY, &pause);
    r.exec_id = (char *)"x3";
    node_send(n, "Start", &r, &task__start_response__descriptor, &exec);
    node_run(n, 0.1);
    cr_expect(!pause.over, "waits for the exec");
    cr_expect(!exec.over, "does not overtake");
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__RUNNING, "State does not wait");
    done_ok(fake.held);
    node_await(n, &start, "Start");
    node_await(n, &pause, "Pause");
    node_await(n, &exec, "Start");
    cr_expect(start.err.status == STATUS_OK && pause.err.status == STATUS_OK);
    cr_expect(exec.err.status == STATUS_FAILED_PRECONDITION, "it is paused now");
    answer_done(&start);
    answer_done(&pause);
    cr_expect(node_wait(n, "c1", "x3") == 255);
    node_free(n);
}

// A sample of the server's page; -1 if it is not there.
static long sample(struct node *n, const char *name)
{
    struct buf out;
    char line[256];
    buf_init(&out, METRICS_PAGE_MAX);
    cr_assert_eq(task_server_metrics(n->server, &out), 0);
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(buf_cstr(&out), line);
    long value = at ? strtol(at + strlen(line), NULL, 10) : -1;
    buf_free(&out);
    return value;
}

Test(service, metrics_tell_states_queues_and_stages)
{
    struct node *n = fake_node();
    struct answer wait;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    cr_expect(create(n, "c2", NULL) == STATUS_OK);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    cr_expect(exec_add(n, "c1", "x") == STATUS_OK);
    cr_expect(node_start(n, "c1", "x") == STATUS_OK);
    cr_expect(exec_add(n, "c1", "y") == STATUS_OK);
    node_wait_send(n, "c1", "x", &wait);
    node_run(n, 0.1);
    cr_expect_eq(sample(n, "kuasar_containers{state=\"running\"}"), 1);
    cr_expect_eq(sample(n, "kuasar_containers{state=\"created\"}"), 1);
    cr_expect_eq(sample(n, "kuasar_execs{state=\"running\"}"), 1);
    cr_expect_eq(sample(n, "kuasar_execs{state=\"created\"}"), 1);
    cr_expect_eq(sample(n, "kuasar_parked_calls{for=\"process_exit\"}"), 1);
    cr_expect_eq(sample(n, "kuasar_connections{protocol=\"ttrpc\"}"), 1);
    cr_expect_eq(sample(n, "kuasar_rpc_open{service=\"containerd.task.v3.Task\",method=\"Wait\"}"),
                 1);
    cr_expect_eq(sample(n, "kuasar_events_queued"), 0);
    cr_expect_eq(sample(n, "kuasar_build_info{program=\"task_server\",version=\"test\"}"), 1);
    cr_expect_eq(
        sample(n, "kuasar_operation_duration_seconds_count{operation=\"container_create\"}"), 2);
    cr_expect_eq(sample(n, "kuasar_operation_duration_seconds_count{operation=\"exec_start\"}"), 1);
    const struct task *t = task_of(n, "c1");
    const struct stages *s = &t->timings[TASK_TIMING_CREATE];
    cr_expect_gt(s->took[TASK_CREATE_PREPARE], 0);
    cr_expect_gt(s->took[TASK_CREATE_RUNTIME], 0);
    cr_expect_gt(t->timings[TASK_TIMING_START].took[TASK_START_RUNTIME], 0);
    cr_expect_gt(t->timings[TASK_TIMING_EXEC].took[TASK_EXEC_RUNTIME], 0);
    cr_expect_gt(task_process_find(task_of(n, "c1"), "x")->starting.took[TASK_EXEC_STDIO], 0);
    cr_expect(node_delete(n, "c2", "", NULL) == STATUS_OK);
    cr_expect_eq(
        sample(n, "kuasar_operation_duration_seconds_count{operation=\"container_delete\"}"), 1);
    cr_expect(node_kill(n, "c1", "x", SIGKILL) == STATUS_OK);
    cr_expect(node_wait_code(n, &wait) == 137);
    node_free(n);
}

Test(service, events_that_nobody_takes_are_seen)
{
    struct node *n = fake_node();
    n->refuse_events = STATUS_UNAVAILABLE;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    for (int i = 0; i < 100 && sample(n, "kuasar_events_resent_total") < 1; i++)
        node_run(n, 0.05);
    cr_expect_geq(sample(n, "kuasar_events_resent_total"), 1);
    cr_expect_eq(sample(n, "kuasar_events_queued"), 1);
    cr_expect_gt(sample(n, "kuasar_events_queued_bytes"), 10);
    cr_expect_eq(sample(n, "kuasar_events_dropped_total"), 0);
    node_free(n);
}

// ---- streams --------------------------------------------------------------------------------

#define STREAM_URL "ttrpc+unix:///s?streaming_id="

static enum status create_streaming(struct node *n, const char *id, const char *out,
                                    const char *err)
{
    Task__CreateTaskRequest r = TASK__CREATE_TASK_REQUEST__INIT;
    char bundle[128];
    make_bundle(n, id, NULL, bundle);
    r.id = (char *)id;
    r.bundle = bundle;
    r.stdout = (char *)out;
    r.stderr = (char *)err;
    return node_call(n, "Create", &r, &task__create_task_response__descriptor, NULL);
}

Test(service, an_exit_is_told_when_its_output_has_been_read)
{
    struct node *n = fake_node();
    struct stream_peer out, err;
    struct answer wait;
    stream_peer_opened(&out, n->loop, n->sock, "c1-stdout");
    stream_peer_opened(&err, n->loop, n->sock, "c1-stderr");
    cr_assert_eq(create_streaming(n, "c1", STREAM_URL "c1-stdout", STREAM_URL "c1-stderr"),
                 STATUS_OK);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    stream_peer_allow(&out, STREAM_WINDOW);
    stream_peer_allow(&err, STREAM_WINDOW);
    node_wait_send(n, "c1", "", &wait);
    fake_exit(&task_of(n, "c1")->init, 7);
    until_in(n->loop, out.ended && err.ended);
    stream_peer_end(&out);
    node_run(n, 0.2);
    cr_expect(!wait.over && node_event(n, "ns /tasks/exit") < 0, "one is still being read");
    cr_expect(node_state(n, "c1", "") == TASK__STATUS__RUNNING);
    cr_expect(node_kill(n, "c1", "", SIGKILL) == STATUS_NOT_FOUND);
    stream_peer_end(&err);
    cr_expect(node_wait_code(n, &wait) == 7);
    node_events_settle(n);
    cr_expect(node_event_count(n, "ns /tasks/exit c1 c1 7") == 1);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    stream_peer_close(&out);
    stream_peer_close(&err);
    node_free(n);
}

Test(service, a_reader_that_never_reads_holds_up_an_exit_for_a_while_only)
{
    struct node *n = fake_node();
    struct stream_peer out;
    struct answer wait;
    stream_peer_opened(&out, n->loop, n->sock, "c1-stdout");
    cr_assert_eq(create_streaming(n, "c1", STREAM_URL "c1-stdout", ""), STATUS_OK);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    node_wait_send(n, "c1", "", &wait);
    fake_exit(&task_of(n, "c1")->init, 3);
    node_run(n, 0.5);
    cr_expect(!wait.over);
    cr_expect(node_wait_code(n, &wait) == 3);
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    until_in(n->loop, out.ended);
    stream_peer_close(&out);
    node_free(n);
}

Test(service, the_exit_of_an_exec_that_nobody_reads_comes_before_that_of_init)
{
    struct node *n = fake_node();
    struct stream_peer out;
    struct answer wait, wait_exec;
    cr_expect(create(n, "c1", NULL) == STATUS_OK);
    cr_expect(node_start(n, "c1", "") == STATUS_OK);
    stream_peer_opened(&out, n->loop, n->sock, "x1-stdout");
    cr_assert_eq(exec_add_to(n, "c1", "x1", STREAM_URL "x1-stdout"), STATUS_OK);
    cr_expect(node_start(n, "c1", "x1") == STATUS_OK);
    node_wait_send(n, "c1", "", &wait);
    node_wait_send(n, "c1", "x1", &wait_exec);
    fake_exit(task_process_find(task_of(n, "c1"), "x1"), 4);
    fake_exit(&task_of(n, "c1")->init, 3);
    cr_expect(node_wait_code(n, &wait) == 3);
    cr_expect(node_wait_code(n, &wait_exec) == 4);
    node_events_settle(n);
    int exec_exit = node_event(n, "ns /tasks/exit c1 x1 4");
    cr_expect(exec_exit >= 0 && exec_exit < node_event(n, "ns /tasks/exit c1 c1 3"));
    cr_expect(node_delete(n, "c1", "", NULL) == STATUS_OK);
    node_events_settle(n);
    cr_expect(node_event_count(n, "ns /tasks/exit c1 x1 4") == 1);
    stream_peer_close(&out);
    node_free(n);
}

Test(service, a_create_whose_streams_are_not_there_is_refused_and_leaves_nothing)
{
    struct node *n = fake_node();
    struct stream_peer out, again;
    stream_peer_opened(&out, n->loop, n->sock, "c1-stdout");
    cr_expect_eq(create_streaming(n, "c1", STREAM_URL "c1-stdout", STREAM_URL "c1-stderr"),
                 STATUS_FAILED_PRECONDITION);
    cr_expect_eq(create_streaming(n, "c1", STREAM_URL "c1-stdin", ""), STATUS_INVALID_ARGUMENT);
    cr_expect(node_state(n, "c1", "") == -STATUS_NOT_FOUND);
    until_in(n->loop, out.ended);
    // The id is free again; another container cannot take what is used.
    stream_peer_opened(&again, n->loop, n->sock, "c1-stdout");
    cr_expect_eq(create_streaming(n, "c1", STREAM_URL "c1-stdout", ""), STATUS_OK);
    cr_expect_eq(create_streaming(n, "c2", STREAM_URL "c1-stdout", ""), STATUS_ALREADY_EXISTS);
    stream_peer_close(&out);
    stream_peer_close(&again);
    node_free(n);
}

static void note_drained(void *arg)
{
    *(bool *)arg = true;
}

Test(service, streams_that_nobody_uses_do_not_hold_up_the_end_of_the_server)
{
    struct node *n = fake_node();
    struct stream_peer out;
    bool drained = false;
    stream_peer_opened(&out, n->loop, n->sock, "c1-stdout");
    task_server_drain(n->server, note_drained, &drained);
    cr_expect(node_run_until(n, &drained, TEST_SECONDS));
    cr_expect_eq(out.err.status, STATUS_UNAVAILABLE, "%s", out.err.text);
    stream_peer_close(&out);
    node_free(n);
}

Test(service, a_follower_of_events_does_not_hold_up_the_end_of_the_server)
{
    struct node *n = fake_node();
    Internal__EventsRequest r = INTERNAL__EVENTS_REQUEST__INIT;
    struct answer follow;
    bool drained = false;
    r.limit = 10;
    r.wait_ms = 60000;
    node_send_on(n, n->client, SERVICE_INSPECT, "Events", &r,
                 &internal__events_response__descriptor, 0, &follow);
    node_run(n, 0.1);
    cr_expect(!follow.over);
    task_server_drain(n->server, note_drained, &drained);
    cr_expect(node_run_until(n, &drained, TEST_SECONDS));
    cr_expect(follow.over && follow.err.status == STATUS_UNAVAILABLE, "%s", follow.err.text);
    node_free(n);
}
