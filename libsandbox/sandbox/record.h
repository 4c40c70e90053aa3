// The journal of one sandbox: <dir>/sandboxes/<id>/sandbox.json, replaced atomically whenever a
// fact changes. It holds what a successor needs, and nothing secret.
#ifndef SANDBOX_RECORD_H
#define SANDBOX_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "base/json.h"
#include "oci/pod.h"
#include "sandbox/sizes.h"
#include "sandbox/undo.h"

#define RECORD_FILE    "sandbox.json"
#define RECORD_VERSION 1
// Largest record that is written or read, and how much of it the first one, of state CREATING,
// leaves to its successors.
#define RECORD_SIZE_MAX   (1024u * 1024)
#define RECORD_GROWTH_MAX 4096u

// Who may do what:
//   CREATING  Create is at work; a successor undoes it
//   CREATED   may be started, stopped, removed
//   READY     containers run
//   STOPPING  the undo list is being run; a successor runs it again
//   STOPPED   nothing is left but this record; ends with Shutdown
enum sandbox_state {
    SANDBOX_CREATING,
    SANDBOX_CREATED,
    SANDBOX_READY,
    SANDBOX_STOPPING,
    SANDBOX_STOPPED,
    SANDBOX_STATE_MAX_,
};
const char *sandbox_state_name(enum sandbox_state state);

struct sandbox_record {
    char *id;
    enum sandbox_state state;
    bool remove; // forget it when it is stopped: nobody will ask for that (again)
    struct timespec created_at, exited_at;
    uint32_t exit_status; // from STOPPING on
    char *netns;          // containerd's path; "" with host network
    char *hostname;       // "" with the host's
    char *name;           // "<namespace>/<name>" of the pod, for people; may be ""
    char *runtime_type;   // as containerd said it
    json_object *labels;  // string to string
    json_object *annotations;
    struct sandbox_sizes sizes;
    struct process_id init; // pid 0: none
    struct pod pod;         // what the task server gets to know
    struct undo undo;
};

// Frees everything the record holds, not the struct.
void record_done(struct sandbox_record *r);
// Writes the record into its directory. INVALID_ARGUMENT if it is too long; a record that could be
// written as CREATING is never too long later. Returns 0 or -1.
int record_store(const struct sandbox_record *r, const char *dir, struct error *err);
// Reads the record of directory `dir`, whose last component is `id`. NOT_FOUND without a file,
// FAILED_PRECONDITION for a version that we do not know, INVALID_ARGUMENT for broken contents
// (also: the record of another id; a living sandbox without its pod.json). Returns 0 or -1; *r is
// untouched on failure.
int record_load(struct sandbox_record *r, const char *dir, const char *id, struct error *err);
// The same from memory. (Entry point of the fuzzer.)
int record_parse(struct sandbox_record *r, const void *data, size_t len, const char *dir,
                 const char *id, struct error *err);

#endif
