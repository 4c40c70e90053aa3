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
#include "linux/namespace.h"
#include "sandbox/pod_cgroup.h"
#include "sandbox/pod_config.h"
#include "sandbox/pod_files.h"
#include "sandbox/selinux.h"

// Size of the pod's /dev/shm (containerd: defaultShmSize).
#define SHM_SIZE "67108864"

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
                    const struct pod_modes *m, struct error *err)
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

int host_pod_plan(struct sandbox_manager *m, struct sandbox_record *r,
                  const struct sandbox_request *q, struct error *err)
{
    struct pod_modes modes;
    if (pod_modes_read(q, &modes, err) < 0 || pod_users_read(q, &r->pod.ids, err) < 0 ||
        pod_config_check(q, &modes, err) < 0 || sizes_from_config(&r->sizes, q->config, err) < 0 ||
        selinux_plan(&selinux_host, m, r, q, err) < 0)
        return -1;
    char dir[PATH_MAX];
    if (path_format(dir, sizeof dir, "%s/%s", m->sandboxes_dir, q->id) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "state directory: path too long");
    const char *hostname = q->config && q->config->hostname ? q->config->hostname : "";
    if (plan_pod(&r->pod, dir, q, &modes, err) < 0 ||
        pod_cgroup_plan(m, r, q, r->pod.pid_ns != NULL, err) < 0)
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
                              struct sysctl out[POD_SYSCTLS_MAX + 2])
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
    struct sysctl sysctls[POD_SYSCTLS_MAX + 2];
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
    if (pod_files_make(dir, dirfd, r, q->config, err) < 0 || make_shm(dirfd, r, err) < 0 ||
        make_namespaces(m, r, q, dir, made, err) < 0 ||
        pod_cgroup_make(m, r, made->init.pid, err) < 0)
        return -1;
    return pod_store(&r->pod, dir, err);
}

// ---- resize -----------------------------------------------------------------------------------

int host_pod_resize(struct sandbox_manager *m, const struct sandbox_record *r,
                    const struct sandbox_sizes *sizes, struct error *err)
{
    return pod_cgroup_resize(m, r, sizes, err);
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
