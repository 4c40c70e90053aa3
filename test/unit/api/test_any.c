#include "api/any.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "api/events.pb-c.h"
#include "api/message.h"

TestSuite(any);

Test(any, packs_and_decodes)
{
    Events__TaskExit gone = EVENTS__TASK_EXIT__INIT;
    gone.container_id = (char *)"c1";
    gone.exit_status = 137;
    Google__Any any;
    cr_assert_eq(any_pack(&any, ANY_TASK_EXIT, &gone.base), 0);
    cr_assert_str_eq(any.type_url, "containerd.events.TaskExit");
    cr_assert(any_is(&any, ANY_TASK_EXIT));
    cr_assert_not(any_is(&any, ANY_TASK_START));

    struct error err = {0};
    ProtobufCMessage *msg = any_decode(&any, ANY_TASK_EXIT, &events__task_exit__descriptor, &err);
    cr_assert_not_null(msg, "%s", err.text);
    cr_assert_eq(((Events__TaskExit *)msg)->exit_status, 137);
    api_message_free(msg);

    any_clear(&any);
    cr_assert_null(any.value.data);
    cr_assert_str_eq(any.type_url, "");
    any_clear(&any);
    any_clear(NULL);
}

Test(any, holds_json)
{
    Google__Any any;
    cr_assert_eq(any_set(&any, ANY_OCI_SPEC, "{}", 2), 0);
    cr_assert_eq(any.value.len, 2);
    cr_assert_eq(memcmp(any.value.data, "{}", 2), 0);
    cr_assert_null(any_descriptor(any.type_url));
    any_clear(&any);
    cr_assert_eq(any_set(&any, ANY_OCI_SPEC, NULL, 0), 0);
    cr_assert_eq(any.value.len, 0);
    any_clear(&any);
}

Test(any, type_must_fit)
{
    struct error err = {0};
    Google__Any any = GOOGLE__ANY__INIT;
    cr_assert_null(any_decode(NULL, ANY_TASK_EXIT, &events__task_exit__descriptor, &err));
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_assert_str_eq(err.text, "containerd.events.TaskExit: missing");

    any.type_url = (char *)"containerd.events.TaskExi";
    cr_assert_null(any_decode(&any, ANY_TASK_EXIT, &events__task_exit__descriptor, &err));
    cr_assert_str_eq(err.text,
                     "containerd.events.TaskExit expected, not \"containerd.events.TaskExi\"");

    any.type_url = (char *)"type.googleapis.com/containerd.events.TaskExit";
    ProtobufCMessage *msg = any_decode(&any, ANY_TASK_EXIT, &events__task_exit__descriptor, &err);
    cr_assert_not_null(msg);
    api_message_free(msg);
    cr_assert_not(any_is(NULL, ANY_TASK_EXIT));
}

Test(any, bad_value_names_the_field)
{
    struct error err = {0};
    Google__Any any = GOOGLE__ANY__INIT;
    any.type_url = (char *)ANY_TASK_EXIT;
    any.value.data = (uint8_t *)"\x0a\x01\xff";
    any.value.len = 3;
    cr_assert_null(any_decode(&any, ANY_TASK_EXIT, &events__task_exit__descriptor, &err));
    cr_assert_str_eq(err.text, "events.TaskExit.container_id: is not UTF-8 text without NUL");
}

Test(any, knows_its_types)
{
    cr_assert_eq(any_descriptor(ANY_TASK_EXIT), &events__task_exit__descriptor);
    cr_assert_eq(any_descriptor("type.googleapis.com/google.protobuf.Empty"),
                 &google__empty__descriptor);
    cr_assert_null(any_descriptor("google.protobuf.Emptyy"));
    cr_assert_null(any_descriptor(""));
}

Test(any, timestamps)
{
    Google__Timestamp ts;
    struct timespec t = {.tv_sec = -1, .tv_nsec = 999999999}, back = {0};
    timestamp_set(&ts, t);
    cr_assert_eq(ts.base.descriptor, &google__timestamp__descriptor);
    cr_assert_eq(timestamp_get(&ts, &back), 0);
    cr_assert_eq(back.tv_sec, -1);
    cr_assert_eq(back.tv_nsec, 999999999);

    cr_assert_eq(timestamp_get(NULL, &back), -ENODATA);
    ts.nanos = 1000000000;
    cr_assert_eq(timestamp_get(&ts, &back), -EINVAL);
    ts.nanos = -1;
    cr_assert_eq(timestamp_get(&ts, &back), -EINVAL);
    cr_assert_eq(back.tv_sec, -1);

    timestamp_now(&ts);
    cr_assert_eq(timestamp_get(&ts, &back), 0);
    cr_assert_geq(time(NULL), back.tv_sec);
    cr_assert_leq(time(NULL) - back.tv_sec, 5);
}
