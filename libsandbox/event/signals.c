#include "event/event.h"

#include <stddef.h>

static void on_signal(struct ev_loop *loop, ev_signal *w, int revents)
{
    struct event_signals *s = w->data;
    if (s->stopping) {
        ev_break(loop, EVBREAK_ALL);
        return;
    }
    s->stopping = true;
    s->stop(s->arg);
}

void event_signals_start(struct event_signals *s, struct ev_loop *loop, void (*stop)(void *arg),
                         void *arg)
{
    *s = (struct event_signals){.loop = loop, .stop = stop, .arg = arg};
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    ev_signal_init(&s->term, on_signal, SIGTERM);
    ev_signal_init(&s->intr, on_signal, SIGINT);
    s->term.data = s->intr.data = s;
    ev_signal_start(loop, &s->term);
    ev_signal_start(loop, &s->intr);
}

void event_signals_done(struct event_signals *s)
{
    if (!s->loop)
        return;
    ev_signal_stop(s->loop, &s->term);
    ev_signal_stop(s->loop, &s->intr);
    s->loop = NULL;
}
