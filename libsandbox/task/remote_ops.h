// Containers that the agent of their pod's virtual machine makes.
#ifndef TASK_REMOTE_OPS_H
#define TASK_REMOTE_OPS_H

#include "task/ops.h"

extern const struct task_ops task_remote_ops;

#endif
