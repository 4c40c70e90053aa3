// The ttrpc session: every rule of its header, and the same events however the bytes are cut.
#include "rpc/ttrpc.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rpc/ttrpc_message.h"

#define MAX_OPEN 4

// ---- a session that writes down what happens ---------------------------------------------------

struct rig {
    struct ttrpc_session session;
    struct buf log;
    bool answer; // answer requests at once, with their payload
};

static void on_request(struct ttrpc_session *s, const struct ttrpc_request *req, void *arg)
{
    struct rig *rig = arg;
    buf_printf(&rig->log, "request %u flags %u %s/%s payload '%.*s' timeout %" PRId64, req->id,
               req->flags, req->service, req->method, (int)req->payload_len, req->payload,
               req->timeout_nano);
    for (size_t i = 0; i < req->metadata_len; i++)
        buf_printf(&rig->log, " %s=%s", req->metadata[i].key, req->metadata[i].value);
    buf_printf(&rig->log, "\n");
    if (rig->answer)
        ttrpc_session_reply(s, req->id, req->payload, req->payload_len);
}

static void on_data(struct ttrpc_session *s, uint32_t id, void *owner, const uint8_t *data,
                    size_t len, bool end, void *arg)
{
    struct rig *rig = arg;
    if (data)
        buf_printf(&rig->log, "data %u '%.*s'%s\n", id, (int)len, data, end ? " end" : "");
    else
        buf_printf(&rig->log, "data %u none%s\n", id, end ? " end" : "");
}

static void on_end(struct ttrpc_session *s, uint32_t id, void *owner, const uint8_t *payload,
                   size_t len, const struct error *err, void *arg)
{
    struct rig *rig = arg;
    if (err)
        buf_printf(&rig->log, "end %u error %d '%s'\n", id, (int)err->status, err->text);
    else
        buf_printf(&rig->log, "end %u '%.*s'\n", id, (int)len, payload);
}

static const struct ttrpc_events events = {.request = on_request, .data = on_data, .end = on_end};

static void rig_init(struct rig *rig, enum ttrpc_role role)
{
    memset(rig, 0, sizeof *rig);
    buf_init(&rig->log, 1 << 20);
    ttrpc_session_init(&rig->session, role, MAX_OPEN, &events, rig);
}

static void rig_done(struct rig *rig)
{
    ttrpc_session_done(&rig->session);
    buf_free(&rig->log);
}

static void feed(struct rig *rig, const struct buf *b)
{
    // An exact copy, so that a sanitizer sees every read past the end.
    uint8_t *exact = malloc(b->len ? b->len : 1);
    if (b->len)
        memcpy(exact, b->data, b->len);
    cr_assert_eq(ttrpc_session_recv(&rig->session, exact, b->len), 0);
    free(exact);
}

static void expect_log(struct rig *rig, const char *want)
{
    cr_assert_str_eq(buf_cstr(&rig->log), want);
    buf_clear(&rig->log);
}

// ---- bytes -------------------------------------------------------------------------------------

static void put_header(struct buf *b, uint32_t len, uint32_t id, uint8_t type, uint8_t flags)
{
    uint8_t h[TTRPC_HEADER_LEN] = {(uint8_t)(len >> 24),
                                   (uint8_t)(len >> 16),
                                   (uint8_t)(len >> 8),
                                   (uint8_t)len,
                                   (uint8_t)(id >> 24),
                                   (uint8_t)(id >> 16),
                                   (uint8_t)(id >> 8),
                                   (uint8_t)id,
                                   type,
                                   flags};
    cr_assert_eq(buf_append(b, h, sizeof h), 0);
}

static void put_frame(struct buf *b, uint32_t id, uint8_t type, uint8_t flags, const void *data,
                      size_t len)
{
    put_header(b, (uint32_t)len, id, type, flags);
    cr_assert_eq(buf_append(b, data, len), 0);
}

// A bytes field; `len` below 128.
static void put_field(struct buf *b, unsigned tag, const void *data, size_t len)
{
    uint8_t head[2] = {(uint8_t)(tag << 3 | 2), (uint8_t)len};
    buf_append(b, head, 2);
    buf_append(b, data, len);
}

static void put_request(struct buf *b, uint32_t id, uint8_t flags, const char *service,
                        const char *method, const char *payload)
{
    struct buf m;
    buf_init(&m, 4096);
    put_field(&m, 1, service, strlen(service));
    put_field(&m, 2, method, strlen(method));
    if (payload)
        put_field(&m, 3, payload, strlen(payload));
    put_frame(b, id, TTRPC_REQUEST, flags, m.data, m.len);
    buf_free(&m);
}

