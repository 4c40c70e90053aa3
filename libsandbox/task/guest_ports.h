// Ports of a virtual machine: who connects to a loopback address in the pod's network namespace (as
// containerd does for port-forward) reaches that port of the guest's loopback.
#ifndef TASK_GUEST_PORTS_H
#define TASK_GUEST_PORTS_H

#include <ev.h>

#include "base/error.h"

// Most connections of one machine at a time; one more is closed at once.
#define GUEST_PORTS_CONNECTIONS_MAX 256

struct guest_ports;

// `netns` is the pod's network namespace, `vsock` the socket of its device. NULL on error.
struct guest_ports *guest_ports_new(struct ev_loop *loop, const char *netns, const char *vsock,
                                    struct error *err);
// Closes everything. Accepts NULL. Returns NULL.
struct guest_ports *guest_ports_free(struct guest_ports *p);

#endif
