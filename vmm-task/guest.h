// The Guest service: what the host asks of the agent beside the Task API (guest.proto).
#ifndef VMM_TASK_GUEST_H
#define VMM_TASK_GUEST_H

#include <ev.h>

#include "api/message.h"
#include "event/reaper.h"

// The agent's directory: bundles, the pod's record, what the host shares. The paths are the host's
// to know, too (task/guest.h).
#define GUEST_DIR "/run/kuasar"
// Most containers that have a bundle at a time.
#define BUNDLES_MAX 1024
// Largest config.json.
#define BUNDLE_CONFIG_MAX (2u * 1024 * 1024)

struct guest_service {
    struct api_service service;
    struct ev_loop *loop;
    struct reaper *reaper;
    struct rpc_call *setup; // a Setup that is under way
    const void *setup_request;
    bool ready; // it has been made
    size_t bundles;
    ev_timer power_off;
};

// Fills g; it must not move afterwards.
void guest_service_init(struct guest_service *g, struct ev_loop *loop, struct reaper *reaper);

#endif
