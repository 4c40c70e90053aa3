// A pod's network: read in one namespace, made again in another, which stands in for a guest.
#include "net/net.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/message.h"
#include "base/cleanup.h"

TestSuite(net, .timeout = 60);

static struct error err;

static void sh(const char *command)
{
    cr_assert_eq(system(command), 0, "%s", command);
}

static void enter_new(void)
{
    cr_assert_eq(unshare(CLONE_NEWNET), 0);
}

// As a network plugin leaves it.
static void make_pod_network(void)
{
    enter_new();
    sh("ip link add eth0 address 0a:58:0a:58:00:05 mtu 1400 type veth peer name peer0 &&"
       "ip link add eth1 address 0a:58:0a:58:00:06 type veth peer name peer1 &&"
       "ip link add down0 type veth peer name peer2 &&"
       "ip link set lo up && ip link set eth0 up && ip link set eth1 up &&"
       "ip addr add 10.88.0.5/16 dev eth0 && ip addr add fd00:88::5/64 dev eth0 nodad &&"
       "ip addr add 192.168.7.2/24 dev eth1 &&"
       "ip route add default via 10.88.0.1 dev eth0 &&"
       "ip route add 172.16.0.0/12 via 10.88.0.9 dev eth0 src 10.88.0.5 metric 50 &&"
       "ip route add 169.254.1.1 dev eth1 scope link &&"
       "ip -6 route add default via fd00:88::1 dev eth0 &&"
       "ip route add 10.1.0.0/16 via 169.254.1.1 dev eth1 onlink &&"
       "ip neigh add 10.88.0.77 lladdr 02:00:00:00:00:77 nud permanent dev eth0");
}

static const Guest__Interface *find(const Guest__Network *n, const char *name)
{
    for (size_t i = 0; i < n->n_interfaces; i++)
        if (strcmp(n->interfaces[i]->name, name) == 0)
            return n->interfaces[i];
    return NULL;
}

static bool has_address(const Guest__Interface *i, const char *text, unsigned prefix)
{
    uint8_t ip[16];
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    cr_assert_eq(inet_pton(family, text, ip), 1);
    for (size_t k = 0; k < i->n_addresses; k++)
        if (i->addresses[k]->prefix_length == prefix &&
            i->addresses[k]->ip.len == (family == AF_INET ? 4u : 16u) &&
            memcmp(i->addresses[k]->ip.data, ip, i->addresses[k]->ip.len) == 0)
            return true;
    return false;
}

Test(net, is_read)
{
    make_pod_network();
    Guest__Network *n = net_read(&err);
    cr_assert(n, "%s", err.text);
    cr_assert_eq(n->n_interfaces, 2, "those that are down, and their peers, stay");
    const Guest__Interface *eth0 = find(n, "eth0"), *eth1 = find(n, "eth1");
    cr_assert(eth0 && eth1);
    cr_assert_eq(eth0->mtu, 1400);
    cr_assert_eq(memcmp(eth0->mac.data, "\x0a\x58\x0a\x58\x00\x05", 6), 0);
    cr_assert_eq(eth0->n_addresses, 2, "no link-local one");
    cr_assert(has_address(eth0, "10.88.0.5", 16));
    cr_assert(has_address(eth0, "fd00:88::5", 64));
    cr_assert(has_address(eth1, "192.168.7.2", 24));
    cr_assert_eq(n->n_routes, 5);
    cr_assert_eq(n->n_neighbours, 1);
    cr_assert_str_eq(n->neighbours[0]->interface, "eth0");
    net_free(n);
}

// What `ip` shows of the routes that are not the kernel's own, sorted.
static char *shown(void)
{
    static char text[8192];
    FILE *f =
        popen("{ ip -o addr show scope global; ip -o link show dev eth0; ip route; ip -6 route;"
              " ip neigh show nud permanent; } | sed -e 's/proto [a-z]* //' -e 's/^[0-9]*: //'"
              " -e 's/@[^ ]*//' -e 's/ *linkdown//' -e 's/<.*>//' -e 's/state [A-Z]*//'"
              " -e 's/qdisc [a-z]*//' -e 's/link-netns.*//' | grep -v '^fe80\\|^ff00\\|peer' |"
              " tr -s ' ' | sort",
              "r");
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    pclose(f);
    return text;
}

