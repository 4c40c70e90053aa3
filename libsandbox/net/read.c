#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <netlink/route/addr.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/net.h"
#include "net/netlink.h"

#define MAC_LEN 6

// What is filled while the caches are walked. The first failure ends the rest.
struct reading {
    Guest__Network *network;
    struct nl_cache *links;
    struct error *err;
    bool failed;
};

static void fail(struct reading *r, int errnum, const char *what)
{
    if (!r->failed)
        error_errno(r->err, errnum, "%s", what);
    r->failed = true;
}

static void fail_limit(struct reading *r, int most, const char *what)
{
    if (!r->failed)
        error_set(r->err, STATUS_RESOURCE_EXHAUSTED,
                  "the pod's network has more than %d %s: a virtual machine cannot carry them",
                  most, what);
    r->failed = true;
}

// Makes room for one more in a list of pointers and puts it there; takes `item`. True if it is in.
static bool list_add(struct reading *r, void *list_, size_t *n, size_t most, void *item,
                     const char *what)
{
    void **list = *(void ***)list_;
    if (!item || *n == most) {
        free(item);
        if (!item)
            fail(r, ENOMEM, what);
        else
            fail_limit(r, (int)most, what);
        return false;
    }
    void **more = realloc(list, (*n + 1) * sizeof *more);
    if (!more) {
        free(item);
        fail(r, ENOMEM, what);
        return false;
    }
    more[(*n)++] = item;
    *(void ***)list_ = more;
    return true;
}

static void set_bytes(struct reading *r, ProtobufCBinaryData *to, struct nl_addr *addr)
{
    size_t len = addr ? nl_addr_get_len(addr) : 0;
    if (!len)
        return;
    to->data = malloc(len);
    if (!to->data) {
        fail(r, ENOMEM, "network");
        return;
    }
    memcpy(to->data, nl_addr_get_binary_addr(addr), len);
    to->len = len;
}

static void set_text(struct reading *r, char **to, const char *text)
{
    *to = strdup(text ? text : "");
    if (!*to)
        fail(r, ENOMEM, "network");
}

static void set_name(struct reading *r, char **to, int ifindex)
{
    char name[IFNAMSIZ] = "";
    rtnl_link_i2name(r->links, ifindex, name, sizeof name);
    set_text(r, to, name);
}

// ---- interfaces -----------------------------------------------------------------------------

// Is this an interface that the guest gets? Ours (taps), loopback and tunnels are not.
static bool is_carried(struct rtnl_link *link)
{
    struct nl_addr *mac = rtnl_link_get_addr(link);
    const char *kind = rtnl_link_get_type(link);
    return rtnl_link_get_arptype(link) == ARPHRD_ETHER && rtnl_link_get_flags(link) & IFF_UP &&
           mac && nl_addr_get_len(mac) == MAC_LEN && !(kind && strcmp(kind, "tun") == 0);
}

static bool is_carried_index(const struct reading *r, int ifindex)
{
    _cleanup_link_ struct rtnl_link *link = rtnl_link_get(r->links, ifindex);
    return link && is_carried(link);
}

static void read_link(struct nl_object *o, void *arg)
{
    struct reading *r = arg;
    struct rtnl_link *link = (struct rtnl_link *)o;
    if (r->failed || !is_carried(link))
        return;
    Guest__Interface *i = malloc(sizeof *i);
    if (i)
        guest__interface__init(i);
    if (!list_add(r, &r->network->interfaces, &r->network->n_interfaces, NET_INTERFACES_MAX, i,
                  "interfaces"))
        return;
    set_text(r, &i->name, rtnl_link_get_name(link));
    set_bytes(r, &i->mac, rtnl_link_get_addr(link));
    i->mtu = rtnl_link_get_mtu(link);
}

static Guest__Interface *interface_of(const struct reading *r, int ifindex)
{
    char name[IFNAMSIZ] = "";
    rtnl_link_i2name(r->links, ifindex, name, sizeof name);
    for (size_t i = 0; i < r->network->n_interfaces; i++) {
        if (strcmp(r->network->interfaces[i]->name, name) == 0)
            return r->network->interfaces[i];
    }
    return NULL;
}

static Guest__Address *address_new(struct reading *r, struct nl_addr *addr, unsigned prefix)
{
    Guest__Address *a = malloc(sizeof *a);
    if (!a)
        return NULL;
    guest__address__init(a);
    set_bytes(r, &a->ip, addr);
    a->prefix_length = prefix;
    return a;
}

static void read_address(struct nl_object *o, void *arg)
{
    struct reading *r = arg;
    struct rtnl_addr *addr = (struct rtnl_addr *)o;
    Guest__Interface *i = interface_of(r, rtnl_addr_get_ifindex(addr));
    int family = rtnl_addr_get_family(addr);
    if (r->failed || !i || (family != AF_INET && family != AF_INET6) ||
        (family == AF_INET6 && rtnl_addr_get_scope(addr) == RT_SCOPE_LINK))
        return;
    list_add(r, &i->addresses, &i->n_addresses, NET_ADDRESSES_MAX,
             address_new(r, rtnl_addr_get_local(addr), (unsigned)rtnl_addr_get_prefixlen(addr)),
             "addresses of one interface");
}

// ---- routes ---------------------------------------------------------------------------------

