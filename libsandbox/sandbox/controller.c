#include "sandbox/controller.h"

#include <string.h>

#include "api/any.h"
#include "api/sandbox.pb-c.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/ident.h"
#include "base/json.h"
#include "base/log.h"
#include "linux/cgroup.h"
#include "sandbox/answers.h"
#include "sandbox/task_peer.h"
#include "task/stats.h"

static struct sandbox *find(struct rpc_call *call, struct controller *c, const char *id)
{
    struct error err = {0};
    struct sandbox *s = sandbox_find(c->manager, id, &err);
    if (!s)
        rpc_call_fail(call, &err);
    return s;
}

// ---- Create -------------------------------------------------------------------------------------

// Adds one entry to *map, which is made if it is NULL. Without memory *map is NULL and -1 returned:
// a label is never lost silently. (Their size is limited by the record's.)
static int add_entry(json_object **map, const char *key, const char *value)
{
    json_object *v = json_object_new_string(value);
    if (!*map)
        *map = json_object_new_object();
    if (*map && v && json_object_object_add(*map, key, v) == 0)
        return 0;
    json_object_put(v);
    json_object_put(*map);
    *map = NULL;
    return -1;
}

static int take_labels(json_object **ret, const Types__Sandbox *sandbox)
{
    for (size_t i = 0; sandbox && i < sandbox->n_labels; i++)
        if (add_entry(ret, sandbox->labels[i]->key, sandbox->labels[i]->value) < 0)
            return -1;
    return 0;
}

static int take_annotations(json_object **ret, const Cri__PodSandboxConfig *config)
{
    for (size_t i = 0; config && i < config->n_annotations; i++)
        if (add_entry(ret, config->annotations[i]->key, config->annotations[i]->value) < 0)
            return -1;
    return 0;
}

