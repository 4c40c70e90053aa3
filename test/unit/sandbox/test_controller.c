// What the Controller says to requests: every field that can be wrong, through the decoder and the
// plan of pods on the host, with the status and the words that a person gets to see.
#include "rig.h"

#include "api/cri.pb-c.h"
#include "sandbox/host_pod.h"

// The real plan; what it has planned is made as little as possible.
static const struct sandbox_ops ops = {
    .name = "test",
    .plan = host_pod_plan,
    .make = rig_make_work,
    .check = rig_check,
    .resize = host_pod_resize,
};

static struct rig *controller_rig(void)
{
    struct rig *r = rig_prepare();
    rig_daemon_up_with(r, &ops);
    rig_connect(r);
    return r;
}

// A request that is fine; rows change one thing.
struct request {
    Sandbox__ControllerCreateRequest create;
    Cri__PodSandboxConfig config;
    Cri__LinuxPodSandboxConfig linux_part;
    Cri__LinuxSandboxSecurityContext security;
    Cri__NamespaceOption namespaces;
    Cri__UserNamespace user;
    Cri__IDMapping uid, gid, *uids[2], *gids[2];
    Cri__DNSConfig dns;
    Types__StringEntry sysctl, *sysctls[300];
    char *words[300];
    Google__Any options;
    bool raw_options;
};

static void request_init(struct request *q)
{
    *q = (struct request){
        .create = SANDBOX__CONTROLLER_CREATE_REQUEST__INIT,
        .config = CRI__POD_SANDBOX_CONFIG__INIT,
        .linux_part = CRI__LINUX_POD_SANDBOX_CONFIG__INIT,
        .security = CRI__LINUX_SANDBOX_SECURITY_CONTEXT__INIT,
        .namespaces = CRI__NAMESPACE_OPTION__INIT,
        .user = CRI__USER_NAMESPACE__INIT,
        .uid = CRI__IDMAPPING__INIT,
        .gid = CRI__IDMAPPING__INIT,
        .dns = CRI__DNSCONFIG__INIT,
        .sysctl = TYPES__STRING_ENTRY__INIT,
        .options = GOOGLE__ANY__INIT,
    };
    q->create.sandbox_id = (char *)"pod";
    q->create.netns_path = (char *)"/proc/self/ns/net";
    q->config.hostname = (char *)"name";
    q->config.dns_config = &q->dns;
    q->config.linux_ = &q->linux_part;
    q->linux_part.security_context = &q->security;
    q->security.namespace_options = &q->namespaces;
    q->namespaces.pid = CRI__NAMESPACE_MODE__CONTAINER;
    // Users of the pod's own, for rows that want some.
    q->uid.host_id = 100000;
    q->gid.host_id = 200000;
    q->uid.length = q->gid.length = 65536;
    for (size_t i = 0; i < ARRAY_SIZE(q->uids); i++) {
        q->uids[i] = &q->uid;
        q->gids[i] = &q->gid;
    }
    q->user.uids = q->uids;
    q->user.gids = q->gids;
    q->user.n_uids = q->user.n_gids = 1;
    q->sysctl.value = (char *)"1";
    for (size_t i = 0; i < ARRAY_SIZE(q->sysctls); i++) {
        q->sysctls[i] = &q->sysctl;
        q->words[i] = (char *)"word";
    }
    q->linux_part.sysctls = q->sysctls;
    q->dns.servers = q->dns.searches = q->dns.options = q->words;
}

static const char *create_as(struct rig *r, struct request *q, enum status status)
{
    Google__Any packed = GOOGLE__ANY__INIT;
    if (!q->raw_options)
        cr_assert_eq(any_pack(&packed, ANY_POD_SANDBOX_CONFIG, &q->config.base), 0);
    q->create.options = q->raw_options ? &q->options : &packed;
    const char *text = expect_status(r, ask_with(r, "Create", &q->create.base), status);
    any_clear(&packed);
    return text;
}

static char long_name[IDENT_PATH_MAX + 100];

#define ROW(name, ...)                                                                             \
    static void name(struct request *q)                                                            \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
