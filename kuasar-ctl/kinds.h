// The kinds of sandbox of this node, found by their state directories: /run/kuasar-KIND. Every kind
// has the same two daemons with the same files; which kinds there are is not known here.
#ifndef CTL_KINDS_H
#define CTL_KINDS_H

#include <limits.h>
#include <stddef.h>

#include "base/error.h"
#include "base/ident.h"

// Most kinds of a node.
#define KINDS_MAX 32

struct kind {
    char name[IDENT_MAX + 1]; // "runc"
    char dir[PATH_MAX];       // "/run/kuasar-runc"
};

struct kinds {
    struct kind list[KINDS_MAX];
    size_t n;
};

// The two daemons of a kind.
enum role { ROLE_SANDBOXER, ROLE_TASK, ROLE_MAX_ };
const char *role_name(enum role role);
// Path of the socket where it answers. 0 or -ENAMETOOLONG.
int role_socket(enum role role, const struct kind *kind, char *out, size_t size);

// Finds them below `run_dir`, ordered by name; only `only` if it is not NULL (NOT_FOUND lists what
// there is). None at all is no error. Returns 0 or -1.
int kinds_find(struct kinds *ret, const char *run_dir, const char *only, struct error *err);

#endif
