#include "base/map.h"

#include <errno.h>
#include <json-c/linkhash.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

// Slots of a new table; it grows by itself.
#define MAP_FIRST 16

struct map {
    struct lh_table *table;
};

static void free_key(struct lh_entry *entry)
{
    free(lh_entry_k(entry));
}

struct map *map_new(void)
{
    _cleanup_free_ struct map *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->table = lh_kchar_table_new(MAP_FIRST, free_key);
    return m->table ? take_ptr(m) : NULL;
}

struct map *map_free(struct map *m)
{
    if (!m)
        return NULL;
    lh_table_free(m->table);
    free(m);
    return NULL;
}

void *map_get(const struct map *m, const char *key)
{
    void *value = NULL;
    return lh_table_lookup_ex(m->table, key, &value) ? value : NULL;
}

int map_add(struct map *m, const char *key, void *value)
{
    if (lh_table_lookup_entry(m->table, key))
        return -EEXIST;
    char *copy = strdup(key);
    if (!copy)
        return -ENOMEM;
    if (lh_table_insert(m->table, copy, value) < 0) {
        free(copy);
        return -ENOMEM;
    }
    return 0;
}

void *map_remove(struct map *m, const char *key)
{
    struct lh_entry *entry = lh_table_lookup_entry(m->table, key);
    if (!entry)
        return NULL;
    void *value = lh_entry_v(entry);
    lh_table_delete_entry(m->table, entry);
    return value;
}

size_t map_size(const struct map *m)
{
    return (size_t)lh_table_length(m->table);
}

void map_each(struct map *m, bool (*fn)(const char *key, void *value, void *arg), void *arg)
{
    struct lh_entry *entry, *next;
    lh_foreach_safe(m->table, entry,
                    next) if (!fn(lh_entry_k(entry), lh_entry_v(entry), arg)) return;
}
