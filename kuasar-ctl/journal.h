// What the records say while a daemon does not answer.
#ifndef CTL_JOURNAL_H
#define CTL_JOURNAL_H

#include "api/internal.pb-c.h"
#include "ctl/kinds.h"

// Called for every record: `entry` (detailed; api_message_free) is the callee's; or for one that
// cannot be used: entry NULL, `path` and why.
struct journal_visitor {
    void (*entry)(Internal__Entry *entry, void *arg);
    void (*broken)(const char *path, const struct error *why, void *arg);
    void *arg;
};

// Reads the records of one daemon, in no order. A directory that is not there has none.
void journal_read(const struct kind *kind, enum role role, const struct journal_visitor *v);

#endif
