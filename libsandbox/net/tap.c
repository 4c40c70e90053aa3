#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <netlink/route/act/mirred.h>
#include <netlink/route/action.h>
#include <netlink/route/classifier.h>
#include <netlink/route/cls/u32.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/tc.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/net.h"
#include "net/netlink.h"

// Bytes of the name that are not the number.
#define TAP_PREFIX "tap_kua_"
// "ffff:", which an ingress queue always has.
#define INGRESS_HANDLE 0xffff0000u

static int make_device(const char *name, uid_t owner, struct error *err)
{
    struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno,
                           "/dev/net/tun: a virtual machine's network needs the kernel's tun");
    snprintf(req.ifr_name, sizeof req.ifr_name, "%s", name);
    if (ioctl(fd, TUNSETIFF, &req) < 0)
        return error_errno(err, errno, "cannot make tap device %s", name);
    if (ioctl(fd, TUNSETOWNER, (unsigned long)owner) < 0 || ioctl(fd, TUNSETPERSIST, 1UL) < 0)
        return error_errno(err, errno, "cannot keep tap device %s", name);
    return 0;
}

// Takes `change`, the new properties of `link`.
static int change_link(struct nl_sock *sock, struct rtnl_link *link, struct rtnl_link *change,
                       const char *name, struct error *err)
{
    int e = rtnl_link_change(sock, link, change, 0);
    return e < 0 ? netlink_error(err, e, "interface %s", name) : 0;
}

static int set_up(struct nl_sock *sock, const char *name, unsigned mtu, int *ret_ifindex,
                  struct error *err)
{
    _cleanup_link_ struct rtnl_link *link = NULL;
    _cleanup_link_ struct rtnl_link *change = rtnl_link_alloc();
    int e = change ? rtnl_link_get_kernel(sock, 0, name, &link) : -NLE_NOMEM;
    if (e < 0)
        return netlink_error(err, e, "interface %s", name);
    rtnl_link_set_mtu(change, mtu);
    rtnl_link_set_flags(change, IFF_UP);
    *ret_ifindex = rtnl_link_get_ifindex(link);
    return change_link(sock, link, change, name, err);
}

static int add_ingress(struct nl_sock *sock, int ifindex, struct error *err)
{
    struct rtnl_qdisc *q = rtnl_qdisc_alloc();
    if (!q)
        return error_errno(err, ENOMEM, "ingress");
    rtnl_tc_set_ifindex(TC_CAST(q), ifindex);
    rtnl_tc_set_parent(TC_CAST(q), TC_H_INGRESS);
    rtnl_tc_set_handle(TC_CAST(q), INGRESS_HANDLE);
    int e = rtnl_tc_set_kind(TC_CAST(q), "ingress");
    if (e == 0)
        e = rtnl_qdisc_add(sock, q, NLM_F_CREATE);
    rtnl_qdisc_put(q);
    return e < 0 && e != -NLE_EXIST
               ? netlink_error(err, e, "cannot put an ingress queue on interface %d", ifindex)
               : 0;
}

static struct rtnl_act *redirect_action(int to)
{
    struct rtnl_act *act = rtnl_act_alloc();
    if (!act)
        return NULL;
    if (rtnl_tc_set_kind(TC_CAST(act), "mirred") == 0 &&
        rtnl_mirred_set_action(act, TCA_EGRESS_REDIR) == 0 &&
        rtnl_mirred_set_ifindex(act, (uint32_t)to) == 0 &&
        rtnl_mirred_set_policy(act, TC_ACT_STOLEN) == 0)
        return act;
    rtnl_act_put(act);
    return NULL;
}

// u32 with a key that everything has: kernels have it where they lack matchall.
static int add_filter(struct nl_sock *sock, int from, struct rtnl_act *act)
{
    struct rtnl_cls *cls = rtnl_cls_alloc();
    if (!cls)
        return -NLE_NOMEM;
    rtnl_tc_set_ifindex(TC_CAST(cls), from);
    rtnl_tc_set_parent(TC_CAST(cls), INGRESS_HANDLE);
    rtnl_cls_set_prio(cls, 1);
    rtnl_cls_set_protocol(cls, 0x0003); // ETH_P_ALL
    int e = rtnl_tc_set_kind(TC_CAST(cls), "u32");
    if (e == 0)
        e = rtnl_u32_add_key_uint8(cls, 0, 0, 0, 0);
    if (e == 0)
        e = rtnl_u32_add_action(cls, act);
    if (e == 0)
        e = rtnl_u32_set_cls_terminal(cls);
    if (e == 0)
        e = rtnl_cls_add(sock, cls, NLM_F_CREATE);
    rtnl_cls_put(cls);
    return e;
}

static int redirect(struct nl_sock *sock, int from, int to, struct error *err)
{
    if (add_ingress(sock, from, err) < 0)
        return -1;
    struct rtnl_act *act = redirect_action(to);
    int e = act ? add_filter(sock, from, act) : -NLE_NOMEM;
    if (act)
        rtnl_act_put(act);
    return e < 0 ? netlink_error(err, e, "cannot redirect interface %d to %d", from, to) : 0;
}

int net_tap_make(const char *interface, uid_t owner, char ret_name[IFNAMSIZ], struct error *err)
{
    _cleanup_nl_sock_ struct nl_sock *sock = netlink_open(err);
    _cleanup_link_ struct rtnl_link *link = NULL;
    int tap = 0;
    if (!sock)
        return -1;
    int e = rtnl_link_get_kernel(sock, 0, interface, &link);
    if (e < 0)
        return netlink_error(err, e, "interface %s", interface);
    int ifindex = rtnl_link_get_ifindex(link);
    snprintf(ret_name, IFNAMSIZ, TAP_PREFIX "%u", (unsigned)ifindex % 10000000);
    if (make_device(ret_name, owner, err) < 0 ||
        set_up(sock, ret_name, rtnl_link_get_mtu(link), &tap, err) < 0 ||
        redirect(sock, ifindex, tap, err) < 0 || redirect(sock, tap, ifindex, err) < 0)
        return -1;
    return 0;
}
