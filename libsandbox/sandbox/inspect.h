// What a sandboxer shows of its sandboxes (inspect/service.h), living or read from a record.
#ifndef SANDBOX_INSPECT_H
#define SANDBOX_INSPECT_H

#include "inspect/service.h"
#include "sandbox/sandbox.h"

// Entry of a record; `dir` is the sandbox's directory.
void sandbox_record_describe(const struct sandbox_record *r, const char *dir,
                             struct inspect_entry *entry);
// Entry of a `struct sandbox`; the slot of struct inspect_source.
void sandbox_describe(const void *sandbox, struct inspect_entry *entry);

#endif
