// containerd's handlers, as its configuration has them.
#ifndef CTL_HANDLERS_H
#define CTL_HANDLERS_H

#include "ctl/doctor.h"

// Room for the key of a handler's table.
#define HANDLER_TABLE_MAX 300

// The configuration as far as it is known. Borrowed.
const struct document *handlers_document(const struct doctor *d);
// Calls fn with the name of every handler.
void handlers_each(const struct document *doc, void (*fn)(const char *name, void *arg), void *arg);
// How a table's name is written in a key.
void handlers_quote(char *to, size_t size, const char *name);
// Writes the key of a handler's table. 0 or -ENAMETOOLONG.
int handlers_table(const char *name, char *out, size_t size);
// The value of a key in it; "" if there is none.
const char *handlers_value(const struct document *doc, const char *name, const char *key);
// Is its sandboxer none of containerd's own?
bool handlers_is_ours(const struct document *doc, const char *name);

#endif
