#include "ctl/json.h"

#include <string.h>
#include <time.h>

#include "api/any.h"
#include "base/cleanup.h"

void json_add(json_object *o, const char *key, json_object *value)
{
    if (!value || json_object_object_add(o, key, value) < 0)
        json_object_put(value);
}

void json_add_text(json_object *o, const char *key, const char *value)
{
    if (value && *value)
        json_add(o, key, json_object_new_string(value));
}

void json_add_time(json_object *o, const char *key, const Google__Timestamp *at)
{
    struct timespec t;
    struct tm tm;
    char day[32], text[64];
    if (timestamp_get(at, &t) < 0 || !gmtime_r(&t.tv_sec, &tm) ||
        !strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm))
        return;
    snprintf(text, sizeof text, "%s.%09ldZ", day, t.tv_nsec);
    json_add_text(o, key, text);
}

static void add_int(json_object *o, const char *key, int64_t value)
{
    json_add(o, key, json_object_new_int64(value));
}

static void append(json_object *array, json_object *value)
{
    if (!value || json_object_array_add(array, value) < 0)
        json_object_put(value);
}

// An empty list is left out.
static void add_list(json_object *o, const char *key, json_object *list)
{
    if (list && json_object_array_length(list))
        json_add(o, key, list);
    else
        json_object_put(list);
}

json_object *json_of_source(const struct source *s)
{
    json_object *o = json_object_new_object();
    json_add_text(o, "kind", s->kind->name);
    json_add_text(o, "role", role_name(s->role));
    json_add(o, "answers", json_object_new_boolean(s->answered));
    if (!s->answered)
        json_add_text(o, "error", s->why.text);
    if (!s->daemon)
        return o;
    json_add_text(o, "program", s->daemon->program);
    json_add_text(o, "version", s->daemon->version);
    add_int(o, "pid", s->daemon->pid);
    json_add_time(o, "started_at", s->daemon->started_at);
    add_int(o, "entries", s->daemon->entries);
    return o;
}

// What it is about, for entries and events.
static void add_subject(json_object *o, const struct kind *kind, const char *ns, const char *id)
{
    json_add_text(o, "kind", kind->name);
    json_add_text(o, "namespace", ns);
    json_add_text(o, "id", id);
}

static void add_exit(json_object *o, const Google__Timestamp *at, uint32_t status)
{
    json_add_time(o, "exited_at", at);
    if (at)
        add_int(o, "exit_status", status);
}

static json_object *of_process(const Internal__Process *p)
{
    json_object *o = json_object_new_object();
    json_add_text(o, "exec_id", p->id);
    json_add_text(o, "state", p->state);
    add_int(o, "pid", p->pid);
    add_int(o, "start_time", (int64_t)p->start_time);
    json_add(o, "terminal", json_object_new_boolean(p->terminal));
    add_exit(o, p->exited_at, p->exit_status);
    return o;
}

static json_object *of_operation(const Internal__Operation *op)
{
    json_object *o = json_object_new_object(), *steps = json_object_new_object();
    int64_t total = 0;
    for (size_t i = 0; i < op->n_steps; i++) {
        add_int(steps, op->steps[i]->name, (int64_t)op->steps[i]->nanoseconds);
        total += (int64_t)op->steps[i]->nanoseconds;
    }
    json_add_text(o, "operation", op->name);
    json_add(o, "nanoseconds", steps);
    add_int(o, "total_nanoseconds", total);
    return o;
}

static json_object *of_facts(const Internal__Entry *e)
{
    json_object *o = json_object_new_object();
    for (size_t i = 0; i < e->n_facts; i++)
        json_add_text(o, e->facts[i]->name, e->facts[i]->value);
    return o;
}

