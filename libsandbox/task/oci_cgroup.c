// Which cgroup a container of an OCI runtime is in: before there is one by its spec, afterwards by
// its init.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/ident.h"
#include "oci/spec.h"
#include "task/oci_internal.h"

bool oci_cgroup_is_containers(const struct cgroup_host *h, const char *path)
{
    _cleanup_free_ char *own = NULL;
    size_t len = strlen(path);
    while (len && path[len - 1] == '/')
        len--;
    if (!len || ident_path_check(path, "cgroup", NULL) < 0 ||
        cgroup_of_process(h, getpid(), &own) < 0)
        return false;
    return strncmp(own, path, len) != 0 || (own[len] && own[len] != '/');
}

// Where a unit goes. A pod whose parent is "/x/a.slice" has its containers below that, although the
// unit says no more than "a.slice". Returns 0 or a negative errno.
static int unit_path(const char *unit, const struct pod *pod, char **ret)
{
    _cleanup_free_ char *path = NULL;
    int r = cgroup_path_from_spec(unit, &path);
    if (r < 0)
        return r;
    const char *parent = pod ? pod->cgroup_parent : NULL;
    const char *slice = parent ? strrchr(parent, '/') : NULL;
    size_t n = strcspn(unit, ":");
    if (!slice || strlen(slice + 1) != n || memcmp(slice + 1, unit, n) != 0) {
        *ret = take_ptr(path);
        return 0;
    }
    return asprintf(ret, "%s%s", parent, strrchr(path, '/')) < 0 ? -ENOMEM : 0;
}

int oci_cgroup_place(struct task *t, const struct pod *pod, json_object *spec, struct error *err)
{
    const struct oci_task *e = t->engine;
    const char *said = oci_spec_cgroups_path(spec);
    _cleanup_free_ char *path = NULL;
    if (e->rt.systemd_cgroup || !said || !*said)
        return 0;
    int r = 0;
    if (strchr(said, ':') && said[0] != '/') {
        r = unit_path(said, pod, &path);
        if (r == -EINVAL)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "linux.cgroupsPath: \"%s\" is neither a path nor slice:prefix:name",
                             said);
        if (r == 0)
            r = oci_spec_set_cgroups_path(spec, path);
    } else if (said[0] == '/') {
        path = strdup(said);
        r = path ? 0 : -ENOMEM;
    }
    if (r < 0)
        return error_errno(err, r, "container %s", t->id);
    if (path && oci_cgroup_is_containers(t->server->cgroups, path))
        t->cgroup = take_ptr(path);
    return 0;
}

void oci_cgroup_find(struct task *t)
{
    const struct cgroup_host *h = t->server->cgroups;
    _cleanup_free_ char *found = NULL;
    // A process that has just ended may already be shown in the root.
    if (t->init.pid.start_time && cgroup_of_process(h, t->init.pid.pid, &found) == 0 &&
        oci_cgroup_is_containers(h, found)) {
        free(t->cgroup);
        t->cgroup = take_ptr(found);
    }
}
