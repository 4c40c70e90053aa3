// What a bug report must not carry: taken out here, by name and by rule, before anything is
// written.
//
// Redacted by default, because any of it may hold a secret: values of environment variables,
// command lines behind the program, annotations and labels but for those that containerd and a
// kubelet set themselves, and values of configuration keys that by their name hold one.
#ifndef CTL_REDACT_H
#define CTL_REDACT_H

#include "base/buf.h"
#include "base/json.h"

// What stands where something was taken out.
#define REDACTED "<redacted>"

// Redacts a record of ours or an OCI spec in place. Keeps structure and keys.
void redact_json(json_object *o);

// Appends a TOML text with the values redacted whose key, or the table that they are in, says that
// they hold a secret (auth, token, password, registry, ...). Line by line: the document need not be
// valid. Returns 0 or the error of buf_append.
int redact_toml(const char *text, size_t len, struct buf *out);

// Does the name of a key say so?
bool redact_is_secret_name(const char *name, size_t len);

#endif
