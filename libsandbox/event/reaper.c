// All children of the process are collected here: SIGCHLD arrives through the loop, then waitid
// takes one exit after the other until there is none.
//
// An exit is handed on before the next one is taken, and its watch is gone by then. So a number
// that the kernel gives to a new process while a callback runs cannot be confused with the old one,
// and a callback may add and drop any watch. It may also free the reaper: `freed` points to a
// variable of the round that is under way.
//
// An exit that nobody watches is kept while a hold is taken (see the header). A watch that finds
// its exit there becomes due and is delivered by a timer of zero seconds, never from inside the
// call. Such a watch stays in the table until then, so that it can still be dropped.
//
// One round is bounded, so that a storm of exits does not keep the loop from its other work.
#include "event/reaper.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/wait.h>

#include "base/cleanup.h"

#define REAPER_BUCKETS   1024
#define REAPER_ROUND_MAX 256

struct watch {
    LIST_ENTRY(watch) link;
    TAILQ_ENTRY(watch) due_link; // if due
    bool due;
    struct exit_info info; // pid; the rest if due
    reaper_fn fn;
    void *arg;
};

struct unclaimed {
    TAILQ_ENTRY(unclaimed) link;
    LIST_ENTRY(unclaimed) bucket_link;
    struct exit_info info;
};

LIST_HEAD(watch_list, watch);
TAILQ_HEAD(due_list, watch);
LIST_HEAD(unclaimed_list, unclaimed);
TAILQ_HEAD(unclaimed_queue, unclaimed);

struct reaper {
    struct ev_loop *loop;
    ev_signal child;
    ev_timer again; // delivers what is due, and goes on with a round that was cut
    bool *freed;    // of the round that is under way, or NULL
    unsigned holds;
    unsigned n_unclaimed;
    struct due_list due;
    struct unclaimed_queue unclaimed; // oldest first
    struct watch_list watches[REAPER_BUCKETS];
    struct unclaimed_list unclaimed_by_pid[REAPER_BUCKETS];
};

static unsigned bucket(pid_t pid)
{
    return (unsigned)pid % REAPER_BUCKETS;
}

static struct watch *find_watch(const struct reaper *r, pid_t pid)
{
    struct watch *w;
    LIST_FOREACH(w, &r->watches[bucket(pid)], link)
    if (w->info.pid == pid)
        return w;
    return NULL;
}

static struct unclaimed *find_unclaimed(struct reaper *r, pid_t pid)
{
    struct unclaimed *u;
    LIST_FOREACH(u, &r->unclaimed_by_pid[bucket(pid)], bucket_link)
    if (u->info.pid == pid)
        return u;
    return NULL;
}

static void drop_unclaimed(struct reaper *r, struct unclaimed *u)
{
    if (!u)
        return;
    TAILQ_REMOVE(&r->unclaimed, u, link);
    LIST_REMOVE(u, bucket_link);
    r->n_unclaimed--;
    free(u);
}

static void drop_watch(struct reaper *r, struct watch *w)
{
    LIST_REMOVE(w, link);
    if (w->due)
        TAILQ_REMOVE(&r->due, w, due_link);
    free(w);
}

// Without memory the exit is forgotten, as it is when too many are kept.
static void keep_unclaimed(struct reaper *r, const struct exit_info *info)
{
    drop_unclaimed(r, find_unclaimed(r, info->pid));
    if (r->n_unclaimed >= REAPER_UNCLAIMED_MAX)
        drop_unclaimed(r, TAILQ_FIRST(&r->unclaimed));
    struct unclaimed *u = malloc(sizeof *u);
    if (!u)
        return;
    u->info = *info;
    TAILQ_INSERT_TAIL(&r->unclaimed, u, link);
    LIST_INSERT_HEAD(&r->unclaimed_by_pid[bucket(info->pid)], u, bucket_link);
    r->n_unclaimed++;
}

static void deliver(struct reaper *r, struct watch *w, const struct exit_info *info)
{
    struct exit_info copy = *info;
    reaper_fn fn = w->fn;
    void *arg = w->arg;
    drop_watch(r, w);
    fn(&copy, arg);
}

// Takes one exit from the kernel. False when there is none.
static bool next_exit(struct exit_info *info)
{
    siginfo_t si = {0};
    int r;
    do
        r = waitid(P_ALL, 0, &si, WEXITED | WNOHANG);
    while (r < 0 && errno == EINTR);
    if (r < 0 || si.si_pid == 0)
        return false;
    info->pid = si.si_pid;
    info->code = si.si_code == CLD_EXITED ? (uint32_t)si.si_status & 0xff
                                          : 128 + ((uint32_t)si.si_status & 0x7f);
    clock_gettime(CLOCK_REALTIME, &info->at);
    return true;
}

