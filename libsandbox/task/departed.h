// Exit codes of processes that have been deleted, the last TASK_DEPARTED_MAX of them.
//
// containerd waits for a process and hears of its exit in two ways at once, and deletes it when it
// hears of it. If its Wait comes behind its Delete it takes 255 for the exit code (CRI's code for
// an unknown one), and shows whichever of the two it had first.
#ifndef TASK_DEPARTED_H
#define TASK_DEPARTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define TASK_DEPARTED_MAX 256

struct departed {
    struct departed_exit {
        char *key; // "<namespace>/<container>/<exec>"; NULL: none
        uint32_t code;
        struct timespec at;
    } exits[TASK_DEPARTED_MAX];
    size_t next;
};

// The strings are those of the process that goes; "" is the init. Without memory nothing is kept.
void departed_add(struct departed *d, const char *ns, const char *id, const char *exec_id,
                  uint32_t code, const struct timespec *at);
// The youngest of that name; NULL: none. Valid until the next departed_add.
const struct departed_exit *departed_find(const struct departed *d, const char *ns, const char *id,
                                          const char *exec_id);
void departed_done(struct departed *d);

#endif
