#include "preload.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "oci/spec.h"

// Which the plugin knows; it takes no notice of a model for any other.
static const char *const targets[] = {"cpu", "gpu", "tpu", "auto"};

static bool is_target(const char *text, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        if (strlen(targets[i]) == len && strncasecmp(targets[i], text, len) == 0)
            return true;
    }
    return false;
}

// New ones come with new plugins.
static bool is_backend(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && isalnum((unsigned char)text[n]))
        n++;
    return len > 0 && n == len;
}

static bool is_alias(const char *text, size_t len)
{
    return len > 0;
}

static const struct {
    const char *name, *want;
    bool (*is)(const char *text, size_t len);
} parts[] = {
    {"alias", "a name", is_alias},
    {"backend", "letters and digits, like GGML", is_backend},
    {"target", "CPU, GPU, TPU or AUTO", is_target},
};

static int check(const char *text, struct error *err)
{
    if (strlen(text) > PRELOAD_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, PRELOAD_NAME ": longer than %d bytes",
                         PRELOAD_MAX);
    const char *at = text;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        size_t n = strcspn(at, ":");
        if (!at[n])
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             PRELOAD_NAME ": \"%.200s\": want alias:backend:target:path", text);
        if (!parts[i].is(at, n))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             PRELOAD_NAME ": %s \"%.*s\": want %s (alias:backend:target:path)",
                             parts[i].name, (int)(n < 60 ? n : 60), at, parts[i].want);
        at += n + 1;
    }
    return *at ? 0
               : error_set(err, STATUS_INVALID_ARGUMENT,
                           PRELOAD_NAME ": no path (alias:backend:target:path)");
}

int preload_find(json_object *spec, char *const *env, const char **ret, struct error *err)
{
    static const size_t len = sizeof(PRELOAD_NAME) - 1;
    const char *text = oci_spec_annotation(spec, PRELOAD_NAME);
    for (; *env; env++) {
        if (strncmp(*env, PRELOAD_NAME "=", len + 1) == 0)
            text = *env + len + 1;
    }
    *ret = text;
    return text ? check(text, err) : 0;
}
