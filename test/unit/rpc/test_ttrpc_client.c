// The ttrpc client against our server, and against peers of other manners.
#include "rpc/ttrpc_client.h"

#include "ttrpc_rig.h"

static struct ttrpc_client *client;
static struct {
    int answers, closed;
    enum status status;
    char text[ERROR_TEXT_MAX];
    size_t len;
} got;

static void on_closed(void *arg)
{
    got.closed++;
}

static void up(void)
{
    rig_up();
    client = ttrpc_client_new(rig.loop, rig.path, on_closed, NULL);
}

static void down(void)
{
    client = ttrpc_client_free(client);
    rig_down();
}

TestSuite(ttrpc_client, .init = up, .fini = down, .timeout = 60);

static void on_reply(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    got.answers++;
    got.status = err ? err->status : STATUS_OK;
    got.len = len;
    if (err)
        snprintf(got.text, sizeof got.text, "%s", err->text);
    else
        snprintf(got.text, sizeof got.text, "%.*s", (int)(len < 100 ? len : 100), data);
}

static uint64_t call(const char *method, const char *payload, double timeout, struct error *err)
{
    return ttrpc_client_call(client, "test.Service", method, (const uint8_t *)payload,
                             strlen(payload), timeout, NULL, on_reply, NULL, err);
}

static void expect_ok(const char *method, const char *payload, const char *want)
{
    struct error err;
    int before = got.answers;
    cr_assert_neq(call(method, payload, 5, &err), 0, "%s", err.text);
    cr_assert_eq(got.answers, before, "a completion comes from the loop");
    until(got.answers == before + 1);
    cr_assert_eq(got.status, STATUS_OK, "%s", got.text);
    cr_assert_str_eq(got.text, want);
}

Test(ttrpc_client, calls)
{
    expect_ok("Echo", "hello", "hello");
    expect_ok("Echo", "", "");
    call("Nothing", "", 0, NULL);
    until(got.answers == 3);
    cr_assert_eq(got.status, STATUS_UNIMPLEMENTED);
    call("Big", "", 0, NULL);
    until(got.answers == 4);
    cr_assert_eq(got.len, 3u << 20);
    cr_assert_eq(ttrpc_server_usage(rig.server).connections, 1);
}

Test(ttrpc_client, sends_metadata)
{
    const char *const pairs[] = {"containerd-namespace-ttrpc", "k8s.io", "b", "2", NULL};
    struct error err;
    cr_assert(ttrpc_client_call(client, "test.Service", "Metadata",
                                (const uint8_t *)"containerd-namespace-ttrpc", 26, 0, pairs,
                                on_reply, NULL, &err));
    until(got.answers == 1);
    cr_assert_str_eq(got.text, "k8s.io");
}

Test(ttrpc_client, nobody_listens)
{
    struct error err;
    rig.server = ttrpc_server_free(rig.server);
    cr_assert_eq(call("Echo", "x", 1, &err), 0);
    cr_assert_eq(err.status, STATUS_UNAVAILABLE);
    unlink(rig.path);
    cr_assert_eq(ttrpc_client_connect(client, &err), -1);
    cr_assert_eq(err.status, STATUS_UNAVAILABLE);
    rig_serve();
    expect_ok("Echo", "now", "now");
    cr_assert_eq(got.closed, 0);
}

Test(ttrpc_client, deadlines_hold_on_both_sides)
{
    call("Wait", "", 0.05, NULL);
    call("Keep", "", 0.05, NULL);
    until(got.answers == 2);
    cr_assert_eq(got.status, STATUS_DEADLINE_EXCEEDED);
    until(rig.cancelled == 1);
    reply_kept(1, "late, and dropped");
    expect_ok("Echo", "next", "next");
    cr_assert_eq(got.answers, 3);
    cr_assert_eq(ttrpc_server_usage(rig.server).requests, 0);
}

Test(ttrpc_client, a_lost_connection_fails_the_calls_and_comes_back)
{
    call("Keep", "", 0, NULL);
    call("Keep", "", 0, NULL);
    until(rig.n_kept == 2);
    rig.server = ttrpc_server_free(rig.server);
    until(got.closed == 1);
    cr_assert_eq(got.answers, 2);
    cr_assert_eq(got.status, STATUS_UNAVAILABLE);
    unlink(rig.path);
    rig_serve();
    expect_ok("Echo", "back", "back");
    cr_assert_eq(got.closed, 1);
}

Test(ttrpc_client, a_thousand_calls_at_once)
{
    struct error err;
    for (int i = 0; i < 1000; i++)
        cr_assert(call("Keep", "", 10, &err));
    until(rig.n_kept == 1000);
    for (int i = 1000; i-- > 0;)
        reply_kept(i, "x");
    until(got.answers == 1000);
    cr_assert_str_eq(got.text, "x");
}

Test(ttrpc_client, forgets)
{
    struct error err;
    uint64_t one = call("Keep", "", 0.05, &err), two = call("Keep", "", 0, &err);
    cr_assert(one && two && one != two);
    ttrpc_client_forget(client, one);
    ttrpc_client_forget(client, one);
    ttrpc_client_forget(client, 12345);
    until(rig.n_kept == 2);
    reply_kept(0, "unwanted");
    reply_kept(1, "wanted");
    until(got.answers == 1);
    run_for(0.1);
    cr_assert_eq(got.answers, 1);
    cr_assert_str_eq(got.text, "wanted");
}

