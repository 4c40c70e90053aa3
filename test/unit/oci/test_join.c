#include "oci_test.h"

static struct pod full_pod(void)
{
    return (struct pod){
        .id = LENT("6d7b2c1a9f00"),
        .net_ns = LENT("/run/netns/cni-1"),
        .ipc_ns = LENT("/run/k/p/ns/ipc"),
        .uts_ns = LENT("/run/k/p/ns/uts"),
        .hosts = LENT("/run/k/p/hosts"),
        .hostname = LENT("/run/k/p/hostname"),
        .resolv_conf = LENT("/run/k/p/resolv.conf"),
        .shm = LENT("/run/k/p/shm"),
    };
}

// A spec with one namespace entry and the given mounts.
static json_object *small_spec(const char *namespaces, const char *mounts, bool readonly)
{
    char text[2048];
    snprintf(text, sizeof text,
             "{\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"},\"hostname\":\"h\",\"domainname\":"
             "\"d\",\"root\":{\"path\":\"rootfs\",\"readonly\":%s},\"mounts\":[%s],\"linux\":{"
             "\"namespaces\":[%s]}}",
             readonly ? "true" : "false", mounts, namespaces);
    return parse_text(text);
}

static void join(json_object *spec, const struct pod *pod)
{
    struct error err = {0};
    cr_assert_eq(oci_spec_join_pod(spec, pod, &err), 0, "%s", err.text);
}

static const char *string_of(json_object *obj, const char *key)
{
    const char *value = NULL;
    cr_assert_eq(json_get_string(obj, key, &value, NULL), 0);
    return value;
}

// The only element of an array in which key has the value; NULL if there is none.
static json_object *find(json_object *array, const char *key, const char *value)
{
    json_object *found = NULL;
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        json_object *item = json_object_array_get_idx(array, i);
        if (strcmp(string_of(item, key), value) != 0)
            continue;
        cr_assert_null(found, "%s %s twice", key, value);
        found = item;
    }
    return found;
}

static json_object *namespaces_of(json_object *spec)
{
    return json_object_object_get(json_object_object_get(spec, "linux"), "namespaces");
}

static json_object *namespace_of(json_object *spec, const char *type)
{
    return find(namespaces_of(spec), "type", type);
}

static json_object *mount_of(json_object *spec, const char *destination)
{
    return find(json_object_object_get(spec, "mounts"), "destination", destination);
}

static const char *path_of(json_object *spec, const char *type)
{
    json_object *ns = namespace_of(spec, type);
    return ns ? string_of(ns, "path") : "(dropped)";
}

static void expect_bind(json_object *mount, const char *source, const char *options)
{
    cr_assert_not_null(mount);
    cr_expect_str_eq(string_of(mount, "type"), "bind");
    cr_expect_str_eq(string_of(mount, "source"), source);
    cr_expect_str_eq(json_text(json_object_object_get(mount, "options")), options);
}

Test(join, containerds_spec_becomes_a_member_and_keeps_the_rest)
{
    json_object *spec = parse_sample(), *before = parse_sample();
    struct pod pod = full_pod();
    join(spec, &pod);

    cr_expect_str_eq(path_of(spec, "network"), pod.net_ns);
    cr_expect_str_eq(path_of(spec, "ipc"), pod.ipc_ns);
    cr_expect_str_eq(path_of(spec, "uts"), pod.uts_ns);
    cr_expect_null(path_of(spec, "pid"), "its own");
    cr_expect_not_null(namespace_of(spec, "time"));
    cr_expect_eq(json_object_array_length(namespaces_of(spec)), 7u);
    expect_bind(mount_of(spec, "/etc/hosts"), pod.hosts, "[\"rbind\",\"rprivate\",\"rw\"]");
    expect_bind(mount_of(spec, "/etc/hostname"), pod.hostname, "[\"rbind\",\"rprivate\",\"rw\"]");
    expect_bind(mount_of(spec, "/etc/resolv.conf"), pod.resolv_conf,
                "[\"rbind\",\"rprivate\",\"rw\"]");
    expect_bind(mount_of(spec, "/dev/shm"), pod.shm, "[\"rbind\",\"rprivate\",\"rw\"]");
    cr_expect_str_eq(string_of(spec, "hostname"), "web-0");

    // Put the two lists back: nothing else may differ.
    json_object *mounts = json_object_object_get(before, "mounts");
    json_object_object_add(spec, "mounts", json_object_get(mounts));
    json_object_object_add(json_object_object_get(spec, "linux"), "namespaces",
                           json_object_get(namespaces_of(before)));
    cr_expect_str_eq(json_text(spec), json_text(before));
    json_object_put(spec);
    json_object_put(before);
}

