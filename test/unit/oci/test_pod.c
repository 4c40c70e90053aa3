#include "oci/pod.h"

#include "oci_test.h"

#define GOOD                                                                                       \
    "{\"version\":1,\"id\":\"p1\",\"pid_mode\":\"pod\",\"namespaces\":{\"pid\":\"/run/p/pid\"}}"

// A pod with a user namespace and these ids.
#define USERS(ids)                                                                                 \
    "{\"version\":1,\"id\":\"p\",\"pid_mode\":\"node\",\"namespaces\":{\"user\":\"/"               \
    "u\"},\"ids\":" ids "}"

static struct pod sample(void)
{
    return (struct pod){
        .id = LENT("6d7b2c1a9f00"),
        .runtime_type = LENT("io.containerd.kuasar-x.v2"),
        .pid_mode = POD_PID_POD,
        .net_ns = LENT("/run/netns/cni-1"),
        .uts_ns = LENT("/run/k/p/ns/uts"),
        .pid_ns = LENT("/run/k/p/ns/pid"),
        .hosts = LENT("/run/k/p/h\"o\\s\xc3\xa9ts"),
        .shm = LENT("/run/k/p/shm"),
        .cgroup_parent = LENT("kubepods-pod1.slice"),
    };
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

Test(pod, what_is_stored_is_loaded)
{
    char dir[64], path[128];
    make_dir(dir);
    struct pod in = sample(), out = {0};
    struct error err = {0};
    cr_assert_eq(pod_store(&in, dir, &err), 0, "%s", err.text);
    cr_assert_eq(pod_load(&out, dir, &err), 0, "%s", err.text);
    cr_expect_eq(out.pid_mode, in.pid_mode);
    cr_expect(same(out.id, in.id) && same(out.runtime_type, in.runtime_type) &&
              same(out.net_ns, in.net_ns) && same(out.ipc_ns, NULL) &&
              same(out.uts_ns, in.uts_ns) && same(out.pid_ns, in.pid_ns) &&
              same(out.user_ns, NULL) && same(out.hosts, in.hosts) && same(out.hostname, NULL) &&
              same(out.resolv_conf, NULL) && same(out.shm, in.shm) &&
              same(out.cgroup_parent, in.cgroup_parent));
    pod_done(&out);
    cr_expect_null(out.id);
    pod_done(&out);

    struct stat st;
    snprintf(path, sizeof path, "%s/" POD_FILE, dir);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0600u);
    remove_dir(dir);
}

Test(pod, every_mode_and_every_field_survives)
{
    struct pod in = {
        .id = LENT("p"),
        .net_ns = LENT("/1"),
        .ipc_ns = LENT("/2"),
        .uts_ns = LENT("/3"),
        .user_ns = LENT("/4"),
        .ids = {{0, 100000, 65536}, {0, 4294901759, 65536}},
        .hosts = LENT("/5"),
        .hostname = LENT("/6"),
        .resolv_conf = LENT("/7"),
        .shm = LENT("/8"),
        .cgroup_parent = LENT("/9"),
    };
    char dir[64];
    make_dir(dir);
    for (enum pod_pid_mode mode = POD_PID_CONTAINER; mode <= POD_PID_NODE; mode++) {
        struct pod out = {0};
        struct error err = {0};
        in.pid_mode = mode;
        in.pid_ns = mode == POD_PID_POD ? LENT("/10") : NULL;
        cr_assert_eq(pod_store(&in, dir, &err), 0, "%s", err.text);
        cr_assert_eq(pod_load(&out, dir, &err), 0, "%s", err.text);
        cr_expect_eq(out.pid_mode, mode);
        cr_expect(same(out.net_ns, "/1") && same(out.ipc_ns, "/2") && same(out.uts_ns, "/3") &&
                  same(out.user_ns, "/4") && same(out.hosts, "/5") && same(out.hostname, "/6") &&
                  same(out.resolv_conf, "/7") && same(out.shm, "/8") &&
                  same(out.cgroup_parent, "/9") && same(out.pid_ns, in.pid_ns) &&
                  id_maps_equal(&out.ids, &in.ids));
        pod_done(&out);
    }
    remove_dir(dir);
}

