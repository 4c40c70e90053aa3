// What stock containerd sent, frame by frame, against the gRPC session: every request must reach
// its method with the recorded path, namespace and message, and what goes back must have the shape
// that containerd accepted in the recording. Messages are answered with the recorded answers, so
// the DATA frames must be the recorded ones to the byte.
#include <criterion/criterion.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base64.h"
#include "rpc/grpc.h"

#define STREAMS_MAX 64

// One request of the recording and what became of it.
struct exchange {
    int32_t stream;
    char path[128], ns[64];
    struct bytes request, answer; // DATA frames; answer.data NULL: not answered in the recording
    bool ran;
    int frames; // of our answer, so far
};

struct replay {
    struct grpc_session *session;
    struct grpc_usage usage;
    struct exchange exchanges[STREAMS_MAX];
    size_t count, answered;
    int32_t current; // stream whose frame is being fed
    struct rpc_call *parked[STREAMS_MAX];
    size_t parked_count;
    nghttp2_hd_inflater *inflater;
    struct buf sent; // our bytes, from the first incomplete frame on
    unsigned settings, settings_acks, ping_acks, other;
};

// ---- reading the recording -------------------------------------------------------------------

static struct exchange *find(struct replay *r, int32_t stream)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->exchanges[i].stream == stream)
            return &r->exchanges[i];
    cr_assert_lt(r->count, STREAMS_MAX);
    r->exchanges[r->count].stream = stream;
    return &r->exchanges[r->count++];
}

static void note_headers(struct exchange *x, json_object *headers)
{
    for (size_t i = 0; i < json_object_array_length(headers); i++) {
        json_object *pair = json_object_array_get_idx(headers, i);
        const char *name = json_object_get_string(json_object_array_get_idx(pair, 0));
        const char *value = json_object_get_string(json_object_array_get_idx(pair, 1));
        if (strcmp(name, ":path") == 0)
            snprintf(x->path, sizeof x->path, "%s", value);
        if (strcmp(name, "containerd-namespace") == 0)
            snprintf(x->ns, sizeof x->ns, "%s", value);
    }
}

struct line {
    json_object *json;
    const char *dir, *type;
    int64_t stream;
    struct bytes frame;
};

static struct line parse_line(const char *text, size_t len)
{
    struct error err;
    struct line l = {.json = json_parse(text, len, "trace", &err)};
    const char *raw = "";
    cr_assert(l.json, "%s", err.text);
    cr_assert_eq(json_get_string(l.json, "dir", &l.dir, &err), 0);
    cr_assert_eq(json_get_string(l.json, "type", &l.type, &err), 0);
    cr_assert_eq(json_get_int(l.json, "stream", &l.stream, &err), 0);
    cr_assert_eq(json_get_string(l.json, "raw", &raw, &err), 0);
    l.frame = base64_bytes(raw);
    return l;
}

// Calls fn for every line of a recording.
static void each_line(const char *version, void (*fn)(struct replay *, struct line *),
                      struct replay *r)
{
    char path[512];
    snprintf(path, sizeof path, TEST_DATA "/protocol/traces/%s/http2-frames.jsonl", version);
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    cr_assert(f, "%s", path);
    _cleanup_free_ char *text = NULL;
    size_t size = 0;
    for (ssize_t n; (n = getline(&text, &size, f)) > 0;) {
        struct line l = parse_line(text, (size_t)n);
        fn(r, &l);
        free(l.frame.data);
        json_object_put(l.json);
    }
}

static void collect(struct replay *r, struct line *l)
{
    if (l->stream == 0)
        return;
    struct exchange *x = find(r, (int32_t)l->stream);
    bool from_client = strcmp(l->dir, "c2s") == 0;
    json_object *headers = NULL;
    if (strcmp(l->type, "HEADERS") == 0 && from_client) {
        cr_assert(json_object_object_get_ex(l->json, "headers", &headers));
        note_headers(x, headers);
    } else if (strcmp(l->type, "DATA") == 0) {
        struct bytes *f = from_client ? &x->request : &x->answer;
        cr_assert_null(f->data, "more than one DATA frame in stream %d", x->stream);
        f->len = l->frame.len;
        f->data = take_ptr(l->frame.data);
    }
}

