// The gRPC service containerd.services.sandbox.v1.Controller: decode, call, encode. Policy is in
// sandbox.c. (Calls and fields: containerd api/services/sandbox/v1/sandbox.proto; who calls what
// and when: containerd internal/cri/server.)
#ifndef SANDBOX_CONTROLLER_H
#define SANDBOX_CONTROLLER_H

#include "api/message.h"
#include "sandbox/sandbox.h"

struct controller {
    struct api_service service; // give &service.rpc to the gRPC server
    struct sandbox_manager *manager;
};

// `c` must not move afterwards.
void controller_init(struct controller *c, struct sandbox_manager *manager);

#endif