Test(pod, loading_tells_absent_unknown_and_broken_apart)
{
    static const struct {
        const char *text; // NULL: no file
        enum status status;
        const char *names;
    } cases[] = {
        {NULL, STATUS_NOT_FOUND, POD_FILE},
        {GOOD, STATUS_OK, ""},
        {"{\"version\":2}", STATUS_FAILED_PRECONDITION, "version 2"},
        {"{}", STATUS_FAILED_PRECONDITION, "version 0"},
        {"{\"version\":\"1\"}", STATUS_INVALID_ARGUMENT, "version"},
        {"", STATUS_INVALID_ARGUMENT, POD_FILE},
        {"[]", STATUS_INVALID_ARGUMENT, "object"},
        {GOOD "x", STATUS_INVALID_ARGUMENT, POD_FILE},
        {"{\"version\":1,\"pid_mode\":\"node\"}", STATUS_INVALID_ARGUMENT, "id"},
        {"{\"version\":1,\"id\":\"../p\",\"pid_mode\":\"node\"}", STATUS_INVALID_ARGUMENT, "id"},
        {"{\"version\":1,\"id\":\"p\"}", STATUS_INVALID_ARGUMENT, "pid_mode"},
        {"{\"version\":1,\"id\":\"p\",\"pid_mode\":\"target\"}", STATUS_INVALID_ARGUMENT,
         "pid_mode"},
        {"{\"version\":1,\"id\":\"p\",\"pid_mode\":\"pod\"}", STATUS_INVALID_ARGUMENT,
         "namespaces.pid"},
        {"{\"version\":1,\"id\":\"p\",\"pid_mode\":\"node\",\"namespaces\":{\"pid\":\"/a\"}}",
         STATUS_INVALID_ARGUMENT, "namespaces.pid"},
        {"{\"version\":1,\"id\":\"p\",\"pid_mode\":\"node\",\"namespaces\":[]}",
         STATUS_INVALID_ARGUMENT, "namespaces"},
        {"{\"version\":1,\"id\":\"p\",\"pid_mode\":\"node\",\"namespaces\":{\"network\":1}}",
         STATUS_INVALID_ARGUMENT, "network"},
        {USERS("{\"uid\":[0,1000,10],\"gid\":[0,1000,10]}"), STATUS_OK, ""},
        {USERS("{\"uid\":[0,1000,10]}"), STATUS_INVALID_ARGUMENT, "ids.gid"},
        {USERS("{}"), STATUS_INVALID_ARGUMENT, "ids.uid"},
        {USERS("[]"), STATUS_INVALID_ARGUMENT, "ids"},
        {USERS("{\"uid\":{},\"gid\":[0,1000,10]}"), STATUS_INVALID_ARGUMENT, "uid"},
        {USERS("{\"uid\":[0,1000],\"gid\":[0,1000,10]}"), STATUS_INVALID_ARGUMENT, "uid"},
        {USERS("{\"uid\":[0,1000,0],\"gid\":[0,1000,10]}"), STATUS_INVALID_ARGUMENT, "ids.uid"},
        {USERS("{\"uid\":[0,\"1\",1],\"gid\":[0,1,10]}"), STATUS_INVALID_ARGUMENT, "uid"},
        {USERS("{\"uid\":[0,-1,1],\"gid\":[0,1,10]}"), STATUS_INVALID_ARGUMENT, "uid"},
        {USERS("{\"uid\":[0,4294967296,1],\"gid\":[0,1,10]}"), STATUS_INVALID_ARGUMENT, "uid"},
        {USERS("{\"uid\":[0,4294967295,1],\"gid\":[0,1,10]}"), STATUS_INVALID_ARGUMENT, "uid"},
        {"{\"version\":1,\"id\":\"p\",\"pid_mode\":\"node\",\"ids\":{\"uid\":[0,1,1]}}",
         STATUS_INVALID_ARGUMENT, "ids.uid"},
        {"{\"version\":1,\"id\":\"p\",\"pid_mode\":\"node\",\"files\":{\"shm\":\"shm\"}}",
         STATUS_INVALID_ARGUMENT, "files.shm"},
        {"{\"version\":1,\"id\":\"p\",\"pid_mode\":\"node\",\"files\":{\"hosts\":\"/a/../b\"}}",
         STATUS_INVALID_ARGUMENT, "files.hosts"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char dir[64];
        make_dir(dir);
        if (cases[i].text)
            write_file(dir, POD_FILE, cases[i].text, 0600);
        char untouched[] = "untouched";
        struct pod pod = {.id = untouched};
        struct error err = {0};
        cr_expect_eq(pod_load(&pod, dir, &err), cases[i].status == STATUS_OK ? 0 : -1, "%zu", i);
        cr_expect_eq(err.status, cases[i].status, "%zu: %s", i, err.text);
        cr_expect_not_null(strstr(err.text, cases[i].names), "%zu: %s", i, err.text);
        if (cases[i].status == STATUS_OK)
            pod_done(&pod);
        else
            cr_expect_eq(pod.id, untouched);
        remove_dir(dir);
    }
}

Test(pod, a_file_over_the_limit_is_refused)
{
    char dir[64];
    make_dir(dir);
    char *text = malloc(POD_SIZE_MAX + 2);
    memset(text, ' ', POD_SIZE_MAX + 1);
    text[POD_SIZE_MAX + 1] = '\0';
    write_file(dir, POD_FILE, text, 0600);
    struct pod pod = {0};
    struct error err = {0};
    cr_expect_eq(pod_load(&pod, dir, &err), -1);
    free(text);
    remove_dir(dir);
}

Test(pod, storing_refuses_what_loading_would)
{
    char dir[64], path[128];
    make_dir(dir);
    snprintf(path, sizeof path, "%s/" POD_FILE, dir);
    struct error err = {0};
    struct pod pod = sample();
    pod.id = LENT("a/b");
    cr_expect_eq(pod_store(&pod, dir, &err), -1);
    cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
    pod = sample();
    pod.pid_ns = NULL;
    cr_expect_eq(pod_store(&pod, dir, &err), -1);
    pod = sample();
    pod.net_ns = LENT("relative");
    cr_expect_eq(pod_store(&pod, dir, &err), -1);
    pod = sample();
    pod.pid_mode = (enum pod_pid_mode)9;
    cr_expect_eq(pod_store(&pod, dir, &err), -1);
    cr_expect_eq(access(path, F_OK), -1);
    remove_dir(dir);
    pod = sample();
    cr_expect_eq(pod_store(&pod, dir, &err), -1);
    cr_expect_eq(err.status, STATUS_NOT_FOUND);
}