ROW(id_empty, q->create.sandbox_id = (char *)"")
ROW(id_dots, q->create.sandbox_id = (char *)"..")
ROW(id_slash, q->create.sandbox_id = (char *)"a/b")
ROW(id_long, q->create.sandbox_id = long_name)
ROW(id_hidden, q->create.sandbox_id = (char *)".removed-a")
ROW(netns_absent, q->create.netns_path = (char *)"")
ROW(netns_relative, q->create.netns_path = (char *)"run/netns/x")
ROW(netns_dots, q->create.netns_path = (char *)"/run/../proc/self/ns/net")
ROW(netns_nowhere, q->create.netns_path = (char *)"/run/netns/no-such-one")
ROW(netns_file, q->create.netns_path = (char *)"/etc/passwd")
ROW(netns_other, q->create.netns_path = (char *)"/proc/self/ns/uts")
ROW(netns_device, q->create.netns_path = (char *)"/dev/null")
ROW(netns_long, q->create.netns_path = long_name)
ROW(netns_of_host, q->namespaces.network = CRI__NAMESPACE_MODE__NODE)
ROW(network_mode, q->namespaces.network = CRI__NAMESPACE_MODE__CONTAINER)
ROW(network_wild, q->namespaces.network = (Cri__NamespaceMode)77)
ROW(ipc_mode, q->namespaces.ipc = CRI__NAMESPACE_MODE__TARGET)
ROW(pid_mode, q->namespaces.pid = CRI__NAMESPACE_MODE__TARGET)
ROW(pid_wild, q->namespaces.pid = (Cri__NamespaceMode)-1)
#define USERS(name, ...) ROW(name, q->namespaces.userns_options = &q->user; __VA_ARGS__)
USERS(users_container, q->user.mode = CRI__NAMESPACE_MODE__CONTAINER)
USERS(users_target, q->user.mode = CRI__NAMESPACE_MODE__TARGET)
USERS(users_wild, q->user.mode = (Cri__NamespaceMode)9)
USERS(users_none, q->user.n_uids = 0)
USERS(users_two, q->user.n_uids = 2)
USERS(groups_none, q->user.n_gids = 0)
USERS(groups_two, q->user.n_gids = 2)
USERS(users_no_root, q->uid.container_id = 1)
USERS(groups_no_root, q->gid.container_id = 4294967295)
USERS(users_empty, q->uid.length = 0)
USERS(groups_beyond, q->gid.host_id = 4294901760)
USERS(users_beyond, q->uid.length = 4294967295)
USERS(users_of_host, q->user.mode = CRI__NAMESPACE_MODE__NODE)
ROW(host_long, q->config.hostname = long_name)
ROW(host_blank, q->config.hostname = (char *)"a b")
ROW(host_newline, q->config.hostname = (char *)"a\nb")
ROW(host_slash, q->config.hostname = (char *)"../x")
ROW(dns_newline, q->words[3] = (char *)"1.1.1.1\nnameserver 6.6.6.6"; q->dns.n_servers = 4)
ROW(dns_return, q->words[0] = (char *)"a\rb"; q->dns.n_searches = 1)
ROW(dns_options, q->words[0] = (char *)"a\nb"; q->dns.n_options = 1)
ROW(dns_many, q->dns.n_servers = 257)
ROW(dns_long, q->words[1] = long_name; q->dns.n_searches = 2)
ROW(sysctl_kernel, q->sysctl.key = (char *)"kernel.panic"; q->linux_part.n_sysctls = 1)
ROW(sysctl_host, q->sysctl.key = (char *)"kernel.hostname"; q->linux_part.n_sysctls = 1)
ROW(sysctl_path, q->sysctl.key = (char *)"net.../kernel"; q->linux_part.n_sysctls = 1)
ROW(sysctl_many, q->sysctl.key = (char *)"net.a"; q->linux_part.n_sysctls = 257)
ROW(sysctl_ipc, q->namespaces.ipc = CRI__NAMESPACE_MODE__NODE;
    q->sysctl.key = (char *)"kernel.shmmax"; q->linux_part.n_sysctls = 1)
ROW(sysctl_net, q->namespaces.network = CRI__NAMESPACE_MODE__NODE;
    q->create.netns_path = (char *)""; q->sysctl.key = (char *)"net.ipv4.ip_forward";
    q->linux_part.n_sysctls = 1)
ROW(cgroup_dots, q->linux_part.cgroup_parent = (char *)"/a/../../b")
ROW(cgroup_slice, q->linux_part.cgroup_parent = (char *)"-a.slice")
ROW(options_type, q->raw_options = true; q->options.type_url = (char *)"some.Type")
ROW(options_bytes, q->raw_options = true; q->options.type_url = (char *)ANY_POD_SANDBOX_CONFIG;
    q->options.value = (ProtobufCBinaryData){1, (uint8_t *)"\xff"})

