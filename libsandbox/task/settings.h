// The configuration file of a kind on the host (/etc/kuasar/runc.toml): the sandboxer and its task
// server read the same file, so both know all of its keys.
#ifndef TASK_SETTINGS_H
#define TASK_SETTINGS_H

#include <stdbool.h>

#include "base/config.h"

struct settings {
    char *runtime;                   // OCI runtime where a pod's runtime options name none: "runc"
    char *engine;                    // of WebAssembly, where nobody names one: "wasmtime"
    char *debug_rootfs;              // tools for execs in WebAssembly containers; "": none
    bool wasmedge_plugins;           // WasmEdge's plugins on this node may be loaded
    char *runtime_root;              // its state directory; the namespace is appended
    char *containerd_events;         // containerd's ttrpc socket, for events
    char *sandboxer_metrics_address; // loopback "address:port" for metrics; "": none
    char *task_metrics_address;      // the task server's
    bool default_unprivileged_ports; // net.ipv4.ip_unprivileged_port_start=0 in pods
    bool default_unprivileged_icmp;  // net.ipv4.ping_group_range="0 2147483647" in pods
};

// The defaults of a kind whose state is in `dir` ("/run/kuasar-runc"). Returns 0, or -1 without
// memory.
int settings_init(struct settings *s, const char *dir, struct error *err);
void settings_done(struct settings *s);
// Reads `path`. A file that does not exist is an error only if it was asked for (`required`).
// `more`: keys that only this kind has; NULL: none. Errors name file, line and key. Returns 0 or
// -1.
int settings_load(struct settings *s, const char *path, bool required,
                  const struct config_table *more, struct error *err);

#endif
