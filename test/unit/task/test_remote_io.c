// The host's side of a remote process's stdio, against the side that the process has: bytes from
// pipe to pipe through two task servers, and peers that do not keep to what they may.
#include "task/remote_io.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "stream_peer.h"
#include "task/stream_io.h"

TestSuite(remote_io, .timeout = 60);

struct place {
    struct stream_place w;
    struct ttrpc_client *client;
    struct stream_out *guest_out;
    struct stream_in *guest_in;
    struct remote_out *out;
    struct remote_in *in;
    int process, outer; // the process's end of its pipe; the end of whoever looks from outside
    unsigned over, handed;
};

static void on_over(void *arg)
{
    ((struct place *)arg)->over++;
}

static void on_handed(void *arg)
{
    ((struct place *)arg)->handed++;
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

static void make_pipe(int ends[2])
{
    cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
}

static void up(struct place *t)
{
    *t = (struct place){.process = -1, .outer = -1};
    stream_place_up(&t->w);
    t->client = ttrpc_client_new(t->w.loop, t->w.path, NULL, NULL);
}

static void down(struct place *t)
{
    remote_out_free(t->out);
    remote_in_free(t->in);
    ttrpc_client_free(t->client);
    run_in(t->w.loop, 0.02);
    stream_out_free(t->guest_out);
    stream_in_free(t->guest_in);
    close_fd(&t->process);
    close_fd(&t->outer);
    stream_place_down(&t->w);
}

static void output_up(struct place *t)
{
    struct error err = {0};
    int there[2], here[2];
    up(t);
    make_pipe(there);
    make_pipe(here);
    t->process = there[1];
    t->outer = here[0];
    t->out = remote_out_new(t->w.loop, t->client, "s1-stdout", here[1], on_over, t, &err);
    cr_assert(t->out, "%s", err.text);
    until_in(t->w.loop, streams_parked(t->w.streams) == 1);
    run_in(t->w.loop, 0.02);
    t->guest_out =
        stream_out_new(t->w.loop, t->w.streams, "s1-stdout", there[0], on_handed, t, &err);
    cr_assert(t->guest_out, "%s", err.text);
}

static void input_up(struct place *t)
{
    struct error err = {0};
    int there[2], here[2];
    up(t);
    make_pipe(there);
    make_pipe(here);
    t->process = there[0];
    t->outer = here[1];
    t->in = remote_in_new(t->w.loop, t->client, "s1-stdin", here[0], &err);
    cr_assert(t->in, "%s", err.text);
    until_in(t->w.loop, streams_parked(t->w.streams) == 1);
    run_in(t->w.loop, 0.02);
    t->guest_in = stream_in_new(t->w.loop, t->w.streams, "s1-stdin", there[1], &err);
    cr_assert(t->guest_in, "%s", err.text);
}

static void put(int fd, size_t *at, size_t end)
{
    uint8_t bytes[4096];
    size_t n = end - *at < sizeof bytes ? end - *at : sizeof bytes;
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(*at + i);
    ssize_t r = n ? write(fd, bytes, n) : 0;
    cr_assert(r >= 0 || errno == EAGAIN);
    *at += r > 0 ? (size_t)r : 0;
}

// Reads at most `most`; false at the end.
static bool take(int fd, size_t *at, size_t most)
{
    uint8_t bytes[4096];
    ssize_t n = read(fd, bytes, most < sizeof bytes ? most : sizeof bytes);
    cr_assert(n >= 0 || errno == EAGAIN);
    for (ssize_t i = 0; i < n; i++)
        cr_assert_eq(bytes[i], byte_at(*at + (size_t)i), "byte %zu", *at + (size_t)i);
    *at += n > 0 ? (size_t)n : 0;
    return n != 0;
}

Test(remote_io, every_byte_of_output_comes_and_then_the_end)
{
    struct place t;
    const size_t total = 5 << 20;
    size_t written = 0, got = 0;
    output_up(&t);
    while (got < total) {
        put(t.process, &written, total);
        take(t.outer, &got, 4096);
        ev_run(t.w.loop, EVRUN_NOWAIT);
    }
    cr_assert_eq(t.over, 0);
    cr_assert_not(stream_out_handed(t.guest_out));
    close_fd(&t.process);
    until_in(t.w.loop, t.over == 1);
    cr_assert(remote_out_is_over(t.out));
    cr_assert_not(take(t.outer, &got, 1), "the end of the file");
    until_in(t.w.loop, stream_out_handed(t.guest_out));
    down(&t);
}

Test(remote_io, a_reader_that_stalls_stops_the_process_and_loses_nothing)
{
    struct place t;
    const size_t total = 3 << 20;
    size_t written = 0, got = 0, before = 0;
    output_up(&t);
    for (int idle = 0; idle < 200; idle = written == before ? idle + 1 : 0) {
        before = written;
        put(t.process, &written, total);
        ev_run(t.w.loop, EVRUN_NOWAIT);
    }
    // Two pipes and two windows.
    cr_assert_lt(written, 512u << 10);
    // The end comes while everything is on its way.
    close_fd(&t.process);
    stream_out_exited(t.guest_out);
    run_in(t.w.loop, 0.05);
    cr_assert_eq(t.over, 0);
    while (got < written) {
        take(t.outer, &got, 1000);
        ev_run(t.w.loop, EVRUN_NOWAIT);
    }
    until_in(t.w.loop, t.over == 1);
    down(&t);
}

Test(remote_io, every_byte_of_input_comes_and_then_the_end)
{
    struct place t;
    const size_t total = 5 << 20;
    size_t written = 0, got = 0;
    input_up(&t);
    while (got < total) {
        put(t.outer, &written, total);
        take(t.process, &got, 3000);
        ev_run(t.w.loop, EVRUN_NOWAIT);
    }
    close_fd(&t.outer);
    for (bool open = true; open; ev_run(t.w.loop, EVRUN_NOWAIT))
        open = take(t.process, &got, 1);
    cr_assert_eq(got, total);
    down(&t);
}

Test(remote_io, a_process_that_wants_no_more_input_ends_it)
{
    struct place t;
    size_t written = 0;
    input_up(&t);
    stream_in_exited(t.guest_in);
    run_in(t.w.loop, 0.05);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 1000 && errno != EPIPE; i++) {
        uint8_t byte = 0;
        written += write(t.outer, &byte, 1) == 1;
        ev_run(t.w.loop, EVRUN_NOWAIT);
    }
    cr_assert_eq(errno, EPIPE, "%zu bytes were taken", written);
    down(&t);
}

