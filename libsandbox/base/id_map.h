// How the user and group ids of a user namespace lie in the host's. One run of each: that is all
// that CRI allows a pod, and all that containerd gives a root file system.
#ifndef BASE_ID_MAP_H
#define BASE_ID_MAP_H

#include <stdbool.h>
#include <stdint.h>

// One run of ids; length 0: none.
struct id_map {
    uint32_t inside, outside; // its first id
    uint32_t length;
};
struct id_maps {
    struct id_map uid, gid;
};

// A run that the kernel takes: not empty, and no end of it reaches 4294967295, which is no id.
bool id_map_valid(const struct id_map *m);
// Are both the same? Runs without a length are equal to each other.
bool id_maps_equal(const struct id_maps *a, const struct id_maps *b);
// The host's id for one inside. 0, or -ERANGE for one that is not mapped; of a run without a length
// every id is the host's.
int id_map_outside(const struct id_map *m, uint32_t inside, uint32_t *ret);
// "inside:outside:length" in decimal, as containerd writes it (core/mount, options uidmap=,
// gidmap=). 0, or -EINVAL for anything else and for a run that is not valid; *ret is then
// untouched.
int id_map_parse(const char *text, struct id_map *ret);

#endif