// Reads what a server has sent with a client session that knows the ids 1, 3, … as open.
static char *read_output(struct rig *rig)
{
    static char text[8192];
    struct buf log;
    buf_init(&log, sizeof text - 1);
    size_t len;
    const uint8_t *out = ttrpc_session_output(&rig->session, &len);
    uint8_t *copy = malloc(len + 1);
    if (len)
        memcpy(copy, out, len);
    for (size_t at = 0; at < len;) {
        cr_assert_geq(len - at, TTRPC_HEADER_LEN);
        uint8_t *h = copy + at;
        uint32_t n = (uint32_t)h[0] << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3];
        uint32_t id = (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
        at += TTRPC_HEADER_LEN + n;
        cr_assert_leq(at, len);
        const uint8_t *payload = NULL;
        size_t payload_len = 0;
        struct error err;
        if (h[8] == TTRPC_DATA)
            buf_printf(&log, "data %u flags %u '%.*s'\n", id, h[9], (int)n, h + TTRPC_HEADER_LEN);
        else if (ttrpc_response_decode(h + TTRPC_HEADER_LEN, n, &payload, &payload_len, &err) < 0)
            buf_printf(&log, "error %u %d %s\n", id, (int)err.status, err.text);
        else
            buf_printf(&log, "reply %u '%.*s'\n", id, (int)payload_len, payload);
    }
    ttrpc_session_sent(&rig->session, len);
    strcpy(text, buf_cstr(&log));
    buf_free(&log);
    free(copy);
    return text;
}

static void expect_output(struct rig *rig, const char *want)
{
    cr_assert_str_eq(read_output(rig), want);
}

// ---- requests ----------------------------------------------------------------------------------

Test(ttrpc, request_with_everything)
{
    struct rig rig;
    struct buf m, pair, b;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&m, 4096), buf_init(&pair, 4096), buf_init(&b, 4096);
    put_field(&m, 1, "a.Service", 9);
    put_field(&m, 2, "Do", 2);
    put_field(&m, 3, "payload", 7);
    buf_append(&m, "\x20\xac\x02", 3); // timeout_nano 300
    put_field(&pair, 1, "containerd-namespace-ttrpc", 26);
    put_field(&pair, 2, "k8s.io", 6);
    put_field(&m, 5, pair.data, pair.len);
    put_field(&m, 5, "", 0);
    buf_append(&m, "\x79\1\2\3\4\5\6\7\x08", 9); // unknown fixed64
    buf_append(&m, "\x7d\1\2\3\4", 5);           // unknown fixed32
    buf_append(&m, "\x78\x05", 2);               // unknown varint
    put_field(&m, 15, "\0\xff", 2);              // unknown bytes
    put_frame(&b, 7, TTRPC_REQUEST, 0, m.data, m.len);
    feed(&rig, &b);
    expect_log(&rig, "request 7 flags 0 a.Service/Do payload 'payload' timeout 300 "
                     "containerd-namespace-ttrpc=k8s.io =\n");
    cr_assert_eq(ttrpc_session_find(&rig.session, 7)->id, 7);
    cr_assert_not(ttrpc_session_partial(&rig.session));
    cr_assert_eq(ttrpc_session_reply(&rig.session, 7, (const uint8_t *)"ok", 2), 0);
    cr_assert_eq(ttrpc_session_reply(&rig.session, 7, (const uint8_t *)"ok", 2), -ENOENT);
    expect_output(&rig, "reply 7 'ok'\n");
    cr_assert_eq(ttrpc_session_memory(&rig.session), 0, "an idle session holds no memory");
    rig_done(&rig);
    buf_free(&m), buf_free(&pair), buf_free(&b);
}