// The path in config.json is whatever containerd made of the pid it believes in; only the record
// says where the pod is.
Test(join, any_path_is_replaced_not_only_that_of_pid_0)
{
    static const char *const old[] = {
        "",
        ",\"path\":\"\"",
        ",\"path\":\"/proc/0/ns/x\"",
        ",\"path\":\"/proc/4711/ns/x\"",
        ",\"path\":\"/var/run/netns/other\"",
    };
    static const char *const types[] = {"network", "ipc", "uts", "user"};
    struct pod pod = full_pod();
    pod.user_ns = LENT("/run/k/p/ns/user");
    const char *const want[] = {pod.net_ns, pod.ipc_ns, pod.uts_ns, pod.user_ns};
    for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
        for (size_t i = 0; i < ARRAY_SIZE(old); i++) {
            char entry[128];
            snprintf(entry, sizeof entry, "{\"type\":\"%s\"%s,\"x\":1}", types[t], old[i]);
            json_object *spec = small_spec(entry, "", false);
            join(spec, &pod);
            cr_expect_str_eq(path_of(spec, types[t]), want[t], "%s", entry);
            cr_expect_not_null(json_object_object_get(namespace_of(spec, types[t]), "x"));
            json_object_put(spec);
        }
    }
}

Test(join, a_namespace_that_is_missing_is_added)
{
    struct pod pod = full_pod();
    json_object *spec = small_spec("{\"type\":\"mount\"}", "", false);
    join(spec, &pod);
    cr_expect_str_eq(path_of(spec, "network"), pod.net_ns);
    cr_expect_str_eq(path_of(spec, "ipc"), pod.ipc_ns);
    cr_expect_str_eq(path_of(spec, "uts"), pod.uts_ns);
    cr_expect_null(namespace_of(spec, "user"));
    json_object_put(spec);
}

Test(join, the_hosts_namespaces_are_dropped_with_the_names)
{
    struct pod pod = {.id = LENT("p")};
    json_object *spec = small_spec("{\"type\":\"network\",\"path\":\"/proc/0/ns/net\"},"
                                   "{\"type\":\"ipc\",\"path\":\"/proc/0/ns/ipc\"},"
                                   "{\"type\":\"uts\",\"path\":\"/proc/0/ns/uts\"},"
                                   "{\"type\":\"mount\"}",
                                   "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\"}", false);
    join(spec, &pod);
    cr_expect_eq(json_object_array_length(namespaces_of(spec)), 1u);
    cr_expect_not(json_object_object_get_ex(spec, "hostname", NULL));
    cr_expect_not(json_object_object_get_ex(spec, "domainname", NULL));
    cr_expect_str_eq(string_of(mount_of(spec, "/dev/shm"), "type"), "tmpfs");
    cr_expect_eq(json_object_array_length(json_object_object_get(spec, "mounts")), 1u);
    json_object_put(spec);
}