static const struct {
    void (*change)(struct request *q);
    enum status status;
    const char *text[2];
} rows[] = {
    {id_empty, STATUS_INVALID_ARGUMENT, {"sandbox_id", "empty"}},
    {id_dots, STATUS_INVALID_ARGUMENT, {"sandbox_id", "identifier"}},
    {id_slash, STATUS_INVALID_ARGUMENT, {"sandbox_id", "a/b"}},
    {id_long, STATUS_INVALID_ARGUMENT, {"sandbox_id", "76"}},
    {id_hidden, STATUS_INVALID_ARGUMENT, {"sandbox_id"}},
    {netns_absent, STATUS_INVALID_ARGUMENT, {"netns_path", "network of its own"}},
    {netns_relative, STATUS_INVALID_ARGUMENT, {"netns_path", "absolute"}},
    {netns_dots, STATUS_INVALID_ARGUMENT, {"netns_path", ".."}},
    {netns_nowhere, STATUS_NOT_FOUND, {"netns_path", "no-such-one"}},
    {netns_file, STATUS_INVALID_ARGUMENT, {"netns_path", "not a net namespace"}},
    {netns_other, STATUS_INVALID_ARGUMENT, {"netns_path", "not a net namespace"}},
    {netns_device, STATUS_INVALID_ARGUMENT, {"netns_path", "not a net namespace"}},
    {netns_long, STATUS_INVALID_ARGUMENT, {"netns_path"}},
    {netns_of_host, STATUS_INVALID_ARGUMENT, {"netns_path", "host's network"}},
    {network_mode, STATUS_INVALID_ARGUMENT, {"namespace_options.network", "POD or NODE"}},
    {network_wild, STATUS_INVALID_ARGUMENT, {"namespace_options.network"}},
    {ipc_mode, STATUS_INVALID_ARGUMENT, {"namespace_options.ipc", "POD or NODE"}},
    {pid_mode, STATUS_INVALID_ARGUMENT, {"namespace_options.pid", "CONTAINER"}},
    {pid_wild, STATUS_INVALID_ARGUMENT, {"namespace_options.pid"}},
    {users_container, STATUS_INVALID_ARGUMENT, {"userns_options.mode", "POD or NODE"}},
    {users_target, STATUS_INVALID_ARGUMENT, {"userns_options.mode", "POD or NODE"}},
    {users_wild, STATUS_INVALID_ARGUMENT, {"userns_options.mode", "POD or NODE"}},
    {users_none, STATUS_INVALID_ARGUMENT, {"userns_options.uids", "0 mappings"}},
    {users_two, STATUS_INVALID_ARGUMENT, {"userns_options.uids", "exactly one"}},
    {groups_none, STATUS_INVALID_ARGUMENT, {"userns_options.gids", "0 mappings"}},
    {groups_two, STATUS_INVALID_ARGUMENT, {"userns_options.gids", "exactly one"}},
    {users_no_root, STATUS_INVALID_ARGUMENT, {"userns_options.uids", "container_id is 1"}},
    {groups_no_root, STATUS_INVALID_ARGUMENT, {"userns_options.gids", "container_id"}},
    {users_empty, STATUS_INVALID_ARGUMENT, {"userns_options.uids", "0 ids from"}},
    {groups_beyond, STATUS_INVALID_ARGUMENT, {"userns_options.gids", "4294967294"}},
    {users_beyond, STATUS_INVALID_ARGUMENT, {"userns_options.uids", "4294967294"}},
    {users_of_host, STATUS_INVALID_ARGUMENT, {"userns_options", "NODE with id mappings"}},
    {host_long, STATUS_INVALID_ARGUMENT, {"hostname", "64"}},
    {host_blank, STATUS_INVALID_ARGUMENT, {"hostname", "byte 1"}},
    {host_newline, STATUS_INVALID_ARGUMENT, {"hostname", "byte 1"}},
    {host_slash, STATUS_INVALID_ARGUMENT, {"hostname", "byte 2"}},
    {dns_newline, STATUS_INVALID_ARGUMENT, {"dns_config.servers", "entry 3"}},
    {dns_return, STATUS_INVALID_ARGUMENT, {"dns_config.searches", "line break"}},
    {dns_options, STATUS_INVALID_ARGUMENT, {"dns_config.options", "line break"}},
    {dns_many, STATUS_INVALID_ARGUMENT, {"dns_config.servers", "256"}},
    {dns_long, STATUS_INVALID_ARGUMENT, {"dns_config.searches", "entry 1"}},
    {sysctl_kernel, STATUS_INVALID_ARGUMENT, {"linux.sysctls", "kernel.panic"}},
    {sysctl_host, STATUS_INVALID_ARGUMENT, {"linux.sysctls", "kernel.hostname"}},
    {sysctl_path, STATUS_INVALID_ARGUMENT, {"linux.sysctls"}},
    {sysctl_many, STATUS_INVALID_ARGUMENT, {"linux.sysctls", "256"}},
    {sysctl_ipc, STATUS_INVALID_ARGUMENT, {"kernel.shmmax", "hostIPC"}},
    {sysctl_net, STATUS_INVALID_ARGUMENT, {"net.ipv4.ip_forward", "hostNetwork"}},
    {cgroup_dots, STATUS_INVALID_ARGUMENT, {"linux.cgroup_parent", "/a/../../b"}},
    {cgroup_slice, STATUS_INVALID_ARGUMENT, {"linux.cgroup_parent"}},
    {options_type, STATUS_INVALID_ARGUMENT, {"options", "some.Type"}},
    {options_bytes, STATUS_INVALID_ARGUMENT, {"options", "PodSandboxConfig"}},
};

