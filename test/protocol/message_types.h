// Every message of the API by its name in the protocol, for tests that pick the type at run time.
#ifndef TEST_PROTOCOL_MESSAGE_TYPES_H
#define TEST_PROTOCOL_MESSAGE_TYPES_H

#include <stddef.h>
#include <string.h>

#include "api/cgroups1.pb-c.h"
#include "api/cgroups2.pb-c.h"
#include "api/cri.pb-c.h"
#include "api/events.pb-c.h"
#include "api/google.pb-c.h"
#include "api/health.pb-c.h"
#include "api/internal.pb-c.h"
#include "api/options.pb-c.h"
#include "api/sandbox.pb-c.h"
#include "api/shim.pb-c.h"
#include "api/streaming.pb-c.h"
#include "api/task.pb-c.h"
#include "api/types.pb-c.h"

struct message_type {
    const char *name;
    const ProtobufCMessageDescriptor *type;
};

static const struct message_type message_types[] = {
    {"google.protobuf.Any", &google__any__descriptor},
    {"google.protobuf.Timestamp", &google__timestamp__descriptor},
    {"google.protobuf.Empty", &google__empty__descriptor},
    {"containerd.types.Sandbox.Runtime", &types__sandbox_runtime__descriptor},
    {"containerd.types.Sandbox", &types__sandbox__descriptor},
    {"containerd.types.Mount", &types__mount__descriptor},
    {"containerd.types.Platform", &types__platform__descriptor},
    {"containerd.types.Metric", &types__metric__descriptor},
    {"containerd.types.Envelope", &types__envelope__descriptor},
    {"containerd.types.RuntimeRequest", &types__runtime_request__descriptor},
    {"containerd.types.RuntimeVersion", &types__runtime_version__descriptor},
    {"containerd.types.RuntimeInfo", &types__runtime_info__descriptor},
    {"containerd.services.sandbox.v1.ControllerCreateRequest",
     &sandbox__controller_create_request__descriptor},
    {"containerd.services.sandbox.v1.ControllerCreateResponse",
     &sandbox__controller_create_response__descriptor},
    {"containerd.services.sandbox.v1.ControllerStartRequest",
     &sandbox__controller_start_request__descriptor},
    {"containerd.services.sandbox.v1.ControllerStartResponse",
     &sandbox__controller_start_response__descriptor},
    {"containerd.services.sandbox.v1.ControllerPlatformRequest",
     &sandbox__controller_platform_request__descriptor},
    {"containerd.services.sandbox.v1.ControllerPlatformResponse",
     &sandbox__controller_platform_response__descriptor},
    {"containerd.services.sandbox.v1.ControllerStopRequest",
     &sandbox__controller_stop_request__descriptor},
    {"containerd.services.sandbox.v1.ControllerStopResponse",
     &sandbox__controller_stop_response__descriptor},
    {"containerd.services.sandbox.v1.ControllerWaitRequest",
     &sandbox__controller_wait_request__descriptor},
    {"containerd.services.sandbox.v1.ControllerWaitResponse",
     &sandbox__controller_wait_response__descriptor},
    {"containerd.services.sandbox.v1.ControllerStatusRequest",
     &sandbox__controller_status_request__descriptor},
    {"containerd.services.sandbox.v1.ControllerStatusResponse",
     &sandbox__controller_status_response__descriptor},
    {"containerd.services.sandbox.v1.ControllerShutdownRequest",
     &sandbox__controller_shutdown_request__descriptor},
    {"containerd.services.sandbox.v1.ControllerShutdownResponse",
     &sandbox__controller_shutdown_response__descriptor},
    {"containerd.services.sandbox.v1.ControllerMetricsRequest",
     &sandbox__controller_metrics_request__descriptor},
    {"containerd.services.sandbox.v1.ControllerMetricsResponse",
     &sandbox__controller_metrics_response__descriptor},
    {"containerd.services.sandbox.v1.ControllerUpdateRequest",
     &sandbox__controller_update_request__descriptor},
    {"containerd.services.sandbox.v1.ControllerUpdateResponse",
     &sandbox__controller_update_response__descriptor},
    {"containerd.services.sandbox.v1.StoreListRequest", &sandbox__store_list_request__descriptor},
    {"containerd.services.sandbox.v1.StoreListResponse", &sandbox__store_list_response__descriptor},
    {"containerd.v1.types.ProcessInfo", &task__process_info__descriptor},
    {"containerd.task.v3.CreateTaskRequest", &task__create_task_request__descriptor},
    {"containerd.task.v3.CreateTaskResponse", &task__create_task_response__descriptor},
    {"containerd.task.v3.StartRequest", &task__start_request__descriptor},
    {"containerd.task.v3.StartResponse", &task__start_response__descriptor},
    {"containerd.task.v3.DeleteRequest", &task__delete_request__descriptor},
    {"containerd.task.v3.DeleteResponse", &task__delete_response__descriptor},
    {"containerd.task.v3.ExecProcessRequest", &task__exec_process_request__descriptor},
    {"containerd.task.v3.ResizePtyRequest", &task__resize_pty_request__descriptor},
    {"containerd.task.v3.StateRequest", &task__state_request__descriptor},
    {"containerd.task.v3.StateResponse", &task__state_response__descriptor},
    {"containerd.task.v3.KillRequest", &task__kill_request__descriptor},
    {"containerd.task.v3.CloseIORequest", &task__close_iorequest__descriptor},
    {"containerd.task.v3.PidsRequest", &task__pids_request__descriptor},
    {"containerd.task.v3.PidsResponse", &task__pids_response__descriptor},
    {"containerd.task.v3.CheckpointTaskRequest", &task__checkpoint_task_request__descriptor},
    {"containerd.task.v3.UpdateTaskRequest", &task__update_task_request__descriptor},
    {"containerd.task.v3.WaitRequest", &task__wait_request__descriptor},
    {"containerd.task.v3.WaitResponse", &task__wait_response__descriptor},
    {"containerd.task.v3.StatsRequest", &task__stats_request__descriptor},
    {"containerd.task.v3.StatsResponse", &task__stats_response__descriptor},
    {"containerd.task.v3.ConnectRequest", &task__connect_request__descriptor},
    {"containerd.task.v3.ConnectResponse", &task__connect_response__descriptor},
    {"containerd.task.v3.ShutdownRequest", &task__shutdown_request__descriptor},
    {"containerd.task.v3.PauseRequest", &task__pause_request__descriptor},
    {"containerd.task.v3.ResumeRequest", &task__resume_request__descriptor},
    {"containerd.services.events.ttrpc.v1.ForwardRequest", &events__forward_request__descriptor},
    {"containerd.events.TaskIO", &events__task_io__descriptor},
    {"containerd.events.TaskCreate", &events__task_create__descriptor},
    {"containerd.events.TaskStart", &events__task_start__descriptor},
    {"containerd.events.TaskDelete", &events__task_delete__descriptor},
    {"containerd.events.TaskExit", &events__task_exit__descriptor},
    {"containerd.events.TaskOOM", &events__task_oom__descriptor},
    {"containerd.events.TaskPaused", &events__task_paused__descriptor},
    {"containerd.events.TaskResumed", &events__task_resumed__descriptor},
    {"containerd.events.TaskExecAdded", &events__task_exec_added__descriptor},
    {"containerd.events.TaskExecStarted", &events__task_exec_started__descriptor},
    {"containerd.events.TaskCheckpointed", &events__task_checkpointed__descriptor},
    {"containerd.events.SandboxCreate", &events__sandbox_create__descriptor},
    {"containerd.events.SandboxStart", &events__sandbox_start__descriptor},
    {"containerd.events.SandboxExit", &events__sandbox_exit__descriptor},
    {"runtime.v1.PodSandboxMetadata", &cri__pod_sandbox_metadata__descriptor},
    {"runtime.v1.DNSConfig", &cri__dnsconfig__descriptor},
    {"runtime.v1.PortMapping", &cri__port_mapping__descriptor},
    {"runtime.v1.Int64Value", &cri__int64_value__descriptor},
    {"runtime.v1.IDMapping", &cri__idmapping__descriptor},
    {"runtime.v1.UserNamespace", &cri__user_namespace__descriptor},
    {"runtime.v1.NamespaceOption", &cri__namespace_option__descriptor},
    {"runtime.v1.SELinuxOption", &cri__selinux_option__descriptor},
    {"runtime.v1.SecurityProfile", &cri__security_profile__descriptor},
    {"runtime.v1.LinuxSandboxSecurityContext", &cri__linux_sandbox_security_context__descriptor},
    {"runtime.v1.HugepageLimit", &cri__hugepage_limit__descriptor},
    {"runtime.v1.LinuxContainerResources", &cri__linux_container_resources__descriptor},
    {"runtime.v1.LinuxPodSandboxConfig", &cri__linux_pod_sandbox_config__descriptor},
    {"runtime.v1.PodSandboxConfig", &cri__pod_sandbox_config__descriptor},
    {"containerd.runc.v1.Options", &options__runc_options__descriptor},
    {"containerd.runc.v1.CheckpointOptions", &options__checkpoint_options__descriptor},
    {"containerd.runc.v1.ProcessDetails", &options__process_details__descriptor},
    {"runtimeoptions.v1.Options", &options__runtime_options__descriptor},
    {"io.containerd.cgroups.v1.HugetlbStat", &cgroups1__hugetlb_stat__descriptor},
    {"io.containerd.cgroups.v1.PidsStat", &cgroups1__pids_stat__descriptor},
    {"io.containerd.cgroups.v1.CPUUsage", &cgroups1__cpuusage__descriptor},
    {"io.containerd.cgroups.v1.Throttle", &cgroups1__throttle__descriptor},
    {"io.containerd.cgroups.v1.CPUStat", &cgroups1__cpustat__descriptor},
    {"io.containerd.cgroups.v1.MemoryEntry", &cgroups1__memory_entry__descriptor},
    {"io.containerd.cgroups.v1.MemoryStat", &cgroups1__memory_stat__descriptor},
    {"io.containerd.cgroups.v1.MemoryOomControl", &cgroups1__memory_oom_control__descriptor},
    {"io.containerd.cgroups.v1.BlkIOEntry", &cgroups1__blk_ioentry__descriptor},
    {"io.containerd.cgroups.v1.BlkIOStat", &cgroups1__blk_iostat__descriptor},
    {"io.containerd.cgroups.v1.RdmaEntry", &cgroups1__rdma_entry__descriptor},
    {"io.containerd.cgroups.v1.RdmaStat", &cgroups1__rdma_stat__descriptor},
    {"io.containerd.cgroups.v1.NetworkStat", &cgroups1__network_stat__descriptor},
    {"io.containerd.cgroups.v1.CgroupStats", &cgroups1__cgroup_stats__descriptor},
    {"io.containerd.cgroups.v1.Metrics", &cgroups1__metrics__descriptor},
    {"io.containerd.cgroups.v2.PidsStat", &cgroups2__pids_stat__descriptor},
    {"io.containerd.cgroups.v2.PSIData", &cgroups2__psidata__descriptor},
    {"io.containerd.cgroups.v2.PSIStats", &cgroups2__psistats__descriptor},
    {"io.containerd.cgroups.v2.CPUStat", &cgroups2__cpustat__descriptor},
    {"io.containerd.cgroups.v2.MemoryStat", &cgroups2__memory_stat__descriptor},
    {"io.containerd.cgroups.v2.MemoryEvents", &cgroups2__memory_events__descriptor},
    {"io.containerd.cgroups.v2.RdmaEntry", &cgroups2__rdma_entry__descriptor},
    {"io.containerd.cgroups.v2.RdmaStat", &cgroups2__rdma_stat__descriptor},
    {"io.containerd.cgroups.v2.IOEntry", &cgroups2__ioentry__descriptor},
    {"io.containerd.cgroups.v2.IOStat", &cgroups2__iostat__descriptor},
    {"io.containerd.cgroups.v2.HugeTlbStat", &cgroups2__huge_tlb_stat__descriptor},
    {"io.containerd.cgroups.v2.NetworkStat", &cgroups2__network_stat__descriptor},
    {"io.containerd.cgroups.v2.Metrics", &cgroups2__metrics__descriptor},
    {"containerd.services.streaming.v1.StreamInit", &streaming__stream_init__descriptor},
    {"containerd.types.transfer.Data", &streaming__data__descriptor},
    {"containerd.types.transfer.WindowUpdate", &streaming__window_update__descriptor},
    {"containerd.runtime.bootstrap.v1.Extension", &shim__bootstrap_extension__descriptor},
    {"containerd.runtime.bootstrap.v1.BootstrapParams", &shim__bootstrap_params__descriptor},
    {"containerd.runtime.bootstrap.v1.BootstrapResult", &shim__bootstrap_result__descriptor},
    {"grpc.health.v1.HealthCheckRequest", &health__check_request__descriptor},
    {"grpc.health.v1.HealthCheckResponse", &health__check_response__descriptor},
    {"kuasar.internal.v1.EndRequest", &internal__end_request__descriptor},
    {"kuasar.internal.v1.EndResponse", &internal__end_response__descriptor},
    {"kuasar.internal.v1.InfoRequest", &internal__info_request__descriptor},
    {"kuasar.internal.v1.InfoResponse", &internal__info_response__descriptor},
    {"kuasar.internal.v1.Daemon", &internal__daemon__descriptor},
    {"kuasar.internal.v1.Process", &internal__process__descriptor},
    {"kuasar.internal.v1.Fact", &internal__fact__descriptor},
    {"kuasar.internal.v1.Step", &internal__step__descriptor},
    {"kuasar.internal.v1.Operation", &internal__operation__descriptor},
    {"kuasar.internal.v1.Entry", &internal__entry__descriptor},
    {"kuasar.internal.v1.ListRequest", &internal__list_request__descriptor},
    {"kuasar.internal.v1.ListResponse", &internal__list_response__descriptor},
    {"kuasar.internal.v1.ShowRequest", &internal__show_request__descriptor},
    {"kuasar.internal.v1.ShowResponse", &internal__show_response__descriptor},
    {"kuasar.internal.v1.Event", &internal__event__descriptor},
    {"kuasar.internal.v1.EventsRequest", &internal__events_request__descriptor},
    {"kuasar.internal.v1.EventsResponse", &internal__events_response__descriptor},
};

// NULL if there is no such message.
static inline const ProtobufCMessageDescriptor *message_type_find(const char *name)
{
    for (size_t i = 0; i < sizeof message_types / sizeof message_types[0]; i++) {
        if (strcmp(message_types[i].name, name) == 0)
            return message_types[i].type;
    }
    return NULL;
}

#endif
