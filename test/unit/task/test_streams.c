// The Streaming service: ids, windows, who may open what, and how much.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "stream_peer.h"

TestSuite(streams, .timeout = 60);

struct user {
    unsigned changed, ended;
    size_t bytes;
};

static void on_data(const uint8_t *data, size_t len, void *arg)
{
    ((struct user *)arg)->bytes += len;
}

static void on_changed(void *arg)
{
    ((struct user *)arg)->changed++;
}

static void on_ended(void *arg)
{
    ((struct user *)arg)->ended++;
}

static const struct stream_user user_events = {on_data, on_changed, on_ended};

static struct stream *claim(struct stream_place *w, const char *id, struct user *u)
{
    struct error err = {0};
    *u = (struct user){0};
    struct stream *st = stream_claim(w->streams, id, &user_events, u, &err);
    cr_assert(st, "%s", err.text);
    return st;
}

Test(streams, a_stream_waits_for_its_process)
{
    struct stream_place w;
    struct stream_peer p;
    struct user u;
    stream_place_up(&w);
    stream_peer_opened(&p, w.loop, w.path, "c1-stdout");
    stream_peer_allow(&p, 65536);
    run_in(w.loop, 0.05);
    cr_expect_eq(streams_parked(w.streams), 1);
    struct stream *st = claim(&w, "c1-stdout", &u);
    cr_expect_eq(streams_parked(w.streams), 0);
    cr_expect_eq(stream_room(st), STREAM_DATA_MAX, "what it allowed before counts");
    stream_release(st);
    until_in(w.loop, p.ended);
    stream_peer_close(&p);
    stream_place_down(&w);
}

#define A20 "aaaaaaaaaaaaaaaaaaaa"

Test(streams, what_must_not_be_is_refused_by_name)
{
    struct stream_place w;
    static const char *const ids[] = {"",
                                      "c1",
                                      "-stdout",
                                      "c1-stdlog",
                                      "a/b-stdin",
                                      "../x-stderr",
                                      "c1-stdout-x",
                                      "c 1-stdout",
                                      A20 A20 A20 A20 "aaaaa-stdout"};
    stream_place_up(&w);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        struct stream_peer p;
        stream_peer_open(&p, w.loop, w.path, ids[i]);
        until_in(w.loop, p.err.status);
        cr_expect_eq(p.err.status, STATUS_INVALID_ARGUMENT, "%s: %s", ids[i], p.err.text);
        cr_expect(strstr(p.err.text, "StreamInit.id"), "%s", p.err.text);
        stream_peer_close(&p);
    }
    cr_expect_eq(streams_parked(w.streams), 0);
    stream_place_down(&w);
}

struct message_row {
    const char *id; // NULL: none
    void (*send)(struct stream_peer *p);
    enum status status;
    const char *says;
};

static void say_update(struct stream_peer *p)
{
    stream_peer_allow(p, 5);
}
static void say_zero(struct stream_peer *p)
{
    stream_peer_allow(p, 0);
}
static void say_negative(struct stream_peer *p)
{
    stream_peer_allow(p, UINT32_MAX);
}
static void say_data(struct stream_peer *p)
{
    stream_peer_input(p, "x", 1);
}
static void say_again(struct stream_peer *p)
{
    stream_peer_name(p, "c2-stdout");
}
static void say_garbage(struct stream_peer *p)
{
    stream_peer_send(p, "\xff\xff\xff", 3);
}
static void say_nothing(struct stream_peer *p)
{
    stream_peer_send(p, "", 0);
}

Test(streams, messages_out_of_place_end_the_stream)
{
    static const struct message_row rows[] = {
        {NULL, say_update, STATUS_FAILED_PRECONDITION, "StreamInit must come first"},
        {NULL, say_garbage, STATUS_INVALID_ARGUMENT, "Any"},
        {"c1-stdout", say_data, STATUS_INVALID_ARGUMENT, "c1-stdout"},
        {"c1-stdout", say_again, STATUS_FAILED_PRECONDITION, "second"},
        {"c1-stdout", say_zero, STATUS_INVALID_ARGUMENT, "WindowUpdate.update"},
        {"c1-stdout", say_negative, STATUS_INVALID_ARGUMENT, "WindowUpdate.update"},
        {"c1-stdin", say_update, STATUS_INVALID_ARGUMENT, "WindowUpdate"},
        {"c1-stdin", say_data, STATUS_OUT_OF_RANGE, "c1-stdin"}, // nothing is allowed yet
        {"c1-stdin", say_nothing, STATUS_INVALID_ARGUMENT, "empty"},
    };
    struct stream_place w;
    stream_place_up(&w);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct stream_peer p;
        stream_peer_open(&p, w.loop, w.path, rows[i].id);
        rows[i].send(&p);
        until_in(w.loop, p.err.status);
        cr_expect_eq(p.err.status, rows[i].status, "%zu: %s", i, p.err.text);
        cr_expect(strstr(p.err.text, rows[i].says), "%zu: %s", i, p.err.text);
        stream_peer_close(&p);
    }
    cr_expect_eq(streams_parked(w.streams), 0);
    stream_place_down(&w);
}