Test(controller, create_names_what_is_wrong)
{
    struct rig *r = controller_rig();
    struct request q;
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[0] = '/';
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        request_init(&q);
        rows[i].change(&q);
        const char *text = create_as(r, &q, rows[i].status);
        for (int k = 0; k < 2 && rows[i].text[k]; k++)
            cr_expect(strstr(text, rows[i].text[k]), "row %zu: \"%s\" is not in: %s", i,
                      rows[i].text[k], text);
        cr_expect_eq(rig_count(r, "sandboxes"), 0, "row %zu left something", i);
    }
    request_init(&q);
    create_as(r, &q, STATUS_OK);
    cr_expect_eq(rig_count(r, "sandboxes"), 1);
    rig_free(r);
}

ROW(fine_host_network, q->namespaces.network = CRI__NAMESPACE_MODE__NODE;
    q->create.netns_path = (char *)"")
ROW(fine_host_ipc, q->namespaces.ipc = CRI__NAMESPACE_MODE__NODE)
ROW(fine_no_hostname, q->config.hostname = (char *)"")
ROW(fine_no_linux, q->config.linux_ = NULL)
ROW(fine_sysctl, q->sysctl.key = (char *)"net.core.somaxconn"; q->linux_part.n_sysctls = 1)
ROW(fine_dns, q->dns.n_servers = q->dns.n_searches = q->dns.n_options = 256)
USERS(fine_host_users, q->user.mode = CRI__NAMESPACE_MODE__NODE;
      q->user.n_uids = q->user.n_gids = 0)
USERS(fine_users, (void)q)
USERS(fine_users_host_network, q->namespaces.network = CRI__NAMESPACE_MODE__NODE;
      q->create.netns_path = (char *)""; q->gid.host_id = 4294901759)
ROW(fine_no_options, q->raw_options = true)
ROW(fine_prefix, q->raw_options = true;
    q->options.type_url = (char *)"type.googleapis.com/" ANY_POD_SANDBOX_CONFIG)

Test(controller, create_takes_what_containerd_and_other_clients_send)
{
    static void (*const fine[])(struct request *) = {
        fine_host_network, fine_host_ipc, fine_no_hostname,       fine_no_linux,
        fine_sysctl,       fine_dns,      fine_host_users,        fine_no_options,
        fine_prefix,       fine_users,    fine_users_host_network};
    struct rig *r = controller_rig();
    for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
        struct request q;
        request_init(&q);
        fine[i](&q);
        create_as(r, &q, STATUS_OK);
        expect(r, "Shutdown", "pod", STATUS_OK);
    }
    Sandbox__ControllerCreateRequest bare = SANDBOX__CONTROLLER_CREATE_REQUEST__INIT;
    bare.sandbox_id = (char *)"bare";
    expect_status(r, ask_with(r, "Create", &bare.base), STATUS_OK);
    rig_free(r);
}

