// From config.json to what a worker becomes.
#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "oci/spec.h"
#include "worker/plan.h"

static struct plan plan;

static void drop(void)
{
    plan_done(&plan);
}

TestSuite(plan, .fini = drop);

static int make(const char *text, struct error *err)
{
    plan_done(&plan);
    json_object *spec = oci_spec_parse(text, strlen(text), err);
    cr_assert(spec, "%s: %s", text, err->text);
    return plan_make(&plan, spec, "/bundle", err);
}

static void good(const char *text)
{
    struct error err = {0};
    cr_assert_eq(make(text, &err), 0, "%s", err.text);
}

// A spec with more members of `process`, of `linux`, and of the whole.
static const char *spec_of(const char *process, const char *linux_more, const char *more)
{
    static char text[16384];
    snprintf(text, sizeof(text),
             "{\"process\":{\"cwd\":\"/\",\"args\":[\"/m.wasm\"]%s},\"root\":{\"path\":\"rootfs\"},"
             "\"linux\":{\"namespaces\":[{\"type\":\"mount\"}]%s}%s}",
             process, linux_more, more);
    return text;
}

// ---- what is read ------------------------------------------------------------------------------

Test(plan, the_least)
{
    good(spec_of("", "", ""));
    cr_expect_str_eq(plan.root, "/bundle/rootfs");
    cr_expect(!plan.root_readonly && !plan.cgroup);
    cr_expect_str_eq(plan.args[0], "/m.wasm");
    cr_expect(!plan.args[1] && plan.env && !plan.env[0]);
    cr_expect_str_eq(plan.cwd, "/");
    cr_expect(plan.uid == 0 && plan.gid == 0 && plan.n_groups == 0 && plan.umask == 022);
    cr_expect(!plan.has_oom_score_adj && plan.n_rlimits == 0 && plan.n_mounts == 0);
    cr_expect(!plan.net_ns && !plan.ipc_ns && !plan.uts_ns && !plan.pid_ns && !plan.cgroup_ns);
    cr_expect(plan.new_ns == 0 && !plan.apparmor);
}

Test(plan, a_process)
{
    good(spec_of(",\"env\":[\"A=1\",\"B=\"],\"user\":{\"uid\":1000,\"gid\":1001,\"umask\":63,"
                 "\"additionalGids\":[5,4294967294]},\"oomScoreAdj\":-998,\"terminal\":true,"
                 "\"consoleSize\":{\"height\":24,\"width\":80},\"noNewPrivileges\":false,"
                 "\"apparmorProfile\":\"cri-containerd.apparmor.d\","
                 "\"capabilities\":{\"bounding\":[\"CAP_SYS_ADMIN\"]},"
                 "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":10,\"hard\":20},"
                 "{\"type\":\"RLIMIT_CORE\",\"soft\":0,\"hard\":18446744073709551615}]",
                 "", ""));
    cr_expect_str_eq(plan.env[1], "B=");
    cr_expect(plan.uid == 1000 && plan.gid == 1001 && plan.umask == 077);
    cr_assert_eq(plan.n_groups, 2);
    cr_expect(plan.groups[0] == 5 && plan.groups[1] == 4294967294);
    cr_expect(plan.has_oom_score_adj && plan.oom_score_adj == -998);
    cr_expect_str_eq(plan.apparmor, "cri-containerd.apparmor.d");
    cr_assert_eq(plan.n_rlimits, 2);
    cr_expect(plan.rlimits[0].resource == RLIMIT_NOFILE && plan.rlimits[0].limit.rlim_cur == 10 &&
              plan.rlimits[0].limit.rlim_max == 20);
    cr_expect_eq(plan.rlimits[1].limit.rlim_max, RLIM_INFINITY);
    good(spec_of(",\"apparmorProfile\":\"unconfined\"", "", ""));
    cr_expect_null(plan.apparmor);
}

