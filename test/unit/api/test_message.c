#include "api/message.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "api/sandbox.pb-c.h"
#include "api/task.pb-c.h"
#include "base/cleanup.h"

TestSuite(message);

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer)
#define CAN_FAIL_MALLOC 1
// Counts down with every allocation; at zero that one and all later ones fail. Negative: never.
static int allocations_left = -1;

extern void *__libc_malloc(size_t size);
void *malloc(size_t size)
{
    if (allocations_left == 0)
        return NULL;
    if (allocations_left > 0)
        allocations_left--;
    return __libc_malloc(size);
}
#endif

static ProtobufCMessage *decode(const ProtobufCMessageDescriptor *type, const char *bytes,
                                size_t len, struct error *err)
{
    // A copy of exactly that size, so that a sanitizer sees reads past the end.
    uint8_t *exact = malloc(len ? len : 1);
    cr_assert_not_null(exact);
    memcpy(exact, bytes, len);
    ProtobufCMessage *msg = api_message_decode(type, exact, len, err);
    free(exact);
    return msg;
}

Test(message, round_trip)
{
    Types__Mount mount = TYPES__MOUNT__INIT, *mounts[] = {&mount};
    char *options[] = {(char *)"ro", (char *)"nosuid"};
    mount.type = (char *)"bind";
    mount.source = (char *)"/src";
    mount.n_options = 2;
    mount.options = options;
    Task__CreateTaskRequest req = TASK__CREATE_TASK_REQUEST__INIT;
    req.id = (char *)"c1";
    req.terminal = true;
    req.n_rootfs = 1;
    req.rootfs = mounts;

    size_t len;
    _cleanup_free_ uint8_t *data = api_message_encode(&req.base, &len);
    cr_assert_not_null(data);
    struct error err = {0};
    Task__CreateTaskRequest *back =
        (Task__CreateTaskRequest *)decode(req.base.descriptor, (char *)data, len, &err);
    cr_assert_not_null(back, "%s", err.text);
    cr_assert_str_eq(back->id, "c1");
    cr_assert_str_eq(back->bundle, "");
    cr_assert(back->terminal);
    cr_assert_null(back->options);
    cr_assert_eq(back->n_rootfs, 1);
    cr_assert_str_eq(back->rootfs[0]->source, "/src");
    cr_assert_eq(back->rootfs[0]->n_options, 2);
    cr_assert_str_eq(back->rootfs[0]->options[1], "nosuid");
    api_message_free(&back->base);
    cr_assert_eq(err.status, STATUS_OK);
}

Test(message, nothing_is_the_empty_message)
{
    struct error err = {0};
    ProtobufCMessage *msg = api_message_decode(&google__empty__descriptor, NULL, 0, &err);
    cr_assert_not_null(msg);
    size_t len = 1;
    _cleanup_free_ uint8_t *data = api_message_encode(msg, &len);
    cr_assert_not_null(data);
    cr_assert_eq(len, 0);
    api_message_free(msg);
    api_message_free(NULL);
}

Test(message, unknown_fields_survive)
{
    static const char bytes[] = "\x0a\x02id\x92\x03\x03new";
    struct error err = {0};
    ProtobufCMessage *msg = decode(&task__pids_request__descriptor, bytes, sizeof bytes - 1, &err);
    cr_assert_not_null(msg);
    cr_assert_str_eq(((Task__PidsRequest *)msg)->id, "id");
    size_t len;
    _cleanup_free_ uint8_t *data = api_message_encode(msg, &len);
    cr_assert_eq(len, sizeof bytes - 1);
    cr_assert_eq(memcmp(data, bytes, len), 0);
    api_message_free(msg);
}

Test(message, last_of_two_texts_counts)
{
    struct error err = {0};
    ProtobufCMessage *msg = decode(&task__pids_request__descriptor, "\x0a\x01x\x0a\x02yz", 7, &err);
    cr_assert_not_null(msg);
    cr_assert_str_eq(((Task__PidsRequest *)msg)->id, "yz");
    api_message_free(msg);
}

Test(message, hostile_text_is_refused)
{
    struct error err = {0};
    cr_assert_null(decode(&task__pids_request__descriptor, "\x0a\x03x\0y", 5, &err));
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_assert_str_eq(err.text, "task.PidsRequest.id: is not UTF-8 text without NUL");
}

// Many empty sub-messages: two bytes each on the wire, a mount each in memory.
static struct bytes {
    char *data;
    size_t len;
} empty_mounts(size_t n)
{
    struct bytes b = {.data = malloc(2 * n), .len = 2 * n};
    cr_assert_not_null(b.data);
    for (size_t i = 0; i < n; i++) {
        b.data[2 * i] = 0x1a;
        b.data[2 * i + 1] = 0;
    }
    return b;
}

Test(message, memory_is_limited)
{
    struct error err = {0};
    struct bytes b = empty_mounts(2 * 1024 * 1024);
    cr_assert_null(decode(&task__create_task_request__descriptor, b.data, b.len, &err));
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_assert_not_null(strstr(err.text, "task.CreateTaskRequest: needs more than 33554432 bytes"));
    free(b.data);

    // Here no single allocation is over the limit, only their sum.
    b = empty_mounts(400 * 1024);
    cr_assert_null(decode(&task__create_task_request__descriptor, b.data, b.len, &err));
    cr_assert_not_null(strstr(err.text, "needs more than"));
    free(b.data);

    // A hundredth of the first is fine.
    b = empty_mounts(20 * 1024);
    ProtobufCMessage *msg = decode(&task__create_task_request__descriptor, b.data, b.len, &err);
    cr_assert_not_null(msg);
    cr_assert_eq(((Task__CreateTaskRequest *)msg)->n_rootfs, 20 * 1024);
    api_message_free(msg);
    free(b.data);
}

// The largest payload that a frame can carry fits.
Test(message, one_big_field_fits)
{
    size_t len = 4u * 1024 * 1024 - 5;
    char *data = malloc(len + 5);
    cr_assert_not_null(data);
    memset(data, 'x', len + 5);
    memcpy(data, "\x12\xfb\xff\xff\x01", 5);
    struct error err = {0};
    ProtobufCMessage *msg = decode(&google__any__descriptor, data, len + 5, &err);
    cr_assert_not_null(msg, "%s", err.text);
    cr_assert_eq(((Google__Any *)msg)->value.len, len);
    api_message_free(msg);
    free(data);
}

#ifdef CAN_FAIL_MALLOC
// Every allocation fails once; each time the answer is an error and nothing crashes.
Test(message, out_of_memory)
{
    struct bytes b = empty_mounts(30000);
    int failures = 0;
    for (int n = 0;; n++) {
        struct error err = {0};
        allocations_left = n;
        ProtobufCMessage *msg = api_message_decode(&task__create_task_request__descriptor,
                                                   (uint8_t *)b.data, b.len, &err);
        allocations_left = -1;
        if (msg) {
            api_message_free(msg);
            break;
        }
        failures++;
        cr_assert_eq(err.status, STATUS_RESOURCE_EXHAUSTED);
        cr_assert_str_eq(err.text, "task.CreateTaskRequest: out of memory");
    }
    cr_assert_gt(failures, 2);
    free(b.data);

    Google__Empty empty = GOOGLE__EMPTY__INIT;
    size_t len;
    allocations_left = 0;
    uint8_t *data = api_message_encode(&empty.base, &len);
    allocations_left = -1;
    cr_assert_null(data);
}
#endif