Test(join, pid_modes)
{
    static const struct {
        enum pod_pid_mode mode;
        const char *old, *want; // want NULL: an entry without a path
    } cases[] = {
        {POD_PID_POD, ",\"path\":\"/proc/0/ns/pid\"", "/run/k/p/ns/pid"},
        {POD_PID_NODE, ",\"path\":\"/proc/0/ns/pid\"", "(dropped)"},
        {POD_PID_CONTAINER, ",\"path\":\"/proc/0/ns/pid\"", NULL},
        {POD_PID_POD, ",\"path\":\"/proc/77/ns/pid\"", "/proc/77/ns/pid"},
        {POD_PID_NODE, ",\"path\":\"/proc/77/ns/pid\"", "/proc/77/ns/pid"},
        {POD_PID_CONTAINER, ",\"path\":\"/proc/77/ns/pid\"", "/proc/77/ns/pid"},
        {POD_PID_POD, "", NULL},
        {POD_PID_NODE, "", NULL},
        {POD_PID_CONTAINER, "", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct pod pod = full_pod();
        pod.pid_mode = cases[i].mode;
        pod.pid_ns = cases[i].mode == POD_PID_POD ? LENT("/run/k/p/ns/pid") : NULL;
        char entry[128];
        snprintf(entry, sizeof entry, "{\"type\":\"pid\"%s}", cases[i].old);
        json_object *spec = small_spec(entry, "", false);
        join(spec, &pod);
        const char *got = path_of(spec, "pid");
        cr_expect(got == cases[i].want || (got && cases[i].want && !strcmp(got, cases[i].want)),
                  "case %zu: %s", i, got ? got : "(own)");
        json_object_put(spec);
    }
}

// Dropping the entry would make the container's root the host's root.
Test(join, a_user_namespace_is_never_dropped)
{
    struct pod pod = full_pod();
    json_object *spec =
        small_spec("{\"type\":\"ipc\"},{\"type\":\"user\",\"path\":\"/proc/0/ns/user\"}",
                   "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\"}", false);
    json_object *before = NULL;
    cr_assert_eq(json_object_deep_copy(spec, &before, NULL), 0);
    struct error err = {0};
    cr_expect_eq(oci_spec_join_pod(spec, &pod, &err), -1);
    cr_expect_eq(err.status, STATUS_FAILED_PRECONDITION);
    cr_expect_not_null(strstr(err.text, "user"));
    cr_expect_str_eq(json_text(spec), json_text(before), "changed though refused");
    json_object_put(spec);
    json_object_put(before);
}

Test(join, files_of_a_pod_with_a_user_namespace_carry_its_mappings)
{
    json_object *spec = parse_sample();
    struct pod pod = full_pod();
    pod.user_ns = LENT("/run/k/p/ns/user");
    pod.ids = (struct id_maps){{0, 70000, 65536}, {0, 4294901759, 65536}};
    struct error err = {0};
    cr_expect_eq(oci_spec_join_pod(spec, &pod, &err), -1, "others than the namespace has");
    cr_expect(err.status == STATUS_INVALID_ARGUMENT && strstr(err.text, "linux.uidMappings"), "%s",
              err.text);
    json_object_object_del(json_object_object_get(spec, "linux"), "uidMappings");
    json_object_object_del(json_object_object_get(spec, "linux"), "gidMappings");
    join(spec, &pod);
    static const char *const files[] = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        json_object *mount = mount_of(spec, files[i]);
        cr_expect_str_eq(json_text(json_object_object_get(mount, "uidMappings")),
                         "[{\"containerID\":0,\"hostID\":70000,\"size\":65536}]");
        cr_expect_str_eq(json_text(json_object_object_get(mount, "gidMappings")),
                         "[{\"containerID\":0,\"hostID\":4294901759,\"size\":65536}]");
    }
    cr_expect_not(json_object_object_get_ex(mount_of(spec, "/dev/shm"), "uidMappings", NULL));
    cr_expect_str_eq(path_of(spec, "user"), pod.user_ns);
    // Said, too, where they were not.
    json_object *lin = json_object_object_get(spec, "linux");
    cr_expect_str_eq(json_text(json_object_object_get(lin, "uidMappings")),
                     "[{\"containerID\":0,\"hostID\":70000,\"size\":65536}]");
    cr_expect_str_eq(json_text(json_object_object_get(lin, "gidMappings")),
                     "[{\"containerID\":0,\"hostID\":4294901759,\"size\":65536}]");
    json_object_put(spec);

    spec = parse_sample();
    pod.user_ns = NULL;
    join(spec, &pod);
    cr_expect_not(json_object_object_get_ex(mount_of(spec, "/etc/hosts"), "uidMappings", NULL));
    json_object_put(spec);
}

// sysfs belongs to whom the network belongs to.
Test(join, sysfs_is_the_hosts_where_a_user_namespace_has_the_hosts_network)
{
    static const char sys[] = "{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\"},"
                              "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\"}";
    for (int net = 0; net < 2; net++) {
        for (int user = 0; user < 2; user++) {
            struct pod pod = {.id = LENT("p")};
            if (net)
                pod.net_ns = LENT("/run/k/p/ns/net");
            if (user) {
                pod.user_ns = LENT("/run/k/p/ns/user");
                pod.ids = (struct id_maps){{0, 70000, 65536}, {0, 70000, 65536}};
            }
            json_object *spec = small_spec("", sys, false);
            join(spec, &pod);
            if (user && !net)
                expect_bind(mount_of(spec, "/sys"), "/sys",
                            "[\"rbind\",\"rprivate\",\"rro\",\"nosuid\",\"noexec\",\"nodev\"]");
            else
                cr_expect_str_eq(string_of(mount_of(spec, "/sys"), "type"), "sysfs");
            json_object *mounts = json_object_object_get(spec, "mounts");
            cr_expect_eq(json_object_array_length(mounts), 2u);
            cr_expect_str_eq(string_of(json_object_array_get_idx(mounts, 0), "destination"), "/sys",
                             "it keeps its place before what lies in it");
            json_object_put(spec);
        }
    }
}

