// What containerd was recorded to ask of containers (traces/README.md), asked of our task server
// with containers that are there: every request of a file in its order, over a socket, to the real
// service over a stand-in for the kind of task. Our answer must have the recorded status, decode as
// the method's response, and have the same fields set, exit codes with the same values.
//
// The stand-in runs nothing. What happened to a container without containerd's doing is taken from
// the recorded answers: a process ends with the recorded code by the time of which it was recorded
// to have ended; a Create, Start or Kill that failed in the recording fails here. Bundles and FIFOs
// of the recording are not here, so Create and Exec name others; everything else is sent as it was.
// Containers that were there before the recording began are made when they are first named.
#include "../unit/sandbox/rig.h"
#include "recording.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "api/cgroups2.pb-c.h"
#include "api/stream.h"
#include "rpc/ttrpc.h"
#include "rpc/ttrpc_message.h"
#include "task/internal.h"
#include "task/ops.h"
#include "task/server.h"

TestSuite(replay_tasks, .timeout = 100);

#define WAITS_MAX 256

// A Wait whose answer has not come.
struct open_wait {
    uint32_t id;
    size_t answer; // line of the recorded answer; 0: none
    int line;
    char exec_id[IDENT_MAX + 1];
};

struct replay_state {
    struct rig *rig;
    struct task_server *server;
    const struct recording *recording;
    int fd;
    uint32_t id;
    unsigned fifos;
    struct open_wait waits[WAITS_MAX];
    size_t n_waits;
    char failed_exec[IDENT_MAX + 1]; // "": none
    unsigned requests, ok, refused, made;
    unsigned ok_of[32]; // by the place in task_methods
};

// ---- the stand-in -------------------------------------------------------------------------------

// What the next operation says: as recorded.
static struct {
    enum status fails;
    unsigned next_pid;
} script;

static void stand_in_done(struct task_done done, enum status fails)
{
    struct error err = {0};
    if (fails)
        error_set(&err, fails, "it failed when it was recorded");
    done.fn(done.arg, fails ? &err : NULL);
}

static int stand_in_open(struct task *t, const Google__Any *options, const struct pod *pod,
                         json_object *spec, struct error *err)
{
    t->engine = &script;
    return 0;
}

static json_object *stand_in_describe(const struct task *t)
{
    return json_object_new_object();
}

static int stand_in_adopt(struct task *t, json_object *described, struct error *err)
{
    t->engine = &script;
    return 0;
}

static void stand_in_close(struct task *t)
{
    t->engine = NULL;
}

// As a runtime hands over the master of a terminal.
static void send_terminal(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (char *)"x", .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &master, sizeof master);
    cr_assert(master >= 0 && connect(s, (struct sockaddr *)&addr, sizeof addr) == 0);
    cr_assert_eq(sendmsg(s, &msg, 0), 1);
    close(master);
    close(s);
}

static void stand_in_run(struct task_process *p, struct task_done done)
{
    if (script.fails == STATUS_OK) {
        p->pid.pid = (pid_t)(100000 + script.next_pid++);
        if (task_stdio_console(p->io))
            send_terminal(task_stdio_console(p->io));
    }
    stand_in_done(done, script.fails);
}

static void stand_in_create(struct task *t, struct task_done done)
{
    stand_in_run(&t->init, done);
}

static void stand_in_start(struct task *t, struct task_done done)
{
    stand_in_done(done, script.fails);
}

static void stand_in_exit(struct task_process *p, uint32_t code)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    task_process_exited(p, code, &now);
}

static void stand_in_cancel(struct task_process *p)
{
}

static void stand_in_remove(struct task *t, struct task_done done)
{
    stand_in_done(done, STATUS_OK);
}

static void stand_in_reap(struct task *t)
{
}

// What runs ends when it was recorded to end, except with its container.
static void stand_in_kill(struct task_process *p, int sig, bool all, struct task_done done)
{
    if (sig == SIGKILL && (p->state != PROCESS_RUNNING || p->task->init.exit_seen))
        stand_in_exit(p, 137);
    stand_in_done(done, script.fails);
}

static void stand_in_pids(struct task *t, struct task_pids_done done)
{
    struct task_pid pids[8] = {{.pid = (uint32_t)t->init.pid.pid}};
    const struct task_process *p;
    size_t n = 1;
    TAILQ_FOREACH(p, &t->execs, link)
    {
        if (p->state == PROCESS_RUNNING && n < ARRAY_SIZE(pids))
            pids[n++] = (struct task_pid){.pid = (uint32_t)p->pid.pid, .exec = p};
    }
    done.fn(done.arg, pids, n, NULL);
}

