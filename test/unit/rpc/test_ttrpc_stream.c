// Streams that our client opens at our server, and the client behind a stand-in for a vsock device.
#include "rpc/ttrpc_client.h"

#include "ttrpc_rig.h"

static struct ttrpc_client *client;

// ---- the server's side -------------------------------------------------------------------------

static struct {
    struct rpc_stream *stream;
    struct buf log;
} served;

static void served_message(struct rpc_stream *s, const uint8_t *data, size_t len, void *arg)
{
    if (len > 100)
        buf_printf(&served.log, "%zu bytes;", len);
    else
        buf_printf(&served.log, "message %.*s;", (int)len, data);
}

static void served_half_closed(struct rpc_stream *s, void *arg)
{
    buf_printf(&served.log, "half closed;");
}

static void served_closed(struct rpc_stream *s, const struct error *err, void *arg)
{
    buf_printf(&served.log, "closed %d;", err ? (int)err->status : 0);
    served.stream = NULL;
}

static const struct rpc_stream_events served_events = {
    .message = served_message, .half_closed = served_half_closed, .closed = served_closed};

static void serve_stream(struct rpc_stream *s, const uint8_t *payload, size_t len, void *ctx)
{
    buf_printf(&served.log, "open %.*s;", (int)len, payload);
    rpc_stream_take(s, &served_events, NULL);
    served.stream = s;
}

static void refuse_stream(struct rpc_stream *s, const uint8_t *payload, size_t len, void *ctx)
{
    const struct error err = {STATUS_NOT_FOUND, "no"};
    rpc_stream_fail(s, &err);
}

static const struct rpc_stream_method served_methods[] = {
    {"test.Service", "Stream", serve_stream, NULL},
    {"test.Service", "Refuse", refuse_stream, NULL},
    {NULL, NULL, NULL, NULL}};

// ---- the client's side -------------------------------------------------------------------------

struct side {
    struct ttrpc_stream *stream;
    struct buf log;
    int writable;
    bool end_in_message, free_in_message, free_in_end;
};

static void side_message(const uint8_t *data, size_t len, void *arg)
{
    struct side *s = arg;
    buf_printf(&s->log, "message %.*s;", (int)len, data);
    if (s->end_in_message)
        ttrpc_stream_end(s->stream);
    if (s->free_in_message)
        s->stream = ttrpc_stream_free(s->stream);
}

static void side_writable(void *arg)
{
    ((struct side *)arg)->writable++;
}

static void side_ended(const struct error *err, void *arg)
{
    struct side *s = arg;
    buf_printf(&s->log, "ended %d;", err ? (int)err->status : 0);
    if (s->free_in_end)
        s->stream = ttrpc_stream_free(s->stream);
}

static const struct ttrpc_stream_events side_events = {
    .message = side_message, .writable = side_writable, .ended = side_ended};

static void side_open(struct side *s, const char *method)
{
    struct error err = {0};
    buf_init(&s->log, 4096);
    s->stream = ttrpc_stream_open(client, "test.Service", method, (const uint8_t *)"init", 4,
                                  &side_events, s, &err);
    cr_assert_not_null(s->stream, "%s", err.text);
}

static void side_done(struct side *s)
{
    s->stream = ttrpc_stream_free(s->stream);
    buf_free(&s->log);
}

static void expect(struct buf *log, const char *want)
{
    double end = ev_time() + 10;
    while (log->len < strlen(want) && ev_time() < end)
        ev_run(rig.loop, EVRUN_ONCE);
    cr_assert_str_eq(buf_cstr(log), want);
    buf_clear(log);
}

static void say(const char *text)
{
    cr_assert_eq(rpc_stream_send(served.stream, (const uint8_t *)text, strlen(text)), 0);
}

static void up(void)
{
    rig_up();
    buf_init(&served.log, 1 << 16);
    ttrpc_server_set_streams(rig.server, served_methods);
    client = ttrpc_client_new(rig.loop, rig.path, NULL, NULL);
}

static void down(void)
{
    client = ttrpc_client_free(client);
    rig_down();
    buf_free(&served.log);
}

TestSuite(ttrpc_stream, .init = up, .fini = down, .timeout = 60);

