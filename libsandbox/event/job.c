// Work in a forked child. The answer comes back in a page or two of shared memory that the child
// marks as complete with its last store; the parent looks at it when the child has been reaped. So
// there is no descriptor, no partial read, and a process that the work leaves behind holds nothing
// of ours.
//
// The child (child.h) never touches the loop, and ends with _exit.
//
// The parent copies the answer before it checks it, for somebody may still be able to write there.
#include "event/job.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "event/child.h"
#include "event/event.h"

struct answer {
    atomic_bool complete;
    bool failed;
    size_t reply_len;
    struct error err;
    _Alignas(max_align_t) unsigned char reply[JOB_REPLY_MAX];
};

struct job {
    struct ev_loop *loop;
    struct reaper *reaper;
    pid_t pid;
    job_done done;
    void *arg;
    double timeout;
    ev_timer timer; // the time limit, then the grace after the kill
    bool killed;
    struct answer *answer; // shared with the child
};

static struct job *job_free(struct job *j)
{
    if (!j)
        return NULL;
    ev_timer_stop(j->loop, &j->timer);
    if (j->answer)
        munmap(j->answer, sizeof *j->answer);
    free(j);
    return NULL;
}

static void cleanup_job(struct job **j)
{
    job_free(*j);
}

// ---- the child ----------------------------------------------------------------------------------

_Noreturn static void run_child(struct answer *answer, job_work work, void *arg)
{
    // What the parent has buffered is the parent's to write.
    __fpurge(stdout);
    __fpurge(stderr);
    answer->failed = work(arg, answer->reply, &answer->reply_len, &answer->err) < 0;
    atomic_store(&answer->complete, true);
    _exit(0);
}

// ---- the parent ---------------------------------------------------------------------------------

// Turns what the child left into an error. False: it answered with success.
static bool find_failure(const struct job *j, struct answer *a, uint32_t code)
{
    struct error *err = &a->err;
    err->text[sizeof err->text - 1] = '\0';
    if (!a->complete && j->killed)
        error_set(err, STATUS_DEADLINE_EXCEEDED, "took longer than %g seconds", j->timeout);
    else if (!a->complete && code > 128)
        error_set(err, STATUS_INTERNAL, "the child was ended by signal %u", code - 128);
    else if (!a->complete)
        error_set(err, STATUS_INTERNAL, "the child ended with status %u without an answer", code);
    else if (a->reply_len > JOB_REPLY_MAX)
        error_set(err, STATUS_INTERNAL, "the answer has %zu bytes (at most %d)", a->reply_len,
                  JOB_REPLY_MAX);
    else if (a->failed && (err->status <= STATUS_OK || err->status >= STATUS_MAX_))
        error_set(err, STATUS_INTERNAL, "failed without saying why");
    else if (!a->failed)
        return false;
    return true;
}

static void finish(struct job *j, uint32_t code)
{
    struct answer a;
    memcpy(&a, j->answer, sizeof a);
    job_done done = j->done;
    void *arg = j->arg;
    if (find_failure(j, &a, code)) {
        job_free(j);
        done(NULL, 0, &a.err, arg);
        return;
    }
    job_free(j);
    done(a.reply, a.reply_len, NULL, arg);
}

static void on_exit_info(const struct exit_info *info, void *arg)
{
    finish(arg, info->code);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct job *j = w->data;
    if (!j->killed) {
        j->killed = true;
        kill(j->pid, SIGKILL);
        event_timer_arm(loop, &j->timer, JOB_KILL_GRACE);
        return;
    }
    reaper_unwatch(j->reaper, j->pid);
    finish(j, 128 + SIGKILL);
}

void job_abandon(struct job *j)
{
    if (!j)
        return;
    kill(j->pid, SIGKILL);
    reaper_unwatch(j->reaper, j->pid);
    job_free(j);
}

struct job *job_start(struct ev_loop *loop, struct reaper *reaper, job_work work, job_done done,
                      void *arg, double timeout, struct error *err)
{
    if (!(timeout > 0)) {
        error_set(err, STATUS_INVALID_ARGUMENT, "job: the time limit must be larger than 0");
        return NULL;
    }
    _cleanup_(cleanup_job) struct job *j = calloc(1, sizeof *j);
    if (!j) {
        error_errno(err, ENOMEM, "cannot start a job");
        return NULL;
    }
    *j = (struct job){.loop = loop, .reaper = reaper, .done = done, .arg = arg, .timeout = timeout};
    ev_timer_init(&j->timer, on_timer, timeout, 0.);
    j->timer.data = j;
    void *shared =
        mmap(NULL, sizeof *j->answer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        error_errno(err, errno, "cannot start a job: memory for its answer");
        return NULL;
    }
    j->answer = shared;
    j->pid = child_fork(true);
    if (j->pid == 0)
        run_child(j->answer, work, arg);
    if (j->pid < 0) {
        error_errno(err, errno, "cannot start a job: fork");
        return NULL;
    }
    int r = reaper_watch_new(reaper, j->pid, on_exit_info, j);
    if (r < 0) {
        kill(j->pid, SIGKILL);
        error_errno(err, r, "cannot watch a job");
        return NULL;
    }
    ev_now_update(loop); // the limit counts from here, not from the start of this round
    ev_timer_start(loop, &j->timer);
    return take_ptr(j);
}
