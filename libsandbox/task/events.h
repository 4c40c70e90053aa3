// Publishes events to containerd, in order, without ever holding up the caller.
//
// One Forward is in flight. While containerd is away events wait in a queue of
// TASK_EVENTS_MAX; when it overflows the oldest is dropped and counted. An event that containerd
// refuses is dropped.
#ifndef TASK_EVENTS_H
#define TASK_EVENTS_H

#include <ev.h>
#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

#define TASK_EVENTS_MAX          16384
#define TASK_EVENTS_CALL_SECONDS 5.0
#define TASK_EVENTS_RETRY_MIN    0.1
#define TASK_EVENTS_RETRY_MAX    3.0
// Bytes of all queued events.
#define TASK_EVENTS_BYTES_MAX (32u * 1024 * 1024)

struct task_events;

// `path`: containerd's ttrpc socket; NULL or "": events are thrown away. NULL without memory.
struct task_events *task_events_new(struct ev_loop *loop, const char *path);
// Unsent events are lost. Accepts NULL. Returns NULL.
struct task_events *task_events_free(struct task_events *e);
// Queues an event. `type` is the name of the message ("containerd.events.TaskExit"). Without memory
// the event is dropped and counted.
void task_events_publish(struct task_events *e, const char *ns, const char *topic, const char *type,
                         const ProtobufCMessage *event);
// Who is told of every event as well, at once and whether or not containerd takes it.
typedef void (*task_events_tap)(const char *ns, const char *topic, const char *type,
                                const ProtobufCMessage *event, void *arg);
void task_events_set_tap(struct task_events *e, task_events_tap tap, void *arg);
// Events that wait (with the one in flight), and events that were dropped since the start.
size_t task_events_pending(const struct task_events *e);
uint64_t task_events_dropped(const struct task_events *e);
// Bytes of those that wait, and how often one had to be sent again.
size_t task_events_pending_bytes(const struct task_events *e);
uint64_t task_events_resent(const struct task_events *e);

#endif
