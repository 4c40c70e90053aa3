#include "api/check.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stddef.h>
#include <string.h>

#include "api/cgroups1.pb-c.h"
#include "api/cgroups2.pb-c.h"
#include "api/cri.pb-c.h"
#include "api/message.h"
#include "api/task.pb-c.h"
#include "base/cleanup.h"

TestSuite(check);

struct row {
    const ProtobufCMessageDescriptor *type;
    const char *bytes;
    size_t len;
    const char *error; // NULL: accepted
};

#define ROW(type_, bytes_, error_)                                                                 \
    {                                                                                              \
        .type = &type_##__descriptor, .bytes = (bytes_), .len = sizeof(bytes_) - 1,                \
        .error = (error_)                                                                          \
    }

static const struct row rows[] = {
    // Plain messages, unknown fields of every wire type.
    ROW(task__start_request, "", NULL),
    ROW(task__start_request, "\x0a\x01x", NULL),
    ROW(task__start_request, "\x78\x01\x7a\x02\xff\x00\x79\1\2\3\4\5\6\7\x08\x7d\1\2\3\4", NULL),
    // Tags.
    ROW(task__start_request, "\x80",
        "task.StartRequest: no protobuf: a tag is cut off or too long"),
    ROW(task__start_request, "\xff\xff\xff\xff\xff\x01\x00",
        "task.StartRequest: no protobuf: a tag is cut off or too long"),
    ROW(task__start_request, "\xf8\xff\xff\xff\x1f\x00",
        "task.StartRequest: no protobuf: field number 1073741823"),
    ROW(task__start_request, "\xf8\xff\xff\xff\x0f\x00", NULL),
    ROW(task__start_request, "\x02\x00", "task.StartRequest: no protobuf: field number 0"),
    ROW(task__start_request, "\x7b\x7c",
        "task.StartRequest: unsupported wire type 3 (groups do not exist in proto3)"),
    ROW(task__start_request, "\x7e",
        "task.StartRequest: unsupported wire type 6 (groups do not exist in proto3)"),
    ROW(task__start_request, "\x0b\x0c",
        "task.StartRequest.id: has wire type 3, which is not that of its type"),
    // Lengths.
    ROW(task__start_request, "\x0a", "task.StartRequest.id: the length is cut off or too long"),
    ROW(task__start_request, "\x0a\x02x", "task.StartRequest.id: has 2 bytes where 1 are left"),
    ROW(task__start_request, "\x0a\xff\xff\xff\xff\x0f",
        "task.StartRequest.id: has 4294967295 bytes where 0 are left"),
    ROW(task__start_request, "\x0a\x81\x80\x80\x80\x80\x00x",
        "task.StartRequest.id: the length is cut off or too long"),
    ROW(task__start_request, "\x0a\x81\x80\x80\x80\x00x", NULL),
    ROW(task__start_request, "\x7a\x02x", "task.StartRequest: has 2 bytes where 1 are left"),
    // Numbers.
    ROW(task__start_response, "\x08\x80",
        "task.StartResponse.pid: the number is cut off or too long"),
    ROW(task__start_response, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", NULL),
    ROW(task__start_response, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        "task.StartResponse.pid: the number is cut off or too long"),
    ROW(task__start_response, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00",
        "task.StartResponse.pid: the number is cut off or too long"),
    ROW(cgroups2__psidata, "\x09\1\2\3\4\5\6\7\x08", NULL),
    ROW(cgroups2__psidata, "\x09\1\2\3\4\5\6\7", "cgroups2.PSIData.avg10: the number is cut off"),
    ROW(task__start_request, "\x7d\1\2\3", "task.StartRequest: the number is cut off"),
    // A field in the form of another type.
    ROW(task__start_request, "\x08\x01",
        "task.StartRequest.id: has wire type 0, which is not that of its type"),
    ROW(task__start_response, "\x0a\x01x",
        "task.StartResponse.pid: has wire type 2, which is not that of its type"),
    // Repeated numbers, packed and single.
    ROW(cgroups1__cpuusage, "\x22\x03\x01\x80\x01\x20\x05", NULL),
    ROW(cgroups1__cpuusage, "\x22\x02\x01\x80",
        "cgroups1.CPUUsage.per_cpu: a packed number is cut off or too long"),
    ROW(cgroups1__cpuusage, "\x22\x00", NULL),
    // Text.
    ROW(task__start_request, "\x0a\x03x\0y", "task.StartRequest.id: is not UTF-8 text without NUL"),
    ROW(task__start_request, "\x0a\x02\xc3\xa9", NULL),
    ROW(task__start_request, "\x0a\x01\xc3", "task.StartRequest.id: is not UTF-8 text without NUL"),
    // Bytes hold anything; the same below a message.
    ROW(google__any, "\x12\x02\x00\xff", NULL),
    ROW(task__exec_process_request, "\x3a\x04\x12\x02\x00\xff", NULL),
    // Nested: the path is named, the inner end counts.
    ROW(task__create_task_request, "\x1a\x04\x12\x02x\xff",
        "task.CreateTaskRequest.rootfs.source: is not UTF-8 text without NUL"),
    ROW(task__create_task_request, "\x1a\x02\x12\x05hello",
        "task.CreateTaskRequest.rootfs.source: has 5 bytes where 0 are left"),
    ROW(cri__pod_sandbox_config, "\x42\x06\x12\x04\x0a\x02\x0a\x00",
        "cri.PodSandboxConfig.linux_.security_context.namespace_options.network: "
        "has wire type 2, which is not that of its type"),
    // Twice: the last of numbers and texts counts, messages are refused unless repeated.
    ROW(task__start_request, "\x0a\x01x\x0a\x01y", NULL),
    ROW(task__create_task_request, "\x1a\x00\x1a\x00", NULL),
    ROW(task__create_task_request, "\x52\x00\x52\x00",
        "task.CreateTaskRequest.options: occurs more than once"),
};

Test(check, rows)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *row = &rows[i];
        struct error err = {0};
        int r = api_message_check(row->type, (const uint8_t *)row->bytes, row->len, &err);
        cr_expect_eq(r, row->error ? -1 : 0, "row %zu: %s", i, err.text);
        cr_expect_eq(err.status, row->error ? STATUS_INVALID_ARGUMENT : STATUS_OK, "row %zu", i);
        cr_expect_str_eq(err.text, row->error ? row->error : "", "row %zu", i);
    }
}

