// What a bug report must not carry: taken out here, by name and by rule, before anything is
// written.
//
// Redacted by default, because any of it may hold a secret: values of environment variables,
// command lines, annotations and labels but for those that containerd and a kubelet set themselves,
// values of keys that by their name hold one (auth, token, password, registry, ...), everything in
// tables whose name says so, and what stands before the "@" in a URL. Structure and keys stay, and
// booleans do.
#ifndef CTL_REDACT_H
#define CTL_REDACT_H

#include <stddef.h>

#include "base/json.h"

// What stands where something was taken out.
#define REDACTED "<redacted>"

// Redacts a record of ours or an OCI spec in place. Of a command line the program stays.
void redact_json(json_object *o);

// A TOML text, redacted, as JSON, which the caller owns: what can be told apart in a document could
// not be told in its lines. Of a command line nothing stays: a configuration names the program
// elsewhere. NULL if it is no TOML (INVALID_ARGUMENT with the line, without why: that may quote it)
// or too large for memory (RESOURCE_EXHAUSTED).
json_object *redact_toml(const char *text, size_t len, struct error *err);

#endif
