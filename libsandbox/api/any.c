#include "api/any.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/cgroups1.pb-c.h"
#include "api/cgroups2.pb-c.h"
#include "api/check.h"
#include "api/cri.pb-c.h"
#include "api/events.pb-c.h"
#include "api/message.h"
#include "api/options.pb-c.h"
#include "api/streaming.pb-c.h"
#include "base/cleanup.h"

// What some encoders put in front of a type URL.
#define HOST_PREFIX "type.googleapis.com/"
// Longest type URL that an error repeats.
#define SHOWN_MAX 128

static const struct {
    const char *type_url;
    const ProtobufCMessageDescriptor *type;
} types[] = {
    {ANY_POD_SANDBOX_CONFIG, &cri__pod_sandbox_config__descriptor},
    {ANY_RUNC_OPTIONS, &options__runc_options__descriptor},
    {ANY_CHECKPOINT_OPTIONS, &options__checkpoint_options__descriptor},
    {ANY_PROCESS_DETAILS, &options__process_details__descriptor},
    {ANY_RUNTIME_OPTIONS, &options__runtime_options__descriptor},
    {ANY_CGROUPS1_METRICS, &cgroups1__metrics__descriptor},
    {ANY_CGROUPS2_METRICS, &cgroups2__metrics__descriptor},
    {ANY_STREAM_INIT, &streaming__stream_init__descriptor},
    {ANY_STREAM_DATA, &streaming__data__descriptor},
    {ANY_STREAM_WINDOW, &streaming__window_update__descriptor},
    {ANY_EMPTY, &google__empty__descriptor},
    {ANY_TASK_CREATE, &events__task_create__descriptor},
    {ANY_TASK_START, &events__task_start__descriptor},
    {ANY_TASK_DELETE, &events__task_delete__descriptor},
    {ANY_TASK_EXIT, &events__task_exit__descriptor},
    {ANY_TASK_OOM, &events__task_oom__descriptor},
    {ANY_TASK_PAUSED, &events__task_paused__descriptor},
    {ANY_TASK_RESUMED, &events__task_resumed__descriptor},
    {ANY_TASK_EXEC_ADDED, &events__task_exec_added__descriptor},
    {ANY_TASK_EXEC_STARTED, &events__task_exec_started__descriptor},
    {ANY_TASK_CHECKPOINTED, &events__task_checkpointed__descriptor},
    {ANY_SANDBOX_CREATE, &events__sandbox_create__descriptor},
    {ANY_SANDBOX_START, &events__sandbox_start__descriptor},
    {ANY_SANDBOX_EXIT, &events__sandbox_exit__descriptor},
};

static const char *bare(const char *type_url)
{
    size_t n = sizeof HOST_PREFIX - 1;
    return strncmp(type_url, HOST_PREFIX, n) == 0 ? type_url + n : type_url;
}

const ProtobufCMessageDescriptor *any_descriptor(const char *type_url)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (strcmp(types[i].type_url, bare(type_url)) == 0)
            return types[i].type;
    }
    return NULL;
}

bool any_is(const Google__Any *any, const char *type_url)
{
    return any && any->type_url && strcmp(bare(any->type_url), type_url) == 0;
}

int any_pack(Google__Any *ret_any, const char *type_url, const ProtobufCMessage *msg)
{
    size_t len;
    uint8_t *data = api_message_encode(msg, &len);
    if (!data)
        return -ENOMEM;
    google__any__init(ret_any);
    ret_any->type_url = (char *)type_url;
    ret_any->value = (ProtobufCBinaryData){.len = len, .data = data};
    return 0;
}

int any_set(Google__Any *ret_any, const char *type_url, const void *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy)
        return -ENOMEM;
    if (len)
        memcpy(copy, data, len);
    google__any__init(ret_any);
    ret_any->type_url = (char *)type_url;
    ret_any->value = (ProtobufCBinaryData){.len = len, .data = copy};
    return 0;
}

void any_clear(Google__Any *any)
{
    if (!any)
        return;
    free(any->value.data);
    google__any__init(any);
}

ProtobufCMessage *any_decode(const Google__Any *any, const char *type_url,
                             const ProtobufCMessageDescriptor *type, struct error *err)
{
    if (!any) {
        error_set(err, STATUS_INVALID_ARGUMENT, "%s: missing", type_url);
        return NULL;
    }
    if (!any_is(any, type_url)) {
        error_set(err, STATUS_INVALID_ARGUMENT, "%s expected, not \"%.*s\"", type_url, SHOWN_MAX,
                  any->type_url);
        return NULL;
    }
    return api_message_decode(type, any->value.data, any->value.len, err);
}

void timestamp_set(Google__Timestamp *ret_ts, struct timespec time)
{
    google__timestamp__init(ret_ts);
    ret_ts->seconds = time.tv_sec;
    ret_ts->nanos = (int32_t)time.tv_nsec;
}

void timestamp_now(Google__Timestamp *ret_ts)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    timestamp_set(ret_ts, now);
}

int timestamp_get(const Google__Timestamp *ts, struct timespec *ret_time)
{
    if (!ts)
        return -ENODATA;
    if (ts->nanos < 0 || ts->nanos > 999999999)
        return -EINVAL;
    *ret_time = (struct timespec){.tv_sec = ts->seconds, .tv_nsec = ts->nanos};
    return 0;
}
