#include "task/departed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_called(const char *key, const char *ns, const char *id, const char *exec_id)
{
    const char *const parts[] = {ns, id, exec_id};
    for (size_t i = 0; i < 3; i++) {
        size_t len = strlen(parts[i]);
        if (strncmp(key, parts[i], len) != 0 || key[len] != (i < 2 ? '/' : '\0'))
            return false;
        key += len + 1;
    }
    return true;
}

void departed_add(struct departed *d, const char *ns, const char *id, const char *exec_id,
                  uint32_t code, const struct timespec *at)
{
    char *key = NULL;
    struct departed_exit *e = &d->exits[d->next];
    if (asprintf(&key, "%s/%s/%s", ns, id, exec_id) < 0)
        return;
    free(e->key);
    *e = (struct departed_exit){.key = key, .code = code, .at = *at};
    d->next = (d->next + 1) % TASK_DEPARTED_MAX;
}

const struct departed_exit *departed_find(const struct departed *d, const char *ns, const char *id,
                                          const char *exec_id)
{
    for (size_t i = 1; i <= TASK_DEPARTED_MAX; i++) {
        const struct departed_exit *e =
            &d->exits[(d->next + TASK_DEPARTED_MAX - i) % TASK_DEPARTED_MAX];
        if (!e->key)
            return NULL;
        if (is_called(e->key, ns, id, exec_id))
            return e;
    }
    return NULL;
}

void departed_done(struct departed *d)
{
    for (size_t i = 0; i < TASK_DEPARTED_MAX; i++)
        free(d->exits[i].key);
    *d = (struct departed){0};
}