static void stand_in_stats(struct task *t, struct task_stats_done done)
{
    Cgroups2__Metrics metrics = CGROUPS2__METRICS__INIT;
    Cgroups2__PidsStat pids = CGROUPS2__PIDS_STAT__INIT;
    Google__Any any;
    pids.current = 1;
    metrics.pids = &pids;
    cr_assert_eq(any_pack(&any, ANY_CGROUPS2_METRICS, (const ProtobufCMessage *)&metrics), 0);
    done.fn(done.arg, &any, NULL);
    any_clear(&any);
}

static void stand_in_update(struct task *t, const void *resources, size_t len,
                            struct task_done done)
{
    stand_in_done(done, script.fails);
}

static void stand_in_release(struct task_process *p)
{
}

static const struct task_ops stand_in_ops = {
    .name = "stand-in",
    .open = stand_in_open,
    .describe = stand_in_describe,
    .adopt = stand_in_adopt,
    .close = stand_in_close,
    .create = stand_in_create,
    .start = stand_in_start,
    .exec_start = stand_in_run,
    .cancel = stand_in_cancel,
    .remove = stand_in_remove,
    .reap = stand_in_reap,
    .kill = stand_in_kill,
    .pids = stand_in_pids,
    .stats = stand_in_stats,
    .update = stand_in_update,
    .pause = stand_in_start,
    .resume = stand_in_start,
    .release = stand_in_release,
};

// ---- what was recorded --------------------------------------------------------------------------

// An answer: its status, and its message if that is OK.
struct told {
    struct error err;
    ProtobufCMessage *msg;
};

static const struct api_method *method_of(const char *name)
{
    const struct api_method *m = task_methods;
    while (m->name && strcmp(m->name, name) != 0)
        m++;
    cr_assert(m->name, "there is no %s", name);
    return m;
}

// `response` is spoiled. Free `msg` with api_message_free.
static struct told answer_read(const struct api_method *m, uint8_t *response, size_t len)
{
    struct told told = {0};
    const uint8_t *payload = NULL;
    size_t payload_len = 0;
    struct error err = {0};
    if (ttrpc_response_decode(response, len, &payload, &payload_len, &told.err) < 0)
        return told;
    told.msg = api_message_decode(m->response, payload, payload_len, &err);
    cr_assert(told.msg, "the answer to %s: %s", m->name, err.text);
    return told;
}

// The line of the recorded answer to the request in line i; 0: there is none.
static size_t answer_line(const struct recording *r, size_t i)
{
    json_object *q = r->lines[i];
    for (size_t k = i + 1; k < r->n; k++) {
        json_object *a = r->lines[k];
        if (get_number(a, "conn") != get_number(q, "conn"))
            continue;
        if (line_is(a, "ttrpc", "open"))
            break; // of the next server, which counts anew
        if (line_is(a, "ttrpc", "response") && get_number(a, "stream") == get_number(q, "stream"))
            return k;
    }
    return 0;
}

static struct told recorded_answer(const struct recording *r, size_t line,
                                   const struct api_method *m)
{
    struct bytes raw = line_bytes(r, line);
    struct told told = answer_read(m, raw.data, raw.len);
    free(raw.data);
    return told;
}

// ---- comparing ----------------------------------------------------------------------------------

static const void *field_at(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return (const char *)m + f->offset;
}

static bool field_is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    static const uint64_t zero;
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)(const void *)((const char *)m + f->quantifier_offset) > 0;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = *(const char *const *)field_at(m, f);
        return text && *text;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(const ProtobufCMessage *const *)field_at(m, f) != NULL;
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)field_at(m, f))->len > 0;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_INT64:
        return memcmp(field_at(m, f), &zero, 8) != 0;
    case PROTOBUF_C_TYPE_BOOL:
        return *(const protobuf_c_boolean *)field_at(m, f) != 0;
    default:
        return memcmp(field_at(m, f), &zero, 4) != 0;
    }
}