#define ROW(text) text, sizeof text - 1
static const struct {
    const char *name, *data;
    size_t len;
    int status;
} bad_requests[] = {
    {"nothing", ROW(""), 3},
    {"no method", ROW("\x0a\x01s"), 3},
    {"no service", ROW("\x12\x01m"), 3},
    {"NUL in the service", ROW("\x0a\x03s\0s\x12\x01m"), 3},
    {"bad UTF-8 in the method", ROW("\x0a\x01s\x12\x02\xc3("), 3},
    {"overlong UTF-8", ROW("\x0a\x02\xc0\xaf\x12\x01m"), 3},
    {"surrogate", ROW("\x0a\x03\xed\xa0\x80\x12\x01m"), 3},
    {"beyond Unicode", ROW("\x0a\x04\xf4\x90\x80\x80\x12\x01m"), 3},
    {"UTF-8 cut by the end", ROW("\x0a\x01s\x12\x01\xe2"), 3},
    {"length past the end", ROW("\x0a\x01s\x12\x7fm"), 3},
    {"length of ten bytes", ROW("\x0a\x01s\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 3},
    {"varint without end", ROW("\x0a\x01s\x12\x01m\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
     3},
    {"varint of 65 bits", ROW("\x0a\x01s\x12\x01m\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), 3},
    {"field number 0", ROW("\x0a\x01s\x12\x01m\x00\x00"), 3},
    {"group", ROW("\x0a\x01s\x12\x01m\x3b\x3c"), 3},
    {"wire type 7", ROW("\x0a\x01s\x12\x01m\x3f"), 3},
    {"fixed32 past the end", ROW("\x0a\x01s\x12\x01m\x7d\1\2\3"), 3},
    {"timeout as bytes", ROW("\x0a\x01s\x12\x01m\x22\x01x"), 3},
    {"payload as varint", ROW("\x0a\x01s\x12\x01m\x18\x01"), 3},
    {"service as varint", ROW("\x08\x01\x12\x01m"), 3},
    {"metadata as varint", ROW("\x0a\x01s\x12\x01m\x28\x01"), 3},
    {"metadata past its end", ROW("\x0a\x01s\x12\x01m\x2a\x02\x0a\x05"), 3},
    {"NUL in a metadata value", ROW("\x0a\x01s\x12\x01m\x2a\x04\x12\x02v\0"), 3},
};

Test(ttrpc, bad_requests_are_refused_and_the_session_lives)
{
    for (size_t i = 0; i < sizeof bad_requests / sizeof bad_requests[0]; i++) {
        struct rig rig;
        struct buf b;
        rig_init(&rig, TTRPC_SERVER);
        buf_init(&b, 4096);
        put_frame(&b, 1, TTRPC_REQUEST, 0, bad_requests[i].data, bad_requests[i].len);
        put_request(&b, 3, 0, "s", "m", "x");
        feed(&rig, &b);
        char want[32];
        snprintf(want, sizeof want, "error 1 %d ", bad_requests[i].status);
        cr_assert_eq(strncmp(read_output(&rig), want, strlen(want)), 0, "%s", bad_requests[i].name);
        expect_log(&rig, "request 3 flags 0 s/m payload 'x' timeout 0\n");
        rig_done(&rig);
        buf_free(&b);
    }
}

Test(ttrpc, names_and_metadata_have_limits)
{
    struct rig rig;
    struct buf m, b;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&m, 1 << 20), buf_init(&b, 1 << 20);
    char name[300];
    memset(name, 'n', sizeof name);
    buf_append(&m, "\x0a\x80\x02", 3), buf_append(&m, name, 256);
    put_field(&m, 2, "m", 1);
    put_frame(&b, 1, TTRPC_REQUEST, 0, m.data, m.len);

    buf_clear(&m);
    put_field(&m, 1, "s", 1), put_field(&m, 2, "m", 1);
    for (int i = 0; i <= TTRPC_METADATA_MAX; i++)
        put_field(&m, 5, "\x0a\x01k\x12\x01v", 6);
    put_frame(&b, 3, TTRPC_REQUEST, 0, m.data, m.len);

    buf_clear(&m);
    put_field(&m, 1, "s", 1), put_field(&m, 2, "m", 1);
    for (int i = 0; i < 60; i++) { // 60 * 280 bytes
        buf_append(&m, "\x2a\x99\x02\x12\x96\x02", 6);
        buf_append(&m, name, 278);
    }
    put_frame(&b, 5, TTRPC_REQUEST, 0, m.data, m.len);
    feed(&rig, &b);
    expect_log(&rig, "");
    expect_output(&rig, "error 1 3 request service has 256 bytes, at most 255 are allowed\n"
                        "error 3 8 request has more than 64 metadata entries\n"
                        "error 5 8 request has more than 16384 bytes of metadata\n");
    rig_done(&rig);
    buf_free(&m), buf_free(&b);
}

Test(ttrpc, stream_ids_are_odd_and_grow)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&b, 4096);
    put_request(&b, 2, 0, "s", "m", NULL);
    put_request(&b, 0, 0, "s", "m", NULL);
    put_request(&b, 5, 0, "s", "m", NULL);
    put_request(&b, 3, 0, "s", "m", NULL);
    put_request(&b, 5, 0, "s", "m", NULL);
    put_request(&b, UINT32_MAX, 0, "s", "m", NULL);
    feed(&rig, &b);
    expect_log(&rig, "request 5 flags 0 s/m payload '' timeout 0\n"
                     "request 4294967295 flags 0 s/m payload '' timeout 0\n");
    expect_output(&rig,
                  "error 2 3 stream id 2 of a request must be odd\n"
                  "error 0 3 stream id 0 of a request must be odd\n"
                  "error 3 3 stream id 3 of a request must be greater than the last one, 5\n"
                  "error 5 3 stream id 5 of a request must be greater than the last one, 5\n");
    rig_done(&rig);
    buf_free(&b);
}

Test(ttrpc, too_many_open_requests)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&b, 4096);
    for (uint32_t i = 0; i <= MAX_OPEN; i++)
        put_request(&b, 1 + 2 * i, 0, "s", "m", NULL);
    feed(&rig, &b);
    expect_output(&rig, "error 9 8 4 requests are open on this connection, no more are allowed\n");
    struct error err = {STATUS_NOT_FOUND, "gone"};
    ttrpc_session_fail(&rig.session, 3, &err);
    buf_clear(&b);
    put_request(&b, 11, 0, "s", "m", NULL);
    feed(&rig, &b);
    expect_output(&rig, "error 3 5 gone\n");
    cr_assert_eq(rig.session.n_open, MAX_OPEN);
    cr_assert_not_null(ttrpc_session_find(&rig.session, 11));
    cr_assert_null(ttrpc_session_find(&rig.session, 3));
    rig_done(&rig);
    buf_free(&b);
}

