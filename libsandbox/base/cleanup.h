// Scope-bound cleanup and hand-over. A variable with one of these attributes is always initialised
// (pointers to NULL, descriptors to -1).
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_ptr(void *p)
{
    free(*(void **)p);
}
static inline void cleanup_close_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
static inline void cleanup_fclose(FILE **f)
{
    if (*f)
        fclose(*f);
}

#define _cleanup_(fn)    __attribute__((cleanup(fn)))
#define _cleanup_free_   _cleanup_(cleanup_free_ptr)
#define _cleanup_close_  _cleanup_(cleanup_close_fd)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

// The value of a pointer; the variable is NULL afterwards and its cleanup does nothing.
#define take_ptr(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) taken_ = p;                                                                  \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

// The same for a descriptor.
static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

// Closes a descriptor if it is open and marks it closed. Returns -1.
static inline int close_fd(int *fd)
{
    cleanup_close_fd(fd);
    return *fd = -1;
}

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))

#endif