Test(plan, a_working_directory_is_told_once)
{
    struct error err = {0};
    good(spec_of(",\"env\":[\"PWDS=1\"]", "", ""));
    cr_expect(plan_tell_cwd(&plan, &err) == 0 && !plan.env[1], "there is none but the root");
    plan.cwd = "/data";
    cr_assert_eq(plan_tell_cwd(&plan, &err), 0);
    cr_expect_str_eq(plan.env[0], "PWDS=1");
    cr_expect_str_eq(plan.env[1], "PWD=/data");
    plan.cwd = "/other";
    cr_expect(plan_tell_cwd(&plan, &err) == 0 && !plan.env[2], "it is there");
    cr_expect_str_eq(plan.env[1], "PWD=/data");
}

Test(plan, mounts_without_what_is_of_the_kernel)
{
    good(spec_of("", "",
                 ",\"mounts\":["
                 "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
                 "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},"
                 "{\"destination\":\"/data\",\"source\":\"/src\",\"options\":[\"rbind\",\"ro\"]},"
                 "{\"destination\":\"/sys"
                 "\",\"type\":\"sysfs\",\"source\":\"sysfs\",\"options\":[\"ro\"]},"
                 "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\"},"
                 "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\"},"
                 "{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\"},"
                 "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\"}]"));
    cr_assert_eq(plan.n_mounts, 2);
    cr_expect_str_eq(plan.mounts[0].destination, "/data");
    cr_expect_str_eq(plan.mounts[0].spec.type, "bind");
    cr_expect_str_eq(plan.mounts[0].spec.source, "/src");
    cr_assert_eq(plan.mounts[0].spec.n_options, 2);
    cr_expect_str_eq(plan.mounts[0].spec.options[1], "ro");
    cr_expect_str_eq(plan.mounts[1].destination, "/dev/shm");
}

Test(plan, namespaces)
{
    good(
        "{\"process\":{\"cwd\":\"/\",\"args\":[\"m\"]},\"root\":{\"path\":\"/r\",\"readonly\":true}"
        ",\"hostname\":\"h\",\"domainname\":\"d\",\"linux\":{\"cgroupsPath\":\"/a/b\","
        "\"maskedPaths\":[\"/proc/kcore\"],\"readonlyPaths\":[\"/proc/sys\",\"/x\"],"
        "\"namespaces\":["
        "{\"type\":\"network\",\"path\":\"/n\"},{\"type\":\"ipc\",\"path\":\"/i\"},"
        "{\"type\":\"uts\",\"path\":\"\"},{\"type\":\"pid\"},{\"type\":\"mount\"},"
        "{\"type\":\"cgroup\"}]}}");
    cr_expect_str_eq(plan.net_ns, "/n");
    cr_expect_str_eq(plan.ipc_ns, "/i");
    cr_expect(!plan.uts_ns && !plan.pid_ns);
    cr_expect_eq(plan.new_ns, CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWCGROUP);
    cr_expect_str_eq(plan.root, "/r");
    cr_expect(plan.root_readonly);
    cr_expect_str_eq(plan.cgroup, "/a/b");
    cr_expect_str_eq(plan.hostname, "h");
    cr_expect_str_eq(plan.domainname, "d");
    cr_expect_str_eq(plan.masked[0], "/proc/kcore");
    cr_expect_str_eq(plan.readonly[1], "/x");
    cr_expect_null(plan.readonly[2]);
}

#define USER_NS "\"namespaces\":[{\"type\":\"user\",\"path\":\"/u\"}]"
// Members: 1000 users from `uid` on, groups from `gid` on.
#define RUN(first, host) "[{\"containerID\":" #first ",\"hostID\":" #host ",\"size\":1000}]"
#define USERS(uid, gid)  ",\"uidMappings\":" RUN(uid, 70000) ",\"gidMappings\":" RUN(gid, 80000)

static void good_with_users(const char *process, const char *mounts)
{
    good(spec_of(process, "," USER_NS USERS(0, 0), mounts));
}

