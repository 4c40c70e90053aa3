#include "ctl/client.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "api/message.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "rpc/ttrpc_client.h"

struct asking {
    struct ev_loop *loop;
    const ProtobufCMessageDescriptor *type;
    ProtobufCMessage *answer;
    struct error err;
};

static void on_answer(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    struct asking *a = arg;
    if (err)
        a->err = *err;
    else
        a->answer = api_message_decode(a->type, data, len, &a->err);
    ev_break(a->loop, EVBREAK_ALL);
}

static int check_socket(const char *path, struct error *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return error_errno(err, errno, "%s", path);
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, STATUS_FAILED_PRECONDITION, "%s: is no socket", path);
    return 0;
}

ProtobufCMessage *client_ask(struct ev_loop *loop, const char *socket, const char *method,
                             const ProtobufCMessage *request,
                             const ProtobufCMessageDescriptor *answer, double timeout,
                             struct error *err)
{
    struct asking a = {.loop = loop, .type = answer};
    size_t len;
    if (check_socket(socket, err) < 0)
        return NULL;
    _cleanup_free_ uint8_t *payload = api_message_encode(request, &len);
    struct ttrpc_client *client = payload ? ttrpc_client_new(loop, socket, NULL, NULL) : NULL;
    if (!client) {
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: no memory, or the path is too long", socket);
        return NULL;
    }
    if (ttrpc_client_call(client, SERVICE_INSPECT, method, payload, len, timeout, NULL, on_answer,
                          &a, &a.err))
        ev_run(loop, 0);
    ttrpc_client_free(client);
    if (!a.answer)
        *err = a.err;
    return a.answer;
}

const char *client_remedy(const struct error *why)
{
    switch (why->status) {
    case STATUS_NOT_FOUND:
        return "start it (systemctl start kuasar-KIND); it makes the socket";
    case STATUS_UNAVAILABLE:
        return "it is not running: start it, or see its log";
    case STATUS_DEADLINE_EXCEEDED:
        return "it hangs or is stopped: see its log, and what it waits for in /proc/PID/stack";
    case STATUS_UNIMPLEMENTED:
        return "it is older than this program: restart it after the upgrade";
    case STATUS_PERMISSION_DENIED:
        return "run this as root";
    default:
        return "see its log";
    }
}