// ---- the service -----------------------------------------------------------------------------

static void dispatch(struct rpc_call *call, const char *method, const uint8_t *data, size_t len,
                     void *ctx)
{
    struct replay *r = ctx;
    struct exchange *x = find(r, r->current);
    char path[128];
    snprintf(path, sizeof path, "/containerd.services.sandbox.v1.Controller/%s", method);
    cr_expect_str_eq(path, x->path);
    cr_expect_str_eq(rpc_call_metadata(call, "containerd-namespace"), x->ns);
    cr_assert_eq(len + 14, x->request.len);
    cr_expect_arr_eq(data, x->request.data + 14, len);
    cr_expect_not(x->ran);
    x->ran = true;
    if (x->answer.data)
        rpc_call_reply(call, x->answer.data + 14, x->answer.len - 14);
    else
        r->parked[r->parked_count++] = call;
}

// ---- our answers -----------------------------------------------------------------------------

#if NGHTTP2_VERSION_NUM >= 0x013c00
#define inflate_some nghttp2_hd_inflate_hd3
#else
#define inflate_some nghttp2_hd_inflate_hd2
#endif

// Decodes a header block to "name: value\n" lines.
static void inflate(struct replay *r, const uint8_t *block, size_t len, char *out, size_t size)
{
    size_t used = 0;
    for (int flags = 0; !(flags & NGHTTP2_HD_INFLATE_FINAL);) {
        nghttp2_nv nv;
        flags = 0;
        ssize_t n = inflate_some(r->inflater, &nv, &flags, block, len, 1);
        cr_assert_geq(n, 0);
        block += n;
        len -= (size_t)n;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            used += (size_t)snprintf(out + used, size - used, "%s: %s\n", (char *)nv.name,
                                     (char *)nv.value);
        cr_assert_lt(used, size);
    }
    nghttp2_hd_inflate_end_headers(r->inflater);
}

static void check_stream_frame(struct replay *r, const uint8_t *frame, size_t len, int32_t stream)
{
    char headers[512] = "";
    struct exchange *x = find(r, stream);
    if (frame[3] == NGHTTP2_HEADERS)
        inflate(r, frame + 9, len - 9, headers, sizeof headers);
    switch (x->frames++) {
    case 0:
        cr_expect_eq(frame[3], NGHTTP2_HEADERS);
        cr_expect_eq(frame[4], NGHTTP2_FLAG_END_HEADERS);
        cr_expect_str_eq(headers, ":status: 200\ncontent-type: application/grpc\n");
        break;
    case 1:
        cr_assert_eq(len, x->answer.len);
        cr_expect_arr_eq(frame, x->answer.data, len);
        break;
    case 2:
        cr_expect_eq(frame[3], NGHTTP2_HEADERS);
        cr_expect_eq(frame[4], NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM);
        cr_expect_str_eq(headers, "grpc-status: 0\n");
        r->answered++;
        break;
    default:
        cr_assert(false, "a frame after the end of stream %d", stream);
    }
}

static void check_frame(struct replay *r, const uint8_t *frame, size_t len)
{
    int32_t stream = frame[5] << 24 | frame[6] << 16 | frame[7] << 8 | frame[8];
    bool ack = frame[4] & NGHTTP2_FLAG_ACK;
    if (stream != 0 && frame[3] != NGHTTP2_WINDOW_UPDATE)
        check_stream_frame(r, frame, len, stream);
    else if (frame[3] == NGHTTP2_SETTINGS)
        *(ack ? &r->settings_acks : &r->settings) += 1;
    else if (frame[3] == NGHTTP2_PING && ack)
        r->ping_acks++;
    else if (frame[3] != NGHTTP2_WINDOW_UPDATE)
        r->other++;
}

