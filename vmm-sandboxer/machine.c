// A pod that is a virtual machine.
//
// On the host it has three processes, without rights, in the pod's cgroup: the monitor, which is
// the machine, and what serves its two devices over vhost-user sockets, vsock (to talk to the
// agent) and a file system (which shows the guest <sandbox>/shared). All three are in the pod's
// network namespace, where the monitor's taps are, and in an ipc namespace of the pod's own, which
// is pinned and by which the undo list finds them.
//
//   <sandbox>/ns/{net,ipc}     pins
//   <sandbox>/vm/              a small file system: the sockets, the console's log
//   <sandbox>/shared/          what is shown to the guest: etc/, volumes/, <container>/...
//   <sandbox>/view/            the same, as the guest gets it (make_shared)
//   <sandbox>/vm.json          for the task server: written when the agent has made the pod
//
// What is made is made by one job (a child): everything that the guest will ask for is there before
// it runs. When the job ends the processes live on by themselves.
#include "vmm/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/any.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "linux/cgroup.h"
#include "linux/namespace.h"
#include "net/net.h"
#include "rpc/listen.h"
#include "sandbox/pod_cgroup.h"
#include "sandbox/pod_config.h"
#include "sandbox/pod_files.h"
#include "task/guest.h"
#include "vmm/agent.h"
#include "vmm/config.h"
#include "vmm/launch.h"
#include "vmm/probe.h"
#include "vmm/vmm.h"

// Users of machines: this, and the number of the pod's ipc namespace, which no other pod has at the
// same time. (Numbers of namespaces count from PROC_DYNAMIC_FIRST, 0xf0000000.)
#define USER_FIRST 0x50000000u
#define USER_MASK  0x0fffffffu
// Of guests that are run to see whether they do.
#define USER_OF_PROBES (USER_FIRST + USER_MASK)
// Seconds that a machine may take until its agent is ready, and the agent to make the pod.
#define READY_SECONDS 34.0
#define SETUP_SECONDS 15.0
// Milliseconds that a helper may take to make its socket.
#define HELPER_MS 5000
// The machine's memory beside the pod's limit.
#define MEMORY_MORE    (64ull << 20)
#define VM_DIR_OPTIONS "mode=0700,size=1m,nr_inodes=64"
// Names that things are mounted on: a few for each container.
#define SHARED_OPTIONS "mode=0755,size=1m,nr_inodes=64k"

// Bytes of a console that an error shows.
#define CONSOLE_SHOWN 500

struct making {
    struct sandbox_manager *manager;
    const struct sandbox_record *record;
    const struct sandbox_request *request;
    const struct vmm_ops *vmm;
    char dir[PATH_MAX], vm[PATH_MAX], shared[PATH_MAX], view[PATH_MAX], vsock[PATH_MAX];
    uid_t user;
    Guest__Network *network;
    struct vmm_machine machine;
    struct process_id vsock_device, fs_device, monitor;
};

void vmm_word(struct vmm_command *c, const char *fmt, ...)
{
    va_list args;
    size_t room = sizeof c->text - c->used;
    va_start(args, fmt);
    int len = vsnprintf(c->text + c->used, room, fmt, args);
    va_end(args);
    if (len < 0 || (size_t)len >= room || c->n == VMM_WORDS_MAX) {
        c->overflow = true;
        return;
    }
    c->argv[c->n++] = c->text + c->used;
    c->used += (size_t)len + 1;
    c->argv[c->n] = NULL;
}

// ---- plan -------------------------------------------------------------------------------------

// The monitor that a pod's annotation names, or the configuration; NULL: it names none that there
// is.
static const struct vmm_ops *choose(const Cri__PodSandboxConfig *config)
{
    static const struct vmm_ops *const all[] = {&vmm_uml, &vmm_qemu};
    const char *wanted = vmm_config.type;
    for (size_t i = 0; config && i < config->n_annotations; i++) {
        if (strcmp(config->annotations[i]->key, VMM_ANNOTATION) == 0)
            wanted = config->annotations[i]->value;
    }
    for (size_t i = 0; wanted && i < ARRAY_SIZE(all); i++) {
        if (strcmp(all[i]->name, wanted) == 0)
            return all[i];
    }
    return wanted ? NULL : all[0];
}

