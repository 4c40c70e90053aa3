// The journal: one file a task, <dir>/tasks/<namespace>/<id>.json, with the facts that a successor
// needs to clean up. It is written before the step whose leftover it describes, atomically, 0600
// below 0700.
#ifndef TASK_RECORD_H
#define TASK_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"
#include "linux/process.h"
#include "task/task.h"

#define TASK_RECORD_VERSION 1
// Largest record that is read (execs included).
#define TASK_RECORD_MAX (1024u * 1024)

// A record as it was read; strings are borrowed from `root`.
struct task_record {
    json_object *root;   // owned
    json_object *engine; // what ops->adopt gets
    const char *ns, *id, *bundle, *kind;
    const char *sandbox_id, *name, *cgroup; // NULL: none
    bool mounted, engaged, stopped;
    struct process_id init;
    struct task_record_exec {
        const char *id;
        struct process_id pid;
    } * execs; // owned
    size_t n_execs;
};

// Reads a record. Everything is checked as if an enemy had written it: ids, paths, pids.
// INVALID_ARGUMENT for broken contents, FAILED_PRECONDITION for another version. 0 or -1; *ret is
// untouched on failure. (Entry point of the fuzzer.)
int task_record_parse(const void *data, size_t len, struct task_record *ret, struct error *err);
void task_record_done(struct task_record *r);

// Entry of a record, for when its server does not answer (inspect.c).
struct inspect_entry;
void task_record_describe(const struct task_record *r, struct inspect_entry *entry);

// Writes the record of a task as it is now. 0 or -1.
int task_record_store(struct task *t, struct error *err);
// Removes it; absent is fine. Failures are logged.
void task_record_remove(struct task *t);

#endif
