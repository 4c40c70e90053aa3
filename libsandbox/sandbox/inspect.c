#include "sandbox/inspect.h"

#include "base/cleanup.h"
#include "sandbox/undo.h"

static const char *const pid_modes[] = {
    [POD_PID_CONTAINER] = "container", [POD_PID_POD] = "pod", [POD_PID_NODE] = "node"};

static const char *text(const char *value)
{
    return value ? value : "";
}

static void describe_pod(const struct pod *p, struct inspect_entry *entry)
{
    inspect_fact(entry, "pid_mode", "%s",
                 (size_t)p->pid_mode < ARRAY_SIZE(pid_modes) ? pid_modes[p->pid_mode] : "");
    inspect_fact(entry, "ns.net", "%s", text(p->net_ns));
    inspect_fact(entry, "ns.ipc", "%s", text(p->ipc_ns));
    inspect_fact(entry, "ns.uts", "%s", text(p->uts_ns));
    inspect_fact(entry, "ns.pid", "%s", text(p->pid_ns));
    inspect_fact(entry, "ns.user", "%s", text(p->user_ns));
    inspect_fact(entry, "shm", "%s", text(p->shm));
}

static void describe_undo(const struct undo *u, struct inspect_entry *entry)
{
    static const char *const names[UNDO_MAX] = {
        "undo.0", "undo.1", "undo.2",  "undo.3",  "undo.4",  "undo.5",  "undo.6",  "undo.7",
        "undo.8", "undo.9", "undo.10", "undo.11", "undo.12", "undo.13", "undo.14", "undo.15"};
    for (size_t i = 0; i < u->n; i++) {
        const struct undo_step *s = &u->steps[i];
        if (s->kind == UNDO_PROCESS)
            inspect_fact(entry, names[i], "%s %d", undo_kind_name(s->kind), (int)s->process.pid);
        else
            inspect_fact(entry, names[i], "%s %s", undo_kind_name(s->kind), s->path);
    }
}

void sandbox_record_describe(const struct sandbox_record *r, const char *dir,
                             struct inspect_entry *entry)
{
    Internal__Entry *m = &entry->msg;
    Internal__Process init = INTERNAL__PROCESS__INIT;
    m->type = INTERNAL__ENTRY_TYPE__ENTRY_SANDBOX;
    m->id = r->id;
    m->name = inspect_text(entry, "%s", text(r->name));
    m->state = (char *)sandbox_state_name(r->state);
    m->pid = init.pid = r->init.pid;
    m->cgroup = (char *)text(r->pod.cgroup_parent);
    inspect_created(entry, r->created_at);
    if (r->state == SANDBOX_STOPPED)
        inspect_exited(entry, r->exited_at, r->exit_status);
    if (r->init.pid) {
        init.state = (char *)"running";
        init.start_time = r->init.start_time;
        inspect_process(entry, &init, NULL);
    }
    inspect_fact(entry, "dir", "%s", dir);
    inspect_fact(entry, "runtime_type", "%s", text(r->runtime_type));
    inspect_fact(entry, "hostname", "%s", text(r->hostname));
    inspect_fact(entry, "netns", "%s", text(r->netns));
    describe_pod(&r->pod, entry);
    inspect_fact(entry, "remove", "%s", r->remove ? "true" : "");
    describe_undo(&r->undo, entry);
}

void sandbox_describe(const void *sandbox, struct inspect_entry *entry)
{
    const struct sandbox *s = sandbox;
    sandbox_record_describe(&s->record, s->dir, entry);
    inspect_fact(entry, "at_work", "%s",
                 s->job        ? "job"
                 : s->ending   ? "ending containers"
                 : s->resizing ? "resize"
                               : "");
    inspect_fact(entry, "waits", "%zu", s->waits.n);
    inspect_fact(entry, "stops", "%zu", s->stops.n);
    for (size_t i = 0; i < SANDBOX_TIMING_MAX_; i++)
        inspect_stages(entry, &s->timings[i]);
}
