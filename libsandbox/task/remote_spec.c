#include "task/remote_spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/ident.h"
#include "oci/spec.h"

void remote_shares_done(struct remote_shares *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->list[i].source);
    s->n = 0;
}

// The word's place among the options, or -1.
static ssize_t find_word(json_object *options, const char *word)
{
    for (size_t i = 0; options && i < json_object_array_length(options); i++) {
        json_object *o = json_object_array_get_idx(options, i);
        if (json_object_is_type(o, json_type_string) &&
            strcmp(json_object_get_string(o), word) == 0)
            return (ssize_t)i;
    }
    return -1;
}

static bool is_word(json_object *options, const char *word)
{
    return find_word(options, word) >= 0;
}

// As an OCI runtime tells a bind mount: by its type, or by its options.
static int is_bind(json_object *mount, bool *ret, json_object **ret_options, struct error *err)
{
    const char *type = NULL;
    *ret_options = NULL;
    if (json_get_string(mount, "type", &type, err) < 0 ||
        json_get_array(mount, "options", ret_options, err) < 0)
        return -1;
    *ret = (type && strcmp(type, "bind") == 0) || is_word(*ret_options, "bind") ||
           is_word(*ret_options, "rbind");
    return 0;
}

static enum remote_access take_access(json_object *options)
{
    if (is_word(options, "rro"))
        return REMOTE_RRO;
    enum remote_access access = REMOTE_RW;
    for (ssize_t i; (i = find_word(options, "ro")) >= 0; access = REMOTE_RO)
        json_object_array_del_idx(options, (size_t)i, 1);
    return access;
}

static int check_propagation(json_object *options, struct error *err)
{
    if (!is_word(options, "rshared") && !is_word(options, "shared"))
        return 0;
    return error_set(err, STATUS_UNIMPLEMENTED,
                     "options: rshared: what is mounted in a virtual machine cannot show up on the "
                     "host; use HostToContainer for mountPropagation, or another runtime class");
}

const char *remote_share_refused(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFSOCK:
        return "a socket: what listens on it is on the host, and no guest can connect to it; give "
               "the pod an address of a service instead";
    case S_IFIFO:
        return "a FIFO: its other end is on the host, and no guest can open it";
    case S_IFCHR:
    case S_IFBLK:
        return "a device of the host, which no guest has; a block device is given by volumeDevices";
    default:
        return NULL;
    }
}

static int share(struct remote_shares *s, const char *source, enum remote_access access,
                 char name[16], struct error *err)
{
    if (ident_path_check(source, "source", err) < 0)
        return -1;
    if (s->n == REMOTE_SHARES_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "more than %d bind mounts",
                         REMOTE_SHARES_MAX);
    struct remote_share *new = &s->list[s->n];
    new->source = strdup(source);
    if (!new->source)
        return error_errno(err, ENOMEM, "source %s", source);
    new->access = access;
    snprintf(new->name, sizeof(new->name), "m%zu", s->n++);
    memcpy(name, new->name, sizeof(new->name));
    return 0;
}

static int put_string(json_object *o, const char *key, const char *value)
{
    json_object *s = json_object_new_string(value);
    if (s && json_object_object_add(o, key, s) == 0)
        return 0;
    json_object_put(s);
    return -ENOMEM;
}

static int rewrite_mount(json_object *mount, const char *guest_dir, struct remote_shares *s,
                         struct error *err)
{
    json_object *options = NULL;
    const char *source = NULL;
    char name[16], path[512];
    bool bind = false;
    if (is_bind(mount, &bind, &options, err) < 0)
        return -1;
    if (!bind)
        return 0;
    if (check_propagation(options, err) < 0 || json_get_string(mount, "source", &source, err) < 0)
        return -1;
    if (!source)
        return error_set(err, STATUS_INVALID_ARGUMENT, "source: missing");
    if (share(s, source, take_access(options), name, err) < 0)
        return -1;
    snprintf(path, sizeof(path), "%s/%s", guest_dir, name);
    return put_string(mount, "source", path) < 0 ? error_errno(err, ENOMEM, "source") : 0;
}

static int rewrite_mounts(json_object *spec, const char *guest_dir, struct remote_shares *s,
                          struct error *err)
{
    json_object *mounts = NULL;
    if (json_get_array(spec, "mounts", &mounts, err) < 0)
        return -1;
    for (size_t i = 0; mounts && i < json_object_array_length(mounts); i++) {
        json_object *mount = json_object_array_get_idx(mounts, i);
        if (!json_object_is_type(mount, json_type_object))
            return error_set(err, STATUS_INVALID_ARGUMENT, "mounts[%zu]: not an object", i);
        if (rewrite_mount(mount, guest_dir, s, err) < 0)
            return error_wrap(err, "mounts[%zu]", i);
    }
    return 0;
}

// "/proc/0/ns/pid" is the pod's; any other path is that of a process on the host.
static int check_pid(json_object *ns, struct error *err)
{
    const char *path = NULL;
    if (json_get_string(ns, "path", &path, err) < 0)
        return -1;
    if (!path || strcmp(path, "/proc/0/ns/pid") == 0)
        return 0;
    return error_set(err, STATUS_UNIMPLEMENTED,
                     "path: the processes of another container of the virtual machine cannot be "
                     "joined by it; share the pod's (shareProcessNamespace)");
}