static void take_exit(struct reaper *r, const struct exit_info *info)
{
    struct watch *w = find_watch(r, info->pid);
    if (w && !w->due)
        deliver(r, w, info);
    else if (r->holds > 0)
        keep_unclaimed(r, info);
}

static void run_later(struct reaper *r)
{
    if (!ev_is_active(&r->again))
        ev_timer_start(r->loop, &r->again);
}

// Delivers as many as were due when the round began; what becomes due meanwhile may wait for the
// next.
static bool deliver_due(struct reaper *r, const bool *freed)
{
    unsigned n = 0;
    struct watch *w;
    TAILQ_FOREACH(w, &r->due, due_link)
    n++;
    while (n-- > 0 && (w = TAILQ_FIRST(&r->due))) {
        deliver(r, w, &w->info);
        if (*freed)
            return false;
    }
    return true;
}

static void run_round(struct reaper *r)
{
    bool freed = false;
    struct exit_info info;
    r->freed = &freed;
    if (!deliver_due(r, &freed))
        return;
    int n = 0;
    while (n < REAPER_ROUND_MAX && next_exit(&info)) {
        take_exit(r, &info);
        if (freed)
            return;
        n++;
    }
    r->freed = NULL;
    if (n == REAPER_ROUND_MAX || !TAILQ_EMPTY(&r->due))
        run_later(r);
}

static void on_child(struct ev_loop *loop, ev_signal *w, int revents)
{
    run_round(w->data);
}

static void on_again(struct ev_loop *loop, ev_timer *w, int revents)
{
    run_round(w->data);
}

struct reaper *reaper_new(struct ev_loop *loop)
{
    if (ev_is_default_loop(loop)) {
        errno = EINVAL;
        return NULL;
    }
    struct reaper *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->loop = loop;
    TAILQ_INIT(&r->due);
    TAILQ_INIT(&r->unclaimed);
    ev_signal_init(&r->child, on_child, SIGCHLD);
    ev_timer_init(&r->again, on_again, 0., 0.);
    r->child.data = r->again.data = r;
    ev_signal_start(loop, &r->child);
    run_later(r); // for children that ended before there was a handler
    return r;
}

struct reaper *reaper_free(struct reaper *r)
{
    if (!r)
        return NULL;
    ev_signal_stop(r->loop, &r->child);
    ev_timer_stop(r->loop, &r->again);
    for (unsigned i = 0; i < REAPER_BUCKETS; i++)
        for (struct watch *w; (w = LIST_FIRST(&r->watches[i]));)
            drop_watch(r, w);
    for (struct unclaimed *u; (u = TAILQ_FIRST(&r->unclaimed));)
        drop_unclaimed(r, u);
    if (r->freed)
        *r->freed = true;
    free(r);
    return NULL;
}

static int add_watch(struct reaper *r, pid_t pid, reaper_fn fn, void *arg,
                     const struct unclaimed *known)
{
    if (pid <= 0)
        return -EINVAL;
    if (find_watch(r, pid))
        return -EEXIST;
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->info.pid = pid;
    w->fn = fn;
    w->arg = arg;
    LIST_INSERT_HEAD(&r->watches[bucket(pid)], w, link);
    if (known) {
        w->info = known->info;
        w->due = true;
        TAILQ_INSERT_TAIL(&r->due, w, due_link);
        run_later(r);
    }
    return 0;
}

int reaper_watch(struct reaper *r, pid_t pid, reaper_fn fn, void *arg)
{
    struct unclaimed *u = find_unclaimed(r, pid);
    int ret = add_watch(r, pid, fn, arg, u);
    if (ret == 0)
        drop_unclaimed(r, u);
    return ret;
}

int reaper_watch_new(struct reaper *r, pid_t pid, reaper_fn fn, void *arg)
{
    drop_unclaimed(r, find_unclaimed(r, pid));
    return add_watch(r, pid, fn, arg, NULL);
}

bool reaper_is_due(const struct reaper *r, pid_t pid)
{
    const struct watch *w = find_watch(r, pid);
    return w && w->due;
}

void reaper_unwatch(struct reaper *r, pid_t pid)
{
    struct watch *w = find_watch(r, pid);
    if (w)
        drop_watch(r, w);
}

void reaper_hold(struct reaper *r)
{
    r->holds++;
}

void reaper_release(struct reaper *r)
{
    if (r->holds > 0)
        r->holds--;
    if (r->holds > 0)
        return;
    for (struct unclaimed *u; (u = TAILQ_FIRST(&r->unclaimed));)
        drop_unclaimed(r, u);
}
