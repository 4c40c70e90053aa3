// Which entry an argument means.
#ifndef CTL_CHOOSE_H
#define CTL_CHOOSE_H

#include <stddef.h>

#include "base/error.h"

struct choice {
    const char *kind, *ns, *id; // ns: "" for a sandbox
};

// May the argument be an id or the beginning of one? INVALID_ARGUMENT that says why not. 0 or -1.
int choose_check(const char *argument, struct error *err);

// The rule: an argument that is an id means that entry, else it is a prefix and must begin exactly
// one id. With `ns` (may be NULL) only containers of this namespace count. NOT_FOUND, or
// FAILED_PRECONDITION that lists some of those it could mean. Returns 0 with *ret_index, or -1.
int choose(const struct choice *choices, size_t n, const char *ns, const char *argument,
           size_t *ret_index, struct error *err);

#endif
