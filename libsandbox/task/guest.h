// The agent of one virtual machine, as the task server on the host knows it: one connection for
// calls and streams, and the events that it follows. Nothing that the agent says is believed before
// it is checked: answers are decoded within limits, ids must be of containers that are there.
#ifndef TASK_GUEST_H
#define TASK_GUEST_H

#include "api/message.h"
#include "linux/process.h"
#include "rpc/ttrpc_client.h"
#include "task/internal.h"

// What the sandboxer leaves for us in a sandbox's directory when the machine runs:
// {"version":1,"pid":N,"start_time":N,"vsock":"<path>"}.
#define GUEST_FILE "vm.json"
// Where the guest sees the directory "shared" of its sandbox.
#define GUEST_SHARED "/run/kuasar/shared"
// Where the agent keeps the bundles of containers.
#define GUEST_BUNDLES "/run/kuasar/bundles"
// Most out-of-memory events of one container that are passed on.
#define GUEST_OOMS_MAX 64

struct guest {
    struct task_server *server;
    char *sandbox_id;
    char *shared;          // the directory on the host
    struct process_id vmm; // what containerd is told as the pid of every process
    struct ttrpc_client *client;
    struct guest_ports *ports; // NULL: port-forward does not work
    unsigned refs;
    uint64_t follow; // number of the open Events call
    uint64_t epoch, last;
    ev_tstamp asked;          // when the open Events call was made
    struct guest_call *clock; // an open SetTime call
    ev_tstamp clock_set;      // when the last was made
    bool dead;                // the agent is gone: every call fails
    uint64_t streams;         // ids given so far
    LIST_ENTRY(guest) link;
};

// The guest of a sandbox, connected, with one reference more. NULL on error: FAILED_PRECONDITION
// when the sandbox has no machine.
struct guest *guest_get(struct task_server *s, const char *sandbox_id, struct error *err);
// Gives a reference back. Accepts NULL. Returns NULL.
struct guest *guest_put(struct guest *g);

// The machine is of no use any more: it is killed, and every process of its containers has ended.
void guest_die(struct guest *g, const char *why);

// The answer, decoded, valid during the call; NULL with err.
typedef void (*guest_reply_fn)(const ProtobufCMessage *reply, const struct error *err, void *arg);

// A call that is open.
struct guest_call;
// Sends a request; fn is called once, from the loop. `ns`: containerd's namespace, NULL without.
// NULL on error (fn is not called).
struct guest_call *guest_call(struct guest *g, const char *service, const char *method,
                              const char *ns, const ProtobufCMessage *request,
                              const ProtobufCMessageDescriptor *reply_type, double timeout,
                              guest_reply_fn fn, void *arg, struct error *err);
// The answer is not wanted any more. Accepts NULL. Returns NULL.
struct guest_call *guest_call_forget(struct guest_call *c);

// What the events of the guest mean for the kind of task (remote_ops.c).
void remote_exited(struct task_process *p, uint32_t code);
void remote_oom(struct task *t);
// The machine or its agent is gone: every process of its containers has ended.
void remote_lost(struct task *t);
// Is this task one of the guest's?
bool remote_is_of(const struct task *t, const struct guest *g);

#endif
