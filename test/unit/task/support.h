// A task server in this process, a client of it, and a containerd that takes its events: enough to
// speak to the server as containerd does and to wait for what it says, with a deadline.
#ifndef TEST_TASK_SUPPORT_H
#define TEST_TASK_SUPPORT_H

#include <criterion/criterion.h>
#include <ev.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/any.h"
#include "api/events.pb-c.h"
#include "api/internal.pb-c.h"
#include "api/message.h"
#include "api/options.pb-c.h"
#include "api/services.h"
#include "api/task.pb-c.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "rpc/listen.h"
#include "rpc/ttrpc_client.h"
#include "rpc/ttrpc_server.h"
#include "task/internal.h"

#define TEST_SECONDS 15.0
#define EVENTS_SEEN  256

struct node {
    char dir[64], sock[96], events_sock[96];
    struct ev_loop *loop;
    struct reaper *reaper;
    struct task_server *server;
    struct ttrpc_client *client;
    const char *service; // which version of the Task API the client speaks
    // containerd's side
    struct ttrpc_server *containerd;
    struct api_service events_service;
    const struct rpc_service *events_list[2];
    // "<topic>", and " <container> <id> <status>" of exits, " <container> <bundle>" of creates
    char *events[EVENTS_SEEN];
    size_t n_events;
    enum status refuse_events; // answer of Forward; OK takes them
    bool expired;
};

// One call and its answer.
struct answer {
    bool over;
    struct error err;
    ProtobufCMessage *msg;
    const ProtobufCMessageDescriptor *type;
};

static inline void node_describe(struct node *n, const Types__Envelope *e)
{
    char text[512], extra[256] = "";
    if (any_is(e->event, ANY_TASK_EXIT)) {
        Events__TaskExit *x = (Events__TaskExit *)any_decode(e->event, ANY_TASK_EXIT,
                                                             &events__task_exit__descriptor, NULL);
        snprintf(extra, sizeof extra, " %s %s %u", x->container_id, x->id, x->exit_status);
        api_message_free((ProtobufCMessage *)x);
    }
    if (any_is(e->event, ANY_TASK_CREATE)) {
        Events__TaskCreate *x = (Events__TaskCreate *)any_decode(
            e->event, ANY_TASK_CREATE, &events__task_create__descriptor, NULL);
        snprintf(extra, sizeof extra, " %s %s", x->container_id, x->bundle);
        api_message_free((ProtobufCMessage *)x);
    }
    snprintf(text, sizeof text, "%s %s%s", e->namespace_, e->topic, extra);
    if (n->n_events < EVENTS_SEEN)
        n->events[n->n_events++] = strdup(text);
}

static inline void node_on_forward(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    struct node *n = ctx;
    if (n->refuse_events) {
        rpc_call_failf(call, n->refuse_events, "no");
        return;
    }
    node_describe(n, ((const Events__ForwardRequest *)msg)->envelope);
    api_reply_empty(call);
}

static const struct api_method node_events_methods[] = {
    API_METHOD("Forward", events__forward_request, google__empty, node_on_forward),
    {0},
};

static inline void node_containerd_up(struct node *n)
{
    struct error err = {0};
    int fd = rpc_listen_unix(n->events_sock, &err);
    cr_assert(fd >= 0, "%s", err.text);
    api_service_init(&n->events_service, SERVICE_EVENTS, node_events_methods, n);
    n->events_list[0] = &n->events_service.rpc;
    n->containerd = ttrpc_server_new(n->loop, fd, n->events_list);
    cr_assert(n->containerd);
}

static inline void node_on_time(struct ev_loop *loop, ev_timer *w, int revents)
{
    *(bool *)w->data = true;
}

// Runs the loop until *flag or the time is over. Returns *flag.
static inline bool node_run_until(struct node *n, const bool *flag, double seconds)
{
    bool expired = false;
    ev_timer timer;
    ev_timer_init(&timer, node_on_time, seconds, 0);
    timer.data = &expired;
    ev_timer_start(n->loop, &timer);
    while (!*flag && !expired)
        ev_run(n->loop, EVRUN_ONCE);
    ev_timer_stop(n->loop, &timer);
    return *flag;
}