Test(plan, users_of_the_pods_own)
{
    good_with_users(
        ",\"user\":{\"uid\":7,\"gid\":999,\"additionalGids\":[8]}",
        ",\"mounts\":[{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/s\"" USERS(
            0, 0) "},{\"destination\":\"/y\",\"type\":\"bind\",\"source\":\"/s\"}]");
    cr_expect_str_eq(plan.user_ns, "/u");
    cr_expect(plan.uid == 7 && plan.gid == 999, "as they are inside");
    cr_expect_eq(plan_host_uid(&plan), 70007);
    cr_expect_eq(plan_host_gid(&plan), 80999);
    cr_expect(plan.mounts[0].mapped && !plan.mounts[1].mapped);
    good(spec_of(",\"user\":{\"uid\":7,\"gid\":8}", "", ""));
    cr_expect(!plan.user_ns && plan_host_uid(&plan) == 7 && plan_host_gid(&plan) == 8);
}

// The host's, bound: what is mounted there in a pod with users of its own on the host's network.
Test(plan, no_sysfs_by_whatever_type)
{
    good_with_users(
        "", ",\"mounts\":[{\"destination\":\"//sys/./\",\"type\":\"bind\",\"source\":\"/sys\","
            "\"options\":[\"rbind\",\"rro\"]},{\"destination\":\"/"
            "x\",\"type\":\"bind\",\"source\":\"/s\"}]");
    cr_assert_eq(plan.n_mounts, 1);
    cr_expect_str_eq(plan.mounts[0].destination, "/x");
    // What is left out may ask for what it wants.
    good_with_users("",
                    ",\"mounts\":[{\"destination\":\"/dev/"
                    "pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":[\"gid=5\"]}]");
    cr_assert_eq(plan.n_mounts, 0);
}

Test(plan, owners_that_would_be_the_hosts)
{
    static const struct {
        const char *mount, *says;
    } bad[] = {
        {"\"type\":\"tmpfs\",\"source\":\"t\",\"options\":[\"ro\",\"uid=7\"]",
         "mounts[0]: options[1]: uid=7"},
        {"\"type\":\"tmpfs\",\"source\":\"t\",\"options\":[\"gid=7\"]",
         "mounts[0]: options[0]: gid=7"},
        {"\"type\":\"tmpfs\",\"source\":\"t\",\"options\":[\"mode=0755,uid=7\"]",
         "options[0]: mode=0755,uid=7"},
        {"\"type\":\"tmpfs\",\"source\":\"t\"" USERS(0, 0),
         "uidMappings, gidMappings: only of a bind"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err = {0};
        char mounts[512];
        snprintf(mounts, sizeof(mounts), ",\"mounts\":[{\"destination\":\"/x\",%s}]", bad[i].mount);
        cr_expect_eq(make(spec_of("", "," USER_NS USERS(0, 0), mounts), &err), -1);
        cr_expect(err.status == STATUS_UNIMPLEMENTED && strstr(err.text, bad[i].says), "%s",
                  err.text);
    }
}

Test(plan, a_group_that_the_pod_has_not)
{
    struct error err = {0};
    cr_assert_eq(
        make(spec_of(",\"user\":{\"additionalGids\":[1000]}", "," USER_NS USERS(0, 0), ""), &err),
        -1);
    cr_expect(strstr(err.text, "additionalGids: 1000 is none of the pod's"), "%s", err.text);
}

// What containerd writes for any container.
Test(plan, what_is_as_good_as_nothing)
{
    good(spec_of(
        ",\"selinuxLabel\":\"\",\"ioPriority\":null",
        ",\"devices\":[],\"sysctl\":{},\"mountLabel\":\"\",\"rootfsPropagation\":\"rslave\","
        "\"personality\":{\"domain\":\"LINUX\"},\"seccomp\":{\"defaultAction\":"
        "\"SCMP_ACT_ERRNO\"},\"uidMappings\":[],\"resources\":{\"blockIO\":{},\"devices\":["
        "{\"allow\":false,\"access\":\"rwm\"}],\"hugepageLimits\":[{\"pageSize\":\"2MB\","
        "\"limit\":0}],\"memory\":{\"disableOOMKiller\":false,\"swappiness\":0}}",
        ",\"hooks\":{\"prestart\":[]},\"hostname\":\"x\""));
}

// ---- what is refused ---------------------------------------------------------------------------

enum where { PROCESS, LINUX, SPEC };

static const struct {
    enum where where;
    const char *text;
    enum status status;
    const char *says; // in the message
} refused[] = {
    {PROCESS, "\"env\":\"A=1\"", STATUS_INVALID_ARGUMENT, "process: env"},
    {PROCESS, "\"env\":[1]", STATUS_INVALID_ARGUMENT, "process: env[0]"},
    {PROCESS, "\"env\":[\"A=1\",\"B\\u0000\"]", STATUS_INVALID_ARGUMENT, "process: env[1]"},
    {PROCESS, "\"user\":[]", STATUS_INVALID_ARGUMENT, "process: user"},
    {PROCESS, "\"user\":{\"uid\":-1}", STATUS_INVALID_ARGUMENT, "user: uid"},
    {PROCESS, "\"user\":{\"uid\":4294967295}", STATUS_INVALID_ARGUMENT, "user: uid"},
    {PROCESS, "\"user\":{\"uid\":\"0\"}", STATUS_INVALID_ARGUMENT, "user: uid"},
    {PROCESS, "\"user\":{\"gid\":4294967296}", STATUS_INVALID_ARGUMENT, "user: gid"},
    {PROCESS, "\"user\":{\"umask\":-1}", STATUS_INVALID_ARGUMENT, "user: umask"},
    {PROCESS, "\"user\":{\"additionalGids\":[-1]}", STATUS_INVALID_ARGUMENT, "additionalGids[0]"},
    {PROCESS, "\"user\":{\"additionalGids\":[1,\"2\"]}", STATUS_INVALID_ARGUMENT,
     "additionalGids[1]"},
    {PROCESS, "\"user\":{\"additionalGids\":7}", STATUS_INVALID_ARGUMENT, "additionalGids"},
    {PROCESS, "\"rlimits\":[{\"type\":\"RLIMIT_X\",\"soft\":1,\"hard\":1}]",
     STATUS_INVALID_ARGUMENT, "rlimits[0]: type"},
    {PROCESS, "\"rlimits\":[{\"soft\":1,\"hard\":1}]", STATUS_INVALID_ARGUMENT, "rlimits[0]: type"},
    {PROCESS, "\"rlimits\":[{\"type\":\"RLIMIT_CPU\",\"hard\":1}]", STATUS_INVALID_ARGUMENT,
     "rlimits[0]: soft"},
    {PROCESS, "\"rlimits\":[{\"type\":\"RLIMIT_CPU\",\"soft\":1,\"hard\":-1}]",
     STATUS_INVALID_ARGUMENT, "rlimits[0]: hard"},
    {PROCESS, "\"rlimits\":[7]", STATUS_INVALID_ARGUMENT, "rlimits[0]"},
    {PROCESS, "\"rlimits\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", STATUS_INVALID_ARGUMENT,
     "rlimits: more than"},
    {PROCESS, "\"oomScoreAdj\":1001", STATUS_INVALID_ARGUMENT, "oomScoreAdj"},
    {PROCESS, "\"oomScoreAdj\":\"1\"", STATUS_INVALID_ARGUMENT, "oomScoreAdj"},
    {PROCESS, "\"apparmorProfile\":\"a\\nb\"", STATUS_INVALID_ARGUMENT, "apparmorProfile"},
    {PROCESS, "\"apparmorProfile\":1", STATUS_INVALID_ARGUMENT, "apparmorProfile"},
    {PROCESS, "\"selinuxLabel\":\"a:b:c:d\"", STATUS_UNIMPLEMENTED, "process: selinuxLabel"},
    {PROCESS, "\"scheduler\":{\"policy\":\"SCHED_OTHER\"}", STATUS_UNIMPLEMENTED, "scheduler"},
    {PROCESS, "\"ioPriority\":{\"class\":\"IOPRIO_CLASS_BE\"}", STATUS_UNIMPLEMENTED, "ioPriority"},
    {PROCESS, "\"execCPUAffinity\":{\"initial\":\"0\"}", STATUS_UNIMPLEMENTED, "execCPUAffinity"},
    {LINUX, "\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":1}]",
     STATUS_INVALID_ARGUMENT, "linux: uidMappings, gidMappings: want both with a user namespace"},
    {LINUX, "\"gidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":1}]",
     STATUS_INVALID_ARGUMENT, "want both with a user namespace"},
    {LINUX, USER_NS, STATUS_INVALID_ARGUMENT, "want both with a user namespace"},
    {LINUX, USER_NS ",\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":1}]",
     STATUS_INVALID_ARGUMENT, "want both with a user namespace"},
    {LINUX, USER_NS ",\"uidMappings\":[{\"containerID\":0,\"hostID\":1}]", STATUS_INVALID_ARGUMENT,
     "linux: uidMappings[0]: size"},
    {LINUX, USER_NS ",\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":0}]",
     STATUS_INVALID_ARGUMENT, "uidMappings[0]: no run"},
    {LINUX, USER_NS ",\"uidMappings\":[7]", STATUS_INVALID_ARGUMENT, "uidMappings[0]"},
    {LINUX, USER_NS ",\"uidMappings\":[{},{}]", STATUS_UNIMPLEMENTED, "uidMappings: 2 runs"},
    {LINUX, USER_NS USERS(1, 0), STATUS_INVALID_ARGUMENT,
     "process: user: uid: 0 is none of the pod's"},
    {LINUX, USER_NS USERS(0, 1), STATUS_INVALID_ARGUMENT,
     "process: user: gid: 0 is none of the pod's"},
    {LINUX, "\"namespaces\":[{\"type\":\"user\"}]", STATUS_UNIMPLEMENTED,
     "namespaces[0]: user: a WebAssembly container cannot have one of its own"},
    {LINUX, "\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"time\"}]", STATUS_UNIMPLEMENTED,
     "linux: namespaces[1]: time"},
    {LINUX, "\"namespaces\":[{\"type\":\"mount\",\"path\":\"/m\"}]", STATUS_UNIMPLEMENTED,
     "namespaces[0]: mount with a path"},
    {LINUX, "\"timeOffsets\":{\"monotonic\":{\"secs\":1}}", STATUS_UNIMPLEMENTED, "timeOffsets"},
    {LINUX, "\"devices\":[{\"path\":\"/dev/x\",\"type\":\"c\"}]", STATUS_UNIMPLEMENTED,
     "linux: devices"},
    {LINUX, "\"netDevices\":{\"eth1\":{}}", STATUS_UNIMPLEMENTED, "netDevices"},
    {LINUX, "\"sysctl\":{\"net.core.somaxconn\":\"1\"}", STATUS_UNIMPLEMENTED, "sysctl"},
    {LINUX, "\"mountLabel\":\"a:b:c:d\"", STATUS_UNIMPLEMENTED, "mountLabel"},
    {LINUX, "\"intelRdt\":{\"closID\":\"x\"}", STATUS_UNIMPLEMENTED, "intelRdt"},
    {LINUX, "\"memoryPolicy\":{\"mode\":\"MPOL_BIND\"}", STATUS_UNIMPLEMENTED, "memoryPolicy"},
    {LINUX, "\"personality\":{\"domain\":\"LINUX32\"}", STATUS_UNIMPLEMENTED, "personality"},
    {LINUX, "\"resources\":{\"blockIO\":{\"weight\":10}}", STATUS_UNIMPLEMENTED,
     "linux: resources: blockIO"},
    {LINUX, "\"resources\":{\"network\":{\"classID\":1}}", STATUS_UNIMPLEMENTED, "network"},
    {LINUX, "\"resources\":{\"rdma\":{\"x\":{\"hcaHandles\":1}}}", STATUS_UNIMPLEMENTED, "rdma"},
    {LINUX, "\"resources\":{\"memory\":{\"disableOOMKiller\":true}}", STATUS_UNIMPLEMENTED,
     "linux: resources: memory: disableOOMKiller"},
    {LINUX, "\"resources\":{\"memory\":{\"swappiness\":7}}", STATUS_UNIMPLEMENTED, "swappiness"},
    {LINUX, "\"resources\":{\"memory\":{\"kernel\":1}}", STATUS_UNIMPLEMENTED, "kernel"},
    {LINUX, "\"resources\":{\"memory\":{\"kernelTCP\":1}}", STATUS_UNIMPLEMENTED, "kernelTCP"},
    {LINUX, "\"resources\":{\"cpu\":{\"realtimeRuntime\":1}}", STATUS_UNIMPLEMENTED,
     "realtimeRuntime"},
    {LINUX, "\"resources\":{\"cpu\":{\"realtimePeriod\":1}}", STATUS_UNIMPLEMENTED,
     "realtimePeriod"},
    {LINUX, "\"resources\":{\"cpu\":{\"burst\":1}}", STATUS_UNIMPLEMENTED, "burst"},
    {LINUX, "\"resources\":{\"cpu\":{\"idle\":1}}", STATUS_UNIMPLEMENTED, "idle"},
    {LINUX, "\"maskedPaths\":[\"x\"]", STATUS_INVALID_ARGUMENT, "linux: maskedPaths[0]"},
    {LINUX, "\"maskedPaths\":{}", STATUS_INVALID_ARGUMENT, "maskedPaths"},
    {LINUX, "\"readonlyPaths\":[\"/x\",\"\"]", STATUS_INVALID_ARGUMENT, "readonlyPaths[1]"},
    {SPEC, "\"hooks\":{\"prestart\":[{\"path\":\"/x\"}]}", STATUS_UNIMPLEMENTED, "hooks: prestart"},
    {SPEC, "\"hooks\":{\"createRuntime\":[{\"path\":\"/x\"}]}", STATUS_UNIMPLEMENTED, "hooks"},
    {SPEC, "\"hooks\":{\"createContainer\":[{\"path\":\"/x\"}]}", STATUS_UNIMPLEMENTED, "hooks"},
    {SPEC, "\"hooks\":{\"startContainer\":[{\"path\":\"/x\"}]}", STATUS_UNIMPLEMENTED, "hooks"},
    {SPEC, "\"hooks\":{\"poststart\":[{\"path\":\"/x\"}]}", STATUS_UNIMPLEMENTED, "hooks"},
    {SPEC, "\"hooks\":{\"poststop\":[{\"path\":\"/x\"}]}", STATUS_UNIMPLEMENTED, "hooks"},
    {SPEC, "\"hostname\":7", STATUS_INVALID_ARGUMENT, "hostname"},
    {SPEC, "\"domainname\":[]", STATUS_INVALID_ARGUMENT, "domainname"},
    {SPEC, "\"mounts\":[{\"destination\":\"x\"}]", STATUS_INVALID_ARGUMENT,
     "mounts[0]: destination"},
    {SPEC, "\"mounts\":[{\"destination\":\"/x\",\"options\":[7]}]", STATUS_INVALID_ARGUMENT,
     "mounts[0]: options[0]"},
    {SPEC, "\"mounts\":[{\"destination\":\"/x\",\"source\":7}]", STATUS_INVALID_ARGUMENT,
     "mounts[0]: source"},
    {SPEC, "\"mounts\":[{\"destination\":\"/x\",\"uidMappings\":[{\"size\":1}]}]",
     STATUS_INVALID_ARGUMENT, "mounts[0]: uidMappings[0]: containerID"},
    {SPEC, "\"mounts\":[{\"destination\":\"/x\"" USERS(0, 0) "}]", STATUS_UNIMPLEMENTED,
     "mounts[0]: uidMappings, gidMappings: a WebAssembly container can only have those"},
};

