// What happened in a daemon lately, for whoever follows it (kuasar-ctl events): a ring of the
// latest events, all of a size, numbered from 1. A follower asks for what comes behind the last
// number that it has seen and is parked until there is something. So a slow follower costs nothing;
// it is told how many it has missed.
#ifndef INSPECT_EVENTS_H
#define INSPECT_EVENTS_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "api/internal.pb-c.h"
#include "rpc/call.h"

// Events that are remembered: half a minute of a node that starts 10 containers a second. The ring
// grows to that with use: 300 KiB.
#define INSPECT_EVENTS_MAX 1024
// Most events of an answer.
#define INSPECT_EVENTS_PAGE 512
// Most requests that are parked. Followers are people; one more is refused.
#define INSPECT_FOLLOWERS_MAX 64
// Longest that a request is parked, in milliseconds.
#define INSPECT_WAIT_MAX 60000

struct inspect_events;

// What happened. Strings are copied, cut at the length of an identifier; NULL counts as "".
struct inspect_event {
    const char *topic; // "/tasks/exit", "/sandboxes/ready"
    const char *ns, *id, *exec_id;
    pid_t pid;
    bool exited; // exit_status says something
    uint32_t exit_status;
};

// NULL without memory.
struct inspect_events *inspect_events_new(struct ev_loop *loop);
// Parked requests are failed with UNAVAILABLE, and so is what would be parked from now on: a daemon
// that waits for its last answers does not wait for followers. Accepts NULL.
void inspect_events_drain(struct inspect_events *e);
// Drains. Accepts NULL. Returns NULL.
struct inspect_events *inspect_events_free(struct inspect_events *e);
// Remembers an event and answers who waits for one. `e` may be NULL: nobody can follow.
void inspect_events_add(struct inspect_events *e, const struct inspect_event *event);
// Ends the call, now or later.
void inspect_events_poll(struct inspect_events *e, const Internal__EventsRequest *req,
                         struct rpc_call *call);

#endif
