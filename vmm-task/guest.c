#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "api/guest.pb-c.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "base/log.h"
#include "event/event.h"
#include "event/job.h"
#include "linux/namespace.h"
#include "net/net.h"
#include "oci/pod.h"

// Seconds that making the pod may take; that an answer to Shutdown gets.
#define SETUP_SECONDS 30.0
#define FAREWELL      0.05
#define SYSCTLS_MAX   256
// As the pods of other kinds have it.
#define SHM_OPTIONS "mode=1777,size=65536k"
// Seconds that the clock may be off: a clock that jumps is worse than one that is a little late, as
// the host's time is when it gets here.
#define CLOCK_TOLERANCE 0.05

// ---- time -----------------------------------------------------------------------------------

static int set_time(const Google__Timestamp *at, struct error *err)
{
    struct timespec mine;
    if (!at)
        return 0;
    const struct timespec now = {.tv_sec = at->seconds, .tv_nsec = at->nanos};
    if (at->nanos < 0 || at->nanos > 999999999 || at->seconds < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "now: no time");
    clock_gettime(CLOCK_REALTIME, &mine);
    double off = (double)(now.tv_sec - mine.tv_sec) + (double)(now.tv_nsec - mine.tv_nsec) / 1e9;
    if (fabs(off) < CLOCK_TOLERANCE)
        return 0;
    return clock_settime(CLOCK_REALTIME, &now) < 0 ? error_errno(err, errno, "the clock") : 0;
}

static void on_set_time(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    struct error err = {0};
    if (set_time(((const Guest__SetTimeRequest *)msg)->now, &err) < 0)
        rpc_call_fail(call, &err);
    else
        api_reply_empty(call);
}

// ---- the pod --------------------------------------------------------------------------------

static int write_sysctl(const Guest__Sysctl *s, struct error *err)
{
    const struct sysctl one = {.name = s->name, .value = s->value};
    if (namespace_sysctl_check(s->name, true, true, err) < 0)
        return -1;
    return namespace_sysctl_write(&one, err);
}

// What is of the whole machine: quick, and done by ourselves.
static int make_machine(const Guest__SetupRequest *req, struct error *err)
{
    static const Guest__Network nothing = GUEST__NETWORK__INIT;
    if (set_time(req->now, err) < 0 || net_apply(req->network ? req->network : &nothing, err) < 0)
        return -1;
    if (req->hostname[0] && sethostname(req->hostname, strlen(req->hostname)) < 0)
        return error_errno(err, errno, "hostname");
    if (req->n_sysctls > SYSCTLS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "sysctls: more than %d", SYSCTLS_MAX);
    for (size_t i = 0; i < req->n_sysctls; i++) {
        if (write_sysctl(req->sysctls[i], err) < 0)
            return -1;
    }
    return 0;
}