// Not as it was recorded, and rightly so:
//   version     ours says which Task API it serves, the reference says nothing
//   exec_id     the reference gives the id of an exec as the container's
//   exited_at   the reference says Go's zero time where a process lives
static bool field_may_differ(const ProtobufCMessage *theirs, const char *name)
{
    if (theirs->descriptor == &task__connect_response__descriptor)
        return strcmp(name, "version") == 0;
    if (theirs->descriptor != &task__state_response__descriptor)
        return false;
    if (strcmp(name, "exited_at") == 0)
        return ((const Task__StateResponse *)theirs)->status != TASK__STATUS__STOPPED;
    return strcmp(name, "exec_id") == 0;
}

static void compare(const char *file, int line, const ProtobufCMessage *ours,
                    const ProtobufCMessage *theirs)
{
    const ProtobufCMessageDescriptor *d = ours->descriptor;
    cr_assert_eq(ours->n_unknown_fields, 0);
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        if (field_may_differ(theirs, f->name))
            continue;
        cr_expect_eq(field_is_set(ours, f), field_is_set(theirs, f), "%s:%d: %s.%s is %s", file,
                     line, d->name, f->name, field_is_set(ours, f) ? "set" : "not set");
        if (f->type == PROTOBUF_C_TYPE_ENUM || strcmp(f->name, "exit_status") == 0)
            cr_expect_eq(*(const uint32_t *)field_at(ours, f),
                         *(const uint32_t *)field_at(theirs, f), "%s:%d: %s.%s: %u", file, line,
                         d->name, f->name, *(const uint32_t *)field_at(ours, f));
    }
}

// What an Any of ours holds is what its type says.
static void check_any(const Google__Any *any)
{
    const ProtobufCMessageDescriptor *type = any ? any_descriptor(any->type_url) : NULL;
    struct error err = {0};
    if (!any)
        return;
    cr_assert(type, "no message: %s", any->type_url);
    ProtobufCMessage *m = any_decode(any, any->type_url, type, &err);
    cr_assert(m, "%s", err.text);
    cr_assert_eq(m->n_unknown_fields, 0);
    api_message_free(m);
}

static void check_inner(const ProtobufCMessage *ours)
{
    if (ours->descriptor == &task__stats_response__descriptor)
        check_any(((const Task__StatsResponse *)ours)->stats);
    if (ours->descriptor != &task__pids_response__descriptor)
        return;
    const Task__PidsResponse *r = (const Task__PidsResponse *)ours;
    for (size_t i = 0; i < r->n_processes; i++) {
        cr_assert(r->processes[i]->pid);
        check_any(r->processes[i]->info);
    }
}

// The reference takes it for done to kill an init that has ended; containerd takes NOT_FOUND so,
// too.
static bool status_may_differ(const struct api_method *m, const struct error *ours,
                              enum status theirs)
{
    return strcmp(m->name, "Kill") == 0 && ours->status == STATUS_NOT_FOUND &&
           strstr(ours->text, "process already finished") && theirs == STATUS_OK;
}

// An exec whose Start has failed has ended, we say, with 255; the reference says that it is as
// before and that it has ended with 0 when it is deleted.
static void check_told(struct replay_state *s, int line, const struct api_method *m,
                       const char *exec_id, struct told *ours, struct told *theirs)
{
    const char *file = s->recording->path;
    cr_expect(ours->err.status == theirs->err.status ||
                  status_may_differ(m, &ours->err, theirs->err.status),
              "%s:%d: %s: %s (%s) instead of %s", file, line, m->name,
              status_name(ours->err.status), ours->err.text, status_name(theirs->err.status));
    if (ours->msg)
        check_inner(ours->msg);
    if (ours->msg && theirs->msg && (!*exec_id || strcmp(exec_id, s->failed_exec) != 0))
        compare(file, line, ours->msg, theirs->msg);
    s->ok += ours->msg != NULL;
    s->refused += ours->msg == NULL;
    s->ok_of[m - task_methods] += ours->msg != NULL;
    api_message_free(ours->msg);
    api_message_free(theirs->msg);
}

// ---- sending and receiving ----------------------------------------------------------------------

