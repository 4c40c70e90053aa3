// What may reach protobuf-c.
//
// protobuf-c decodes what it is given: strings of any bytes, which C then cuts at the first NUL;
// any depth, on the stack; and of most faults it only says that there was one. So the raw bytes are
// walked here first, along the same descriptors. A message that passes is refused by protobuf-c for
// want of memory only, and whoever sent it reads which field was at fault.
//
// Refused:
// - numbers that end in the middle, are longer than ten bytes or do not fit in 64 bits; tags and
//   lengths of more than five bytes (protobuf-c's own limits); lengths that reach beyond the end of
//   the message around them;
// - field number 0 and wire types that do not exist; groups, which proto3 does not have;
// - a known field in the wire form of another type (packed numbers and single ones are both fine);
// - strings that are not UTF-8 or hold a NUL;
// - messages nested deeper than API_MESSAGE_DEPTH_MAX;
// - a singular message field that occurs twice. The standard asks for a merge; no encoder writes
//   this, and protobuf-c's merge loses numbers that only the earlier one has. Of other singular
//   fields the last one counts, as everywhere.
//
// Unknown fields only have to be well-formed.
#include "api/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/message.h"
#include "base/cleanup.h"

enum wire {
    WIRE_VARINT = 0,
    WIRE_64 = 1,
    WIRE_BYTES = 2,
    WIRE_32 = 5,
};

// Most bytes of a varint, and of a tag or a length.
#define VARINT_MAX 10
#define PREFIX_MAX 5
// Highest field number of protobuf.
#define FIELD_NUMBER_MAX ((1u << 29) - 1)
// Most fields in one of our messages; a bit is kept for each while its message is walked.
#define FIELDS_MAX 64

// One level of the walk. The chain of parents is the path that errors name.
struct level {
    const struct level *parent;
    const ProtobufCMessageDescriptor *type;
    // The field that is read; NULL before its tag and if unknown.
    const ProtobufCFieldDescriptor *field;
    unsigned depth;
    const uint8_t *at, *end;
    uint64_t seen; // by index: singular message fields that came already
    struct error *err;
};

static int check_level(struct level *lv);

static void write_path(const struct level *lv, char *buf, size_t size)
{
    const struct level *path[API_MESSAGE_DEPTH_MAX + 1];
    size_t n = 0;
    do {
        path[n++] = lv;
        lv = lv->parent;
    } while (lv && n < ARRAY_SIZE(path));
    int len = snprintf(buf, size, "%s", path[n - 1]->type->name);
    while (n-- > 0 && len >= 0 && (size_t)len < size) {
        if (path[n]->field)
            len += snprintf(buf + len, size - (size_t)len, ".%s", path[n]->field->name);
    }
}

__attribute__((format(printf, 2, 3))) static int refuse(const struct level *lv, const char *fmt,
                                                        ...)
{
    char path[256], text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    write_path(lv, path, sizeof path);
    return error_set(lv->err, STATUS_INVALID_ARGUMENT, "%s: %s", path, text);
}

// Reads a varint of at most `max` bytes. False if it is longer, cut off, or over 64 bits.
static bool read_varint(const uint8_t **at, const uint8_t *end, unsigned max, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < max && *at < end; i++) {
        uint8_t byte = *(*at)++;
        if (i == VARINT_MAX - 1 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            *ret = value;
            return true;
        }
    }
    return false;
}

// Bytes of the UTF-8 sequence at s, 0 if there is no valid one. Overlong forms, surrogates and
// everything above U+10FFFF are invalid (RFC 3629).
static size_t utf8_sequence(const uint8_t *s, size_t len)
{
    static const struct {
        uint8_t lead_min, lead_max, second_min, second_max, len;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if (s[0] < forms[i].lead_min || s[0] > forms[i].lead_max)
            continue;
        if (len < forms[i].len)
            return 0;
        if (forms[i].len > 1 && (s[1] < forms[i].second_min || s[1] > forms[i].second_max))
            return 0;
        for (size_t k = 2; k < forms[i].len; k++) {
            if ((s[k] & 0xc0) != 0x80)
                return 0;
        }
        return forms[i].len;
    }
    return 0;
}

bool api_text_valid(const uint8_t *data, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_sequence(data + i, len - i);
        if (!n)
            return false;
    }
    return true;
}

static enum wire wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