struct undo_wanted {
    enum undo_kind kind;
    const char *end;
};

// The undo list of a pod with a shared pid namespace and this parent, the newest step first.
static void expect_plan(const char *parent, const struct undo_wanted *want, size_t n_want)
{
    struct rig *r = controller_rig();
    struct request q;
    request_init(&q);
    q.namespaces.pid = CRI__NAMESPACE_MODE__POD;
    q.linux_part.cgroup_parent = (char *)parent;
    create_as(r, &q, STATUS_OK);
    const struct undo *u = &rig_find(r, "pod")->record.undo;
    cr_assert_eq(u->n, n_want);
    for (size_t i = 0; i < u->n; i++) {
        const struct undo_step *s = &u->steps[u->n - 1 - i];
        size_t n = strlen(s->path), k = strlen(want[i].end);
        cr_expect_eq(s->kind, want[i].kind, "step %zu", i);
        cr_expect(n >= k && strcmp(s->path + n - k, want[i].end) == 0, "step %zu: %s", i, s->path);
    }
    rig_free(r);
}

Test(controller, plan_names_everything_that_must_be_undone)
{
    // Processes, then mounts, then cgroups, the inner one first.
    static const struct undo_wanted want[] = {
        {UNDO_MEMBERS, "/ns/pid"},
        {UNDO_MEMBERS, "/ns/uts"},
        {UNDO_MEMBERS, "/ns/ipc"},
        {UNDO_UNMOUNT, "/pod"},
        {UNDO_INMATES, "/no-such-cgroup/of-a-pod/pod"},
        {UNDO_CGROUP, "/no-such-cgroup/of-a-pod/pod"},
        {UNDO_CGROUP, "/no-such-cgroup/of-a-pod"},
    };
    expect_plan("/no-such-cgroup/of-a-pod", want, ARRAY_SIZE(want));
}

Test(controller, the_plan_of_a_slice_names_paths)
{
    static const struct undo_wanted want[] = {
        {UNDO_MEMBERS, "/ns/pid"},
        {UNDO_MEMBERS, "/ns/uts"},
        {UNDO_MEMBERS, "/ns/ipc"},
        {UNDO_UNMOUNT, "/pod"},
        {UNDO_INMATES, "/absent.slice/absent-podx.slice/cri-containerd-pod.scope"},
        {UNDO_CGROUP, "/absent.slice/absent-podx.slice/cri-containerd-pod.scope"},
        {UNDO_CGROUP, "/absent.slice/absent-podx.slice"},
    };
    expect_plan("absent-podx.slice", want, ARRAY_SIZE(want));
    expect_plan("/absent.slice/absent-podx.slice", want, ARRAY_SIZE(want));
}

Test(controller, labels_and_annotations_come_back)
{
    struct rig *r = controller_rig();
    struct request q;
    Types__Sandbox sandbox = TYPES__SANDBOX__INIT;
    enum { N = 3000 };
    static Types__StringEntry labels[N], *list[N];
    static char names[N][16];
    for (int i = 0; i < N; i++) {
        types__string_entry__init(&labels[i]);
        snprintf(names[i], sizeof names[i], "label-%d", i);
        labels[i].key = labels[i].value = names[i];
        list[i] = &labels[i];
    }
    request_init(&q);
    q.create.sandbox = &sandbox;
    sandbox.n_labels = N;
    sandbox.labels = list;
    q.config.n_annotations = N;
    q.config.annotations = list;
    create_as(r, &q, STATUS_OK);
    struct call *c = ask(r, "Start", "pod");
    cr_assert(run_until(r, &c->over, RIG_SECONDS));
    Sandbox__ControllerStartResponse *a =
        call_answer(c, &sandbox__controller_start_response__descriptor);
    cr_expect_eq(a->n_labels, N);
    cr_expect_str_eq(a->labels[N - 1]->value, names[N - 1]);
    json_object *spec = json_parse(a->spec->value.data, a->spec->value.len, "spec", NULL);
    cr_assert(spec);
    cr_expect_eq(json_object_object_length(json_object_object_get(spec, "annotations")), N);
    json_object_put(spec);
    api_message_free((ProtobufCMessage *)a);
    call_free(c);
    rig_free(r);
}

// ---- the other calls ----------------------------------------------------------------------------