static uint32_t send_request(struct replay_state *s, const uint8_t *data, size_t len)
{
    const uint32_t id = s->id;
    const uint8_t header[TTRPC_HEADER_LEN] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16),
                                              (uint8_t)(len >> 8),  (uint8_t)len,
                                              (uint8_t)(id >> 24),  (uint8_t)(id >> 16),
                                              (uint8_t)(id >> 8),   (uint8_t)id,
                                              TTRPC_REQUEST,        0};
    cr_assert_eq(send(s->fd, header, sizeof header, MSG_NOSIGNAL), (ssize_t)sizeof header);
    cr_assert_eq(send(s->fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
    s->id += 2;
    return id;
}

static void receive(struct replay_state *s, uint8_t *out, size_t len)
{
    const double end = ev_time() + RIG_SECONDS;
    for (size_t got = 0; got < len;) {
        ssize_t n = recv(s->fd, out + got, len - got, MSG_DONTWAIT);
        cr_assert(n > 0 || (n < 0 && errno == EAGAIN && ev_time() < end), "no answer");
        if (n > 0)
            got += (size_t)n;
        else
            ev_run(s->rig->loop, EVRUN_NOWAIT);
    }
}

// Gives the id that was answered.
static uint32_t receive_answer(struct replay_state *s, struct bytes *ret)
{
    uint8_t h[TTRPC_HEADER_LEN];
    receive(s, h, sizeof h);
    cr_assert_eq(h[8], TTRPC_RESPONSE);
    ret->len = (size_t)h[0] << 24 | (size_t)h[1] << 16 | (size_t)h[2] << 8 | h[3];
    ret->data = malloc(ret->len + 1);
    cr_assert(ret->data);
    receive(s, ret->data, ret->len);
    return (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
}

static struct open_wait *find_wait(struct replay_state *s, uint32_t id)
{
    for (size_t i = 0; i < s->n_waits; i++) {
        if (s->waits[i].id == id)
            return &s->waits[i];
    }
    return NULL;
}

// It is none any more.
static void check_wait(struct replay_state *s, struct open_wait *w, struct told *ours)
{
    const struct api_method *m = method_of("Wait");
    struct told theirs = {.err = ours->err};
    if (w->answer)
        theirs = recorded_answer(s->recording, w->answer, m);
    check_told(s, w->line, m, w->exec_id, ours, &theirs);
    *w = s->waits[--s->n_waits];
}

// Receives until this id has been answered; answers to Waits may come before.
static struct told await(struct replay_state *s, uint32_t id, const struct api_method *m)
{
    for (;;) {
        struct bytes answer;
        uint32_t got = receive_answer(s, &answer);
        struct open_wait *w = find_wait(s, got);
        cr_assert(got == id || w, "the answer to nothing that was asked");
        struct told ours = answer_read(w ? method_of("Wait") : m, answer.data, answer.len);
        free(answer.data);
        if (got == id)
            return ours;
        check_wait(s, w, &ours);
    }
}

// ---- what is asked ------------------------------------------------------------------------------

// A request, taken apart.
struct asked {
    const struct api_method *method;
    struct ttrpc_request envelope; // into `raw`
    ProtobufCMessage *msg;
    const char *ns, *id, *exec_id; // "": none
    struct bytes raw;              // spoiled
};

static const char *text_field(const ProtobufCMessage *m, const char *name)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);
    const char *text = f ? *(const char *const *)field_at(m, f) : NULL;
    return text ? text : "";
}

static void asked_read(struct asked *a, const struct request *q)
{
    struct error err = {0};
    *a = (struct asked){.method = method_of(q->method), .ns = ""};
    a->raw.data = malloc(q->raw.len + 1);
    cr_assert(a->raw.data);
    memcpy(a->raw.data, q->raw.data, q->raw.len);
    cr_assert_eq(ttrpc_request_decode(a->raw.data, q->raw.len, &a->envelope, &err), 0, "%s",
                 err.text);
    a->msg =
        api_message_decode(a->method->request, a->envelope.payload, a->envelope.payload_len, &err);
    cr_assert(a->msg, "%s:%d: %s", q->file, q->line, err.text);
    a->id = text_field(a->msg, "id");
    a->exec_id = text_field(a->msg, "exec_id");
    for (size_t i = 0; i < a->envelope.metadata_len; i++) {
        if (strcmp(a->envelope.metadata[i].key, "containerd-namespace-ttrpc") == 0)
            a->ns = a->envelope.metadata[i].value;
    }
}

static void asked_done(struct asked *a)
{
    api_message_free(a->msg);
    free(a->raw.data);
}

static struct task_process *process_of(const struct replay_state *s, const struct asked *a)
{
    struct task *t = task_find(s->server, a->ns, a->id);
    return t ? task_process_find(t, a->exec_id) : NULL;
}

