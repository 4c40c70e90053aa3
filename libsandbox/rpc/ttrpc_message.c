#include "rpc/ttrpc_message.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

// What is left to read.
struct reader {
    uint8_t *at, *end;
};

// One field: `number` for a varint, `data` and `len` for bytes, nothing for the rest.
struct field {
    uint32_t tag;
    enum wire wire;
    uint64_t number;
    uint8_t *data;
    size_t len;
};

static struct reader reader_over(uint8_t *data, size_t len)
{
    return (struct reader){data, data + len};
}

static bool read_varint(struct reader *r, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (r->at == r->end)
            return false;
        uint8_t byte = *r->at++;
        if (shift == 63 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = value;
            return true;
        }
    }
    return false;
}

static bool read_fixed(struct reader *r, size_t n)
{
    if ((size_t)(r->end - r->at) < n)
        return false;
    r->at += n;
    return true;
}

// The next field. False at bytes that are no protobuf (groups, which proto3 does not have, are
// none).
static bool read_field(struct reader *r, struct field *f)
{
    uint64_t key;
    if (!read_varint(r, &key) || key > UINT32_MAX || !(key >> 3))
        return false;
    *f = (struct field){.tag = (uint32_t)key >> 3, .wire = (enum wire)(key & 7)};
    switch (f->wire) {
    case WIRE_VARINT:
        return read_varint(r, &f->number);
    case WIRE_FIXED64:
        return read_fixed(r, 8);
    case WIRE_FIXED32:
        return read_fixed(r, 4);
    case WIRE_BYTES: {
        uint64_t len;
        if (!read_varint(r, &len) || len > (size_t)(r->end - r->at))
            return false;
        f->data = r->at;
        f->len = (size_t)len;
        r->at += len;
        return true;
    }
    }
    return false;
}

// Length of the well-formed UTF-8 character at p (no overlong forms, no surrogates), 0 if there is
// none.
static size_t utf8_character(const uint8_t *p, size_t left)
{
    static const struct {
        uint8_t first, last; // of the first byte
        uint8_t second_min, second_max;
        uint8_t len;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if (p[0] < forms[i].first || p[0] > forms[i].last)
            continue;
        if (left < forms[i].len)
            return 0;
        if (forms[i].len > 1 && (p[1] < forms[i].second_min || p[1] > forms[i].second_max))
            return 0;
        for (size_t k = 2; k < forms[i].len; k++) {
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        }
        return forms[i].len;
    }
    return 0;
}

// Makes a bytes field a C string where it lies. NULL if it has a NUL or is no UTF-8.
static const char *string_in_place(const struct field *f)
{
    for (size_t i = 0, n; i < f->len; i += n) {
        n = utf8_character(f->data + i, f->len - i);
        if (!n || !f->data[i])
            return NULL;
    }
    char *text = (char *)f->data - 1;
    memmove(text, f->data, f->len);
    text[f->len] = '\0';
    return text;
}

static int malformed(struct error *err, const char *what)
{
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s is no valid protobuf", what);
}

static int take_string(const struct field *f, const char *what, const char **ret, struct error *err)
{
    if (f->wire != WIRE_BYTES)
        return malformed(err, what);
    *ret = string_in_place(f);
    if (!*ret)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s has a NUL or bytes that are no UTF-8",
                         what);
    return 0;
}

static int take_name(const struct field *f, const char *what, const char **ret, struct error *err)
{
    if (f->wire == WIRE_BYTES && f->len > TTRPC_NAME_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s has %zu bytes, at most %d are allowed",
                         what, f->len, TTRPC_NAME_MAX);
    return take_string(f, what, ret, err);
}

static int take_pair(const struct field *f, struct ttrpc_request *req, size_t *bytes,
                     struct error *err)
{
    if (f->wire != WIRE_BYTES)
        return malformed(err, "request metadata");
    if (req->metadata_len == TTRPC_METADATA_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "request has more than %d metadata entries", TTRPC_METADATA_MAX);

    struct ttrpc_pair *pair = &req->metadata[req->metadata_len];
    *pair = (struct ttrpc_pair){"", ""};
    struct reader r = {f->data, f->data + f->len};
    struct field inner;
    while (r.at < r.end) {
        if (!read_field(&r, &inner))
            return malformed(err, "request metadata");
        if (inner.tag == 1 && take_string(&inner, "metadata key", &pair->key, err) < 0)
            return -1;
        if (inner.tag == 2 && take_string(&inner, "metadata value", &pair->value, err) < 0)
            return -1;
    }
    *bytes += strlen(pair->key) + strlen(pair->value) + 2;
    if (*bytes > TTRPC_METADATA_BYTES)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "request has more than %d bytes of metadata", TTRPC_METADATA_BYTES);
    req->metadata_len++;
    return 0;
}

static int take_request_field(const struct field *f, struct ttrpc_request *req, size_t *bytes,
                              struct error *err)
{
    switch (f->tag) {
    case 1:
        return take_name(f, "request service", &req->service, err);
    case 2:
        return take_name(f, "request method", &req->method, err);
    case 3:
        if (f->wire != WIRE_BYTES)
            return malformed(err, "request payload");
        req->payload = f->data;
        req->payload_len = f->len;
        return 0;
    case 4:
        if (f->wire != WIRE_VARINT)
            return malformed(err, "request timeout_nano");
        req->timeout_nano = (int64_t)f->number;
        return 0;
    case 5:
        return take_pair(f, req, bytes, err);
    default:
        return 0;
    }
}

