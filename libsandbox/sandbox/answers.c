#include "sandbox/answers.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "api/any.h"
#include "api/message.h"
#include "api/sandbox.pb-c.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "linux/mount_space.h"
#include "oci/spec.h"

// Version of the Task API at the address: containerd >= 2.0.6 takes an address only with 3.
#define TASK_API_VERSION 3

static void out_of_memory(struct rpc_call *call)
{
    rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the answer");
}

void answer_create(struct rpc_call *call, const char *id)
{
    Sandbox__ControllerCreateResponse r = SANDBOX__CONTROLLER_CREATE_RESPONSE__INIT;
    r.sandbox_id = (char *)id;
    api_reply(call, &r.base);
}

void answer_wait(struct rpc_call *call, const struct sandbox_record *record)
{
    Sandbox__ControllerWaitResponse r = SANDBOX__CONTROLLER_WAIT_RESPONSE__INIT;
    Google__Timestamp at;
    timestamp_set(&at, record->exited_at);
    r.exit_status = record->exit_status;
    r.exited_at = &at;
    api_reply(call, &r.base);
}

// ---- Start --------------------------------------------------------------------------------------

// `root`: of the mount namespace that has it.
static void add_namespace(json_object *list, const char *type, const char *root, const char *inside)
{
    char path[PATH_MAX];
    if (!inside || !*inside || path_format(path, sizeof path, "%s%s", root, inside) < 0)
        return;
    json_object *ns = json_object_new_object();
    json_object_object_add(ns, "type", json_object_new_string(type));
    json_object_object_add(ns, "path", json_object_new_string(path));
    json_object_array_add(list, ns);
}

// The sandbox as an OCI spec: what NRI plugins get to see (containerd >= 2.3 logs an error for
// every NRI step when there is none). containerd keeps it; so what we have pinned they see by a
// path that each of us makes lead to itself.
static json_object *spec_of(const struct sandbox_record *r, const char *dir)
{
    json_object *spec = json_object_new_object(), *linux_part = json_object_new_object();
    json_object *namespaces = json_object_new_array();
    char ours[PATH_MAX];
    if (path_format(ours, sizeof ours, "%s/" MOUNT_SPACE_ROOT, dir) < 0)
        ours[0] = '\0';
    add_namespace(namespaces, "network", "", r->netns);
    add_namespace(namespaces, "ipc", ours, r->pod.ipc_ns);
    add_namespace(namespaces, "uts", ours, r->pod.uts_ns);
    add_namespace(namespaces, "pid", ours, r->pod.pid_ns);
    add_namespace(namespaces, "user", ours, r->pod.user_ns);
    if (r->pod.user_ns) {
        json_object_object_add(linux_part, "uidMappings", oci_id_mappings(&r->pod.ids.uid));
        json_object_object_add(linux_part, "gidMappings", oci_id_mappings(&r->pod.ids.gid));
    }
    json_object_object_add(linux_part, "namespaces", namespaces);
    if (r->pod.cgroup_parent)
        json_object_object_add(linux_part, "cgroupsPath",
                               json_object_new_string(r->pod.cgroup_parent));
    json_object_object_add(spec, "ociVersion", json_object_new_string("1.2.0"));
    if (r->hostname && *r->hostname)
        json_object_object_add(spec, "hostname", json_object_new_string(r->hostname));
    if (r->annotations)
        json_object_object_add(spec, "annotations", json_object_get(r->annotations));
    json_object_object_add(spec, "linux", linux_part);
    return spec;
}

// The labels as entries, which borrow from the record, and pointers to them behind the entries.
// NULL without memory.
static Types__StringEntry *entries_of(json_object *labels, Types__StringEntry ***ret, size_t *ret_n)
{
    size_t n = labels ? (size_t)json_object_object_length(labels) : 0, i = 0;
    Types__StringEntry *entries = calloc(n + 1, sizeof *entries + sizeof *ret);
    if (!entries)
        return NULL;
    *ret = (Types__StringEntry **)(void *)(entries + n);
    *ret_n = n;
    for (struct lh_entry *e = n ? json_object_get_object(labels)->head : NULL; e;
         e = e->next, i++) {
        types__string_entry__init(&entries[i]);
        entries[i].key = (char *)lh_entry_k(e);
        entries[i].value = (char *)json_object_get_string((json_object *)lh_entry_v(e));
        (*ret)[i] = &entries[i];
    }
    return entries;
}

// containerd writes "/proc/<this>/ns/..." into the specs of containers. A process that is a whole
// machine has nothing to join.
static uint32_t init_pid(const struct sandbox_record *r)
{
    return r->pod.pid_ns ? (uint32_t)r->init.pid : 0;
}