// Sends a message of ours where one was recorded.
static uint32_t send_instead(struct replay_state *s, const struct asked *a, const char *method,
                             const void *msg)
{
    struct ttrpc_request envelope = a->envelope;
    _cleanup_free_ uint8_t *payload = api_message_encode(msg, &envelope.payload_len);
    cr_assert(payload);
    envelope.method = method;
    envelope.payload = payload;
    size_t len = ttrpc_request_size(&envelope);
    _cleanup_free_ uint8_t *data = malloc(len);
    cr_assert(data);
    ttrpc_request_encode(&envelope, data);
    return send_request(s, data, len);
}

#define PATH_ROOM 128

// A FIFO of ours for a recorded URL, in `path`; a URL that names nothing stays.
static char *fifo_for(struct replay_state *s, char *url, char path[PATH_ROOM])
{
    if (!*url)
        return url;
    snprintf(path, PATH_ROOM, "%s/fifo-%u", s->rig->dir, s->fifos++);
    cr_assert_eq(mkfifo(path, 0600), 0);
    return path;
}

static char *make_bundle(struct replay_state *s, char path[PATH_ROOM])
{
    static const char spec[] =
        "{\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"},\"root\":{\"path\":\"rootfs\"},"
        "\"mounts\":[],\"linux\":{\"namespaces\":[{\"type\":\"pid\"}]}}";
    char config[PATH_ROOM + 16];
    snprintf(path, PATH_ROOM, "%s/bundle-%u", s->rig->dir, s->made++);
    snprintf(config, sizeof config, "%s/config.json", path);
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_assert_eq(file_write_atomic_at(AT_FDCWD, config, spec, sizeof spec - 1, 0600), 0);
    return path;
}

static uint32_t send_create(struct replay_state *s, const struct asked *a,
                            const Task__CreateTaskRequest *recorded)
{
    Task__CreateTaskRequest here = *recorded;
    char paths[4][PATH_ROOM];
    here.bundle = make_bundle(s, paths[0]);
    here.n_rootfs = 0;
    here.stdin = fifo_for(s, here.stdin, paths[1]);
    here.stdout = fifo_for(s, here.stdout, paths[2]);
    here.stderr = fifo_for(s, here.stderr, paths[3]);
    return send_instead(s, a, "Create", &here);
}

static uint32_t send_exec(struct replay_state *s, const struct asked *a,
                          const Task__ExecProcessRequest *recorded)
{
    Task__ExecProcessRequest here = *recorded;
    char paths[3][PATH_ROOM];
    here.stdin = fifo_for(s, here.stdin, paths[0]);
    here.stdout = fifo_for(s, here.stdout, paths[1]);
    here.stderr = fifo_for(s, here.stderr, paths[2]);
    return send_instead(s, a, "Exec", &here);
}

// ---- what has happened --------------------------------------------------------------------------

static void succeeds(struct replay_state *s, uint32_t id, const char *method)
{
    struct told told = await(s, id, method_of(method));
    cr_assert(told.msg, "%s: %s", method, told.err.text);
    api_message_free(told.msg);
}

// What is recorded of a container's stdio from this line on.
static void recorded_stdio(const struct recording *r, size_t line, Task__CreateTaskRequest *create)
{
    const struct api_method *m = method_of("State");
    bool found = false;
    for (; line < r->n && !found; line++) {
        if (!line_is(r->lines[line], "ttrpc", "response") ||
            !strstr(get_string(r->lines[line], "method"), "Task/State"))
            continue;
        struct told told = recorded_answer(r, line, m);
        const Task__StateResponse *state = (const Task__StateResponse *)told.msg;
        found = state && strcmp(state->id, create->id) == 0;
        if (found) {
            create->stdin = (char *)(*state->stdin ? "/recorded" : "");
            create->stdout = (char *)(*state->stdout ? "/recorded" : "");
            create->stderr = (char *)(*state->stderr ? "/recorded" : "");
            create->terminal = state->terminal;
        }
        api_message_free(told.msg);
    }
}

// A container that ran before the recording began, or was taken over by the server's successor.
static void introduce(struct replay_state *s, size_t line, const struct asked *a)
{
    Task__CreateTaskRequest create = TASK__CREATE_TASK_REQUEST__INIT;
    Task__StartRequest start = TASK__START_REQUEST__INIT;
    create.id = start.id = (char *)a->id;
    recorded_stdio(s->recording, line, &create);
    script.fails = STATUS_OK;
    succeeds(s, send_create(s, a, &create), "Create");
    succeeds(s, send_instead(s, a, "Start", &start), "Start");
}

