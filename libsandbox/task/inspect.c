// What a task server shows of its tasks (inspect/service.h), and tells of what happens to them.
#include <string.h>

#include "api/any.h"
#include "api/events.pb-c.h"
#include "base/cleanup.h"
#include "task/internal.h"
#include "task/record.h"

static char *text(const char *value)
{
    return (char *)(value ? value : "");
}

// ---- a task -------------------------------------------------------------------------------------

static const char *state_of(const struct task_process *p)
{
    bool paused = p->state == PROCESS_RUNNING && p->task->paused;
    return paused ? "paused" : process_state_name(p->state);
}

static void describe_process(const struct task_process *p, struct inspect_entry *entry)
{
    Internal__Process m = INTERNAL__PROCESS__INIT;
    m.id = p->exec_id;
    m.state = (char *)state_of(p);
    m.pid = p->pid.pid;
    m.start_time = p->pid.start_time;
    m.terminal = p->terminal;
    m.exit_status = p->state == PROCESS_STOPPED ? p->exit_code : 0;
    inspect_process(entry, &m, p->state == PROCESS_STOPPED ? &p->exited_at : NULL);
}

static uint32_t describe_processes(const struct task *t, struct inspect_entry *entry)
{
    const struct task_process *p;
    uint32_t running = 0;
    describe_process(&t->init, entry);
    TAILQ_FOREACH(p, &t->execs, link)
    {
        running += p->state == PROCESS_RUNNING;
        describe_process(p, entry);
    }
    return running;
}

// What the kind of task journals: its runtime and the like, flat.
static void describe_engine(const struct task *t, struct inspect_entry *entry)
{
    if (!entry->detailed || !t->engine)
        return;
    _cleanup_json_ json_object *o = t->ops->describe(t);
    const struct lh_table *members = o ? json_object_get_object(o) : NULL;
    for (struct lh_entry *e = members ? members->head : NULL; e; e = e->next)
        inspect_fact(entry, inspect_text(entry, "engine.%s", (const char *)lh_entry_k(e)), "%s",
                     json_object_get_string((json_object *)lh_entry_v(e)));
}

void task_describe(const void *task, struct inspect_entry *entry)
{
    const struct task *t = task;
    Internal__Entry *m = &entry->msg;
    m->type = INTERNAL__ENTRY_TYPE__ENTRY_CONTAINER;
    m->namespace_ = t->ns;
    m->id = t->id;
    m->sandbox_id = text(t->sandbox_id);
    m->name = text(t->name);
    m->state = (char *)state_of(&t->init);
    m->pid = t->init.pid.pid;
    m->cgroup = text(t->cgroup);
    m->execs = describe_processes(t, entry);
    inspect_created(entry, t->created_at);
    if (t->init.state == PROCESS_STOPPED)
        inspect_exited(entry, t->init.exited_at, t->init.exit_code);
    inspect_fact(entry, "bundle", "%s", t->bundle);
    inspect_fact(entry, "engine", "%s", t->ops->name);
    describe_engine(t, entry);
    inspect_fact(entry, "stdin", "%s", text(t->init.stdin_url));
    inspect_fact(entry, "stdout", "%s", text(t->init.stdout_url));
    inspect_fact(entry, "stderr", "%s", text(t->init.stderr_url));
    inspect_fact(entry, "rootfs_mounted", "%s", t->mounted ? "true" : "");
    inspect_fact(entry, "operations", "%u", t->n_ops);
    for (size_t i = 0; i < TASK_TIMING_MAX_; i++)
        inspect_stages(entry, &t->timings[i]);
}

// ---- a record -----------------------------------------------------------------------------------

// What a record says of a process is as old as the record; the kernel says whether it is there.
static const char *state_of_recorded(const struct process_id *id)
{
    return !id->pid ? "new" : process_alive(id) ? "alive" : "gone";
}

static void describe_recorded(const char *id, const struct process_id *pid, const char *state,
                              struct inspect_entry *entry)
{
    Internal__Process m = INTERNAL__PROCESS__INIT;
    m.id = text(id);
    m.state = (char *)state;
    m.pid = pid->pid;
    m.start_time = pid->start_time;
    inspect_process(entry, &m, NULL);
}

void task_record_describe(const struct task_record *r, struct inspect_entry *entry)
{
    Internal__Entry *m = &entry->msg;
    const char *state = r->stopped ? "stopped" : state_of_recorded(&r->init);
    m->type = INTERNAL__ENTRY_TYPE__ENTRY_CONTAINER;
    m->namespace_ = (char *)r->ns;
    m->id = (char *)r->id;
    m->sandbox_id = text(r->sandbox_id);
    m->name = text(r->name);
    m->state = (char *)state;
    m->pid = r->init.pid;
    m->cgroup = text(r->cgroup);
    describe_recorded(NULL, &r->init, state, entry);
    for (size_t i = 0; i < r->n_execs; i++) {
        m->execs += process_alive(&r->execs[i].pid);
        describe_recorded(r->execs[i].id, &r->execs[i].pid, state_of_recorded(&r->execs[i].pid),
                          entry);
    }
    inspect_fact(entry, "bundle", "%s", r->bundle);
    inspect_fact(entry, "rootfs_mounted", "%s", r->mounted ? "true" : "");
}

// ---- events -------------------------------------------------------------------------------------

#define EVENT(type_, message_, ...)                                                                \
    if (strcmp(type, type_) == 0) {                                                                \
        const message_ *m = (const message_ *)(const void *)msg;                                   \
        *ret = (struct inspect_event){.id = m->container_id, __VA_ARGS__};                         \
        return true;                                                                               \
    }

// Takes what is to be told out of one of containerd's events; false if there is nothing.
static bool take_event(const char *type, const ProtobufCMessage *msg, struct inspect_event *ret)
{
    EVENT(ANY_TASK_CREATE, Events__TaskCreate, .pid = (pid_t)m->pid)
    EVENT(ANY_TASK_START, Events__TaskStart, .pid = (pid_t)m->pid)
    EVENT(ANY_TASK_DELETE, Events__TaskDelete, .pid = (pid_t)m->pid, .exited = true,
          .exit_status = m->exit_status)
    EVENT(ANY_TASK_EXIT, Events__TaskExit, .pid = (pid_t)m->pid, .exited = true,
          .exit_status = m->exit_status, .exec_id = strcmp(m->id, m->container_id) ? m->id : "")
    EVENT(ANY_TASK_OOM, Events__TaskOOM, .pid = 0)
    EVENT(ANY_TASK_PAUSED, Events__TaskPaused, .pid = 0)
    EVENT(ANY_TASK_RESUMED, Events__TaskResumed, .pid = 0)
    EVENT(ANY_TASK_EXEC_ADDED, Events__TaskExecAdded, .exec_id = m->exec_id)
    EVENT(ANY_TASK_EXEC_STARTED, Events__TaskExecStarted, .exec_id = m->exec_id,
          .pid = (pid_t)m->pid)
    return false;
}

void task_follow(const char *ns, const char *topic, const char *type, const ProtobufCMessage *event,
                 void *followed)
{
    struct inspect_event told;
    if (!take_event(type, event, &told))
        return;
    told.topic = topic;
    told.ns = ns;
    inspect_events_add(followed, &told);
}