Test(ttrpc_client, limits)
{
    struct error err;
    uint8_t *payload = calloc(1, TTRPC_FRAME_MAX);
    cr_assert_eq(ttrpc_client_call(client, "test.Service", "Echo", payload, TTRPC_FRAME_MAX, 0,
                                   NULL, on_reply, NULL, &err),
                 0);
    cr_assert_eq(err.status, STATUS_RESOURCE_EXHAUSTED);
    const char *pairs[2 * TTRPC_METADATA_MAX + 3] = {NULL};
    for (int i = 0; i < 2 * TTRPC_METADATA_MAX + 2; i++)
        pairs[i] = "x";
    cr_assert_eq(ttrpc_client_call(client, "test.Service", "Echo", payload, 0, 0, pairs, on_reply,
                                   NULL, &err),
                 0);
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    // The loop does not run: what the socket does not take is kept, up to a limit.
    int sent = 0;
    while (ttrpc_client_call(client, "test.Service", "Echo", payload, 1 << 20, 0, NULL, on_reply,
                             NULL, &err))
        sent++;
    cr_assert_eq(err.status, STATUS_RESOURCE_EXHAUSTED);
    cr_assert(sent >= 15 && sent < 20);
    until(got.answers == sent);
    expect_ok("Echo", "still good", "still good");

    sent = got.answers;
    while (call("Nothing", "", 0, &err))
        sent++;
    cr_assert_eq(err.status, STATUS_RESOURCE_EXHAUSTED);
    cr_assert_eq(sent - got.answers, TTRPC_CLIENT_CALLS_MAX);
    until(got.answers == sent);
    free(payload);
}

// ---- callbacks that act ------------------------------------------------------------------------

static void free_client(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    client = ttrpc_client_free(client);
    if (!err)
        cr_assert_eq(data[0], '1', "the answer is still valid");
    on_reply(data, len, err, arg);
}

Test(ttrpc_client, is_freed_by_an_answer)
{
    struct error err;
    ttrpc_client_call(client, "test.Service", "Echo", (const uint8_t *)"1", 1, 0, NULL, free_client,
                      NULL, &err);
    call("Echo", "2", 0, &err);
    call("Echo", "3", 1, &err);
    until(got.answers == 3);
    cr_assert(got.status == STATUS_OK || got.status == STATUS_CANCELLED);
    run_for(0.02);
    cr_assert_eq(got.answers, 3);
}

Test(ttrpc_client, is_freed_while_its_calls_fail)
{
    struct error err;
    call("Keep", "", 0, &err);
    ttrpc_client_call(client, "test.Service", "Keep", NULL, 0, 0, NULL, free_client, NULL, &err);
    call("Keep", "", 1, &err);
    until(rig.n_kept == 3);
    rig.server = ttrpc_server_free(rig.server);
    until(got.answers == 3);
    cr_assert_eq(got.status, STATUS_UNAVAILABLE); // of the one that freed, after the others
    run_for(0.02);
    cr_assert_eq(got.closed, 0);
    cr_assert_eq(got.answers, 3);
}

static void free_by_timeout(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    cr_assert_eq(err->status, STATUS_DEADLINE_EXCEEDED);
    free_client(data, len, err, arg);
}

Test(ttrpc_client, is_freed_by_a_timeout)
{
    struct error err;
    ttrpc_client_call(client, "test.Service", "Keep", NULL, 0, 0.02, NULL, free_by_timeout, NULL,
                      &err);
    call("Keep", "", 0, &err);
    until(got.answers == 2);
}

static void retry(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    struct error again;
    on_reply(data, len, err, arg);
    ttrpc_client_forget(client, *(uint64_t *)arg);
    cr_assert_neq(call("Echo", "second try", 5, &again), 0);
}

Test(ttrpc_client, calls_again_and_forgets_while_calls_fail)
{
    struct error err;
    uint64_t third = 0;
    call("Keep", "", 0, &err);
    ttrpc_client_call(client, "test.Service", "Keep", NULL, 0, 0, NULL, retry, &third, &err);
    third = call("Keep", "", 0, &err);
    until(rig.n_kept == 3);
    rig.server = ttrpc_server_free(rig.server);
    unlink(rig.path);
    rig_serve();
    until(got.answers == 3);
    cr_assert_eq(got.closed, 1);
    cr_assert_str_eq(got.text, "second try");
}

// ---- a peer of our own -------------------------------------------------------------------------

Test(ttrpc_client, survives_a_peer_that_talks_nonsense)
{
    struct error err;
    rig.server = ttrpc_server_free(rig.server);
    unlink(rig.path);
    _cleanup_close_ int listener = rpc_listen_unix(rig.path, &err);
    call("Echo", "1", 0, &err);
    call("Echo", "2", 0, &err);
    _cleanup_close_ int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    const char nonsense[] = "\0\0\0\1\0\0\0\1\2\0\xff"      // no protobuf
                            "\0\0\0\0\0\0\0\7\2\0"          // never asked
                            "\0\0\0\4\0\0\0\1\3\0data"      // data without stream
                            "\0\0\0\4\0\0\0\2\1\0\x0a\2s\0" // a request
                            "\0\0\0\4\0\0\0\3\2\0\x12\2ok";
    cr_assert_gt(send(fd, nonsense, sizeof nonsense - 1, 0), 0);
    until(got.answers == 2);
    cr_assert_eq(got.status, STATUS_OK);
    cr_assert_str_eq(got.text, "ok");
    call("Echo", "3", 0, &err);
    send(fd, "\0\0", 2, 0);
    close_fd(&fd);
    until(got.answers == 3);
    cr_assert_eq(got.status, STATUS_UNAVAILABLE);
    cr_assert_eq(got.closed, 1);
}
