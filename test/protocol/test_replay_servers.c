// Every request that containerd was recorded to send (traces/README.md) goes to the servers that we
// ship: Task frames over a socket, byte by byte, Controller messages into the service in their
// order. Nothing may be unknown or unreadable to them, and what they answer must decode as the
// method's response.
//
// The task server has no containers (the recorded bundles are not here), so its answers are mostly
// NOT_FOUND; test_replay_tasks.c has some. The Controller has its whole life: what was recorded as
// Create is planned by the real plan and made by a stand-in, so that Start, Status, Stop, Wait and
// Shutdown find what they name.
#include "../unit/sandbox/rig.h"
#include "recording.h"

#include <sys/socket.h>

#include "rpc/ttrpc.h"
#include "rpc/ttrpc_message.h"
#include "sandbox/host_pod.h"
#include "task/internal.h"
#include "task/ops.h"
#include "task/server.h"

TestSuite(replay_servers, .timeout = 100);

static const struct api_method *find_method(const struct api_method *m, const char *name)
{
    while (m->name && strcmp(m->name, name) != 0)
        m++;
    return m->name ? m : NULL;
}

// May a method refuse what was recorded? What it names is not here, or (Controller) not in the
// state in which the reference server had it, or it is one of the few things that we do not do.
static bool refusal_is_fine(const struct error *err)
{
    return err->status == STATUS_NOT_FOUND || err->status == STATUS_FAILED_PRECONDITION;
}

static void check_answer(const struct request *q, const struct api_method *method,
                         const struct error *err, const uint8_t *data, size_t len)
{
    cr_assert(method, "%s:%d: there is no %s", q->file, q->line, q->method);
    if (err->status != STATUS_OK) {
        cr_assert(refusal_is_fine(err), "%s:%d %s: %s: %s", q->file, q->line, q->method,
                  status_name(err->status), err->text);
        return;
    }
    struct error decode = {0};
    ProtobufCMessage *m = api_message_decode(method->response, data, len, &decode);
    cr_assert(m, "%s:%d: the answer to %s: %s", q->file, q->line, q->method, decode.text);
    cr_assert_eq(m->n_unknown_fields, 0);
    api_message_free(m);
}

// ---- Task ---------------------------------------------------------------------------------------

struct task_replay {
    struct rig *rig;
    struct task_server *server;
    char socket[96];
    int fd;
    uint32_t id;
    unsigned answers, ok;
};

static void task_connect(struct task_replay *t)
{
    struct error err = {0};
    t->fd = rpc_connect_unix(t->socket, &err);
    cr_assert(t->fd >= 0, "%s", err.text);
    t->id = 1;
}

static void task_send(struct task_replay *t, const struct request *q)
{
    const uint32_t len = (uint32_t)q->raw.len;
    const uint8_t header[TTRPC_HEADER_LEN] = {(uint8_t)(len >> 24),   (uint8_t)(len >> 16),
                                              (uint8_t)(len >> 8),    (uint8_t)len,
                                              (uint8_t)(t->id >> 24), (uint8_t)(t->id >> 16),
                                              (uint8_t)(t->id >> 8),  (uint8_t)t->id,
                                              TTRPC_REQUEST,          q->flags};
    for (size_t i = 0; i < sizeof header + q->raw.len; i++) {
        const uint8_t *at = i < sizeof header ? &header[i] : &q->raw.data[i - sizeof header];
        cr_assert_eq(send(t->fd, at, 1, MSG_NOSIGNAL), 1);
        ev_run(t->rig->loop, EVRUN_NOWAIT);
    }
}

static size_t task_receive(struct task_replay *t, uint8_t *out, size_t size)
{
    size_t got = 0, want = TTRPC_HEADER_LEN;
    const double end = ev_time() + RIG_SECONDS;
    while (got < want) {
        ssize_t n = recv(t->fd, out + got, want - got, MSG_DONTWAIT);
        cr_assert(n > 0 || (n < 0 && errno == EAGAIN && ev_time() < end), "no answer");
        if (n < 0) {
            ev_run(t->rig->loop, EVRUN_NOWAIT);
            continue;
        }
        got += (size_t)n;
        if (got == TTRPC_HEADER_LEN)
            want += (size_t)out[2] << 8 | out[3];
        cr_assert_leq(want, size);
    }
    return got;
}

static void task_request(const struct request *q, void *arg)
{
    struct task_replay *t = arg;
    uint8_t frame[TTRPC_HEADER_LEN + 65536];
    const uint8_t *payload = NULL;
    size_t payload_len = 0;
    struct error err = {0};
    if (strcmp(q->service, SERVICE_STREAMING) == 0)
        return; // where containers do their stdio by FIFO nobody serves it
    cr_assert_str_eq(q->service, SERVICE_TASK_V3);
    task_send(t, q);
    size_t len = task_receive(t, frame, sizeof frame);
    cr_assert_eq(frame[8], TTRPC_RESPONSE);
    cr_assert_eq((uint32_t)frame[6] << 8 | frame[7], t->id, "%s:%d: the answer of another request",
                 q->file, q->line);
    (void)ttrpc_response_decode(frame + TTRPC_HEADER_LEN, len - TTRPC_HEADER_LEN, &payload,
                                &payload_len, &err);
    check_answer(q, find_method(t->server->services[0].methods, q->method), &err, payload,
                 payload_len);
    t->answers++;
    t->ok += err.status == STATUS_OK;
    t->id += 2;
}