Test(ttrpc_stream, carries_both_ways_and_ends_on_both_sides)
{
    struct side s = {0};
    side_open(&s, "Stream");
    cr_assert_eq(ttrpc_stream_send(s.stream, (const uint8_t *)"one", 3), 0);
    expect(&served.log, "open init;message one;");
    say("two");
    expect(&s.log, "message two;");
    // The server ends first; we may go on, and it is told of our end.
    cr_assert_not(rpc_stream_end(served.stream));
    expect(&s.log, "ended 0;");
    ttrpc_stream_end(s.stream);
    cr_assert_eq(ttrpc_stream_send(s.stream, (const uint8_t *)"x", 1), -EPIPE);
    expect(&served.log, "closed 0;");
    side_done(&s);

    // We end first.
    side_open(&s, "Stream");
    ttrpc_stream_end(s.stream);
    expect(&served.log, "open init;half closed;");
    say("rest");
    cr_assert(rpc_stream_end(served.stream));
    expect(&s.log, "message rest;ended 0;");
    side_done(&s);
    cr_assert_eq(ttrpc_server_usage(rig.server).requests, 0);
}

Test(ttrpc_stream, is_refused_and_lost)
{
    struct side s = {0};
    side_open(&s, "Refuse");
    expect(&s.log, "ended 5;");
    cr_assert_eq(ttrpc_stream_send(s.stream, (const uint8_t *)"x", 1), -EPIPE);
    side_done(&s);
    side_open(&s, "Nothing");
    expect(&s.log, "ended 12;");
    side_done(&s);
    side_open(&s, "Stream");
    expect(&served.log, "open init;");
    rig.server = ttrpc_server_free(rig.server);
    expect(&s.log, "ended 14;");
    cr_assert_not(ttrpc_stream_room(s.stream));
    side_done(&s);
    rig_serve();
}

Test(ttrpc_stream, may_be_ended_and_freed_by_its_events)
{
    struct side s = {.free_in_message = true};
    side_open(&s, "Stream");
    expect(&served.log, "open init;");
    say("a");
    say("b");
    (void)rpc_stream_end(served.stream);
    expect(&s.log, "message a;");
    expect(&served.log, "closed 0;");
    cr_assert_null(s.stream);
    side_done(&s);

    s = (struct side){.end_in_message = true, .free_in_message = true};
    side_open(&s, "Stream");
    expect(&served.log, "open init;");
    say("a");
    expect(&s.log, "message a;");
    expect(&served.log, "half closed;");
    cr_assert(rpc_stream_end(served.stream));
    side_done(&s);

    s = (struct side){.free_in_end = true};
    side_open(&s, "Stream");
    expect(&served.log, "open init;");
    client = ttrpc_client_free(client);
    expect(&s.log, "ended 1;");
    cr_assert_null(s.stream);
    side_done(&s);
    client = ttrpc_client_new(rig.loop, rig.path, NULL, NULL);
}

Test(ttrpc_stream, outlives_its_client)
{
    struct side s = {0};
    side_open(&s, "Stream");
    client = ttrpc_client_free(client);
    expect(&s.log, "ended 1;");
    ttrpc_stream_end(s.stream);
    cr_assert_eq(ttrpc_stream_send(s.stream, (const uint8_t *)"x", 1), -EPIPE);
    side_done(&s);
    client = ttrpc_client_new(rig.loop, rig.path, NULL, NULL);
}

Test(ttrpc_stream, waits_for_a_server_that_does_not_read)
{
    struct side s = {0};
    static uint8_t bytes[32768];
    int sent = 0;
    side_open(&s, "Stream");
    expect(&served.log, "open init;");
    while (ttrpc_stream_room(s.stream)) {
        cr_assert_lt(++sent, 1000);
        cr_assert_eq(ttrpc_stream_send(s.stream, bytes, sizeof bytes), 0);
    }
    cr_assert_eq(s.writable, 0);
    until(s.writable == 1);
    cr_assert(ttrpc_stream_room(s.stream));
    until(served.log.len == strlen("32768 bytes;") * (size_t)sent);
    side_done(&s);
}

// ---- behind a vsock device
// -----------------------------------------------------------------------

// Stand-in for the device: takes one connection, and says what it is told to.
struct device {
    int listening, fd;
    char path[96], heard[128];
    size_t n;
    ev_io accept, read;
    const char *answer;
};

