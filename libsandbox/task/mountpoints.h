// What every container of a pod has mounted is mounted on something: /etc/hosts, /etc/hostname,
// /etc/resolv.conf and /dev/shm. Few images have these; made in each container's own layer they are
// a third of the work of starting a small one. So there is one directory that has them, which is
// the lowest layer of each rootfs (linux/mount.h, below): what the image has is above it, and what
// is mounted covers the rest.
#ifndef TASK_MOUNTPOINTS_H
#define TASK_MOUNTPOINTS_H

#include <stdbool.h>

#include "base/error.h"
#include "base/json.h"
#include "oci/pod.h"

// On the file system of containerd's snapshots, if /var/lib is one.
#define MOUNTPOINTS_DIR "/var/lib/kuasar/mountpoints"

// Makes the directory, or what is missing in it. 0 or -1: do without.
int mountpoints_make(const char *dir, struct error *err);

// Is all of it mounted over in a container with this spec, which has joined this pod? (One with
// users of its own would see theirs as nobody's.)
bool mountpoints_fit(json_object *spec, const struct pod *pod);

#endif