static int refuse_what_no_guest_has(const struct sandbox_record *r, const struct pod_modes *modes,
                                    struct error *err)
{
    static const char field[] = "linux.security_context.namespace_options";
    if (modes->network != CRI__NAMESPACE_MODE__POD)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s.network: a virtual machine cannot be on the host's network; unset "
                         "hostNetwork, or use another runtime class",
                         field);
    if (modes->ipc != CRI__NAMESPACE_MODE__POD || modes->pid == CRI__NAMESPACE_MODE__NODE)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: a virtual machine cannot have the host's processes or ipc; unset "
                         "hostPID and hostIPC, or use another runtime class",
                         field);
    if (r->pod.ids.uid.length)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s.userns_options: a virtual machine has users of its own already; leave "
                         "hostUsers unset",
                         field);
    return 0;
}

static int set_path(char **ret, const char *dir, const char *name, struct error *err)
{
    if (asprintf(ret, "%s/%s", dir, name) >= 0)
        return 0;
    *ret = NULL;
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
}

int machine_plan(struct sandbox_manager *m, struct sandbox_record *r,
                 const struct sandbox_request *q, struct error *err)
{
    struct pod_modes modes;
    char dir[PATH_MAX];
    if (pod_modes_read(q, &modes, err) < 0 || pod_users_read(q, &r->pod.ids, err) < 0 ||
        refuse_what_no_guest_has(r, &modes, err) < 0 || pod_config_check(q, &modes, err) < 0 ||
        sizes_from_config(&r->sizes, q->config, err) < 0)
        return -1;
    if (!choose(q->config))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "annotation " VMM_ANNOTATION ": there are uml and qemu");
    if (path_format(dir, sizeof dir, "%s/%s", m->sandboxes_dir, q->id) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "state directory: path too long");
    const char *hostname = q->config && q->config->hostname ? q->config->hostname : "";
    r->pod.pid_mode = POD_PID_CONTAINER; // on the host; what the guest does is in its own record
    if (!(r->pod.id = strdup(q->id)) || !(r->hostname = strdup(hostname)) ||
        (*q->runtime_type && !(r->pod.runtime_type = strdup(q->runtime_type))))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    if (set_path(&r->pod.net_ns, dir, "ns/net", err) < 0 ||
        set_path(&r->pod.ipc_ns, dir, "ns/ipc", err) < 0 || pod_cgroup_plan(m, r, q, true, err) < 0)
        return -1;
    // Newest first: the processes go, then the mounts that they used.
    if (undo_push_path(&r->undo, UNDO_UNMOUNT, dir) < 0 ||
        undo_push_path(&r->undo, UNDO_MEMBERS, r->pod.ipc_ns) < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return 0;
}

// ---- namespaces, network ----------------------------------------------------------------------

static int join(const char *path, int type, struct error *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, type) < 0)
        return error_errno(err, errno, "%s", path);
    return 0;
}

// From here on the job is where the machine's processes will be.
static int enter_namespaces(struct making *k, struct error *err)
{
    char ns[PATH_MAX];
    struct process_id none;
    struct stat st;
    if (path_format(ns, sizeof ns, "%s/ns", k->dir) < 0 || mkdir(ns, 0700) < 0)
        return error_errno(err, errno, "cannot make %s/ns", k->dir);
    const struct namespace_plan plan = {.dir = ns, .ipc = true, .netns = k->request->netns};
    if (namespace_plan_run(&plan, &none, err) < 0)
        return -1;
    if (stat(k->record->pod.ipc_ns, &st) < 0)
        return error_errno(err, errno, "%s", k->record->pod.ipc_ns);
    k->user = USER_FIRST + ((unsigned)st.st_ino & USER_MASK);
    if (join(k->record->pod.net_ns, CLONE_NEWNET, err) < 0 ||
        join(k->record->pod.ipc_ns, CLONE_NEWIPC, err) < 0)
        return -1;
    return 0;
}

static int make_network(struct making *k, struct error *err)
{
    k->network = net_read(err);
    if (!k->network)
        return -1;
    for (size_t i = 0; i < k->network->n_interfaces; i++) {
        const Guest__Interface *in = k->network->interfaces[i];
        if (k->machine.n_nics == VMM_NICS_MAX)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "more than %d network interfaces",
                             VMM_NICS_MAX);
        struct vmm_nic *nic = &k->machine.nics[k->machine.n_nics++];
        memcpy(nic->mac, in->mac.data, sizeof nic->mac);
        if (net_tap_make(in->name, k->user, nic->tap, err) < 0)
            return error_wrap(err, "network");
    }
    return 0;
}

// ---- directories ------------------------------------------------------------------------------

