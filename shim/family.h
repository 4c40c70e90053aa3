// What a shim speaks for: the one program has a name for every runtime type.
#ifndef SHIM_FAMILY_H
#define SHIM_FAMILY_H

#include <stdbool.h>

struct family {
    const char *runtime;     // "kuasar-runc", as in io.containerd.kuasar-runc.v2
    const char *sandboxer;   // the daemon
    const char *plugin;      // its proxy plugin in our examples
    const char *dir;         // its state directory
    const char *task_socket; // where its task server listens
    const char *config;      // its configuration file
};

// By the program's name, without a directory: "containerd-shim-<runtime>-v1" or "-v2". Any other
// name (runtime_path may be a link) is taken for the runc kind's.
const struct family *family_of(const char *program);

#endif
