#include "vmm/agent.h"

#include <errno.h>
#include <ev.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/message.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "rpc/listen.h"
#include "rpc/ttrpc_client.h"

int agent_listen(const char *vsock, unsigned user, struct error *err)
{
    char path[PATH_MAX];
    if (path_format(path, sizeof path, "%s_%d", vsock, GUEST_READY_PORT) < 0)
        return error_set(err, STATUS_INTERNAL, "%s: path too long", vsock);
    _cleanup_close_ int fd = rpc_listen_unix(path, err);
    if (fd < 0)
        return -1;
    if (chown(path, user, user) < 0)
        return error_errno(err, errno, "%s", path);
    return take_fd(&fd);
}

int agent_wait(int listening, int pidfd, double seconds, struct error *err)
{
    struct pollfd fds[] = {{.fd = listening, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    int n = poll(fds, ARRAY_SIZE(fds), (int)(seconds * 1e3));
    if (n < 0)
        return error_errno(err, errno, "waiting for the guest");
    if (n == 0)
        return error_set(err, STATUS_DEADLINE_EXCEEDED,
                         "the guest has not started within %.0f s; its console says why", seconds);
    if (fds[0].revents & POLLIN)
        return 0;
    return error_set(err, STATUS_UNAVAILABLE,
                     "the virtual machine ended before its agent was ready; its console says why");
}

struct waiting {
    struct ev_loop *loop;
    bool answered;
    struct error err;
};

static void on_answer(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    struct waiting *w = arg;
    w->answered = true;
    if (err)
        w->err = *err;
    ev_break(w->loop, EVBREAK_ALL);
}

int agent_setup(const char *vsock, const Guest__SetupRequest *request, double seconds,
                struct error *err)
{
    struct waiting w = {.loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV)};
    size_t len = 0;
    _cleanup_free_ uint8_t *data = api_message_encode(&request->base, &len);
    struct ttrpc_client *c =
        w.loop ? ttrpc_client_new_vsock(w.loop, vsock, GUEST_PORT, NULL, NULL) : NULL;
    int r = -1;
    if (!c || !data)
        error_errno(err, ENOMEM, "Setup");
    else if (ttrpc_client_call(c, SERVICE_GUEST, "Setup", data, len, seconds, NULL, on_answer, &w,
                               err)) {
        ev_run(w.loop, 0);
        r = w.err.status ? -1 : 0;
        if (r < 0) {
            *err = w.err;
            error_wrap(err, "guest");
        }
    }
    ttrpc_client_free(c);
    if (w.loop)
        ev_loop_destroy(w.loop);
    return r;
}