static void device_heard(struct ev_loop *loop, ev_io *w, int revents)
{
    struct device *d = container_of(w, struct device, read);
    ssize_t n = recv(d->fd, d->heard + d->n, sizeof d->heard - 1 - d->n, MSG_DONTWAIT);
    if (n <= 0) {
        ev_io_stop(loop, w);
        return;
    }
    d->n += (size_t)n;
    if (!d->answer)
        return;
    for (const char *c = d->answer; *c; c++) // in the smallest pieces
        cr_assert_eq(send(d->fd, c, 1, MSG_NOSIGNAL), 1);
    d->answer = NULL;
}

static void device_accept(struct ev_loop *loop, ev_io *w, int revents)
{
    struct device *d = container_of(w, struct device, accept);
    d->fd = accept4(d->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert_geq(d->fd, 0);
    ev_io_stop(loop, w);
    ev_io_init(&d->read, device_heard, d->fd, EV_READ);
    ev_io_start(loop, &d->read);
}

static void device_up(struct device *d, const char *answer)
{
    struct error err = {0};
    *d = (struct device){.fd = -1, .answer = answer};
    snprintf(d->path, sizeof d->path, "%s/v", rig.dir);
    d->listening = rpc_listen_unix(d->path, &err);
    cr_assert_geq(d->listening, 0, "%s", err.text);
    ev_io_init(&d->accept, device_accept, d->listening, EV_READ);
    ev_io_start(rig.loop, &d->accept);
}

static void device_down(struct device *d)
{
    ev_io_stop(rig.loop, &d->accept);
    if (d->fd >= 0)
        ev_io_stop(rig.loop, &d->read);
    close_fd(&d->fd);
    close_fd(&d->listening);
    unlink(d->path);
}

static struct {
    int answers;
    enum status status;
    char text[ERROR_TEXT_MAX];
} got;

static void on_reply(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    got.answers++;
    got.status = err ? err->status : STATUS_OK;
    snprintf(got.text, sizeof got.text, "%s", err ? err->text : "");
}

static struct ttrpc_client *vsock_call(struct device *d)
{
    struct error err = {0};
    struct ttrpc_client *c = ttrpc_client_new_vsock(rig.loop, d->path, 1024, NULL, NULL);
    cr_assert_neq(ttrpc_client_call(c, "test.Service", "Echo", (const uint8_t *)"hello", 5, 5, NULL,
                                    on_reply, NULL, &err),
                  0, "%s", err.text);
    return c;
}

Test(ttrpc_stream, a_guest_is_called_through_its_device)
{
    struct device d;
    device_up(&d, "OK 1073741824\n");
    struct ttrpc_client *c = vsock_call(&d);
    until(d.n > strlen("CONNECT 1024\n") + TTRPC_HEADER_LEN);
    cr_assert_eq(strncmp(d.heard, "CONNECT 1024\n", 13), 0);
    cr_assert_eq(got.answers, 0);
    ttrpc_client_free(c);
    device_down(&d);
}

Test(ttrpc_stream, nothing_is_sent_to_a_guest_before_the_device_has_answered)
{
    struct device d;
    device_up(&d, NULL);
    struct ttrpc_client *c = vsock_call(&d);
    run_for(0.05);
    cr_assert_str_eq(d.heard, "CONNECT 1024\n");
    close_fd(&d.fd);
    ev_io_stop(rig.loop, &d.read);
    until(got.answers == 1);
    cr_assert_eq(got.status, STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(got.text, "nobody listens in the guest"), "%s", got.text);
    ttrpc_client_free(c);
    device_down(&d);
}

Test(ttrpc_stream, what_is_no_device_is_not_believed)
{
    static const char *const answers[] = {"NO\n", "OK\n", "\n",
                                          "OK 1111111111111111111111111111111111111111"};
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        struct device d;
        got.answers = 0;
        device_up(&d, answers[i]);
        struct ttrpc_client *c = vsock_call(&d);
        until(got.answers == 1);
        cr_assert_eq(got.status, STATUS_UNAVAILABLE);
        cr_assert_not_null(strstr(got.text, "no vsock device"), "%s", got.text);
        ttrpc_client_free(c);
        device_down(&d);
    }
}