void answer_start(struct rpc_call *call, const struct sandbox_record *record, const char *address,
                  const char *dir)
{
    Sandbox__ControllerStartResponse r = SANDBOX__CONTROLLER_START_RESPONSE__INIT;
    Google__Timestamp at;
    Google__Any spec = GOOGLE__ANY__INIT;
    _cleanup_json_ json_object *spec_json = spec_of(record, dir);
    const char *text = json_text(spec_json);
    _cleanup_free_ Types__StringEntry *entries = entries_of(record->labels, &r.labels, &r.n_labels);
    timestamp_set(&at, record->created_at);
    if (!text || !entries) {
        out_of_memory(call);
        return;
    }
    spec.type_url = (char *)ANY_OCI_SPEC;
    spec.value = (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)text};
    r.sandbox_id = record->id;
    r.pid = init_pid(record);
    r.created_at = &at;
    r.address = (char *)address;
    r.version = TASK_API_VERSION;
    r.spec = &spec;
    api_reply(call, &r.base);
}

// ---- Status -------------------------------------------------------------------------------------

// The JSON under "info": keys of CRI's SandboxInfo where they fit (containerd >= 2.3 decodes it),
// and our own beside them.
static json_object *info_of(const struct sandbox_record *r, const char *dir)
{
    bool ready = r->state == SANDBOX_READY;
    json_object *info = json_object_new_object();
    json_object_object_add(info, "pid", json_object_new_int(r->init.pid));
    json_object_object_add(info, "processStatus",
                           json_object_new_string(ready ? "running" : "stopped"));
    json_object_object_add(info, "netNamespaceClosed",
                           json_object_new_boolean(r->state == SANDBOX_STOPPED));
    json_object_object_add(info, "runtimeType",
                           json_object_new_string(r->runtime_type ? r->runtime_type : ""));
    json_object_object_add(info, "runtimeSpec", spec_of(r, dir));
    json_object_object_add(info, "resources", resources_to_json(&r->sizes.resources));
    json_object_object_add(info, "overhead", resources_to_json(&r->sizes.overhead));
    json_object_object_add(info, "kuasarState",
                           json_object_new_string(sandbox_state_name(r->state)));
    return info;
}

void answer_status(struct rpc_call *call, const struct sandbox_record *record, const char *address,
                   const char *dir, bool verbose)
{
    Sandbox__ControllerStatusResponse r = SANDBOX__CONTROLLER_STATUS_RESPONSE__INIT;
    Types__StringEntry info = TYPES__STRING_ENTRY__INIT;
    Types__StringEntry *infos[] = {&info};
    Google__Timestamp created, exited;
    _cleanup_json_ json_object *info_json = verbose ? info_of(record, dir) : NULL;
    timestamp_set(&created, record->created_at);
    timestamp_set(&exited, record->exited_at);
    r.sandbox_id = record->id;
    r.pid = init_pid(record);
    r.state = (char *)(record->state == SANDBOX_READY ? "SANDBOX_READY" : "SANDBOX_NOTREADY");
    r.created_at = &created;
    if (record->state == SANDBOX_STOPPED)
        r.exited_at = &exited;
    r.address = (char *)address;
    r.version = TASK_API_VERSION;
    if (verbose) {
        info.key = (char *)"info";
        info.value = (char *)json_text(info_json);
        if (!info.value) {
            out_of_memory(call);
            return;
        }
        r.info = infos;
        r.n_info = 1;
    }
    api_reply(call, &r.base);
}

// ---- Platform -----------------------------------------------------------------------------------

// The machine as Go names it (GOARCH, and the variant of platforms.Normalize).
static const struct {
    const char *machine, *architecture, *variant;
} architectures[] = {
    {"x86_64", "amd64", ""}, {"aarch64", "arm64", ""},       {"armv7l", "arm", "v7"},
    {"armv6l", "arm", "v6"}, {"riscv64", "riscv64", ""},     {"ppc64le", "ppc64le", ""},
    {"s390x", "s390x", ""},  {"loongarch64", "loong64", ""}, {"i686", "386", ""},
};

void answer_platform(struct rpc_call *call)
{
    Sandbox__ControllerPlatformResponse r = SANDBOX__CONTROLLER_PLATFORM_RESPONSE__INIT;
    Types__Platform platform = TYPES__PLATFORM__INIT;
    struct utsname u;
    platform.os = (char *)"linux";
    if (uname(&u) == 0)
        platform.architecture = u.machine;
    for (size_t i = 0; i < ARRAY_SIZE(architectures); i++)
        if (platform.architecture && strcmp(platform.architecture, architectures[i].machine) == 0) {
            platform.architecture = (char *)architectures[i].architecture;
            platform.variant = (char *)architectures[i].variant;
            break;
        }
    r.platform = &platform;
    api_reply(call, &r.base);
}