Test(ttrpc, unknown_frames_are_skipped)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&b, 4096);
    put_frame(&b, 1, 0, 0, "x", 1);
    put_frame(&b, 1, TTRPC_RESPONSE, 0, "x", 1);
    put_frame(&b, 1, 77, 255, "x", 1);
    put_request(&b, 1, 0, "s", "m", NULL);
    feed(&rig, &b);
    expect_log(&rig, "request 1 flags 0 s/m payload '' timeout 0\n");
    expect_output(&rig, "");
    rig_done(&rig);
    buf_free(&b);
}

// ---- streams -----------------------------------------------------------------------------------

Test(ttrpc, a_stream_from_both_sides)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&b, 4096);
    put_request(&b, 1, TTRPC_REMOTE_OPEN, "s", "Stream", NULL);
    put_frame(&b, 1, TTRPC_DATA, 0, "init", 4);
    put_frame(&b, 1, TTRPC_DATA, 0, "", 0);
    put_frame(&b, 1, TTRPC_DATA, TTRPC_NO_DATA, "junk", 4);
    put_frame(&b, 1, TTRPC_DATA, TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA, "", 0);
    put_frame(&b, 1, TTRPC_DATA, 0, "late", 4);
    feed(&rig, &b);
    expect_log(&rig, "request 1 flags 2 s/Stream payload '' timeout 0\n"
                     "data 1 'init'\n"
                     "data 1 ''\n"
                     "data 1 none end\n");
    cr_assert_eq(ttrpc_session_send(&rig.session, 1, (const uint8_t *)"hi", 2), 0);
    cr_assert_eq(ttrpc_session_send_end(&rig.session, 1), 0);
    cr_assert_eq(ttrpc_session_send(&rig.session, 1, NULL, 0), -EPIPE);
    cr_assert_eq(ttrpc_session_send_end(&rig.session, 1), -EPIPE);
    expect_output(&rig, "data 1 flags 0 'hi'\ndata 1 flags 5 ''\n");
    ttrpc_session_forget(&rig.session, 1);
    cr_assert_eq(ttrpc_session_send(&rig.session, 1, NULL, 0), -ENOENT);
    rig_done(&rig);
    buf_free(&b);
}

Test(ttrpc, data_with_the_end_and_server_streaming)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&b, 4096);
    put_request(&b, 1, TTRPC_REMOTE_OPEN, "s", "m", NULL);
    put_frame(&b, 1, TTRPC_DATA, TTRPC_REMOTE_CLOSED, "last", 4);
    put_request(&b, 3, TTRPC_REMOTE_CLOSED, "s", "m", "all");
    put_frame(&b, 3, TTRPC_DATA, 0, "never", 5);
    feed(&rig, &b);
    expect_log(&rig, "request 1 flags 2 s/m payload '' timeout 0\n"
                     "data 1 'last' end\n"
                     "request 3 flags 1 s/m payload 'all' timeout 0\n");
    rig_done(&rig);
    buf_free(&b);
}

Test(ttrpc, data_for_ids_without_stream)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_SERVER);
    rig.answer = true;
    buf_init(&b, 4096);
    put_request(&b, 5, TTRPC_REMOTE_OPEN, "s", "m", "done");
    put_frame(&b, 5, TTRPC_DATA, 5, "", 0);  // crossed our answer
    put_frame(&b, 3, TTRPC_DATA, 0, "x", 1); // skipped id: counts as finished
    put_frame(&b, 4, TTRPC_DATA, 0, "x", 1);
    put_frame(&b, 7, TTRPC_DATA, 0, "x", 1);
    feed(&rig, &b);
    rig.answer = false;
    buf_clear(&b);
    put_request(&b, 9, 0, "s", "m", NULL);
    put_frame(&b, 9, TTRPC_DATA, 0, "x", 1); // unary
    feed(&rig, &b);
    expect_log(&rig, "request 5 flags 2 s/m payload 'done' timeout 0\n"
                     "request 9 flags 0 s/m payload '' timeout 0\n");
    expect_output(&rig, "reply 5 'done'\n"
                        "error 4 3 no stream has the id 4\n"
                        "error 7 3 no stream has the id 7\n");
    cr_assert_eq(ttrpc_session_send(&rig.session, 9, NULL, 0), -ENOENT);
    rig_done(&rig);
    buf_free(&b);
}

// ---- sizes -------------------------------------------------------------------------------------

static void feed_zeros(struct rig *rig, size_t n)
{
    static const uint8_t zeros[65536];
    while (n) {
        size_t step = n < sizeof zeros ? n : sizeof zeros;
        cr_assert_eq(ttrpc_session_recv(&rig->session, zeros, step), 0);
        n -= step;
    }
}

