#include "shim/info.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shim/wire.h"

// Type names as containerd registers them (bare, without a host).
#define RUNC_OPTIONS  "containerd.runc.v1.Options"
#define FEATURES_TYPE "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
// Field numbers: containerd api/types/runc/options/oci.proto, api/types/introspection.proto.
#define OPTIONS_BINARY_NAME 6
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

char *info_wanted_engine(const struct buf *input)
{
    struct wire_field type, value, name;
    if (!wire_find(input->data, input->len, 1, &type) || type.len != strlen(RUNC_OPTIONS) ||
        memcmp(type.data, RUNC_OPTIONS, type.len) != 0)
        return NULL;
    if (!wire_find(input->data, input->len, 2, &value) ||
        !wire_find(value.data, value.len, OPTIONS_BINARY_NAME, &name) || name.len == 0 ||
        memchr(name.data, '\0', name.len))
        return NULL;
    return strndup((const char *)name.data, name.len);
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
