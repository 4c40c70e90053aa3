// Where a container of an OCI runtime goes, by its spec, its pod and what runs on the node.
#include "support.h"

#include "oci/spec.h"
#include "task/oci_internal.h"

#define SLICE "kubepods-besteffort-podx.slice"
#define UNIT  SLICE ":cri-containerd:c1"
#define WHERE "/kubepods.slice/kubepods-besteffort.slice/" SLICE

// A task whose containerd asks for systemd's driver or not, opened with this spec and parent.
struct placed {
    json_object *spec;
    struct task *task;
    struct error err;
    int result;
};

static struct placed place(struct node *n, bool driver, const char *cgroups_path,
                           const char *parent)
{
    struct placed p = {.spec = json_object_new_object()};
    json_object *lin = json_object_new_object();
    json_object_object_add(p.spec, "linux", lin);
    if (cgroups_path)
        json_object_object_add(lin, "cgroupsPath", json_object_new_string(cgroups_path));
    Options__RuncOptions o = OPTIONS__RUNC_OPTIONS__INIT;
    Google__Any options = GOOGLE__ANY__INIT;
    o.systemd_cgroup = driver;
    cr_assert_eq(any_pack(&options, ANY_RUNC_OPTIONS, &o.base), 0);
    const struct pod pod = {.cgroup_parent = (char *)parent};
    p.task = task_new(n->server, "ns", "c1", "/b");
    p.result = task_oci_ops.open(p.task, &options, parent ? &pod : NULL, p.spec, &p.err);
    any_clear(&options);
    return p;
}

static void placed_done(struct placed *p)
{
    task_unref(p->task);
    json_object_put(p->spec);
}

static bool asks_systemd(const struct placed *p)
{
    return ((const struct oci_task *)p->task->engine)->rt.systemd_cgroup;
}

Test(oci_cgroup, without_systemd_a_unit_is_where_systemd_would_put_it)
{
    struct node *n = node_new(&task_oci_ops);
    static const struct {
        const char *said, *parent, *path;
    } rows[] = {
        {UNIT, WHERE, WHERE "/cri-containerd-c1.scope"},
        {UNIT, NULL, WHERE "/cri-containerd-c1.scope"},
        {"a.slice:x:b.slice", "/a.slice", "/a.slice/b.slice"},
        // The parent is where the pod is, not where its name says.
        {UNIT, "/elsewhere/" SLICE, "/elsewhere/" SLICE "/cri-containerd-c1.scope"},
        // A unit of another slice than the pod's was meant so.
        {"b.slice:x:c1", "/a.slice", "/b.slice/x-c1.scope"},
        {"/kubepods/podx/c1", "/kubepods/podx", "/kubepods/podx/c1"},
        {"/a:b/c1", NULL, "/a:b/c1"},
    };
    n->server->systemd = false;
    for (int driver = 0; driver < 2; driver++)
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
            struct placed p = place(n, driver, rows[i].said, rows[i].parent);
            cr_assert_eq(p.result, 0, "%s: %s", rows[i].said, p.err.text);
            cr_expect_not(asks_systemd(&p));
            cr_expect_str_eq(oci_spec_cgroups_path(p.spec), rows[i].path);
            cr_expect(p.task->cgroup && strcmp(p.task->cgroup, rows[i].path) == 0);
            placed_done(&p);
        }
    node_free(n);
}

Test(oci_cgroup, with_systemd_the_runtime_asks_it_if_containerd_says_so)
{
    struct node *n = node_new(&task_oci_ops);
    n->server->systemd = true;
    struct placed p = place(n, true, UNIT, WHERE);
    cr_assert_eq(p.result, 0, "%s", p.err.text);
    cr_expect(asks_systemd(&p));
    cr_expect_str_eq(oci_spec_cgroups_path(p.spec), UNIT);
    cr_expect_null(p.task->cgroup, "it is known when there is a process");
    placed_done(&p);
    // A runtime that was not told to ask takes paths only.
    p = place(n, false, UNIT, WHERE);
    cr_assert_eq(p.result, 0, "%s", p.err.text);
    cr_expect_not(asks_systemd(&p));
    cr_expect_str_eq(oci_spec_cgroups_path(p.spec), WHERE "/cri-containerd-c1.scope");
    placed_done(&p);
    node_free(n);
}

Test(oci_cgroup, what_is_no_unit_is_refused_by_its_name)
{
    struct node *n = node_new(&task_oci_ops);
    static const char *const rows[] = {"a.slice:b", "a.slice:b:", "a-.slice:b:c", "a.slice:b:../c",
                                       "a/b.slice:c:d"};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct placed p = place(n, false, rows[i], "/a.slice");
        cr_expect_eq(p.result, -1, "%s", rows[i]);
        cr_expect_eq(p.err.status, STATUS_INVALID_ARGUMENT);
        cr_expect(strstr(p.err.text, "linux.cgroupsPath") && strstr(p.err.text, rows[i]), "%s",
                  p.err.text);
        placed_done(&p);
    }
    node_free(n);
}

Test(oci_cgroup, what_a_spec_leaves_open_stays_so)
{
    struct node *n = node_new(&task_oci_ops);
    static const char *const rows[] = {NULL, "", "relative/path"};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct placed p = place(n, false, rows[i], "/a.slice");
        const char *now = oci_spec_cgroups_path(p.spec);
        cr_expect_eq(p.result, 0, "%s", p.err.text);
        cr_expect(rows[i] ? now && strcmp(now, rows[i]) == 0 : !now);
        cr_expect_null(p.task->cgroup);
        placed_done(&p);
    }
    node_free(n);
}