Test(net, a_guest_gets_the_same)
{
    make_pod_network();
    Guest__Network *n = net_read(&err);
    cr_assert(n, "%s", err.text);
    size_t len;
    uint8_t *bytes = api_message_encode(&n->base, &len);
    net_free(n);
    char *before = strdup(shown());

    enter_new();
    // Its devices have other names, and are in another order.
    sh("ip link add enp1 address 0a:58:0a:58:00:06 type veth peer name peer1 &&"
       "ip link add enp0 address 0a:58:0a:58:00:05 type veth peer name peer0");
    Guest__Network *got =
        (Guest__Network *)api_message_decode(&guest__network__descriptor, bytes, len, &err);
    cr_assert(got, "%s", err.text);
    cr_assert_eq(net_apply(got, &err), 0, "%s", err.text);
    cr_assert_str_eq(shown(), before);
    api_message_free(&got->base);
    free(bytes);
    free(before);
}

Test(net, nonsense_is_refused)
{
    enter_new();
    Guest__Network n = GUEST__NETWORK__INIT;
    Guest__Interface i = GUEST__INTERFACE__INIT, *list[] = {&i};
    Guest__Route r = GUEST__ROUTE__INIT, *routes[] = {&r};
    n.n_interfaces = 1;
    n.interfaces = list;
    cr_assert_lt(net_apply(&n, &err), 0);
    cr_assert_not_null(strstr(err.text, "no name"), "%s", err.text);
    i.name = (char *)"a/b";
    cr_assert_lt(net_apply(&n, &err), 0);
    i.name = (char *)"eth0";
    cr_assert_lt(net_apply(&n, &err), 0);
    cr_assert_not_null(strstr(err.text, "no hardware address"), "%s", err.text);
    i.mac = (ProtobufCBinaryData){6, (uint8_t *)"\x02\x00\x00\x00\x00\x01"};
    cr_assert_lt(net_apply(&n, &err), 0);
    cr_assert_eq(err.status, STATUS_NOT_FOUND, "%s", err.text);
    n.n_interfaces = 0;
    n.n_routes = 1;
    n.routes = routes;
    cr_assert_lt(net_apply(&n, &err), 0);
    cr_assert_not_null(strstr(err.text, "family"), "%s", err.text);
    r.family = AF_INET;
    r.interface = (char *)"eth9";
    cr_assert_lt(net_apply(&n, &err), 0);
    cr_assert_not_null(strstr(err.text, "eth9"), "%s", err.text);
}

Test(net, a_tap_carries_what_the_interface_gets)
{
    char tap[IFNAMSIZ];
    if (access("/dev/net/tun", R_OK | W_OK) < 0)
        cr_skip_test("there is no /dev/net/tun");
    make_pod_network();
    cr_assert_eq(net_tap_make("eth0", 4711, tap, &err), 0, "%s", err.text);
    cr_assert_eq(strncmp(tap, "tap_kua_", 8), 0);
    char command[512];
    snprintf(command, sizeof command,
             "ip -o link show dev %s | grep -q 'mtu 1400' &&"
             "tc filter show dev eth0 parent ffff: | grep -q 'Egress Redirect to device %s' &&"
             "tc filter show dev %s parent ffff: | grep -q 'Egress Redirect to device eth0'",
             tap, tap, tap);
    sh(command);
    // It is none of the pod's interfaces.
    Guest__Network *n = net_read(&err);
    cr_assert(n, "%s", err.text);
    cr_assert_eq(n->n_interfaces, 2);
    net_free(n);
    cr_assert_lt(net_tap_make("eth7", 0, tap, &err), 0);
    cr_assert_eq(err.status, STATUS_NOT_FOUND, "%s", err.text);
}