static inline void node_run(struct node *n, double seconds)
{
    const bool never = false;
    node_run_until(n, &never, seconds);
}

static inline void node_start_server(struct node *n, const struct task_ops *ops)
{
    struct error err = {0};
    const struct task_config config = {.dir = n->dir,
                                       .runtime = getenv("TEST_RUNTIME"),
                                       .runtime_root = n->dir,
                                       .containerd_events = n->events_sock,
                                       .version = "test",
                                       .ops = ops};
    n->server = task_server_new(n->loop, n->reaper, &config, &err);
    cr_assert(n->server, "%s", err.text);
    cr_assert(task_server_listen(n->server, n->sock, &err) == 0, "%s", err.text);
    n->client = ttrpc_client_new(n->loop, n->sock, NULL, NULL);
}

static inline void node_stop_server(struct node *n)
{
    n->client = ttrpc_client_free(n->client);
    n->server = task_server_free(n->server);
}

static inline struct node *node_new(const struct task_ops *ops)
{
    struct node *n = calloc(1, sizeof *n);
    strcpy(n->dir, "/tmp/task-test.XXXXXX");
    cr_assert(mkdtemp(n->dir));
    snprintf(n->sock, sizeof n->sock, "%s/task.sock", n->dir);
    snprintf(n->events_sock, sizeof n->events_sock, "%s/c.sock", n->dir);
    n->service = SERVICE_TASK_V3;
    log_setup("test", getenv("TEST_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    n->loop = ev_loop_new(EVFLAG_AUTO);
    n->reaper = reaper_new(n->loop);
    node_containerd_up(n);
    node_start_server(n, ops);
    return n;
}

static inline void node_free(struct node *n)
{
    node_stop_server(n);
    ttrpc_server_free(n->containerd);
    reaper_free(n->reaper);
    ev_loop_destroy(n->loop);
    for (size_t i = 0; i < n->n_events; i++)
        free(n->events[i]);
    file_remove_tree_at(AT_FDCWD, n->dir);
    cr_assert(access(n->dir, F_OK) < 0, "%s: something is left in it", n->dir);
    free(n);
}

// ---- calls ----------------------------------------------------------------------------------

static inline void answer_come(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    struct answer *a = arg;
    a->over = true;
    if (err)
        a->err = *err;
    else
        a->msg = api_message_decode(a->type, data, len, &a->err);
}

static inline uint64_t node_send_on(struct node *n, struct ttrpc_client *client,
                                    const char *service, const char *method, const void *req,
                                    const ProtobufCMessageDescriptor *type, double timeout,
                                    struct answer *a)
{
    const char *const metadata[] = {"containerd-namespace-ttrpc", "ns", NULL};
    size_t len;
    *a = (struct answer){.type = type};
    uint8_t *data = api_message_encode(req, &len);
    uint64_t id = ttrpc_client_call(client, service, method, data, len, timeout, metadata,
                                    answer_come, a, &a->err);
    free(data);
    cr_assert(id, "%s: %s", method, a->err.text);
    return id;
}

static inline uint64_t node_send(struct node *n, const char *method, const void *req,
                                 const ProtobufCMessageDescriptor *type, struct answer *a)
{
    return node_send_on(n, n->client, n->service, method, req, type, 0, a);
}

static inline void answer_done(struct answer *a)
{
    api_message_free(a->msg);
    a->msg = NULL;
}

static inline void node_await(struct node *n, struct answer *a, const char *what)
{
    cr_assert(node_run_until(n, &a->over, TEST_SECONDS), "%s: no answer", what);
}

// Sends and waits. The status; *a (may be NULL) is filled, and must be freed by the caller.
static inline enum status node_call(struct node *n, const char *method, const void *req,
                                    const ProtobufCMessageDescriptor *type, struct answer *a)
{
    struct answer mine;
    node_send(n, method, req, type, a ? a : &mine);
    node_await(n, a ? a : &mine, method);
    enum status status = (a ? a : &mine)->err.status;
    if (!a)
        answer_done(&mine);
    return status;
}

#define EMPTY &google__empty__descriptor

static inline enum status node_start(struct node *n, const char *id, const char *exec_id)
{
    Task__StartRequest r = TASK__START_REQUEST__INIT;
    r.id = (char *)id;
    r.exec_id = (char *)exec_id;
    return node_call(n, "Start", &r, &task__start_response__descriptor, NULL);
}

static inline enum status node_kill_with(struct node *n, const char *id, const char *exec_id,
                                         int sig, bool all)
{
    Task__KillRequest r = TASK__KILL_REQUEST__INIT;
    r.id = (char *)id;
    r.exec_id = (char *)exec_id;
    r.signal = (uint32_t)sig;
    r.all = all;
    return node_call(n, "Kill", &r, EMPTY, NULL);
}

static inline enum status node_kill(struct node *n, const char *id, const char *exec_id, int sig)
{
    return node_kill_with(n, id, exec_id, sig, false);
}

static inline enum status node_delete(struct node *n, const char *id, const char *exec_id,
                                      struct answer *a)
{
    Task__DeleteRequest r = TASK__DELETE_REQUEST__INIT;
    r.id = (char *)id;
    r.exec_id = (char *)exec_id;
    return node_call(n, "Delete", &r, &task__delete_response__descriptor, a);
}

static inline void node_wait_send(struct node *n, const char *id, const char *exec_id,
                                  struct answer *a)
{
    Task__WaitRequest r = TASK__WAIT_REQUEST__INIT;
    r.id = (char *)id;
    r.exec_id = (char *)exec_id;
    node_send(n, "Wait", &r, &task__wait_response__descriptor, a);
}

// The exit code of an answered Wait.
static inline int node_wait_code(struct node *n, struct answer *a)
{
    node_await(n, a, "Wait");
    cr_assert(a->msg, "Wait: %s", a->err.text);
    int code = (int)((Task__WaitResponse *)a->msg)->exit_status;
    cr_assert(((Task__WaitResponse *)a->msg)->exited_at);
    answer_done(a);
    return code;
}

static inline int node_wait(struct node *n, const char *id, const char *exec_id)
{
    struct answer a;
    node_wait_send(n, id, exec_id, &a);
    return node_wait_code(n, &a);
}

// The status of a process; -1 and *ret_err if there is none.
static inline int node_state(struct node *n, const char *id, const char *exec_id)
{
    Task__StateRequest r = TASK__STATE_REQUEST__INIT;
    struct answer a;
    r.id = (char *)id;
    r.exec_id = (char *)exec_id;
    if (node_call(n, "State", &r, &task__state_response__descriptor, &a))
        return -(int)a.err.status;
    int status = (int)((Task__StateResponse *)a.msg)->status;
    answer_done(&a);
    return status;
}

// Gives the events some time to arrive.
static inline void node_events_settle(struct node *n)
{
    for (int i = 0; i < 100 && task_events_pending(n->server->events); i++)
        node_run(n, 0.02);
}

// Position of an event that begins with `text`, -1 if it has not come.
static inline int node_event(struct node *n, const char *text)
{
    for (size_t i = 0; i < n->n_events; i++) {
        if (strncmp(n->events[i], text, strlen(text)) == 0)
            return (int)i;
    }
    return -1;
}

static inline size_t node_event_count(struct node *n, const char *text)
{
    size_t count = 0;
    for (size_t i = 0; i < n->n_events; i++)
        count += strncmp(n->events[i], text, strlen(text)) == 0;
    return count;
}

static inline void write_text(const char *text, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static inline void write_text(const char *text, const char *fmt, ...)
{
    char path[PATH_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    cr_assert(fd >= 0, "%s", path);
    cr_assert(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

#endif
