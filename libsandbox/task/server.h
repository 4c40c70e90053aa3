// The task server: Task API v3 and v2 (and the internal Pods service) for all containers of one
// kind on this node.
#ifndef TASK_SERVER_H
#define TASK_SERVER_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/error.h"
#include "event/reaper.h"

struct rpc_service;
struct task_ops;
struct task_server;

// All strings are copied.
struct task_config {
    const char *dir;                  // state: tasks/, quarantine/, console/ are made in it
    const char *sandboxes_dir;        // <id>/pod.json of the sandboxes; NULL: <dir>/sandboxes
    const char *runtime;              // when containerd names none
    const char *runtime_root;         // when containerd names none; the namespace is appended
    const char *engine;               // of WebAssembly, when nobody names one; NULL: "wasmtime"
    const char *debug_rootfs;         // tools for execs in WebAssembly containers; NULL or "": none
    bool wasmedge_plugins;            // WasmEdge's plugins may be loaded
    const char *containerd_events;    // containerd's ttrpc socket; NULL or "": publish nothing
    const char *mountpoints;          // task/mountpoints.h; NULL: none
    const char *shim;                 // stub for <bundle>/shim-binary-path; NULL: write none
    const char *program;              // who we are, for the Inspect service; NULL: "task server"
    const char *version;              // for that and the Pods service
    const char *metrics_address;      // loopback address and port for metrics; NULL or "": none
    const struct rpc_service *more;   // served beside ours; borrowed; NULL: none
    bool one_peer;                    // whose streams are lost with its connection, for good
    const struct rlimit *files;       // limit of open files of runtimes and containers; NULL: ours
    const struct mount_space *mounts; // borrowed; NULL: the host's
    const struct task_ops *ops;
};

// Makes the directories (0700). `reaper` must outlive the server. Returns NULL with *err set.
struct task_server *task_server_new(struct ev_loop *loop, struct reaper *reaper,
                                    const struct task_config *config, struct error *err);

// Ends and cleans what a dead server left behind, all records at once. `done` is called once from
// the loop; leftovers that could not be cleaned are logged and keep their record. Call it before
// task_server_listen. Returns 0 or -ENOMEM.
int task_server_recover(struct task_server *s, void (*done)(void *arg), void *arg);

// Serves on a listening socket, which is taken over in any case. Returns 0 or -1.
int task_server_serve(struct task_server *s, int fd, struct error *err);
// Serves on a unix socket, and metrics on <dir>/task-metrics.sock. Returns 0 or -1.
int task_server_listen(struct task_server *s, const char *path, struct error *err);

// Adds the page of metrics. Returns 0 or a negative errno (http_page_fn).
int task_server_metrics(const struct task_server *s, struct buf *out);

// Number of tasks.
size_t task_server_count(const struct task_server *s);

// New tasks are refused with UNAVAILABLE from now on; `drained` is called from the loop as soon as
// no task is left and every answer has been sent (at most once).
void task_server_drain(struct task_server *s, void (*drained)(void *arg), void *arg);

// Closes everything; containers are left as they are (for a successor's recovery). Commands and
// starts that are open are not ended: the loop must not run afterwards unless every call had been
// answered. Accepts NULL. Returns NULL.
struct task_server *task_server_free(struct task_server *s);

#endif
