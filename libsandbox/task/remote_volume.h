// Directories and files of the host that containers of a virtual machine have mounted. The guest is
// shown each once, however many of its containers have it: two mounts of one directory are two
// directories to it, and what it knows of a file by one it believes up to a second longer than it
// is so by the other.
//
//   <sandbox>/shared/volumes/<key>            what is shown
//   <sandbox>/shared/<container>/<name>       a link there
//   <sandbox>/volumes/<key>/<container>       who has it
//
// What is read-only is so on the host, so it is shown apart from what is not. These functions
// block: they belong into a job (event/job.h), of which several may run for one sandbox.
#ifndef TASK_REMOTE_VOLUME_H
#define TASK_REMOTE_VOLUME_H

#include "base/error.h"
#include "task/remote_spec.h"

// Shows `share` to the guest as shared/<container>/<share->name>. What is mounted below the source
// later is seen, what is unmounted here stays mounted there. 0 or -1: UNIMPLEMENTED for what no
// guest can have.
int remote_volume_show(const char *sandbox_dir, const char *container,
                       const struct remote_share *share, struct error *err);
// Takes away what no other container has. 0 or -1; goes on after an error.
int remote_volumes_hide(const char *sandbox_dir, const char *container, struct error *err);

#endif