static void read_route(struct nl_object *o, void *arg)
{
    struct reading *r = arg;
    struct rtnl_route *route = (struct rtnl_route *)o;
    if (r->failed || rtnl_route_get_table(route) != RT_TABLE_MAIN ||
        rtnl_route_get_type(route) != RTN_UNICAST ||
        rtnl_route_get_protocol(route) == RTPROT_KERNEL || rtnl_route_get_nnexthops(route) != 1)
        return;
    struct rtnl_nexthop *hop = rtnl_route_nexthop_n(route, 0);
    if (!is_carried_index(r, rtnl_route_nh_get_ifindex(hop)))
        return;
    Guest__Route *m = malloc(sizeof *m);
    if (m)
        guest__route__init(m);
    if (!list_add(r, &r->network->routes, &r->network->n_routes, NET_ROUTES_MAX, m, "routes"))
        return;
    struct nl_addr *to = rtnl_route_get_dst(route);
    if (to && nl_addr_get_len(to) &&
        !(m->destination = address_new(r, to, nl_addr_get_prefixlen(to))))
        fail(r, ENOMEM, "routes");
    set_bytes(r, &m->gateway, rtnl_route_nh_get_gateway(hop));
    set_name(r, &m->interface, rtnl_route_nh_get_ifindex(hop));
    set_bytes(r, &m->source, rtnl_route_get_pref_src(route));
    m->scope = rtnl_route_get_scope(route);
    m->priority = rtnl_route_get_priority(route);
    m->onlink = (rtnl_route_nh_get_flags(hop) & RTNH_F_ONLINK) != 0;
    m->family = rtnl_route_get_family(route);
}

static void read_neighbour(struct nl_object *o, void *arg)
{
    struct reading *r = arg;
    struct rtnl_neigh *n = (struct rtnl_neigh *)o;
    struct nl_addr *mac = rtnl_neigh_get_lladdr(n), *ip = rtnl_neigh_get_dst(n);
    if (r->failed || !(rtnl_neigh_get_state(n) & NUD_PERMANENT) || !mac || !ip ||
        nl_addr_get_len(mac) != MAC_LEN || !is_carried_index(r, rtnl_neigh_get_ifindex(n)))
        return;
    Guest__Neighbour *m = malloc(sizeof *m);
    if (m)
        guest__neighbour__init(m);
    if (!list_add(r, &r->network->neighbours, &r->network->n_neighbours, NET_NEIGHBOURS_MAX, m,
                  "permanent neighbours"))
        return;
    set_bytes(r, &m->ip, ip);
    set_bytes(r, &m->mac, mac);
    set_name(r, &m->interface, rtnl_neigh_get_ifindex(n));
}

// ---- all ------------------------------------------------------------------------------------

static void read_all(struct reading *r, struct nl_sock *sock)
{
    _cleanup_nl_cache_ struct nl_cache *addresses = NULL, *routes = NULL, *neighbours = NULL;
    int e = rtnl_addr_alloc_cache(sock, &addresses);
    if (e == 0)
        e = rtnl_route_alloc_cache(sock, AF_UNSPEC, 0, &routes);
    if (e == 0)
        e = rtnl_neigh_alloc_cache(sock, &neighbours);
    if (e < 0) {
        netlink_error(r->err, e, "cannot read the pod's network");
        r->failed = true;
        return;
    }
    nl_cache_foreach(r->links, read_link, r);
    nl_cache_foreach(addresses, read_address, r);
    nl_cache_foreach(routes, read_route, r);
    nl_cache_foreach(neighbours, read_neighbour, r);
}

Guest__Network *net_read(struct error *err)
{
    _cleanup_nl_sock_ struct nl_sock *sock = netlink_open(err);
    _cleanup_nl_cache_ struct nl_cache *links = NULL;
    if (!sock)
        return NULL;
    int e = rtnl_link_alloc_cache(sock, AF_UNSPEC, &links);
    Guest__Network *n = e < 0 ? NULL : malloc(sizeof *n);
    if (!n) {
        netlink_error(err, e < 0 ? e : -NLE_NOMEM, "cannot read the pod's network");
        return NULL;
    }
    guest__network__init(n);
    struct reading r = {.network = n, .links = links, .err = err};
    read_all(&r, sock);
    if (!r.failed)
        return n;
    net_free(n);
    return NULL;
}

// Strings that were never set point to protobuf-c's own empty one.
static void free_text(char *text)
{
    if (text != protobuf_c_empty_string)
        free(text);
}

static void free_address(Guest__Address *a)
{
    if (a)
        free(a->ip.data);
    free(a);
}

void net_free(Guest__Network *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->n_interfaces; i++) {
        Guest__Interface *m = n->interfaces[i];
        for (size_t k = 0; k < m->n_addresses; k++)
            free_address(m->addresses[k]);
        free(m->addresses);
        free_text(m->name);
        free(m->mac.data);
        free(m);
    }
    for (size_t i = 0; i < n->n_routes; i++) {
        Guest__Route *m = n->routes[i];
        free_address(m->destination);
        free(m->gateway.data);
        free(m->source.data);
        free_text(m->interface);
        free(m);
    }
    for (size_t i = 0; i < n->n_neighbours; i++) {
        Guest__Neighbour *m = n->neighbours[i];
        free(m->ip.data);
        free(m->mac.data);
        free_text(m->interface);
        free(m);
    }
    free(n->interfaces);
    free(n->routes);
    free(n->neighbours);
    free(n);
}
