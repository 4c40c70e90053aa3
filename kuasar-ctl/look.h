// What the kernel says of a process and a cgroup; read here and now, not asked of a daemon.
#ifndef CTL_LOOK_H
#define CTL_LOOK_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOOK_NAMESPACES_MAX 16
#define LOOK_VALUES_MAX     24
// Pids that are kept.
#define LOOK_PIDS_MAX 4096

struct look {
    struct {
        char name[24], value[40]; // "net", "net:[4026531840]"
    } namespaces[LOOK_NAMESPACES_MAX];
    size_t n_namespaces;
    struct {
        const char *name;
        uint64_t value;
    } values[LOOK_VALUES_MAX];
    size_t n_values;
    pid_t *pids; // owned
    size_t n_pids;
};

// `pid` may be 0 and `cgroup` "": then there is nothing of it. What cannot be read is left out.
void look_at(struct look *ret, pid_t pid, const char *cgroup);
void look_done(struct look *look);

#endif
