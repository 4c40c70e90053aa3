// config.json: whatever is accepted is written back as the same value, can be made a member of a
// pod, and is then still acceptable, with no namespace of the pod left as it was.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (256u * 1024)

static void check(bool good)
{
    if (!good)
        abort();
}

static json_object *again(json_object *spec)
{
    struct error err = {0};
    const char *text = json_text(spec);
    json_object *copy = text ? oci_spec_parse(text, strlen(text), &err) : NULL;
    check(copy != NULL);
    return copy;
}

static void check_namespaces(json_object *spec)
{
    json_object *array =
        json_object_object_get(json_object_object_get(spec, "linux"), "namespaces");
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        json_object *ns = json_object_array_get_idx(array, i);
        const char *type = json_object_get_string(json_object_object_get(ns, "type"));
        if (strcmp(type, "network") == 0)
            check(strcmp(json_object_get_string(json_object_object_get(ns, "path")), "/net") == 0);
        check(strcmp(type, "uts") != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX)
        return 0;
    struct error err = {0};
    json_object *spec = oci_spec_parse(data, size, &err);
    check((spec != NULL) == (err.status == STATUS_OK));
    if (!spec)
        return 0;
    json_object *copy = again(spec);
    check(json_object_equal(spec, copy));
    json_object_put(copy);
    (void)oci_spec_sandbox_id(spec);
    (void)oci_spec_cgroups_path(spec);
    (void)oci_spec_root_readonly(spec);
    (void)oci_spec_private_pid(spec);
    check(oci_spec_root_path(spec) != NULL);

    char id[] = "p", net[] = "/net", ipc[] = "/ipc", hosts[] = "/hosts", shm[] = "/shm";
    struct pod pod = {.id = id, .net_ns = net, .ipc_ns = ipc, .hosts = hosts, .shm = shm};
    if (oci_spec_join_pod(spec, &pod, &err) == 0) {
        check_namespaces(spec);
        json_object_put(again(spec));
    }
    json_object_put(spec);
    return 0;
}
