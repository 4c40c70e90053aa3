// A dead server's leftovers: every record is a container that nobody answers for any more.
// containerd has already called it dead (exit 255); its processes live on. They are ended, what is
// left of them removed, and TaskExit (137) published. See server.h for the entry point.
#ifndef TASK_RECOVERY_H
#define TASK_RECOVERY_H

struct task_recovery;

// Gives up a recovery that is under way. Accepts NULL. Returns NULL.
struct task_recovery *task_recovery_free(struct task_recovery *r);

#endif
