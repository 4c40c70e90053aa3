// Bytes between pipes and streams: all of them, in order, with bounds on both sides.
#include "task/stream_io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "stream_peer.h"

TestSuite(stream_io, .timeout = 60);

struct output {
    struct stream_place w;
    struct stream_peer p;
    struct stream_out *o;
    int process; // the writing end
    unsigned told;
};

static void on_handed(void *arg)
{
    ((struct output *)arg)->told++;
}

static void output_up(struct output *t)
{
    struct error err = {0};
    int ends[2];
    *t = (struct output){0};
    stream_place_up(&t->w);
    stream_peer_opened(&t->p, t->w.loop, t->w.path, "c1-stdout");
    cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    t->process = ends[1];
    t->o = stream_out_new(t->w.loop, t->w.streams, "c1-stdout", ends[0], on_handed, t, &err);
    cr_assert(t->o, "%s", err.text);
}

static void output_down(struct output *t)
{
    stream_out_free(t->o);
    close_fd(&t->process);
    stream_peer_close(&t->p);
    stream_place_down(&t->w);
}

// The same byte at the same place, always.
static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

// Writes what the pipe takes of the bytes from *at to `end`.
static void process_writes(int fd, size_t *at, size_t end)
{
    uint8_t bytes[4096];
    size_t n = end - *at < sizeof bytes ? end - *at : sizeof bytes;
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(*at + i);
    ssize_t r = n ? write(fd, bytes, n) : 0;
    cr_assert(r >= 0 || errno == EAGAIN);
    *at += r > 0 ? (size_t)r : 0;
}

static void check_bytes(const uint8_t *data, size_t len, size_t first)
{
    for (size_t i = 0; i < len; i++)
        cr_assert_eq(data[i], byte_at(first + i), "byte %zu", first + i);
}

Test(stream_io, every_byte_comes_and_then_the_end)
{
    struct output t;
    const size_t total = 5 << 20;
    size_t written = 0, allowed = 0;
    output_up(&t);
    while (t.p.got.len < total) {
        process_writes(t.process, &written, total);
        if (allowed < t.p.got.len + STREAM_WINDOW) { // as containerd does
            stream_peer_allow(&t.p, STREAM_WINDOW);
            allowed += STREAM_WINDOW;
        }
        ev_run(t.w.loop, EVRUN_NOWAIT);
        cr_assert_leq(t.p.got.len, allowed);
    }
    check_bytes(t.p.got.data, total, 0);
    cr_expect_leq(t.p.largest, STREAM_DATA_MAX);
    run_in(t.w.loop, 0.05);
    cr_expect(!t.p.ended, "the pipe is open");
    stream_out_exited(t.o);
    close_fd(&t.process);
    until_in(t.w.loop, t.p.ended);
    run_in(t.w.loop, 0.05);
    cr_expect(!stream_out_handed(t.o), "sent is not read");
    stream_peer_end(&t.p);
    until_in(t.w.loop, t.told);
    cr_expect(stream_out_handed(t.o));
    cr_expect_eq(t.p.got.len, total);
    output_down(&t);
}

static size_t fill(struct output *t)
{
    size_t written = 0, before;
    do {
        before = written;
        process_writes(t->process, &written, SIZE_MAX);
        run_in(t->w.loop, 0.002);
    } while (written > before && written < 64 << 20);
    return written;
}

// An exit need not wait for a reader that comes back.
Test(stream_io, a_reader_that_is_lost_for_good_has_had_all)
{
    struct output t;
    output_up(&t);
    streams_set_once(t.w.streams);
    process_writes(t.process, &(size_t){0}, 100);
    stream_peer_close(&t.p);
    until_in(t.w.loop, t.told);
    cr_expect(stream_out_handed(t.o));
    stream_peer_opened(&t.p, t.w.loop, t.w.path, "c2-stdout");
    output_down(&t);
}

Test(stream_io, a_reader_that_allows_nothing_stops_the_process)
{
    struct output t;
    output_up(&t);
    cr_expect_leq(fill(&t), 65536, "a pipe, nothing more");
    output_down(&t);
}

