// doctor runs programs that it finds by looking around, as root: only those that nobody but root
// can have put where they are.
#ifndef CTL_TRUST_H
#define CTL_TRUST_H

#include "ctl/doctor.h"

// Is root + path a regular file (no link to one) that belongs, as every directory above it up to
// the root directory, to root or to our user, and is no one else's to write? A sticky directory
// counts as writable: anybody makes files in it. 0, or -1 with INVALID_ARGUMENT for a path that
// ident_path_check refuses, else FAILED_PRECONDITION that names the part that it is about.
int trust_program(const struct doctor *d, const char *path, struct error *err);

#endif
