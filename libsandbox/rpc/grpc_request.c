// The request side of a call: header fields, the path, the one message.
//
// What a request must look like is the gRPC protocol over HTTP/2; what is answered to one that is
// not so follows grpc-go's server, since containerd's tools were made against that one:
//
//   :method other than POST           HTTP 405, INTERNAL
//   content-type not application/grpc HTTP 415, INVALID_ARGUMENT
//   malformed grpc-timeout            HTTP 400, INTERNAL
//   malformed path, unknown service   UNIMPLEMENTED
//   grpc-encoding, compressed flag    UNIMPLEMENTED (we announce no encoding)
//   other flag values                 INTERNAL
//   message over the limit            RESOURCE_EXHAUSTED, as soon as the prefix says so
//   no message, half a message, two   INTERNAL
//   headers over the limits           RESOURCE_EXHAUSTED
//
// The first problem is kept and answered once; what follows on the stream is dropped unread.
#include "grpc_internal.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define CONTENT_TYPE "application/grpc"

static void problem(struct grpc_call *call, int http, enum status status, const char *text)
{
    if (!call->problem.text)
        call->problem = (struct grpc_problem){.text = text, .status = status, .http = http};
}

int grpc_timeout_parse(const char *text, size_t len, uint64_t *ret_ms)
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = {{'n', 1},          {'u', 1000},        {'m', 1000000},
                 {'S', 1000000000}, {'M', 60000000000}, {'H', 3600000000000}};
    if (len < 2 || len > 9)
        return -EINVAL;
    uint64_t value = 0;
    for (size_t i = 0; i < len - 1; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (units[i].unit != text[len - 1])
            continue;
        // 99999999 hours in nanoseconds need 69 bits: large units are scaled in milliseconds.
        if (units[i].ns >= 1000000)
            *ret_ms = value * (units[i].ns / 1000000);
        else
            *ret_ms = (value * units[i].ns + 999999) / 1000000;
        return 0;
    }
    return -EINVAL;
}

// ---- header fields ---------------------------------------------------------------------------

typedef int (*field_fn)(struct grpc_call *call, const char *value, size_t len);

// Counts bytes of this call against what all calls may hold.
static bool charge(struct grpc_call *call, size_t bytes)
{
    struct grpc_usage *usage = call->session->config.usage;
    if (bytes > GRPC_USAGE_RECEIVED_MAX - usage->received) {
        problem(call, 0, STATUS_RESOURCE_EXHAUSTED,
                "too much request data is being received at the moment; retry later");
        return false;
    }
    usage->received += bytes;
    call->charged += bytes;
    return true;
}

static int keep(struct grpc_call *call, const char *name, size_t name_len, const char *value,
                size_t value_len)
{
    if (!charge(call, name_len + value_len + 2))
        return 0;
    if (buf_reserve(&call->headers, name_len + value_len + 2) < 0)
        return -ENOMEM;
    // Both strings end with NUL at their length; nghttp2 lets no NUL through inside.
    buf_append(&call->headers, name, name_len);
    buf_append(&call->headers, "", 1);
    buf_append(&call->headers, value, value_len);
    buf_append(&call->headers, "", 1);
    return 0;
}

static int field_method(struct grpc_call *call, const char *value, size_t len)
{
    if (len == 4 && memcmp(value, "POST", 4) == 0)
        call->got_method = true;
    return 0;
}

static int field_path(struct grpc_call *call, const char *value, size_t len)
{
    size_t offset = call->headers.len + sizeof ":path";
    int r = keep(call, ":path", 5, value, len);
    if (r == 0 && !call->problem.text)
        call->path = offset;
    return r;
}

static int field_content_type(struct grpc_call *call, const char *value, size_t len)
{
    // "application/grpc", "application/grpc+proto", "application/grpc;...".
    const size_t n = sizeof CONTENT_TYPE - 1;
    if (len >= n && strncasecmp(value, CONTENT_TYPE, n) == 0 &&
        (len == n || value[n] == '+' || value[n] == ';'))
        call->is_grpc = true;
    return 0;
}

static int field_timeout(struct grpc_call *call, const char *value, size_t len)
{
    uint64_t ms;
    if (grpc_timeout_parse(value, len, &ms) < 0)
        problem(call, 400, STATUS_INTERNAL, "malformed grpc-timeout");
    else
        call->timeout = call->session->config.clock(call->session->config.arg) + ms;
    return 0;
}

static int field_encoding(struct grpc_call *call, const char *value, size_t len)
{
    if (len != 0 && !(len == 8 && memcmp(value, "identity", 8) == 0))
        problem(call, 0, STATUS_UNIMPLEMENTED,
                "no decompressor for the request's grpc-encoding; send it uncompressed");
    return 0;
}