Test(streams, an_id_has_one_peer_and_one_process)
{
    struct stream_place w;
    struct stream_peer p, second;
    struct user u;
    struct error err = {0};
    stream_place_up(&w);
    cr_expect(!stream_claim(w.streams, "c1-stdout", &user_events, &u, &err));
    cr_expect_eq(err.status, STATUS_FAILED_PRECONDITION, "%s", err.text);
    stream_peer_opened(&p, w.loop, w.path, "c1-stdout");
    stream_peer_open(&second, w.loop, w.path, "c1-stdout");
    until_in(w.loop, second.err.status);
    cr_expect_eq(second.err.status, STATUS_ALREADY_EXISTS);
    stream_peer_close(&second);
    struct stream *st = claim(&w, "c1-stdout", &u);
    cr_expect(!stream_claim(w.streams, "c1-stdout", &user_events, &u, &err));
    cr_expect_eq(err.status, STATUS_ALREADY_EXISTS, "%s", err.text);
    stream_release(st);
    stream_peer_close(&p);
    stream_place_down(&w);
}

Test(streams, output_stays_within_what_is_allowed)
{
    struct stream_place w;
    struct stream_peer p;
    struct user u;
    uint8_t bytes[STREAM_HEADER_MAX + 100] = {0};
    stream_place_up(&w);
    stream_peer_opened(&p, w.loop, w.path, "c1-stderr");
    struct stream *st = claim(&w, "c1-stderr", &u);
    cr_expect_eq(stream_room(st), 0);
    stream_peer_allow(&p, 100);
    until_in(w.loop, u.changed == 1);
    cr_expect_eq(stream_room(st), 100);
    stream_send(st, bytes + STREAM_HEADER_MAX, 60);
    cr_expect_eq(stream_room(st), 40);
    until_in(w.loop, p.got.len == 60);
    stream_peer_allow(&p, INT32_MAX);
    stream_peer_allow(&p, INT32_MAX);
    until_in(w.loop, u.changed == 3);
    cr_expect_eq(stream_room(st), STREAM_DATA_MAX);
    stream_end(st);
    cr_expect_eq(stream_room(st), 0);
    until_in(w.loop, p.ended);
    stream_peer_allow(&p, 5); // crosses our end
    stream_peer_end(&p);
    until_in(w.loop, u.ended == 1);
    cr_expect(!stream_connected(st));
    stream_release(st);
    stream_peer_close(&p);
    stream_place_down(&w);
}

Test(streams, input_stays_within_what_is_allowed)
{
    struct stream_place w;
    struct stream_peer p;
    struct user u;
    char bytes[40] = {0};
    stream_place_up(&w);
    stream_peer_opened(&p, w.loop, w.path, "c1-stdin");
    struct stream *st = claim(&w, "c1-stdin", &u);
    stream_allow(st, STREAM_WINDOW);
    until_in(w.loop, p.allowed == STREAM_WINDOW);
    stream_peer_input(&p, bytes, sizeof bytes);
    until_in(w.loop, u.bytes == sizeof bytes);
    stream_allow(st, STREAM_WINDOW);
    run_in(w.loop, 0.02);
    cr_expect_eq(p.allowed, STREAM_WINDOW, "not for every byte");
    for (size_t i = 0; i < STREAM_WINDOW / 2 / sizeof bytes; i++)
        stream_peer_input(&p, bytes, sizeof bytes);
    until_in(w.loop, u.bytes > STREAM_WINDOW / 2);
    stream_allow(st, STREAM_WINDOW);
    until_in(w.loop, p.allowed == STREAM_WINDOW + u.bytes);
    static uint8_t much[STREAM_DATA_MAX];
    for (int i = 0; i < 3; i++)
        stream_peer_input(&p, much, sizeof much);
    until_in(w.loop, p.err.status);
    cr_expect_eq(p.err.status, STATUS_OUT_OF_RANGE, "%s", p.err.text);
    cr_expect(!stream_connected(st) && !u.ended);
    stream_release(st);
    stream_peer_close(&p);
    stream_place_down(&w);
}

