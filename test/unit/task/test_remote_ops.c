// Containers that the agent of a virtual machine makes, against a stand-in for the agent that
// answers what the test says: what it should, nothing, or lies. The machine is a process that
// sleeps.
#include "support.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "api/cgroups2.pb-c.h"
#include "api/guest.pb-c.h"
#include "linux/process.h"
#include "rpc/ttrpc.h"
#include "task/guest.h"
#include "task/remote_ops.h"

#define ASKED_MAX 256

// ---- the stand-in -------------------------------------------------------------------------------

struct asked {
    uint32_t id;
    bool open, stream;
    char method[32];
    uint8_t payload[8192];
    size_t len;
};

static struct agent {
    struct ev_loop *loop;
    int listening, fd;
    ev_io accept, io;
    bool greeted;
    struct ttrpc_session session;
    struct asked asked[ASKED_MAX];
    size_t n_asked;
    pid_t machine;
} agent;

static void agent_flush(void)
{
    size_t len;
    const uint8_t *out;
    while (agent.fd >= 0 && (out = ttrpc_session_output(&agent.session, &len))) {
        ssize_t n = send(agent.fd, out, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        ttrpc_session_sent(&agent.session, (size_t)n);
    }
}

static void agent_request(struct ttrpc_session *s, const struct ttrpc_request *req, void *arg)
{
    cr_assert_lt(agent.n_asked, ASKED_MAX);
    struct asked *a = &agent.asked[agent.n_asked++];
    *a = (struct asked){.id = req->id, .open = true, .stream = req->flags != 0};
    snprintf(a->method, sizeof a->method, "%s", req->method);
    a->len = req->payload_len < sizeof a->payload ? req->payload_len : sizeof a->payload;
    if (a->len)
        memcpy(a->payload, req->payload, a->len);
}

static void agent_data(struct ttrpc_session *s, uint32_t id, void *owner, const uint8_t *data,
                       size_t len, bool end, void *arg)
{
}

static const struct ttrpc_events agent_events = {.request = agent_request, .data = agent_data};

static void agent_io(struct ev_loop *loop, ev_io *w, int revents)
{
    uint8_t data[65536];
    ssize_t n = recv(agent.fd, data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        ev_io_stop(loop, w);
        return;
    }
    size_t from = 0;
    if (!agent.greeted) { // nothing comes behind it before the answer
        cr_assert_eq(strncmp((char *)data, "CONNECT 1024\n", (size_t)n), 0);
        cr_assert_eq(send(agent.fd, "OK 1\n", 5, 0), 5);
        agent.greeted = true;
        from = (size_t)n;
    }
    cr_assert_eq(ttrpc_session_recv(&agent.session, data + from, (size_t)n - from), 0);
    agent_flush();
}

static void agent_accept(struct ev_loop *loop, ev_io *w, int revents)
{
    agent.fd = accept4(agent.listening, NULL, NULL, SOCK_CLOEXEC);
    cr_assert_geq(agent.fd, 0);
    ttrpc_session_init(&agent.session, TTRPC_SERVER, 1000, &agent_events, NULL);
    ev_io_init(&agent.io, agent_io, agent.fd, EV_READ);
    ev_io_start(loop, &agent.io);
}

// The open request for this method that came last; waits for it.
static struct asked *asked(struct node *n, const char *method)
{
    for (double end = ev_time() + TEST_SECONDS; ev_time() < end; node_run(n, 0.005)) {
        for (size_t i = agent.n_asked; i-- > 0;) {
            if (agent.asked[i].open && strcmp(agent.asked[i].method, method) == 0)
                return &agent.asked[i];
        }
    }
    cr_assert_fail("the agent was not asked for %s", method);
    return NULL;
}

static void say_bytes(struct node *n, const char *method, const void *data, size_t len)
{
    struct asked *a = asked(n, method);
    a->open = false;
    cr_assert_eq(ttrpc_session_reply(&agent.session, a->id, data, len), 0);
    agent_flush();
}

static void say(struct node *n, const char *method, const void *msg)
{
    size_t len = 0;
    uint8_t *data = msg ? api_message_encode(msg, &len) : NULL;
    say_bytes(n, method, data, len);
    free(data);
}

static void say_error(struct node *n, const char *method, enum status status, const char *text)
{
    struct asked *a = asked(n, method);
    struct error err = {0};
    a->open = false;
    error_set(&err, status, "%s", text);
    cr_assert_eq(ttrpc_session_fail(&agent.session, a->id, &err), 0);
    agent_flush();
}

static uint64_t last_event;

struct told {
    const char *topic, *ns, *id, *exec_id;
    uint32_t status;
};

static void say_events(struct node *n, const struct told *told, size_t count, uint64_t missed)
{
    Internal__EventsResponse r = INTERNAL__EVENTS_RESPONSE__INIT;
    static Internal__Event events[512];
    static Internal__Event *list[512];
    cr_assert_leq(count, 512);
    for (size_t i = 0; i < count; i++) {
        events[i] = (Internal__Event)INTERNAL__EVENT__INIT;
        events[i].number = ++last_event;
        events[i].topic = (char *)told[i].topic;
        events[i].namespace_ = (char *)told[i].ns;
        events[i].id = (char *)told[i].id;
        events[i].exec_id = (char *)(told[i].exec_id ? told[i].exec_id : "");
        events[i].exited = strcmp(told[i].topic, "/tasks/exit") == 0;
        events[i].exit_status = told[i].status;
        list[i] = &events[i];
    }
    r.epoch = 7;
    r.last = last_event;
    r.missed = missed;
    r.n_events = count;
    r.events = list;
    say(n, "Events", &r);
}

static void say_exit(struct node *n, const char *id, const char *exec_id, uint32_t status)
{
    const struct told told = {"/tasks/exit", "ns", id, exec_id, status};
    say_events(n, &told, 1, 0);
}

// ---- the node -----------------------------------------------------------------------------------

static struct node *up(void)
{
    struct error err = {0};
    struct process_id id;
    char dir[100], path[128], text[256];
    cr_assert_eq(unshare(CLONE_NEWNS), 0);
    cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    struct node *n = node_new(&task_remote_ops);
    agent = (struct agent){.loop = n->loop, .fd = -1};
    last_event = 0;
    agent.machine = fork();
    if (agent.machine == 0) {
        pause();
        _exit(0);
    }
    snprintf(dir, sizeof dir, "%s/sandboxes/pod1", n->dir);
    snprintf(path, sizeof path, "%s/shared", dir);
    cr_assert_eq(file_mkdir_all(path, 0755), 0);
    snprintf(path, sizeof path, "%s/v", n->dir);
    agent.listening = rpc_listen_unix(path, &err);
    cr_assert_geq(agent.listening, 0, "%s", err.text);
    ev_io_init(&agent.accept, agent_accept, agent.listening, EV_READ);
    ev_io_start(n->loop, &agent.accept);
    cr_assert_eq(process_identify(agent.machine, &id), 0);
    snprintf(text, sizeof text, "{\"version\":1,\"pid\":%d,\"start_time\":%llu,\"vsock\":\"%s\"}",
             (int)id.pid, (unsigned long long)id.start_time, path);
    write_text(text, "%s/vm.json", dir);
    return n;
}

static bool machine_lives(void)
{
    return waitpid(agent.machine, NULL, WNOHANG) == 0;
}

static void down(struct node *n)
{
    node_stop_server(n);
    ev_io_stop(n->loop, &agent.accept);
    if (agent.fd >= 0) {
        ev_io_stop(n->loop, &agent.io);
        ttrpc_session_done(&agent.session);
    }
    close_fd(&agent.fd);
    close_fd(&agent.listening);
    kill(agent.machine, SIGKILL);
    waitpid(agent.machine, NULL, 0);
    umount2(n->dir, MNT_DETACH);
    char path[128];
    snprintf(path, sizeof path, "%s/sandboxes/pod1/shared", n->dir);
    char command[256];
    snprintf(command, sizeof command,
             "grep -o '%s[^ ]*' /proc/self/mounts | sort -r | xargs -r umount -l", path);
    cr_assert_eq(system(command), 0);
    node_free(n);
}

static void send_create(struct node *n, const char *id, struct answer *a)
{
    Task__CreateTaskRequest r = TASK__CREATE_TASK_REQUEST__INIT;
    char bundle[128], path[160];
    snprintf(bundle, sizeof bundle, "%s/b-%s", n->dir, id);
    snprintf(path, sizeof path, "%s/rootfs", bundle);
    cr_assert_eq(file_mkdir_all(path, 0755), 0);
    write_text("{\"process\":{\"args\":[\"x\"],\"cwd\":\"/"
               "\"},\"root\":{\"path\":\"rootfs\"},\"mounts\":[],"
               "\"linux\":{\"namespaces\":[{\"type\":\"pid\"}]},\"annotations\":{"
               "\"io.kubernetes.cri.sandbox-id\":\"pod1\"}}",
               "%s/config.json", bundle);
    r.id = (char *)id;
    r.bundle = bundle;
    node_send(n, "Create", &r, &task__create_task_response__descriptor, a);
}

static void create(struct node *n, const char *id)
{
    Task__CreateTaskResponse r = TASK__CREATE_TASK_RESPONSE__INIT;
    struct answer a;
    send_create(n, id, &a);
    say(n, "Bundle", NULL);
    r.pid = 1; // of the guest's, which is nothing here
    say(n, "Create", &r);
    node_await(n, &a, "Create");
    cr_assert(a.msg, "%s", a.err.text);
    cr_assert_eq(((Task__CreateTaskResponse *)a.msg)->pid, (uint32_t)agent.machine);
    answer_done(&a);
}

static void start(struct node *n, const char *id)
{
    Task__StartRequest r = TASK__START_REQUEST__INIT;
    Task__StartResponse answer = TASK__START_RESPONSE__INIT;
    struct answer a;
    r.id = (char *)id;
    node_send(n, "Start", &r, &task__start_response__descriptor, &a);
    say(n, "Start", &answer);
    node_await(n, &a, "Start");
    cr_assert(a.msg, "%s", a.err.text);
    answer_done(&a);
}

static void end(struct node *n, const char *id)
{
    Task__DeleteRequest r = TASK__DELETE_REQUEST__INIT;
    Task__DeleteResponse answer = TASK__DELETE_RESPONSE__INIT;
    struct answer a;
    say_exit(n, id, "", 0);
    say(n, "Delete", &answer); // when its exit is known
    say(n, "Unbundle", NULL);
    r.id = (char *)id;
    node_send(n, "Delete", &r, &task__delete_response__descriptor, &a);
    node_await(n, &a, "Delete");
    cr_assert(a.msg, "%s", a.err.text);
    answer_done(&a);
}

TestSuite(remote_ops, .timeout = 60);

Test(remote_ops, a_container_s_life)
{
    struct node *n = up();
    struct answer wait;
    create(n, "c1");
    cr_assert_eq(node_state(n, "c1", ""), TASK__STATUS__CREATED);
    start(n, "c1");
    cr_assert_eq(node_state(n, "c1", ""), TASK__STATUS__RUNNING);
    node_wait_send(n, "c1", "", &wait);
    say_exit(n, "c1", "", 42);
    cr_assert_eq(node_wait_code(n, &wait), 42);
    node_events_settle(n);
    cr_assert_geq(node_event(n, "ns /tasks/exit c1 c1 42"), 0);
    Task__DeleteResponse gone = TASK__DELETE_RESPONSE__INIT;
    struct answer a;
    say(n, "Delete", &gone);
    say(n, "Unbundle", NULL);
    cr_assert_eq(node_delete(n, "c1", "", &a), STATUS_OK);
    cr_assert_eq(((Task__DeleteResponse *)a.msg)->exit_status, 42);
    answer_done(&a);
    char path[128];
    snprintf(path, sizeof path, "%s/sandboxes/pod1/shared/c1", n->dir);
    cr_assert_lt(access(path, F_OK), 0);
    cr_assert(machine_lives());
    down(n);
}

// When the machine is met, and every minute; an agent that cannot is no reason to end it.
Test(remote_ops, the_guest_s_clock_is_set)
{
    struct node *n = up();
    create(n, "c1");
    const struct asked *a = asked(n, "SetTime");
    struct error err = {0};
    Guest__SetTimeRequest *r = (Guest__SetTimeRequest *)api_message_decode(
        &guest__set_time_request__descriptor, a->payload, a->len, &err);
    cr_assert(r && r->now, "%s", err.text);
    cr_assert_leq(llabs((long long)r->now->seconds - (long long)time(NULL)), 5);
    api_message_free(&r->base);
    say_error(n, "SetTime", STATUS_INTERNAL, "it has stopped");
    say_exit(n, "other", "", 0);
    asked(n, "Events");
    for (size_t i = 0; i < agent.n_asked; i++)
        cr_assert(!agent.asked[i].open || strcmp(agent.asked[i].method, "SetTime") != 0);
    cr_assert(machine_lives());
    down(n);
}

Test(remote_ops, exits_of_others_are_not_believed)
{
    struct node *n = up();
    static const struct told lies[] = {
        {"/tasks/exit", "ns", "c2", "", 1},       {"/tasks/exit", "other", "c1", "", 1},
        {"/tasks/exit", "ns", "../c1", "", 1},    {"/tasks/exit", "ns", "", "", 1},
        {"/tasks/exit", "ns", "c1", "noexec", 1}, {"/tasks/delete", "ns", "c1", "", 1},
        {"/tasks/exit", "n/s", "c1", "", 1},      {"", "", "", "", 1},
    };
    create(n, "c1");
    start(n, "c1");
    say_events(n, lies, ARRAY_SIZE(lies), 0);
    node_run(n, 0.05);
    cr_assert_eq(node_state(n, "c1", ""), TASK__STATUS__RUNNING);
    end(n, "c1");
    down(n);
}

Test(remote_ops, a_flood_of_ooms_is_passed_on_in_part)
{
    struct node *n = up();
    static struct told ooms[400];
    create(n, "c1");
    start(n, "c1");
    for (size_t i = 0; i < ARRAY_SIZE(ooms); i++)
        ooms[i] = (struct told){"/tasks/oom", "ns", "c1", "", 0};
    say_events(n, ooms, ARRAY_SIZE(ooms), 0);
    asked(n, "Events");
    node_events_settle(n);
    cr_assert_eq(node_event_count(n, "ns /tasks/oom"), GUEST_OOMS_MAX);
    end(n, "c1");
    down(n);
}

Test(remote_ops, what_prepares_a_create_says_why_it_failed)
{
    struct node *n = up();
    struct answer a;
    send_create(n, "c1", &a);
    say_error(n, "Bundle", STATUS_RESOURCE_EXHAUSTED, "too large");
    say_error(n, "Create", STATUS_NOT_FOUND, "no config.json");
    say_error(n, "Kill", STATUS_NOT_FOUND, "none");
    say_error(n, "Delete", STATUS_NOT_FOUND, "none");
    node_await(n, &a, "Create");
    cr_assert_eq(a.err.status, STATUS_RESOURCE_EXHAUSTED, "%s", a.err.text);
    cr_assert_not_null(strstr(a.err.text, "guest: too large"), "%s", a.err.text);
    cr_assert_eq(node_state(n, "c1", ""), -STATUS_NOT_FOUND);
    down(n);
}

Test(remote_ops, nonsense_for_an_answer_is_an_error_of_the_guest_s)
{
    struct node *n = up();
    struct answer a;
    send_create(n, "c1", &a);
    say(n, "Bundle", NULL);
    say_bytes(n, "Create", "\xff\xff\xff\xff", 4);
    say_error(n, "Kill", STATUS_NOT_FOUND, "none");
    say_error(n, "Delete", STATUS_NOT_FOUND, "none");
    node_await(n, &a, "Create");
    cr_assert_eq(a.err.status, STATUS_INTERNAL, "%s", a.err.text);
    cr_assert_not_null(strstr(a.err.text, "guest: "), "%s", a.err.text);
    cr_assert(machine_lives());
    down(n);
}

static void expect_lost(struct node *n, const char *id)
{
    cr_assert_eq(node_wait(n, id, ""), 255);
    node_events_settle(n);
    cr_assert_geq(node_event(n, "ns /tasks/exit c1 c1 255"), 0);
    for (int i = 0; i < 100 && machine_lives(); i++)
        node_run(n, 0.02);
    cr_assert_not(machine_lives(), "it is of no use any more");
    cr_assert_eq(node_delete(n, id, "", NULL), STATUS_OK);
}

Test(remote_ops, who_does_not_end_what_was_killed_loses_the_machine)
{
    struct node *n = up();
    Task__KillRequest r = TASK__KILL_REQUEST__INIT;
    struct answer a;
    create(n, "c1");
    start(n, "c1");
    r.id = (char *)"c1";
    r.signal = SIGKILL;
    node_send(n, "Kill", &r, EMPTY, &a);
    say(n, "Kill", NULL);
    node_await(n, &a, "Kill");
    cr_assert_eq(a.err.status, STATUS_OK);
    answer_done(&a);
    node_run(n, 1);
    cr_assert(machine_lives());
    expect_lost(n, "c1");
    down(n);
}

Test(remote_ops, who_forgets_events_loses_the_machine)
{
    struct node *n = up();
    create(n, "c1");
    start(n, "c1");
    static const struct told other = {"/tasks/start", "ns", "c1", "", 0};
    say_events(n, &other, 1, 5); // what was before us was for others
    asked(n, "Events");
    cr_assert(machine_lives());
    say_events(n, &other, 1, 5);
    expect_lost(n, "c1");
    down(n);
}

Test(remote_ops, who_answers_that_nothing_happened_loses_the_machine)
{
    struct node *n = up();
    create(n, "c1");
    start(n, "c1");
    say_events(n, NULL, 0, 0);
    expect_lost(n, "c1");
    down(n);
}

// It would be a container that nobody ends.
Test(remote_ops, what_a_lost_machine_has_answered_does_not_count)
{
    struct node *n = up();
    Task__CreateTaskResponse r = TASK__CREATE_TASK_RESPONSE__INIT;
    struct answer a;
    send_create(n, "c1", &a);
    say(n, "Bundle", NULL);
    (void)asked(n, "Create");
    say_events(n, NULL, 0, 0);
    say(n, "Create", &r); // comes with it
    node_await(n, &a, "Create");
    cr_expect(!a.msg && a.err.status == STATUS_UNAVAILABLE, "%s", a.err.text);
    answer_done(&a);
    down(n);
}

Test(remote_ops, a_lost_connection_is_a_lost_machine)
{
    struct node *n = up();
    create(n, "c1");
    start(n, "c1");
    ev_io_stop(n->loop, &agent.accept);
    ev_io_stop(n->loop, &agent.io);
    close_fd(&agent.listening);
    close_fd(&agent.fd);
    ttrpc_session_done(&agent.session);
    expect_lost(n, "c1");
    down(n);
}

Test(remote_ops, numbers_are_read_before_they_are_passed_on)
{
    struct node *n = up();
    Task__StatsRequest r = TASK__STATS_REQUEST__INIT;
    Task__StatsResponse s = TASK__STATS_RESPONSE__INIT;
    Cgroups2__Metrics m = CGROUPS2__METRICS__INIT;
    Cgroups2__CPUStat cpu = CGROUPS2__CPUSTAT__INIT;
    Google__Any any;
    struct answer a;
    create(n, "c1");
    start(n, "c1");
    r.id = (char *)"c1";
    cpu.usage_usec = 4711;
    m.cpu = &cpu;
    cr_assert_eq(any_pack(&any, ANY_CGROUPS2_METRICS, &m.base), 0);
    s.stats = &any;
    node_send(n, "Stats", &r, &task__stats_response__descriptor, &a);
    say(n, "Stats", &s);
    node_await(n, &a, "Stats");
    cr_assert(a.msg, "%s", a.err.text);
    cr_assert_eq(((Task__StatsResponse *)a.msg)->stats->value.len, any.value.len);
    answer_done(&a);
    any_clear(&any);

    static const struct {
        const char *type, *value;
    } lies[] = {{ANY_CGROUPS2_METRICS, "\xff\xff"}, {"something.Else", ""}, {"", ""}};
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        cr_assert_eq(any_set(&any, lies[i].type, lies[i].value, strlen(lies[i].value)), 0);
        node_send(n, "Stats", &r, &task__stats_response__descriptor, &a);
        say(n, "Stats", &s);
        node_await(n, &a, "Stats");
        cr_assert_eq(a.err.status, STATUS_INTERNAL, "%zu: %s", i, a.err.text);
        any_clear(&any);
    }
    end(n, "c1");
    down(n);
}
