// A pod on the host, without a process where that is possible.
//
// plan() decides from the request alone and writes down what must be undone; make() does it, in a
// process of its own, in this order: files, shared memory, namespaces (users and network joined
// first, so that the others belong to them and sysctls and the init see them), the pod's cgroup.
// containerd gives us the network namespace by path; we pin it under our own name, because
// containers may be started while containerd's name is being removed, and because the task server
// then needs no path of containerd's. A pod with users of its own has its network namespace made in
// its user namespace by containerd, and nothing else of that is handed on: we pin the owner.
//
// What CRI leaves to the sandboxer (no /etc files, no /dev/shm, no sysctls, no cgroup before the
// first container) is listed in containerd internal/cri/server/sandbox_run.go and podsandbox/;
// values and modes here are those of containerd's own pod sandbox controller.
#include "sandbox/host_pod.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "linux/cgroup.h"
#include "linux/namespace.h"

// Limits on what a pod's configuration may ask for.
#define SYSCTLS_MAX   256
#define DNS_WORDS_MAX 256
#define DNS_WORD_MAX  1024
// Longest file of /etc: more than a full resolv.conf.
#define ETC_FILE_MAX (1024 * 1024)
// Where a request says whose users the pod has.
#define USERNS_FIELD "linux.security_context.namespace_options.userns_options"
// Size of the pod's /dev/shm (containerd: defaultShmSize).
#define SHM_SIZE "67108864"
// Size and files of the file system that holds the pod's /etc files. Containers may write them, and
// must not fill the host's /run by it. It is not that of /dev/shm, though this would save a mount:
// an app that takes all 64 MiB there would miss the pages of these files (with that much more room,
// df would show more than 64 MiB), and once it is full the files could not grow.
#define ETC_SIZE  "4m"
#define ETC_FILES "16"

// ---- reading the configuration ----------------------------------------------------------------

static const Cri__LinuxSandboxSecurityContext *security(const Cri__PodSandboxConfig *config)
{
    return config && config->linux_ ? config->linux_->security_context : NULL;
}

// The namespace modes. A pod that names none shares all three among its containers, as with
// containerd's own pods: POD is the zero of the enum. (kubelet always names CONTAINER for pid.)
struct modes {
    Cri__NamespaceMode network, pid, ipc;
};

