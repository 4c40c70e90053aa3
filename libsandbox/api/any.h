// google.protobuf.Any and Timestamp: type URLs, packing, unpacking.
//
// containerd writes type URLs as bare full names, without a host in front. The values of some are
// JSON, not protobuf.
#ifndef API_ANY_H
#define API_ANY_H

#include <stdbool.h>
#include <time.h>

#include "api/google.pb-c.h"
#include "base/error.h"

// CRI's pod, in `options` of Controller.Create: cri.proto.
#define ANY_POD_SANDBOX_CONFIG "runtime.v1.PodSandboxConfig"
// options.proto.
#define ANY_RUNC_OPTIONS       "containerd.runc.v1.Options"
#define ANY_CHECKPOINT_OPTIONS "containerd.runc.v1.CheckpointOptions"
#define ANY_PROCESS_DETAILS    "containerd.runc.v1.ProcessDetails"
#define ANY_RUNTIME_OPTIONS    "runtimeoptions.v1.Options"
// cgroups1.proto, cgroups2.proto.
#define ANY_CGROUPS1_METRICS "io.containerd.cgroups.v1.Metrics"
#define ANY_CGROUPS2_METRICS "io.containerd.cgroups.v2.Metrics"
// streaming.proto and google.proto: everything on a stream is an Any of one of these.
#define ANY_STREAM_INIT   "containerd.services.streaming.v1.StreamInit"
#define ANY_STREAM_DATA   "containerd.types.transfer.Data"
#define ANY_STREAM_WINDOW "containerd.types.transfer.WindowUpdate"
#define ANY_EMPTY         "google.protobuf.Empty"
// events.proto.
#define ANY_TASK_CREATE       "containerd.events.TaskCreate"
#define ANY_TASK_START        "containerd.events.TaskStart"
#define ANY_TASK_DELETE       "containerd.events.TaskDelete"
#define ANY_TASK_EXIT         "containerd.events.TaskExit"
#define ANY_TASK_OOM          "containerd.events.TaskOOM"
#define ANY_TASK_PAUSED       "containerd.events.TaskPaused"
#define ANY_TASK_RESUMED      "containerd.events.TaskResumed"
#define ANY_TASK_EXEC_ADDED   "containerd.events.TaskExecAdded"
#define ANY_TASK_EXEC_STARTED "containerd.events.TaskExecStarted"
#define ANY_TASK_CHECKPOINTED "containerd.events.TaskCheckpointed"
#define ANY_SANDBOX_CREATE    "containerd.events.SandboxCreate"
#define ANY_SANDBOX_START     "containerd.events.SandboxStart"
#define ANY_SANDBOX_EXIT      "containerd.events.SandboxExit"
// The value is JSON.
#define ANY_OCI_SPEC          "types.containerd.io/opencontainers/runtime-spec/1/Spec"
#define ANY_OCI_PROCESS       "types.containerd.io/opencontainers/runtime-spec/1/Process"
#define ANY_OCI_RESOURCES     "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
#define ANY_OCI_FEATURES      "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
#define ANY_CRI_METADATA      "github.com/containerd/cri/pkg/store/sandbox/Metadata"
#define ANY_UPDATED_RESOURCES "io.containerd.cri.v1/UpdatedResources"

// The message behind a type URL of the list above, NULL for JSON and for unknown ones.
const ProtobufCMessageDescriptor *any_descriptor(const char *type_url);

// Whether `any` is there (not NULL) and of this type. A "type.googleapis.com/" in front of its type
// URL does not count: other encoders write it.
bool any_is(const Google__Any *any, const char *type_url);

// Fills *ret_any with the encoded message; `type_url` is one of the constants (borrowed). Whatever
// *ret_any held before is overwritten, not freed. Free with any_clear. Returns 0 or -ENOMEM.
int any_pack(Google__Any *ret_any, const char *type_url, const ProtobufCMessage *msg);

// The same with bytes that are encoded already (JSON); they are copied.
int any_set(Google__Any *ret_any, const char *type_url, const void *data, size_t len);

// Frees what any_pack or any_set allocated; *any is an empty Any afterwards and may be cleared
// again. Not for an Any inside a decoded message. Accepts NULL.
void any_clear(Google__Any *any);

// Decodes the value of an Any that must be of type `type_url`, as api_message_decode does. NULL
// with INVALID_ARGUMENT if it is absent or of another type (the error names both types). Free with
// api_message_free.
ProtobufCMessage *any_decode(const Google__Any *any, const char *type_url,
                             const ProtobufCMessageDescriptor *type, struct error *err);

// Time of the wall clock as a message. The message is initialised; it owns nothing.
void timestamp_set(Google__Timestamp *ret_ts, struct timespec time);
void timestamp_now(Google__Timestamp *ret_ts);
// The other direction. Returns 0, -ENODATA if ts is NULL, -EINVAL if nanos is not 0..999999999.
int timestamp_get(const Google__Timestamp *ts, struct timespec *ret_time);

#endif
