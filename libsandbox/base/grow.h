// Lists that grow by doubling: the room of a list of n is the next power of two.
#ifndef BASE_GROW_H
#define BASE_GROW_H

#include <stddef.h>
#include <stdlib.h>

// Makes room for one more behind n elements of `size` bytes. Returns the list, which may have
// moved, or NULL without memory (the old one stays as it is).
static inline void *grow_by_one(void *list, size_t n, size_t size)
{
    return n & (n - 1) ? list : realloc(list, (n ? n * 2 : 1) * size);
}

#endif
