// Describing a sandbox or a container for an answer: filled by whoever knows it, without thinking
// of memory. What is too long is cut, what is too much is left out; a want of memory is found out
// when the answer is sent.
#ifndef INSPECT_ENTRY_H
#define INSPECT_ENTRY_H

#include <stdbool.h>
#include <time.h>

#include "api/internal.pb-c.h"
#include "base/stages.h"

// Most of each that an entry has: a pod's facts are some dozen; a container remembers 1024 execs.
#define INSPECT_FACTS_MAX      64
#define INSPECT_PROCESSES_MAX  1100
#define INSPECT_OPERATIONS_MAX 8
// Longest value that is formatted here.
#define INSPECT_VALUE_MAX 4096

// Memory of one answer.
struct inspect_memory {
    struct inspect_block *blocks;
    bool failed; // something is missing for want of memory
};
void inspect_memory_done(struct inspect_memory *m);

// `msg` is for the describer to fill: strings are borrowed until the answer is sent, which is
// before the loop goes on. Lists and times are filled with the functions below.
struct inspect_entry {
    Internal__Entry msg;
    bool detailed; // false: an entry of a list, the functions that are for Show do nothing
    Google__Timestamp created_at, exited_at;
    struct inspect_memory *memory;
};
// An empty entry; must not move afterwards.
void inspect_entry_init(struct inspect_entry *e, struct inspect_memory *memory, bool detailed);

// A formatted string for a field of `msg`. Never NULL.
char *inspect_text(struct inspect_entry *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void inspect_created(struct inspect_entry *e, struct timespec at);
void inspect_exited(struct inspect_entry *e, struct timespec at, uint32_t status);

// ---- for Show only ------------------------------------------------------------------------------

// A fact, in order; one with an empty value is left out. `name` is a constant.
void inspect_fact(struct inspect_entry *e, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// The times of an operation, if there was one.
void inspect_stages(struct inspect_entry *e, const struct stages *s);
// A process; `process` is copied, its strings are borrowed. `exited_at` may be NULL.
void inspect_process(struct inspect_entry *e, const Internal__Process *process,
                     const struct timespec *exited_at);

#endif
