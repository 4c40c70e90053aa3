#include "ctl/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/message.h"
#include "base/cleanup.h"
#include "base/grow.h"
#include "ctl/client.h"
#include "ctl/journal.h"

// ---- memory -------------------------------------------------------------------------------------

// The view owns `msg` from now on, also on failure.
static int keep(struct view *v, ProtobufCMessage *msg, struct error *err)
{
    ProtobufCMessage **list = grow_by_one(v->messages, v->n_messages, sizeof(void *));
    if (!list) {
        api_message_free(msg);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    }
    v->messages = list;
    v->messages[v->n_messages++] = msg;
    return 0;
}

static int add_item(struct view *v, const struct source *s, const Internal__Entry *entry,
                    struct error *err)
{
    struct item *list = grow_by_one(v->items, v->n_items, sizeof *list);
    if (!list)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    v->items = list;
    v->items[v->n_items++] = (struct item){s, entry};
    return 0;
}

void view_done(struct view *v)
{
    for (size_t i = 0; i < v->n_messages; i++)
        api_message_free(v->messages[i]);
    free(v->messages);
    free(v->items);
    free(v->broken);
    *v = (struct view){0};
}

// ---- from the daemon ----------------------------------------------------------------------------

// One page. Sets *after to where the next begins, or NULL at the end.
static int ask_page(struct view *v, struct source *s, const struct ctl *ctl, const char *socket,
                    const char **after, struct error *err)
{
    Internal__ListRequest req = INTERNAL__LIST_REQUEST__INIT;
    req.after = (char *)*after;
    ProtobufCMessage *msg =
        client_ask(ctl->loop, socket, "List", &req.base, &internal__list_response__descriptor,
                   ctl->options->timeout, err);
    if (!msg || keep(v, msg, err) < 0)
        return -1;
    const Internal__ListResponse *r = (const Internal__ListResponse *)(const void *)msg;
    if (!r->daemon || (*r->next && strcmp(r->next, *after) <= 0))
        return error_set(err, STATUS_INTERNAL, "%s: its answer makes no sense", socket);
    s->daemon = r->daemon;
    for (size_t i = 0; i < r->n_entries; i++)
        if (add_item(v, s, r->entries[i], err) < 0)
            return -1;
    *after = *r->next ? r->next : NULL;
    return 0;
}

static int ask(struct view *v, struct source *s, const struct ctl *ctl, struct error *err)
{
    char socket[PATH_MAX];
    size_t before = v->n_items;
    if (role_socket(s->role, s->kind, socket, sizeof socket) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: path too long", s->kind->dir);
    for (const char *after = ""; after;) {
        int r = ask_page(v, s, ctl, socket, &after, err);
        if (r == 0 && v->n_items - before > VIEW_ENTRIES_MAX)
            r = error_set(err, STATUS_INTERNAL, "%s: more than %d entries", socket,
                          VIEW_ENTRIES_MAX);
        if (r < 0) {
            v->n_items = before; // all from one hand
            s->daemon = NULL;
            return -1;
        }
    }
    return 0;
}

// ---- from the journal ---------------------------------------------------------------------------

struct reading {
    struct view *view;
    const struct source *source;
};

static void on_entry(Internal__Entry *entry, void *arg)
{
    struct reading *r = arg;
    struct error err = {0};
    if (keep(r->view, &entry->base, &err) == 0)
        (void)add_item(r->view, r->source, entry, &err);
}

static void on_broken(const char *path, const struct error *why, void *arg)
{
    struct view *v = ((struct reading *)arg)->view;
    struct broken *list = grow_by_one(v->broken, v->n_broken, sizeof *list);
    if (!list)
        return;
    v->broken = list;
    struct broken *b = &v->broken[v->n_broken++];
    snprintf(b->path, sizeof b->path, "%s", path);
    b->why = *why;
}

static void read_journal(struct view *v, const struct source *s)
{
    struct reading r = {v, s};
    const struct journal_visitor visitor = {on_entry, on_broken, &r};
    journal_read(s->kind, s->role, &visitor);
}

// ---- order --------------------------------------------------------------------------------------

// By kind; sandboxes by id, each with its containers behind it; what is in no sandbox at the end.
static int by_place(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    bool x_top = x->entry->type == INTERNAL__ENTRY_TYPE__ENTRY_SANDBOX;
    bool y_top = y->entry->type == INTERNAL__ENTRY_TYPE__ENTRY_SANDBOX;
    const char *x_pod = x_top ? x->entry->id : x->entry->sandbox_id;
    const char *y_pod = y_top ? y->entry->id : y->entry->sandbox_id;
    int r = strcmp(x->source->kind->name, y->source->kind->name);
    if (!r)
        r = !*x_pod - !*y_pod;
    if (!r)
        r = strcmp(x_pod, y_pod);
    if (!r)
        r = y_top - x_top;
    if (!r)
        r = strcmp(x->entry->namespace_, y->entry->namespace_);
    return r ? r : strcmp(x->entry->id, y->entry->id);
}

void view_sort(struct item *items, size_t n)
{
    if (n)
        qsort(items, n, sizeof *items, by_place);
}

// ---- interface ----------------------------------------------------------------------------------

int view_gather(struct view *v, const struct ctl *ctl, struct error *err)
{
    *v = (struct view){0};
    if (kinds_find(&v->kinds, ctl->options->run_dir, ctl->options->kind, err) < 0)
        return -1;
    for (size_t i = 0; i < v->kinds.n; i++)
        for (enum role role = 0; role < ROLE_MAX_; role++) {
            struct source *s = &v->sources[v->n_sources++];
            s->kind = &v->kinds.list[i];
            s->role = role;
            s->answered = ask(v, s, ctl, &s->why) == 0;
            if (!s->answered)
                read_journal(v, s);
        }
    view_sort(v->items, v->n_items);
    return 0;
}

bool view_complete(const struct view *v)
{
    for (size_t i = 0; i < v->n_sources; i++)
        if (!v->sources[i].answered)
            return false;
    return !v->n_broken;
}

const Internal__Entry *view_detail(struct view *v, const struct item *item, const struct ctl *ctl,
                                   struct error *err)
{
    char socket[PATH_MAX];
    Internal__ShowRequest req = INTERNAL__SHOW_REQUEST__INIT;
    const struct source *s = item->source;
    if (!s->answered)
        return item->entry;
    if (role_socket(s->role, s->kind, socket, sizeof socket) < 0)
        return NULL;
    req.namespace_ = item->entry->namespace_;
    req.id = item->entry->id;
    ProtobufCMessage *msg =
        client_ask(ctl->loop, socket, "Show", &req.base, &internal__show_response__descriptor,
                   ctl->options->timeout, err);
    if (!msg || keep(v, msg, err) < 0)
        return NULL;
    const Internal__ShowResponse *r = (const Internal__ShowResponse *)(const void *)msg;
    if (!r->entry)
        error_set(err, STATUS_INTERNAL, "%s: its answer makes no sense", socket);
    return r->entry;
}
