#include "event/reaper.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ev_loop *loop;
static struct reaper *reaper;

static void setup(void)
{
    loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    reaper = reaper_new(loop);
    cr_assert_not_null(reaper);
}

static void teardown(void)
{
    reaper_free(reaper);
    ev_loop_destroy(loop);
}

TestSuite(reaper, .init = setup, .fini = teardown, .timeout = 20);

struct seen {
    int n;
    struct exit_info last;
};

static void on_exit_info(const struct exit_info *info, void *arg)
{
    struct seen *s = arg;
    s->n++;
    s->last = *info;
}

static pid_t child_exits(int code)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(code);
    return pid;
}

static pid_t child_waits(void)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    return pid;
}

static void on_timeout(struct ev_loop *l, ev_timer *w, int revents)
{
    *(bool *)w->data = true;
}

// Runs the loop until *counter has reached `want`. False after the time limit.
static bool run_until(const int *counter, int want, double limit)
{
    bool late = false;
    ev_timer timer;
    ev_timer_init(&timer, on_timeout, limit, 0.);
    timer.data = &late;
    ev_now_update(loop);
    ev_timer_start(loop, &timer);
    while (*counter < want && !late)
        ev_run(loop, EVRUN_ONCE);
    ev_timer_stop(loop, &timer);
    return *counter >= want;
}

// Lets the loop go round for a while.
static void run_for(double seconds)
{
    int never = 0;
    run_until(&never, 1, seconds);
}

// Waits until the child is a zombie, without reaping it.
static void wait_dead(pid_t pid)
{
    siginfo_t si;
    cr_assert_eq(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
}

Test(reaper, reports_exit_status)
{
    struct seen s = {0};
    pid_t pid = child_exits(42);
    cr_assert_eq(reaper_watch_new(reaper, pid, on_exit_info, &s), 0);
    cr_assert_eq(s.n, 0);
    cr_assert(run_until(&s.n, 1, 5));
    cr_assert_eq(s.last.pid, pid);
    cr_assert_eq(s.last.code, 42);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    cr_assert_leq(now.tv_sec - s.last.at.tv_sec, 5);
    cr_assert_eq(waitpid(pid, NULL, WNOHANG), -1);
    cr_assert_eq(errno, ECHILD);
}

Test(reaper, reports_signals_as_a_shell_does)
{
    struct seen s = {0};
    pid_t pid = child_waits();
    cr_assert_eq(reaper_watch_new(reaper, pid, on_exit_info, &s), 0);
    kill(pid, SIGKILL);
    cr_assert(run_until(&s.n, 1, 5));
    cr_assert_eq(s.last.code, 137);
}

Test(reaper, stopped_children_are_not_exits)
{
    struct seen s = {0};
    pid_t pid = child_waits();
    cr_assert_eq(reaper_watch_new(reaper, pid, on_exit_info, &s), 0);
    kill(pid, SIGSTOP);
    run_for(0.1);
    cr_assert_eq(s.n, 0);
    kill(pid, SIGCONT);
    kill(pid, SIGTERM);
    cr_assert(run_until(&s.n, 1, 5));
    cr_assert_eq(s.last.code, 143);
}

Test(reaper, refuses_the_default_loop)
{
    // Only in a child: the default loop takes SIGCHLD for itself.
    reaper = reaper_free(reaper);
    errno = 0;
    cr_assert_null(reaper_new(ev_default_loop(EVFLAG_NOENV)));
    cr_assert_eq(errno, EINVAL);
}

Test(reaper, one_watch_a_pid)
{
    struct seen s = {0};
    pid_t pid = child_waits();
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), 0);
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), -EEXIST);
    cr_assert_eq(reaper_watch_new(reaper, pid, on_exit_info, &s), -EEXIST);
    cr_assert_eq(reaper_watch(reaper, 0, on_exit_info, &s), -EINVAL);
    cr_assert_eq(reaper_watch(reaper, -1, on_exit_info, &s), -EINVAL);
    kill(pid, SIGKILL);
    cr_assert(run_until(&s.n, 1, 5));
}

Test(reaper, unwatched_children_are_reaped_silently)
{
    struct seen s = {0};
    pid_t pid = child_exits(1), other = child_exits(2);
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), 0);
    reaper_unwatch(reaper, pid);
    reaper_unwatch(reaper, 12345);
    wait_dead(pid);
    wait_dead(other);
    run_for(0.1);
    cr_assert_eq(s.n, 0);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_assert_eq(errno, ECHILD);
}

