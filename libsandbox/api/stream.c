#include "api/stream.h"

#include <string.h>

#include "api/any.h"
#include "api/message.h"
#include "api/streaming.pb-c.h"
#include "base/cleanup.h"

// Field number << 3 | 2: a field with a length.
#define FIELD_TYPE_URL 0x0a
#define FIELD_VALUE    0x12
#define FIELD_DATA     0x0a

// ---- reading --------------------------------------------------------------------------------

static int read_init(struct stream_message *m, struct error *err)
{
    m->kind = STREAM_INIT;
    m->id = ((const Streaming__StreamInit *)m->inner)->id;
    return 0;
}

static int read_data(struct stream_message *m, struct error *err)
{
    const Streaming__Data *d = m->inner;
    m->kind = STREAM_DATA;
    m->len = d->data.len;
    m->data = m->len ? d->data.data : NULL;
    return 0;
}

static int read_update(struct stream_message *m, struct error *err)
{
    int32_t update = ((const Streaming__WindowUpdate *)m->inner)->update;
    m->kind = STREAM_UPDATE;
    if (update <= 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "WindowUpdate.update: %d is not positive",
                         update);
    m->update = (uint32_t)update;
    return 0;
}

static int read_empty(struct stream_message *m, struct error *err)
{
    m->kind = STREAM_EMPTY;
    return 0;
}

static const struct {
    const char *type_url;
    const ProtobufCMessageDescriptor *type;
    int (*read)(struct stream_message *m, struct error *err);
} kinds[] = {
    {ANY_STREAM_DATA, &streaming__data__descriptor, read_data},
    {ANY_STREAM_WINDOW, &streaming__window_update__descriptor, read_update},
    {ANY_STREAM_INIT, &streaming__stream_init__descriptor, read_init},
    {ANY_EMPTY, &google__empty__descriptor, read_empty},
};

static int read_any(const Google__Any *any, struct stream_message *m, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!any_is(any, kinds[i].type_url))
            continue;
        m->inner = any_decode(any, kinds[i].type_url, kinds[i].type, err);
        return m->inner ? kinds[i].read(m, err) : -1;
    }
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "a stream carries StreamInit, Data and WindowUpdate, this is %.80s",
                     any->type_url[0] ? any->type_url : "empty");
}

int stream_message_parse(const uint8_t *data, size_t len, struct stream_message *ret,
                         struct error *err)
{
    struct stream_message m = {0};
    m.any = api_message_decode(&google__any__descriptor, data, len, err);
    if (!m.any || read_any(m.any, &m, err) < 0) {
        stream_message_done(&m);
        return -1;
    }
    *ret = m;
    return 0;
}

void stream_message_done(struct stream_message *m)
{
    api_message_free(m->inner);
    api_message_free(m->any);
    m->inner = m->any = NULL;
}

// ---- writing --------------------------------------------------------------------------------

static size_t varint_size(size_t value)
{
    size_t n = 1;
    while (value >>= 7)
        n++;
    return n;
}

// Appends; returns the end.
static uint8_t *put_varint(uint8_t *out, size_t value)
{
    for (; value > 0x7f; value >>= 7)
        *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

static uint8_t *put_type_url(uint8_t *out, const char *type_url)
{
    size_t len = strlen(type_url);
    *out++ = FIELD_TYPE_URL;
    out = put_varint(out, len);
    for (size_t i = 0; i < len; i++) // a length goes before it, no NUL after it
        out[i] = (uint8_t)type_url[i];
    return out + len;
}

size_t stream_data_header(uint8_t *end, size_t len)
{
    // A bytes field without bytes is left out, as every encoder does.
    size_t field = len ? 1 + varint_size(len) : 0;
    size_t size = 2 + sizeof(ANY_STREAM_DATA) - 1 + 1 + varint_size(field + len) + field;
    uint8_t *out = put_type_url(end - size, ANY_STREAM_DATA);
    *out++ = FIELD_VALUE;
    out = put_varint(out, field + len);
    if (len) {
        *out++ = FIELD_DATA;
        put_varint(out, len);
    }
    return size;
}

size_t stream_update_encode(uint8_t out[STREAM_SMALL_MAX], uint32_t update)
{
    uint8_t *at = put_type_url(out, ANY_STREAM_WINDOW);
    *at++ = FIELD_VALUE;
    at = put_varint(at, 1 + varint_size(update));
    *at++ = 0x08; // field 1, a varint
    at = put_varint(at, update);
    return (size_t)(at - out);
}

size_t stream_empty_encode(uint8_t out[STREAM_SMALL_MAX])
{
    return (size_t)(put_type_url(out, ANY_EMPTY) - out);
}

size_t stream_init_encode(uint8_t out[STREAM_INIT_MAX], const char *id)
{
    size_t len = strlen(id);
    uint8_t *at = put_type_url(out, ANY_STREAM_INIT);
    *at++ = FIELD_VALUE;
    at = put_varint(at, 1 + varint_size(len) + len);
    *at++ = 0x0a; // field 1, with a length
    at = put_varint(at, len);
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)id[i];
    return (size_t)(at + len - out);
}
