// Names of the services that are spoken here, and a row helper for their dispatch tables.
#ifndef API_SERVICES_H
#define API_SERVICES_H

#include "api/message.h"

// gRPC, served by a sandboxer: sandbox.proto.
#define SERVICE_CONTROLLER "containerd.services.sandbox.v1.Controller"
// gRPC, served by containerd: sandbox.proto.
#define SERVICE_STORE "containerd.services.sandbox.v1.Store"
// gRPC, served by whoever wants to be probed: health.proto.
#define SERVICE_HEALTH "grpc.health.v1.Health"
// ttrpc, served by a task server: task.proto, the same messages for both versions.
#define SERVICE_TASK_V3 "containerd.task.v3.Task"
#define SERVICE_TASK_V2 "containerd.task.v2.Task"
// ttrpc, served by a task server: streaming.proto, its only method is a stream of Any.
#define SERVICE_STREAMING "containerd.services.streaming.v1.Streaming"
// ttrpc, served by containerd: events.proto.
#define SERVICE_EVENTS "containerd.services.events.ttrpc.v1.Events"
// ttrpc, served by our own task server for the sandboxer: internal.proto.
#define SERVICE_PODS "kuasar.internal.v1.Pods"
// ttrpc, served by every daemon for kuasar-ctl: internal.proto.
#define SERVICE_INSPECT "kuasar.internal.v1.Inspect"
// ttrpc, served by the agent in a virtual machine for the host: guest.proto.
#define SERVICE_GUEST "kuasar.internal.v1.Guest"
// The same, on another port: streams to ports of the guest's loopback.
#define SERVICE_GUEST_PORTS "kuasar.internal.v1.GuestPorts"
// The vsock ports on which the agent serves (with the Task API), on which the host hears of the
// agent when it does, and of its ports.
#define GUEST_PORT         1024
#define GUEST_READY_PORT   1025
#define GUEST_FORWARD_PORT 1026
// A word of the kernel's command line by which the agent does nothing but to write a line on the
// console, and powers off: who reads it knows that guests run.
#define GUEST_PROBE_PARAMETER "task.probe=1"
#define GUEST_PROBE_MARK      "vmm-task: this guest runs"

// A row of a dispatch table. `request` and `response` are names of messages as protobuf-c writes
// them in functions:
//
//     static const struct api_method methods[] = {
//         API_METHOD("Create", task__create_task_request, task__create_task_response, on_create),
//         API_METHOD("Kill", task__kill_request, google__empty, on_kill),
//         {0},
//     };
#define API_METHOD(method, request_, response_, handler)                                           \
    {                                                                                              \
        .name = (method), .request = &request_##__descriptor,                                      \
        .response = &response_##__descriptor, .handle = (handler)                                  \
    }

#endif
