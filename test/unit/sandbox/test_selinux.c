// Which SELinux label a pod gets, with a stand-in for the host's SELinux: a directory with the
// files that are read of selinuxfs and of a policy.
#include "rig.h"

#include "sandbox/selinux.h"

TestSuite(selinux, .timeout = 60);

static struct error err;
static char fs[96], etc[96];
static const struct selinux_places places = {.fs = fs, .etc = etc};

static struct rig *host(const char *process)
{
    struct rig *r = rig_new();
    char line[512];
    snprintf(fs, sizeof fs, "%s/fs", r->dir);
    snprintf(etc, sizeof etc, "%s/etc", r->dir);
    cr_assert_eq(file_mkdir_all(fs, 0755), 0);
    cr_assert_eq(file_mkdir_all(rig_path(r, "etc/strict/contexts"), 0755), 0);
    rig_write(r, "etc/config",
              "# SELINUXTYPE=other\nSELINUX=enforcing\n SELINUXTYPE=x\nSELINUXTYPE=strict \n");
    snprintf(line, sizeof line,
             "file = \"system_u:object_r:container_file_t:s0\"\nprocess = \"%s\"\n", process);
    rig_write(r, "etc/strict/contexts/lxc_contexts", line);
    rig_write(r, "fs/enforce", "1");
    return r;
}

static const char *label_of(const struct sandbox_record *record)
{
    json_object *label = NULL;
    return record->labels && json_object_object_get_ex(record->labels, SELINUX_LABEL, &label)
               ? json_object_get_string(label)
               : NULL;
}

static int plan(struct rig *r, struct sandbox_record *record, Cri__SELinuxOption *options)
{
    Cri__LinuxSandboxSecurityContext security = CRI__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
    Cri__LinuxPodSandboxConfig linux_config = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
    Cri__PodSandboxConfig config = CRI__POD_SANDBOX_CONFIG__INIT;
    security.selinux_options = options;
    linux_config.security_context = &security;
    config.linux_ = &linux_config;
    const struct sandbox_request q = {.id = "p", .netns = "", .config = &config};
    err = (struct error){0};
    return selinux_plan(&places, &r->m, record, &q, &err);
}

// Two categories, the smaller one first, behind `head`.
static void expect_own(const char *label, const char *head)
{
    unsigned a = 0, b = 0;
    char rest = 0;
    cr_assert(label && strncmp(label, head, strlen(head)) == 0, "%s", label ? label : "none");
    cr_assert_eq(sscanf(label + strlen(head), ":c%u,c%u%c", &a, &b, &rest), 2, "%s", label);
    cr_assert(a < b && b < 1024, "%s", label);
}

Test(selinux, a_pod_has_a_level_of_its_own)
{
    struct rig *r = host("system_u:system_r:container_t:s0");
    struct sandbox_record record = {0};
    cr_assert_eq(plan(r, &record, NULL), 0, "%s", err.text);
    expect_own(label_of(&record), "system_u:system_r:container_t:s0");
    record_done(&record);
    rig_free(r);
}

// Of one pair in half a million two of a thousand pods would have the same in most runs.
Test(selinux, no_two_pods_have_the_same)
{
    struct rig *r = host("u:r:t:s0");
    struct map *seen = map_new();
    for (int i = 0; i < 1500; i++) {
        struct sandbox_record record = {.state = SANDBOX_READY};
        char id[32];
        snprintf(id, sizeof id, "pod%d", i);
        record.id = strdup(id);
        cr_assert_eq(plan(r, &record, NULL), 0, "%s", err.text);
        cr_assert_null(map_get(seen, label_of(&record)), "%s", label_of(&record));
        cr_assert_eq(map_add(seen, label_of(&record), r), 0);
        cr_assert(sandbox_adopt(&r->m, &record));
    }
    map_free(seen);
    rig_free(r);
}

Test(selinux, what_the_pod_chooses)
{
    struct rig *r = host("u:r:t:s0");
    struct sandbox_record record = {.labels = json_object_new_object()};
    Cri__SELinuxOption o = CRI__SELINUX_OPTION__INIT;
    json_object_object_add(record.labels, "app", json_object_new_string("x"));
    o.type = (char *)"spc_t";
    cr_assert_eq(plan(r, &record, &o), 0, "%s", err.text);
    expect_own(label_of(&record), "u:r:spc_t:s0");
    o.user = (char *)"me";
    o.role = (char *)"my_r";
    o.level = (char *)"s0-s3:c0.c1023,c7";
    cr_assert_eq(plan(r, &record, &o), 0, "%s", err.text);
    cr_expect_str_eq(label_of(&record), "me:my_r:spc_t:s0-s3:c0.c1023,c7");
    cr_expect_eq(json_object_object_length(record.labels), 2);
    record_done(&record);
    rig_free(r);
}

Test(selinux, what_is_no_label_is_refused)
{
    struct rig *r = host("u:r:t:s0");
    struct sandbox_record record = {0};
    Cri__SELinuxOption o = CRI__SELINUX_OPTION__INIT;
    char longest[300];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const struct {
        char **field;
        const char *value, *name;
    } bad[] = {{&o.user, "a:b", "selinux_options.user"},
               {&o.role, "r r", "selinux_options.role"},
               {&o.type, "t\n", "selinux_options.type"},
               {&o.type, longest, "selinux_options.type"},
               {&o.level, "s0:c1;", "selinux_options.level"}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char *before = *bad[i].field;
        *bad[i].field = (char *)bad[i].value;
        cr_assert_eq(plan(r, &record, &o), -1, "%s", bad[i].value);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        cr_expect(strstr(err.text, bad[i].name), "%s", err.text);
        cr_expect_null(label_of(&record));
        *bad[i].field = before;
    }
    record_done(&record);
    rig_free(r);
}

// Nobody but the daemon says what a pod's label is.
static void expect_none(struct rig *r)
{
    struct sandbox_record record = {.labels = json_object_new_object()};
    json_object_object_add(record.labels, SELINUX_LABEL, json_object_new_string("a:b:c:d"));
    cr_assert_eq(plan(r, &record, NULL), 0, "%s", err.text);
    cr_expect_null(label_of(&record));
    record_done(&record);
}

Test(selinux, where_there_is_none)
{
    struct rig *r = host("u:r:t:s0");
    unlink(rig_path(r, "fs/enforce"));
    expect_none(r);
    rig_write(r, "fs/enforce", "0"); // permissive is on
    struct sandbox_record record = {0};
    cr_assert_eq(plan(r, &record, NULL), 0, "%s", err.text);
    cr_expect(label_of(&record));
    record_done(&record);
    for (size_t i = 0; i < 4; i++) {
        rig_write(r, "etc/strict/contexts/lxc_contexts",
                  (const char *[]){"process = \"u:r:t\"\n", "process =\n", "", "process\n"}[i]);
        expect_none(r);
    }
    rig_write(r, "etc/config", "SELINUXTYPE=../strict\n");
    expect_none(r);
    unlink(rig_path(r, "etc/config")); // "targeted", which is not here
    expect_none(r);
    rig_free(r);
}