Test(ttrpc, oversized_frames_go_by_in_constant_memory)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&b, 4096);
    put_request(&b, 1, TTRPC_REMOTE_OPEN, "s", "m", NULL);
    put_header(&b, TTRPC_FRAME_MAX + 1, 3, TTRPC_REQUEST, 0);
    feed(&rig, &b);
    feed_zeros(&rig, TTRPC_FRAME_MAX);
    cr_assert(ttrpc_session_partial(&rig.session));
    cr_assert_eq(rig.session.in.cap, 0);
    feed_zeros(&rig, 1);
    cr_assert_not(ttrpc_session_partial(&rig.session));

    buf_clear(&b);
    put_request(&b, 3, 0, "s", "m", NULL); // used up
    put_header(&b, 64u << 20, 1, TTRPC_DATA, 0);
    feed(&rig, &b);
    feed_zeros(&rig, 64u << 20);
    cr_assert_eq(rig.session.n_open, 0);
    buf_clear(&b);
    put_header(&b, UINT32_MAX, 8, TTRPC_REQUEST, 0);
    feed(&rig, &b);
    expect_log(&rig, "request 1 flags 2 s/m payload '' timeout 0\n"
                     "end 1 error 8 'message length 67108864 exceeds the maximum message size of "
                     "4194304'\n");
    expect_output(&rig,
                  "error 3 8 message length 4194305 exceeds the maximum message size of 4194304\n"
                  "error 3 3 stream id 3 of a request must be greater than the last one, 3\n"
                  "error 1 8 message length 67108864 exceeds the maximum message size of 4194304\n"
                  "error 8 3 stream id 8 of a request must be odd\n");
    rig_done(&rig);
    buf_free(&b);
}

Test(ttrpc, the_longest_frame_passes)
{
    struct rig rig, client;
    rig_init(&rig, TTRPC_SERVER);
    rig_init(&client, TTRPC_CLIENT);
    size_t len = TTRPC_FRAME_MAX - (3 + 3 + 5);
    uint8_t *payload = calloc(1, len + 1);
    struct ttrpc_request req = {.service = "s", .method = "m", .payload = payload};
    uint32_t id;
    req.payload_len = len + 1;
    cr_assert_eq(ttrpc_session_request(&client.session, &req, NULL, &id), -EMSGSIZE);
    req.payload_len = len;
    cr_assert_eq(ttrpc_session_request(&client.session, &req, NULL, &id), 0);
    cr_assert_eq(id, 1);
    size_t n;
    const uint8_t *out = ttrpc_session_output(&client.session, &n);
    cr_assert_eq(n, TTRPC_HEADER_LEN + TTRPC_FRAME_MAX);
    cr_assert_eq(ttrpc_session_recv(&rig.session, out, n), 0);
    cr_assert_eq(rig.session.n_open, 1);

    // An answer that fits, and one that does not.
    cr_assert_eq(ttrpc_session_reply(&rig.session, 1, payload, TTRPC_FRAME_MAX), 0);
    expect_output(&rig, "error 1 8 response of 4194309 bytes exceeds the maximum message size of "
                        "4194304\n");
    free(payload);
    rig_done(&rig);
    rig_done(&client);
}

Test(ttrpc, output_that_nobody_reads_breaks_the_session)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&b, 4096);
    put_request(&b, 1, TTRPC_REMOTE_OPEN, "s", "m", NULL);
    feed(&rig, &b);
    uint8_t *data = calloc(1, 1 << 20);
    int sent = 0, r;
    while (!(r = ttrpc_session_send(&rig.session, 1, data, 1 << 20)))
        sent++;
    cr_assert_eq(r, -ENOBUFS);
    cr_assert_eq(sent, 15);
    cr_assert_leq(ttrpc_session_memory(&rig.session), TTRPC_OUTPUT_MAX + 4096u);
    cr_assert_eq(ttrpc_session_recv(&rig.session, data, 1), -ENOBUFS);
    free(data);
    rig_done(&rig);
    buf_free(&b);
}

