// Calls: they end once, release once, cancel or not.
#include "rpc/call.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct {
    int ends, releases, cancels;
    enum status status;
    char text[256];
    int order; // what came last: 1 end, 2 release
} seen;

static void end(struct rpc_call *call, const uint8_t *data, size_t len, const struct error *err)
{
    seen.ends++;
    seen.order = 1;
    seen.status = err ? err->status : STATUS_OK;
    snprintf(seen.text, sizeof seen.text, "%.*s", err ? 200 : (int)len,
             err ? err->text : (const char *)data);
    memset(call, 0xff, sizeof *call); // gone
}

static const char *metadata(struct rpc_call *call, const char *key)
{
    return strcmp(key, "k") ? NULL : "v";
}

static const struct rpc_call_transport transport = {end, metadata};

static void release(void *owner)
{
    cr_assert_str_eq(owner, "owner");
    seen.releases++;
    seen.order = 2;
}

static void cancel(struct rpc_call *call, void *arg)
{
    cr_assert_str_eq(arg, "arg");
    cr_assert_eq(seen.releases, 0);
    seen.cancels++;
}

static char owner[] = "owner";

static struct rpc_call new_call(void)
{
    return (struct rpc_call){.transport = &transport, .owner = owner, .release = release};
}

Test(call, replies_then_releases)
{
    struct rpc_call call = new_call();
    cr_assert_str_eq(rpc_call_metadata(&call, "k"), "v");
    cr_assert_null(rpc_call_metadata(&call, "x"));
    rpc_call_reply(&call, (const uint8_t *)owner, 5);
    cr_assert_eq(seen.ends, 1);
    cr_assert_eq(seen.releases, 1);
    cr_assert_eq(seen.order, 2);
    cr_assert_str_eq(seen.text, "owner");
}

Test(call, fails_with_a_status)
{
    struct rpc_call call = new_call();
    rpc_call_failf(&call, STATUS_NOT_FOUND, "no %s", "pod");
    cr_assert_eq(seen.status, STATUS_NOT_FOUND);
    cr_assert_str_eq(seen.text, "no pod");
    call = new_call();
    rpc_call_fail(&call, &(struct error){STATUS_OK, "odd"});
    cr_assert_eq(seen.status, STATUS_UNKNOWN);
    cr_assert_str_eq(seen.text, "odd");
    cr_assert_eq(seen.releases, 2);
}

Test(call, cancels_only_if_asked_for)
{
    struct rpc_call call = new_call();
    char arg[] = "arg";
    cr_assert_not(rpc_call_cancel(&call));
    rpc_call_on_cancel(&call, cancel, arg);
    rpc_call_on_cancel(&call, NULL, NULL);
    cr_assert_not(rpc_call_cancel(&call));
    rpc_call_on_cancel(&call, cancel, arg);
    cr_assert(rpc_call_cancel(&call));
    cr_assert_eq(seen.cancels, 1);
    cr_assert_eq(seen.releases, 1);
    cr_assert_eq(seen.ends, 0);
}

static void handle(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    rpc_call_reply(call, ctx, strlen(ctx));
}

static void dispatch(struct rpc_call *call, const char *method, const uint8_t *payload, size_t len,
                     void *ctx)
{
    rpc_call_reply(call, (const uint8_t *)method, strlen(method));
}

Test(call, finds_services_and_methods)
{
    char ctx[] = "ctx";
    const struct rpc_method methods[] = {{"Do", handle}, {NULL, NULL}};
    const struct rpc_service a = {.name = "a.A", .methods = methods, .ctx = ctx};
    const struct rpc_service b = {.name = "b.B", .dispatch = dispatch};
    const struct rpc_service *const list[] = {&a, &b, NULL};
    cr_assert_eq(rpc_service_find(list, "a.A/x", 3), &a);
    cr_assert_eq(rpc_service_find(list, "b.B", 3), &b);
    cr_assert_null(rpc_service_find(list, "a.AA", 4));
    cr_assert_null(rpc_service_find(list, "a.", 2));

    struct rpc_call call = new_call();
    rpc_service_dispatch(&a, &call, "Do", NULL, 0);
    cr_assert_str_eq(seen.text, "ctx");
    call = new_call();
    rpc_service_dispatch(&b, &call, "Any", NULL, 0);
    cr_assert_str_eq(seen.text, "Any");
    call = new_call();
    rpc_service_dispatch(&a, &call, "Do2", NULL, 0);
    cr_assert_eq(seen.status, STATUS_UNIMPLEMENTED);
    cr_assert_str_eq(seen.text, "method Do2 of service a.A is not implemented");
}