Test(join, a_destination_that_is_taken_stays)
{
    static const char *const same[] = {
        "/etc/hosts",      "/etc/hosts/",   "//etc/./hosts",
        "/etc/x/../hosts", "/../etc/hosts", "etc/hosts",
    };
    struct pod pod = {.id = LENT("p"), .hosts = LENT("/run/k/p/hosts")};
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        char mount[256];
        snprintf(mount, sizeof mount,
                 "{\"destination\":\"%s\",\"type\":\"bind\",\"source\":\"/k\"}", same[i]);
        json_object *spec = small_spec("", mount, false);
        join(spec, &pod);
        json_object *mounts = json_object_object_get(spec, "mounts");
        cr_expect_eq(json_object_array_length(mounts), 1u, "%s", same[i]);
        json_object_put(spec);
    }
    static const char *const other[] = {"/etc/hosts.d", "/etc", "/", "/x/etc/hosts", "/etc/host"};
    for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
        char mount[256];
        snprintf(mount, sizeof mount, "{\"destination\":\"%s\"}", other[i]);
        json_object *spec = small_spec("", mount, false);
        join(spec, &pod);
        expect_bind(mount_of(spec, "/etc/hosts"), "/run/k/p/hosts",
                    "[\"rbind\",\"rprivate\",\"rw\"]");
        json_object_put(spec);
    }
}

Test(join, files_are_read_only_under_a_read_only_root)
{
    struct pod pod = full_pod();
    json_object *spec = small_spec("", "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\"}", true);
    join(spec, &pod);
    expect_bind(mount_of(spec, "/etc/hosts"), pod.hosts, "[\"rbind\",\"rprivate\",\"ro\"]");
    expect_bind(mount_of(spec, "/dev/shm"), pod.shm, "[\"rbind\",\"rprivate\",\"rw\"]");
    json_object_put(spec);
}

Test(join, shm_is_replaced_in_its_place_and_a_bind_there_stays)
{
    struct pod pod = {.id = LENT("p"), .shm = LENT("/run/k/p/shm")};
    json_object *spec = small_spec("",
                                   "{\"destination\":\"/dev\",\"type\":\"tmpfs\"},"
                                   "{\"destination\":\"/dev/shm/\",\"type\":\"tmpfs\"},"
                                   "{\"destination\":\"/dev/shm/in\",\"type\":\"bind\"}",
                                   false);
    join(spec, &pod);
    json_object *mounts = json_object_object_get(spec, "mounts");
    cr_assert_eq(json_object_array_length(mounts), 3u);
    expect_bind(json_object_array_get_idx(mounts, 1), "/run/k/p/shm",
                "[\"rbind\",\"rprivate\",\"rw\"]");
    json_object_put(spec);

    spec =
        small_spec("", "{\"destination\":\"/dev/shm\",\"type\":\"bind\",\"source\":\"/v\"}", false);
    join(spec, &pod);
    cr_expect_str_eq(string_of(mount_of(spec, "/dev/shm"), "source"), "/v");
    json_object_put(spec);
}

Test(join, joining_twice_changes_nothing_more)
{
    struct pod pod = full_pod();
    pod.pid_mode = POD_PID_POD;
    pod.pid_ns = LENT("/run/k/p/ns/pid");
    json_object *spec = parse_sample(), *once = NULL;
    join(spec, &pod);
    cr_assert_eq(json_object_deep_copy(spec, &once, NULL), 0);
    join(spec, &pod);
    cr_expect_str_eq(json_text(spec), json_text(once));
    json_object_put(spec);
    json_object_put(once);
}

Test(join, a_spec_without_mounts_gets_them)
{
    struct pod pod = full_pod();
    json_object *spec = parse_text("{\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"},\"root\":{"
                                   "\"path\":\"r\"},\"linux\":{\"namespaces\":[]}}");
    join(spec, &pod);
    cr_expect_eq(json_object_array_length(json_object_object_get(spec, "mounts")), 3u);
    json_object_put(spec);
}
