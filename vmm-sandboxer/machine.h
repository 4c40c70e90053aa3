// Sandboxes that are virtual machines: the slots of struct sandbox_ops. Contracts there.
#ifndef VMM_SANDBOXER_MACHINE_H
#define VMM_SANDBOXER_MACHINE_H

#include "sandbox/sandbox.h"

int machine_plan(struct sandbox_manager *m, struct sandbox_record *r,
                 const struct sandbox_request *q, struct error *err);
int machine_make(struct sandbox_manager *m, const struct sandbox_record *r,
                 const struct sandbox_request *q, struct sandbox_made *made, struct error *err);
int machine_check(struct sandbox_manager *m, const struct sandbox_record *r, struct error *err);
int machine_resize(struct sandbox_manager *m, const struct sandbox_record *r,
                   const struct sandbox_sizes *sizes, struct error *err);

#endif
