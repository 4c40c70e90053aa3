#include "inspect/entry.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/any.h"
#include "api/check.h"

struct inspect_block {
    struct inspect_block *next;
    _Alignas(max_align_t) char data[];
};

void inspect_memory_done(struct inspect_memory *m)
{
    while (m->blocks) {
        struct inspect_block *next = m->blocks->next;
        free(m->blocks);
        m->blocks = next;
    }
}

// Zeroed. NULL without memory, which is noted.
static void *take(struct inspect_memory *m, size_t size)
{
    struct inspect_block *b = calloc(1, sizeof *b + size);
    if (!b) {
        m->failed = true;
        return NULL;
    }
    b->next = m->blocks;
    m->blocks = b;
    return b->data;
}

void inspect_entry_init(struct inspect_entry *e, struct inspect_memory *memory, bool detailed)
{
    *e = (struct inspect_entry){
        .msg = INTERNAL__ENTRY__INIT, .detailed = detailed, .memory = memory};
}

__attribute__((format(printf, 2, 0))) static char *format(struct inspect_memory *m, const char *fmt,
                                                          va_list ap)
{
    char text[INSPECT_VALUE_MAX];
    vsnprintf(text, sizeof text, fmt, ap);
    size_t len = strlen(text);
    // Cut, but not in the middle of a character: the peer would refuse the whole answer.
    while (len && len >= sizeof text - 4 && !api_text_valid((const uint8_t *)text, len))
        text[--len] = '\0';
    char *copy = take(m, len + 1);
    return copy ? memcpy(copy, text, len + 1) : (char *)"";
}

char *inspect_text(struct inspect_entry *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = format(e->memory, fmt, ap);
    va_end(ap);
    return text;
}

void inspect_created(struct inspect_entry *e, struct timespec at)
{
    timestamp_set(&e->created_at, at);
    e->msg.created_at = &e->created_at;
}

void inspect_exited(struct inspect_entry *e, struct timespec at, uint32_t status)
{
    timestamp_set(&e->exited_at, at);
    e->msg.exited_at = &e->exited_at;
    e->msg.exit_status = status;
}

// ---- lists --------------------------------------------------------------------------------------

// Adds an item of `size` zeroed bytes to a message's list of pointers, which is at `list_field`.
// Returns the item, or NULL.
static void *grow(struct inspect_memory *m, void *list_field, size_t *n, size_t max, size_t size)
{
    void *item = *n < max ? take(m, size) : NULL;
    if (!item)
        return NULL;
    char *list;
    memcpy(&list, list_field, sizeof list);
    if ((*n & (*n - 1)) == 0) { // full: 0, 1, 2, 4, ...
        char *larger = take(m, (*n ? *n * 2 : 1) * sizeof item);
        if (!larger)
            return NULL;
        if (*n)
            memcpy(larger, list, *n * sizeof item);
        memcpy(list_field, &larger, sizeof larger);
        list = larger;
    }
    memcpy(list + *n * sizeof item, &item, sizeof item);
    ++*n;
    return item;
}

void inspect_fact(struct inspect_entry *e, const char *name, const char *fmt, ...)
{
    va_list ap;
    if (!e->detailed)
        return;
    va_start(ap, fmt);
    char *value = format(e->memory, fmt, ap);
    va_end(ap);
    if (!*value)
        return;
    Internal__Fact *fact =
        grow(e->memory, &e->msg.facts, &e->msg.n_facts, INSPECT_FACTS_MAX, sizeof *fact);
    if (!fact)
        return;
    internal__fact__init(fact);
    fact->name = (char *)name;
    fact->value = value;
}

void inspect_process(struct inspect_entry *e, const Internal__Process *process,
                     const struct timespec *exited_at)
{
    if (!e->detailed)
        return;
    Internal__Process *p =
        grow(e->memory, &e->msg.processes, &e->msg.n_processes, INSPECT_PROCESSES_MAX, sizeof *p);
    if (!p)
        return;
    *p = *process;
    if (exited_at && (p->exited_at = take(e->memory, sizeof *p->exited_at)))
        timestamp_set(p->exited_at, *exited_at);
}

void inspect_stages(struct inspect_entry *e, const struct stages *s)
{
    if (!e->detailed || !s->plan)
        return;
    Internal__Operation *o = grow(e->memory, &e->msg.operations, &e->msg.n_operations,
                                  INSPECT_OPERATIONS_MAX, sizeof *o);
    if (!o)
        return;
    internal__operation__init(o);
    o->name = (char *)s->plan->operation;
    for (size_t i = 0; i < stages_count(s->plan); i++) {
        Internal__Step *step = grow(e->memory, &o->steps, &o->n_steps, STAGES_MAX, sizeof *step);
        if (!step)
            return;
        internal__step__init(step);
        step->name = (char *)s->plan->names[i];
        step->nanoseconds = s->took[i];
    }
}