// What the guest sees is `view`, in which it can change nothing but what is mounted there: names
// are made and mounts are put in `shared`, which shows up there, too. So what the task server finds
// in `shared` is its own.
static int make_shared(struct making *k, struct error *err)
{
    if (mkdir(k->shared, 0755) < 0 || mkdir(k->view, 0755) < 0 ||
        mount("shared", k->shared, "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV, SHARED_OPTIONS) < 0 ||
        mount(NULL, k->shared, NULL, MS_SHARED, NULL) < 0 ||
        mount(k->shared, k->view, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, k->view, NULL, MS_SLAVE, NULL) < 0 ||
        mount(NULL, k->view, NULL,
              MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOEXEC | MS_NOSUID | MS_NODEV, NULL) < 0)
        return error_errno(err, errno, "cannot make %s", k->shared);
    _cleanup_close_ int fd = open(k->shared, O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, errno, "%s", k->shared);
    return pod_files_make(k->shared, fd, k->record, k->request->config, err);
}

static int make_directories(struct making *k, struct error *err)
{
    if (mkdir(k->vm, 0700) < 0 ||
        mount("vm", k->vm, "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV, VM_DIR_OPTIONS) < 0 ||
        chown(k->vm, k->user, k->user) < 0)
        return error_errno(err, errno, "cannot make %s", k->vm);
    return make_shared(k, err);
}

// ---- processes --------------------------------------------------------------------------------

static int await_socket(const struct making *k, const char *name, const struct process_id *who,
                        struct error *err)
{
    char path[PATH_MAX];
    (void)path_format(path, sizeof path, "%s/%s", k->vm, name);
    for (int ms = 0; ms < HELPER_MS; ms++) {
        if (access(path, F_OK) == 0)
            return 0;
        if (waitpid(who->pid, NULL, WNOHANG) == who->pid)
            return error_set(err, STATUS_UNAVAILABLE, "it ended before it listened on %s", path);
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
    }
    return error_set(err, STATUS_DEADLINE_EXCEEDED, "it does not listen on %s", path);
}

static int start_vsock(struct making *k, int log, struct error *err)
{
    static const char *const argv[] = {"vhost-device-vsock", "--guest-cid", "3",       "--socket",
                                       VMM_VSOCK_DEVICE,     "--uds-path",  VMM_VSOCK, NULL};
    const struct launch l = {
        .argv = argv, .dir = k->vm, .user = k->user, .filtered = true, .output = log};
    if (launch(&l, &k->vsock_device, err) < 0)
        return -1;
    return await_socket(k, VMM_VSOCK_DEVICE, &k->vsock_device, err) < 0
               ? error_wrap(err, "vhost-device-vsock")
               : 0;
}

static int start_fs(struct making *k, int log, struct error *err)
{
    char socket_path[PATH_MAX];
    const char *const argv[] = {"/usr/libexec/virtiofsd",
                                "--fd=3",
                                "--shared-dir",
                                k->view,
                                "--sandbox=namespace",
                                "--cache=auto",
                                "--inode-file-handles=never",
                                "--tag",
                                VMM_FS_TAG,
                                "--xattr",
                                "--log-level=warn",
                                NULL};
    (void)path_format(socket_path, sizeof socket_path, "%s/" VMM_FS_DEVICE, k->vm);
    _cleanup_close_ int listening = rpc_listen_unix(socket_path, err);
    if (listening < 0)
        return -1;
    // virtiofsd waits for its one peer in accept(2).
    int flags = fcntl(listening, F_GETFL);
    if (flags < 0 || fcntl(listening, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
        chown(socket_path, k->user, k->user) < 0)
        return error_errno(err, errno, "%s", socket_path);
    const struct launch l = {
        .argv = argv, .dir = "/", .own_users = true, .fds = &listening, .n_fds = 1, .output = log};
    return launch(&l, &k->fs_device, err);
}

static int start_monitor(struct making *k, int log, struct error *err)
{
    static struct vmm_command c;
    k->vmm->command(&k->machine, &c);
    if (c.overflow)
        return error_set(err, STATUS_INTERNAL, "%s: its command line is too long", k->vmm->name);
    const struct launch l = {.argv = c.argv,
                             .dir = k->vm,
                             .user = k->user,
                             .own_devices = true,
                             .filtered = true,
                             .output = log};
    return launch(&l, &k->monitor, err);
}

static void set_size(struct making *k)
{
    const struct sandbox_sizes *s = &k->record->sizes;
    int64_t limit = s->resources.memory_limit_in_bytes;
    int64_t quota = s->resources.cpu_quota, period = s->resources.cpu_period;
    k->machine.memory =
        limit > 0 ? (uint64_t)limit + MEMORY_MORE : (uint64_t)vmm_config.memory_in_mb << 20;
    if (k->machine.memory < (uint64_t)VMM_MEMORY_MIN_MB << 20)
        k->machine.memory = (uint64_t)VMM_MEMORY_MIN_MB << 20;
    k->machine.vcpus = (unsigned)vmm_config.vcpus;
    if (quota > 0 && period > 0) {
        int64_t n = (quota + period - 1) / period;
        k->machine.vcpus = n > VMM_VCPUS_MAX ? VMM_VCPUS_MAX : (unsigned)n;
    }
}

// ---- the pod in the guest ---------------------------------------------------------------------

static bool given(const Cri__PodSandboxConfig *config, const char *name)
{
    for (size_t i = 0; config && config->linux_ && i < config->linux_->n_sysctls; i++)
        if (strcmp(config->linux_->sysctls[i]->key, name) == 0)
            return true;
    return false;
}

static void add_sysctl(Guest__SetupRequest *req, Guest__Sysctl *one, const char *name,
                       const char *value)
{
    *one = (Guest__Sysctl)GUEST__SYSCTL__INIT;
    one->name = (char *)name;
    one->value = (char *)value;
    req->sysctls[req->n_sysctls++] = one;
}

// The pod's, and containerd's defaults that it does not set.
static void add_sysctls(const struct making *k, Guest__SetupRequest *req)
{
    static Guest__Sysctl all[POD_SYSCTLS_MAX + 2];
    static Guest__Sysctl *list[POD_SYSCTLS_MAX + 2];
    static const char ports[] = "net.ipv4.ip_unprivileged_port_start";
    static const char ping[] = "net.ipv4.ping_group_range";
    const Cri__PodSandboxConfig *config = k->request->config;
    req->sysctls = list;
    if (k->manager->config->unprivileged_ports && !given(config, ports))
        add_sysctl(req, &all[req->n_sysctls], ports, "0");
    if (k->manager->config->unprivileged_icmp && !given(config, ping))
        add_sysctl(req, &all[req->n_sysctls], ping, "0 2147483647");
    for (size_t i = 0; config && config->linux_ && i < config->linux_->n_sysctls; i++)
        add_sysctl(req, &all[req->n_sysctls], config->linux_->sysctls[i]->key,
                   config->linux_->sysctls[i]->value);
}

static int set_up_guest(struct making *k, struct error *err)
{
    Guest__SetupRequest req = GUEST__SETUP_REQUEST__INIT;
    struct pod_modes modes;
    Google__Timestamp now;
    if (pod_modes_read(k->request, &modes, err) < 0)
        return -1;
    timestamp_now(&now);
    req.sandbox_id = k->record->id;
    req.hostname = k->record->hostname;
    req.shared_pid = modes.pid == CRI__NAMESPACE_MODE__POD;
    req.network = k->network;
    req.now = &now;
    add_sysctls(k, &req);
    return agent_setup(k->vsock, &req, SETUP_SECONDS, err);
}

static int write_vm_file(const struct making *k, struct error *err)
{
    char text[PATH_MAX + 256], path[PATH_MAX];
    int n = snprintf(text, sizeof text,
                     "{\"version\":1,\"pid\":%d,\"start_time\":%llu,\"vsock\":\"%s\"}\n",
                     (int)k->monitor.pid, (unsigned long long)k->monitor.start_time, k->vsock);
    int r = path_format(path, sizeof path, "%s/" GUEST_FILE, k->dir);
    if (r == 0)
        r = file_write_atomic_at(AT_FDCWD, path, text, (size_t)n, 0600);
    return r < 0 ? error_errno(err, r, "%s", path) : 0;
}

static int run_machine(struct making *k, struct error *err)
{
    char console[PATH_MAX];
    (void)path_format(console, sizeof console, "%s/" VMM_CONSOLE, k->vm);
    _cleanup_close_ int log =
        open(console, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log < 0)
        return error_errno(err, errno, "%s", console);
    if (start_vsock(k, log, err) < 0 || start_fs(k, log, err) < 0)
        return -1;
    _cleanup_close_ int listening = agent_listen(k->vsock, k->user, err);
    if (listening < 0 || start_monitor(k, log, err) < 0)
        return -1;
    _cleanup_close_ int pidfd = process_open(&k->monitor);
    if (pidfd < 0)
        return error_set(err, STATUS_UNAVAILABLE, "the virtual machine ended at once");
    return agent_wait(listening, pidfd, READY_SECONDS, err);
}

static int make_paths(struct making *k, struct error *err)
{
    if (path_format(k->dir, sizeof k->dir, "%s/%s", k->manager->sandboxes_dir, k->record->id) < 0 ||
        path_format(k->vm, sizeof k->vm, "%s/vm", k->dir) < 0 ||
        path_format(k->shared, sizeof k->shared, "%s/shared", k->dir) < 0 ||
        path_format(k->view, sizeof k->view, "%s/view", k->dir) < 0 ||
        path_format(k->vsock, sizeof k->vsock, "%s/" VMM_VSOCK, k->vm) < 0)
        return error_set(err, STATUS_INTERNAL, "state directory: path too long");
    return 0;
}

// The last of a text from outside, as one line of printable characters.
static void printable_tail(const uint8_t *text, size_t len, char out[CONSOLE_SHOWN + 1])
{
    size_t n = len < CONSOLE_SHOWN ? len : CONSOLE_SHOWN;
    for (size_t i = 0; i < n; i++) {
        char c = (char)text[len - n + i];
        out[i] = '.';
        if (c >= ' ' && c < 0x7f)
            out[i] = c;
    }
    out[n] = '\0';
}

// Why a machine did not come up is on its console, which goes with the sandbox.
static void add_console(const struct making *k, struct error *err)
{
    char path[PATH_MAX], tail[CONSOLE_SHOWN + 1];
    const struct error why = *err;
    struct buf text;
    (void)path_format(path, sizeof path, "%s/" VMM_CONSOLE, k->vm);
    buf_init(&text, 1024 * 1024);
    if (file_read_at(AT_FDCWD, path, &text) == 0 && text.len) {
        printable_tail(text.data, text.len, tail);
        error_set(err, why.status, "%.300s [the end of its console: %s]", why.text, tail);
    }
    buf_free(&text);
}

int machine_make(struct sandbox_manager *m, const struct sandbox_record *r,
                 const struct sandbox_request *q, struct sandbox_made *made, struct error *err)
{
    static struct making k;
    k = (struct making){.manager = m, .record = r, .request = q, .vmm = choose(q->config)};
    umask(0);
    if (!k.vmm)
        return error_set(err, STATUS_INTERNAL, "no monitor");
    static char parameters[VMM_TEXT_MAX / 4];
    int len =
        snprintf(parameters, sizeof parameters, "task.sharefs_type=virtiofs task.log_level=%s %s",
                 vmm_config.debug ? "debug" : "info",
                 vmm_config.kernel_params ? vmm_config.kernel_params : "");
    if (len >= (int)sizeof parameters)
        return error_set(err, STATUS_INVALID_ARGUMENT, "hypervisor.kernel_params: too long");
    k.machine = (struct vmm_machine){.parameters = parameters};
    vmm_config_files(k.vmm, &k.machine);
    set_size(&k);
    if (probe_accelerator(k.vmm, m->config->dir, USER_OF_PROBES, &k.machine, err) < 0 ||
        make_paths(&k, err) < 0 || pod_cgroup_make(m, r, getpid(), err) < 0 ||
        enter_namespaces(&k, err) < 0 || make_directories(&k, err) < 0 || make_network(&k, err) < 0)
        return -1;
    if (run_machine(&k, err) < 0 || set_up_guest(&k, err) < 0) {
        add_console(&k, err);
        return -1;
    }
    if (write_vm_file(&k, err) < 0)
        return -1;
    net_free(k.network);
    *made = (struct sandbox_made){.init = k.monitor, .helpers = {k.vsock_device, k.fs_device}};
    return pod_store(&r->pod, k.dir, err);
}

// ---- later ------------------------------------------------------------------------------------

int machine_check(struct sandbox_manager *m, const struct sandbox_record *r, struct error *err)
{
    if (namespace_check(r->pod.net_ns, "net", err) < 0 ||
        namespace_check(r->pod.ipc_ns, "ipc", err) < 0)
        return -1;
    if (!process_alive(&r->init))
        return error_set(err, STATUS_FAILED_PRECONDITION, "the virtual machine (pid %d) is gone",
                         (int)r->init.pid);
    return 0;
}

int machine_resize(struct sandbox_manager *m, const struct sandbox_record *r,
                   const struct sandbox_sizes *sizes, struct error *err)
{
    return pod_cgroup_resize(m, r, sizes, err);
}
