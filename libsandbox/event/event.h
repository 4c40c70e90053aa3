// The loop: one per process, libev's, made by main and passed down. Watchers are embedded in the
// object that they serve; an object is freed only after its watchers are stopped.
//
// Rules: callbacks never block; a call that returns an error never calls back; a completion is
// never called from inside the call that started the work.
#ifndef EVENT_EVENT_H
#define EVENT_EVENT_H

#include <ev.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

// ---- timers ----------------------------------------------------------------------------------

// Lets a one-shot timer fire once, `seconds` from now, whether it waits already, has fired or is
// new. (A bare ev_timer_start of a timer that has fired is due at once: libev keeps what was left,
// nothing.)
static inline void event_timer_arm(struct ev_loop *loop, ev_timer *w, double seconds)
{
    ev_timer_stop(loop, w);
    ev_timer_set(w, seconds, 0.);
    ev_timer_start(loop, w);
}

// ---- ending ----------------------------------------------------------------------------------

// Calls `stop` once on SIGTERM or SIGINT (a second signal breaks the loop at once). Ignores SIGHUP
// and SIGPIPE.
struct event_signals {
    struct ev_loop *loop;
    ev_signal term, intr;
    void (*stop)(void *arg);
    void *arg;
    bool stopping;
};
void event_signals_start(struct event_signals *s, struct ev_loop *loop, void (*stop)(void *arg),
                         void *arg);
void event_signals_done(struct event_signals *s);

// Tells the service manager a state ("READY=1", "STOPPING=1") by $NOTIFY_SOCKET; without one it
// does nothing. Returns 0 or a negative errno.
int event_notify(const char *state);

#endif
