// Identifiers and paths from outside are checked here, at the door.
#ifndef BASE_IDENT_H
#define BASE_IDENT_H

#include <stdbool.h>

#include "base/error.h"

// Longest identifier (containerd pkg/identifiers: maxLength = 76).
#define IDENT_MAX 76
// Longest path we take from a peer.
#define IDENT_PATH_MAX 4000

// containerd's identifier rule: [A-Za-z0-9]+([._-][A-Za-z0-9]+)*, 1 to 76 characters.
bool ident_valid(const char *id);

// Like ident_valid; on refusal sets INVALID_ARGUMENT with a text that names `field`, the rule and a
// printable form of the value. NULL counts as empty. Returns 0 or -1.
int ident_check(const char *id, const char *field, struct error *err);

// An absolute path without "." or ".." components, at most IDENT_PATH_MAX bytes. Errors as
// ident_check.
int ident_path_check(const char *path, const char *field, struct error *err);

#endif
