// A mapping of ids as a mount option has it: what is accepted is a run that the kernel takes, and
// is written back as the same numbers.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size), again[64];
    struct id_map m, same;
    if (!text)
        abort();
    if (id_map_parse(text, &m) == 0) {
        snprintf(again, sizeof again, "%u:%u:%u", m.inside, m.outside, m.length);
        if (!id_map_valid(&m) || id_map_parse(again, &same) < 0 || same.inside != m.inside ||
            same.outside != m.outside || same.length != m.length)
            abort();
    }
    free(text);
    return 0;
}