int ttrpc_request_decode(uint8_t *data, size_t len, struct ttrpc_request *ret, struct error *err)
{
    struct reader r = reader_over(data, len);
    struct field f;
    size_t metadata_bytes = 0;

    ret->service = ret->method = "";
    ret->payload = data;
    ret->payload_len = 0;
    ret->timeout_nano = 0;
    ret->metadata_len = 0;
    while (r.at < r.end) {
        if (!read_field(&r, &f))
            return malformed(err, "request");
        if (take_request_field(&f, ret, &metadata_bytes, err) < 0)
            return -1;
    }
    if (!ret->service[0] || !ret->method[0])
        return error_set(err, STATUS_INVALID_ARGUMENT, "request names no %s",
                         ret->service[0] ? "method" : "service");
    return 0;
}

static bool take_status(const struct field *status, int32_t *ret_code, const char **ret_text)
{
    if (status->wire != WIRE_BYTES)
        return false;
    struct reader r = reader_over(status->data, status->len);
    struct field f;
    while (r.at < r.end) {
        if (!read_field(&r, &f))
            return false;
        if (f.tag == 1) {
            if (f.wire != WIRE_VARINT)
                return false;
            *ret_code = (int32_t)f.number;
        } else if (f.tag == 2 && take_string(&f, "status", ret_text, NULL) < 0) {
            return false;
        }
    }
    return true;
}

int ttrpc_response_decode(uint8_t *data, size_t len, const uint8_t **ret_payload, size_t *ret_len,
                          struct error *err)
{
    struct reader r = reader_over(data, len);
    struct field f;
    int32_t code = 0;
    const char *text = "";
    const uint8_t *payload = data;
    size_t payload_len = 0;

    while (r.at < r.end) {
        bool good = read_field(&r, &f);
        if (good && f.tag == 1) {
            good = take_status(&f, &code, &text);
        } else if (good && f.tag == 2) {
            good = f.wire == WIRE_BYTES;
            payload = f.data;
            payload_len = f.len;
        }
        if (!good)
            return error_set(err, STATUS_INTERNAL, "the peer's response is no valid protobuf");
    }
    if (code)
        return error_set(err, code > 0 && code < STATUS_MAX_ ? (enum status)code : STATUS_UNKNOWN,
                         "%s", text);
    *ret_payload = payload;
    *ret_len = payload_len;
    return 0;
}

// ---- writing -----------------------------------------------------------------------------------

static size_t varint_size(uint64_t value)
{
    size_t n = 1;
    while (value >>= 7)
        n++;
    return n;
}

static uint8_t *put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

// A bytes field with a one-byte key; an empty one is left out, as in proto3.
static size_t bytes_size(size_t len)
{
    return len ? 1 + varint_size(len) + len : 0;
}

static uint8_t *put_bytes(uint8_t *out, unsigned tag, const void *data, size_t len)
{
    if (!len)
        return out;
    *out++ = (uint8_t)(tag << 3 | WIRE_BYTES);
    out = put_varint(out, len);
    memcpy(out, data, len);
    return out + len;
}

static size_t pair_size(const struct ttrpc_pair *pair)
{
    return bytes_size(strlen(pair->key)) + bytes_size(strlen(pair->value));
}

size_t ttrpc_request_size(const struct ttrpc_request *req)
{
    size_t size = bytes_size(strlen(req->service)) + bytes_size(strlen(req->method)) +
                  bytes_size(req->payload_len);
    if (req->timeout_nano)
        size += 1 + varint_size((uint64_t)req->timeout_nano);
    for (size_t i = 0; i < req->metadata_len; i++) {
        size_t n = pair_size(&req->metadata[i]);
        size += 1 + varint_size(n) + n;
    }
    return size;
}

void ttrpc_request_encode(const struct ttrpc_request *req, uint8_t *out)
{
    out = put_bytes(out, 1, req->service, strlen(req->service));
    out = put_bytes(out, 2, req->method, strlen(req->method));
    out = put_bytes(out, 3, req->payload, req->payload_len);
    if (req->timeout_nano) {
        *out++ = 4 << 3 | WIRE_VARINT;
        out = put_varint(out, (uint64_t)req->timeout_nano);
    }
    for (size_t i = 0; i < req->metadata_len; i++) {
        const struct ttrpc_pair *pair = &req->metadata[i];
        *out++ = 5 << 3 | WIRE_BYTES;
        out = put_varint(out, pair_size(pair));
        out = put_bytes(out, 1, pair->key, strlen(pair->key));
        out = put_bytes(out, 2, pair->value, strlen(pair->value));
    }
}

size_t ttrpc_response_size(size_t payload_len)
{
    return bytes_size(payload_len);
}

void ttrpc_response_encode(const uint8_t *payload, size_t payload_len, uint8_t *out)
{
    put_bytes(out, 2, payload, payload_len);
}

static size_t status_size(const struct error *err)
{
    return 1 + varint_size((uint64_t)err->status) + bytes_size(strlen(err->text));
}

size_t ttrpc_error_size(const struct error *err)
{
    return bytes_size(status_size(err));
}

void ttrpc_error_encode(const struct error *err, uint8_t *out)
{
    size_t len = strlen(err->text);

    *out++ = 1 << 3 | WIRE_BYTES;
    out = put_varint(out, status_size(err));
    *out++ = 1 << 3 | WIRE_VARINT;
    out = put_varint(out, (uint64_t)err->status);
    out = put_bytes(out, 2, err->text, len);

    uint8_t *text = out - len;
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_character(text + i, len - i);
        if (!n) {
            text[i] = '?';
            n = 1;
        }
    }
}
