// A string-keyed table on json-c's linkhash. Keys are copied; values are the caller's.
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

struct map;

// Returns NULL without memory.
struct map *map_new(void);
// Accepts NULL. The values are not touched. Returns NULL.
struct map *map_free(struct map *m);
void *map_get(const struct map *m, const char *key);
// Adds a key that must be new. Returns 0, -EEXIST or -ENOMEM.
int map_add(struct map *m, const char *key, void *value);
// Removes a key. Returns its value, or NULL.
void *map_remove(struct map *m, const char *key);
size_t map_size(const struct map *m);
// Calls fn for every entry, oldest first; fn may remove the entry that it is called for (and no
// other). Stops when fn returns false.
void map_each(struct map *m, bool (*fn)(const char *key, void *value, void *arg), void *arg);

#endif
