// Every message that containerd and a reference server exchanged (traces/README.md) goes through
// our descriptors: it must decode, encode to the same bytes again, and hold the fields that the
// recording says, down into the payloads of each Any.
//
// The recording lists fields by their protocol names and leaves zero fields out. A ttrpc frame
// carries its message inside a Request or Response, which is taken apart here by hand.
#include <criterion/criterion.h>
#include <glob.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/any.h"
#include "api/message.h"
#include "base/cleanup.h"
#include "base64.h"
#include "message_types.h"

TestSuite(trace_messages);

// Which line is being read, for the text of failures, and what was done so far.
struct replay {
    const char *file;
    int line;
    const char *type;
    unsigned messages, compared, payloads, json_payloads, same_bytes;
};

#define expect(r, cond, ...)                                                                       \
    cr_assert(cond, "%s:%d %s: %s", (r)->file, (r)->line, (r)->type, message(__VA_ARGS__))

__attribute__((format(printf, 1, 2))) static const char *message(const char *fmt, ...)
{
    static char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return text;
}

static bool same_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

// The bytes of length-delimited field `number` at the top level of a message; absent is empty.
static struct bytes field_bytes(struct bytes msg, unsigned number)
{
    struct bytes found = {0};
    for (size_t i = 0; i < msg.len;) {
        uint64_t v[2] = {0};
        unsigned tag_wire = 2;
        for (int k = 0; k < 2; k++) {
            unsigned shift = 0;
            uint8_t byte;
            do {
                cr_assert_lt(i, msg.len);
                byte = msg.data[i++];
                v[k] |= (uint64_t)(byte & 0x7f) << shift;
                shift += 7;
            } while (byte & 0x80);
            tag_wire = v[0] & 7;
        }
        cr_assert(tag_wire == 0 || tag_wire == 2);
        if (tag_wire != 2)
            continue;
        cr_assert_leq(v[1], msg.len - i);
        if (v[0] >> 3 == number)
            found = (struct bytes){.data = msg.data + i, .len = v[1]};
        i += v[1];
    }
    return found;
}

static void compare_message(struct replay *r, const ProtobufCMessage *msg, json_object *json);

static void compare_any(struct replay *r, const Google__Any *any, json_object *json)
{
    json_object *value;
    const char *url = json_object_get_string(json_object_object_get(json, "type_url"));
    expect(r, any, "Any is missing");
    cr_assert_str_eq(any->type_url, url ? url : "");
    if (json_object_object_get_ex(json, "value_decoded", &value)) {
        const ProtobufCMessageDescriptor *type = any_descriptor(any->type_url);
        expect(r, type, "unknown type URL %s", any->type_url);
        struct error err = {0};
        ProtobufCMessage *inner = any_decode(any, any->type_url, type, &err);
        expect(r, inner, "%s", err.text);
        compare_message(r, inner, value);
        api_message_free(inner);
    } else if (json_object_object_get_ex(json, "value_json", &value)) {
        json_tokener *tok = json_tokener_new();
        json_object *own = json_tokener_parse_ex(tok, (char *)any->value.data, any->value.len);
        expect(r, json_object_equal(own, value), "JSON of %s differs", url);
        json_object_put(own);
        json_tokener_free(tok);
    } else if (json_object_object_get_ex(json, "value_base64", &value)) {
        struct bytes b = base64_bytes(json_object_get_string(value));
        expect(r, same_bytes(b.data, b.len, any->value.data, any->value.len), "value");
        free(b.data);
    } else {
        expect(r, any->value.len == 0, "value of %s is not recorded", url);
    }
}

