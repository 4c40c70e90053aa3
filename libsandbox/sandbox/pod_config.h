// What a request asks of a pod, read and checked: the same for every kind of sandbox.
#ifndef SANDBOX_POD_CONFIG_H
#define SANDBOX_POD_CONFIG_H

#include "sandbox/sandbox.h"

// Most sysctls of a pod.
#define POD_SYSCTLS_MAX 256

// The namespace modes. A pod that names none shares all three among its containers, as with
// containerd's own pods: POD is the zero of the enum. (kubelet always names CONTAINER for pid.)
struct pod_modes {
    Cri__NamespaceMode network, pid, ipc;
};

// Each returns 0, or -1 with INVALID_ARGUMENT that names the field.
int pod_modes_read(const struct sandbox_request *q, struct pod_modes *m, struct error *err);
// The pod's users; lengths 0: the host's. (containerd checks less before it calls, and nothing of a
// pod on the host's network.)
int pod_users_read(const struct sandbox_request *q, struct id_maps *ret, struct error *err);
// The rest: network namespace, host name, name resolution, sysctls.
int pod_config_check(const struct sandbox_request *q, const struct pod_modes *m, struct error *err);

#endif
