#include "event/event.h"

#include <criterion/criterion.h>

TestSuite(timer, .timeout = 10);

static void count(struct ev_loop *loop, ev_timer *w, int events)
{
    (*(int *)w->data)++;
}

static void run_until(struct ev_loop *loop, const int *fired, int n)
{
    for (int i = 0; i < 1000 && *fired < n; i++)
        ev_run(loop, EVRUN_ONCE);
    cr_assert_eq(*fired, n);
}

Test(timer, a_timer_that_has_fired_waits_again)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    ev_timer w;
    int fired = 0;
    ev_timer_init(&w, count, 0., 0.);
    w.data = &fired;
    for (int i = 1; i < 4; i++) {
        event_timer_arm(loop, &w, 0.05);
        for (int k = 0; k < 3; k++)
            ev_run(loop, EVRUN_NOWAIT);
        cr_expect_eq(fired, i - 1, "round %d: it fired at once", i);
        run_until(loop, &fired, i);
    }
    ev_loop_destroy(loop);
}

Test(timer, arming_one_that_waits_puts_it_off)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    ev_timer w;
    int fired = 0;
    ev_timer_init(&w, count, 0., 0.);
    w.data = &fired;
    event_timer_arm(loop, &w, 0.01);
    event_timer_arm(loop, &w, 5.);
    ev_sleep(0.02);
    ev_run(loop, EVRUN_NOWAIT);
    cr_expect_eq(fired, 0);
    event_timer_arm(loop, &w, 0.);
    run_until(loop, &fired, 1);
    ev_loop_destroy(loop);
}
