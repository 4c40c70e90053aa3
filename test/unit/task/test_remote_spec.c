// What becomes of a container's spec on its way into a virtual machine.
#include "task/remote_spec.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(remote_spec);

static struct remote_shares shares;
static struct error err;

static char *make(const char *text)
{
    _cleanup_json_ json_object *spec = json_parse(text, strlen(text), "spec", &err);
    cr_assert(spec, "%s", err.text);
    return remote_spec_make(spec, "/run/kuasar/shared/c1", "/c1", &shares, &err);
}

static void expect(const char *text, const char *want)
{
    char *got = make(text);
    cr_assert(got, "%s", err.text);
    cr_assert_str_eq(got, want);
    free(got);
}

static void expect_refused(const char *text, enum status status, const char *part)
{
    err = (struct error){0};
    cr_assert_null(make(text));
    cr_assert_eq(err.status, status, "%s", err.text);
    cr_assert_not_null(strstr(err.text, part), "%s", err.text);
    cr_assert_eq(shares.n, 0);
}

Test(remote_spec, sources_of_binds_become_shares)
{
    expect("{\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"/etc\",\"options\":"
           "[\"rbind\",\"ro\"]},{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
           "{\"destination\":\"/b\",\"source\":\"/etc/passwd\",\"options\":[\"bind\"]}]}",
           "{\"mounts\":[{\"destination\":\"/"
           "a\",\"type\":\"bind\",\"source\":\"/run/kuasar/shared/c1/m0\",\"options\":"
           "[\"rbind\"]},{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
           "{\"destination\":\"/b\",\"source\":\"/run/kuasar/shared/c1/m1\",\"options\":"
           "[\"bind\"]}]}");
    cr_assert_eq(shares.n, 2);
    cr_assert_str_eq(shares.list[0].source, "/etc");
    cr_assert_str_eq(shares.list[0].name, "m0");
    cr_assert_eq(shares.list[0].access, REMOTE_RO);
    cr_assert_eq(shares.list[1].access, REMOTE_RW);
    cr_assert_str_eq(shares.list[1].source, "/etc/passwd");
    remote_shares_done(&shares);
}

// Of mounts that are read-only with all below them the guest's is, too.
Test(remote_spec, read_only_with_all_that_is_below)
{
    expect("{\"mounts\":[{\"type\":\"bind\",\"source\":\"/etc\",\"options\":[\"rbind\",\"rro\"]},"
           "{\"type\":\"tmpfs\",\"source\":\"t\",\"options\":[\"ro\"]}]}",
           "{\"mounts\":[{\"type\":\"bind\",\"source\":\"/run/kuasar/shared/c1/m0\",\"options\":"
           "[\"rbind\",\"rro\"]},{\"type\":\"tmpfs\",\"source\":\"t\",\"options\":[\"ro\"]}]}");
    cr_assert_eq(shares.list[0].access, REMOTE_RRO);
    remote_shares_done(&shares);
}

Test(remote_spec, what_is_of_the_host_is_left_out)
{
    expect("{\"root\":{\"path\":\"/on/the/host\",\"readonly\":true}}",
           "{\"root\":{\"path\":\"rootfs\",\"readonly\":true}}");
    expect("{\"process\":{\"apparmorProfile\":\"p\",\"selinuxLabel\":\"l\",\"cwd\":\"/\"},"
           "\"linux\":{\"cgroupsPath\":\"/k8s/c1\",\"devices\":[{\"path\":\"/dev/fuse\"}],"
           "\"resources\":{\"cpu\":{\"cpus\":\"0\",\"mems\":\"0\",\"shares\":2},\"blockIO\":{},"
           "\"pids\":{\"limit\":5}},\"namespaces\":[{\"type\":\"network\",\"path\":\"/proc/1/ns/"
           "net\"},"
           "{\"type\":\"pid\",\"path\":\"/proc/0/ns/pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\","
           "\"path\":\"/x\"}]}}",
           "{\"process\":{\"cwd\":\"/\"},\"linux\":{\"cgroupsPath\":\"/c1\",\"resources\":{\"cpu\":"
           "{\"shares\":2},\"pids\":{\"limit\":5}},\"namespaces\":[{\"type\":\"pid\",\"path\":"
           "\"/proc/0/ns/pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\",\"path\":\"/"
           "x\"},{\"type\":\"cgroup\"}]}}");
}

