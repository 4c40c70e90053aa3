// The answer to `delete`, and the question before it.
#ifndef SHIM_DELETE_H
#define SHIM_DELETE_H

#include <stdint.h>
#include <time.h>

#include "base/buf.h"

enum task_server {
    TASK_SERVER_LISTENS, // it looks after its containers
    TASK_SERVER_GONE,    // nobody listens; its successor cleans up
    TASK_SERVER_UNKNOWN, // cannot be told: treated as the first
};

// Longest bootstrap.json.
#define BOOTSTRAP_SIZE_MAX (64u * 1024)

// Writes the path of the task server's socket: the address in <bundle>/bootstrap.json, which
// containerd wrote from what Start returned, or `fallback`. Never fails.
void delete_server_path(const char *bundle, const char *fallback, char *out, size_t size);
// Asks whether somebody listens there. Does not wait.
enum task_server delete_ask_server(const char *path);
// The pid in <bundle>/init.pid, 0 if there is none.
uint32_t delete_init_pid(const char *bundle);
// Appends a containerd.task.v3.DeleteResponse. Returns 0 or a negative errno.
int delete_encode(uint32_t pid, uint32_t exit_status, const struct timespec *exited_at,
                  struct buf *out);

#endif