Test(reaper, without_a_hold_unknown_exits_are_forgotten)
{
    struct seen s = {0};
    pid_t pid = child_exits(3);
    run_for(0.2);
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), 0);
    run_for(0.1);
    cr_assert_eq(s.n, 0);
}

Test(reaper, with_a_hold_a_late_watch_gets_its_exit_from_the_loop)
{
    struct seen s = {0};
    reaper_hold(reaper);
    pid_t pid = child_exits(3);
    run_for(0.2);
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), 0);
    cr_assert_eq(s.n, 0, "never from inside reaper_watch");
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), -EEXIST);
    reaper_release(reaper);
    cr_assert(run_until(&s.n, 1, 5));
    cr_assert_eq(s.last.pid, pid);
    cr_assert_eq(s.last.code, 3);
    // It was given away.
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), 0);
    run_for(0.1);
    cr_assert_eq(s.n, 1);
}

Test(reaper, a_due_watch_can_be_dropped)
{
    struct seen s = {0};
    reaper_hold(reaper);
    pid_t pid = child_exits(3);
    run_for(0.2);
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), 0);
    reaper_unwatch(reaper, pid);
    run_for(0.1);
    cr_assert_eq(s.n, 0);
}

Test(reaper, a_new_child_does_not_get_an_old_exit)
{
    struct seen s = {0};
    reaper_hold(reaper);
    pid_t pid = child_exits(3);
    run_for(0.2);
    cr_assert_eq(reaper_watch_new(reaper, pid, on_exit_info, &s), 0);
    run_for(0.1);
    cr_assert_eq(s.n, 0);
}

Test(reaper, exits_are_kept_until_the_last_release)
{
    struct seen s = {0};
    reaper_hold(reaper);
    reaper_hold(reaper);
    pid_t first = child_exits(1), second = child_exits(2);
    run_for(0.2);
    reaper_release(reaper);
    cr_assert_eq(reaper_watch(reaper, first, on_exit_info, &s), 0);
    cr_assert(run_until(&s.n, 1, 5));
    reaper_release(reaper);
    reaper_release(reaper); // one too many does no harm
    cr_assert_eq(reaper_watch(reaper, second, on_exit_info, &s), 0);
    run_for(0.1);
    cr_assert_eq(s.n, 1);
    reaper_hold(reaper);
    pid_t third = child_exits(4);
    run_for(0.2);
    cr_assert_eq(reaper_watch(reaper, third, on_exit_info, &s), 0);
    cr_assert(run_until(&s.n, 2, 5));
}

Test(reaper, unclaimed_exits_are_limited_and_the_oldest_goes, .timeout = 60)
{
    struct seen s = {0};
    reaper_hold(reaper);
    pid_t first = child_exits(1);
    run_for(0.1);
    pid_t last = 0, second = 0;
    for (int i = 0; i < REAPER_UNCLAIMED_MAX; i++) {
        last = vfork(); // thousands of forks take long under a sanitizer
        if (last == 0)
            _exit(7);
        second = second ? second : last;
        if (i % 64 == 0)
            run_for(0.001);
    }
    wait_dead(last);
    run_for(1);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_assert_eq(reaper_watch(reaper, first, on_exit_info, &s), 0);
    run_for(0.1);
    cr_assert_eq(s.n, 0);
    cr_assert_eq(reaper_watch(reaper, second, on_exit_info, &s), 0);
    cr_assert_eq(reaper_watch(reaper, last, on_exit_info, &s), 0);
    cr_assert(run_until(&s.n, 2, 5));
}

Test(reaper, knows_which_watch_is_due)
{
    struct seen s = {0};
    pid_t pid = fork();
    if (pid == 0)
        _exit(3);
    reaper_hold(reaper);
    wait_dead(pid);
    cr_assert_not(reaper_is_due(reaper, pid), "not watched");
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), 0);
    cr_assert_not(reaper_is_due(reaper, pid), "a zombie");
    reaper_unwatch(reaper, pid);
    run_for(0.05);
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), 0);
    cr_assert(reaper_is_due(reaper, pid));
    reaper_release(reaper);
    cr_assert(run_until(&s.n, 1, 5));
    cr_assert_not(reaper_is_due(reaper, pid));
}