// containerd was restarted: the new connection may come before the end of the old one is seen.
Test(streams, a_new_connection_takes_the_place_of_the_old_one)
{
    struct stream_place w;
    struct stream_peer p, q;
    struct user u;
    stream_place_up(&w);
    stream_peer_opened(&p, w.loop, w.path, "c1-stdout");
    stream_peer_allow(&p, 1000);
    struct stream *st = claim(&w, "c1-stdout", &u);
    until_in(w.loop, stream_room(st) == 1000);
    stream_peer_opened(&q, w.loop, w.path, "c1-stdout");
    until_in(w.loop, p.err.status);
    cr_expect_eq(p.err.status, STATUS_ABORTED, "%s", p.err.text);
    cr_expect_eq(stream_room(st), 0, "its window is its own");
    stream_peer_close(&p);
    stream_peer_close(&q);
    until_in(w.loop, !stream_connected(st));
    cr_expect_eq(u.ended, 0, "a connection that is gone is no end");

    // What we have ended is ended for who comes later, too.
    stream_end(st);
    stream_peer_opened(&p, w.loop, w.path, "c1-stdout");
    until_in(w.loop, p.ended);
    stream_peer_end(&p);
    until_in(w.loop, u.ended == 1);
    stream_release(st);
    stream_peer_close(&p);
    stream_place_down(&w);
}

Test(streams, peers_that_leave_are_forgotten)
{
    struct stream_place w;
    struct stream_peer p, q;
    stream_place_up(&w);
    stream_peer_opened(&p, w.loop, w.path, "c1-stdout");
    stream_peer_opened(&q, w.loop, w.path, "c2-stdout");
    stream_peer_end(&p); // a container that is removed before it was started
    until_in(w.loop, p.ended && streams_parked(w.streams) == 1);
    stream_peer_close(&q);
    until_in(w.loop, streams_parked(w.streams) == 0);
    stream_peer_close(&p);
    stream_place_down(&w);
}

Test(streams, draining_ends_them_and_takes_no_more)
{
    struct stream_place w;
    struct stream_peer p, q, late;
    struct user u;
    stream_place_up(&w);
    stream_peer_opened(&p, w.loop, w.path, "c1-stdout");
    stream_peer_opened(&q, w.loop, w.path, "c2-stdout");
    struct stream *st = claim(&w, "c1-stdout", &u);
    streams_drain(w.streams);
    until_in(w.loop, p.err.status && q.err.status);
    cr_expect_eq(p.err.status, STATUS_UNAVAILABLE);
    cr_expect_eq(q.err.status, STATUS_UNAVAILABLE);
    cr_expect_eq(ttrpc_server_usage(w.server).requests, 0,
                 "nothing holds up the end of the server");
    stream_peer_open(&late, w.loop, w.path, "c3-stdout");
    until_in(w.loop, late.err.status);
    cr_expect_eq(late.err.status, STATUS_UNAVAILABLE);
    stream_release(st);
    stream_peer_close(&p);
    stream_peer_close(&q);
    stream_peer_close(&late);
    stream_place_down(&w);
}

Test(streams, as_many_as_are_allowed_wait)
{
    struct stream_place w;
    struct stream_peer *peers = calloc(STREAM_PARKED_MAX / 1024 + 1, sizeof *peers);
    const struct ttrpc_request req = {
        .service = SERVICE_STREAMING, .method = "Stream", .flags = TTRPC_REMOTE_OPEN};
    stream_place_up(&w);
    for (size_t i = 0; i < STREAM_PARKED_MAX / 1024; i++) {
        stream_peer_open(&peers[i], w.loop, w.path, NULL);
        peers[i].session.max_open = 1024;
        for (int n = 1; n < 1024; n++)
            cr_assert_eq(ttrpc_session_request(&peers[i].session, &req, NULL, &peers[i].id), 0);
        stream_peer_flush(&peers[i]);
    }
    until_in(w.loop, streams_parked(w.streams) == STREAM_PARKED_MAX);
    struct stream_peer *last = &peers[STREAM_PARKED_MAX / 1024];
    stream_peer_open(last, w.loop, w.path, "c1-stdout");
    until_in(w.loop, last->err.status);
    cr_expect_eq(last->err.status, STATUS_RESOURCE_EXHAUSTED, "%s", last->err.text);
    // And who never says a name does not stay.
    until_in(w.loop, streams_parked(w.streams) == 0);
    until_in(w.loop, peers[0].err.status);
    cr_expect_eq(peers[0].err.status, STATUS_DEADLINE_EXCEEDED);
    for (size_t i = 0; i <= STREAM_PARKED_MAX / 1024; i++)
        stream_peer_close(&peers[i]);
    free(peers);
    stream_place_down(&w);
}
