#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "api/message.h"
#include "api/services.h"
#include "api/task.pb-c.h"
#include "base/cleanup.h"

TestSuite(service);

// A transport that remembers how the call ended.
struct fake_call {
    struct rpc_call call;
    int ended;
    uint8_t *data;
    size_t len;
    struct error err;
};

static void fake_end(struct rpc_call *call, const uint8_t *data, size_t len,
                     const struct error *err)
{
    struct fake_call *f = container_of(call, struct fake_call, call);
    f->ended++;
    f->len = len;
    if (err) {
        f->err = *err;
        return;
    }
    f->data = malloc(len ? len : 1);
    cr_assert_not_null(f->data);
    if (len)
        memcpy(f->data, data, len);
}

static const char *fake_metadata(struct rpc_call *call, const char *key)
{
    return NULL;
}

static const struct rpc_call_transport fake_transport = {.end = fake_end,
                                                         .metadata = fake_metadata};

// What the handlers below have seen.
struct seen {
    struct rpc_call *call;
    const Task__StartRequest *req;
    int handled;
};

static void on_start(struct rpc_call *call, const ProtobufCMessage *req, void *ctx)
{
    struct seen *seen = ctx;
    Task__StartResponse answer = TASK__START_RESPONSE__INIT;
    seen->req = (const Task__StartRequest *)req;
    seen->handled++;
    cr_assert_str_eq(seen->req->id, "c1");
    answer.pid = 300;
    api_reply(call, &answer.base);
}

static void on_state(struct rpc_call *call, const ProtobufCMessage *req, void *ctx)
{
    struct seen *seen = ctx;
    seen->call = call;
    seen->req = (const Task__StartRequest *)req;
    seen->handled++;
}

static void on_kill(struct rpc_call *call, const ProtobufCMessage *req, void *ctx)
{
    api_reply_empty(call);
}

static const struct api_method methods[] = {
    API_METHOD("Start", task__start_request, task__start_response, on_start),
    API_METHOD("State", task__state_request, task__state_response, on_state),
    API_METHOD("Kill", task__kill_request, google__empty, on_kill),
    {0},
};

static struct fake_call run(const char *method, const char *payload, size_t len, struct seen *seen)
{
    struct api_service s;
    struct fake_call f = {.call.transport = &fake_transport};
    api_service_init(&s, SERVICE_TASK_V3, methods, seen);
    cr_assert_str_eq(s.rpc.name, "containerd.task.v3.Task");
    rpc_service_dispatch(&s.rpc, &f.call, method, (const uint8_t *)payload, len);
    return f;
}

Test(service, answers)
{
    struct seen seen = {0};
    struct fake_call f = run("Start",
                             "\x0a\x02"
                             "c1",
                             4, &seen);
    cr_assert_eq(f.ended, 1);
    cr_assert_eq(f.err.status, STATUS_OK);
    cr_assert_eq(f.len, 3);
    cr_assert_eq(memcmp(f.data, "\x08\xac\x02", 3), 0);
    free(f.data);
}

Test(service, empty_answer)
{
    struct fake_call f = run("Kill", "", 0, NULL);
    cr_assert_eq(f.ended, 1);
    cr_assert_eq(f.err.status, STATUS_OK);
    cr_assert_eq(f.len, 0);
    free(f.data);
}

Test(service, unknown_method)
{
    struct fake_call f = run("Strat", "", 0, NULL);
    cr_assert_eq(f.ended, 1);
    cr_assert_eq(f.err.status, STATUS_UNIMPLEMENTED);
    cr_assert_str_eq(f.err.text, "unknown method Strat for service containerd.task.v3.Task");
    f = run("\xff\xfe", "", 0, NULL);
    cr_assert_str_eq(f.err.text, "unknown method  for service containerd.task.v3.Task");
}

Test(service, bad_request_never_reaches_the_handler)
{
    struct seen seen = {0};
    struct fake_call f = run("Start",
                             "\x0a\x05"
                             "c1",
                             4, &seen);
    cr_assert_eq(f.ended, 1);
    cr_assert_eq(seen.handled, 0);
    cr_assert_eq(f.err.status, STATUS_INVALID_ARGUMENT);
    cr_assert_str_eq(f.err.text, "task.StartRequest.id: has 5 bytes where 2 are left");
}

// A call that is answered later, from a string of its own request.
Test(service, request_lives_until_the_call_ends)
{
    struct seen seen = {0};
    struct api_service s;
    struct fake_call f = {.call.transport = &fake_transport};
    api_service_init(&s, SERVICE_TASK_V2, methods, &seen);
    rpc_service_dispatch(&s.rpc, &f.call, "State",
                         (const uint8_t *)"\x0a\x02"
                                          "c1",
                         4);
    cr_assert_eq(f.ended, 0);
    cr_assert_eq(seen.call, &f.call);
    cr_assert_str_eq(seen.req->id, "c1");
    cr_assert_not_null(f.call.release);

    Task__StateResponse answer = TASK__STATE_RESPONSE__INIT;
    answer.id = seen.req->id;
    api_reply(seen.call, &answer.base);
    cr_assert_eq(f.ended, 1);
    cr_assert_null(f.call.release);
    cr_assert_eq(f.len, 4);
    free(f.data);
}

