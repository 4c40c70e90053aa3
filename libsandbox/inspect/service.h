// The service kuasar.internal.v1.Inspect, the same in every daemon: what it has, page by page; one
// of them in detail; what happens. Reads only, answers from memory.
#ifndef INSPECT_SERVICE_H
#define INSPECT_SERVICE_H

#include "api/message.h"
#include "base/map.h"
#include "inspect/entry.h"
#include "inspect/events.h"

// Most entries of a page: with the longest cgroup paths and names well below the largest answer.
#define INSPECT_PAGE_MAX 256

// What a daemon shows. Everything is borrowed and outlives the service.
struct inspect_source {
    const char *program, *version;
    // Its entries, by the key that orders them: "<id>", or "<namespace>/<id>".
    struct map *entries;
    // Fills the entry of a value of that map. Lists call it too (entry->detailed is false).
    void (*describe)(const void *value, struct inspect_entry *entry);
    struct inspect_events *events;
};

struct inspect {
    struct api_service service; // give &service.rpc to the ttrpc server
    struct inspect_source source;
    struct timespec started_at;
};

// `i` must not move afterwards.
void inspect_init(struct inspect *i, const struct inspect_source *source);

#endif