Test(plan, what_there_is_not_is_refused_by_name)
{
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        char member[512];
        struct error err = {0};
        snprintf(member, sizeof(member), ",%s", refused[i].text);
        const char *text = spec_of(refused[i].where == PROCESS ? member : "",
                                   refused[i].where == LINUX ? member : "",
                                   refused[i].where == SPEC ? member : "");
        cr_expect_eq(make(text, &err), -1, "%s", refused[i].text);
        cr_expect_eq(err.status, refused[i].status, "%s: %s", refused[i].text, err.text);
        cr_expect(strstr(err.text, refused[i].says), "%s: %s", refused[i].text, err.text);
        cr_expect(strncmp(err.text, "config.json: ", 13) == 0, "%s", err.text);
    }
}

Test(plan, no_more_than_there_is_room_for)
{
    struct error err = {0};
    json_object *spec = json_tokener_parse(spec_of("", "", ""));
    json_object *mounts = json_object_new_array();
    json_object_object_add(spec, "mounts", mounts);
    for (int i = 0; i <= PLAN_MOUNTS_MAX; i++) {
        json_object *mount = json_object_new_object();
        json_object_object_add(mount, "destination", json_object_new_string("/x"));
        json_object_array_add(mounts, mount);
    }
    cr_assert_eq(plan_make(&plan, spec, "/bundle", &err), -1);
    cr_assert(strstr(err.text, "mounts: more than"), "%s", err.text);

    spec = json_tokener_parse(spec_of("", "", ""));
    json_object *env = json_object_new_array();
    json_object_object_add(json_object_object_get(spec, "process"), "env", env);
    for (int i = 0; i <= PLAN_STRINGS_MAX; i++)
        json_object_array_add(env, json_object_new_string("A=1"));
    cr_assert_eq(plan_make(&plan, spec, "/bundle", &err), -1);
    cr_assert(strstr(err.text, "env: more than"), "%s", err.text);

    char bundle[5000];
    memset(bundle, 'b', sizeof(bundle) - 1);
    bundle[sizeof(bundle) - 1] = '\0';
    spec = json_tokener_parse(spec_of("", "", ""));
    cr_assert_eq(plan_make(&plan, spec, bundle, &err), -1);
    cr_assert(strstr(err.text, "root.path"), "%s", err.text);
}

