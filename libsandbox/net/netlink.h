// What the files of this layer share: a netlink socket, and errors of libnl.
#ifndef NET_NETLINK_H
#define NET_NETLINK_H

#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>

#include "base/error.h"

// NULL on error.
struct nl_sock *netlink_open(struct error *err);

// As error_errno, for a (negative) error of libnl.
int netlink_error(struct error *err, int nlerr, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static inline void cleanup_nl_sock(struct nl_sock **s)
{
    if (*s)
        nl_socket_free(*s);
}
static inline void cleanup_nl_cache(struct nl_cache **c)
{
    if (*c)
        nl_cache_free(*c);
}
static inline void cleanup_rtnl_link(struct rtnl_link **l)
{
    if (*l)
        rtnl_link_put(*l);
}
#define _cleanup_nl_sock_  __attribute__((cleanup(cleanup_nl_sock)))
#define _cleanup_nl_cache_ __attribute__((cleanup(cleanup_nl_cache)))
#define _cleanup_link_     __attribute__((cleanup(cleanup_rtnl_link)))

#endif
