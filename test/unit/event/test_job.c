#include "event/job.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ev_loop *loop;
static struct reaper *reaper;

static void setup(void)
{
    loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    reaper = reaper_new(loop);
}

static void teardown(void)
{
    reaper_free(reaper);
    ev_loop_destroy(loop);
}

TestSuite(job, .init = setup, .fini = teardown, .timeout = 20);

struct outcome {
    int n;
    bool ok;
    struct error err;
    size_t reply_len;
    unsigned char reply[JOB_REPLY_MAX];
};

static void on_done(const void *reply, size_t reply_len, const struct error *err, void *arg)
{
    struct outcome *o = arg;
    o->n++;
    o->ok = !err;
    o->reply_len = reply_len;
    if (err)
        o->err = *err;
    else
        memcpy(o->reply, reply, reply_len);
}

static void on_late(struct ev_loop *l, ev_timer *w, int revents)
{
    *(bool *)w->data = true;
}

static bool run_until(const int *counter, int want, double limit)
{
    bool late = false;
    ev_timer timer;
    ev_timer_init(&timer, on_late, limit, 0.);
    timer.data = &late;
    ev_now_update(loop);
    ev_timer_start(loop, &timer);
    while (*counter < want && !late)
        ev_run(loop, EVRUN_ONCE);
    ev_timer_stop(loop, &timer);
    return *counter >= want;
}

static void run_job(job_work work, double timeout, struct outcome *o)
{
    struct error err = {0};
    struct job *j = job_start(loop, reaper, work, on_done, o, timeout, &err);
    cr_assert_not_null(j, "%s", err.text);
    cr_assert_eq(o->n, 0);
    cr_assert(run_until(&o->n, 1, 10));
}

static int answer_pid(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    pid_t pid = getpid();
    memcpy(reply, &pid, sizeof pid);
    *reply_len = sizeof pid;
    return 0;
}