// ---- of an exec --------------------------------------------------------------------------------

static int read_process(const char *text, struct error *err)
{
    plan_done(&plan);
    int fd = memfd_create("process", MFD_CLOEXEC);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    int r = plan_read_process(&plan, fd, err);
    close(fd);
    return r;
}

Test(plan, the_process_of_an_exec)
{
    struct error err = {0};
    cr_assert_eq(
        read_process("{\"cwd\":\"/w\",\"args\":[\"sh\"],\"user\":{\"uid\":7,\"gid\":8}}", &err), 0,
        "%s", err.text);
    cr_expect(plan.uid == 7 && plan.gid == 8);
    cr_expect_str_eq(plan.cwd, "/w");
    static const char *const bad[] = {
        "",
        "7",
        "[]",
        "{",
        "{\"cwd\":\"/\"}",
        "{\"cwd\":\"/\",\"args\":[]}",
        "{\"cwd\":\"w\",\"args\":[\"sh\"]}",
        "{\"cwd\":\"/\",\"args\":[\"sh\"],\"terminal\":1}",
        "{\"cwd\":\"/\",\"args\":[\"sh\"],\"user\":7}",
        "{\"cwd\":\"/\",\"args\":[\"sh\"],\"selinuxLabel\":\"x\"}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        err = (struct error){0};
        cr_expect_eq(read_process(bad[i], &err), -1, "%s", bad[i]);
        cr_expect_neq(err.status, STATUS_OK, "%s", bad[i]);
        cr_expect_null(plan.spec);
    }
}
