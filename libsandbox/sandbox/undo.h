// What must be taken away again: a list that is journaled before the step that it undoes. Stop,
// failed start and recovery run the same list, newest entry first; every entry may be run any
// number of times.
#ifndef SANDBOX_UNDO_H
#define SANDBOX_UNDO_H

#include <stddef.h>

#include "base/error.h"
#include "base/json.h"
#include "linux/process.h"

enum undo_kind {
    UNDO_PROCESS, // kill this process (pid and start time) and wait for its end
    UNDO_MEMBERS, // kill every process whose namespace is the one pinned at `path`
    UNDO_UNMOUNT, // unmount everything at and below `path`
    UNDO_CGROUP,  // remove cgroup `path`, which we made
    UNDO_INMATES, // kill every process in cgroup `path`, which has none but the pod's own
    UNDO_KIND_MAX_,
};

// "unmount"; "unknown" for numbers outside the enum.
const char *undo_kind_name(enum undo_kind kind);

struct undo_step {
    enum undo_kind kind;
    char *path; // owned; NULL for UNDO_PROCESS
    struct process_id process;
};

// Longest list.
#define UNDO_MAX 16

struct undo {
    struct undo_step steps[UNDO_MAX];
    size_t n;
};

// Appends a step; `path` is copied. Returns 0, -ENOMEM or -ENOSPC.
int undo_push_path(struct undo *u, enum undo_kind kind, const char *path);
int undo_push_process(struct undo *u, const struct process_id *process);
void undo_done(struct undo *u);

// JSON form, for the journal. undo_from_json refuses unknown kinds and paths to unmount that are
// not below `dir`. NULL without memory; 0 or -1.
json_object *undo_to_json(const struct undo *u);
int undo_from_json(struct undo *u, json_object *array, const char *dir, struct error *err);

// Runs all steps, newest first, going on after a failure. Blocks for a bounded time (processes are
// waited for at most UNDO_WAIT_MS each): call it in a job, or before the loop runs. The first error
// is reported. Returns 0 or -1.
#define UNDO_WAIT_MS 5000
int undo_run(const struct undo *u, struct error *err);

#endif
