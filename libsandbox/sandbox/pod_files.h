// The files of /etc that every container of a pod gets.
#ifndef SANDBOX_POD_FILES_H
#define SANDBOX_POD_FILES_H

#include "sandbox/sandbox.h"

// Mounts a small file system at `dir`/etc (`dirfd` is `dir`) and makes hosts, hostname and
// resolv.conf in it. Returns 0 or -1.
int pod_files_make(const char *dir, int dirfd, const struct sandbox_record *r,
                   const Cri__PodSandboxConfig *config, struct error *err);

#endif
