// A pod's network, carried into a virtual machine: what a network namespace has is read, each
// interface gets a tap device beside it, and the guest makes itself the same interfaces, addresses
// and routes (the messages of guest.proto say which).
//
//   containerd's veth  ◄── tc: everything that comes in goes out there ──►  tap ── VMM ── guest
//
// The interface stays where the network plugin made it, so the plugin finds it again at the end.
#ifndef NET_NET_H
#define NET_NET_H

#include <net/if.h>
#include <sys/types.h>

#include "api/guest.pb-c.h"
#include "base/error.h"

// Limits of what is carried over; more is refused by name.
#define NET_INTERFACES_MAX 16
#define NET_ADDRESSES_MAX  64 // of one interface
#define NET_ROUTES_MAX     1024
#define NET_NEIGHBOURS_MAX 256

// Reads the network namespace that the calling process is in: Ethernet interfaces that are up, with
// their addresses (IPv6's link-local ones are the guest's own affair), the routes of the main table
// that the kernel does not make by itself, permanent neighbours. NULL on error. Free with net_free.
Guest__Network *net_read(struct error *err);
// Of net_read only. Accepts NULL.
void net_free(Guest__Network *n);

// Makes a persistent tap device beside an interface of the namespace that the caller is in, of the
// same MTU, up, which user `owner` may open, and redirects what either receives to the other.
// Frames have a virtio_net_hdr before them. Its name is "tap_kua_" and the number of the interface.
// It ends with the namespace. Returns 0 or -1.
int net_tap_make(const char *interface, uid_t owner, char ret_name[IFNAMSIZ], struct error *err);

// Makes the calling process's namespace, a guest's, what `n` says: an interface is found by its
// hardware address. What `n` says is checked first. Returns 0 or -1.
int net_apply(const Guest__Network *n, struct error *err);

#endif
