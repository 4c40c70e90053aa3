// The gRPC session against an nghttp2 client: shapes of answers, the life of calls, time, the end.
#include "test_grpc_peer.h"

#define OK_HEADERS ":status: 200\ncontent-type: application/grpc\ngrpc-status: 0\n"
#define ERROR_HEADERS(status, message)                                                             \
    ":status: 200\ncontent-type: application/grpc\ngrpc-status: " status                           \
    "\ngrpc-message: " message "\n"

TestSuite(grpc, .timeout = 60);

Test(grpc, settings_come_first_and_name_no_stream_limit)
{
    struct peer *p = calloc(1, sizeof *p);
    peer_init(p);
    uint8_t out[256];
    size_t n = grpc_session_send(p->server, out, sizeof out);
    cr_assert_geq(n, 9);
    cr_assert_eq(out[3], NGHTTP2_SETTINGS);
    cr_assert_eq(out[4], 0);
    cr_assert_geq(grpc_h2_receive(p->client, out, n), 0);
    cr_assert_eq(p->setting_count, 3);
    for (size_t i = 0; i < p->setting_count; i++)
        cr_expect_neq(p->settings[i].settings_id, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    peer_free(p);
}

Test(grpc, success_is_headers_data_trailers)
{
    struct peer *p = peer_new();
    struct peer_reply *r = peer_call(p, "/t.T/Echo", "hello", 5, NULL);
    cr_expect_reply(r, "HDT", OK_HEADERS);
    cr_assert_eq(r->len, 10);
    cr_expect_arr_eq(r->data, "\0\0\0\0\5hello", 10);
    cr_expect_eq(grpc_session_calls(p->server), 0);
    peer_free(p);
}

Test(grpc, empty_message_still_has_its_prefix)
{
    struct peer *p = peer_new();
    struct peer_reply *r = peer_call(p, "/t.T/Echo", "", 0, NULL);
    cr_expect_reply(r, "HDT", OK_HEADERS);
    cr_assert_eq(r->len, 5);
    cr_expect_arr_eq(r->data, "\0\0\0\0\0", 5);
    peer_free(p);
}

Test(grpc, error_is_one_frame)
{
    struct peer *p = peer_new();
    struct peer_reply *r = peer_call(p, "/t.T/Fail", "x", 1, NULL);
    cr_expect_reply(r, "E", ERROR_HEADERS("6", "100%25 \"caf%C3%A9\"%0A"));
    peer_free(p);
}

Test(grpc, works_byte_by_byte)
{
    struct peer *p = calloc(1, sizeof *p);
    peer_init(p);
    p->chunk = 1;
    peer_pump(p);
    uint8_t big[3000];
    memset(big, 'b', sizeof big);
    struct peer_reply *r = peer_call(p, "/t.T/Echo", big, sizeof big, NULL);
    cr_expect_reply(r, "HDT", OK_HEADERS);
    cr_expect_eq(r->len, sizeof big + 5);
    peer_free(p);
}

Test(grpc, largest_message_passes_both_ways)
{
    struct peer *p = peer_new();
    uint8_t *big = malloc(GRPC_MESSAGE_MAX);
    memset(big, 'x', GRPC_MESSAGE_MAX);
    struct peer_reply *r = peer_call(p, "/t.T/Echo", big, GRPC_MESSAGE_MAX, NULL);
    cr_expect_eq(r->len, (size_t)GRPC_MESSAGE_MAX + 5);
    cr_expect(r->closed);
    cr_expect_str_eq(r->headers, OK_HEADERS);
    free(big);
    peer_free(p);
}

// ---- refused requests ------------------------------------------------------------------------

static void expect_refused(const char *path, const char *body, size_t len, const char *const *extra,
                           const char *headers)
{
    struct peer *p = peer_new();
    int32_t stream = peer_request(p, path, body, len, false, extra);
    peer_pump(p);
    struct peer_reply *r = peer_reply(p, stream);
    cr_expect_str_eq(r->headers, headers, "%s: %s", path, r->headers);
    cr_expect_eq(r->shape[0], 'E');
    cr_expect(r->closed);
    cr_expect_eq(p->runs, 0);
    cr_expect_eq(grpc_session_calls(p->server), 0);
    // The connection lives on.
    r = peer_call(p, "/t.T/Echo", "a", 1, NULL);
    cr_expect_str_eq(r->shape, "HDT");
    peer_free(p);
}

Test(grpc, refuses_unknown_services_and_methods)
{
    expect_refused("/t.U/Echo", "\0\0\0\0\0", 5, NULL,
                   ERROR_HEADERS("12", "unknown service (/t.U/Echo)"));
    expect_refused("/t.T/Nope", "\0\0\0\0\0", 5, NULL,
                   ERROR_HEADERS("12", "method Nope of service t.T is not implemented"));
    expect_refused("/Echo", "\0\0\0\0\0", 5, NULL,
                   ERROR_HEADERS("12", "malformed method name (/Echo)"));
}

Test(grpc, refuses_what_is_not_grpc)
{
    const char *const get[] = {":method", "GET", NULL};
    const char *const html[] = {"content-type", "text/html", NULL};
    const char *const longer[] = {"content-type", "application/grpcx", NULL};
    const char *const timeout[] = {"grpc-timeout", "soon", NULL};
    expect_refused("/t.T/Echo", "\0\0\0\0\0", 5, get,
                   ":status: 405\ncontent-type: application/grpc\ngrpc-status: 13\n"
                   "grpc-message: the request's method is not POST (/t.T/Echo)\n");
    expect_refused(
        "/t.T/Echo", "\0\0\0\0\0", 5, html,
        ":status: 415\ncontent-type: application/grpc\ngrpc-status: 3\n"
        "grpc-message: the request's content-type is not application/grpc (/t.T/Echo)\n");
    expect_refused(
        "/t.T/Echo", "\0\0\0\0\0", 5, longer,
        ":status: 415\ncontent-type: application/grpc\ngrpc-status: 3\n"
        "grpc-message: the request's content-type is not application/grpc (/t.T/Echo)\n");
    expect_refused("/t.T/Echo", "\0\0\0\0\0", 5, timeout,
                   ":status: 400\ncontent-type: application/grpc\ngrpc-status: 13\n"
                   "grpc-message: malformed grpc-timeout (/t.T/Echo)\n");
}

Test(grpc, refuses_wrong_messages)
{
    const char *const gzip[] = {"grpc-encoding", "gzip", NULL};
    expect_refused("/t.T/Echo", "", 0, NULL,
                   ERROR_HEADERS("13", "the request has no message (/t.T/Echo)"));
    expect_refused(
        "/t.T/Echo", "\0\0\0", 3, NULL,
        ERROR_HEADERS("13", "the request ended in the middle of its message (/t.T/Echo)"));
    expect_refused(
        "/t.T/Echo", "\0\0\0\0\2a", 6, NULL,
        ERROR_HEADERS("13", "the request ended in the middle of its message (/t.T/Echo)"));
    expect_refused(
        "/t.T/Echo", "\0\0\0\0\1a\0\0\0\0\0", 11, NULL,
        ERROR_HEADERS("13", "more than one request message for a unary method (/t.T/Echo)"));
    expect_refused("/t.T/Echo", "\1\0\0\0\1a", 6, NULL,
                   ERROR_HEADERS("12",
                                 "the request is compressed, and no decompressor is installed "
                                 "(/t.T/Echo)"));
    expect_refused(
        "/t.T/Echo", "\2\0\0\0\1a", 6, NULL,
        ERROR_HEADERS("13", "unknown payload format in the message's flag byte (/t.T/Echo)"));
    expect_refused("/t.T/Echo", "\0\0\0\0\1a", 6, gzip,
                   ERROR_HEADERS("12", "no decompressor for the request's grpc-encoding; send it "
                                       "uncompressed (/t.T/Echo)"));
}

Test(grpc, refuses_a_message_over_the_limit_by_its_prefix)
{
    struct peer *p = peer_new();
    // 16 MiB + 1, of which only the prefix ever comes.
    int32_t stream = peer_request(p, "/t.T/Echo", "\0\1\0\0\1", 5, true, NULL);
    peer_pump(p);
    struct peer_reply *r = peer_reply(p, stream);
    cr_expect_reply(
        r, "ER",
        ERROR_HEADERS("8", "the request message is larger than the limit of 16 MiB (/t.T/Echo)"));
    cr_expect_eq(r->reset, NGHTTP2_NO_ERROR);
    cr_expect_eq(p->usage.received, 0);
    peer_free(p);
}

// ---- metadata --------------------------------------------------------------------------------

Test(grpc, metadata_gives_the_first_value)
{
    struct peer *p = peer_new();
    const char *const extra[] = {"containerd-namespace", "k8s.io", "containerd-namespace",
                                 "default", NULL};
    struct peer_reply *r = peer_call(p, "/t.T/Meta", "containerd-namespace", 20, extra);
    cr_assert_eq(r->len, 11);
    cr_expect_arr_eq(r->data + 5, "k8s.io", 6);
    r = peer_call(p, "/t.T/Meta", ":path", 5, extra);
    cr_expect_str_eq(r->shape, "E");
    peer_free(p);
}

Test(grpc, header_lists_are_bounded)
{
    struct peer *p = peer_new();
    const char *many[2 * 70 + 1] = {NULL};
    for (int i = 0; i < 58; i++) {
        many[2 * i] = "x-a";
        many[2 * i + 1] = "b";
    }
    many[2 * 57] = NULL; // 7 + 57 fields
    cr_expect_str_eq(peer_call(p, "/t.T/Echo", "a", 1, many)->shape, "HDT");
    many[2 * 57] = "x-a";
    struct peer_reply *r = peer_call(p, "/t.T/Echo", "a", 1, many);
    cr_expect_reply(r, "E",
                    ERROR_HEADERS("8", "too many header fields in the request (/t.T/Echo)"));

    char *value = calloc(1, GRPC_HEADERS_MAX);
    memset(value, 'v', GRPC_HEADERS_MAX - 600);
    const char *const large[] = {"x-a", value, NULL};
    cr_expect_str_eq(peer_call(p, "/t.T/Echo", "a", 1, large)->shape, "HDT");
    memset(value, 'v', GRPC_HEADERS_MAX - 1);
    r = peer_call(p, "/t.T/Echo", "a", 1, large);
    cr_expect_reply(r, "E",
                    ERROR_HEADERS("8", "the request's header list is too large (/t.T/Echo)"));
    free(value);
    peer_free(p);
}

// ---- the life of calls -----------------------------------------------------------------------

Test(grpc, method_may_answer_later)
{
    struct peer *p = peer_new();
    struct peer_reply *r = peer_call(p, "/t.T/Wait", "", 0, NULL);
    cr_assert_eq(p->parked_count, 1);
    cr_expect_str_eq(r->shape, "");
    peer_at(p, p->now + 3600 * 1000);
    cr_expect_str_eq(r->shape, ""); // no deadline: parked for as long as it takes
    cr_expect_eq(grpc_session_deadline(p->server), GRPC_NEVER);
    unsigned wakes = p->wakes;
    rpc_call_reply(p->parked[0], (const uint8_t *)"done", 4);
    cr_expect_gt(p->wakes, wakes);
    peer_pump(p);
    cr_expect_reply(r, "HDT", OK_HEADERS);
    cr_expect_eq(r->len, 9);
    peer_free(p);
}

Test(grpc, reset_cancels_or_drops_the_answer)
{
    struct peer *p = peer_new();
    struct peer_reply *wait = peer_call(p, "/t.T/Wait", "", 0, NULL);
    struct peer_reply *slow = peer_call(p, "/t.T/Slow", "", 0, NULL);
    cr_assert_eq(p->parked_count, 2);
    nghttp2_submit_rst_stream(p->client, NGHTTP2_FLAG_NONE, wait->stream, NGHTTP2_CANCEL);
    nghttp2_submit_rst_stream(p->client, NGHTTP2_FLAG_NONE, slow->stream, NGHTTP2_CANCEL);
    peer_pump(p);
    cr_expect_eq(p->cancels, 1);
    cr_expect_eq(grpc_session_calls(p->server), 1);
    cr_assert_eq(p->parked_count, 1);
    rpc_call_reply(p->parked[0], (const uint8_t *)"late", 4);
    cr_expect_eq(grpc_session_calls(p->server), 0);
    peer_pump(p);
    cr_expect_str_eq(slow->shape, "");
    cr_expect_str_eq(peer_call(p, "/t.T/Echo", "a", 1, NULL)->shape, "HDT");
    peer_free(p);
}

Test(grpc, reset_together_with_the_request_runs_nothing)
{
    struct peer *p = peer_new();
    // Both frames reach the session in one piece.
    int32_t stream = peer_request(p, "/t.T/Slow", "\0\0\0\0\0", 5, false, NULL);
    struct buf bytes;
    buf_init(&bytes, 65536);
    const uint8_t *data;
    grpc_ssize n;
    while ((n = grpc_h2_send(p->client, &data)) > 0)
        buf_append(&bytes, data, (size_t)n);
    nghttp2_submit_rst_stream(p->client, NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
    while ((n = grpc_h2_send(p->client, &data)) > 0)
        buf_append(&bytes, data, (size_t)n);
    peer_give(p, bytes.data, bytes.len);
    cr_expect_eq(p->runs, 0);
    cr_expect_eq(grpc_session_calls(p->server), 0);
    buf_free(&bytes);
    peer_free(p);
}

Test(grpc, client_deadline_cancels_and_answers)
{
    struct peer *p = peer_new();
    const char *const timeout[] = {"grpc-timeout", "1500m", NULL};
    struct peer_reply *wait = peer_call(p, "/t.T/Wait", "", 0, timeout);
    struct peer_reply *slow = peer_call(p, "/t.T/Slow", "", 0, timeout);
    uint64_t when = grpc_session_deadline(p->server);
    cr_expect_eq(when, p->now + 1500);
    peer_at(p, when - 1);
    cr_expect_str_eq(wait->shape, "");
    peer_at(p, when);
    cr_expect_reply(wait, "E", ERROR_HEADERS("4", "the call's deadline has passed"));
    cr_expect_reply(slow, "E", ERROR_HEADERS("4", "the call's deadline has passed"));
    cr_expect_eq(p->cancels, 1);
    cr_assert_eq(p->parked_count, 1);
    cr_expect_eq(grpc_session_calls(p->server), 1);
    rpc_call_reply(p->parked[0], NULL, 0);
    peer_pump(p);
    cr_expect_str_eq(slow->shape, "E");
    cr_expect_eq(grpc_session_calls(p->server), 0);
    peer_free(p);
}

Test(grpc, expired_request_is_not_run)
{
    struct peer *p = peer_new();
    const char *const timeout[] = {"grpc-timeout", "0n", NULL};
    struct peer_reply *r = peer_call(p, "/t.T/Echo", "a", 1, timeout);
    cr_expect_reply(r, "E", ERROR_HEADERS("4", "the deadline had passed before the call began"));
    cr_expect_eq(p->runs, 0);
    peer_free(p);
}

static bool end_parked(struct peer *p)
{
    if (p->parked_count == 0)
        return false;
    rpc_call_reply(p->parked[--p->parked_count], NULL, 0);
    return true;
}

static void cancel_ends_others(struct rpc_call *call, void *arg)
{
    struct peer *p = arg;
    p->cancels++;
    while (end_parked(p))
        ;
}

Test(grpc, cancel_function_may_end_other_calls)
{
    struct peer *p = peer_new();
    const char *const timeout[] = {"grpc-timeout", "1S", NULL};
    for (int i = 0; i < 10; i++)
        peer_call(p, "/t.T/Slow", "", 0, timeout);
    struct rpc_call *first = p->parked[0];
    p->parked[0] = p->parked[--p->parked_count];
    rpc_call_on_cancel(first, cancel_ends_others, p);
    peer_at(p, p->now + 1000);
    cr_expect_eq(p->cancels, 1);
    cr_expect_eq(grpc_session_calls(p->server), 0);
    // All were due at once; those that ended in time have their answers.
    for (size_t i = 0; i < p->reply_count; i++)
        cr_expect_str_eq(p->replies[i].shape, i == 0 ? "E" : "HDT");
    for (int i = 0; i < 10; i++)
        peer_call(p, "/t.T/Slow", "", 0, NULL);
    rpc_call_on_cancel(p->parked[--p->parked_count], cancel_ends_others, p);
    grpc_session_close(p->server);
    cr_expect_eq(p->cancels, 2);
    cr_expect_eq(grpc_session_calls(p->server), 0);
    peer_free(p);
}

Test(grpc, close_cancels_and_waits_for_the_rest)
{
    struct peer *p = peer_new();
    peer_call(p, "/t.T/Slow", "", 0, NULL);
    peer_call(p, "/t.T/Wait", "", 0, NULL);
    peer_request(p, "/t.T/Echo", "\0\0\0\0\5he", 7, true, NULL);
    peer_pump(p);
    cr_expect_eq(grpc_session_calls(p->server), 3);
    grpc_session_close(p->server);
    cr_expect_eq(p->cancels, 1);
    cr_expect_eq(grpc_session_calls(p->server), 1);
    unsigned wakes = p->wakes;
    cr_assert(end_parked(p));
    cr_expect_gt(p->wakes, wakes);
    cr_expect_eq(grpc_session_calls(p->server), 0);
    peer_free(p);
}

Test(grpc, methods_may_outlive_the_session)
{
    struct peer *p = peer_new();
    peer_call(p, "/t.T/Slow", "", 0, NULL);
    struct rpc_call *call = p->parked[0];
    peer_free(p);
    rpc_call_reply(call, (const uint8_t *)"x", 1);
}

// ---- time ------------------------------------------------------------------------------------

Test(grpc, handshake_has_a_deadline)
{
    struct peer *p = calloc(1, sizeof *p);
    peer_init(p);
    p->now += GRPC_HANDSHAKE_MS - 1;
    cr_expect_eq(grpc_session_deadline(p->server), p->now + 1);
    cr_expect_eq(grpc_session_expire(p->server, &p->err), 0);
    // A preface without SETTINGS is no handshake.
    cr_expect_eq(grpc_session_receive(
                     p->server, (const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, &p->err),
                 0);
    p->now++;
    cr_expect_eq(grpc_session_expire(p->server, &p->err), -1);
    cr_expect_eq(p->err.status, STATUS_DEADLINE_EXCEEDED);
    peer_free(p);
}

Test(grpc, request_has_a_deadline)
{
    struct peer *p = peer_new();
    int32_t stream = peer_request(p, "/t.T/Echo", "\0\0\0\0\5he", 7, true, NULL);
    peer_pump(p);
    peer_at(p, p->now + GRPC_REQUEST_MS);
    struct peer_reply *r = peer_reply(p, stream);
    cr_expect_reply(r, "ER",
                    ERROR_HEADERS("4", "the request did not arrive within 60 seconds (/t.T/Echo)"));
    cr_expect_eq(p->usage.received, 0);
    peer_free(p);
}

Test(grpc, answer_that_nobody_takes_is_given_up)
{
    struct peer *p = peer_new();
    // A client that never opens its windows.
    nghttp2_settings_entry window = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0};
    nghttp2_submit_settings(p->client, NGHTTP2_FLAG_NONE, &window, 1);
    struct peer_reply *r = peer_call(p, "/t.T/Echo", "hello", 5, NULL);
    cr_expect_str_eq(r->shape, "H");
    cr_expect_eq(p->usage.pending, 10);
    peer_at(p, p->now + GRPC_ANSWER_MS + 10);
    cr_expect_str_eq(r->shape, "HR");
    cr_expect_eq(r->reset, NGHTTP2_CANCEL);
    cr_expect_eq(p->usage.pending, 0);
    cr_expect_eq(grpc_session_calls(p->server), 0);
    peer_free(p);
}

// ---- the end ---------------------------------------------------------------------------------

Test(grpc, drain_announces_twice_and_serves_what_is_open)
{
    struct peer *p = peer_new();
    struct peer_reply *r = peer_call(p, "/t.T/Wait", "", 0, NULL);
    grpc_session_drain(p->server);
    peer_pump(p);
    cr_assert_eq(p->goaways, 2);
    cr_expect_eq(p->goaway_last[0], INT32_MAX);
    cr_expect_eq(p->goaway_last[1], r->stream);
    cr_expect_eq(p->goaway_code, NGHTTP2_NO_ERROR);
    cr_expect_not(grpc_session_finished(p->server));
    cr_assert(end_parked(p));
    peer_pump(p);
    cr_expect_reply(r, "HDT", OK_HEADERS);
    cr_expect(grpc_session_finished(p->server));
    peer_free(p);
}

Test(grpc, drain_does_not_wait_for_a_silent_peer)
{
    struct peer *p = peer_new();
    grpc_session_drain(p->server);
    while (peer_take(p))
        ;
    cr_expect_eq(p->goaways, 1);
    cr_expect_not(grpc_session_finished(p->server));
    p->now += GRPC_GOAWAY_MS;
    cr_expect_leq(grpc_session_deadline(p->server), p->now);
    cr_expect_eq(grpc_session_expire(p->server, &p->err), 0);
    // nghttp2's client reads no further, so by hand: GOAWAY, last stream 0, NO_ERROR.
    uint8_t out[64];
    cr_assert_eq(grpc_session_send(p->server, out, sizeof out), 17);
    cr_expect_eq(out[3], NGHTTP2_GOAWAY);
    cr_expect_arr_eq(out + 9, "\0\0\0\0\0\0\0\0", 8);
    cr_expect(grpc_session_finished(p->server));
    peer_free(p);
}

Test(grpc, drain_still_serves_what_was_on_its_way)
{
    struct peer *p = peer_new();
    grpc_session_drain(p->server);
    // Sent before the client has seen the first GOAWAY.
    int32_t stream = peer_request(p, "/t.T/Echo", "\0\0\0\0\1a", 6, false, NULL);
    peer_pump(p);
    cr_expect_str_eq(peer_reply(p, stream)->shape, "HDT");
    cr_expect(grpc_session_finished(p->server));
    peer_free(p);
}

// ---- limits ----------------------------------------------------------------------------------

Test(grpc, many_streams_park_and_one_more_is_refused)
{
    struct peer *p = peer_new();
    for (int i = 0; i < GRPC_SESSION_CALLS_MAX; i++) {
        peer_request(p, "/t.T/Wait", "\0\0\0\0\0", 5, false, NULL);
        if (i % 32 == 31)
            peer_pump(p);
    }
    peer_pump(p);
    cr_expect_eq(grpc_session_calls(p->server), GRPC_SESSION_CALLS_MAX);
    cr_expect_eq(p->parked_count, GRPC_SESSION_CALLS_MAX);
    int32_t stream = peer_request(p, "/t.T/Wait", "\0\0\0\0\0", 5, false, NULL);
    p->replies[0] = (struct peer_reply){.stream = stream};
    p->reply_count = 1;
    peer_pump(p);
    cr_expect_str_eq(p->replies[0].shape, "R");
    cr_expect_eq(p->replies[0].reset, NGHTTP2_REFUSED_STREAM);
    cr_expect_eq(p->parked_count, GRPC_SESSION_CALLS_MAX);
    // The others are not disturbed.
    cr_assert(end_parked(p));
    peer_pump(p);
    cr_expect_eq(grpc_session_calls(p->server), GRPC_SESSION_CALLS_MAX - 1);
    grpc_session_close(p->server);
    cr_expect_eq(p->cancels, GRPC_SESSION_CALLS_MAX - 1);
    peer_free(p);
}

Test(grpc, received_bytes_are_bounded_over_all_calls)
{
    struct peer *p = peer_new();
    static uint8_t body[1 << 20];
    memcpy(body, "\0\0\x20\0\0", 5); // promises 2 MiB
    // What another session of the server holds.
    p->usage.received = GRPC_USAGE_RECEIVED_MAX - (1 << 19);
    int32_t stream = peer_request(p, "/t.T/Echo", body, sizeof body, true, NULL);
    peer_pump(p);
    struct peer_reply *r = peer_reply(p, stream);
    cr_expect_str_eq(r->shape, "ER");
    cr_expect(strstr(r->headers, "grpc-status: 8\n"));
    cr_expect_eq(p->usage.received, GRPC_USAGE_RECEIVED_MAX - (1 << 19));
    p->usage.received = 0;
    peer_free(p);
}

Test(grpc, pending_answers_are_bounded_over_all_calls)
{
    struct peer *p = peer_new();
    p->usage.pending = GRPC_USAGE_PENDING_MAX - 9;
    struct peer_reply *r = peer_call(p, "/t.T/Echo", "hello", 5, NULL);
    cr_expect_str_eq(r->shape, "E");
    cr_expect(strstr(r->headers, "grpc-status: 8\n"));
    p->usage.pending = 0;
    peer_free(p);
}