static void create(struct controller *c, struct rpc_call *call,
                   const struct sandbox_request *request, const Types__Sandbox *sandbox)
{
    json_object *labels = NULL, *annotations = NULL;
    if (take_labels(&labels, sandbox) < 0 || take_annotations(&annotations, request->config) < 0) {
        json_object_put(labels);
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    sandbox_create(c->manager, call, request, labels, annotations);
}

static void on_create(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Sandbox__ControllerCreateRequest *req =
        (const Sandbox__ControllerCreateRequest *)(const void *)msg;
    struct controller *c = ctx;
    struct error err = {0};
    Cri__PodSandboxConfig *config = NULL;
    // Clients other than CRI may send no configuration at all.
    if (req->options && *req->options->type_url) {
        config = (Cri__PodSandboxConfig *)(void *)any_decode(
            req->options, ANY_POD_SANDBOX_CONFIG, &cri__pod_sandbox_config__descriptor, &err);
        if (!config) {
            error_wrap(&err, "options");
            rpc_call_fail(call, &err);
            return;
        }
    }
    struct sandbox_request request = {
        .id = req->sandbox_id,
        .netns = req->netns_path,
        .runtime_type = req->sandbox && req->sandbox->runtime ? req->sandbox->runtime->name : "",
        .config = config,
    };
    create(c, call, &request, req->sandbox);
    api_message_free((ProtobufCMessage *)(void *)config);
}

// ---- Start --------------------------------------------------------------------------------------

// A Start that waits for the task server.
struct starting {
    struct controller *controller;
    struct rpc_call *call;
    uint64_t number;
    char id[IDENT_MAX + 1];
};

static void on_start_cancelled(struct rpc_call *call, void *arg)
{
    (void)call;
    struct starting *st = arg;
    task_peer_forget(st->controller->manager->tasks, st->number);
    free(st);
}

static void on_tasks_ready(const struct error *ready_err, void *arg)
{
    struct starting *st = arg;
    struct sandbox_manager *m = st->controller->manager;
    struct rpc_call *call = st->call;
    struct error err = {0};
    // It may have been stopped or removed meanwhile.
    struct sandbox *s = sandbox_find(m, st->id, &err);
    free(st);
    if (ready_err)
        rpc_call_fail(call, ready_err);
    else if (!s || sandbox_start(s, &err) < 0)
        rpc_call_fail(call, &err);
    else
        answer_start(call, &s->record, task_peer_address(m->tasks), m->config->dir);
}

static void on_start(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Sandbox__ControllerStartRequest *req =
        (const Sandbox__ControllerStartRequest *)(const void *)msg;
    struct controller *c = ctx;
    struct sandbox *s = find(call, c, req->sandbox_id);
    struct error err = {0};
    if (!s)
        return;
    if (sandbox_startable(s, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    struct starting *st = calloc(1, sizeof *st);
    if (!st) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    st->controller = c;
    st->call = call;
    memcpy(st->id, s->record.id, strlen(s->record.id) + 1);
    stages_begin(&s->timings[SANDBOX_TIMING_START], &sandbox_timing_plans[SANDBOX_TIMING_START]);
    st->number = task_peer_ensure(c->manager->tasks, on_tasks_ready, st);
    if (!st->number) {
        free(st);
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    rpc_call_on_cancel(call, on_start_cancelled, st);
}

// ---- the others ---------------------------------------------------------------------------------

static void on_platform(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Sandbox__ControllerPlatformRequest *req =
        (const Sandbox__ControllerPlatformRequest *)(const void *)msg;
    if (find(call, ctx, req->sandbox_id))
        answer_platform(call);
}

static void on_stop(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Sandbox__ControllerStopRequest *req =
        (const Sandbox__ControllerStopRequest *)(const void *)msg;
    struct sandbox *s = find(call, ctx, req->sandbox_id);
    // timeout_secs is for sandboxes that can be asked to end; nothing in ours listens.
    if (s)
        sandbox_stop(s, call, false);
}

static void on_shutdown(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Sandbox__ControllerShutdownRequest *req =
        (const Sandbox__ControllerShutdownRequest *)(const void *)msg;
    struct sandbox *s = find(call, ctx, req->sandbox_id);
    if (s)
        sandbox_stop(s, call, true);
}

static void on_wait(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Sandbox__ControllerWaitRequest *req =
        (const Sandbox__ControllerWaitRequest *)(const void *)msg;
    struct sandbox *s = find(call, ctx, req->sandbox_id);
    if (s)
        sandbox_wait(s, call);
}

static void on_status(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Sandbox__ControllerStatusRequest *req =
        (const Sandbox__ControllerStatusRequest *)(const void *)msg;
    struct controller *c = ctx;
    struct sandbox *s = find(call, c, req->sandbox_id);
    if (s)
        answer_status(call, &s->record, task_peer_address(c->manager->tasks),
                      c->manager->config->dir, req->verbose);
}

static void on_metrics(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Sandbox__ControllerMetricsRequest *req =
        (const Sandbox__ControllerMetricsRequest *)(const void *)msg;
    struct controller *c = ctx;
    struct sandbox *s = find(call, c, req->sandbox_id);
    struct error err = {0};
    if (!s)
        return;
    if (!s->record.pod.cgroup_parent) {
        rpc_call_failf(call, STATUS_FAILED_PRECONDITION,
                       "sandbox %s: it has no cgroup of its own (linux.cgroup_parent)",
                       s->record.id);
        return;
    }
    Sandbox__ControllerMetricsResponse r = SANDBOX__CONTROLLER_METRICS_RESPONSE__INIT;
    Types__Metric metric = TYPES__METRIC__INIT;
    Google__Timestamp now;
    Google__Any data = GOOGLE__ANY__INIT;
    if (!c->manager->cgroups) {
        rpc_call_failf(call, STATUS_FAILED_PRECONDITION, "no cgroup hierarchy is mounted");
        return;
    }
    if (task_stats_of_cgroup(c->manager->cgroups, s->record.pod.cgroup_parent, &data, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    timestamp_now(&now);
    metric.timestamp = &now;
    metric.id = s->record.id;
    metric.data = &data;
    r.metrics = &metric;
    api_reply(call, &r.base);
    any_clear(&data);
}

// The new size of a pod, as containerd >= 2.3 sends it. Other extensions are its own record.
static int read_update(const Sandbox__ControllerUpdateRequest *req, struct sandbox_sizes *sizes,
                       struct error *err)
{
    for (size_t i = 0; i < req->n_fields; i++)
        if (strcmp(req->fields[i], "extensions") != 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "fields: \"%s\" cannot be updated, only \"extensions\"",
                             req->fields[i]);
    for (size_t i = 0; req->sandbox && i < req->sandbox->n_extensions; i++) {
        const Google__Any *value = req->sandbox->extensions[i]->value;
        if (!any_is(value, ANY_UPDATED_RESOURCES))
            continue;
        _cleanup_json_ json_object *o =
            json_parse(value->value.data, value->value.len, "updated-resources", err);
        if (!o)
            return -1;
        if (sizes_update(sizes, o, err) < 0)
            return error_wrap(err, "updated-resources");
    }
    return 0;
}

static void on_update(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Sandbox__ControllerUpdateRequest *req =
        (const Sandbox__ControllerUpdateRequest *)(const void *)msg;
    struct error err = {0};
    struct sandbox *s = find(call, ctx, req->sandbox_id);
    if (!s)
        return;
    struct sandbox_sizes sizes = s->record.sizes;
    if (read_update(req, &sizes, &err) < 0)
        rpc_call_fail(call, &err);
    else
        sandbox_resize(s, call, &sizes);
}

static const struct api_method methods[] = {
    API_METHOD("Create", sandbox__controller_create_request, sandbox__controller_create_response,
               on_create),
    API_METHOD("Start", sandbox__controller_start_request, sandbox__controller_start_response,
               on_start),
    API_METHOD("Platform", sandbox__controller_platform_request,
               sandbox__controller_platform_response, on_platform),
    API_METHOD("Stop", sandbox__controller_stop_request, sandbox__controller_stop_response,
               on_stop),
    API_METHOD("Wait", sandbox__controller_wait_request, sandbox__controller_wait_response,
               on_wait),
    API_METHOD("Status", sandbox__controller_status_request, sandbox__controller_status_response,
               on_status),
    API_METHOD("Shutdown", sandbox__controller_shutdown_request,
               sandbox__controller_shutdown_response, on_shutdown),
    API_METHOD("Metrics", sandbox__controller_metrics_request, sandbox__controller_metrics_response,
               on_metrics),
    API_METHOD("Update", sandbox__controller_update_request, sandbox__controller_update_response,
               on_update),
    {0},
};

void controller_init(struct controller *c, struct sandbox_manager *manager)
{
    c->manager = manager;
    api_service_init(&c->service, SERVICE_CONTROLLER, methods, c);
}
