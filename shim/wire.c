#include "shim/wire.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

// Ten groups of seven bits hold any 64-bit number.
#define VARINT_MAX 10

static int put_varint(struct buf *out, uint64_t value)
{
    uint8_t bytes[VARINT_MAX];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (uint8_t)(value | 0x80);
    bytes[n++] = (uint8_t)value;
    return buf_append(out, bytes, n);
}

static int put_key(struct buf *out, unsigned field, enum wire_type type)
{
    return put_varint(out, (uint64_t)field << 3 | type);
}

int wire_put_uint(struct buf *out, unsigned field, uint64_t value)
{
    if (value == 0)
        return 0;
    int r = put_key(out, field, WIRE_VARINT);
    return r < 0 ? r : put_varint(out, value);
}

int wire_put_bytes(struct buf *out, unsigned field, const void *data, size_t len)
{
    if (len == 0)
        return 0;
    int r = put_key(out, field, WIRE_BYTES);
    if (r == 0)
        r = put_varint(out, len);
    return r < 0 ? r : buf_append(out, data, len);
}

int wire_put_text(struct buf *out, unsigned field, const char *text)
{
    return wire_put_bytes(out, field, text, strlen(text));
}

int wire_put_any(struct buf *out, unsigned field, const char *type_url, const void *data,
                 size_t len)
{
    _cleanup_(buf_free) struct buf any;
    buf_init(&any, out->max);
    int r = wire_put_text(&any, 1, type_url);
    if (r == 0)
        r = wire_put_bytes(&any, 2, data, len);
    return r < 0 ? r : wire_put_bytes(out, field, any.data, any.len);
}

static bool get_varint(struct wire_reader *r, uint64_t *ret)
{
    uint64_t value = 0;
    for (size_t i = 0; i < VARINT_MAX && i < r->len; i++) {
        value |= (uint64_t)(r->data[i] & 0x7f) << (7 * i);
        if (r->data[i] & 0x80)
            continue;
        r->data += i + 1;
        r->len -= i + 1;
        *ret = value;
        return true;
    }
    return false;
}

static bool skip(struct wire_reader *r, size_t n)
{
    if (n > r->len)
        return false;
    r->data += n;
    r->len -= n;
    return true;
}

static bool get_value(struct wire_reader *r, unsigned type, struct wire_field *f)
{
    switch (type) {
    case WIRE_VARINT:
        return get_varint(r, &f->value);
    case WIRE_FIXED64:
        return skip(r, 8);
    case WIRE_FIXED32:
        return skip(r, 4);
    case WIRE_BYTES:
        if (!get_varint(r, &f->value) || f->value > r->len)
            return false;
        f->data = r->data;
        f->len = (size_t)f->value;
        return skip(r, f->len);
    default:
        return false;
    }
}

bool wire_next(struct wire_reader *r, struct wire_field *f)
{
    uint64_t key = 0;
    *f = (struct wire_field){0};
    if (r->len > 0 && get_varint(r, &key) && key >> 3 != 0 && key >> 3 <= UINT32_MAX >> 3 &&
        get_value(r, (unsigned)(key & 7), f)) {
        f->number = (unsigned)(key >> 3);
        return true;
    }
    r->len = 0;
    return false;
}

bool wire_find(const void *data, size_t len, unsigned number, struct wire_field *f)
{
    struct wire_reader r = {data, len};
    struct wire_field each;
    bool found = false;
    while (wire_next(&r, &each)) {
        if (each.number != number || !each.data)
            continue;
        *f = each;
        found = true;
    }
    return found;
}
