// doctor: what containerd's configuration says of the handlers that are ours. A handler is ours if
// its sandboxer is none of containerd's own.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "ctl/doctor.h"
#include "ctl/handlers.h"
#include "ctl/trust.h"
#include "rpc/listen.h"

#define CRI_IMAGES   "plugins.\"io.containerd.cri.v1.images\""
#define EXAMPLES     "examples/containerd"
#define SHIM_PREFIX  "containerd-shim-"
#define TYPE_OF_RUNC "io.containerd.runc.v2"

struct handler {
    struct doctor *d;
    const struct document *doc;
    const char *name;
};

static const char *value(const struct handler *h, const char *key)
{
    return handlers_value(h->doc, h->name, key);
}

// ---- the sandboxer ------------------------------------------------------------------------------

static void check_socket(struct doctor *d, const char *handler, const char *sandboxer,
                         const char *address)
{
    struct error err = {0};
    char path[PATH_MAX];
    if (strncmp(address, "unix://", 7) == 0)
        address += 7;
    if (*address != '/' || doctor_path(d, path, sizeof path, "%s", address) < 0) {
        found(d, VERDICT_ERROR, "%s: the address of its sandboxer is \"%s\"", handler, address);
        remedy(d, "give the path of the sandboxer's socket, see " EXAMPLES);
        return;
    }
    int fd = rpc_connect_unix(path, &err);
    if (fd < 0) {
        found(d, VERDICT_ERROR, "%s: its sandboxer does not listen: %s", handler, err.text);
        remedy(d,
               "start it (systemctl start kuasar-%s), or make the address in proxy_plugins that of "
               "its --listen",
               sandboxer);
        return;
    }
    close(fd);
    found(d, VERDICT_OK, "%s: its sandboxer listens on %s", handler, address);
}

static void check_proxy(const struct handler *h, const char *sandboxer)
{
    char name[128];
    handlers_quote(name, sizeof name, sandboxer);
    const char *type = document_getf(h->doc, "proxy_plugins.%s.type", name);
    const char *address = document_getf(h->doc, "proxy_plugins.%s.address", name);
    if (!type) {
        found(h->d, VERDICT_ERROR, "%s: sandboxer = \"%s\", but there is no [proxy_plugins.%s]",
              h->name, sandboxer, sandboxer);
        remedy(h->d, "add the table as in " EXAMPLES ", and restart containerd");
        return;
    }
    if (strcmp(type, "sandbox") != 0) {
        found(h->d, VERDICT_ERROR, "%s: [proxy_plugins.%s] has type = \"%s\"", h->name, sandboxer,
              type);
        remedy(h->d, "make it type = \"sandbox\", and restart containerd");
        return;
    }
    check_socket(h->d, h->name, sandboxer, address ? address : "");
}

// ---- the shim -----------------------------------------------------------------------------------

// "io.containerd.kuasar-runc.v2" -> "containerd-shim-kuasar-runc-v2" (containerd
// pkg/shim BinaryName: the last two parts). False for what is no such name.
static bool shim_name(const char *type, char *out, size_t size)
{
    const char *version = strrchr(type, '.');
    const char *name = version;
    while (name > type && name[-1] != '.')
        name--;
    if (!version || name == version || !version[1])
        return false;
    return path_format(out, size, SHIM_PREFIX "%.*s-%s", (int)(version - name), name,
                       version + 1) == 0;
}

// In containerd's PATH, or beside itself.
static bool find_shim(const struct doctor *d, const char *name, char out[PATH_MAX])
{
    char beside[PATH_MAX];
    const struct containerd *c = &d->containerd;
    const char *slash = strrchr(c->program, '/');
    if (doctor_find_program(d, c->path, name, out))
        return true;
    return slash &&
           path_format(beside, sizeof beside, "%.*s/%s", (int)(slash - c->program), c->program,
                       name) == 0 &&
           doctor_find_program(d, "", beside, out);
}

static void check_shim(const struct handler *h)
{
    char name[300], path[PATH_MAX];
    const char *type = value(h, "runtime_type"), *fixed = value(h, "runtime_path");
    struct doctor *d = h->d;
    if (*fixed) {
        bool there = doctor_find_program(d, "", fixed, path);
        found(d, there ? VERDICT_OK : VERDICT_ERROR, "%s: its shim is %s%s", h->name, fixed,
              there ? "" : ", which is no program");
        if (!there)
            remedy(d, "make runtime_path the path of its containerd-shim-kuasar-KIND-v2, or leave "
                      "it out");
        return;
    }
    if (!shim_name(type, name, sizeof name)) {
        found(d, VERDICT_ERROR, "%s: runtime_type = \"%s\" names no shim", h->name, type);
        remedy(d, "make it one of ours, as \"io.containerd.kuasar-runc.v2\" is, see " EXAMPLES);
        return;
    }
    if (find_shim(d, name, path)) {
        found(d, VERDICT_OK, "%s: its shim is %s", h->name, path);
        return;
    }
    found(d, VERDICT_ERROR,
          "%s: its shim %s is not in containerd's PATH (%s): when containerd is "
          "restarted it forgets running containers",
          h->name, name, d->containerd.path);
    remedy(d, "install it into one of these, or give runtime_path");
}