static void take(struct replay *r)
{
    uint8_t out[1024];
    for (size_t n; (n = grpc_session_send(r->session, out, sizeof out)) > 0;)
        cr_assert_eq(buf_append(&r->sent, out, n), 0);
    while (r->sent.len >= 9) {
        const uint8_t *f = r->sent.data;
        size_t len = 9 + ((size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2]);
        if (len > r->sent.len)
            break;
        check_frame(r, f, len);
        buf_consume(&r->sent, len);
    }
}

// ---- the replay ------------------------------------------------------------------------------

static size_t piece; // bytes at a time

static unsigned pings; // the client's own

static void feed(struct replay *r, struct line *l)
{
    struct error err;
    if (strcmp(l->dir, "c2s") != 0)
        return;
    if (strcmp(l->type, "PING") == 0 && !(l->frame.data[4] & NGHTTP2_FLAG_ACK))
        pings++;
    r->current = (int32_t)l->stream;
    for (size_t at = 0; at < l->frame.len; at += piece) {
        size_t n = l->frame.len - at < piece ? l->frame.len - at : piece;
        cr_assert_eq(grpc_session_receive(r->session, l->frame.data + at, n, &err), 0, "%s",
                     err.text);
    }
    take(r);
}

static uint64_t still(void *arg)
{
    return 1;
}

static void no_wake(void *arg)
{
}

static void replay(const char *version, size_t bytes)
{
    struct replay r = {0};
    struct rpc_service service = {
        .name = "containerd.services.sandbox.v1.Controller", .dispatch = dispatch, .ctx = &r};
    const struct rpc_service *const services[] = {&service, NULL};
    piece = bytes;
    pings = 0;
    buf_init(&r.sent, 1 << 20);
    cr_assert_eq(nghttp2_hd_inflate_new(&r.inflater), 0);
    each_line(version, collect, &r);
    r.session = grpc_session_new(&(struct grpc_session_config){
        .services = services, .usage = &r.usage, .clock = still, .wake = no_wake});
    cr_assert(r.session);
    take(&r);
    cr_expect_eq(r.settings, 1, "SETTINGS must not wait for the client's");
    each_line(version, feed, &r);

    size_t complete = 0, answers = 0;
    for (size_t i = 0; i < r.count; i++) {
        complete += r.exchanges[i].request.data != NULL;
        answers += r.exchanges[i].answer.data != NULL;
        cr_expect_eq(r.exchanges[i].ran, r.exchanges[i].request.data != NULL, "stream %d (%s)",
                     r.exchanges[i].stream, r.exchanges[i].path);
    }
    cr_expect_geq(complete, 10);
    cr_expect_eq(r.answered, answers);
    cr_expect_eq(r.settings_acks, 1);
    cr_expect_eq(r.ping_acks, pings);
    cr_expect_geq(pings, 5);
    cr_expect_eq(r.other, 0);
    cr_expect_eq(grpc_session_calls(r.session), r.count - r.answered);
    grpc_session_close(r.session);
    while (r.parked_count > 0)
        rpc_call_reply(r.parked[--r.parked_count], NULL, 0);
    grpc_session_free(r.session);
    nghttp2_hd_inflate_del(r.inflater);
    buf_free(&r.sent);
    for (size_t i = 0; i < r.count; i++) {
        free(r.exchanges[i].request.data);
        free(r.exchanges[i].answer.data);
    }
}

Test(grpc_trace, containerd_2_3_4)
{
    replay("2.3.4", 1 << 20);
}

Test(grpc_trace, containerd_2_1_9)
{
    replay("2.1.9", 1 << 20);
}

Test(grpc_trace, in_small_pieces)
{
    replay("2.3.4", 1);
    replay("2.1.9", 7);
}
