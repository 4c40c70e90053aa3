// Configuration text against a key table of every type: what is accepted lies within the table's
// limits, what is refused comes with a reason.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct settings {
    char *listen, *runtime;
    bool debug;
    int64_t limit;
};

static const struct config_key keys[] = {
    {"listen", CONFIG_STRING, offsetof(struct settings, listen), 0, 0},
    {"runtime.default", CONFIG_STRING, offsetof(struct settings, runtime), 0, 0},
    {"runtime.debug", CONFIG_BOOL, offsetof(struct settings, debug), 0, 0},
    {"limit", CONFIG_INT, offsetof(struct settings, limit), 1, 100},
    {.key = "runtime.old", .type = CONFIG_UNUSED},
    {.key = "hypervisor.*", .type = CONFIG_UNUSED},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_setup("fuzz", LOG_LEVEL_ERROR);
    struct settings s = {.limit = 1};
    struct error err = {0};
    int r = config_parse("fuzz.toml", (const char *)data, size, keys, ARRAY_SIZE(keys), &s, &err);
    if (r == 0 ? err.status != STATUS_OK : err.status == STATUS_OK || !err.text[0])
        abort();
    if (s.limit < 1 || s.limit > 100)
        abort();
    free(s.listen);
    free(s.runtime);
    return 0;
}