static void add_details(json_object *o, const Internal__Entry *e)
{
    json_object *processes = json_object_new_array(), *operations = json_object_new_array();
    for (size_t i = 0; i < e->n_processes; i++)
        append(processes, of_process(e->processes[i]));
    for (size_t i = 0; i < e->n_operations; i++)
        append(operations, of_operation(e->operations[i]));
    add_list(o, "processes", processes);
    if (e->n_facts)
        json_add(o, "facts", of_facts(e));
    add_list(o, "operations", operations);
}

json_object *json_of_entry(const struct source *s, const Internal__Entry *e)
{
    json_object *o = json_object_new_object();
    bool sandbox = e->type == INTERNAL__ENTRY_TYPE__ENTRY_SANDBOX;
    json_add_text(o, "type", sandbox ? "sandbox" : "container");
    add_subject(o, s->kind, e->namespace_, e->id);
    json_add_text(o, "sandbox_id", e->sandbox_id);
    json_add_text(o, "name", e->name);
    json_add_text(o, "state", e->state);
    add_int(o, "pid", e->pid);
    if (!sandbox)
        add_int(o, "execs", e->execs);
    json_add_text(o, "cgroup", e->cgroup);
    json_add_time(o, "created_at", e->created_at);
    add_exit(o, e->exited_at, e->exit_status);
    json_add_text(o, "from", s->answered ? "daemon" : "journal");
    add_details(o, e);
    return o;
}

json_object *json_of_look(const struct look *look)
{
    json_object *o = json_object_new_object(), *ns = json_object_new_object();
    json_object *pids = json_object_new_array(), *values = json_object_new_object();
    for (size_t i = 0; i < look->n_namespaces; i++)
        json_add_text(ns, look->namespaces[i].name, look->namespaces[i].value);
    for (size_t i = 0; i < look->n_pids; i++)
        append(pids, json_object_new_int64(look->pids[i]));
    for (size_t i = 0; i < look->n_values; i++)
        json_add(values, look->values[i].name, json_object_new_uint64(look->values[i].value));
    json_add(o, "namespaces", ns);
    json_add(o, "cgroup_pids", pids);
    json_add(o, "cgroup_values", values);
    return o;
}

json_object *json_of_view(const struct view *v)
{
    json_object *o = json_object_new_object(), *daemons = json_object_new_array();
    json_object *entries = json_object_new_array(), *broken = json_object_new_array();
    for (size_t i = 0; i < v->n_sources; i++)
        append(daemons, json_of_source(&v->sources[i]));
    for (size_t i = 0; i < v->n_items; i++) {
        // The journal's entries have details, a daemon's list has not: the same keys from both.
        Internal__Entry plain = *v->items[i].entry;
        plain.n_processes = plain.n_facts = plain.n_operations = 0;
        append(entries, json_of_entry(v->items[i].source, &plain));
    }
    for (size_t i = 0; i < v->n_broken; i++) {
        json_object *b = json_object_new_object();
        json_add_text(b, "path", v->broken[i].path);
        json_add_text(b, "error", v->broken[i].why.text);
        append(broken, b);
    }
    json_add(o, "daemons", daemons);
    json_add(o, "entries", entries);
    json_add(o, "broken_records", broken);
    return o;
}

json_object *json_of_event(const struct kind *kind, const Internal__Event *e)
{
    json_object *o = json_object_new_object();
    json_add_time(o, "at", e->at);
    json_add_text(o, "topic", e->topic);
    add_subject(o, kind, e->namespace_, e->id);
    json_add_text(o, "exec_id", e->exec_id);
    if (e->pid)
        add_int(o, "pid", e->pid);
    if (e->exited)
        add_int(o, "exit_status", e->exit_status);
    return o;
}

void json_print(json_object *o, bool pretty, FILE *out)
{
    int flags = JSON_C_TO_STRING_NOSLASHESCAPE |
                (pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : 0);
    const char *text = o ? json_object_to_json_string_ext(o, flags) : NULL;
    fprintf(out, "%s\n", text ? text : "{}");
    json_object_put(o);
}
