#include <criterion/criterion.h>
#include <signal.h>
#include <unistd.h>

#include "event/event.h"

static int stops;

static void on_stop(void *arg)
{
    stops++;
    *(int *)arg += 1;
}

static void run_once_for(struct ev_loop *loop, int sig)
{
    kill(getpid(), sig);
    ev_run(loop, EVRUN_ONCE);
}

Test(signals, first_stops_second_breaks, .timeout = 10)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    struct event_signals s;
    int arg = 0;
    event_signals_start(&s, loop, on_stop, &arg);
    run_once_for(loop, SIGTERM);
    cr_assert_eq(stops, 1);
    cr_assert_eq(arg, 1);
    cr_assert(s.stopping);
    kill(getpid(), SIGINT);
    ev_run(loop, 0); // ends only because of the second signal
    cr_assert_eq(stops, 1);
    event_signals_done(&s);
    event_signals_done(&s);
    ev_loop_destroy(loop);
}

Test(signals, interrupt_stops_too_and_hangup_and_pipe_are_ignored, .timeout = 10)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    struct event_signals s;
    int arg = 0;
    event_signals_start(&s, loop, on_stop, &arg);
    kill(getpid(), SIGHUP);
    kill(getpid(), SIGPIPE);
    run_once_for(loop, SIGINT);
    cr_assert_eq(stops, 1);
    event_signals_done(&s);
    ev_loop_destroy(loop);
}
