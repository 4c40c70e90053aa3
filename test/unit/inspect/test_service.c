// List page by page, Show, and what is too much or too long.
#include "inspect/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct call {
    struct rpc_call rpc; // first
    const ProtobufCMessageDescriptor *type;
    struct error err;
    ProtobufCMessage *answer;
};

static void call_end(struct rpc_call *rpc, const uint8_t *data, size_t len, const struct error *err)
{
    struct call *c = (struct call *)rpc;
    if (err)
        c->err = *err;
    else
        c->answer = api_message_decode(c->type, data, len, &c->err);
}

static const struct rpc_call_transport transport = {.end = call_end};
static const struct stage_plan plan = {"op", {"a", "b"}};

static void describe(const void *value, struct inspect_entry *e)
{
    static char long_text[3 * INSPECT_VALUE_MAX];
    struct stages s;
    memset(long_text, 'x', sizeof long_text - 1);
    for (size_t i = 1; i + 1 < sizeof long_text; i += 2) // "x", then characters of two bytes
        memcpy(long_text + i, "\xc3\xa4", 2);
    e->msg.id = (char *)value;
    e->msg.state = (char *)"running";
    inspect_exited(e, (struct timespec){.tv_sec = 5}, 9);
    for (int i = 0; i < INSPECT_FACTS_MAX + 5; i++)
        inspect_fact(e, "long", "%s", long_text);
    inspect_fact(e, "empty", "%s", "");
    stages_begin(&s, &plan);
    stages_mark(&s, 0);
    inspect_stages(e, &s);
    Internal__Process p = INTERNAL__PROCESS__INIT;
    for (int i = 0; i < 3; i++)
        inspect_process(e, &p, &(struct timespec){.tv_sec = i});
}

static void ask(struct inspect *i, struct call *c, const char *method, const ProtobufCMessage *req,
                const ProtobufCMessageDescriptor *type)
{
    size_t len;
    *c = (struct call){.rpc.transport = &transport, .type = type};
    uint8_t *data = api_message_encode(req, &len);
    rpc_service_dispatch(&i->service.rpc, &c->rpc, method, data, len);
    free(data);
}

static char names[700][24];

static struct map *entries(size_t n)
{
    struct map *m = map_new();
    for (size_t i = n; i-- > 0;) {
        snprintf(names[i], sizeof names[i], "e%04u", (unsigned)i);
        map_add(m, names[i], names[i]);
    }
    return m;
}

Test(service, list_has_every_entry_once_in_order)
{
    struct map *m = entries(700);
    struct inspect i;
    inspect_init(&i, &(struct inspect_source){"prog", "1.2", m, describe, NULL});
    Internal__ListRequest req = INTERNAL__LIST_REQUEST__INIT;
    char after[32] = "";
    size_t seen = 0, pages = 0;
    do {
        struct call c;
        req.after = after;
        ask(&i, &c, "List", &req.base, &internal__list_response__descriptor);
        cr_assert(c.answer, "%s", c.err.text);
        Internal__ListResponse *r = (Internal__ListResponse *)(void *)c.answer;
        cr_expect_str_eq(r->daemon->program, "prog");
        cr_expect_eq(r->daemon->entries, 700);
        cr_assert_leq(r->n_entries, INSPECT_PAGE_MAX);
        for (size_t k = 0; k < r->n_entries; k++, seen++) {
            cr_expect_str_eq(r->entries[k]->id, names[seen]);
            cr_expect_eq(r->entries[k]->n_facts, 0, "details are for Show");
            cr_expect_eq(r->entries[k]->exit_status, 9);
        }
        if (seen == 300) // what goes away meanwhile takes nothing else with it
            map_remove(m, "e0300");
        snprintf(after, sizeof after, "%s", r->next);
        pages++;
        api_message_free(c.answer);
    } while (*after);
    cr_expect_eq(seen, 700);
    cr_expect_eq(pages, 3);
    map_free(m);
}

Test(service, show_is_bounded)
{
    struct map *m = entries(1);
    struct inspect i;
    struct call c;
    inspect_init(&i, &(struct inspect_source){"prog", "1.2", m, describe, NULL});
    Internal__ShowRequest req = INTERNAL__SHOW_REQUEST__INIT;
    req.id = (char *)"e0000";
    ask(&i, &c, "Show", &req.base, &internal__show_response__descriptor);
    cr_assert(c.answer, "%s", c.err.text);
    Internal__Entry *e = ((Internal__ShowResponse *)(void *)c.answer)->entry;
    cr_assert_eq(e->n_facts, INSPECT_FACTS_MAX);
    cr_expect_eq(strlen(e->facts[0]->value), INSPECT_VALUE_MAX - 1);
    cr_assert_eq(e->n_processes, 3);
    cr_expect_eq(e->processes[2]->exited_at->seconds, 2);
    cr_assert_eq(e->n_operations, 1);
    cr_assert_eq(e->operations[0]->n_steps, 2);
    cr_expect_str_eq(e->operations[0]->steps[1]->name, "b");
    api_message_free(c.answer);
    static const struct {
        const char *ns, *id;
        enum status status;
    } bad[] = {{"", "e1", STATUS_NOT_FOUND},
               {"k8s.io", "e0000", STATUS_NOT_FOUND},
               {"", "", STATUS_INVALID_ARGUMENT},
               {"", "a/b", STATUS_INVALID_ARGUMENT},
               {"..", "e0000", STATUS_INVALID_ARGUMENT}};
    for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
        req.namespace_ = (char *)bad[k].ns;
        req.id = (char *)bad[k].id;
        ask(&i, &c, "Show", &req.base, &internal__show_response__descriptor);
        cr_expect_eq(c.err.status, bad[k].status, "%zu: %s", k, c.err.text);
    }
    map_free(m);
}
