// Sandboxes that are namespaces on the host: what the runc and the wasm kind have in common. Pinned
// ipc and uts namespaces, the pod's network namespace, one init process only where the pod shares
// its pid namespace, the files of /etc that containers get, /dev/shm, the pod's cgroup.
#ifndef SANDBOX_HOST_POD_H
#define SANDBOX_HOST_POD_H

#include "sandbox/sandbox.h"

// The slots of struct sandbox_ops; contracts there.
int host_pod_plan(struct sandbox_manager *m, struct sandbox_record *r,
                  const struct sandbox_request *q, struct error *err);
int host_pod_make(struct sandbox_manager *m, const struct sandbox_record *r,
                  const struct sandbox_request *q, struct sandbox_made *made, struct error *err);
int host_pod_check(struct sandbox_manager *m, const struct sandbox_record *r, struct error *err);
// The pod's cgroup gets the limits if we made it. If it was there before, it is kubelet's: that has
// set the limits already when it asks for this, and nothing is done.
int host_pod_resize(struct sandbox_manager *m, const struct sandbox_record *r,
                    const struct sandbox_sizes *sizes, struct error *err);

#endif
