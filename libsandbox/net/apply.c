#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/route/addr.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/net.h"
#include "net/netlink.h"

#define MAC_LEN 6

static inline void cleanup_nl_addr(struct nl_addr **a)
{
    if (*a)
        nl_addr_put(*a);
}
#define _cleanup_addr_ __attribute__((cleanup(cleanup_nl_addr)))

// ---- checks -----------------------------------------------------------------------------------

static int family_of(const ProtobufCBinaryData *ip)
{
    return ip->len == 4 ? AF_INET : ip->len == 16 ? AF_INET6 : AF_UNSPEC;
}

static int check_address(const Guest__Address *a, const char *field, struct error *err)
{
    int family = family_of(&a->ip);
    if (family == AF_UNSPEC || a->prefix_length > a->ip.len * 8)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: no address", field);
    return 0;
}

static int check_interface(const Guest__Interface *i, struct error *err)
{
    if (!i->name[0] || strlen(i->name) >= IFNAMSIZ || strpbrk(i->name, "/ \t\n"))
        return error_set(err, STATUS_INVALID_ARGUMENT, "interface \"%.32s\": no name", i->name);
    if (i->mac.len != MAC_LEN)
        return error_set(err, STATUS_INVALID_ARGUMENT, "interface %s: no hardware address",
                         i->name);
    if (i->n_addresses > NET_ADDRESSES_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "interface %s: too many addresses", i->name);
    for (size_t k = 0; k < i->n_addresses; k++) {
        if (check_address(i->addresses[k], i->name, err) < 0)
            return -1;
    }
    return 0;
}