Test(stream_io, a_reader_that_allows_and_does_not_read_stops_it_too)
{
    struct output t;
    output_up(&t);
    stream_peer_allow(&t.p, INT32_MAX);
    ev_io_stop(t.w.loop, &t.p.io);
    size_t written = fill(&t);
    cr_expect_geq(written, STREAM_UNSENT_MAX);
    cr_expect_leq(written, 2 << 20, "the pipe, the socket and the bound: %zu", written);
    cr_expect_leq(ttrpc_server_usage(t.w.server).memory, 1 << 20);
    ev_io_start(t.w.loop, &t.p.io);
    until_in(t.w.loop, t.p.got.len == written);
    check_bytes(t.p.got.data, written, 0);
    output_down(&t);
}

Test(stream_io, output_waits_for_the_next_connection)
{
    struct output t;
    size_t written = 0;
    output_up(&t);
    stream_peer_close(&t.p);
    run_in(t.w.loop, 0.05);
    while (written < 50000)
        process_writes(t.process, &written, 50000);
    stream_out_exited(t.o);
    close_fd(&t.process);
    run_in(t.w.loop, 0.1);
    cr_expect(!stream_out_handed(t.o));
    stream_peer_opened(&t.p, t.w.loop, t.w.path, "c1-stdout");
    stream_peer_allow(&t.p, STREAM_WINDOW);
    until_in(t.w.loop, t.p.ended);
    cr_expect_eq(t.p.got.len, 50000);
    check_bytes(t.p.got.data, 50000, 0);
    stream_peer_end(&t.p);
    until_in(t.w.loop, stream_out_handed(t.o));
    output_down(&t);
}

Test(stream_io, somebody_else_who_holds_the_pipe_does_not_hold_the_exit)
{
    struct output t;
    output_up(&t);
    stream_peer_allow(&t.p, STREAM_WINDOW);
    cr_assert_eq(write(t.process, "last words", 10), 10);
    stream_out_exited(t.o);
    until_in(t.w.loop, t.told);
    cr_expect(stream_out_handed(t.o));
    cr_expect_eq(t.p.got.len, 10);
    cr_expect(!t.p.ended, "it may still write");
    cr_assert_eq(write(t.process, "!", 1), 1);
    until_in(t.w.loop, t.p.got.len == 11);
    output_down(&t);
}

Test(stream_io, silence_that_is_the_peers_is_none)
{
    struct output t;
    output_up(&t);
    cr_assert_eq(write(t.process, "unread", 6), 6);
    stream_out_exited(t.o);
    run_in(t.w.loop, STREAM_SILENT_SECONDS * 2);
    cr_expect(!stream_out_handed(t.o));
    stream_peer_allow(&t.p, 6);
    until_in(t.w.loop, t.p.got.len == 6);
    output_down(&t);
}

Test(stream_io, a_peer_that_wants_no_more_is_not_waited_for)
{
    struct output t;
    output_up(&t);
    cr_assert_eq(write(t.process, "unread", 6), 6);
    stream_peer_end(&t.p);
    until_in(t.w.loop, t.told && t.p.ended);
    cr_expect(stream_out_handed(t.o));
    stream_peer_close(&t.p);
    // Somebody else does: an attach after containerd's restart.
    stream_peer_opened(&t.p, t.w.loop, t.w.path, "c1-stdout");
    until_in(t.w.loop, !stream_out_handed(t.o));
    stream_peer_allow(&t.p, STREAM_WINDOW);
    until_in(t.w.loop, t.p.got.len == 6);
    output_down(&t);
}

// ---- input --------------------------------------------------------------------------------------

struct input {
    struct stream_place w;
    struct stream_peer p;
    struct stream_in *i;
    int process; // the reading end
    size_t sent, read;
};

static void input_up(struct input *t)
{
    struct error err = {0};
    int ends[2];
    *t = (struct input){0};
    stream_place_up(&t->w);
    stream_peer_opened(&t->p, t->w.loop, t->w.path, "c1-stdin");
    cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    t->process = ends[0];
    t->i = stream_in_new(t->w.loop, t->w.streams, "c1-stdin", ends[1], &err);
    cr_assert(t->i, "%s", err.text);
}

static void input_down(struct input *t)
{
    stream_in_free(t->i);
    close_fd(&t->process);
    stream_peer_close(&t->p);
    stream_place_down(&t->w);
}

