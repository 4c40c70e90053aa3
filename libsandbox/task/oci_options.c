// Which runtime, and how: from the options of Create and our own defaults.
#include "task/oci_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/any.h"
#include "api/options.pb-c.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "base/log.h"
#include "task/internal.h"

// The keys of runc's options table as a user writes them in containerd's configuration; containerd
// passes the table of a foreign runtime type as TOML.
struct toml_options {
    char *binary_name, *root, *shim_cgroup, *criu_image_path, *criu_work_path, *criu_path;
    bool systemd_cgroup, no_pivot_root, no_new_keyring;
    int64_t io_uid, io_gid;
};

#define ID_MAX 4294967294L
static const struct config_key toml_keys[] = {
    {"BinaryName", CONFIG_STRING, offsetof(struct toml_options, binary_name), 0, 0},
    {"Root", CONFIG_STRING, offsetof(struct toml_options, root), 0, 0},
    {"SystemdCgroup", CONFIG_BOOL, offsetof(struct toml_options, systemd_cgroup), 0, 0},
    {"NoPivotRoot", CONFIG_BOOL, offsetof(struct toml_options, no_pivot_root), 0, 0},
    {"NoNewKeyring", CONFIG_BOOL, offsetof(struct toml_options, no_new_keyring), 0, 0},
    {"ShimCgroup", CONFIG_STRING, offsetof(struct toml_options, shim_cgroup), 0, 0},
    {"CriuImagePath", CONFIG_STRING, offsetof(struct toml_options, criu_image_path), 0, 0},
    {"CriuWorkPath", CONFIG_STRING, offsetof(struct toml_options, criu_work_path), 0, 0},
    {"CriuPath", CONFIG_STRING, offsetof(struct toml_options, criu_path), 0, 0},
    {"IoUid", CONFIG_INT, offsetof(struct toml_options, io_uid), 0, ID_MAX},
    {"IoGid", CONFIG_INT, offsetof(struct toml_options, io_gid), 0, ID_MAX},
};

static void toml_options_done(struct toml_options *o)
{
    free(o->binary_name);
    free(o->root);
    free(o->shim_cgroup);
    free(o->criu_image_path);
    free(o->criu_work_path);
    free(o->criu_path);
}

static int set_text(char **to, const char *text)
{
    if (!text || !text[0])
        return 0;
    *to = strdup(text);
    return *to ? 0 : -ENOMEM;
}

static void set_owner(struct task *t, uint32_t uid, uint32_t gid)
{
    if (!uid && !gid)
        return;
    t->io_uid = uid;
    t->io_gid = gid;
}

static int from_runc(struct task *t, const Google__Any *any, struct oci_runtime *rt, char **root,
                     struct error *err)
{
    Options__RuncOptions *o = (Options__RuncOptions *)any_decode(
        any, ANY_RUNC_OPTIONS, &options__runc_options__descriptor, err);
    if (!o)
        return error_wrap(err, "options");
    rt->systemd_cgroup = o->systemd_cgroup;
    rt->no_pivot_root = o->no_pivot_root;
    rt->no_new_keyring = o->no_new_keyring;
    set_owner(t, o->io_uid, o->io_gid);
    int r = set_text(&rt->binary, o->binary_name);
    if (r == 0)
        r = set_text(root, o->root);
    api_message_free((ProtobufCMessage *)o);
    return r < 0 ? error_errno(err, r, "options") : 0;
}

// A table with keys that are not runc's belongs to somebody else: it is no error, and not used.
static int from_toml(struct task *t, const Options__RuntimeOptions *o, struct oci_runtime *rt,
                     char **root, struct error *err)
{
    struct toml_options toml = {0};
    struct error why = {0};
    int r = 0;
    if (!o->config_body.len)
        return 0;
    if (config_parse("options", (const char *)o->config_body.data, o->config_body.len, toml_keys,
                     ARRAY_SIZE(toml_keys), &toml, &why) < 0) {
        log_warn("container %s: options are not used: %s", t->id, why.text);
        toml_options_done(&toml);
        return 0;
    }
    rt->systemd_cgroup = toml.systemd_cgroup;
    rt->no_pivot_root = toml.no_pivot_root;
    rt->no_new_keyring = toml.no_new_keyring;
    set_owner(t, (uint32_t)toml.io_uid, (uint32_t)toml.io_gid);
    r = set_text(&rt->binary, toml.binary_name);
    if (r == 0)
        r = set_text(root, toml.root);
    toml_options_done(&toml);
    return r < 0 ? error_errno(err, r, "options") : 0;
}

static int from_runtime_options(struct task *t, const Google__Any *any, struct oci_runtime *rt,
                                char **root, struct error *err)
{
    Options__RuntimeOptions *o = (Options__RuntimeOptions *)any_decode(
        any, ANY_RUNTIME_OPTIONS, &options__runtime_options__descriptor, err);
    if (!o)
        return error_wrap(err, "options");
    int r = from_toml(t, o, rt, root, err);
    api_message_free((ProtobufCMessage *)o);
    return r;
}

static int add_defaults(struct task *t, struct oci_runtime *rt, const char *root, struct error *err)
{
    const struct task_server *s = t->server;
    // Runtimes refuse to start anything when they are to ask a systemd that is not there.
    rt->systemd_cgroup = rt->systemd_cgroup && s->systemd;
    if (!rt->binary && !(rt->binary = strdup(s->runtime)))
        return error_errno(err, ENOMEM, "options");
    if (asprintf(&rt->root, "%s/%s", root ? root : s->runtime_root, t->ns) < 0) {
        rt->root = NULL;
        return error_errno(err, ENOMEM, "options");
    }
    return oci_runtime_check(rt, err);
}

// What the options themselves say; what they leave out stays as it is.
static int decode(struct task *t, const Google__Any *options, struct oci_runtime *rt, char **root,
                  struct error *err)
{
    if (any_is(options, ANY_RUNC_OPTIONS))
        return from_runc(t, options, rt, root, err);
    if (any_is(options, ANY_RUNTIME_OPTIONS))
        return from_runtime_options(t, options, rt, root, err);
    if (options && options->type_url[0])
        log_debug("container %s: options of type %s are not used", t->id, options->type_url);
    return 0;
}

int oci_options_read(struct task *t, const Google__Any *options, struct oci_runtime *ret,
                     struct error *err)
{
    struct oci_runtime rt = {0};
    _cleanup_free_ char *root = NULL;
    if (decode(t, options, &rt, &root, err) < 0 || add_defaults(t, &rt, root, err) < 0) {
        oci_runtime_done(&rt);
        return -1;
    }
    *ret = rt;
    return 0;
}

int oci_options_read_guest(struct task *t, const Google__Any *options, struct error *err)
{
    struct oci_runtime rt = {0};
    _cleanup_free_ char *root = NULL;
    int r = decode(t, options, &rt, &root, err);
    if (r == 0 && (rt.binary || root))
        r = error_set(err, STATUS_INVALID_ARGUMENT,
                      "options.%s: a virtual machine has its own runtime; leave %s out of the "
                      "handler's options",
                      rt.binary ? "binary_name" : "root", rt.binary ? rt.binary : root);
    oci_runtime_done(&rt);
    return r;
}
