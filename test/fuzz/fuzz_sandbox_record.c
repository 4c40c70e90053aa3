// A sandbox's record from disk. Invariant: what was taken can be written, and its undo list stays
// below the sandbox's directory.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sandbox_record r;
    struct error err = {0};
    if (size > RECORD_SIZE_MAX || record_parse(&r, data, size, "/run/d/abc", "abc", &err) < 0)
        return 0;
    for (size_t i = 0; i < r.undo.n; i++)
        if (r.undo.steps[i].path && r.undo.steps[i].kind != UNDO_CGROUP &&
            r.undo.steps[i].kind != UNDO_INMATES &&
            strncmp(r.undo.steps[i].path, "/run/d/abc", 10) != 0)
            abort();
    if (strcmp(r.id, "abc") != 0)
        abort();
    record_done(&r);
    return 0;
}