// Sends as much as is allowed, up to `total` in all.
static void input_send(struct input *t, uint64_t allowed, size_t total)
{
    uint8_t bytes[STREAM_DATA_MAX];
    size_t n = allowed < total ? allowed : total;
    n = n > t->sent ? n - t->sent : 0;
    n = n < sizeof bytes ? n : sizeof bytes;
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(t->sent + i);
    if (n)
        stream_peer_input(&t->p, bytes, n);
    t->sent += n;
}

// What the process finds now; false at the end of file.
static bool input_read(struct input *t)
{
    uint8_t bytes[3000];
    ssize_t n = read(t->process, bytes, sizeof bytes);
    cr_assert(n >= 0 || errno == EAGAIN);
    if (n > 0) {
        check_bytes(bytes, (size_t)n, t->read);
        t->read += (size_t)n;
    }
    return n != 0;
}

Test(stream_io, every_byte_of_input_comes_and_then_its_end)
{
    struct input t;
    const size_t total = 1 << 20;
    input_up(&t);
    while (t.sent < total) {
        input_send(&t, t.p.allowed, total);
        input_read(&t);
        ev_run(t.w.loop, EVRUN_NOWAIT);
    }
    stream_peer_end(&t.p);
    while (input_read(&t))
        run_in(t.w.loop, 0.0005);
    cr_expect_eq(t.read, total);
    until_in(t.w.loop, t.p.ended);
    input_down(&t);
}

Test(stream_io, a_process_that_does_not_read_is_sent_a_window_and_a_pipe)
{
    struct input t;
    input_up(&t);
    for (int i = 0; i < 200; i++) {
        input_send(&t, t.p.allowed, SIZE_MAX);
        run_in(t.w.loop, 0.002);
    }
    cr_expect_leq(t.sent, 65536 + STREAM_WINDOW);
    cr_expect_eq(t.p.err.status, STATUS_OK);
    stream_peer_end(&t.p); // what is kept still comes
    while (input_read(&t))
        run_in(t.w.loop, 0.001);
    cr_expect_eq(t.read, t.sent);
    input_down(&t);
}

Test(stream_io, the_end_of_a_connection_is_no_end_of_input)
{
    struct input t;
    input_up(&t);
    until_in(t.w.loop, t.p.allowed);
    input_send(&t, 100, 100);
    until_in(t.w.loop, (input_read(&t), t.read == 100));
    stream_peer_close(&t.p);
    run_in(t.w.loop, 0.05);
    cr_expect(input_read(&t), "no end of file");
    stream_peer_opened(&t.p, t.w.loop, t.w.path, "c1-stdin");
    until_in(t.w.loop, t.p.allowed == STREAM_WINDOW);
    input_send(&t, 200, 200);
    until_in(t.w.loop, (input_read(&t), t.read == 200));
    // Nobody is there who could send more.
    stream_peer_close(&t.p);
    run_in(t.w.loop, 0.05);
    stream_in_close(t.i);
    cr_expect(!input_read(&t));
    // Who comes now is told.
    stream_peer_opened(&t.p, t.w.loop, t.w.path, "c1-stdin");
    until_in(t.w.loop, t.p.ended);
    input_down(&t);
}

Test(stream_io, closing_waits_for_what_is_under_way)
{
    struct input t;
    input_up(&t);
    until_in(t.w.loop, t.p.allowed);
    stream_in_close(t.i); // CloseIO, on another connection, came first
    stream_in_close(t.i);
    input_send(&t, 500, 500);
    stream_peer_end(&t.p);
    while (input_read(&t))
        run_in(t.w.loop, 0.001);
    cr_expect_eq(t.read, 500);
    input_down(&t);
}

Test(stream_io, closing_does_not_wait_for_a_peer_that_never_ends)
{
    struct input t;
    input_up(&t);
    stream_in_close(t.i);
    cr_expect(input_read(&t));
    until_in(t.w.loop, !input_read(&t));
    until_in(t.w.loop, t.p.ended);
    input_down(&t);
}

Test(stream_io, input_that_nobody_reads_is_thrown_away)
{
    struct input t;
    input_up(&t);
    close_fd(&t.process);
    while (t.sent < 1 << 20) {
        input_send(&t, t.p.allowed, 1 << 20);
        ev_run(t.w.loop, EVRUN_NOWAIT);
    }
    cr_expect(!t.p.ended && !t.p.err.status);
    stream_in_exited(t.i);
    until_in(t.w.loop, t.p.ended);
    input_down(&t);
}
