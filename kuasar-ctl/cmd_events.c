// kuasar-ctl events: what happens, as it happens.
//
// Every daemon is followed for itself, by requests that it answers when there is something. Each
// answer says how many events it has forgotten before we asked: that is what a slow reader misses.
// A daemon that goes away is dialled again.
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/message.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "event/event.h"
#include "rpc/ttrpc_client.h"

// How long a daemon may keep a request that nothing happens for. It is asked again then: that is
// how a daemon that hangs is noticed.
#define WAIT_MS 30000
// Seconds between attempts to reach a daemon.
#define RETRY_SECONDS 1.0

struct follower {
    struct ctl *ctl;
    const struct kind *kind;
    enum role role;
    struct ttrpc_client *client;
    ev_timer retry;
    uint64_t epoch, last;
    bool begun;  // `last` is where we are; false: wherever the daemon is
    bool silent; // that it does not answer has been said
};

static void ask(struct follower *f);

static void say(struct follower *f, const char *what, const char *value)
{
    if (f->ctl->options->json) {
        json_object *o = json_object_new_object();
        json_add_text(o, "kind", f->kind->name);
        json_add_text(o, "role", role_name(f->role));
        json_add_text(o, what, value);
        json_print(o, false, f->ctl->out);
    } else {
        char clean[ERROR_TEXT_MAX];
        text_clean(clean, sizeof clean, value);
        fprintf(f->ctl->out, "-- %s, %s: %s %s\n", f->kind->name, role_name(f->role), what, clean);
    }
}

static void lost(struct follower *f, const struct error *err)
{
    if (!f->silent)
        say(f, "no_answer", err->text);
    f->silent = true;
    fflush(f->ctl->out);
    event_timer_arm(f->ctl->loop, &f->retry, RETRY_SECONDS);
}

static void print(struct follower *f, const Internal__EventsResponse *r)
{
    char number[32];
    if (r->missed) {
        snprintf(number, sizeof number, "%llu", (unsigned long long)r->missed);
        say(f, "missed", number);
    }
    for (size_t i = 0; i < r->n_events; i++)
        if (f->ctl->options->json)
            json_print(json_of_event(f->kind, r->events[i]), false, f->ctl->out);
        else
            text_event(f->kind, r->events[i], f->ctl->out);
}

// Takes an answer. The first one only says where the daemon is.
static void take(struct follower *f, const Internal__EventsResponse *r)
{
    bool other = f->epoch && r->epoch != f->epoch;
    if (other || f->silent)
        say(f, "answers", other ? "another process than before" : "now");
    f->silent = false;
    print(f, r);
    if (r->n_events)
        f->last = r->events[r->n_events - 1]->number;
    else if (other || !f->begun)
        f->last = r->last;
    f->epoch = r->epoch;
    f->begun = true;
    if (fflush(f->ctl->out) != 0)
        ev_break(f->ctl->loop, EVBREAK_ALL);
}

static void on_answer(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    struct follower *f = arg;
    struct error bad = {0};
    if (err) {
        lost(f, err);
        return;
    }
    ProtobufCMessage *msg =
        api_message_decode(&internal__events_response__descriptor, data, len, &bad);
    if (!msg) {
        lost(f, &bad);
        return;
    }
    take(f, (const Internal__EventsResponse *)(const void *)msg);
    api_message_free(msg);
    ask(f);
}

static void ask(struct follower *f)
{
    Internal__EventsRequest req = INTERNAL__EVENTS_REQUEST__INIT;
    struct error err = {0};
    size_t len;
    req.epoch = f->epoch;
    req.after = f->last;
    req.limit = f->begun ? UINT32_MAX : 0;
    req.wait_ms = f->begun && !f->silent ? WAIT_MS : 0;
    _cleanup_free_ uint8_t *payload = api_message_encode(&req.base, &len);
    double timeout = f->ctl->options->timeout + (f->begun ? WAIT_MS / 1e3 : 0);
    if (!payload || !ttrpc_client_call(f->client, SERVICE_INSPECT, "Events", payload, len, timeout,
                                       NULL, on_answer, f, &err))
        lost(f, &err);
}

static void on_retry(struct ev_loop *loop, ev_timer *w, int events)
{
    struct follower *f = container_of(w, struct follower, retry);
    ev_timer_stop(loop, w);
    ask(f);
}

static void on_interrupt(struct ev_loop *loop, ev_signal *w, int events)
{
    ev_break(loop, EVBREAK_ALL);
}

static int begin(struct follower *f, struct ctl *ctl, const struct kind *kind, enum role role,
                 struct error *err)
{
    char socket[PATH_MAX];
    *f = (struct follower){.ctl = ctl, .kind = kind, .role = role, .begun = ctl->options->recent};
    ev_timer_init(&f->retry, on_retry, 0, 0);
    if (role_socket(role, kind, socket, sizeof socket) == 0)
        f->client = ttrpc_client_new(ctl->loop, socket, NULL, NULL);
    if (!f->client)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: the path of its socket is too long, or there is no memory",
                         kind->dir);
    ask(f);
    return 0;
}

static void follow(struct ctl *ctl)
{
    ev_signal interrupt, terminate;
    ev_signal_init(&interrupt, on_interrupt, SIGINT);
    ev_signal_init(&terminate, on_interrupt, SIGTERM);
    ev_signal_start(ctl->loop, &interrupt);
    ev_signal_start(ctl->loop, &terminate);
    ev_run(ctl->loop, 0);
    ev_signal_stop(ctl->loop, &interrupt);
    ev_signal_stop(ctl->loop, &terminate);
}

static int run(struct ctl *ctl, struct error *err)
{
    struct kinds kinds;
    static struct follower followers[KINDS_MAX * ROLE_MAX_];
    size_t n = 0;
    int r = kinds_find(&kinds, ctl->options->run_dir, ctl->options->kind, err);
    if (r == 0 && !kinds.n)
        r = error_set(err, STATUS_NOT_FOUND,
                      "--run-dir: %s has no state directory of any kind: no sandboxer has been "
                      "started",
                      ctl->options->run_dir);
    for (size_t i = 0; r == 0 && i < kinds.n; i++)
        for (enum role role = 0; r == 0 && role < ROLE_MAX_; role++)
            r = begin(&followers[n++], ctl, &kinds.list[i], role, err);
    if (r == 0)
        follow(ctl);
    for (size_t i = 0; i < n; i++) {
        ev_timer_stop(ctl->loop, &followers[i].retry);
        followers[i].silent = true; // what is open ends now, that is nothing to say
        ttrpc_client_free(followers[i].client);
        ev_timer_stop(ctl->loop, &followers[i].retry);
    }
    return r < 0 ? EXIT_ERROR : EXIT_OK;
}

const struct command_entry cmd_events = {
    .name = "events",
    .arguments = "",
    .summary = "Print what happens to sandboxes and containers, until ^C.",
    .description = "One line for every change of a sandbox's state, and for creations, starts, "
                   "exits, out of\nmemory and removals of containers and execs. With --json one "
                   "object a line.",
    .letters = "a",
    .run = run,
};