Test(remote_io, a_lost_connection_is_the_end_of_the_output)
{
    struct place t;
    size_t written = 0, got = 0;
    output_up(&t);
    put(t.process, &written, 100);
    until_in(t.w.loop, (take(t.outer, &got, 100), got == 100));
    t.client = ttrpc_client_free(t.client);
    until_in(t.w.loop, t.over == 1);
    cr_assert_not(take(t.outer, &got, 1));
    down(&t);
}

// ---- peers of other manners ---------------------------------------------------------------------

static struct {
    struct rpc_stream *stream;
    unsigned messages, ended;
} bad;

static void bad_message(struct rpc_stream *s, const uint8_t *data, size_t len, void *arg)
{
    bad.messages++;
}

static void bad_ended(struct rpc_stream *s, void *arg)
{
    bad.ended++;
}

static void bad_closed(struct rpc_stream *s, const struct error *err, void *arg)
{
    bad.ended++;
    bad.stream = NULL;
}

static const struct rpc_stream_events bad_events = {
    .message = bad_message, .half_closed = bad_ended, .closed = bad_closed};

static void bad_open(struct rpc_stream *s, const uint8_t *payload, size_t len, void *ctx)
{
    rpc_stream_take(s, &bad_events, NULL);
    bad.stream = s;
}

static const struct rpc_stream_method bad_methods[] = {
    {SERVICE_STREAMING, "Stream", bad_open, NULL}, {NULL, NULL, NULL, NULL}};

static void bad_up(struct place *t, int *ret_fd)
{
    int here[2];
    up(t);
    memset(&bad, 0, sizeof bad);
    ttrpc_server_set_streams(t->w.server, bad_methods);
    make_pipe(here);
    t->outer = here[0];
    *ret_fd = here[1];
}

static void bad_data(size_t len)
{
    static uint8_t bytes[STREAM_HEADER_MAX + 128 * 1024];
    size_t header = stream_data_header(bytes + STREAM_HEADER_MAX, len);
    (void)rpc_stream_send(bad.stream, bytes + STREAM_HEADER_MAX - header, header + len);
}

Test(remote_io, output_beyond_the_window_ends_the_stream)
{
    struct place t;
    struct error err = {0};
    int fd;
    bad_up(&t, &fd);
    t.out = remote_out_new(t.w.loop, t.client, "s1-stdout", fd, on_over, &t, &err);
    until_in(t.w.loop, bad.messages == 2); // its name and its window
    for (int i = 0; i < 8 && bad.stream; i++)
        bad_data(32 * 1024); // nobody reads the pipe: 64 KiB are in it, 64 KiB are kept
    until_in(t.w.loop, t.over == 1);
    until_in(t.w.loop, bad.ended);
    down(&t);
}

Test(remote_io, nonsense_ends_the_stream)
{
    struct place t;
    struct error err = {0};
    int fd;
    bad_up(&t, &fd);
    t.out = remote_out_new(t.w.loop, t.client, "s1-stdout", fd, on_over, &t, &err);
    until_in(t.w.loop, bad.messages == 2);
    (void)rpc_stream_send(bad.stream, (const uint8_t *)"\xff\xff\xff", 3);
    until_in(t.w.loop, t.over == 1);
    down(&t);
}

Test(remote_io, no_more_input_is_sent_than_is_taken)
{
    struct place t;
    struct error err = {0};
    int here[2];
    uint8_t update[STREAM_SMALL_MAX], bytes[1000] = {0};
    up(&t);
    memset(&bad, 0, sizeof bad);
    ttrpc_server_set_streams(t.w.server, bad_methods);
    make_pipe(here);
    t.outer = here[1];
    t.in = remote_in_new(t.w.loop, t.client, "s1-stdin", here[0], &err);
    until_in(t.w.loop, bad.messages == 1); // its name
    cr_assert_eq(write(t.outer, bytes, sizeof bytes), (ssize_t)sizeof bytes);
    run_in(t.w.loop, 0.05);
    cr_assert_eq(bad.messages, 1, "nothing was allowed");
    for (int i = 0; i < 3; i++) {
        (void)rpc_stream_send(bad.stream, update, stream_update_encode(update, 10));
        until_in(t.w.loop, bad.messages == 2u + (unsigned)i);
    }
    // A grant without end is counted to a limit.
    for (int i = 0; i < 3; i++)
        (void)rpc_stream_send(bad.stream, update, stream_update_encode(update, INT32_MAX));
    until_in(t.w.loop, bad.messages == 5);
    down(&t);
}