Test(remote_spec, what_cannot_be_had_is_refused_with_the_reason)
{
    cr_assert_null(remote_share_refused(S_IFDIR | 0755));
    cr_assert_null(remote_share_refused(S_IFREG | 0644));
    cr_assert_not_null(strstr(remote_share_refused(S_IFSOCK), "a socket"));
    cr_assert_not_null(strstr(remote_share_refused(S_IFIFO), "a FIFO"));
    cr_assert_not_null(strstr(remote_share_refused(S_IFCHR), "a device of the host"));
    cr_assert_not_null(strstr(remote_share_refused(S_IFBLK), "a device of the host"));
    expect_refused("{\"mounts\":[{\"type\":\"bind\",\"source\":\"etc\"}]}", STATUS_INVALID_ARGUMENT,
                   "mounts[0]: source");
    expect_refused("{\"mounts\":[{\"type\":\"bind\"}]}", STATUS_INVALID_ARGUMENT,
                   "source: missing");
    expect_refused("{\"mounts\":[{\"type\":\"bind\",\"source\":\"/a\",\"options\":[\"rshared\"]}]}",
                   STATUS_UNIMPLEMENTED, "mounts[0]: options: rshared: ");
    expect_refused("{\"mounts\":[3]}", STATUS_INVALID_ARGUMENT, "mounts[0]");
    expect_refused("{\"mounts\":{}}", STATUS_INVALID_ARGUMENT, "mounts");
    expect_refused("{\"linux\":{\"namespaces\":[{\"type\":\"user\"}]}}", STATUS_UNIMPLEMENTED,
                   "hostUsers");
    expect_refused("{\"linux\":{\"namespaces\":[{\"type\":\"pid\",\"path\":\"/proc/7/ns/pid\"}]}}",
                   STATUS_UNIMPLEMENTED, "linux.namespaces[0]");
    expect_refused("{\"hooks\":{\"prestart\":[]}}", STATUS_UNIMPLEMENTED, "hooks");
    expect("{\"hooks\":{}}", "{\"hooks\":{}}");
}

Test(remote_spec, an_update_loses_the_numbers_of_the_host_too)
{
    static const char text[] =
        "{\"cpu\":{\"cpus\":\"0-15\",\"shares\":5},\"blockIO\":{},\"memory\":{}}";
    char *got = remote_resources_make(text, strlen(text), &err);
    cr_assert_str_eq(got, "{\"cpu\":{\"shares\":5},\"memory\":{}}");
    free(got);
    cr_assert_null(remote_resources_make("[]", 2, &err));
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT, "%s", err.text);
}

Test(remote_spec, there_is_a_limit_of_binds)
{
    json_object *spec = json_object_new_object(), *mounts = json_object_new_array();
    json_object_object_add(spec, "mounts", mounts);
    for (int i = 0; i <= REMOTE_SHARES_MAX; i++) {
        json_object *m = json_object_new_object();
        json_object_object_add(m, "type", json_object_new_string("bind"));
        json_object_object_add(m, "source", json_object_new_string("/etc"));
        json_object_array_add(mounts, m);
    }
    cr_assert_null(remote_spec_make(spec, "/g", "/c", &shares, &err));
    cr_assert_eq(err.status, STATUS_RESOURCE_EXHAUSTED);
    json_object_array_del_idx(mounts, 0, 1);
    char *text = remote_spec_make(spec, "/g", "/c", &shares, &err);
    cr_assert_not_null(text);
    cr_assert_eq(shares.n, (size_t)REMOTE_SHARES_MAX);
    remote_shares_done(&shares);
    free(text);
    json_object_put(spec);
}