static void on_cancel(struct rpc_call *call, void *arg)
{
    ++*(int *)arg;
}

Test(service, cancelled_call_releases_its_request)
{
    struct seen seen = {0};
    struct api_service s;
    struct fake_call f = {.call.transport = &fake_transport};
    int cancelled = 0;
    api_service_init(&s, SERVICE_TASK_V3, methods, &seen);
    rpc_service_dispatch(&s.rpc, &f.call, "State",
                         (const uint8_t *)"\x0a\x02"
                                          "c1",
                         4);
    rpc_call_on_cancel(&f.call, on_cancel, &cancelled);
    cr_assert(rpc_call_cancel(&f.call));
    cr_assert_eq(cancelled, 1);
    cr_assert_null(f.call.release); // the sanitizer build sees a leak if it was dropped
}

Test(service, oversized_answer_fails)
{
    struct fake_call f = {.call.transport = &fake_transport};
    char *text = malloc(API_REPLY_MAX);
    cr_assert_not_null(text);
    memset(text, 'x', API_REPLY_MAX - 5);
    text[API_REPLY_MAX - 5] = '\0'; // a tag and four bytes of length are the rest
    Task__StateResponse answer = TASK__STATE_RESPONSE__INIT;
    answer.id = text;
    api_reply(&f.call, &answer.base);
    cr_assert_eq(f.err.status, STATUS_OK);
    cr_assert_eq(f.len, API_REPLY_MAX);
    free(f.data);

    answer.pid = 1;
    f = (struct fake_call){.call.transport = &fake_transport};
    api_reply(&f.call, &answer.base);
    cr_assert_eq(f.ended, 1);
    cr_assert_eq(f.err.status, STATUS_RESOURCE_EXHAUSTED);
    free(text);
}

Test(service, answer_with_foreign_text_names_the_field)
{
    struct fake_call f = {.call.transport = &fake_transport};
    Task__StateResponse answer = TASK__STATE_RESPONSE__INIT;
    answer.bundle = (char *)"/run/\xff";
    api_reply(&f.call, &answer.base);
    cr_assert_eq(f.ended, 1);
    cr_assert_eq(f.err.status, STATUS_INTERNAL);
    cr_assert_str_eq(f.err.text, "task.StateResponse.bundle: is not UTF-8 text without NUL");
}

static void call_method(struct api_service *s, const char *method, struct fake_call *f)
{
    *f = (struct fake_call){.call.transport = &fake_transport};
    rpc_service_dispatch(&s->rpc, &f->call, method, (const uint8_t *)"", 0);
}

Test(service, calls_are_counted_by_method_and_answer)
{
    struct seen seen = {0};
    static struct api_service s;
    const struct api_service *list[] = {&s};
    struct fake_call kill, parked, given_up, unknown;
    struct buf out;
    struct metrics_page page;
    api_service_init(&s, "T", methods, &seen);
    call_method(&s, "Kill", &kill);
    call_method(&s, "State", &parked);
    call_method(&s, "State", &given_up);
    call_method(&s, "Strat", &unknown);
    cr_expect_eq(s.stats[1].open, 2);
    int cancelled = 0;
    rpc_call_on_cancel(&given_up.call, on_cancel, &cancelled);
    cr_assert(rpc_call_cancel(&given_up.call));
    buf_init(&out, METRICS_PAGE_MAX);
    metrics_page_init(&page, &out);
    api_services_metrics(&page, list, 1);
    cr_assert_eq(page.failed, 0);
    const char *text = buf_cstr(&out);
    static const char *const lines[] = {
        "kuasar_rpc_duration_seconds_count{service=\"T\",method=\"Kill\",class=\"ok\"} 1\n",
        "kuasar_rpc_duration_seconds_count{service=\"T\",method=\"State\",class=\"caller_error\"} "
        "1\n",
        "kuasar_rpc_duration_seconds_count{service=\"T\",method=\"unknown\",class=\"caller_error\"}"
        " "
        "1\n",
        "kuasar_rpc_errors_total{service=\"T\",method=\"State\",code=\"CANCELLED\"} 1\n",
        "kuasar_rpc_errors_total{service=\"T\",method=\"unknown\",code=\"UNIMPLEMENTED\"} 1\n",
        "kuasar_rpc_open{service=\"T\",method=\"State\"} 1\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        cr_expect(strstr(text, lines[i]), "%s in:\n%s", lines[i], text);
    cr_expect_null(strstr(text, "Start"), "a method that nobody called is not shown");
    rpc_call_failf(&parked.call, STATUS_INTERNAL, "x");
    cr_expect_eq(s.stats[1].open, 0);
    cr_expect_eq(metrics_count(&s.stats[1].took[RPC_SERVER_ERROR]), 1);
    free(kill.data);
    buf_free(&out);
}
