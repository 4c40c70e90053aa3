// The ttrpc server over real sockets.
#include "rpc/ttrpc_server.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "ttrpc_rig.h"

TestSuite(ttrpc_server, .init = rig_up, .fini = rig_down, .timeout = 60);

static struct ttrpc_server_usage usage(void)
{
    return ttrpc_server_usage(rig.server);
}

Test(ttrpc_server, answers_and_refuses)
{
    struct peer p;
    peer_open(&p);
    peer_call(&p, "Echo", "hello");
    peer_expect(&p, "1:hello;");
    peer_call(&p, "Nothing", "");
    peer_expect(&p, "3:error 12;");
    peer_send(&p, &(struct ttrpc_request){.service = "no.Service", .method = "Echo"});
    peer_expect(&p, "5:error 12;");
    peer_call(&p, "Big", "");
    peer_expect(&p, "7:3145728 bytes;");
    until(usage().memory == 0);
    cr_assert_eq(usage().requests, 0);
    cr_assert_eq(usage().request_memory, 0);
    peer_close(&p);
    until(usage().connections == 0);
}

Test(ttrpc_server, metadata_lives_as_long_as_the_call)
{
    struct peer p;
    peer_open(&p);
    struct ttrpc_request req = {.service = "test.Service",
                                .method = "Metadata",
                                .payload = (const uint8_t *)"b",
                                .payload_len = 1,
                                .metadata = {{"a", "1"}, {"b", "2"}, {"b", "3"}, {"c", ""}},
                                .metadata_len = 4};
    peer_send(&p, &req);
    req.payload = (const uint8_t *)"c";
    peer_send(&p, &req);
    req.payload = (const uint8_t *)"2";
    peer_send(&p, &req);
    req.method = "Wait";
    peer_send(&p, &req);
    peer_expect(&p, "1:2;3:;5:error 5;");
    until(rig.n_kept == 1);
    peer_call(&p, "Echo", "");
    peer_expect(&p, "9:;");
    cr_assert_str_eq(rpc_call_metadata(rig.kept[0], "a"), "1");
    cr_assert_null(rpc_call_metadata(rig.kept[0], "1"));
    peer_close(&p);
}

Test(ttrpc_server, answers_come_in_any_order)
{
    struct peer p, q;
    peer_open(&p), peer_open(&q);
    peer_call(&p, "Wait", "");
    peer_call(&p, "Keep", "");
    peer_call(&p, "Wait", "");
    until(rig.n_kept == 3);
    peer_call(&q, "Echo", "other");
    peer_expect(&q, "1:other;");
    reply_kept(1, "second");
    peer_expect(&p, "3:second;");
    reply_kept(2, "third");
    reply_kept(0, "first");
    peer_expect(&p, "5:third;1:first;");
    peer_close(&p), peer_close(&q);
}

Test(ttrpc_server, a_thousand_parallel_requests)
{
    struct peer p;
    peer_open(&p);
    for (int i = 0; i < TTRPC_SERVER_REQUESTS_MAX + 1; i++)
        peer_call(&p, "Wait", "");
    peer_expect(&p, "2049:error 8;");
    cr_assert_eq(rig.n_kept, TTRPC_SERVER_REQUESTS_MAX);
    cr_assert_eq(usage().requests, TTRPC_SERVER_REQUESTS_MAX);
    p.answers = 0;
    for (int i = rig.n_kept; i-- > 0;)
        reply_kept(i, "x");
    until(p.answers == TTRPC_SERVER_REQUESTS_MAX);
    cr_assert_eq(usage().requests, 0);
    peer_close(&p);
}

Test(ttrpc_server, all_connections_together_have_a_limit)
{
    struct peer p, q;
    ttrpc_server_limits(rig.server)->requests_total = 3;
    peer_open(&p), peer_open(&q);
    peer_call(&p, "Wait", "");
    peer_call(&p, "Keep", "");
    until(rig.n_kept == 2);
    peer_call(&q, "Keep", "");
    until(rig.n_kept == 3);
    peer_call(&q, "Echo", "");
    peer_expect(&q, "3:error 8;");
    peer_close(&p); // the Wait is cancelled, the Keep still runs
    until(usage().requests == 2);
    peer_call(&q, "Echo", "ok");
    peer_expect(&q, "5:ok;");
    reply_kept(1, "nobody hears it");
    cr_assert_eq(usage().requests, 1);
    peer_close(&q);
}

