// What the daemons of this node have, from themselves or, where one does not answer, from its
// records. Gathering is here, printing elsewhere (text.c, json.c).
#ifndef CTL_VIEW_H
#define CTL_VIEW_H

#include "api/internal.pb-c.h"
#include "ctl/ctl.h"
#include "ctl/kinds.h"

// Most entries of one daemon that are taken (a daemon has at most SANDBOX_COUNT_MAX or
// TASK_COUNT_MAX).
#define VIEW_ENTRIES_MAX 20000

// One daemon.
struct source {
    const struct kind *kind;
    enum role role;
    bool answered;            // false: its entries are from the journal
    struct error why;         // why it did not answer
    Internal__Daemon *daemon; // if it answered
};

// One sandbox or container.
struct item {
    const struct source *source;
    const Internal__Entry *entry;
};

// A record that cannot be used.
struct broken {
    char path[PATH_MAX];
    struct error why;
};

struct view {
    struct kinds kinds;
    struct source sources[KINDS_MAX * ROLE_MAX_];
    size_t n_sources;
    struct item *items; // sandboxes, each followed by its containers; then those without one
    size_t n_items;
    struct broken *broken;
    size_t n_broken;
    ProtobufCMessage **messages; // what everything above points into
    size_t n_messages;
};

// Gathers everything (as the options say: --kind, --run-dir, --timeout). A daemon that does not
// answer is no error. Returns 0 or -1; view_done in any case.
int view_gather(struct view *v, const struct ctl *ctl, struct error *err);
void view_done(struct view *v);

// Did all daemons answer?
bool view_complete(const struct view *v);

// The details of an item: from its daemon, or as it was read from the journal. Returns an entry
// that the view owns, or NULL (NOT_FOUND: it is gone meanwhile).
const Internal__Entry *view_detail(struct view *v, const struct item *item, const struct ctl *ctl,
                                   struct error *err);

// Order of items. (For the unit test.)
void view_sort(struct item *items, size_t n);

#endif