// One without a path. NULL without memory.
static json_object *new_namespace(const char *type)
{
    json_object *ns = json_object_new_object();
    if (ns && put_string(ns, "type", type) == 0)
        return ns;
    json_object_put(ns);
    return NULL;
}

static int check_namespace(json_object *ns, const char *type, struct error *err)
{
    if (strcmp(type, "user") == 0)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "a container in a virtual machine has the guest's users; set hostUsers to "
                         "true (the guest isolates it)");
    return strcmp(type, "pid") == 0 ? check_pid(ns, err) : 0;
}

// The pod's network is the guest's own. The guest has cgroups of version 2, with which containers
// get a cgroup namespace; containerd leaves it out where the host has version 1.
static int rewrite_namespaces(json_object *linux_, struct error *err)
{
    json_object *list = NULL;
    bool cgroup = false;
    if (json_get_array(linux_, "namespaces", &list, err) < 0)
        return -1;
    for (size_t i = list ? json_object_array_length(list) : 0; i-- > 0;) {
        json_object *ns = json_object_array_get_idx(list, i);
        const char *type = NULL;
        if (json_get_string(ns, "type", &type, err) < 0 ||
            check_namespace(ns, type ? type : "", err) < 0)
            return error_wrap(err, "linux.namespaces[%zu]", i);
        cgroup = cgroup || (type && strcmp(type, "cgroup") == 0);
        if (type && strcmp(type, "network") == 0)
            json_object_array_del_idx(list, i, 1);
    }
    json_object *own = list && !cgroup ? new_namespace("cgroup") : NULL;
    if (list && !cgroup && (!own || json_object_array_add(list, own) < 0)) {
        json_object_put(own);
        return error_errno(err, ENOMEM, "linux.namespaces");
    }
    return 0;
}

// Numbers of the host's processors and memory nodes mean nothing in the guest.
static int keep_resources(json_object *resources, struct error *err)
{
    json_object *cpu = NULL;
    if (json_get_object(resources, "cpu", &cpu, err) < 0)
        return error_wrap(err, "linux.resources");
    if (cpu) {
        json_object_object_del(cpu, "cpus");
        json_object_object_del(cpu, "mems");
    }
    json_object_object_del(resources, "blockIO"); // by device numbers
    json_object_object_del(resources, "rdma");
    return 0;
}

static int rewrite_linux(json_object *spec, const char *cgroup, struct error *err)
{
    json_object *linux_ = NULL, *resources = NULL;
    if (json_get_object(spec, "linux", &linux_, err) < 0)
        return -1;
    if (!linux_)
        return 0;
    if (rewrite_namespaces(linux_, err) < 0 ||
        json_get_object(linux_, "resources", &resources, err) < 0 ||
        (resources && keep_resources(resources, err) < 0))
        return -1;
    // A privileged container asks for every device of the host; the runtime gives it the usual
    // ones.
    json_object_object_del(linux_, "devices");
    json_object_object_del(linux_, "intelRdt");
    json_object_object_del(linux_, "mountLabel");
    return put_string(linux_, "cgroupsPath", cgroup) < 0
               ? error_errno(err, ENOMEM, "linux.cgroupsPath")
               : 0;
}

static int rewrite_process(json_object *spec, struct error *err)
{
    json_object *process = NULL;
    if (json_get_object(spec, "process", &process, err) < 0)
        return -1;
    if (process) {
        json_object_object_del(process, "apparmorProfile"); // loaded on the host
        json_object_object_del(process, "selinuxLabel");
    }
    return 0;
}

// Where the guest mounts it, below the bundle.
static int rewrite_root(json_object *spec, struct error *err)
{
    bool there = oci_spec_root_path(spec) != NULL;
    return there && oci_spec_set_root_path(spec, "rootfs") < 0 ? error_errno(err, ENOMEM, "root")
                                                               : 0;
}

char *remote_spec_make(json_object *spec, const char *guest_dir, const char *cgroup,
                       struct remote_shares *ret_shares, struct error *err)
{
    _cleanup_json_ json_object *copy = NULL;
    json_object *hooks = NULL;
    ret_shares->n = 0;
    if (json_object_deep_copy(spec, &copy, NULL) < 0) {
        error_errno(err, ENOMEM, "config.json");
        return NULL;
    }
    if (json_get_object(copy, "hooks", &hooks, err) < 0)
        return NULL;
    if (hooks && json_object_object_length(hooks) > 0) {
        error_set(err, STATUS_UNIMPLEMENTED,
                  "hooks: programs of the host are not run for containers in a virtual machine");
        return NULL;
    }
    if (rewrite_mounts(copy, guest_dir, ret_shares, err) < 0 ||
        rewrite_linux(copy, cgroup, err) < 0 || rewrite_process(copy, err) < 0 ||
        rewrite_root(copy, err) < 0) {
        remote_shares_done(ret_shares);
        return NULL;
    }
    const char *text = json_text(copy);
    char *ret = text ? strdup(text) : NULL;
    if (!ret) {
        error_errno(err, ENOMEM, "config.json");
        remote_shares_done(ret_shares);
    }
    return ret;
}

char *remote_resources_make(const void *resources, size_t len, struct error *err)
{
    _cleanup_json_ json_object *o = json_parse(resources, len, "resources", err);
    if (!o || keep_resources(o, err) < 0)
        return NULL;
    const char *text = json_text(o);
    char *ret = text ? strdup(text) : NULL;
    if (!ret)
        error_errno(err, ENOMEM, "resources");
    return ret;
}