Test(ttrpc, frames_are_held_while_output_waits)
{
    struct rig rig, next;
    struct buf b, state;
    rig_init(&rig, TTRPC_SERVER), rig_init(&next, TTRPC_SERVER);
    buf_init(&b, 4096), buf_init(&state, 4 << 20);
    uint8_t *data = calloc(1, TTRPC_OUTPUT_PAUSE);
    put_request(&b, 1, TTRPC_REMOTE_OPEN, "s", "m", NULL);
    feed(&rig, &b);
    ttrpc_session_send(&rig.session, 1, data, TTRPC_OUTPUT_PAUSE);
    buf_clear(&b);
    put_frame(&b, 1, TTRPC_DATA, 0, "a", 1);
    put_frame(&b, 1, TTRPC_DATA, 0, "b", 1);
    buf_clear(&rig.log);
    feed(&rig, &b);
    expect_log(&rig, "");
    cr_assert(rig.session.held);
    cr_assert_eq(ttrpc_session_recv(&rig.session, NULL, 0), 0);
    expect_log(&rig, "");
    cr_assert_eq(ttrpc_session_export(&rig.session, &state), 0);

    ttrpc_session_sent(&rig.session, TTRPC_HEADER_LEN);
    cr_assert_eq(ttrpc_session_recv(&rig.session, NULL, 0), 0);
    expect_log(&rig, "data 1 'a'\ndata 1 'b'\n");
    cr_assert_not(rig.session.held);

    cr_assert_eq(ttrpc_session_import(&next.session, state.data, state.len), 0);
    ttrpc_session_sent(&next.session, TTRPC_HEADER_LEN);
    cr_assert_eq(ttrpc_session_recv(&next.session, NULL, 0), 0);
    expect_log(&next, "data 1 'a'\ndata 1 'b'\n");
    free(data);
    rig_done(&rig), rig_done(&next);
    buf_free(&b), buf_free(&state);
}

Test(ttrpc, output_may_be_sent_in_any_pieces)
{
    struct rig rig;
    struct buf b, got;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&b, 4096), buf_init(&got, 1 << 20);
    put_request(&b, 1, TTRPC_REMOTE_OPEN, "s", "m", NULL);
    feed(&rig, &b);
    uint32_t x = 1;
    for (int i = 0; i < 2000; i++) {
        uint8_t data[64];
        memset(data, i, sizeof data);
        x = x * 1664525 + 1013904223;
        cr_assert_eq(ttrpc_session_send(&rig.session, 1, data, x >> 26), 0);
        size_t len;
        const uint8_t *out = ttrpc_session_output(&rig.session, &len);
        size_t n = i == 1999 ? len : (x >> 8) % (len + 1) % 80;
        buf_append(&got, out, n);
        ttrpc_session_sent(&rig.session, n);
    }
    size_t at = 0;
    x = 1;
    for (int i = 0; i < 2000; i++) {
        x = x * 1664525 + 1013904223;
        cr_assert_eq(got.data[at + 3], x >> 26);
        for (size_t k = 0; k < x >> 26; k++)
            cr_assert_eq(got.data[at + TTRPC_HEADER_LEN + k], (uint8_t)i);
        at += TTRPC_HEADER_LEN + (x >> 26);
    }
    cr_assert_eq(at, got.len);
    cr_assert_eq(rig.session.out.cap, 0);
    rig_done(&rig);
    buf_free(&b), buf_free(&got);
}

// ---- the client --------------------------------------------------------------------------------

Test(ttrpc, client_requests_are_what_a_server_reads)
{
    struct rig server, client;
    rig_init(&server, TTRPC_SERVER), rig_init(&client, TTRPC_CLIENT);
    struct ttrpc_request req = {.service = "a.b",
                                .method = "Go",
                                .payload = (const uint8_t *)"p",
                                .payload_len = 1,
                                .timeout_nano = 5000000000,
                                .metadata = {{"k", "v"}, {"empty", ""}},
                                .metadata_len = 2};
    uint32_t id;
    for (uint32_t i = 0; i < MAX_OPEN; i++) {
        cr_assert_eq(ttrpc_session_request(&client.session, &req, NULL, &id), 0);
        cr_assert_eq(id, 1 + 2 * i);
    }
    cr_assert_eq(ttrpc_session_request(&client.session, &req, NULL, &id), -EBUSY);
    size_t len;
    const uint8_t *out = ttrpc_session_output(&client.session, &len);
    cr_assert_eq(ttrpc_session_recv(&server.session, out, len / MAX_OPEN), 0);
    expect_log(&server, "request 1 flags 0 a.b/Go payload 'p' timeout 5000000000 k=v empty=\n");
    client.session.last_id = UINT32_MAX;
    ttrpc_session_forget(&client.session, 1);
    cr_assert_eq(ttrpc_session_request(&client.session, &req, NULL, &id), -EOVERFLOW);
    rig_done(&server), rig_done(&client);
}

static void client_open(struct rig *client, int n, uint8_t flags)
{
    struct ttrpc_request req = {.service = "s", .method = "m", .flags = flags};
    uint32_t id;
    while (n--)
        cr_assert_eq(ttrpc_session_request(&client->session, &req, NULL, &id), 0);
}

Test(ttrpc, client_takes_answers_in_any_order)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_CLIENT);
    buf_init(&b, 4096);
    client_open(&rig, 4, 0);
    put_frame(&b, 5, TTRPC_RESPONSE, 0, "\x12\x02ok", 4);
    put_frame(&b, 1, TTRPC_RESPONSE, 0, "\x0a\x08\x08\x05\x12\x04gone", 10);
    put_frame(&b, 1, TTRPC_RESPONSE, 0, "\x12\x05again", 7); // late
    put_frame(&b, 9, TTRPC_RESPONSE, 0, "", 0);              // never asked
    put_frame(&b, 3, TTRPC_RESPONSE, 0, "\x0a\x02\x08\x00", 4);
    put_frame(&b, 7, TTRPC_RESPONSE, 0, "\x0a\x04\x08\x63\x12\x00", 6);
    feed(&rig, &b);
    expect_log(&rig, "end 5 'ok'\nend 1 error 5 'gone'\nend 3 ''\nend 7 error 2 ''\n");
    cr_assert_eq(rig.session.n_open, 0);
    rig_done(&rig);
    buf_free(&b);
}

