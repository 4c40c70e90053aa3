#include "unsupported.h"

#include <string.h>

#include "base/cleanup.h"

#define DEPTH_MAX 3

// Keys from the top on, and what to do about it.
struct field {
    const char *keys[DEPTH_MAX + 1];
    const char *remedy;
};

static const struct field of_spec[] = {
    {{"hooks", "prestart"}, "no hooks are run: leave them out"},
    {{"hooks", "createRuntime"}, "no hooks are run: leave them out"},
    {{"hooks", "createContainer"}, "no hooks are run: leave them out"},
    {{"hooks", "startContainer"}, "no hooks are run: leave them out"},
    {{"hooks", "poststart"}, "no hooks are run: leave them out"},
    {{"hooks", "poststop"}, "no hooks are run: leave them out"},
    {{"linux", "devices"},
     "a WebAssembly container has no devices (a privileged one asks for all): leave them out"},
    {{"linux", "netDevices"}, "give them to the pod"},
    {{"linux", "sysctl"}, "set them for the pod"},
    {{"linux", "timeOffsets"}, "it has the clocks of the node: leave them out"},
    {{"linux", "mountLabel"}, "SELinux labels cannot be set: disable_selinux, or another runtime"},
    {{"linux", "intelRdt"}, "leave it out"},
    {{"linux", "memoryPolicy"}, "leave it out"},
};

static const struct field of_resources[] = {
    {{"blockIO"}, "block I/O is not limited: leave it out"},
    {{"network"}, "network classes are not set: leave it out"},
    {{"rdma"}, "RDMA is not limited: leave it out"},
    {{"memory", "disableOOMKiller"}, "leave it out"},
    {{"memory", "swappiness"}, "leave it out"},
    {{"memory", "kernel"}, "leave it out"},
    {{"memory", "kernelTCP"}, "leave it out"},
    {{"cpu", "realtimeRuntime"}, "leave it out"},
    {{"cpu", "realtimePeriod"}, "leave it out"},
    {{"cpu", "burst"}, "leave it out"},
    {{"cpu", "idle"}, "leave it out"},
};

static const struct field of_process[] = {
    {{"selinuxLabel"}, "SELinux labels cannot be set: disable_selinux, or another runtime"},
    {{"scheduler"}, "leave it out"},
    {{"ioPriority"}, "leave it out"},
    {{"execCPUAffinity"}, "leave it out"},
};

// Whatever is there, but for what is as good as nothing.
static bool is_asked(json_object *o)
{
    switch (json_object_get_type(o)) {
    case json_type_null:
        return false;
    case json_type_boolean:
        return json_object_get_boolean(o);
    case json_type_int:
        return json_object_get_int64(o) != 0;
    case json_type_string:
        return json_object_get_string_len(o) > 0;
    case json_type_array:
        return json_object_array_length(o) > 0;
    case json_type_object:
        return json_object_object_length(o) > 0;
    default:
        return true;
    }
}

static json_object *find(json_object *o, const struct field *f)
{
    for (size_t i = 0; f->keys[i]; i++) {
        if (!json_object_is_type(o, json_type_object) ||
            !json_object_object_get_ex(o, f->keys[i], &o))
            return NULL;
    }
    return o;
}

static int refuse(const struct field *f, struct error *err)
{
    error_set(err, STATUS_UNIMPLEMENTED, "%s", f->remedy);
    size_t n = 0;
    while (f->keys[n])
        n++;
    while (n > 0)
        error_wrap(err, "%s", f->keys[--n]);
    return -1;
}

static int check(json_object *o, const struct field *fields, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (is_asked(find(o, &fields[i])))
            return refuse(&fields[i], err);
    }
    return 0;
}

// The only one whose value matters.
static int check_personality(json_object *spec, struct error *err)
{
    static const struct field domain = {{"linux", "personality", "domain"}, "want LINUX"};
    json_object *o = find(spec, &domain);
    if (!is_asked(o) || (json_object_is_type(o, json_type_string) &&
                         strcmp(json_object_get_string(o), "LINUX") == 0))
        return 0;
    return refuse(&domain, err);
}

int unsupported_check(json_object *spec, struct error *err)
{
    static const struct field resources = {{"linux", "resources"}, NULL};
    if (check(spec, of_spec, ARRAY_SIZE(of_spec), err) < 0 || check_personality(spec, err) < 0)
        return -1;
    json_object *o = find(spec, &resources);
    return unsupported_check_resources(o, err) < 0 ? error_wrap(err, "linux: resources") : 0;
}

int unsupported_check_resources(json_object *resources, struct error *err)
{
    return check(resources, of_resources, ARRAY_SIZE(of_resources), err);
}

int unsupported_check_process(json_object *process, struct error *err)
{
    return check(process, of_process, ARRAY_SIZE(of_process), err);
}
