// The ring of events: order, waiting, what a slow follower misses, limits.
#include "inspect/events.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "api/message.h"
#include "base/cleanup.h"

struct call {
    struct rpc_call rpc; // first
    bool over;
    struct error err;
    Internal__EventsResponse *answer;
};

static void call_end(struct rpc_call *rpc, const uint8_t *data, size_t len, const struct error *err)
{
    struct call *c = (struct call *)rpc;
    struct error bad = {0};
    cr_assert(!c->over);
    c->over = true;
    if (err)
        c->err = *err;
    else
        c->answer = (Internal__EventsResponse *)(void *)api_message_decode(
            &internal__events_response__descriptor, data, len, &bad);
    cr_assert(err || c->answer, "%s", bad.text);
}

static const struct rpc_call_transport transport = {.end = call_end};

static void poll_events(struct inspect_events *e, struct call *c, uint64_t epoch, uint64_t after,
                        uint32_t limit, uint32_t wait_ms)
{
    Internal__EventsRequest req = INTERNAL__EVENTS_REQUEST__INIT;
    *c = (struct call){.rpc.transport = &transport};
    req.epoch = epoch;
    req.after = after;
    req.limit = limit;
    req.wait_ms = wait_ms;
    inspect_events_poll(e, &req, &c->rpc);
}

static void add(struct inspect_events *e, const char *id)
{
    inspect_events_add(e, &(struct inspect_event){.topic = "/t", .id = id, .pid = 7});
}

static void forget(struct call *c)
{
    api_message_free((ProtobufCMessage *)c->answer);
}

Test(events, a_follower_gets_what_comes_behind_its_number)
{
    struct ev_loop *loop = ev_loop_new(0);
    struct inspect_events *e = inspect_events_new(loop);
    struct call c;
    add(e, "one");
    poll_events(e, &c, 0, 0, 0, 0);
    cr_assert(c.over);
    uint64_t epoch = c.answer->epoch;
    cr_expect_eq(c.answer->last, 1);
    cr_expect_eq(c.answer->n_events, 0);
    forget(&c);
    add(e, "two");
    add(e, "three");
    poll_events(e, &c, epoch, 1, 100, 0);
    cr_assert_eq(c.answer->n_events, 2);
    cr_expect_str_eq(c.answer->events[0]->id, "two");
    cr_expect_eq(c.answer->events[1]->number, 3);
    cr_expect_eq(c.answer->events[1]->pid, 7);
    cr_expect_eq(c.answer->missed, 0);
    forget(&c);
    poll_events(e, &c, epoch, 1, 1, 0);
    cr_expect_eq(c.answer->n_events, 1);
    forget(&c);
    poll_events(e, &c, epoch + 1, 3, 100, 0); // of another process: all there is
    cr_expect_eq(c.answer->n_events, 3);
    forget(&c);
    poll_events(e, &c, epoch, 4, 100, 0);
    cr_expect_eq(c.err.status, STATUS_OUT_OF_RANGE);
    inspect_events_free(e);
    ev_loop_destroy(loop);
}

Test(events, a_request_waits_for_the_next_event_or_the_time)
{
    struct ev_loop *loop = ev_loop_new(0);
    struct inspect_events *e = inspect_events_new(loop);
    struct call c, late, given_up;
    poll_events(e, &c, 0, 0, 10, 60000);
    poll_events(e, &given_up, 0, 0, 10, 60000);
    cr_expect(!c.over);
    cr_expect(rpc_call_cancel(&given_up.rpc));
    add(e, "x");
    cr_assert(c.over && !given_up.over);
    cr_expect_eq(c.answer->n_events, 1);
    uint64_t epoch = c.answer->epoch;
    forget(&c);
    poll_events(e, &late, epoch, 1, 10, 1);
    for (int i = 0; !late.over && i < 1000; i++)
        ev_run(loop, EVRUN_ONCE);
    cr_assert(late.over);
    cr_expect_eq(late.answer->n_events, 0);
    forget(&late);
    poll_events(e, &c, epoch, 1, 10, 60000);
    inspect_events_free(e);
    cr_expect(c.over);
    cr_expect_eq(c.err.status, STATUS_UNAVAILABLE);
    ev_loop_destroy(loop);
}

Test(events, nobody_waits_when_the_daemon_ends)
{
    struct ev_loop *loop = ev_loop_new(0);
    struct inspect_events *e = inspect_events_new(loop);
    struct call parked, later, now;
    poll_events(e, &parked, 0, 0, 10, 60000);
    inspect_events_drain(e);
    cr_expect(parked.over && parked.err.status == STATUS_UNAVAILABLE);
    poll_events(e, &later, 0, 0, 10, 60000);
    cr_expect(later.over && later.err.status == STATUS_UNAVAILABLE);
    add(e, "x");
    poll_events(e, &now, 0, 0, 10, 60000);
    cr_assert(now.over && now.answer, "what there is may be had");
    cr_expect_eq(now.answer->n_events, 1);
    forget(&now);
    inspect_events_drain(e);
    inspect_events_drain(NULL);
    inspect_events_free(e);
    ev_loop_destroy(loop);
}

Test(events, who_is_slow_learns_how_many_it_missed)
{
    struct ev_loop *loop = ev_loop_new(0);
    struct inspect_events *e = inspect_events_new(loop);
    struct call c;
    char id[16];
    poll_events(e, &c, 0, 0, 0, 0);
    uint64_t epoch = c.answer->epoch;
    forget(&c);
    for (int i = 1; i <= INSPECT_EVENTS_MAX + 10; i++) {
        snprintf(id, sizeof id, "e%d", i);
        add(e, id);
    }
    poll_events(e, &c, epoch, 4, UINT32_MAX, 0);
    cr_expect_eq(c.answer->missed, 6);
    cr_assert_eq(c.answer->n_events, INSPECT_EVENTS_PAGE);
    cr_expect_str_eq(c.answer->events[0]->id, "e11");
    forget(&c);
    inspect_events_free(e);
    ev_loop_destroy(loop);
}

Test(events, followers_are_limited_and_nobody_need_follow)
{
    struct ev_loop *loop = ev_loop_new(0);
    struct inspect_events *e = inspect_events_new(loop);
    static struct call calls[INSPECT_FOLLOWERS_MAX + 1];
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        poll_events(e, &calls[i], 0, 0, 1, 60000);
    cr_expect(!calls[INSPECT_FOLLOWERS_MAX - 1].over);
    cr_expect_eq(calls[INSPECT_FOLLOWERS_MAX].err.status, STATUS_RESOURCE_EXHAUSTED);
    inspect_events_free(e);
    add(NULL, "x");
    ev_loop_destroy(loop);
}
