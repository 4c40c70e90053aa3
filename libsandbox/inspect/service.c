#include "inspect/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/any.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/ident.h"

#define KEY_MAX (2 * (IDENT_MAX + 1))

static void describe_daemon(const struct inspect *i, Internal__Daemon *d, Google__Timestamp *at)
{
    *d = (Internal__Daemon)INTERNAL__DAEMON__INIT;
    timestamp_set(at, i->started_at);
    d->program = (char *)i->source.program;
    d->version = (char *)i->source.version;
    d->pid = getpid();
    d->started_at = at;
    d->entries = (uint32_t)map_size(i->source.entries);
}

// ---- List ---------------------------------------------------------------------------------------

struct row {
    const char *key;
    const void *value;
};

// The rows behind a key.
struct rows {
    const char *after;
    struct row *list;
    size_t n;
};

static bool collect(const char *key, void *value, void *arg)
{
    struct rows *rows = arg;
    if (strcmp(key, rows->after) > 0)
        rows->list[rows->n++] = (struct row){key, value};
    return true;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct row *)a)->key, ((const struct row *)b)->key);
}

// A page in memory of its own.
struct page {
    struct inspect_memory memory;
    struct inspect_entry entries[INSPECT_PAGE_MAX];
    Internal__Entry *list[INSPECT_PAGE_MAX];
};

static void reply_page(const struct inspect *i, const struct rows *rows, size_t n,
                       struct rpc_call *call)
{
    Internal__ListResponse r = INTERNAL__LIST_RESPONSE__INIT;
    Internal__Daemon daemon;
    Google__Timestamp at;
    struct page *page = malloc(sizeof *page);
    if (page) {
        page->memory = (struct inspect_memory){0};
        for (size_t k = 0; k < n; k++) {
            inspect_entry_init(&page->entries[k], &page->memory, false);
            i->source.describe(rows->list[k].value, &page->entries[k]);
            page->list[k] = &page->entries[k].msg;
        }
    }
    if (!page || page->memory.failed) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory");
    } else {
        describe_daemon(i, &daemon, &at);
        r.daemon = &daemon;
        r.n_entries = n;
        r.entries = page->list;
        if (n && n < rows->n)
            r.next = (char *)rows->list[n - 1].key;
        api_reply(call, &r.base);
    }
    if (page)
        inspect_memory_done(&page->memory);
    free(page);
}

static void on_list(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Internal__ListRequest *req = (const Internal__ListRequest *)(const void *)msg;
    const struct inspect *i = ctx;
    if (strlen(req->after) > KEY_MAX) {
        rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "after: longer than %d characters", KEY_MAX);
        return;
    }
    struct rows rows = {.after = req->after};
    _cleanup_free_ struct row *list = calloc(map_size(i->source.entries) + 1, sizeof *list);
    if (!list) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    rows.list = list;
    map_each(i->source.entries, collect, &rows);
    qsort(rows.list, rows.n, sizeof *rows.list, by_key);
    size_t limit = req->limit && req->limit < INSPECT_PAGE_MAX ? req->limit : INSPECT_PAGE_MAX;
    reply_page(i, &rows, rows.n < limit ? rows.n : limit, call);
}

// ---- Show ---------------------------------------------------------------------------------------

static const void *find(const struct inspect *i, const Internal__ShowRequest *req,
                        struct error *err)
{
    char key[KEY_MAX];
    if (ident_check(req->id, "id", err) < 0 ||
        (*req->namespace_ && ident_check(req->namespace_, "namespace", err) < 0))
        return NULL;
    snprintf(key, sizeof key, "%s%s%s", req->namespace_, *req->namespace_ ? "/" : "", req->id);
    const void *value = map_get(i->source.entries, key);
    if (!value)
        error_set(err, STATUS_NOT_FOUND, "%s: not found", key);
    return value;
}

static void on_show(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const struct inspect *i = ctx;
    struct error err = {0};
    const void *value = find(i, (const Internal__ShowRequest *)(const void *)msg, &err);
    if (!value) {
        rpc_call_fail(call, &err);
        return;
    }
    Internal__ShowResponse r = INTERNAL__SHOW_RESPONSE__INIT;
    Internal__Daemon daemon;
    Google__Timestamp at;
    struct inspect_memory memory = {0};
    struct inspect_entry entry;
    inspect_entry_init(&entry, &memory, true);
    i->source.describe(value, &entry);
    describe_daemon(i, &daemon, &at);
    r.daemon = &daemon;
    r.entry = &entry.msg;
    if (memory.failed)
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory");
    else
        api_reply(call, &r.base);
    inspect_memory_done(&memory);
}

// ---- Events -------------------------------------------------------------------------------------

static void on_events(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const struct inspect *i = ctx;
    inspect_events_poll(i->source.events, (const Internal__EventsRequest *)(const void *)msg, call);
}

static const struct api_method methods[] = {
    API_METHOD("List", internal__list_request, internal__list_response, on_list),
    API_METHOD("Show", internal__show_request, internal__show_response, on_show),
    API_METHOD("Events", internal__events_request, internal__events_response, on_events),
    {0},
};

void inspect_init(struct inspect *i, const struct inspect_source *source)
{
    i->source = *source;
    clock_gettime(CLOCK_REALTIME, &i->started_at);
    api_service_init(&i->service, SERVICE_INSPECT, methods, i);
}
