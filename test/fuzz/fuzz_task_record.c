// Records of a dead task server: what is accepted must name one container and only processes and
// cgroups that may be killed.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/ident.h"
#include "task/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct task_record r;
    struct error err = {0};
    if (size > 65536)
        return 0;
    if (task_record_parse(data, size, &r, &err) < 0) {
        if (err.status == STATUS_OK)
            abort();
        return 0;
    }
    if (!ident_valid(r.ns) || !ident_valid(r.id) || !r.engine || r.init.pid == 1 || r.init.pid < 0)
        abort();
    if (r.cgroup && (r.cgroup[0] != '/' || !r.cgroup[strspn(r.cgroup, "/")]))
        abort();
    for (size_t i = 0; i < r.n_execs; i++) {
        if (r.execs[i].pid.pid < 0 || r.execs[i].pid.pid == 1 || !ident_valid(r.execs[i].id))
            abort();
    }
    task_record_done(&r);
    return 0;
}
