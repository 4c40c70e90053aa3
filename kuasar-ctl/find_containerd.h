// Which process is the containerd of this node?
#ifndef CTL_FIND_CONTAINERD_H
#define CTL_FIND_CONTAINERD_H

#include "ctl/doctor.h"

// Finds the process: its program is named containerd, it runs as our user (real, effective and
// saved: root) in our mount namespace, and trust_program takes its program. Everybody can name a
// program so, and to one in a container its path means another file than to us. Fills pid, program,
// path (untouched without a $PATH) and config (untouched without --config; else the last one, as it
// was given). Returns false if there is none; then *why says why a process of that name did not
// count, or is untouched.
bool find_containerd(const struct doctor *d, struct containerd *c, struct error *why);

#endif