// protobuf-c itself takes everything that the check lets through.
Test(check, what_passes_decodes)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *row = &rows[i];
        if (row->error)
            continue;
        ProtobufCMessage *msg =
            protobuf_c_message_unpack(row->type, NULL, row->len, (const uint8_t *)row->bytes);
        cr_expect_not_null(msg, "row %zu", i);
        protobuf_c_message_free_unpacked(msg, NULL);
    }
}

Test(check, text)
{
    static const struct {
        const char *text;
        bool valid;
    } texts[] = {
        {"", true},
        {"plain ~\x7f\x01", true},
        {"\xc2\x80\xdf\xbf", true},
        {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", true},
        {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", true},
        {"\x80", false},             // continuation alone
        {"\xc0\x80", false},         // overlong NUL
        {"\xc1\xbf", false},         // overlong ASCII
        {"\xe0\x9f\xbf", false},     // overlong
        {"\xf0\x8f\xbf\xbf", false}, // overlong
        {"\xed\xa0\x80", false},     // surrogate
        {"\xf4\x90\x80\x80", false}, // above U+10FFFF
        {"\xf5\x80\x80\x80", false},
        {"\xe2\x82", false},  // cut off
        {"\xe2\x82x", false}, // no third byte
        {"\xc3\x28", false},  // no second byte
        {"x\xff", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        cr_expect_eq(api_text_valid((const uint8_t *)texts[i].text, strlen(texts[i].text)),
                     texts[i].valid, "text %zu", i);
    cr_expect_not(api_text_valid((const uint8_t *)"a\0b", 3));
}

// A message that holds itself; none of ours does.
struct node {
    ProtobufCMessage base;
    struct node *next;
};
extern const ProtobufCMessageDescriptor node_type;
static const ProtobufCFieldDescriptor node_fields[] = {{
    .name = "next",
    .id = 1,
    .label = PROTOBUF_C_LABEL_NONE,
    .type = PROTOBUF_C_TYPE_MESSAGE,
    .offset = offsetof(struct node, next),
    .descriptor = &node_type,
}};
static const unsigned node_by_name[] = {0};
static const ProtobufCIntRange node_ranges[] = {{1, 0}, {0, 1}};
const ProtobufCMessageDescriptor node_type = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "Node",
    .sizeof_message = sizeof(struct node),
    .n_fields = 1,
    .fields = node_fields,
    .fields_sorted_by_name = node_by_name,
    .n_field_ranges = 1,
    .field_ranges = node_ranges,
};

// Writes `depth` nested messages, the outermost included. Returns the length.
static size_t nest(uint8_t *buf, unsigned depth)
{
    size_t len = 0;
    for (unsigned i = 1; i < depth; i++) {
        memmove(buf + 2, buf, len);
        buf[0] = 0x0a;
        buf[1] = (uint8_t)len;
        len += 2;
    }
    return len;
}

Test(check, depth)
{
    uint8_t buf[2 * API_MESSAGE_DEPTH_MAX + 2];
    struct error err = {0};
    size_t len = nest(buf, API_MESSAGE_DEPTH_MAX);
    cr_assert_eq(api_message_check(&node_type, buf, len, &err), 0);
    ProtobufCMessage *msg = api_message_decode(&node_type, buf, len, &err);
    cr_assert_not_null(msg);
    api_message_free(msg);

    len = nest(buf, API_MESSAGE_DEPTH_MAX + 1);
    cr_assert_eq(api_message_check(&node_type, buf, len, &err), -1);
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_assert_not_null(strstr(err.text, "nested deeper than 32"));
    cr_assert_eq(strncmp(err.text, "Node.next.next.", 15), 0);
}