Test(ttrpc_server, deadlines)
{
    struct peer p;
    peer_open(&p);
    struct ttrpc_request req = {
        .service = "test.Service", .method = "Wait", .timeout_nano = 50000000};
    peer_send(&p, &req);
    req.method = "Keep";
    peer_send(&p, &req);
    peer_expect(&p, "1:error 4;");
    cr_assert_eq(rig.cancelled, 1);
    run_for(0.1);
    reply_kept(1, "late");
    peer_expect(&p, "3:late;");
    req.method = "Wait";
    req.timeout_nano = -1;
    peer_send(&p, &req);
    peer_expect(&p, "5:error 4;");
    req.timeout_nano = INT64_MAX;
    peer_send(&p, &req);
    run_for(0.05);
    cr_assert_eq(usage().requests, 1);
    peer_close(&p);
    until(rig.cancelled == 3);
    cr_assert_eq(usage().requests, 0);
}

Test(ttrpc_server, a_closed_connection_cancels_its_calls)
{
    struct peer p, q;
    peer_open(&p), peer_open(&q);
    peer_call(&p, "Wait", "");
    peer_call(&p, "Wait", "");
    peer_call(&p, "Keep", "");
    until(rig.n_kept == 3);
    peer_call(&q, "Wait", "");
    until(rig.n_kept == 4);
    peer_close(&p);
    until(rig.cancelled == 2);
    cr_assert_eq(usage().connections, 1);
    cr_assert_eq(usage().requests, 2);
    cr_assert_null(rpc_call_metadata(rig.kept[2], "x"));
    reply_kept(2, "dropped");
    cr_assert_eq(usage().requests, 1);
    reply_kept(3, "heard");
    peer_expect(&q, "1:heard;");
    peer_close(&q);
}

// A cancel function that ends other calls of the same connection.
static void cancel_all(struct rpc_call *call, void *arg)
{
    on_cancel(call, arg);
    for (int i = 0; i < rig.n_kept; i++) {
        if (rig.kept[i])
            reply_kept(i, "");
    }
}

Test(ttrpc_server, a_cancel_function_may_end_other_calls)
{
    struct peer p, q;
    peer_open(&p), peer_open(&q);
    for (int i = 0; i < 3; i++)
        peer_call(&p, "Keep", "");
    until(rig.n_kept == 3);
    rpc_call_on_cancel(rig.kept[1], cancel_all, NULL);
    peer_call(&q, "Keep", "");
    until(rig.n_kept == 4);
    peer_close(&p);
    peer_expect(&q, "1:;");
    cr_assert_eq(usage().requests, 0);
    peer_close(&q);
}

static void on_drained(void *arg)
{
    ++*(int *)arg;
}

Test(ttrpc_server, drains)
{
    struct peer p;
    int drained = 0;
    struct error err;
    peer_open(&p);
    peer_call(&p, "Keep", "");
    until(rig.n_kept == 1);
    ttrpc_server_drain(rig.server, on_drained, &drained);
    cr_assert_lt(rpc_connect_unix(rig.path, &err), 0);
    cr_assert_eq(err.status, STATUS_UNAVAILABLE);
    peer_call(&p, "Echo", "still here");
    peer_expect(&p, "3:still here;");
    cr_assert_eq(drained, 0);
    reply_kept(0, "last");
    cr_assert_eq(drained, 0, "only from the loop");
    until(drained == 1);
    peer_expect(&p, "1:last;");
    run_for(0.02);
    cr_assert_eq(drained, 1);
    peer_close(&p);
}

Test(ttrpc_server, drains_at_once)
{
    int drained = 0;
    ttrpc_server_drain(rig.server, on_drained, &drained);
    cr_assert_eq(drained, 0);
    until(drained == 1);
}

Test(ttrpc_server, calls_may_outlive_the_server)
{
    struct peer p;
    peer_open(&p);
    peer_call(&p, "Keep", "");
    peer_call(&p, "Wait", "");
    until(rig.n_kept == 2);
    rig.server = ttrpc_server_free(rig.server);
    cr_assert_eq(rig.cancelled, 1);
    until(p.eof);
    reply_kept(0, "into the void");
    peer_close(&p);
}

