#include "ctl/text.h"

#include <string.h>

#include "api/any.h"
#include "base/cleanup.h"
#include "ctl/client.h"
#include "ctl/table.h"

// Characters of an id that are shown; they are enough to tell the entries of a node apart, and
// commands take them.
#define SHORT_ID 13

void text_age(char *to, size_t size, long seconds)
{
    if (seconds < 0)
        seconds = 0;
    if (seconds < 60)
        snprintf(to, size, "%lds", seconds);
    else if (seconds < 3600)
        snprintf(to, size, "%ldm", seconds / 60);
    else if (seconds < 86400)
        snprintf(to, size, "%ldh", seconds / 3600);
    else
        snprintf(to, size, "%ldd", seconds / 86400);
}

void text_duration(char *to, size_t size, uint64_t nanoseconds)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double value = (double)nanoseconds;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < ARRAY_SIZE(units)) {
        value /= 1000;
        unit++;
    }
    snprintf(to, size, "%.*f %s",
             !unit || value >= 100 ? 0
             : value >= 10         ? 1
                                   : 2,
             value, units[unit]);
}

static bool local_time(const Google__Timestamp *at, struct tm *ret)
{
    struct timespec t;
    return timestamp_get(at, &t) == 0 && localtime_r(&t.tv_sec, ret);
}

// ---- list ---------------------------------------------------------------------------------------

static bool is_sandbox(const Internal__Entry *e)
{
    return e->type == INTERNAL__ENTRY_TYPE__ENTRY_SANDBOX;
}

static void add_row(struct table *t, const struct item *item, bool long_ids, time_t now)
{
    const Internal__Entry *e = item->entry;
    struct timespec created;
    char age[32] = "", state[64];
    int cut = long_ids ? IDENT_MAX : SHORT_ID;
    if (timestamp_get(e->created_at, &created) == 0)
        text_age(age, sizeof age, (long)(now - created.tv_sec));
    if (e->exited_at)
        snprintf(state, sizeof state, "%.32s (%u)", e->state, e->exit_status);
    else
        snprintf(state, sizeof state, "%.32s", e->state);
    table_add(t, "%s", is_sandbox(e) ? "sandbox" : "container");
    table_add(t, "%.*s", cut, e->id);
    table_add(t, "%s", state);
    table_add_number(t, e->pid, e->pid);
    table_add(t, "%s", age);
    table_add(t, "%s", item->source->kind->name);
    table_add(t, "%.*s", cut, is_sandbox(e) ? "" : e->sandbox_id);
    if (long_ids) {
        table_add(t, "%s", e->namespace_);
        table_add(t, "%s", e->cgroup);
    }
    table_add(t, "%s%s%s", e->name, *e->name && !item->source->answered ? " " : "",
              item->source->answered ? "" : "(journal)");
}

void text_list(const struct view *v, bool long_ids, time_t now, FILE *out)
{
    static const char *const narrow[] = {"TYPE", "ID",      "STATE", "PID", "AGE",
                                         "KIND", "SANDBOX", "NAME",  NULL};
    static const char *const wide[] = {"TYPE",    "ID",        "STATE",  "PID",  "AGE", "KIND",
                                       "SANDBOX", "NAMESPACE", "CGROUP", "NAME", NULL};
    struct table t;
    table_init(&t, long_ids ? wide : narrow);
    for (size_t i = 0; i < v->n_items; i++)
        add_row(&t, &v->items[i], long_ids, now);
    table_print(&t, out);
    table_done(&t);
}

void text_complaints(const struct view *v, FILE *out)
{
    char text[ERROR_TEXT_MAX];
    if (!v->kinds.n)
        fprintf(out, "kuasar-ctl: no state directory of any kind: no sandboxer has been started\n");
    for (size_t i = 0; i < v->n_sources; i++) {
        const struct source *s = &v->sources[i];
        if (s->answered)
            continue;
        text_clean(text, sizeof text, s->why.text);
        fprintf(out,
                "kuasar-ctl: from the journal; the %s of kind %s does not answer: %s\n"
                "kuasar-ctl: remedy: %s\n",
                role_name(s->role), s->kind->name, text, client_remedy(&s->why));
    }
    for (size_t i = 0; i < v->n_broken; i++) {
        text_clean(text, sizeof text, v->broken[i].why.text);
        fprintf(out, "kuasar-ctl: %s: %s\n", v->broken[i].path, text);
    }
}

// ---- show ---------------------------------------------------------------------------------------

static void line(FILE *out, const char *name, const char *value)
{
    char clean[TABLE_CELL_MAX * 4];
    text_clean(clean, sizeof clean, value);
    if (*clean)
        fprintf(out, "  %-22s %s\n", name, clean);
}

