// A TOML document of somebody else's (containerd's configuration), flat: dotted keys and values.
#ifndef CTL_DOCUMENT_H
#define CTL_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

// Largest file, and most entries of all that is read into one document.
#define DOCUMENT_SIZE_MAX    (1024u * 1024)
#define DOCUMENT_ENTRIES_MAX 20000

struct document_entry {
    char *key;   // plugins."io.containerd.cri.v1.runtime".containerd
    char *value; // NULL: a table or an array; numbers and booleans as text
    bool table;
};

struct document {
    struct document_entry *list;
    size_t n;
};

void document_done(struct document *d);
// Appends the entries of a text; `name` is for errors. Returns 0 or -1 with "name:line: why".
int document_parse(struct document *d, const char *name, const char *text, size_t len,
                   struct error *err);
// The same for a file. NOT_FOUND if there is none.
int document_load(struct document *d, const char *path, struct error *err);

// The last value of a key; NULL if there is none.
const char *document_get(const struct document *d, const char *key);
// The same with a formatted key.
const char *document_getf(const struct document *d, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
// Has it a table of this name, with something in it?
bool document_has_table(const struct document *d, const char *key);

// Calls fn with the name of every table directly below `table`, once for each.
void document_each(const struct document *d, const char *table,
                   void (*fn)(const char *name, void *arg), void *arg);

#endif