Test(job, success_with_an_answer_from_another_process)
{
    struct outcome o = {0};
    pid_t pid = 0;
    run_job(answer_pid, 5, &o);
    cr_assert(o.ok);
    cr_assert_eq(o.reply_len, sizeof pid);
    memcpy(&pid, o.reply, sizeof pid);
    cr_assert_neq(pid, getpid());
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

static int answer_nothing(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    return 0;
}

static int answer_most(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    memset(reply, 'r', JOB_REPLY_MAX);
    *reply_len = JOB_REPLY_MAX;
    return 0;
}

static int answer_too_much(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    *reply_len = JOB_REPLY_MAX + 1;
    return 0;
}

Test(job, sizes_of_answers)
{
    struct outcome o = {0};
    run_job(answer_nothing, 5, &o);
    cr_assert(o.ok);
    cr_assert_eq(o.reply_len, 0);
    o.n = 0;
    run_job(answer_most, 5, &o);
    cr_assert(o.ok);
    cr_assert_eq(o.reply_len, JOB_REPLY_MAX);
    cr_assert_eq(o.reply[JOB_REPLY_MAX - 1], 'r');
    o.n = 0;
    run_job(answer_too_much, 5, &o);
    cr_assert_not(o.ok);
    cr_assert_eq(o.err.status, STATUS_INTERNAL);
}

static int fail(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    return error_set(err, STATUS_ALREADY_EXISTS, "the thing exists");
}

static int fail_without_reason(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    return -1;
}

Test(job, failure_comes_with_its_error)
{
    struct outcome o = {0};
    run_job(fail, 5, &o);
    cr_assert_not(o.ok);
    cr_assert_eq(o.err.status, STATUS_ALREADY_EXISTS);
    cr_assert_str_eq(o.err.text, "the thing exists");
    o.n = 0;
    run_job(fail_without_reason, 5, &o);
    cr_assert_not(o.ok);
    cr_assert_eq(o.err.status, STATUS_INTERNAL);
    cr_assert_gt(strlen(o.err.text), 0);
}

static int crash(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    raise(SIGKILL);
    return 0;
}

static int leave(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    _exit(7);
}

Test(job, death_without_an_answer_is_internal)
{
    struct outcome o = {0};
    run_job(crash, 5, &o);
    cr_assert_not(o.ok);
    cr_assert_eq(o.err.status, STATUS_INTERNAL);
    cr_assert_str_eq(o.err.text, "the child was ended by signal 9");
    o.n = 0;
    run_job(leave, 5, &o);
    cr_assert_eq(o.err.status, STATUS_INTERNAL);
    cr_assert_str_eq(o.err.text, "the child ended with status 7 without an answer");
}

static int hang(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    sleep(60);
    return -1;
}

Test(job, time_limit)
{
    struct outcome o = {0};
    double start = ev_time();
    run_job(hang, 0.2, &o);
    cr_assert_geq(ev_time() - start, 0.19);
    cr_assert_lt(ev_time() - start, 3);
    cr_assert_not(o.ok);
    cr_assert_eq(o.err.status, STATUS_DEADLINE_EXCEEDED);
    cr_assert_str_eq(o.err.text, "took longer than 0.2 seconds");
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

Test(job, needs_a_time_limit)
{
    struct error err = {0};
    cr_assert_null(job_start(loop, reaper, hang, on_done, NULL, 0, &err));
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
}

Test(job, abandoned_job_never_calls_back_and_is_reaped)
{
    struct outcome o = {0};
    job_abandon(job_start(loop, reaper, hang, on_done, &o, 5, NULL));
    run_until(&o.n, 1, 0.3);
    cr_assert_eq(o.n, 0);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

static int leave_process_behind(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    pid_t pid = fork();
    if (pid == 0) {
        sleep(30);
        _exit(0);
    }
    memcpy(reply, &pid, sizeof pid);
    *reply_len = sizeof pid;
    return 0;
}

Test(job, does_not_wait_for_what_the_work_leaves_behind)
{
    struct outcome o = {0};
    pid_t pid = 0;
    double start = ev_time();
    run_job(leave_process_behind, 10, &o);
    cr_assert_lt(ev_time() - start, 3);
    cr_assert(o.ok);
    memcpy(&pid, o.reply, sizeof pid);
    cr_assert_eq(kill(pid, SIGKILL), 0);
}

static int describe_signals(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int sig = 1; sig < NSIG; sig++) {
        struct sigaction sa;
        if (sigaction(sig, NULL, &sa) < 0)
            continue;
        if (sa.sa_handler != SIG_DFL || sigismember(&mask, sig) == 1)
            return error_set(err, STATUS_INTERNAL, "signal %d", sig);
    }
    return 0;
}

Test(job, child_has_default_signals)
{
    struct outcome o = {0};
    sigset_t mask, after;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGPIPE, SIG_IGN);
    run_job(describe_signals, 5, &o);
    cr_assert(o.ok, "%s", o.err.text);
    sigprocmask(SIG_SETMASK, NULL, &after);
    cr_assert_eq(sigismember(&after, SIGUSR1), 1);
    cr_assert_eq(sigismember(&after, SIGTERM), 0, "the parent's mask is back");
}

static int print_much(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    printf("child\n");
    fflush(stdout);
    return 0;
}

Test(job, buffered_output_of_the_parent_is_written_once)
{
    struct outcome o = {0};
    int ends[2], saved = dup(1);
    char text[256] = "";
    cr_assert_eq(pipe(ends), 0);
    dup2(ends[1], 1);
    setvbuf(stdout, NULL, _IOFBF, 4096);
    printf("parent\n");
    run_job(print_much, 5, &o);
    fflush(stdout);
    dup2(saved, 1);
    cr_assert_gt(read(ends[0], text, sizeof text - 1), 0);
    cr_assert_str_eq(text, "child\nparent\n");
}

Test(job, many_at_once)
{
    static struct outcome o;
    for (int i = 0; i < 50; i++)
        cr_assert_not_null(job_start(loop, reaper, answer_pid, on_done, &o, 10, NULL));
    cr_assert(run_until(&o.n, 50, 15));
    cr_assert(o.ok);
}

static pid_t hanging;

static int hang_and_tell(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    int fd = *(int *)arg;
    pid_t pid = getpid();
    if (write(fd, &pid, sizeof pid) != sizeof pid)
        return -1;
    return hang(arg, reply, reply_len, err);
}

Test(job, child_ends_with_its_parent)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t parent = fork();
    if (parent == 0) {
        ev_loop_fork(loop);
        job_start(loop, reaper, hang_and_tell, on_done, &ends[1], 60, NULL);
        pause();
        _exit(0);
    }
    cr_assert_eq(read(ends[0], &hanging, sizeof hanging), sizeof hanging);
    kill(parent, SIGKILL);
    close(ends[1]);
    char byte;
    cr_assert_eq(read(ends[0], &byte, 1), 0, "the end of the pipe means that the child is gone");
}
