// vmm-task: the first process of a virtual machine that is a pod. It makes the machine usable,
// serves containerd's Task API and our Guest service on a vsock port to the host, and runs
// containers by crun. When it ends, the kernel panics, and the machine with it.
//
// COMMAND LINE (the kernel's; names as upstream's)
//   task.sharefs_type=virtiofs  what the host shares is mounted at /run/kuasar/shared
//   task.log_level=LEVEL        of the log, which goes to the console
//   task.probe=1                says that it runs, and powers off
#include <errno.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/services.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "boot.h"
#include "guest.h"
#include "rpc/listen.h"
#include "task/ops.h"
#include "task/port_server.h"
#include "task/server.h"

// Tells the host that we listen: it waits for this connection. One that does not is asked to look
// by itself.
static void tell_ready(void)
{
    const struct sockaddr_vm host = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = GUEST_READY_PORT};
    _cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&host, sizeof host) < 0)
        log_warn("cannot tell the host that we are ready: %s", strerror(errno));
}

struct agent {
    struct ev_loop *loop;
    struct task_server *server;
};

static void recovered(void *arg)
{
    struct error err = {0};
    int fd = rpc_listen_vsock(GUEST_PORT, &err);
    int ports = rpc_listen_vsock(GUEST_FORWARD_PORT, &err);
    if (fd < 0 || ports < 0 || task_server_serve(((struct agent *)arg)->server, fd, &err) < 0 ||
        !port_server_new(((struct agent *)arg)->loop, ports)) {
        log_error("%s", err.text);
        exit(1);
    }
    tell_ready();
}

static int serve(struct error *err)
{
    static struct guest_service guest;
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    struct reaper *reaper = loop ? reaper_new(loop) : NULL;
    if (!reaper)
        return error_errno(err, errno, "the event loop");
    guest_service_init(&guest, loop, reaper);
    const struct task_config config = {.dir = GUEST_DIR,
                                       .runtime = "crun",
                                       .runtime_root = "/run/crun",
                                       .program = "vmm-task",
                                       .version = KUASAR_VERSION "-" KUASAR_COMMIT,
                                       .more = &guest.service.rpc,
                                       .one_peer = true,
                                       .ops = &task_oci_ops};
    static struct agent agent;
    agent = (struct agent){loop, task_server_new(loop, reaper, &config, err)};
    if (!agent.server)
        return -1;
    if (task_server_recover(agent.server, recovered, &agent) < 0)
        return error_errno(err, ENOMEM, "task server");
    ev_run(loop, 0);
    return error_set(err, STATUS_INTERNAL, "the event loop has ended");
}

static int boot(struct error *err)
{
    struct boot_options options;
    enum log_level level = LOG_LEVEL_INFO;
    if (boot_mounts(err) < 0)
        return -1;
    boot_read_options(&options);
    if (options.probe) {
        puts(GUEST_PROBE_MARK);
        (void)fflush(stdout);
        (void)reboot(RB_POWER_OFF);
    }
    (void)log_level_parse(options.log_level, &level);
    log_setup("vmm-task", level);
    if (boot_cgroups(err) < 0)
        return -1;
    return options.share[0] ? boot_share(options.share, GUEST_DIR "/shared", err) : 0;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    if (getpid() != 1) {
        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
            puts("Version: " KUASAR_VERSION "-" KUASAR_COMMIT);
            return 0;
        }
        fprintf(stderr, "vmm-task: to be the first process of a virtual machine\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    (void)setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    log_setup("vmm-task", LOG_LEVEL_INFO);
    if (boot(&err) == 0)
        serve(&err);
    log_error("%s", err.text);
    sync();
    (void)reboot(RB_POWER_OFF);
    return 1;
}