// One value; json is NULL where the recording leaves the field out.
static void compare_value(struct replay *r, const ProtobufCFieldDescriptor *f, const void *at,
                          json_object *json)
{
    const char *text = json ? json_object_get_string(json) : "";
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        expect(r, !strcmp(*(char *const *)at, text), "%s: %s", f->name, *(char *const *)at);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        expect(r, *(const protobuf_c_boolean *)at == json_object_get_boolean(json), "%s", f->name);
        return;
    case PROTOBUF_C_TYPE_INT32:
        expect(r, *(const int32_t *)at == json_object_get_int64(json), "%s", f->name);
        return;
    case PROTOBUF_C_TYPE_UINT32:
        expect(r, *(const uint32_t *)at == json_object_get_int64(json), "%s", f->name);
        return;
    case PROTOBUF_C_TYPE_INT64:
        expect(r, *(const int64_t *)at == json_object_get_int64(json), "%s", f->name);
        return;
    case PROTOBUF_C_TYPE_UINT64:
        expect(r, *(const uint64_t *)at == json_object_get_uint64(json), "%s", f->name);
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        // NOLINTNEXTLINE: the same number must come out, not one nearby
        expect(r,
               !(*(const double *)at < json_object_get_double(json)) &&
                   !(*(const double *)at > json_object_get_double(json)),
               "%s", f->name);
        return;
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumValue *v =
            protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)at);
        expect(r, v && (json ? !strcmp(v->name, text) : v->value == 0), "%s: %s", f->name, text);
        return;
    }
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *own = at;
        struct bytes b = base64_bytes(text);
        expect(r, same_bytes(b.data, b.len, own->data, own->len), "%s", f->name);
        free(b.data);
        return;
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *sub = *(ProtobufCMessage *const *)at;
        expect(r, !sub == !json, "%s is %s", f->name, sub ? "not recorded" : "missing");
        if (sub)
            compare_message(r, sub, json);
        return;
    }
    default:
        expect(r, false, "%s: a type that no message of ours uses", f->name);
    }
}

static size_t size_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 8; // 64-bit numbers and pointers
    }
}

// Maps are objects in the recording and repeated entries here.
static void compare_map(struct replay *r, const ProtobufCFieldDescriptor *f,
                        ProtobufCMessage *const *entries, size_t n, json_object *json)
{
    const ProtobufCFieldDescriptor *value =
        &((const ProtobufCMessageDescriptor *)f->descriptor)->fields[1];
    expect(r, n == (size_t)json_object_object_length(json), "%s: %zu entries", f->name, n);
    for (size_t i = 0; i < n; i++) {
        const char *key = ((const Types__StringEntry *)entries[i])->key;
        json_object *own;
        expect(r, json_object_object_get_ex(json, key, &own), "%s: key %s", f->name, key);
        compare_value(r, value, (const uint8_t *)entries[i] + value->offset, own);
    }
}

static void compare_repeated(struct replay *r, const ProtobufCFieldDescriptor *f,
                             const ProtobufCMessage *msg, json_object *json)
{
    size_t n = *(const size_t *)(const void *)((const uint8_t *)msg + f->quantifier_offset);
    const uint8_t *items = *(uint8_t *const *)(const void *)((const uint8_t *)msg + f->offset);
    if (!json) {
        expect(r, n == 0, "%s is not recorded", f->name);
        return;
    }
    if (f->descriptor == &types__string_entry__descriptor ||
        f->descriptor == &types__any_entry__descriptor) {
        compare_map(r, f, (ProtobufCMessage *const *)(const void *)items, n, json);
        return;
    }
    expect(r, n == json_object_array_length(json), "%s: %zu items", f->name, n);
    for (size_t i = 0; i < n; i++)
        compare_value(r, f, items + i * size_of(f->type), json_object_array_get_idx(json, i));
}

static const char *recorded_name(const ProtobufCFieldDescriptor *f)
{
    return strcmp(f->name, "linux_") == 0 ? "linux" : f->name;
}

static void compare_message(struct replay *r, const ProtobufCMessage *msg, json_object *json)
{
    const ProtobufCMessageDescriptor *type = msg->descriptor;
    if (type == &google__any__descriptor) {
        compare_any(r, (const Google__Any *)msg, json);
        return;
    }
    expect(r, msg->n_unknown_fields == 0, "%s has %u unknown fields", type->name,
           msg->n_unknown_fields);
    int known = 0;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &type->fields[i];
        json_object *value = NULL;
        known += json_object_object_get_ex(json, recorded_name(f), &value);
        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            compare_repeated(r, f, msg, value);
        else
            compare_value(r, f, (const uint8_t *)msg + f->offset, value);
    }
    expect(r, known == json_object_object_length(json), "%s: a recorded field is unknown to us",
           type->name);
    r->compared++;
}

static void check_bytes(struct replay *r, const ProtobufCMessageDescriptor *type, struct bytes raw);

// Any anywhere below msg: its payload is taken through the same checks.
static void check_payloads(struct replay *r, const ProtobufCMessage *msg)
{
    const ProtobufCMessageDescriptor *type = msg->descriptor;
    if (type == &google__any__descriptor) {
        const Google__Any *any = (const Google__Any *)msg;
        const ProtobufCMessageDescriptor *inner = any_descriptor(any->type_url);
        if (inner) {
            check_bytes(r, inner, (struct bytes){any->value.data, any->value.len});
            r->payloads++;
            return;
        }
        expect(r, any->value.len > 0 && any->value.data[0] == '{', "payload of %s is no JSON",
               any->type_url);
        r->json_payloads++;
        return;
    }
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &type->fields[i];
        const void *at = (const uint8_t *)msg + f->offset;
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (f->label != PROTOBUF_C_LABEL_REPEATED) {
            const ProtobufCMessage *sub = *(ProtobufCMessage *const *)at;
            if (sub)
                check_payloads(r, sub);
            continue;
        }
        size_t n = *(const size_t *)(const void *)((const uint8_t *)msg + f->quantifier_offset);
        for (size_t k = 0; k < n; k++)
            check_payloads(r, (*(ProtobufCMessage * *const *)at)[k]);
    }
}