static int read_modes(const struct sandbox_request *q, struct modes *m, struct error *err)
{
    const Cri__LinuxSandboxSecurityContext *sc = security(q->config);
    const Cri__NamespaceOption *o = sc ? sc->namespace_options : NULL;
    if (o)
        *m = (struct modes){o->network, o->pid, o->ipc};
    else
        *m = (struct modes){*q->netns ? CRI__NAMESPACE_MODE__POD : CRI__NAMESPACE_MODE__NODE,
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

// The pod's users; lengths 0: the host's. (containerd checks less before it calls, and nothing of a
// pod on the host's network.)
static int read_users(const struct sandbox_request *q, struct id_maps *ret, struct error *err)
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

static int check_network(const struct sandbox_request *q, const struct modes *m, struct error *err)
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

static int check_config(const Cri__PodSandboxConfig *c, const struct modes *m, struct error *err)
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
    if (c->linux_->n_sysctls > SYSCTLS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "linux.sysctls: more than %d", SYSCTLS_MAX);
    for (size_t i = 0; i < c->linux_->n_sysctls; i++)
        if (namespace_sysctl_check(c->linux_->sysctls[i]->key,
                                   m->network == CRI__NAMESPACE_MODE__POD,
                                   m->ipc == CRI__NAMESPACE_MODE__POD, err) < 0)
            return error_wrap(err, "linux.sysctls");
    return 0;
}

// ---- plan -------------------------------------------------------------------------------------

// Sets *ret to "<dir>/<name>". Returns 0 or -1.
static int sub_path(char **ret, const char *dir, const char *name, struct error *err)
{
    if (asprintf(ret, "%s/%s", dir, name) < 0) {
        *ret = NULL;
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    }
    return 0;
}

static int plan_pod(struct pod *pod, const char *dir, const struct sandbox_request *q,
                    const struct modes *m, struct error *err)
{
    bool own_net = m->network == CRI__NAMESPACE_MODE__POD;
    bool own_ipc = m->ipc == CRI__NAMESPACE_MODE__POD;
    pod->pid_mode = m->pid == CRI__NAMESPACE_MODE__POD    ? POD_PID_POD
                    : m->pid == CRI__NAMESPACE_MODE__NODE ? POD_PID_NODE
                                                          : POD_PID_CONTAINER;
    if (!(pod->id = strdup(q->id)))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    if ((own_net && (sub_path(&pod->net_ns, dir, "ns/net", err) < 0 ||
                     sub_path(&pod->uts_ns, dir, "ns/uts", err) < 0)) ||
        (own_ipc && sub_path(&pod->ipc_ns, dir, "ns/ipc", err) < 0) ||
        (pod->pid_mode == POD_PID_POD && sub_path(&pod->pid_ns, dir, "ns/pid", err) < 0) ||
        (pod->ids.uid.length && sub_path(&pod->user_ns, dir, "ns/user", err) < 0) ||
        sub_path(&pod->hosts, dir, "etc/hosts", err) < 0 ||
        sub_path(&pod->hostname, dir, "etc/hostname", err) < 0 ||
        sub_path(&pod->resolv_conf, dir, "etc/resolv.conf", err) < 0)
        return -1;
    if (own_ipc)
        return sub_path(&pod->shm, dir, "shm", err);
    if (!(pod->shm = strdup("/dev/shm")))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return 0;
}

// Cgroup of the pod's init, below the pod's (where kubelet looks for leftovers): beside those of
// its containers and named like them, in a slice as systemd would ("cri-containerd:<id>",
// containerd's getCgroupsPath). NULL: it has none.
static char *init_cgroup(const struct sandbox_record *r)
{
    static const char slice[] = ".slice";
    const char *parent = r->pod.cgroup_parent;
    char *path = NULL;
    if (!parent || !r->pod.pid_ns)
        return NULL;
    size_t len = strlen(parent), n = strlen(slice);
    bool unit = len > n && strcmp(parent + len - n, slice) == 0;
    if (asprintf(&path, unit ? "%s/cri-containerd-%s.scope" : "%s/%s", parent, r->id) < 0)
        return NULL;
    return path;
}

// Did we make the pod's cgroup? Then its limits are ours to set.
static bool owns_cgroup(const struct sandbox_record *r)
{
    for (size_t i = 0; r->pod.cgroup_parent && i < r->undo.n; i++)
        if (r->undo.steps[i].kind == UNDO_CGROUP &&
            strcmp(r->undo.steps[i].path, r->pod.cgroup_parent) == 0)
            return true;
    return false;
}

static int plan_cgroup(const struct sandbox_manager *m, struct sandbox_record *r,
                       const struct sandbox_request *q, struct error *err)
{
    const char *parent = q->config && q->config->linux_ ? q->config->linux_->cgroup_parent : "";
    if (!*parent)
        return 0;
    if (cgroup_path_from_spec(parent, &r->pod.cgroup_parent) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "linux.cgroup_parent: \"%s\" is no cgroup path and no slice name", parent);
    // A cgroup that is there already is kubelet's (or systemd's) and stays.
    bool there = !m->cgroups || cgroup_exists(m->cgroups, r->pod.cgroup_parent);
    _cleanup_free_ char *init = init_cgroup(r);
    if ((!there && undo_push_path(&r->undo, UNDO_CGROUP, r->pod.cgroup_parent) < 0) ||
        (init && undo_push_path(&r->undo, UNDO_CGROUP, init) < 0))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return 0;
}

int host_pod_plan(struct sandbox_manager *m, struct sandbox_record *r,
                  const struct sandbox_request *q, struct error *err)
{
    struct modes modes;
    if (read_modes(q, &modes, err) < 0 || read_users(q, &r->pod.ids, err) < 0 ||
        check_network(q, &modes, err) < 0 || check_config(q->config, &modes, err) < 0 ||
        sizes_from_config(&r->sizes, q->config, err) < 0)
        return -1;
    char dir[PATH_MAX];
    if (path_format(dir, sizeof dir, "%s/%s", m->sandboxes_dir, q->id) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "state directory: path too long");
    const char *hostname = q->config && q->config->hostname ? q->config->hostname : "";
    if (plan_pod(&r->pod, dir, q, &modes, err) < 0 || plan_cgroup(m, r, q, err) < 0)
        return -1;
    if (!(r->hostname = strdup(modes.network == CRI__NAMESPACE_MODE__POD ? hostname : "")) ||
        (*q->runtime_type && !(r->pod.runtime_type = strdup(q->runtime_type))))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    // Newest first: the processes go, then the mounts that they used.
    if (undo_push_path(&r->undo, UNDO_UNMOUNT, dir) < 0 ||
        (r->pod.user_ns && undo_push_path(&r->undo, UNDO_MEMBERS, r->pod.user_ns) < 0) ||
        (r->pod.ipc_ns && undo_push_path(&r->undo, UNDO_MEMBERS, r->pod.ipc_ns) < 0) ||
        (r->pod.uts_ns && undo_push_path(&r->undo, UNDO_MEMBERS, r->pod.uts_ns) < 0) ||
        (r->pod.pid_ns && undo_push_path(&r->undo, UNDO_MEMBERS, r->pod.pid_ns) < 0))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return 0;
}

// ---- make -------------------------------------------------------------------------------------

static int write_file(int dirfd, const char *name, const struct buf *text, struct error *err)
{
    _cleanup_close_ int fd =
        openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || fchmod(fd, 0644) < 0)
        return error_errno(err, errno, "cannot make %s", name);
    for (size_t done = 0; done < text->len;) {
        ssize_t n = write(fd, text->data + done, text->len - done);
        if (n < 0)
            return error_errno(err, errno, "cannot write %s", name);
        done += (size_t)n;
    }
    return 0;
}