Test(reaper, gets_orphans_as_a_subreaper)
{
    struct seen s = {0};
    int ends[2];
    pid_t orphan;
    cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    cr_assert_eq(pipe(ends), 0);
    pid_t middle = fork();
    if (middle == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            usleep(100000);
            _exit(9);
        }
        _exit(write(ends[1], &pid, sizeof pid) == sizeof pid ? 0 : 1);
    }
    cr_assert_eq(read(ends[0], &orphan, sizeof orphan), sizeof orphan);
    cr_assert_eq(reaper_watch(reaper, orphan, on_exit_info, &s), 0);
    cr_assert(run_until(&s.n, 1, 5));
    cr_assert_eq(s.last.code, 9);
}

Test(reaper, more_exits_behind_one_signal_than_a_round_takes, .timeout = 60)
{
    struct seen s = {0};
    for (volatile int i = 0; i < 1500; i++) { // volatile: vfork returns twice
        pid_t pid = vfork(); // ends before the parent goes on: all are there when the loop starts
        if (pid == 0)
            _exit(0);
        cr_assert_eq(reaper_watch_new(reaper, pid, on_exit_info, &s), 0);
    }
    cr_assert(run_until(&s.n, 1500, 20));
}

Test(reaper, children_that_ended_before_it_existed)
{
    struct seen s = {0};
    reaper = reaper_free(reaper);
    pid_t pid = child_exits(5);
    wait_dead(pid);
    reaper = reaper_new(loop);
    cr_assert_eq(reaper_watch(reaper, pid, on_exit_info, &s), 0);
    cr_assert(run_until(&s.n, 1, 5));
    cr_assert_eq(s.last.code, 5);
}

// ---- callbacks that change things ---------------------------------------------------------------

static pid_t pids[4];
static struct seen seen[4];

static void drop_the_others(const struct exit_info *info, void *arg)
{
    on_exit_info(info, arg);
    for (int i = 0; i < 4; i++)
        reaper_unwatch(reaper, pids[i]);
}

Test(reaper, a_callback_may_drop_others_that_ended_too)
{
    for (int i = 0; i < 4; i++) {
        pids[i] = child_exits(i);
        cr_assert_eq(reaper_watch_new(reaper, pids[i], drop_the_others, &seen[0]), 0);
    }
    for (int i = 0; i < 4; i++)
        wait_dead(pids[i]);
    run_for(0.2);
    cr_assert_eq(seen[0].n, 1);
}

Test(reaper, a_callback_may_drop_others_that_are_due)
{
    reaper_hold(reaper);
    for (int i = 0; i < 4; i++)
        pids[i] = child_exits(i);
    run_for(0.2);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(reaper_watch(reaper, pids[i], drop_the_others, &seen[0]), 0);
    run_for(0.2);
    cr_assert_eq(seen[0].n, 1);
}

static void watch_another(const struct exit_info *info, void *arg)
{
    on_exit_info(info, arg);
    if (seen[0].n < 3)
        cr_assert_eq(reaper_watch_new(reaper, child_exits(0), watch_another, arg), 0);
}

Test(reaper, a_callback_may_start_and_watch_another)
{
    cr_assert_eq(reaper_watch_new(reaper, child_exits(0), watch_another, &seen[0]), 0);
    cr_assert(run_until(&seen[0].n, 3, 5));
}

static void free_reaper(const struct exit_info *info, void *arg)
{
    on_exit_info(info, arg);
    reaper = reaper_free(reaper);
}

Test(reaper, a_callback_may_free_the_reaper)
{
    for (int i = 0; i < 4; i++) {
        pids[i] = child_exits(i);
        cr_assert_eq(reaper_watch_new(reaper, pids[i], free_reaper, &seen[0]), 0);
    }
    for (int i = 0; i < 4; i++)
        wait_dead(pids[i]);
    run_for(0.2);
    cr_assert_eq(seen[0].n, 1);
}

Test(reaper, a_callback_of_a_due_watch_may_free_the_reaper)
{
    reaper_hold(reaper);
    pids[0] = child_exits(0);
    pids[1] = child_exits(1);
    run_for(0.2);
    cr_assert_eq(reaper_watch(reaper, pids[0], free_reaper, &seen[0]), 0);
    cr_assert_eq(reaper_watch(reaper, pids[1], free_reaper, &seen[0]), 0);
    run_for(0.2);
    cr_assert_eq(seen[0].n, 1);
    cr_assert_null(reaper_free(NULL));
}
