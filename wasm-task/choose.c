#include "choose.h"

#include <string.h>

#include "base/cleanup.h"

#define TYPE_PREFIX "io.containerd.kuasar-"

// All that we know how to use; which of them a worker was built with is for it to say.
static const char *const engines[] = {"wasmtime", "wasmedge"};

static const char *find(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
        if (strlen(engines[i]) == len && memcmp(engines[i], name, len) == 0)
            return engines[i];
    }
    return NULL;
}

static const char *of_type(const char *type)
{
    if (!type || strncmp(type, TYPE_PREFIX, strlen(TYPE_PREFIX)) != 0)
        return NULL;
    const char *name = type + strlen(TYPE_PREFIX);
    return find(name, strcspn(name, "."));
}

const char *choose_engine(const char *runtime_type, const char *annotation, const char *fallback,
                          struct error *err)
{
    const char *of_class = of_type(runtime_type), *wanted = annotation ? annotation : fallback;
    const char *engine = !annotation && of_class ? of_class : find(wanted, strlen(wanted));
    if (!engine)
        error_set(err, STATUS_INVALID_ARGUMENT, "%s \"%.60s\": want wasmtime or wasmedge",
                  annotation ? "annotation " CHOOSE_ANNOTATION : "engine in the configuration",
                  wanted);
    else if (of_class && engine != of_class) {
        error_set(err, STATUS_INVALID_ARGUMENT,
                  "annotation " CHOOSE_ANNOTATION " \"%s\": the pod's runtime class is %s's",
                  engine, of_class);
        engine = NULL;
    }
    return engine;
}