// Copies a file of the host; an absent one gives an empty file.
static int copy_etc(int dirfd, const char *name, const char *host_path, struct error *err)
{
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, ETC_FILE_MAX);
    char *real = realpath(host_path, NULL); // /etc/resolv.conf may be a symlink
    int e = real ? file_read_at(AT_FDCWD, real, &text) : -errno;
    free(real);
    if (e < 0 && e != -ENOENT)
        return error_errno(err, e, "cannot read the host's %s", host_path);
    return write_file(dirfd, name, &text, err);
}

// "search a b\nnameserver x\nnameserver y\noptions o\n", as containerd's parseDNSOptions writes it.
static int write_resolv_conf(int dirfd, const Cri__DNSConfig *dns, struct error *err)
{
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, ETC_FILE_MAX);
    int e = 0;
    for (size_t i = 0; i < dns->n_searches; i++)
        e |= buf_printf(&text, "%s%s", i ? " " : "search ", dns->searches[i]);
    if (dns->n_searches)
        e |= buf_printf(&text, "\n");
    for (size_t i = 0; i < dns->n_servers; i++)
        e |= buf_printf(&text, "nameserver %s\n", dns->servers[i]);
    for (size_t i = 0; i < dns->n_options; i++)
        e |= buf_printf(&text, "%s%s", i ? " " : "options ", dns->options[i]);
    if (dns->n_options)
        e |= buf_printf(&text, "\n");
    if (e)
        return error_set(err, STATUS_INVALID_ARGUMENT, "dns_config: too long");
    return write_file(dirfd, "resolv.conf", &text, err);
}