Test(controller, every_call_checks_the_id)
{
    struct rig *r = controller_rig();
    static const char *const methods[] = {"Start",    "Stop",   "Shutdown", "Wait",
                                          "Platform", "Status", "Metrics",  "Update"};
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        cr_expect(strstr(expect(r, methods[i], "", STATUS_INVALID_ARGUMENT), "sandbox_id"));
        cr_expect(strstr(expect(r, methods[i], "a/b", STATUS_INVALID_ARGUMENT), "sandbox_id"));
        cr_expect(strstr(expect(r, methods[i], "nobody", STATUS_NOT_FOUND), "nobody"));
    }
    cr_expect(strstr(expect(r, "Ping", "a", STATUS_UNIMPLEMENTED), "Ping"));
    struct call *c = ask_bytes(r, "Status", (const uint8_t *)"\x0a\xff", 2);
    cr_expect(strstr(expect_status(r, c, STATUS_INVALID_ARGUMENT), "StatusRequest"));
    rig_free(r);
}

Test(controller, status_says_what_containerd_looks_for)
{
    struct rig *r = controller_rig();
    struct request q;
    Sandbox__ControllerStatusRequest ask_status = SANDBOX__CONTROLLER_STATUS_REQUEST__INIT;
    request_init(&q);
    create_as(r, &q, STATUS_OK);
    ask_status.sandbox_id = (char *)"pod";
    ask_status.verbose = true;
    static const char *const verbs[] = {NULL, "Start", "Stop"};
    static const char *const states[] = {"SANDBOX_NOTREADY", "SANDBOX_READY", "SANDBOX_NOTREADY"};
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (verbs[i])
            expect(r, verbs[i], "pod", STATUS_OK);
        struct call *c = ask_with(r, "Status", &ask_status.base);
        Sandbox__ControllerStatusResponse *a =
            call_answer(c, &sandbox__controller_status_response__descriptor);
        cr_expect_str_eq(a->state, states[i]);
        cr_expect_str_eq(a->address, task_peer_address(r->tasks));
        cr_expect_eq(a->version, 3);
        cr_expect(a->created_at && a->created_at->seconds > 0);
        cr_expect_eq(a->exited_at != NULL, i == 2);
        cr_assert_eq(a->n_info, 1);
        cr_expect_str_eq(a->info[0]->key, "info");
        json_object *info = json_tokener_parse(a->info[0]->value);
        cr_expect(json_object_is_type(info, json_type_object));
        json_object_put(info);
        api_message_free((ProtobufCMessage *)a);
        call_free(c);
    }
    rig_free(r);
}

Test(controller, update_and_metrics_refuse_with_a_reason)
{
    struct rig *r = controller_rig();
    struct request q;
    request_init(&q);
    create_as(r, &q, STATUS_OK);
    Sandbox__ControllerUpdateRequest u = SANDBOX__CONTROLLER_UPDATE_REQUEST__INIT;
    Types__Sandbox sandbox = TYPES__SANDBOX__INIT;
    Types__AnyEntry entry = TYPES__ANY_ENTRY__INIT, *entries[] = {&entry};
    Google__Any value = GOOGLE__ANY__INIT;
    char *fields[] = {(char *)"extensions", (char *)"spec"};
    u.sandbox_id = (char *)"pod";
    u.fields = fields;
    u.n_fields = 1;
    u.sandbox = &sandbox;
    sandbox.extensions = entries;
    sandbox.n_extensions = 1;
    entry.key = (char *)"updated-resources";
    entry.value = &value;
    value.type_url = (char *)ANY_UPDATED_RESOURCES;
    value.value = (ProtobufCBinaryData){1, (uint8_t *)"{"};
    expect_status(r, ask_with(r, "Update", &u.base), STATUS_INVALID_ARGUMENT);
    value.value = (ProtobufCBinaryData){2, (uint8_t *)"{}"};
    expect_status(r, ask_with(r, "Update", &u.base), STATUS_OK);
    entry.value = NULL;
    expect_status(r, ask_with(r, "Update", &u.base), STATUS_OK);
    u.n_fields = 2;
    cr_expect(
        strstr(expect_status(r, ask_with(r, "Update", &u.base), STATUS_INVALID_ARGUMENT), "spec"));
    cr_expect(strstr(expect(r, "Metrics", "pod", STATUS_FAILED_PRECONDITION), "cgroup"));
    rig_free(r);
}
