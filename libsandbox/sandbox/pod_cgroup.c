#include "sandbox/pod_cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "linux/cgroup.h"

// Cgroup of the pod's own processes, below the pod's (where kubelet looks for leftovers): beside
// those of its containers and named like them, in a slice as systemd would ("cri-containerd:<id>",
// containerd's getCgroupsPath). NULL: it has none.
static char *process_cgroup(const struct sandbox_record *r)
{
    static const char slice[] = ".slice";
    const char *parent = r->pod.cgroup_parent;
    char *path = NULL;
    if (!parent)
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

int pod_cgroup_plan(const struct sandbox_manager *m, struct sandbox_record *r,
                    const struct sandbox_request *q, bool process, struct error *err)
{
    const char *parent = q->config && q->config->linux_ ? q->config->linux_->cgroup_parent : "";
    if (!*parent)
        return 0;
    if (cgroup_path_from_spec(parent, &r->pod.cgroup_parent) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "linux.cgroup_parent: \"%s\" is no cgroup path and no slice name", parent);
    // A cgroup that is there already is kubelet's (or systemd's) and stays.
    bool there = !m->cgroups || cgroup_exists(m->cgroups, r->pod.cgroup_parent);
    _cleanup_free_ char *own = process ? process_cgroup(r) : NULL;
    if ((!there && undo_push_path(&r->undo, UNDO_CGROUP, r->pod.cgroup_parent) < 0) ||
        (own && (undo_push_path(&r->undo, UNDO_CGROUP, own) < 0 ||
                 undo_push_path(&r->undo, UNDO_INMATES, own) < 0)))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return 0;
}

static int set_limits(const struct sandbox_manager *m, const struct sandbox_record *r,
                      const struct sandbox_sizes *sizes, struct error *err)
{
    const struct cgroup_limits limits = sizes_limits(sizes);
    return owns_cgroup(r) ? cgroup_limits_set(m->cgroups, r->pod.cgroup_parent, &limits, err) : 0;
}

int pod_cgroup_make(const struct sandbox_manager *m, const struct sandbox_record *r, pid_t process,
                    struct error *err)
{
    const struct cgroup_host *host = m->cgroups;
    bool created;
    if (!r->pod.cgroup_parent)
        return 0;
    _cleanup_free_ char *own = process ? process_cgroup(r) : NULL;
    int e = host ? cgroup_make(host, r->pod.cgroup_parent, &created) : -ENODEV;
    if (e == 0 && own)
        e = cgroup_make(host, own, &created);
    if (e == 0 && own)
        e = cgroup_attach(host, own, process);
    if (e < 0)
        return error_errno(err, e, "cannot make the pod's cgroup %s", r->pod.cgroup_parent);
    return set_limits(m, r, &r->sizes, err);
}

int pod_cgroup_resize(const struct sandbox_manager *m, const struct sandbox_record *r,
                      const struct sandbox_sizes *sizes, struct error *err)
{
    if (owns_cgroup(r) && sizes->beyond)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: not for a pod as a whole; set it for its containers", sizes->beyond);
    return set_limits(m, r, sizes, err);
}