// The process has ended by now.
static void ended(const struct replay_state *s, const struct asked *a, uint32_t code)
{
    struct task_process *p = process_of(s, a);
    if (p && p->pid.pid && !p->exit_seen)
        stand_in_exit(p, code);
}

// Does the recorded answer say that there was such a container?
static bool tells_of_container(const struct asked *a, const struct told *theirs)
{
    if (!theirs->msg || strcmp(a->method->name, "Create") == 0)
        return false;
    if (theirs->msg->descriptor == &task__connect_response__descriptor)
        return ((const Task__ConnectResponse *)theirs->msg)->task_pid != 0;
    return strcmp(a->method->name, "Shutdown") != 0;
}

static void prepare(struct replay_state *s, size_t line, const struct asked *a,
                    const struct told *theirs)
{
    const char *method = a->method->name;
    if (tells_of_container(a, theirs) && !task_find(s->server, a->ns, a->id))
        introduce(s, line, a);
    script.fails = theirs->err.status;
    if (!theirs->msg)
        return;
    if (strcmp(method, "State") == 0 &&
        ((const Task__StateResponse *)theirs->msg)->status == TASK__STATUS__STOPPED)
        ended(s, a, ((const Task__StateResponse *)theirs->msg)->exit_status);
    if (strcmp(method, "Delete") == 0)
        ended(s, a, ((const Task__DeleteResponse *)theirs->msg)->exit_status);
}

static void replay_request(struct replay_state *s, size_t line, size_t answer)
{
    struct request q;
    struct asked a;
    struct told theirs = {0};
    uint32_t id;
    request_parse(&q, s->recording, line);
    asked_read(&a, &q);
    if (answer)
        theirs = recorded_answer(s->recording, answer, a.method);
    prepare(s, line, &a, &theirs);
    if (strcmp(q.method, "Create") == 0)
        id = send_create(s, &a, (const Task__CreateTaskRequest *)a.msg);
    else if (strcmp(q.method, "Exec") == 0)
        id = send_exec(s, &a, (const Task__ExecProcessRequest *)a.msg);
    else
        id = send_request(s, q.raw.data, q.raw.len);
    s->requests++;
    if (strcmp(q.method, "Wait") == 0) {
        cr_assert_lt(s->n_waits, WAITS_MAX);
        struct open_wait *w = &s->waits[s->n_waits++];
        *w = (struct open_wait){.id = id, .answer = answer, .line = q.line};
        snprintf(w->exec_id, sizeof w->exec_id, "%s", a.exec_id);
        api_message_free(theirs.msg);
    } else {
        struct told ours = await(s, id, a.method);
        check_told(s, q.line, a.method, a.exec_id, &ours, &theirs);
        if (strcmp(q.method, "Start") == 0 && script.fails)
            snprintf(s->failed_exec, sizeof s->failed_exec, "%s", a.exec_id);
    }
    asked_done(&a);
    free(q.raw.data);
}

// Here a Wait was answered: what it waited for has ended.
static void replay_exit(struct replay_state *s, size_t line)
{
    const struct api_method *m = method_of("Wait");
    const struct open_wait *w = NULL;
    struct request q;
    struct asked a;
    for (size_t i = 0; i < s->n_waits && !w; i++) {
        if (s->waits[i].answer == line)
            w = &s->waits[i];
    }
    if (!w)
        return;
    request_parse(&q, s->recording, (size_t)w->line - 1);
    asked_read(&a, &q);
    struct told theirs = recorded_answer(s->recording, line, m);
    const uint32_t id = w->id;
    if (theirs.msg)
        ended(s, &a, ((const Task__WaitResponse *)theirs.msg)->exit_status);
    api_message_free(theirs.msg);
    struct told ours = await(s, id, m);
    check_wait(s, find_wait(s, id), &ours);
    asked_done(&a);
    free(q.raw.data);
}

// ---- the test -----------------------------------------------------------------------------------