static void line_time(FILE *out, const char *name, const Google__Timestamp *at)
{
    char text[64];
    struct tm tm;
    if (local_time(at, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %z", &tm))
        line(out, name, text);
}

static void line_number(FILE *out, const char *name, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    line(out, name, text);
}

static void show_head(const struct source *s, const Internal__Entry *e, FILE *out)
{
    char id[IDENT_MAX + 1];
    text_clean(id, sizeof id, e->id);
    fprintf(out, "%s %s\n", is_sandbox(e) ? "sandbox" : "container", id);
    line(out, "kind", s->kind->name);
    line(out, "from", s->answered ? "daemon" : "journal; the daemon does not answer");
    line(out, "namespace", e->namespace_);
    line(out, "name", e->name);
    line(out, "sandbox", e->sandbox_id);
    line(out, "state", e->state);
    if (e->exited_at)
        line_number(out, "exit status", e->exit_status);
    line_time(out, "created", e->created_at);
    line_time(out, "exited", e->exited_at);
    line(out, "cgroup", e->cgroup);
    for (size_t i = 0; i < e->n_facts; i++)
        line(out, e->facts[i]->name, e->facts[i]->value);
}

static void show_processes(const Internal__Entry *e, FILE *out)
{
    static const char *const headers[] = {"PROCESS", "STATE", "PID", "TTY", "EXIT", NULL};
    struct table t;
    if (!e->n_processes)
        return;
    fprintf(out, "\nprocesses\n");
    table_init(&t, headers);
    for (size_t i = 0; i < e->n_processes; i++) {
        const Internal__Process *p = e->processes[i];
        table_add(&t, "%s", *p->id ? p->id : "(first)");
        table_add(&t, "%s", p->state);
        table_add_number(&t, p->pid, p->pid);
        table_add(&t, "%s", p->terminal ? "yes" : "");
        table_add_number(&t, p->exited_at, p->exit_status);
    }
    table_print(&t, out);
    table_done(&t);
}

static void show_look(const struct look *look, FILE *out)
{
    if (look->n_namespaces)
        fprintf(out, "\nnamespaces\n");
    for (size_t i = 0; i < look->n_namespaces; i++)
        line(out, look->namespaces[i].name, look->namespaces[i].value);
    if (look->n_values || look->n_pids)
        fprintf(out, "\ncgroup\n");
    for (size_t i = 0; i < look->n_values; i++)
        line_number(out, look->values[i].name, look->values[i].value);
    if (look->n_pids)
        fprintf(out, "  %-22s", "processes");
    for (size_t i = 0; i < look->n_pids; i++)
        fprintf(out, " %d", (int)look->pids[i]);
    if (look->n_pids)
        fprintf(out, "\n");
}

static void show_operations(const Internal__Entry *e, FILE *out)
{
    static const char *const headers[] = {"OPERATION", "STEP", "TIME", NULL};
    struct table t;
    char text[32];
    if (!e->n_operations)
        return;
    fprintf(out, "\ntimes of the last operations\n");
    table_init(&t, headers);
    for (size_t i = 0; i < e->n_operations; i++) {
        const Internal__Operation *o = e->operations[i];
        uint64_t total = 0;
        for (size_t k = 0; k < o->n_steps; k++) {
            total += o->steps[k]->nanoseconds;
            text_duration(text, sizeof text, o->steps[k]->nanoseconds);
            table_add(&t, "%s", o->name);
            table_add(&t, "%s", o->steps[k]->name);
            table_add(&t, "%s", text);
        }
        text_duration(text, sizeof text, total);
        table_add(&t, "%s", o->name);
        table_add(&t, "total");
        table_add(&t, "%s", text);
    }
    table_print(&t, out);
    table_done(&t);
}

void text_show(const struct source *s, const Internal__Entry *e, const struct look *look, FILE *out)
{
    show_head(s, e, out);
    show_processes(e, out);
    show_look(look, out);
    show_operations(e, out);
}

// ---- events -------------------------------------------------------------------------------------

void text_event(const struct kind *kind, const Internal__Event *e, FILE *out)
{
    struct tm tm;
    char at[32] = "", topic[64], ns[IDENT_MAX + 1], id[IDENT_MAX + 1], exec[IDENT_MAX + 1];
    if (local_time(e->at, &tm))
        strftime(at, sizeof at, "%H:%M:%S", &tm);
    text_clean(topic, sizeof topic, e->topic);
    text_clean(ns, sizeof ns, e->namespace_);
    text_clean(id, sizeof id, e->id);
    text_clean(exec, sizeof exec, e->exec_id);
    fprintf(out, "%s.%03d %s %-20s %s%s%s", at, e->at ? e->at->nanos / 1000000 : 0, kind->name,
            topic, ns, *ns ? "/" : "", id);
    if (*exec)
        fprintf(out, " exec %s", exec);
    if (e->pid)
        fprintf(out, " pid %d", e->pid);
    if (e->exited)
        fprintf(out, " status %u", e->exit_status);
    fprintf(out, "\n");
}

// ---- doctor -------------------------------------------------------------------------------------

void text_finding(const struct finding *f, FILE *out)
{
    char text[ERROR_TEXT_MAX];
    text_clean(text, sizeof text, f->text);
    fprintf(out, "%-8s %-11s %s\n", verdict_name(f->verdict), f->area, text);
    text_clean(text, sizeof text, f->remedy);
    if (*text)
        fprintf(out, "%-8s %-11s -> %s\n", "", "", text);
}
