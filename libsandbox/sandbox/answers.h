// The Controller's answers, made from a sandbox's record.
#ifndef SANDBOX_ANSWERS_H
#define SANDBOX_ANSWERS_H

#include <stdbool.h>

#include "rpc/call.h"
#include "sandbox/record.h"

// Each ends the call. `address` is the task server's ("ttrpc+unix:///..."), `dir` the state
// directory.
void answer_create(struct rpc_call *call, const char *id);
void answer_start(struct rpc_call *call, const struct sandbox_record *r, const char *address,
                  const char *dir);
void answer_wait(struct rpc_call *call, const struct sandbox_record *r);
void answer_status(struct rpc_call *call, const struct sandbox_record *r, const char *address,
                   const char *dir, bool verbose);
void answer_platform(struct rpc_call *call);

#endif