Test(ttrpc, client_survives_bad_answers)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_CLIENT);
    buf_init(&b, 4096);
    client_open(&rig, 3, 0);
    put_frame(&b, 1, TTRPC_RESPONSE, 0, "\x12\x7f", 2);
    put_frame(&b, 3, TTRPC_RESPONSE, 0, "\x0a\x03\x12\x01\xff", 5);
    put_header(&b, TTRPC_FRAME_MAX + 1, 5, TTRPC_RESPONSE, 0);
    feed(&rig, &b);
    expect_log(&rig, "end 1 error 13 'the peer's response is no valid protobuf'\n"
                     "end 3 error 13 'the peer's response is no valid protobuf'\n"
                     "end 5 error 8 'message length 4194305 exceeds the maximum message size of "
                     "4194304'\n");
    feed_zeros(&rig, TTRPC_FRAME_MAX + 1);
    cr_assert_not(ttrpc_session_partial(&rig.session));
    rig_done(&rig);
    buf_free(&b);
}

Test(ttrpc, client_streams)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_CLIENT);
    buf_init(&b, 4096);
    client_open(&rig, 1, TTRPC_REMOTE_OPEN);
    cr_assert_eq(ttrpc_session_send(&rig.session, 1, (const uint8_t *)"x", 1), 0);
    put_frame(&b, 1, TTRPC_DATA, 0, "hello", 5);
    put_frame(&b, 1, TTRPC_DATA, 5, "", 0);
    put_frame(&b, 1, TTRPC_DATA, 0, "late", 4);
    feed(&rig, &b);
    expect_log(&rig, "data 1 'hello'\ndata 1 none end\n");
    cr_assert_eq(rig.session.n_open, 1, "half of it is open");
    cr_assert_eq(ttrpc_session_send(&rig.session, 1, (const uint8_t *)"y", 1), 0);
    cr_assert_eq(ttrpc_session_send_end(&rig.session, 1), 0);
    cr_assert_eq(rig.session.n_open, 0);
    cr_assert_eq(ttrpc_session_send(&rig.session, 1, (const uint8_t *)"z", 1), -ENOENT);

    client_open(&rig, 1, TTRPC_REMOTE_OPEN);
    cr_assert_eq(ttrpc_session_send_end(&rig.session, 3), 0);
    cr_assert_eq(rig.session.n_open, 1);
    buf_clear(&b);
    put_frame(&b, 3, TTRPC_DATA, 5, "", 0);
    feed(&rig, &b);
    expect_log(&rig, "data 3 none end\n");
    cr_assert_eq(rig.session.n_open, 0);
    rig_done(&rig);
    buf_free(&b);
}

Test(ttrpc, error_texts_are_always_utf8)
{
    struct rig rig;
    struct buf b;
    rig_init(&rig, TTRPC_SERVER);
    buf_init(&b, 4096);
    put_request(&b, 1, 0, "s", "m", NULL);
    feed(&rig, &b);
    struct error err = {STATUS_INTERNAL, "a\xff\xc3\xa4\xe2\x82"};
    ttrpc_session_fail(&rig.session, 1, &err);
    expect_output(&rig, "error 1 13 a?\xc3\xa4??\n");
    rig_done(&rig);
    buf_free(&b);
}

// ---- cuts and successors -----------------------------------------------------------------------

static void put_scenario(struct buf *b)
{
    put_request(b, 1, 0, "a.Service", "First", "payload");
    put_request(b, 3, TTRPC_REMOTE_OPEN, "a.Service", "Stream", NULL);
    put_frame(b, 3, TTRPC_DATA, 0, "one", 3);
    put_frame(b, 9, TTRPC_DATA, 0, "stray", 5);
    put_frame(b, 3, 99, 0, "unknown", 7);
    put_request(b, 4, 0, "s", "even", NULL);
    put_frame(b, 5, TTRPC_REQUEST, 0, "\xff\xff", 2);
    put_frame(b, 3, TTRPC_DATA, 5, "", 0);
    put_request(b, 7, 0, "s", "m", NULL);
    put_header(b, 0, 11, TTRPC_REQUEST, 0);
}

static void take_log(struct rig *rig, struct buf *log, struct buf *out)
{
    size_t len;
    const uint8_t *sent = ttrpc_session_output(&rig->session, &len);
    buf_append(log, rig->log.data, rig->log.len);
    buf_append(out, sent, len);
}

