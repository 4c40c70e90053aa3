#include "task/settings.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "base/ident.h"
#include "rpc/listen.h"

#define ROW(name, kind)                                                                            \
    {                                                                                              \
        .key = #name, .type = (kind), .offset = offsetof(struct settings, name)                    \
    }

static const struct config_key keys[] = {
    ROW(runtime, CONFIG_STRING),
    ROW(runtime_root, CONFIG_STRING),
    ROW(engine, CONFIG_STRING),
    ROW(debug_rootfs, CONFIG_STRING),
    ROW(wasmedge_plugins, CONFIG_BOOL),
    ROW(containerd_events, CONFIG_STRING),
    ROW(sandboxer_metrics_address, CONFIG_STRING),
    ROW(task_metrics_address, CONFIG_STRING),
    ROW(default_unprivileged_ports, CONFIG_BOOL),
    ROW(default_unprivileged_icmp, CONFIG_BOOL),
};

int settings_init(struct settings *s, const char *dir, struct error *err)
{
    *s = (struct settings){
        .runtime = strdup("runc"),
        .engine = strdup("wasmtime"),
        .debug_rootfs = strdup(""),
        .containerd_events = strdup("/run/containerd/containerd.sock.ttrpc"),
        .sandboxer_metrics_address = strdup(""),
        .task_metrics_address = strdup(""),
        .default_unprivileged_ports = true,
        .default_unprivileged_icmp = true,
    };
    if (asprintf(&s->runtime_root, "%s/runtime", dir) < 0)
        s->runtime_root = NULL;
    if (s->runtime && s->runtime_root && s->engine && s->debug_rootfs && s->containerd_events &&
        s->sandboxer_metrics_address && s->task_metrics_address)
        return 0;
    settings_done(s);
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
}

void settings_done(struct settings *s)
{
    free(s->runtime);
    free(s->runtime_root);
    free(s->engine);
    free(s->debug_rootfs);
    free(s->containerd_events);
    free(s->sandboxer_metrics_address);
    free(s->task_metrics_address);
    *s = (struct settings){0};
}

static int check_metrics(const struct settings *s, struct error *err)
{
    const char *ours = s->sandboxer_metrics_address, *tasks = s->task_metrics_address;
    if ((*ours && rpc_loopback_check(ours, "sandboxer_metrics_address", err) < 0) ||
        (*tasks && rpc_loopback_check(tasks, "task_metrics_address", err) < 0))
        return -1;
    if (*ours && strcmp(ours, tasks) == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "task_metrics_address: \"%s\" is the sandboxer's; each daemon needs a "
                         "port of its own",
                         tasks);
    return 0;
}

int settings_load(struct settings *s, const char *path, bool required,
                  const struct config_table *more, struct error *err)
{
    struct config_table tables[2] = {{.keys = keys, .n = ARRAY_SIZE(keys), .target = s}};
    if (more)
        tables[1] = *more;
    if (!required && access(path, F_OK) < 0)
        return 0;
    if (config_load_tables(path, tables, more ? 2 : 1, err) < 0)
        return -1;
    if (!*s->runtime)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: runtime: must not be empty", path);
    if (ident_path_check(s->runtime_root, "runtime_root", err) < 0 ||
        ident_path_check(s->containerd_events, "containerd_events", err) < 0 ||
        (*s->debug_rootfs && ident_path_check(s->debug_rootfs, "debug_rootfs", err) < 0) ||
        check_metrics(s, err) < 0)
        return error_wrap(err, "%s", path);
    return 0;
}