Test(ttrpc_server, a_slow_frame_is_not_waited_for)
{
    struct peer slow, idle, steady;
    ttrpc_server_limits(rig.server)->frame_timeout = 0.2;
    peer_open(&slow), peer_open(&idle), peer_open(&steady);
    struct ttrpc_request req = {.service = "test.Service", .method = "Echo"};
    uint32_t id;
    ttrpc_session_request(&steady.session, &req, NULL, &id);
    size_t len;
    uint8_t frame[128];
    const uint8_t *out = ttrpc_session_output(&steady.session, &len);
    cr_assert(len > 20 && len < sizeof frame);
    memcpy(frame, out, len);
    ttrpc_session_sent(&steady.session, len);

    double start = ev_time();
    for (int i = 0; !slow.eof; i++) {
        // One byte at a time, of 266, never makes it; a frame in three pieces, again and again,
        // does.
        if (i < 40)
            send(slow.fd, i == 2 ? "\1" : "\0", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        uint8_t *part = frame + (size_t)(i % 3) * 10;
        size_t n = i % 3 == 2 ? len - 20 : 10;
        frame[7] = (uint8_t)(1 + 2 * (i / 3));
        peer_write(&steady, part, n);
        run_for(0.02);
        cr_assert_lt(i, 60);
    }
    cr_assert_gt(ev_time() - start, 0.15);
    run_for(0.3);
    cr_assert_not(idle.eof);
    peer_call(&idle, "Echo", "alive");
    peer_expect(&idle, "1:alive;");
    peer_close(&slow), peer_close(&idle), peer_close(&steady);
}

Test(ttrpc_server, peers_must_have_our_uid)
{
    struct peer p;
    ttrpc_server_limits(rig.server)->uid = geteuid() + 1;
    peer_open(&p);
    until(p.eof);
    peer_close(&p);
    ttrpc_server_limits(rig.server)->uid = geteuid();
    peer_open(&p);
    peer_call(&p, "Echo", "me");
    peer_expect(&p, "1:me;");
    peer_close(&p);

    if (geteuid() != 0)
        return;
    // The mode of the socket keeps others out already; here it is opened to them.
    chmod(rig.path, 0777);
    chmod(rig.dir, 0777);
    pid_t child = fork();
    if (!child) {
        char byte;
        struct error err;
        if (setresuid(65534, 65534, 65534) < 0)
            _exit(2);
        int fd = rpc_connect_unix(rig.path, &err);
        if (fd < 0 || fcntl(fd, F_SETFL, 0) < 0)
            _exit(3);
        _exit(recv(fd, &byte, 1, 0) == 0 ? 0 : 4);
    }
    int status = -1;
    until(waitpid(child, &status, WNOHANG) == child);
    cr_assert_eq(status, 0);
    cr_assert_eq(usage().connections, 0);
}

Test(ttrpc_server, accept_survives_a_lack_of_descriptors)
{
    struct peer p;
    struct rlimit old, low;
    peer_open(&p); // in the queue
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = (rlim_t)p.fd + 1;
    setrlimit(RLIMIT_NOFILE, &low);
    unsigned turns = ev_iteration(rig.loop);
    run_for(0.3);
    // The tick makes about 150 turns; a busy accept would make thousands.
    cr_assert_lt(ev_iteration(rig.loop) - turns, 400u);
    cr_assert_eq(usage().connections, 0);
    setrlimit(RLIMIT_NOFILE, &old);
    peer_call(&p, "Echo", "patience");
    peer_expect(&p, "1:patience;");
    peer_close(&p);
}

Test(ttrpc_server, connections_have_a_limit)
{
    struct peer p, q, r;
    ttrpc_server_limits(rig.server)->connections = 2;
    peer_open(&p), peer_open(&q), peer_open(&r);
    peer_call(&r, "Echo", "waited");
    run_for(0.05);
    cr_assert_eq(usage().connections, 2);
    cr_assert_eq(r.answers, 0);
    peer_close(&p);
    peer_expect(&r, "1:waited;");
    peer_close(&q), peer_close(&r);
}

// ---- peers that do not read --------------------------------------------------------------------

Test(ttrpc_server, a_peer_that_does_not_read_is_not_read_either)
{
    struct peer p;
    peer_open(&p);
    ev_io_stop(rig.loop, &p.io);
    for (int i = 0; i < 20; i++)
        peer_call(&p, "Big", ""); // one read takes them all
    for (int i = 0; i < 20; i++) {
        peer_call(&p, "Big", "");
        run_for(0.005);
    }
    cr_assert_lt(usage().memory, 2u * TTRPC_FRAME_MAX);
    cr_assert_eq(usage().connections, 1);
    ev_io_start(rig.loop, &p.io);
    until(p.answers == 40);
    until(usage().memory == 0);
    peer_call(&p, "Keep", "");
    until(rig.n_kept == 1);
    peer_close(&p);
}

Test(ttrpc_server, answers_that_nobody_reads_have_a_limit)
{
    struct peer p;
    uint8_t *data = calloc(1, 3 << 20);
    peer_open(&p);
    for (int i = 0; i < 20; i++)
        peer_call(&p, "Keep", "");
    until(rig.n_kept == 20);
    ev_io_stop(rig.loop, &p.io);
    for (int i = 0; i < 20; i++) {
        rpc_call_reply(rig.kept[i], data, 3 << 20);
        rig.kept[i] = NULL;
    }
    cr_assert_leq(usage().memory, TTRPC_OUTPUT_MAX + 4096u);
    until(usage().connections == 0);
    cr_assert_eq(usage().memory, 0);
    cr_assert_eq(usage().requests, 0);
    free(data);
    peer_close(&p);
}

Test(ttrpc_server, who_holds_too_much_goes_and_the_others_stay)
{
    struct peer hog, p;
    ttrpc_server_limits(rig.server)->memory = 2 << 20;
    peer_open(&hog), peer_open(&p);
    ev_io_stop(rig.loop, &hog.io);
    peer_call(&p, "Keep", "");
    peer_call(&hog, "Big", "");
    peer_call(&p, "Echo", "x");
    peer_expect(&p, "3:x;");
    until(usage().connections == 1);
    cr_assert_lt(usage().memory, 4096u);
    reply_kept(0, "still here");
    peer_expect(&p, "1:still here;");
    peer_close(&hog), peer_close(&p);
}

// ---- streams -----------------------------------------------------------------------------------

static struct {
    struct rpc_stream *stream;
    struct buf log;
} st;

static void st_message(struct rpc_stream *s, const uint8_t *data, size_t len, void *arg)
{
    buf_printf(&st.log, "message %.*s;", (int)len, data);
    if (len == 4 && !memcmp(data, "quit", 4)) {
        rpc_stream_drop(s);
        st.stream = NULL;
    }
}
static void st_half_closed(struct rpc_stream *s, void *arg)
{
    buf_printf(&st.log, "half closed;");
}
static void st_writable(struct rpc_stream *s, void *arg)
{
    buf_printf(&st.log, "writable;");
}
static void st_closed(struct rpc_stream *s, const struct error *err, void *arg)
{
    buf_printf(&st.log, "closed %d;", err ? (int)err->status : 0);
    st.stream = NULL;
}
static const struct rpc_stream_events st_events = {st_message, st_half_closed, st_writable,
                                                   st_closed};

static void st_open(struct rpc_stream *s, const uint8_t *payload, size_t len, void *ctx)
{
    buf_printf(&st.log, "open %.*s;", (int)len, payload);
    rpc_stream_take(s, &st_events, NULL);
    st.stream = s;
}
static void st_refuse(struct rpc_stream *s, const uint8_t *payload, size_t len, void *ctx)
{
    struct error err = {STATUS_NOT_FOUND, "no"};
    rpc_stream_fail(s, &err);
}
static void st_ignore(struct rpc_stream *s, const uint8_t *payload, size_t len, void *ctx)
{
}
static const struct rpc_stream_method stream_methods[] = {
    {"test.Service", "Stream", st_open, NULL},
    {"test.Service", "Refuse", st_refuse, NULL},
    {"test.Service", "Ignore", st_ignore, NULL},
    {NULL, NULL, NULL, NULL}};

static void expect_stream(const char *want)
{
    double end = ev_time() + 10;
    while (st.log.len < strlen(want) && ev_time() < end)
        ev_run(rig.loop, EVRUN_ONCE);
    cr_assert_str_eq(buf_cstr(&st.log), want);
    buf_clear(&st.log);
}

static uint32_t stream_open(struct peer *p, const char *method, const char *payload)
{
    return peer_send(p, &(struct ttrpc_request){.service = "test.Service",
                                                .method = method,
                                                .flags = TTRPC_REMOTE_OPEN,
                                                .payload = (const uint8_t *)payload,
                                                .payload_len = strlen(payload)});
}

static void stream_say(struct peer *p, uint32_t id, const char *text)
{
    cr_assert_eq(ttrpc_session_send(&p->session, id, (const uint8_t *)text, strlen(text)), 0);
    peer_flush(p);
}

static void streams_up(struct peer *p)
{
    buf_init(&st.log, 1 << 16);
    ttrpc_server_set_streams(rig.server, stream_methods);
    peer_open(p);
}

static void streams_down(struct peer *p)
{
    peer_close(p);
    buf_free(&st.log);
}

Test(ttrpc_server, a_stream_lives_until_both_sides_have_ended)
{
    struct peer p;
    streams_up(&p);
    stream_open(&p, "Stream", "init");
    stream_say(&p, 1, "one");
    stream_say(&p, 1, "");
    expect_stream("open init;message one;message ;");
    cr_assert_eq(rpc_stream_send(st.stream, (const uint8_t *)"reply", 5), 0);
    peer_expect(&p, "1<reply;");
    ttrpc_session_send_end(&p.session, 1);
    peer_flush(&p);
    expect_stream("half closed;");
    cr_assert(rpc_stream_end(st.stream));
    peer_expect(&p, "1< end;");

    // The other way round: our end first.
    stream_open(&p, "Stream", "");
    expect_stream("open ;");
    cr_assert_not(rpc_stream_end(st.stream));
    cr_assert_eq(rpc_stream_send(st.stream, NULL, 0), -EPIPE);
    run_for(0.02);
    cr_assert_eq(usage().requests, 1, "the record outlives our end");
    uint8_t end[] = {0, 0, 0, 0, 0, 0, 0, 3, TTRPC_DATA, 5};
    peer_write(&p, end, sizeof end);
    expect_stream("closed 0;");
    cr_assert_eq(usage().requests, 0);
    peer_expect(&p, "3< end;");
    streams_down(&p);
}

Test(ttrpc_server, streams_end_early)
{
    struct peer p;
    streams_up(&p);
    stream_open(&p, "Stream", "");
    expect_stream("open ;");
    struct error err = {STATUS_ABORTED, "no more"};
    rpc_stream_fail(st.stream, &err);
    peer_expect(&p, "1:error 10;");
    stream_open(&p, "Stream", "");
    stream_say(&p, 3, "quit");
    stream_say(&p, 3, "late");
    peer_expect(&p, "3< end;");
    expect_stream("open ;message quit;");
    cr_assert_eq(usage().requests, 0);

    peer_send(&p, &(struct ttrpc_request){.service = "test.Service",
                                          .method = "Stream",
                                          .flags = TTRPC_REMOTE_OPEN,
                                          .timeout_nano = 10000000});
    peer_expect(&p, "5:error 4;");
    expect_stream("open ;closed 4;");

    stream_open(&p, "Stream", "");
    expect_stream("open ;");
    uint8_t huge[] = {0, 0x40, 0, 1, 0, 0, 0, 7, TTRPC_DATA, 0};
    peer_write(&p, huge, sizeof huge);
    peer_expect(&p, "7:error 8;");
    expect_stream("closed 8;");
    streams_down(&p);
}

Test(ttrpc_server, streams_of_a_peer_that_is_gone_are_closed)
{
    struct peer p;
    streams_up(&p);
    stream_open(&p, "Stream", "");
    expect_stream("open ;");
    peer_close(&p);
    expect_stream("closed 14;");
    cr_assert_eq(usage().requests, 0);
    buf_free(&st.log);
}

// containerd closes the connection of a stdin as soon as it has sent everything, with what we have
// sent it (window updates) unread: our next write fails while its last bytes wait to be read.
Test(ttrpc_server, what_a_peer_sent_before_it_closed_is_read_although_it_takes_nothing)
{
    struct peer p;
    streams_up(&p);
    stream_open(&p, "Stream", "");
    expect_stream("open ;");
    ev_io_stop(rig.loop, &p.io);
    cr_assert_eq(rpc_stream_send(st.stream, (const uint8_t *)"unread", 6), 0);
    run_for(0.01);
    char much[50001];
    memset(much, 'm', sizeof much - 1), much[sizeof much - 1] = '\0';
    stream_say(&p, 1, "one");
    stream_say(&p, 1, much);
    stream_say(&p, 1, "");
    stream_say(&p, 1, "the last");
    cr_assert_eq(ttrpc_session_send_end(&p.session, 1), 0);
    peer_flush(&p);
    peer_close(&p);
    cr_assert_eq(rpc_stream_send(st.stream, (const uint8_t *)"for nobody", 10), 0);
    char want[sizeof much + 100];
    snprintf(want, sizeof want, "message one;message %s;message ;message the last;half closed;",
             much);
    expect_stream(want);
    cr_assert(rpc_stream_end(st.stream));
    until(usage().connections == 0);
    buf_free(&st.log);
}

Test(ttrpc_server, streams_that_nobody_takes)
{
    struct peer p;
    streams_up(&p);
    stream_open(&p, "Refuse", "");
    stream_open(&p, "Ignore", "");
    stream_open(&p, "Unknown", "");
    peer_expect(&p, "1:error 5;3:error 12;5:error 12;");
    uint8_t data[] = {0, 0, 0, 1, 0, 0, 0, 5, TTRPC_DATA, 0, 'x'};
    peer_write(&p, data, sizeof data);
    peer_call(&p, "Echo", "on");
    peer_expect(&p, "7:on;");
    cr_assert_eq(usage().requests, 0);
    streams_down(&p);
}

Test(ttrpc_server, a_stream_waits_for_its_reader)
{
    struct peer p;
    streams_up(&p);
    stream_open(&p, "Stream", "");
    expect_stream("open ;");
    ev_io_stop(rig.loop, &p.io);
    static uint8_t chunk[32768];
    int r, sent = 0;
    while (!(r = rpc_stream_send(st.stream, chunk, sizeof chunk))) {
        sent++;
        ev_run(rig.loop, EVRUN_ONCE);
    }
    cr_assert_eq(r, -EAGAIN);
    cr_assert_lt(sent, 100);
    ev_io_start(rig.loop, &p.io);
    expect_stream("writable;");
    cr_assert_eq(rpc_stream_send(st.stream, (const uint8_t *)"!", 1), 0);

    // The same within one turn of the loop.
    while (!(r = rpc_stream_send(st.stream, chunk, sizeof chunk)))
        ;
    cr_assert_eq(r, -EAGAIN);
    expect_stream("writable;");
    streams_down(&p);
}

Test(ttrpc_server, a_stream_is_asked_for_room_before_there_is_a_message)
{
    struct peer p;
    streams_up(&p);
    stream_open(&p, "Stream", "");
    expect_stream("open ;");
    static uint8_t chunk[32768];
    ev_io_stop(rig.loop, &p.io);
    int sent = 0;
    while (rpc_stream_room(st.stream, 65536)) {
        cr_assert_eq(rpc_stream_send(st.stream, chunk, sizeof chunk), 0);
        cr_assert_lt(++sent, 100, "the socket and 64 KiB are not so large");
        ev_run(rig.loop, EVRUN_NOWAIT);
    }
    ev_io_start(rig.loop, &p.io);
    expect_stream("writable;");
    // With a request on its way again `writable` may have come for the larger bound.
    until(rpc_stream_room(st.stream, 65536));
    rpc_stream_end(st.stream);
    cr_expect(!rpc_stream_room(st.stream, 65536), "nothing may follow the end");
    streams_down(&p);
}

static void stream_through(struct peer *p)
{
    uint32_t id = stream_open(p, "Stream", "");
    expect_stream("open ;");
    cr_assert_not(rpc_stream_end(st.stream));
    ttrpc_session_send_end(&p->session, id);
    peer_flush(p);
    expect_stream("closed 0;");
}

Test(ttrpc_server, a_connection_that_carried_streams_only_is_closed_after_them)
{
    struct peer p, other;
    ttrpc_server_limits(rig.server)->stream_linger = 0.1;
    streams_up(&p);
    stream_through(&p);
    stream_open(&p, "Stream", ""); // one that is open keeps it
    expect_stream("open ;");
    run_for(0.3);
    cr_assert_not(p.eof);
    rpc_stream_drop(st.stream);
    until(p.eof);
    cr_assert_eq(usage().connections, 0);
    peer_close(&p);

    // A connection that has carried a call is not ours to close.
    peer_open(&p);
    peer_open(&other);
    peer_call(&p, "Echo", "first");
    peer_expect(&p, "1:first;");
    stream_through(&p);
    stream_through(&other);
    peer_call(&other, "Echo", "later");
    run_for(0.3);
    cr_assert_not(p.eof);
    cr_assert_not(other.eof);
    peer_close(&other);
    streams_down(&p);
}