// Each file on a connection of its own.
static void task_file_over(void *arg)
{
    struct task_replay *t = arg;
    close(t->fd);
    task_connect(t);
    ev_run(t->rig->loop, EVRUN_NOWAIT);
}

Test(replay_servers, task)
{
    struct task_replay t = {.rig = rig_new()};
    struct error err = {0};
    const struct task_config config = {.dir = t.rig->dir,
                                       .runtime = "/bin/false",
                                       .runtime_root = t.rig->dir,
                                       .version = "test",
                                       .ops = &task_oci_ops};
    t.server = task_server_new(t.rig->loop, t.rig->reaper, &config, &err);
    cr_assert(t.server, "%s", err.text);
    snprintf(t.socket, sizeof t.socket, "%s/replay.sock", t.rig->dir);
    cr_assert_eq(task_server_listen(t.server, t.socket, &err), 0, "%s", err.text);
    task_connect(&t);
    unsigned n = replay_all("ttrpc", task_request, &t, task_file_over);
    // The recordings do not change, so neither do these numbers.
    cr_assert_eq(n, 1296);
    cr_assert_eq(t.answers, 1270);
    cr_log_info("%u answers, %u OK", t.answers, t.ok);
    cr_assert_geq(t.ok, 2, "Shutdown is answered with OK");
    close(t.fd);
    task_server_free(t.server);
    rig_free(t.rig);
}

// ---- Controller ---------------------------------------------------------------------------------

struct controller_replay {
    struct rig *rig;
    struct call *waits[256];
    size_t n_waits;
    unsigned answers, ok, creates;
};

// The recorded network namespaces are not here; everything else is planned as it was asked for.
// Cgroups are not ours to touch in a test.
static int replay_plan(struct sandbox_manager *m, struct sandbox_record *record,
                       const struct sandbox_request *q, struct error *err)
{
    struct sandbox_request here = *q;
    if (*q->netns)
        here.netns = "/proc/self/ns/net";
    if (host_pod_plan(m, record, &here, err) < 0)
        return -1;
    struct undo kept = {0};
    for (size_t i = 0; i < record->undo.n; i++) {
        const struct undo_step *s = &record->undo.steps[i];
        if (s->kind != UNDO_CGROUP)
            cr_assert_eq(undo_push_path(&kept, s->kind, s->path), 0);
    }
    undo_done(&record->undo);
    record->undo = kept;
    return 0;
}

static const struct sandbox_ops replay_ops = {
    .name = "replay", .plan = replay_plan, .make = rig_make_work, .check = rig_check};

static void controller_check(struct controller_replay *c, const struct request *q,
                             struct call *call)
{
    check_answer(q, find_method(c->rig->controller.service.methods, q->method), &call->err,
                 call->data, call->len);
    c->answers++;
    c->ok += call->err.status == STATUS_OK;
    call_free(call);
}

static void controller_request(const struct request *q, void *arg)
{
    struct controller_replay *c = arg;
    cr_assert_str_eq(q->service, SERVICE_CONTROLLER);
    struct call *call = ask_bytes(c->rig, q->method, q->raw.data, q->raw.len);
    if (strcmp(q->method, "Wait") == 0 && !call->over) {
        cr_assert_lt(c->n_waits, ARRAY_SIZE(c->waits));
        c->waits[c->n_waits++] = call;
        return;
    }
    cr_assert(run_until(c->rig, &call->over, RIG_SECONDS), "%s:%d: no answer", q->file, q->line);
    if (strcmp(q->method, "Create") == 0) {
        cr_assert_eq(call->err.status, STATUS_OK, "%s:%d: %s", q->file, q->line, call->err.text);
        c->creates++;
    }
    controller_check(c, q, call);
}

static void controller_up(struct controller_replay *c)
{
    c->rig = rig_prepare();
    rig_daemon_up_with(c->rig, &replay_ops);
    rig_connect(c->rig);
}

// Waits of pods that were not stopped in the recording are still open.
static void controller_file_over(void *arg)
{
    struct controller_replay *c = arg;
    const struct request wait = {.file = "Wait", .method = "Wait"};
    for (size_t i = 0; i < c->n_waits; i++) {
        if (c->waits[i]->over) {
            controller_check(c, &wait, c->waits[i]);
            continue;
        }
        call_cancel(c->waits[i]);
        call_free(c->waits[i]);
    }
    c->n_waits = 0;
    rig_free(c->rig);
    controller_up(c);
}

Test(replay_servers, controller)
{
    struct controller_replay c = {0};
    controller_up(&c);
    unsigned n = replay_all("grpc", controller_request, &c, controller_file_over);
    cr_assert_eq(n, 816);
    cr_assert_eq(c.creates, 44);
    cr_log_info("%u answers, %u OK", c.answers, c.ok);
    cr_assert_geq(c.ok, 690);
    rig_free(c.rig);
}
