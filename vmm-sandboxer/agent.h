// Asking the agent of a new machine to make the pod in it, from the job that makes the machine.
#ifndef VMM_SANDBOXER_AGENT_H
#define VMM_SANDBOXER_AGENT_H

#include "api/guest.pb-c.h"
#include "base/error.h"

// Listens on the socket to which the device at `vsock` hands on what the guest opens to us on
// GUEST_READY_PORT; user `user` may connect. Returns the descriptor or -1.
int agent_listen(const char *vsock, unsigned user, struct error *err);
// Waits until the agent has connected there, `pidfd` (the monitor) has ended, or `seconds` have
// passed. Returns 0 or -1.
int agent_wait(int listening, int pidfd, double seconds, struct error *err);
// Sends Setup and waits for the answer. Returns 0 or -1.
int agent_setup(const char *vsock, const Guest__SetupRequest *request, double seconds,
                struct error *err);

#endif
