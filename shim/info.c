#include "shim/info.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "shim/wire.h"

// Type name as containerd registers it.
#define FEATURES_TYPE "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
// Field numbers: containerd api/types/runc/options/oci.proto,
// api/types/runtimeoptions/v1/api.proto, api/types/introspection.proto.
#define RUNC_BINARY_NAME    6
#define RUNTIME_CONFIG_BODY 3
#define INFO_NAME           1
#define INFO_VERSION        2
#define INFO_FEATURES       4

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void info_read_input(int fd, struct buf *input)
{
    int64_t deadline = now_ms() + INFO_INPUT_WAIT;
    for (;;) {
        int64_t left = deadline - now_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0 || (p.revents & POLLNVAL))
            return;
        char piece[4096];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || buf_append(input, piece, (size_t)n) < 0)
            return;
    }
}

// The keys of runc's options as a user writes them; only one matters here, but a key that the table
// lacks would be an error.
struct toml_options {
    char *binary_name, *other;
    bool flag;
    int64_t id;
};
#define TOML_TEXT(key, member)                                                                     \
    {                                                                                              \
        key, CONFIG_STRING, offsetof(struct toml_options, member), 0, 0                            \
    }
#define TOML_FLAG(key)                                                                             \
    {                                                                                              \
        key, CONFIG_BOOL, offsetof(struct toml_options, flag), 0, 0                                \
    }
#define TOML_ID(key)                                                                               \
    {                                                                                              \
        key, CONFIG_INT, offsetof(struct toml_options, id), 0, 4294967294L                         \
    }
static const struct config_key toml_keys[] = {
    TOML_TEXT("BinaryName", binary_name),
    TOML_TEXT("Root", other),
    TOML_TEXT("ShimCgroup", other),
    TOML_TEXT("CriuImagePath", other),
    TOML_TEXT("CriuWorkPath", other),
    TOML_TEXT("CriuPath", other),
    TOML_FLAG("SystemdCgroup"),
    TOML_FLAG("NoPivotRoot"),
    TOML_FLAG("NoNewKeyring"),
    TOML_ID("IoUid"),
    TOML_ID("IoGid"),
};

// The engine named by containerd.runc.v1.Options.
static char *engine_in_runc_options(const struct wire_field *options)
{
    struct wire_field name;
    if (!wire_find(options->data, options->len, RUNC_BINARY_NAME, &name) || name.len == 0 ||
        memchr(name.data, '\0', name.len))
        return NULL;
    return strndup((const char *)name.data, name.len);
}

// The engine named by runtimeoptions.v1.Options, in which containerd passes the options table of a
// runtime type that is not runc's as TOML. Somebody else's table names none.
static char *engine_in_runtime_options(const struct wire_field *options)
{
    struct wire_field body;
    struct toml_options toml = {0};
    if (!wire_find(options->data, options->len, RUNTIME_CONFIG_BODY, &body))
        return NULL;
    (void)config_parse("options", (const char *)body.data, body.len, toml_keys,
                       ARRAY_SIZE(toml_keys), &toml, NULL);
    free(toml.other);
    if (toml.binary_name && !*toml.binary_name) {
        free(toml.binary_name);
        toml.binary_name = NULL;
    }
    return toml.binary_name;
}

static bool is_type(const struct wire_field *type, const char *name)
{
    return type->len == strlen(name) && memcmp(type->data, name, type->len) == 0;
}

char *info_wanted_engine(const struct buf *input)
{
    struct wire_field type, value;
    if (!wire_find(input->data, input->len, 1, &type) ||
        !wire_find(input->data, input->len, 2, &value))
        return NULL;
    if (is_type(&type, "containerd.runc.v1.Options"))
        return engine_in_runc_options(&value);
    if (is_type(&type, "runtimeoptions.v1.Options"))
        return engine_in_runtime_options(&value);
    return NULL;
}

// The keys of our configuration file, of which one matters here, too.
static const struct config_key our_keys[] = {
    TOML_TEXT("runtime", binary_name),
    TOML_TEXT("runtime_root", other),
    TOML_TEXT("engine", other),
    TOML_TEXT("debug_rootfs", other),
    TOML_FLAG("wasmedge_plugins"),
    TOML_TEXT("containerd_events", other),
    TOML_TEXT("sandboxer_metrics_address", other),
    TOML_TEXT("task_metrics_address", other),
    TOML_FLAG("default_unprivileged_ports"),
    TOML_FLAG("default_unprivileged_icmp"),
};

int info_configured_engine(const char *path, char **ret, struct error *err)
{
    struct toml_options toml = {0};
    int r = config_load(path, our_keys, ARRAY_SIZE(our_keys), &toml, err);
    free(toml.other);
    *ret = toml.binary_name;
    return r;
}

int info_encode(const struct info *info, struct buf *out)
{
    _cleanup_(buf_free) struct buf version;
    buf_init(&version, out->max);
    int r = wire_put_text(&version, 1, info->version);
    if (r == 0)
        r = wire_put_text(&version, 2, info->revision);
    if (r == 0)
        r = wire_put_text(out, INFO_NAME, info->name);
    if (r == 0)
        r = wire_put_bytes(out, INFO_VERSION, version.data, version.len);
    if (r == 0)
        r = wire_put_any(out, INFO_FEATURES, FEATURES_TYPE, info->features->data,
                         info->features->len);
    return r;
}