// The pod of a machine is the machine: its containers share the guest's network, ipc and uts
// namespaces. Only a shared pid namespace is one of its own, without the agent.
static int make_pod(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    const Guest__SetupRequest *req = ((const struct guest_service *)arg)->setup_request;
    char dir[PATH_MAX], ns[PATH_MAX], pid[PATH_MAX], shm[PATH_MAX];
    struct process_id init = {0};
    if (path_format(dir, sizeof dir, GUEST_DIR "/sandboxes/%s", req->sandbox_id) < 0 ||
        path_format(ns, sizeof ns, "%s/ns", dir) < 0 ||
        path_format(pid, sizeof pid, "%s/pid", ns) < 0 ||
        path_format(shm, sizeof shm, "%s/shm", dir) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "sandbox_id: too long");
    int r = file_mkdir_all(ns, 0700);
    if (r < 0)
        return error_errno(err, r, "%s", ns);
    if (mkdir(shm, 0700) < 0 ||
        mount("shm", shm, "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV, SHM_OPTIONS) < 0)
        return error_errno(err, errno, "%s", shm);
    const struct namespace_plan plan = {.dir = ns,
                                        .pid = req->shared_pid,
                                        .init_path = "/sbin/pod-init",
                                        .init_name = "kuasar-pod-init"};
    if (req->shared_pid && namespace_plan_run(&plan, &init, err) < 0)
        return -1;
    const struct pod pod = {.id = req->sandbox_id,
                            .pid_mode = req->shared_pid ? POD_PID_POD : POD_PID_CONTAINER,
                            .pid_ns = req->shared_pid ? pid : NULL,
                            .hosts = (char *)GUEST_DIR "/shared/etc/hosts",
                            .hostname = (char *)GUEST_DIR "/shared/etc/hostname",
                            .resolv_conf = (char *)GUEST_DIR "/shared/etc/resolv.conf",
                            .shm = shm};
    return pod_store(&pod, dir, err);
}

static void pod_made(const void *reply, size_t len, const struct error *err, void *arg)
{
    struct guest_service *g = arg;
    struct rpc_call *call = g->setup;
    g->setup = NULL;
    g->setup_request = NULL;
    if (err) {
        rpc_call_fail(call, err);
        return;
    }
    Guest__SetupResponse r = GUEST__SETUP_RESPONSE__INIT;
    struct utsname uts = {0};
    (void)uname(&uts);
    g->ready = true;
    r.version = (char *)KUASAR_VERSION "-" KUASAR_COMMIT;
    r.kernel = uts.release;
    api_reply(call, &r.base);
}

static void on_setup(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Guest__SetupRequest *req = (const Guest__SetupRequest *)msg;
    struct guest_service *g = ctx;
    struct error err = {0};
    if (g->ready || g->setup)
        error_set(&err, STATUS_FAILED_PRECONDITION, "the machine has its pod already");
    else if (ident_check(req->sandbox_id, "sandbox_id", &err) == 0 &&
             make_machine(req, &err) == 0) {
        g->setup = call;
        g->setup_request = req;
        if (job_start(g->loop, g->reaper, make_pod, pod_made, g, SETUP_SECONDS, &err))
            return;
        g->setup = NULL;
        g->setup_request = NULL;
    }
    rpc_call_fail(call, &err);
}

// ---- bundles ----------------------------------------------------------------------------------

static int bundle_path(char out[PATH_MAX], const char *id, const char *rest, struct error *err)
{
    if (ident_check(id, "id", err) < 0)
        return -1;
    return path_format(out, PATH_MAX, GUEST_DIR "/bundles/%s%s", id, rest) < 0
               ? error_set(err, STATUS_INVALID_ARGUMENT, "id: too long")
               : 0;
}

// What the host has mounted in what it shares is a file system of its own to the guest, made when
// somebody looks at it, in the mount namespace of who does. Looked at from here it is the same one
// in the namespaces of all containers, which are copies of ours: so they agree about its files.
static void look_at_volumes(const char *id)
{
    char path[PATH_MAX];
    if (path_format(path, sizeof(path), GUEST_DIR "/shared/%s", id) < 0)
        return;
    DIR *dir = opendir(path);
    if (!dir)
        return; // the runtime will say so
    for (struct dirent *e; (e = readdir(dir));) {
        int fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
        close_fd(&fd);
    }
    closedir(dir);
}

static int make_bundle(struct guest_service *g, const Guest__BundleRequest *req, struct error *err)
{
    char rootfs[PATH_MAX], config[PATH_MAX];
    if (bundle_path(rootfs, req->id, "/rootfs", err) < 0 ||
        bundle_path(config, req->id, "/config.json", err) < 0)
        return -1;
    if (req->config.len > BUNDLE_CONFIG_MAX || g->bundles >= BUNDLES_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "bundle %s: too large, or one too many",
                         req->id);
    int r = file_mkdir_all(rootfs, 0755);
    if (r == 0)
        r = file_write_atomic_at(AT_FDCWD, config, req->config.data, req->config.len, 0600);
    if (r < 0)
        return error_errno(err, r, "bundle %s", req->id);
    g->bundles++;
    look_at_volumes(req->id);
    return 0;
}

static void on_bundle(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    struct error err = {0};
    if (make_bundle(ctx, (const Guest__BundleRequest *)msg, &err) < 0)
        rpc_call_fail(call, &err);
    else
        api_reply_empty(call);
}

static void on_unbundle(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Guest__BundleRequest *req = (const Guest__BundleRequest *)msg;
    struct guest_service *g = ctx;
    struct error err = {0};
    if (ident_check(req->id, "id", &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    _cleanup_close_ int dir = open(GUEST_DIR "/bundles", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r = dir < 0 ? -errno : file_remove_tree_at(dir, req->id);
    if (r < 0) {
        error_errno(&err, r, "bundle %s", req->id);
        rpc_call_fail(call, &err);
        return;
    }
    g->bundles -= g->bundles > 0;
    api_reply_empty(call);
}

// ---- the end ----------------------------------------------------------------------------------

static void on_power_off(struct ev_loop *loop, ev_timer *w, int revents)
{
    sync();
    if (reboot(RB_POWER_OFF) < 0)
        log_error("cannot power off: %s", strerror(errno));
}

static void on_shutdown(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    struct guest_service *g = ctx;
    api_reply_empty(call);
    event_timer_arm(g->loop, &g->power_off, FAREWELL);
}

static const struct api_method methods[] = {
    API_METHOD("Setup", guest__setup_request, guest__setup_response, on_setup),
    API_METHOD("Bundle", guest__bundle_request, google__empty, on_bundle),
    API_METHOD("Unbundle", guest__bundle_request, google__empty, on_unbundle),
    API_METHOD("SetTime", guest__set_time_request, google__empty, on_set_time),
    API_METHOD("Shutdown", guest__shutdown_request, google__empty, on_shutdown),
    {0},
};

void guest_service_init(struct guest_service *g, struct ev_loop *loop, struct reaper *reaper)
{
    *g = (struct guest_service){.loop = loop, .reaper = reaper};
    ev_timer_init(&g->power_off, on_power_off, 0, 0);
    api_service_init(&g->service, SERVICE_GUEST, methods, g);
}