static int field_ignored(struct grpc_call *call, const char *value, size_t len)
{
    return 0;
}

static field_fn find_field(const char *name, size_t len)
{
    static const struct {
        const char *name;
        field_fn take;
    } fields[] = {
        {":method", field_method},
        {":path", field_path},
        {":scheme", field_ignored},
        {":authority", field_ignored},
        {"content-type", field_content_type},
        {"grpc-timeout", field_timeout},
        {"grpc-encoding", field_encoding},
        {"grpc-accept-encoding", field_ignored},
        {"te", field_ignored},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strlen(fields[i].name) == len && memcmp(fields[i].name, name, len) == 0)
            return fields[i].take;
    return NULL;
}

int grpc_request_header(struct grpc_call *call, const uint8_t *name, size_t name_len,
                        const uint8_t *value, size_t value_len)
{
    if (++call->header_count > GRPC_HEADER_COUNT_MAX) {
        problem(call, 0, STATUS_RESOURCE_EXHAUSTED, "too many header fields in the request");
        return 0;
    }
    call->header_bytes += name_len + value_len + 32;
    if (call->header_bytes > GRPC_HEADERS_MAX) {
        problem(call, 0, STATUS_RESOURCE_EXHAUSTED, "the request's header list is too large");
        return 0;
    }
    if (call->problem.text)
        return 0;
    field_fn take = find_field((const char *)name, name_len);
    if (take)
        return take(call, (const char *)value, value_len);
    return keep(call, (const char *)name, name_len, (const char *)value, value_len);
}

void grpc_request_headers_done(struct grpc_call *call)
{
    if (!call->got_method)
        problem(call, 405, STATUS_INTERNAL, "the request's method is not POST");
    if (!call->is_grpc)
        problem(call, 415, STATUS_INVALID_ARGUMENT,
                "the request's content-type is not application/grpc");
    if (call->problem.text)
        return;
    // "/package.Service/Method"; nghttp2 lets no request without :path through.
    const char *path = call->path ? (const char *)call->headers.data + call->path : "";
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || slash == path) {
        problem(call, 0, STATUS_UNIMPLEMENTED, "malformed method name");
        return;
    }
    call->method = slash + 1;
    call->service =
        rpc_service_find(call->session->config.services, path + 1, (size_t)(slash - path - 1));
    if (!call->service)
        problem(call, 0, STATUS_UNIMPLEMENTED, "unknown service");
}

const char *grpc_request_metadata(const struct grpc_call *call, const char *key)
{
    const char *p = (const char *)call->headers.data, *end = p ? p + call->headers.len : p;
    while (p < end) {
        const char *value = p + strlen(p) + 1;
        if (p[0] != ':' && strcmp(p, key) == 0)
            return value;
        p = value + strlen(value) + 1;
    }
    return NULL;
}

// ---- the message -----------------------------------------------------------------------------

static void prefix_done(struct grpc_call *call)
{
    const uint8_t *p = call->prefix;
    call->message_len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | (size_t)p[4];
    if (p[0] == 1)
        problem(call, 0, STATUS_UNIMPLEMENTED,
                "the request is compressed, and no decompressor is installed");
    else if (p[0] != 0)
        problem(call, 0, STATUS_INTERNAL, "unknown payload format in the message's flag byte");
    else if (call->message_len > GRPC_MESSAGE_MAX)
        problem(call, 0, STATUS_RESOURCE_EXHAUSTED,
                "the request message is larger than the limit of 16 MiB");
}

int grpc_request_body(struct grpc_call *call, const uint8_t *data, size_t len)
{
    while (len > 0 && call->prefix_len < GRPC_PREFIX) {
        call->prefix[call->prefix_len++] = *data++;
        len--;
        if (call->prefix_len == GRPC_PREFIX)
            prefix_done(call);
    }
    if (call->problem.text || len == 0)
        return 0;
    if (len > call->message_len - call->message.len) {
        problem(call, 0, STATUS_INTERNAL, "more than one request message for a unary method");
        return 0;
    }
    // Memory follows what has arrived, not what the prefix promises.
    if (!charge(call, len))
        return 0;
    return buf_append(&call->message, data, len) < 0 ? -ENOMEM : 0;
}

void grpc_request_done(struct grpc_call *call)
{
    if (call->prefix_len == 0)
        problem(call, 0, STATUS_INTERNAL, "the request has no message");
    else if (call->prefix_len < GRPC_PREFIX || call->message.len < call->message_len)
        problem(call, 0, STATUS_INTERNAL, "the request ended in the middle of its message");
}

void grpc_request_clear(struct grpc_call *call)
{
    buf_free(&call->headers);
    buf_free(&call->message);
    if (call->session)
        call->session->config.usage->received -= call->charged;
    call->charged = 0;
}
