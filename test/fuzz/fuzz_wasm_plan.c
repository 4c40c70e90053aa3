// config.json, and the process of an exec, as a worker reads them: whatever is accepted is complete
// and within limits.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/spec.h"
#include "worker/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (256u * 1024)

static void check(bool good)
{
    if (!good)
        abort();
}

static size_t count(char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    check(n <= PLAN_STRINGS_MAX);
    return n;
}

static void check_process(const struct plan *p)
{
    check(count(p->args) > 0 && p->args[0][0]);
    (void)count(p->env);
    check(p->cwd[0] == '/');
    check(p->uid != (uid_t)-1 && p->gid != (gid_t)-1 && p->umask <= 0777);
    check(p->n_groups <= PLAN_GROUPS_MAX && p->n_rlimits <= PLAN_RLIMITS_MAX);
    check(!p->has_oom_score_adj || (p->oom_score_adj >= -1000 && p->oom_score_adj <= 1000));
    check(!p->apparmor || (strlen(p->apparmor) <= PLAN_PROFILE_MAX && !strchr(p->apparmor, '\n')));
    for (size_t i = 0; i < p->n_groups; i++)
        check(p->groups[i] != (gid_t)-1);
}

static void check_paths(char *const *paths)
{
    for (; paths && *paths; paths++)
        check((*paths)[0] == '/');
}

static void check_plan(const struct plan *p)
{
    check_process(p);
    check(strncmp(p->root, "/", 1) == 0 && p->n_mounts <= PLAN_MOUNTS_MAX);
    check_paths(p->masked);
    check_paths(p->readonly);
    for (size_t i = 0; i < p->n_mounts; i++) {
        const struct plan_mount *m = &p->mounts[i];
        check(m->destination[0] == '/' && m->spec.type && strcmp(m->spec.type, "proc") != 0);
        check(m->spec.options && count((char *const *)m->spec.options) == m->spec.n_options);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX)
        return 0;
    struct plan plan;
    struct error err = {0};
    json_object *spec = oci_spec_parse(data, size, &err);
    if (spec) {
        err = (struct error){0};
        int r = plan_make(&plan, spec, "/bundle", &err);
        check((r == 0) == (err.status == STATUS_OK));
        if (r == 0)
            check_plan(&plan);
        plan_done(&plan);
    }
    err = (struct error){0};
    int r = plan_parse_process(&plan, data, size, &err);
    check((r == 0) == (err.status == STATUS_OK));
    if (r == 0)
        check_process(&plan);
    plan_done(&plan);
    return 0;
}
