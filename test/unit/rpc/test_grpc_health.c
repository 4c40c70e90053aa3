// The health service, through a session.
#include "rpc/grpc_health.h"
#include "test_grpc_peer.h"

static const struct rpc_service other = {.name = "t.Other",
                                         .methods = (const struct rpc_method[]){{NULL, NULL}}};

static struct peer *health_peer(struct grpc_health *h, const struct rpc_service **list)
{
    grpc_health_init(h, list);
    list[0] = &h->service;
    list[1] = &other;
    list[2] = NULL;
    struct peer *p = calloc(1, sizeof *p);
    peer_init(p);
    p->server->config.services = list;
    peer_pump(p);
    return p;
}

#define CHECK "/grpc.health.v1.Health/Check"

Test(grpc_health, answers_for_the_server_and_its_services)
{
    struct grpc_health h;
    const struct rpc_service *list[3] = {NULL};
    struct peer *p = health_peer(&h, list);
    struct peer_reply *r = peer_call(p, CHECK, "", 0, NULL);
    cr_assert_eq(r->len, 7);
    cr_expect_arr_eq(r->data, "\0\0\0\0\2\x08\x01", 7);
    r = peer_call(p, CHECK, "\x0a\x07t.Other", 9, NULL);
    cr_expect_arr_eq(r->data, "\0\0\0\0\2\x08\x01", 7);
    grpc_health_set(&h, false);
    r = peer_call(p, CHECK, "\x0a\x00", 2, NULL);
    cr_expect_arr_eq(r->data, "\0\0\0\0\2\x08\x02", 7);
    peer_free(p);
}

static void expect_status(const char *path, const char *message, size_t len, const char *status)
{
    struct grpc_health h;
    const struct rpc_service *list[3] = {NULL};
    struct peer *p = health_peer(&h, list);
    struct peer_reply *r = peer_call(p, path, message, len, NULL);
    cr_expect_str_eq(r->shape, "E");
    cr_expect(strstr(r->headers, status), "%s", r->headers);
    peer_free(p);
}

Test(grpc_health, refuses_the_rest)
{
    expect_status(CHECK, "\x0a\x03t.X", 5, "grpc-status: 5\n");
    expect_status("/grpc.health.v1.Health/Watch", "", 0, "grpc-status: 12\n");
    expect_status(CHECK, "\x12\x00", 2, "grpc-status: 3\n");
    expect_status(CHECK, "\x0a", 1, "grpc-status: 3\n");
    expect_status(CHECK, "\x0a\x05t.X", 5, "grpc-status: 3\n");
    expect_status(CHECK, "\x0a\x01t.X", 5, "grpc-status: 3\n");
    expect_status(CHECK, "\x0a\xff\xff\xff\xff", 5, "grpc-status: 3\n");
}
