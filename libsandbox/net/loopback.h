// Every TCP connection to the loopback addresses of a network namespace, whatever its port, comes
// to one listener: for a pod whose programs are elsewhere (in a virtual machine), so that who
// connects in the namespace, as containerd does for port-forward, reaches them.
//
// The kernel is told by a BPF program at the namespace's socket lookup (BPF_PROG_TYPE_SK_LOOKUP,
// Linux 5.9). An accepted socket's own address (getsockname(2)) is the one that was connected to.
#ifndef NET_LOOPBACK_H
#define NET_LOOPBACK_H

#include "base/error.h"

struct net_loopback {
    int v4, v6; // listening, non-blocking; v6 -1: the namespace has no IPv6
    int link;   // as long as it is open
};

// Takes the connections of the namespace at `netns` over. The calling process, of one thread, is in
// that namespace for a moment; if it cannot come back it ends. Needs CAP_SYS_ADMIN, CAP_NET_ADMIN
// and CAP_BPF. Returns 0, or -1: UNIMPLEMENTED if the kernel cannot do it.
int net_loopback_take(const char *netns, struct net_loopback *ret, struct error *err);
// Gives them back. Closed descriptors are -1 afterwards.
void net_loopback_done(struct net_loopback *l);

#endif