static int check(const Guest__Network *n, struct error *err)
{
    if (n->n_interfaces > NET_INTERFACES_MAX || n->n_routes > NET_ROUTES_MAX ||
        n->n_neighbours > NET_NEIGHBOURS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "network: too much of it");
    for (size_t i = 0; i < n->n_interfaces; i++) {
        if (check_interface(n->interfaces[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < n->n_routes; i++) {
        const Guest__Route *r = n->routes[i];
        if (r->family != AF_INET && r->family != AF_INET6)
            return error_set(err, STATUS_INVALID_ARGUMENT, "routes[%zu].family: unknown", i);
        if (r->destination && check_address(r->destination, "routes.destination", err) < 0)
            return -1;
        if ((r->gateway.len && family_of(&r->gateway) == AF_UNSPEC) ||
            (r->source.len && family_of(&r->source) == AF_UNSPEC) || r->scope > UINT8_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "routes[%zu]: no route", i);
    }
    for (size_t i = 0; i < n->n_neighbours; i++) {
        if (family_of(&n->neighbours[i]->ip) == AF_UNSPEC || n->neighbours[i]->mac.len != MAC_LEN)
            return error_set(err, STATUS_INVALID_ARGUMENT, "neighbours[%zu]: no neighbour", i);
    }
    return 0;
}

// ---- interfaces -------------------------------------------------------------------------------

static struct nl_addr *address_of(const ProtobufCBinaryData *ip, unsigned prefix)
{
    struct nl_addr *a = nl_addr_build(family_of(ip), ip->data, ip->len);
    if (a)
        nl_addr_set_prefixlen(a, (int)prefix);
    return a;
}

struct search {
    const Guest__Interface *wanted;
    struct rtnl_link *found;
};

static void look(struct nl_object *o, void *arg)
{
    struct search *s = arg;
    struct rtnl_link *link = (struct rtnl_link *)o;
    struct nl_addr *mac = rtnl_link_get_addr(link);
    if (mac && nl_addr_get_len(mac) == MAC_LEN && !(rtnl_link_get_flags(link) & IFF_LOOPBACK) &&
        memcmp(nl_addr_get_binary_addr(mac), s->wanted->mac.data, MAC_LEN) == 0)
        s->found = link;
}

static int change(struct nl_sock *sock, struct rtnl_link *link, const char *name, unsigned mtu,
                  bool up, struct error *err)
{
    _cleanup_link_ struct rtnl_link *c = rtnl_link_alloc();
    if (!c)
        return error_errno(err, ENOMEM, "interface");
    if (name && strcmp(name, rtnl_link_get_name(link)) != 0)
        rtnl_link_set_name(c, name);
    if (mtu)
        rtnl_link_set_mtu(c, mtu);
    if (up)
        rtnl_link_set_flags(c, IFF_UP);
    int e = rtnl_link_change(sock, link, c, 0);
    return e < 0 ? netlink_error(err, e, "interface %s", name ? name : rtnl_link_get_name(link))
                 : 0;
}

static int add_address(struct nl_sock *sock, int ifindex, const Guest__Interface *i,
                       const Guest__Address *a, struct error *err)
{
    _cleanup_addr_ struct nl_addr *local = address_of(&a->ip, a->prefix_length);
    struct rtnl_addr *addr = rtnl_addr_alloc();
    int e = local && addr ? 0 : -NLE_NOMEM;
    if (e == 0) {
        rtnl_addr_set_ifindex(addr, ifindex);
        // The address is known to be the pod's alone: nobody is asked for a second.
        if (a->ip.len == 16)
            rtnl_addr_set_flags(addr, IFA_F_NODAD);
        e = rtnl_addr_set_local(addr, local);
    }
    if (e == 0)
        e = rtnl_addr_add(sock, addr, 0);
    if (addr)
        rtnl_addr_put(addr);
    return e < 0 && e != -NLE_EXIST ? netlink_error(err, e, "address of interface %s", i->name) : 0;
}

static int apply_interface(struct nl_sock *sock, const Guest__Interface *i, struct error *err)
{
    _cleanup_nl_cache_ struct nl_cache *links = NULL;
    struct search s = {.wanted = i};
    int e = rtnl_link_alloc_cache(sock, AF_UNSPEC, &links);
    if (e < 0)
        return netlink_error(err, e, "interfaces");
    nl_cache_foreach(links, look, &s);
    if (!s.found)
        return error_set(err, STATUS_NOT_FOUND,
                         "interface %s: the machine has none with its hardware address", i->name);
    // Not up yet: only then it may be renamed.
    if (change(sock, s.found, i->name, i->mtu, false, err) < 0 ||
        change(sock, s.found, NULL, 0, true, err) < 0)
        return -1;
    for (size_t k = 0; k < i->n_addresses; k++) {
        if (add_address(sock, rtnl_link_get_ifindex(s.found), i, i->addresses[k], err) < 0)
            return -1;
    }
    return 0;
}

static int loopback_up(struct nl_sock *sock, struct error *err)
{
    _cleanup_link_ struct rtnl_link *lo = NULL;
    int e = rtnl_link_get_kernel(sock, 0, "lo", &lo);
    return e < 0 ? netlink_error(err, e, "lo") : change(sock, lo, NULL, 0, true, err);
}

// ---- routes -----------------------------------------------------------------------------------

static int interface_index(const char *name, struct error *err)
{
    unsigned index = if_nametoindex(name);
    return index ? (int)index
                 : error_set(err, STATUS_INVALID_ARGUMENT, "interface \"%.32s\": there is none",
                             name);
}

static struct rtnl_nexthop *nexthop_of(const Guest__Route *r, int ifindex)
{
    struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
    _cleanup_addr_ struct nl_addr *gateway =
        r->gateway.len ? address_of(&r->gateway, (unsigned)r->gateway.len * 8) : NULL;
    if (!hop)
        return NULL;
    rtnl_route_nh_set_ifindex(hop, ifindex);
    if (gateway)
        rtnl_route_nh_set_gateway(hop, gateway);
    if (r->onlink)
        rtnl_route_nh_set_flags(hop, RTNH_F_ONLINK);
    return hop;
}

static int everywhere(struct rtnl_route *route, int family)
{
    static const uint8_t zero[16];
    _cleanup_addr_ struct nl_addr *to = nl_addr_build(family, zero, family == AF_INET ? 4 : 16);
    if (!to)
        return -NLE_NOMEM;
    nl_addr_set_prefixlen(to, 0);
    return rtnl_route_set_dst(route, to);
}

static int fill_route(struct rtnl_route *route, const Guest__Route *r, int ifindex)
{
    _cleanup_addr_ struct nl_addr *to =
        r->destination ? address_of(&r->destination->ip, r->destination->prefix_length) : NULL;
    _cleanup_addr_ struct nl_addr *from =
        r->source.len ? address_of(&r->source, (unsigned)r->source.len * 8) : NULL;
    rtnl_route_set_family(route, (uint8_t)r->family);
    rtnl_route_set_table(route, RT_TABLE_MAIN);
    rtnl_route_set_protocol(route, RTPROT_BOOT);
    rtnl_route_set_scope(route, (uint8_t)r->scope);
    rtnl_route_set_priority(route, r->priority);
    int e = to ? rtnl_route_set_dst(route, to) : everywhere(route, (int)r->family);
    if (e == 0 && from)
        e = rtnl_route_set_pref_src(route, from);
    struct rtnl_nexthop *hop = e == 0 ? nexthop_of(r, ifindex) : NULL;
    if (e == 0 && !hop)
        e = -NLE_NOMEM;
    if (hop)
        rtnl_route_add_nexthop(route, hop);
    return e;
}

static int apply_route(struct nl_sock *sock, const Guest__Route *r, struct error *err)
{
    int ifindex = interface_index(r->interface, err);
    if (ifindex < 0)
        return -1;
    struct rtnl_route *route = rtnl_route_alloc();
    int e = route ? fill_route(route, r, ifindex) : -NLE_NOMEM;
    if (e == 0)
        e = rtnl_route_add(sock, route, NLM_F_CREATE);
    if (route)
        rtnl_route_put(route);
    return e < 0 && e != -NLE_EXIST ? netlink_error(err, e, "route by %s", r->interface) : 0;
}

// Those without a gateway first: gateways must be reachable.
static int apply_routes(struct nl_sock *sock, const Guest__Network *n, bool gateways,
                        struct error *err)
{
    for (size_t i = 0; i < n->n_routes; i++) {
        if ((n->routes[i]->gateway.len > 0) == gateways && apply_route(sock, n->routes[i], err) < 0)
            return error_wrap(err, "routes[%zu]", i);
    }
    return 0;
}

static int apply_neighbour(struct nl_sock *sock, const Guest__Neighbour *m, struct error *err)
{
    int ifindex = interface_index(m->interface, err);
    if (ifindex < 0)
        return -1;
    _cleanup_addr_ struct nl_addr *ip = address_of(&m->ip, (unsigned)m->ip.len * 8);
    _cleanup_addr_ struct nl_addr *mac = nl_addr_build(AF_LLC, m->mac.data, m->mac.len);
    struct rtnl_neigh *n = rtnl_neigh_alloc();
    int e = ip && mac && n ? 0 : -NLE_NOMEM;
    if (e == 0) {
        rtnl_neigh_set_ifindex(n, ifindex);
        rtnl_neigh_set_lladdr(n, mac);
        rtnl_neigh_set_state(n, NUD_PERMANENT);
        e = rtnl_neigh_set_dst(n, ip);
    }
    if (e == 0)
        e = rtnl_neigh_add(sock, n, NLM_F_CREATE | NLM_F_REPLACE);
    if (n)
        rtnl_neigh_put(n);
    return e < 0 ? netlink_error(err, e, "neighbour on %s", m->interface) : 0;
}

int net_apply(const Guest__Network *n, struct error *err)
{
    if (check(n, err) < 0)
        return -1;
    _cleanup_nl_sock_ struct nl_sock *sock = netlink_open(err);
    if (!sock || loopback_up(sock, err) < 0)
        return -1;
    for (size_t i = 0; i < n->n_interfaces; i++) {
        if (apply_interface(sock, n->interfaces[i], err) < 0)
            return -1;
    }
    if (apply_routes(sock, n, false, err) < 0 || apply_routes(sock, n, true, err) < 0)
        return -1;
    for (size_t i = 0; i < n->n_neighbours; i++) {
        if (apply_neighbour(sock, n->neighbours[i], err) < 0)
            return error_wrap(err, "neighbours[%zu]", i);
    }
    return 0;
}
