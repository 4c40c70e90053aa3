#include "rpc/acceptor.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "rpc/listen.h"

TestSuite(acceptor, .timeout = 30);

struct rig {
    struct acceptor acceptor;
    struct ev_loop *loop;
    char dir[32], path[48];
    unsigned accepted;
    enum { KEEP, HOLD, CLOSE } then;
};

static void on_accepted(struct acceptor *a, int fd)
{
    struct rig *r = container_of(a, struct rig, acceptor);
    cr_expect(fcntl(fd, F_GETFL) & O_NONBLOCK);
    cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    r->accepted++;
    close(fd);
    if (r->then == HOLD)
        acceptor_hold(a);
    else if (r->then == CLOSE)
        acceptor_close(a);
}

static void start(struct rig *r)
{
    struct error err = {0};
    *r = (struct rig){.loop = ev_loop_new(EVFLAG_AUTO)};
    snprintf(r->dir, sizeof r->dir, "/tmp/acceptor-XXXXXX");
    cr_assert(mkdtemp(r->dir));
    snprintf(r->path, sizeof r->path, "%s/s", r->dir);
    int fd = rpc_listen_unix(r->path, &err);
    cr_assert(fd >= 0, "%s", err.text);
    acceptor_start(&r->acceptor, r->loop, fd, "test", on_accepted);
}

static void stop(struct rig *r)
{
    acceptor_close(&r->acceptor);
    acceptor_close(&r->acceptor);
    ev_loop_destroy(r->loop);
    unlink(r->path);
    rmdir(r->dir);
}

static int dial(struct rig *r)
{
    struct error err = {0};
    int fd = rpc_connect_unix(r->path, &err);
    cr_assert(fd >= 0, "%s", err.text);
    return fd;
}

static void on_tick(struct ev_loop *loop, ev_timer *w, int events)
{
    ev_break(loop, EVBREAK_ALL);
}

// The loop sleeps when it has nothing to do, as a daemon's.
static void run_for(struct rig *r, double seconds)
{
    ev_timer tick;
    ev_now_update(r->loop);
    ev_timer_init(&tick, on_tick, seconds, 0.);
    ev_timer_start(r->loop, &tick);
    ev_run(r->loop, 0);
}

Test(acceptor, accepts_all_who_wait)
{
    struct rig r;
    int fds[100];
    start(&r);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = dial(&r);
    run_for(&r, 0.1);
    cr_expect_eq(r.accepted, ARRAY_SIZE(fds));
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    stop(&r);
}

Test(acceptor, a_lack_of_descriptors_makes_it_wait_not_spin)
{
    struct rig r;
    struct rlimit was, none = {0, 0};
    start(&r);
    run_for(&r, 0.01); // the loop's own descriptors are open
    _cleanup_close_ int fd = dial(&r);
    getrlimit(RLIMIT_NOFILE, &was);
    none.rlim_max = was.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    unsigned turns = ev_iteration(r.loop);
    run_for(&r, 3.5);
    turns = ev_iteration(r.loop) - turns;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
    cr_expect_eq(r.accepted, 0);
    cr_expect_lt(turns, 50, "%u turns: pauses of 1 ms, 2 ms, ... 1 s are about 13", turns);
    run_for(&r, 1.5);
    cr_expect_eq(r.accepted, 1, "when there are descriptors again it goes on by itself");
    stop(&r);
}

Test(acceptor, holds_and_goes_on)
{
    struct rig r;
    start(&r);
    r.then = HOLD;
    _cleanup_close_ int a = dial(&r), b = dial(&r);
    run_for(&r, 0.05);
    cr_expect_eq(r.accepted, 1, "held in the middle of a turn");
    acceptor_hold(&r.acceptor);
    acceptor_resume(&r.acceptor);
    acceptor_resume(&r.acceptor);
    run_for(&r, 0.05);
    cr_expect_eq(r.accepted, 2);
    stop(&r);
}

Test(acceptor, may_be_closed_by_who_is_called)
{
    struct rig r;
    start(&r);
    r.then = CLOSE;
    _cleanup_close_ int a = dial(&r), b = dial(&r);
    run_for(&r, 0.05);
    cr_expect_eq(r.accepted, 1);
    acceptor_resume(&r.acceptor);
    run_for(&r, 0.01);
    stop(&r);
}
