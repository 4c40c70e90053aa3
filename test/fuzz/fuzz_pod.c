// pod.json: what is accepted keeps the promises of struct pod.
#include <stdint.h>
#include <stdlib.h>

#include "base/ident.h"
#include "oci/pod.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > POD_SIZE_MAX)
        return 0;
    struct pod pod = {0};
    struct error err = {0};
    if (pod_parse(&pod, data, size, &err) < 0) {
        if (err.status == STATUS_OK || pod.id)
            abort();
        return 0;
    }
    if (!ident_valid(pod.id) || (pod.pid_ns != NULL) != (pod.pid_mode == POD_PID_POD) ||
        (pod.hosts && pod.hosts[0] != '/') || (pod.user_ns != NULL) != id_map_valid(&pod.ids.uid) ||
        (pod.user_ns != NULL) != id_map_valid(&pod.ids.gid))
        abort();
    pod_done(&pod);
    return 0;
}