static int write_hostname(int dirfd, const char *hostname, struct error *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, ETC_FILE_MAX);
    if (!*hostname && gethostname(host, sizeof host - 1) < 0)
        return error_errno(err, errno, "gethostname");
    if (buf_printf(&text, "%s\n", *hostname ? hostname : host) < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return write_file(dirfd, "hostname", &text, err);
}

static int make_etc(const char *dir, int dirfd, const struct sandbox_record *r,
                    const Cri__PodSandboxConfig *config, struct error *err)
{
    char path[PATH_MAX];
    if (path_format(path, sizeof path, "%s/etc", dir) < 0 || mkdirat(dirfd, "etc", 0755) < 0)
        return error_errno(err, errno, "cannot make etc");
    if (mount("etc", path, "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV,
              "mode=0755,size=" ETC_SIZE ",nr_inodes=" ETC_FILES) < 0)
        return error_errno(err, errno, "cannot mount a file system for the pod's /etc files at %s",
                           path);
    _cleanup_close_ int etc = openat(dirfd, "etc", O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (etc < 0)
        return error_errno(err, errno, "cannot open etc");
    // A pod's own hostname is kept in the record only where it has its own uts namespace.
    const char *hostname = config && config->hostname ? config->hostname : r->hostname;
    if (copy_etc(etc, "hosts", "/etc/hosts", err) < 0 || write_hostname(etc, hostname, err) < 0)
        return -1;
    return config && config->dns_config ? write_resolv_conf(etc, config->dns_config, err)
                                        : copy_etc(etc, "resolv.conf", "/etc/resolv.conf", err);
}

static int make_shm(int dirfd, const struct sandbox_record *r, struct error *err)
{
    if (!r->pod.ipc_ns)
        return 0; // the host's /dev/shm
    if (mkdirat(dirfd, "shm", 01777) < 0)
        return error_errno(err, errno, "cannot make shm");
    if (mount("shm", r->pod.shm, "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV,
              "mode=1777,size=" SHM_SIZE) < 0)
        return error_errno(err, errno, "cannot mount the pod's /dev/shm at %s", r->pod.shm);
    return 0;
}

static bool given(const Cri__PodSandboxConfig *config, const char *name)
{
    for (size_t i = 0; config && config->linux_ && i < config->linux_->n_sysctls; i++)
        if (strcmp(config->linux_->sysctls[i]->key, name) == 0)
            return true;
    return false;
}

// The pod's sysctls and, in a network of its own, containerd's defaults that the pod does not set.
// (Users of the pod's own do not get the range of groups: most of it is not mapped to anybody.)
static size_t collect_sysctls(const struct sandbox_manager *m, const struct sandbox_record *r,
                              const Cri__PodSandboxConfig *config,
                              struct sysctl out[SYSCTLS_MAX + 2])
{
    static const char ports[] = "net.ipv4.ip_unprivileged_port_start";
    static const char ping[] = "net.ipv4.ping_group_range";
    size_t n = 0;
    if (r->pod.net_ns && m->config->unprivileged_ports && !given(config, ports))
        out[n++] = (struct sysctl){ports, "0"};
    if (r->pod.net_ns && !r->pod.user_ns && m->config->unprivileged_icmp && !given(config, ping))
        out[n++] = (struct sysctl){ping, "0 2147483647"};
    for (size_t i = 0; config && config->linux_ && i < config->linux_->n_sysctls; i++)
        out[n++] =
            (struct sysctl){config->linux_->sysctls[i]->key, config->linux_->sysctls[i]->value};
    return n;
}

static int make_namespaces(struct sandbox_manager *m, const struct sandbox_record *r,
                           const struct sandbox_request *q, const char *dir,
                           struct sandbox_made *made, struct error *err)
{
    char ns_dir[PATH_MAX];
    struct sysctl sysctls[SYSCTLS_MAX + 2];
    if (path_format(ns_dir, sizeof ns_dir, "%s/ns", dir) < 0 || mkdir(ns_dir, 0700) < 0)
        return error_errno(err, errno, "cannot make %s/ns", dir);
    struct namespace_plan plan = {
        .dir = ns_dir,
        .ipc = r->pod.ipc_ns != NULL,
        .uts = r->pod.uts_ns != NULL,
        .pid = r->pod.pid_ns != NULL,
        .netns = q->netns,
        .users = r->pod.user_ns ? &r->pod.ids : NULL,
        .hostname = r->hostname,
        .sysctls = sysctls,
        .n_sysctls = collect_sysctls(m, r, q->config, sysctls),
        .init_path = m->config->init_program,
        .init_name = "kuasar-pod-init",
    };
    return namespace_plan_run(&plan, &made->init, err);
}

static int set_limits(const struct sandbox_manager *m, const struct sandbox_record *r,
                      const struct sandbox_sizes *sizes, struct error *err)
{
    const struct cgroup_limits limits = sizes_limits(sizes);
    return owns_cgroup(r) ? cgroup_limits_set(m->cgroups, r->pod.cgroup_parent, &limits, err) : 0;
}

// Makes the pod's cgroup and, where the pod has an init, the init's, and moves it there: it is the
// pod's memory, and must not go when a service manager ends ours.
static int make_cgroups(const struct sandbox_manager *m, const struct sandbox_record *r,
                        const struct process_id *pod_init, struct error *err)
{
    const struct cgroup_host *host = m->cgroups;
    bool created;
    if (!r->pod.cgroup_parent)
        return 0;
    _cleanup_free_ char *init = init_cgroup(r);
    int e = host ? cgroup_make(host, r->pod.cgroup_parent, &created) : -ENODEV;
    if (e == 0 && init)
        e = cgroup_make(host, init, &created);
    if (e == 0 && init)
        e = cgroup_attach(host, init, pod_init->pid);
    if (e < 0)
        return error_errno(err, e, "cannot make the pod's cgroup %s", r->pod.cgroup_parent);
    return set_limits(m, r, &r->sizes, err);
}

int host_pod_make(struct sandbox_manager *m, const struct sandbox_record *r,
                  const struct sandbox_request *q, struct sandbox_made *made, struct error *err)
{
    char dir[PATH_MAX];
    umask(0);
    if (path_format(dir, sizeof dir, "%s/%s", m->sandboxes_dir, r->id) < 0)
        return error_set(err, STATUS_INTERNAL, "state directory: path too long");
    _cleanup_close_ int dirfd = open(dir, O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dirfd < 0)
        return error_errno(err, errno, "cannot open %s", dir);
    if (make_etc(dir, dirfd, r, q->config, err) < 0 || make_shm(dirfd, r, err) < 0 ||
        make_namespaces(m, r, q, dir, made, err) < 0 || make_cgroups(m, r, &made->init, err) < 0)
        return -1;
    return pod_store(&r->pod, dir, err);
}

// ---- resize -----------------------------------------------------------------------------------

int host_pod_resize(struct sandbox_manager *m, const struct sandbox_record *r,
                    const struct sandbox_sizes *sizes, struct error *err)
{
    if (owns_cgroup(r) && sizes->beyond)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: not for a pod as a whole; set it for its containers", sizes->beyond);
    return set_limits(m, r, sizes, err);
}

// ---- check ------------------------------------------------------------------------------------

static int check_pin(const char *path, const char *kind, struct error *err)
{
    return path ? namespace_check(path, kind, err) : 0;
}

int host_pod_check(struct sandbox_manager *m, const struct sandbox_record *r, struct error *err)
{
    (void)m;
    if (check_pin(r->pod.net_ns, "net", err) < 0 || check_pin(r->pod.ipc_ns, "ipc", err) < 0 ||
        check_pin(r->pod.uts_ns, "uts", err) < 0 || check_pin(r->pod.user_ns, "user", err) < 0)
        return -1;
    if (r->pod.pid_ns && !process_alive(&r->init))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "the init of the shared pid namespace (pid %d) is gone", r->init.pid);
    return 0;
}
