#include "sandbox/pod_config.h"

#include <string.h>

#include "base/ident.h"
#include "linux/namespace.h"

// Limits on what a pod's configuration may ask for.
#define DNS_WORDS_MAX 256
#define DNS_WORD_MAX  1024
// Where a request says whose users the pod has.
#define USERNS_FIELD "linux.security_context.namespace_options.userns_options"

static const Cri__LinuxSandboxSecurityContext *security(const Cri__PodSandboxConfig *config)
{
    return config && config->linux_ ? config->linux_->security_context : NULL;
}

int pod_modes_read(const struct sandbox_request *q, struct pod_modes *m, struct error *err)
{
    const Cri__LinuxSandboxSecurityContext *sc = security(q->config);
    const Cri__NamespaceOption *o = sc ? sc->namespace_options : NULL;
    if (o)
        *m = (struct pod_modes){o->network, o->pid, o->ipc};
    else
        *m = (struct pod_modes){*q->netns ? CRI__NAMESPACE_MODE__POD : CRI__NAMESPACE_MODE__NODE,
                                CRI__NAMESPACE_MODE__POD, CRI__NAMESPACE_MODE__POD};
    static const char field[] = "linux.security_context.namespace_options";
    if (m->network != CRI__NAMESPACE_MODE__POD && m->network != CRI__NAMESPACE_MODE__NODE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s.network: want POD or NODE", field);
    if (m->ipc != CRI__NAMESPACE_MODE__POD && m->ipc != CRI__NAMESPACE_MODE__NODE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s.ipc: want POD or NODE", field);
    if (m->pid != CRI__NAMESPACE_MODE__POD && m->pid != CRI__NAMESPACE_MODE__CONTAINER &&
        m->pid != CRI__NAMESPACE_MODE__NODE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s.pid: want POD, CONTAINER or NODE",
                         field);
    return 0;
}

static int read_mapping(const char *field, Cri__IDMapping *const *list, size_t n,
                        struct id_map *ret, struct error *err)
{
    if (n != 1)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         USERNS_FIELD ".%s: %zu mappings, want exactly one", field, n);
    const struct id_map m = {list[0]->container_id, list[0]->host_id, list[0]->length};
    // Without a root a container could not even be set up.
    if (m.inside != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         USERNS_FIELD ".%s: container_id is %u, want 0: the pod must have a root",
                         field, m.inside);
    if (!id_map_valid(&m))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         USERNS_FIELD ".%s: %u ids from host_id %u on: want at least one, and none "
                                      "beyond 4294967294",
                         field, m.length, m.outside);
    *ret = m;
    return 0;
}

int pod_users_read(const struct sandbox_request *q, struct id_maps *ret, struct error *err)
{
    const Cri__LinuxSandboxSecurityContext *sc = security(q->config);
    const Cri__NamespaceOption *o = sc ? sc->namespace_options : NULL;
    const Cri__UserNamespace *u = o ? o->userns_options : NULL;
    *ret = (struct id_maps){0};
    if (!u)
        return 0;
    if (u->mode == CRI__NAMESPACE_MODE__NODE) {
        if (u->n_uids || u->n_gids)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             USERNS_FIELD ": mode NODE with id mappings; leave them out, or say "
                                          "POD");
        return 0;
    }
    if (u->mode != CRI__NAMESPACE_MODE__POD)
        return error_set(err, STATUS_INVALID_ARGUMENT, USERNS_FIELD ".mode: want POD or NODE");
    if (read_mapping("uids", u->uids, u->n_uids, &ret->uid, err) < 0 ||
        read_mapping("gids", u->gids, u->n_gids, &ret->gid, err) < 0)
        return -1;
    return 0;
}

static int check_network(const struct sandbox_request *q, const struct pod_modes *m,
                         struct error *err)
{
    bool host = m->network == CRI__NAMESPACE_MODE__NODE;
    if (host && *q->netns)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "netns_path: a pod on the host's network has none, got %s", q->netns);
    if (!host && !*q->netns)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "netns_path: empty, but the pod has a network of its own");
    if (host)
        return 0;
    if (ident_path_check(q->netns, "netns_path", err) < 0)
        return -1;
    if (namespace_check(q->netns, "net", err) < 0)
        return error_wrap(err, "netns_path");
    return 0;
}

static int check_hostname(const char *name, struct error *err)
{
    size_t n = strlen(name);
    if (n > 64)
        return error_set(err, STATUS_INVALID_ARGUMENT, "hostname: longer than 64 bytes");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f || name[i] == '/')
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "hostname: byte %zu is not allowed in a host name", i);
    return 0;
}

static int check_words(const char *field, char *const *words, size_t n, struct error *err)
{
    if (n > DNS_WORDS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: more than %d entries", field,
                         DNS_WORDS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (strpbrk(words[i], "\n\r"))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: entry %zu has a line break", field,
                             i);
        if (strlen(words[i]) > DNS_WORD_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: entry %zu is longer than %d bytes",
                             field, i, DNS_WORD_MAX);
    }
    return 0;
}

static int check_config(const Cri__PodSandboxConfig *c, const struct pod_modes *m,
                        struct error *err)
{
    if (!c)
        return 0;
    if (check_hostname(c->hostname, err) < 0)
        return -1;
    if (c->dns_config && (check_words("dns_config.servers", c->dns_config->servers,
                                      c->dns_config->n_servers, err) < 0 ||
                          check_words("dns_config.searches", c->dns_config->searches,
                                      c->dns_config->n_searches, err) < 0 ||
                          check_words("dns_config.options", c->dns_config->options,
                                      c->dns_config->n_options, err) < 0))
        return -1;
    if (!c->linux_)
        return 0;
    if (c->linux_->n_sysctls > POD_SYSCTLS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "linux.sysctls: more than %d",
                         POD_SYSCTLS_MAX);
    for (size_t i = 0; i < c->linux_->n_sysctls; i++)
        if (namespace_sysctl_check(c->linux_->sysctls[i]->key,
                                   m->network == CRI__NAMESPACE_MODE__POD,
                                   m->ipc == CRI__NAMESPACE_MODE__POD, err) < 0)
            return error_wrap(err, "linux.sysctls");
    return 0;
}

int pod_config_check(const struct sandbox_request *q, const struct pod_modes *m, struct error *err)
{
    return check_network(q, m, err) < 0 ? -1 : check_config(q->config, m, err);
}