// Decodes, encodes, compares the bytes.
static void check_bytes(struct replay *r, const ProtobufCMessageDescriptor *type, struct bytes raw)
{
    struct error err = {0};
    ProtobufCMessage *msg = api_message_decode(type, raw.data, raw.len, &err);
    expect(r, msg, "%s", err.text);
    size_t len;
    _cleanup_free_ uint8_t *again = api_message_encode(msg, &len);
    expect(r, same_bytes(again, len, raw.data, raw.len),
           "%s: %zu bytes came in, %zu went out, or they differ", type->name, raw.len, len);
    r->same_bytes++;
    check_payloads(r, msg);
    api_message_free(msg);
}

static void check_message(struct replay *r, json_object *line, struct bytes raw)
{
    const ProtobufCMessageDescriptor *type = message_type_find(r->type);
    expect(r, type, "no such message");
    check_bytes(r, type, raw);
    r->messages++;

    json_object *json;
    if (!json_object_object_get_ex(line, "json", &json) || json_object_object_get(json, "cut"))
        return;
    struct error err = {0};
    ProtobufCMessage *msg = api_message_decode(type, raw.data, raw.len, &err);
    expect(r, msg, "%s", err.text);
    compare_message(r, msg, json);
    api_message_free(msg);
}

static const char *get_string(json_object *o, const char *key)
{
    json_object *v = json_object_object_get(o, key);
    return v ? json_object_get_string(v) : "";
}

static void check_line(struct replay *r, json_object *line)
{
    r->type = get_string(line, "type");
    const char *text = get_string(line, "raw"), *kind = get_string(line, "kind");
    if (!*r->type || !json_object_object_get(line, "raw"))
        return;
    struct bytes raw = base64_bytes(text), payload = raw;
    if (strcmp(get_string(line, "proto"), "grpc") != 0) {
        if (strcmp(kind, "request") == 0)
            payload = field_bytes(raw, 3);
        else if (strcmp(kind, "response") == 0)
            payload = field_bytes(raw, 2);
    }
    check_message(r, line, payload);
    free(raw.data);
}

static void replay_file(struct replay *r, const char *path)
{
    _cleanup_fclose_ FILE *f = fopen(path, "r");
    cr_assert_not_null(f);
    _cleanup_free_ char *text = NULL;
    size_t cap = 0;
    r->file = path;
    for (r->line = 1; getline(&text, &cap, f) > 0; r->line++) {
        json_object *line = json_tokener_parse(text);
        cr_assert_not_null(line, "%s:%d is not JSON", path, r->line);
        check_line(r, line);
        json_object_put(line);
    }
}

static struct replay replay_version(const char *version)
{
    struct replay r = {0};
    char pattern[512];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/protocol/traces/%s/*.jsonl", TEST_DATA, version);
    cr_assert_eq(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        if (!strstr(found.gl_pathv[i], "http2-frames"))
            replay_file(&r, found.gl_pathv[i]);
    }
    globfree(&found);
    cr_log_info("%s: %u messages, %u compared, %u payloads, %u JSON payloads, %u encoded alike",
                version, r.messages, r.compared, r.payloads, r.json_payloads, r.same_bytes);
    cr_assert_eq(r.same_bytes, r.messages + r.payloads);
    return r;
}

// The recordings do not change, so neither do these numbers; a smaller one means that something is
// no longer looked at.
Test(trace_messages, containerd_2_3)
{
    struct replay r = replay_version("2.3.4");
    cr_assert_eq(r.messages, 1726);
    cr_assert_eq(r.compared, 2312);
    cr_assert_eq(r.payloads, 271);
    cr_assert_eq(r.json_payloads, 50);
}

Test(trace_messages, containerd_2_1)
{
    struct replay r = replay_version("2.1.9");
    cr_assert_eq(r.messages, 1498);
    cr_assert_eq(r.compared, 1796);
    cr_assert_eq(r.payloads, 205);
    cr_assert_eq(r.json_payloads, 34);
}