static void expect_same(const struct buf *a, const struct buf *b, size_t cut)
{
    cr_assert(a->len == b->len && !memcmp(a->data, b->data, a->len), "cut at %zu", cut);
}

Test(ttrpc, every_cut_gives_the_same)
{
    struct rig whole;
    struct buf b, log, out;
    buf_init(&b, 65536), buf_init(&log, 65536), buf_init(&out, 65536);
    put_scenario(&b);
    rig_init(&whole, TTRPC_SERVER);
    feed(&whole, &b);
    take_log(&whole, &log, &out);
    cr_assert_eq(whole.session.n_open, 3);

    // cut == len: byte by byte
    for (size_t cut = 0; cut <= b.len; cut++) {
        struct rig rig;
        struct buf log2, out2;
        buf_init(&log2, 65536), buf_init(&out2, 65536);
        rig_init(&rig, TTRPC_SERVER);
        for (size_t at = 0; at < b.len;) {
            size_t n = cut == b.len ? 1 : at < cut ? cut : b.len - at;
            feed(&rig, &(struct buf){.data = b.data + at, .len = n});
            at += n;
        }
        take_log(&rig, &log2, &out2);
        expect_same(&log, &log2, cut);
        expect_same(&out, &out2, cut);
        cr_assert_eq(rig.session.n_open, 3);
        rig_done(&rig);
        buf_free(&log2), buf_free(&out2);
    }
    rig_done(&whole);
    buf_free(&b), buf_free(&log), buf_free(&out);
}

Test(ttrpc, a_successor_goes_on_at_every_byte)
{
    struct rig whole;
    struct buf b, log, out;
    buf_init(&b, 65536), buf_init(&log, 65536), buf_init(&out, 65536);
    put_scenario(&b);
    rig_init(&whole, TTRPC_SERVER);
    feed(&whole, &b);
    take_log(&whole, &log, &out);

    for (size_t cut = 0; cut <= b.len; cut++) {
        struct rig old, new;
        struct buf log2, out2, state;
        buf_init(&log2, 65536), buf_init(&out2, 65536), buf_init(&state, 65536);
        rig_init(&old, TTRPC_SERVER), rig_init(&new, TTRPC_SERVER);
        feed(&old, &(struct buf){.data = b.data, .len = cut});
        buf_append(&log2, old.log.data, old.log.len);
        cr_assert_eq(ttrpc_session_export(&old.session, &state), 0);
        for (size_t n = 0; n < state.len; n++)
            cr_assert_eq(ttrpc_session_import(&new.session, state.data, n), -EINVAL);
        cr_assert_eq(ttrpc_session_import(&new.session, state.data, state.len), 0);
        feed(&new, &(struct buf){.data = b.data + cut, .len = b.len - cut});
        take_log(&new, &log2, &out2);
        expect_same(&log, &log2, cut);
        expect_same(&out, &out2, cut);
        cr_assert_eq(ttrpc_session_reply(&new.session, 1, NULL, 0), 0);
        rig_done(&old), rig_done(&new);
        buf_free(&log2), buf_free(&out2), buf_free(&state);
    }
    rig_done(&whole);
    buf_free(&b), buf_free(&log), buf_free(&out);
}

Test(ttrpc, a_successor_gets_a_discard_and_stream_ends)
{
    struct rig old, new, wrong;
    struct buf b, state;
    buf_init(&b, 65536), buf_init(&state, 65536);
    rig_init(&old, TTRPC_SERVER), rig_init(&new, TTRPC_SERVER), rig_init(&wrong, TTRPC_CLIENT);
    put_request(&b, 1, TTRPC_REMOTE_OPEN, "s", "m", NULL);
    put_frame(&b, 1, TTRPC_DATA, 5, "", 0);
    put_header(&b, TTRPC_FRAME_MAX + 10, 3, TTRPC_REQUEST, 0);
    feed(&old, &b);
    feed_zeros(&old, 10);
    read_output(&old);
    ttrpc_session_send_end(&old.session, 1);
    cr_assert_eq(ttrpc_session_export(&old.session, &state), 0);
    cr_assert_eq(ttrpc_session_import(&wrong.session, state.data, state.len), -EINVAL);
    cr_assert_eq(ttrpc_session_import(&new.session, state.data, state.len), 0);
    cr_assert_eq(new.session.discard, TTRPC_FRAME_MAX);
    feed_zeros(&new, TTRPC_FRAME_MAX);
    const struct ttrpc_open *o = ttrpc_session_find(&new.session, 1);
    cr_assert(o && o->streaming && o->remote_closed && o->local_closed);
    buf_clear(&b);
    put_request(&b, 5, 0, "s", "m", NULL);
    feed(&new, &b);
    expect_log(&new, "request 5 flags 0 s/m payload '' timeout 0\n");
    expect_output(&new, "data 1 flags 5 ''\n");
    rig_done(&old), rig_done(&new), rig_done(&wrong);
    buf_free(&b), buf_free(&state);
}