static void up(struct replay_state *s)
{
    struct error err = {0};
    char socket[96];
    s->rig = rig_prepare();
    const struct task_config config = {.dir = s->rig->dir,
                                       .runtime = "/bin/false",
                                       .runtime_root = s->rig->dir,
                                       .version = "test",
                                       .ops = &stand_in_ops};
    s->server = task_server_new(s->rig->loop, s->rig->reaper, &config, &err);
    cr_assert(s->server, "%s", err.text);
    snprintf(socket, sizeof socket, "%s/replay.sock", s->rig->dir);
    cr_assert_eq(task_server_listen(s->server, socket, &err), 0, "%s", err.text);
    s->fd = rpc_connect_unix(socket, &err);
    cr_assert(s->fd >= 0, "%s", err.text);
    s->id = 1;
}

static void down(struct replay_state *s)
{
    close(s->fd);
    s->n_waits = 0;
    task_server_free(s->server);
    rig_free(s->rig);
}

// Requests are sent where they were answered, because some were side by side, but Waits where they
// came.
static void replay_line(struct replay_state *s, size_t i, size_t requests[LINES_MAX])
{
    json_object *line = s->recording->lines[i];
    const char *method = get_string(line, "method");
    if (line_is(line, "ttrpc", "request") && strstr(method, SERVICE_TASK_V3)) {
        const size_t answer = answer_line(s->recording, i);
        if (strstr(method, "/Wait")) {
            replay_request(s, i, answer);
        } else {
            cr_assert(answer, "%s:%zu was not answered", s->recording->path, i + 1);
            requests[answer] = i + 1;
        }
    } else if (requests[i]) {
        replay_request(s, requests[i] - 1, i);
    } else if (line_is(line, "ttrpc", "response")) {
        replay_exit(s, i);
    }
}

static bool is_next_server(json_object *line)
{
    return strcmp(get_string(line, "who"), "task") == 0 &&
           strcmp(get_string(line, "note"), "listening") == 0;
}

static void replay_recording(const struct recording *r, void *arg)
{
    struct replay_state *s = arg;
    size_t requests[LINES_MAX] = {0}; // by the line of the answer, counted from 1
    s->recording = r;
    up(s);
    for (size_t i = 0; i < r->n; i++) {
        if (is_next_server(r->lines[i])) {
            down(s);
            up(s);
        }
        replay_line(s, i, requests);
    }
    down(s);
}

Test(replay_tasks, answers_are_as_recorded)
{
    struct replay_state s = {0};
    signal(SIGPIPE, SIG_IGN); // as daemons have it: nobody reads what a process would get
    recordings_each(replay_recording, &s);
    cr_log_info("%u requests, %u OK, %u refused", s.requests, s.ok, s.refused);
    // The recordings do not change, so neither do these numbers.
    cr_assert_eq(s.requests, 1270);
    cr_expect_eq(s.ok, 1184);
    for (size_t i = 0; task_methods[i].name; i++)
        cr_expect(s.ok_of[i] > 0 || strcmp(task_methods[i].name, "Checkpoint") == 0, "%s",
                  task_methods[i].name);
}

// ---- streams ------------------------------------------------------------------------------------

struct streamed {
    unsigned opened, messages;
};

static void read_streams(const struct recording *r, void *arg)
{
    struct streamed *s = arg;
    for (size_t i = 0; i < r->n; i++) {
        struct ttrpc_request envelope;
        struct stream_message m;
        struct error err = {0};
        json_object *line = r->lines[i];
        const bool opens = line_is(line, "ttrpc", "request");
        if (!strstr(get_string(line, "method"), SERVICE_STREAMING) ||
            strcmp(get_string(line, "dir"), "c2s") != 0 ||
            !(opens || line_is(line, "ttrpc", "data")))
            continue;
        struct bytes raw = line_bytes(r, i);
        if (opens) {
            cr_expect_eq(ttrpc_request_decode(raw.data, raw.len, &envelope, &err), 0, "%s:%zu: %s",
                         r->path, i + 1, err.text);
            s->opened++;
        } else if (raw.len) { // else it ends the peer's side, no more
            int read = stream_message_parse(raw.data, raw.len, &m, &err);
            cr_assert_eq(read, 0, "%s:%zu: %s", r->path, i + 1, err.text);
            stream_message_done(&m);
            s->messages++;
        }
        free(raw.data);
    }
}

// What containerd sends on streams is understood. (What becomes of it: unit/task/test_streams.c.)
Test(replay_tasks, messages_on_streams_are_read)
{
    struct streamed s = {0};
    recordings_each(read_streams, &s);
    cr_log_info("%u streams, %u messages", s.opened, s.messages);
    cr_assert_eq(s.opened, 26);
    cr_assert_eq(s.messages, 78);
}