static int check_packed(const struct level *lv, enum wire wire, const uint8_t *at, size_t len)
{
    if (wire == WIRE_64 || wire == WIRE_32) {
        size_t size = wire == WIRE_64 ? 8 : 4;
        return len % size ? refuse(lv, "%zu bytes are no whole numbers", len) : 0;
    }
    for (const uint8_t *end = at + len; at < end;) {
        uint64_t ignored;
        if (!read_varint(&at, end, VARINT_MAX, &ignored))
            return refuse(lv, "a packed number is cut off or too long");
    }
    return 0;
}

static int check_message(struct level *lv, const uint8_t *data, size_t len)
{
    if (lv->field->label != PROTOBUF_C_LABEL_REPEATED) {
        uint64_t bit = UINT64_C(1) << (lv->field - lv->type->fields);
        if (lv->seen & bit)
            return refuse(lv, "occurs more than once");
        lv->seen |= bit;
    }
    struct level below = {
        .parent = lv,
        .type = lv->field->descriptor,
        .depth = lv->depth + 1,
        .at = data,
        .end = data + len,
        .err = lv->err,
    };
    return check_level(&below);
}

// A value that is a length and that many bytes.
static int check_bytes(struct level *lv)
{
    uint64_t len;
    if (!read_varint(&lv->at, lv->end, PREFIX_MAX, &len))
        return refuse(lv, "the length is cut off or too long");
    if (len > (size_t)(lv->end - lv->at))
        return refuse(lv, "has %llu bytes where %zu are left", (unsigned long long)len,
                      (size_t)(lv->end - lv->at));
    const uint8_t *data = lv->at;
    lv->at += len;
    if (!lv->field)
        return 0;
    switch (lv->field->type) {
    case PROTOBUF_C_TYPE_STRING:
        if (!api_text_valid(data, len))
            return refuse(lv, "is not UTF-8 text without NUL");
        return 0;
    case PROTOBUF_C_TYPE_BYTES:
        return 0;
    case PROTOBUF_C_TYPE_MESSAGE:
        return check_message(lv, data, len);
    default:
        return check_packed(lv, wire_of(lv->field->type), data, len);
    }
}

static int check_value(struct level *lv, unsigned wire)
{
    uint64_t ignored;
    size_t fixed = wire == WIRE_64 ? 8 : 4;
    switch (wire) {
    case WIRE_VARINT:
        if (!read_varint(&lv->at, lv->end, VARINT_MAX, &ignored))
            return refuse(lv, "the number is cut off or too long");
        return 0;
    case WIRE_BYTES:
        return check_bytes(lv);
    case WIRE_64:
    case WIRE_32:
        if ((size_t)(lv->end - lv->at) < fixed)
            return refuse(lv, "the number is cut off");
        lv->at += fixed;
        return 0;
    default:
        return refuse(lv, "unsupported wire type %u (groups do not exist in proto3)", wire);
    }
}

static bool wire_fits(const ProtobufCFieldDescriptor *field, unsigned wire)
{
    enum wire own = wire_of(field->type);
    return wire == own || (wire == WIRE_BYTES && field->label == PROTOBUF_C_LABEL_REPEATED);
}

static int check_field(struct level *lv)
{
    uint64_t tag;
    lv->field = NULL;
    if (!read_varint(&lv->at, lv->end, PREFIX_MAX, &tag))
        return refuse(lv, "no protobuf: a tag is cut off or too long");
    uint64_t number = tag >> 3;
    unsigned wire = tag & 7;
    if (number == 0 || number > FIELD_NUMBER_MAX)
        return refuse(lv, "no protobuf: field number %llu", (unsigned long long)number);
    lv->field = protobuf_c_message_descriptor_get_field(lv->type, (unsigned)number);
    if (lv->field && !wire_fits(lv->field, wire))
        return refuse(lv, "has wire type %u, which is not that of its type", wire);
    return check_value(lv, wire);
}

static int check_level(struct level *lv)
{
    if (lv->depth > API_MESSAGE_DEPTH_MAX)
        return refuse(lv->parent, "messages are nested deeper than %d", API_MESSAGE_DEPTH_MAX);
    if (lv->type->n_fields > FIELDS_MAX)
        return error_set(lv->err, STATUS_INTERNAL, "%s: has more than %d fields", lv->type->name,
                         FIELDS_MAX);
    while (lv->at < lv->end) {
        if (check_field(lv) < 0)
            return -1;
    }
    return 0;
}

int api_message_check(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len,
                      struct error *err)
{
    if (len == 0)
        return 0;
    struct level top = {.type = type, .depth = 1, .at = data, .end = data + len, .err = err};
    return check_level(&top);
}