// ---- options ------------------------------------------------------------------------------------

// containerd 2.1 and 2.2 decode a handler's options as runc's, and fail StartContainer for any
// other runtime_type. ("config dump" does not show the table, so the files are looked at.)
static void check_options(const struct handler *h)
{
    char table[HANDLER_TABLE_MAX + 16], own[HANDLER_TABLE_MAX];
    const struct containerd *c = &h->d->containerd;
    if (handlers_table(h->name, own, sizeof own) < 0)
        return;
    snprintf(table, sizeof table, "%s.options", own);
    if (c->major != 2 || c->minor > 2 || strcmp(value(h, "runtime_type"), TYPE_OF_RUNC) == 0 ||
        !(document_has_table(&h->d->files, table) || document_has_table(h->doc, table)))
        return;
    found(h->d, VERDICT_ERROR,
          "%s: it has a table of options, which containerd %d.%d refuses for runtime_type \"%s\" "
          "when a container is started",
          h->name, c->major, c->minor, value(h, "runtime_type"));
    remedy(h->d,
           "take [...runtimes.%s.options] out; the OCI runtime is named in " KUASAR_SYSCONFDIR
           "/KIND.toml",
           h->name);
}

// ---- all ----------------------------------------------------------------------------------------

struct handlers {
    struct doctor *d;
    const struct document *doc;
    size_t ours;
};

static void check_handler(const char *name, void *arg)
{
    struct handlers *all = arg;
    struct handler h = {.d = all->d, .doc = all->doc, .name = name};
    const char *only = all->d->ctl->options->kind;
    if (!handlers_is_ours(all->doc, name) || (only && strcmp(value(&h, "sandboxer"), only) != 0))
        return;
    all->ours++;
    check_proxy(&h, value(&h, "sandboxer"));
    check_shim(&h);
    check_options(&h);
}

static void check_cri(struct doctor *d, const struct document *doc)
{
    for (size_t i = 0; i < doc->n; i++) {
        const struct document_entry *e = &doc->list[i];
        if (!e->key || strncmp(e->key, "disabled_plugins[", 17) != 0 || !e->value)
            continue;
        if (strcmp(e->value, "cri") == 0 ||
            strncmp(e->value, "io.containerd.grpc.v1.cri", 25) == 0 ||
            strncmp(e->value, "io.containerd.cri.v1.", 21) == 0) {
            found(d, VERDICT_ERROR, "disabled_plugins has \"%s\": there is no CRI", e->value);
            remedy(d, "take it out of disabled_plugins, and restart containerd");
        }
    }
}

// containerd 2.3 pulls its pause image for every pod, though none of ours runs it.
static void check_pause(struct doctor *d, const struct document *doc)
{
    struct error err = {0};
    const struct containerd *c = &d->containerd;
    char ctr[PATH_MAX];
    const char *image = document_get(doc, CRI_IMAGES ".pinned_images.sandbox");
    const char *slash = strrchr(c->program, '/');
    if (c->major != 2 || c->minor < 3 || !c->pid || !slash)
        return;
    if (!image || !*image) {
        found(d, VERDICT_WARNING, "no pause image is pinned (pinned_images.sandbox)");
        remedy(d, "name an image that is there: containerd %d.%d pulls it for every pod", c->major,
               c->minor);
        return;
    }
    if (path_format(ctr, sizeof ctr, "%.*s/ctr", (int)(slash - c->program), c->program) < 0)
        return;
    const char *const arguments[] = {"--namespace=k8s.io", "images", "ls"};
    if (trust_program(d, ctr, &err) < 0)
        return; // no ctr, or not root's: nothing is known
    _cleanup_free_ char *text = doctor_output(d, ctr, arguments, &err);
    if (!text)
        return;
    bool there = strstr(text, image) != NULL;
    found(d, there ? VERDICT_OK : VERDICT_WARNING, "the pause image %s is%s in the image store",
          image, there ? "" : " not");
    if (!there)
        remedy(d,
               "import or pull it (ctr -n k8s.io images pull), or pin another that is there in "
               "pinned_images.sandbox: containerd %d.%d pulls it before it starts a pod",
               c->major, c->minor);
}

void check_handlers(struct doctor *d)
{
    const struct document *doc = handlers_document(d);
    struct handlers all = {.d = d, .doc = doc};
    if (!doc->n)
        return; // nothing is known, which has been said
    check_cri(d, doc);
    handlers_each(doc, check_handler, &all);
    if (!all.ours) {
        const char *only = d->ctl->options->kind;
        if (only)
            found(d, VERDICT_ERROR, "no handler has the sandboxer \"%s\"", only);
        else
            found(d, VERDICT_ERROR, "no handler has a sandboxer of ours");
        remedy(d,
               "copy a file of " EXAMPLES " to a directory that %s imports, and restart containerd",
               d->containerd.config);
    }
    check_pause(d, doc);
}
