// Kernel parameters of a pod. Most of /proc/sys belongs to the whole node; a pod may only set what
// the kernel keeps per network or per IPC namespace, and only if it has such a namespace of its
// own.
#include "linux/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "linux/namespace_internal.h"

#define SYSCTL_NAME_MAX  256
#define SYSCTL_VALUE_MAX 4096

enum owner { OWNER_NET, OWNER_IPC };

// Names, or name beginnings that end in a dot. ipc_namespaces(7), Documentation/admin-guide/sysctl.
static const struct {
    const char *name;
    enum owner owner;
} sysctl_owners[] = {
    {"net.", OWNER_NET},          {"fs.mqueue.", OWNER_IPC},
    {"kernel.msgmax", OWNER_IPC}, {"kernel.msgmnb", OWNER_IPC},
    {"kernel.msgmni", OWNER_IPC}, {"kernel.sem", OWNER_IPC},
    {"kernel.shmall", OWNER_IPC}, {"kernel.shmmax", OWNER_IPC},
    {"kernel.shmmni", OWNER_IPC}, {"kernel.shm_rmid_forced", OWNER_IPC},
};

static bool owner_find(const char *name, enum owner *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(sysctl_owners); i++) {
        const char *known = sysctl_owners[i].name;
        size_t n = strlen(known);
        bool hit = known[n - 1] == '.' ? strncmp(name, known, n) == 0 : strcmp(name, known) == 0;
        if (hit) {
            *ret = sysctl_owners[i].owner;
            return true;
        }
    }
    return false;
}

// Parts of letters, digits, '_' and '-', separated by single dots. This leaves no way to spell
// another directory.
static bool name_valid(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    if (strlen(name) > SYSCTL_NAME_MAX)
        return false;
    for (;;) {
        size_t n = strspn(name, letters);
        if (n == 0)
            return false;
        name += n;
        if (*name == '\0')
            return true;
        if (*name++ != '.')
            return false;
    }
}

// The name with everything unprintable replaced, for errors.
static const char *printable(const char *name, char out[static 64])
{
    size_t i = 0;
    for (; name[i] && i < 63; i++) {
        out[i] = name[i];
        if (name[i] < ' ' || name[i] >= 127)
            out[i] = '?';
    }
    out[i] = '\0';
    return out;
}

int namespace_sysctl_check(const char *name, bool own_net, bool own_ipc, struct error *err)
{
    char shown[64];
    if (!name || !name_valid(name))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "sysctl \"%s\": a name is made of parts of letters, digits, '_' and '-' "
                         "with dots between them",
                         name ? printable(name, shown) : "");
    enum owner owner;
    if (!owner_find(name, &owner))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "sysctl \"%s\" is not in a separate kernel namespace: it would change the "
                         "whole node; remove it from the pod",
                         printable(name, shown));
    if (owner == OWNER_NET && !own_net)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "sysctl \"%s\" is not in a separate kernel namespace: the pod uses the "
                         "host's network; remove the sysctl or hostNetwork",
                         printable(name, shown));
    if (owner == OWNER_IPC && !own_ipc)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "sysctl \"%s\" is not in a separate kernel namespace: the pod uses the "
                         "host's IPC; remove the sysctl or hostIPC",
                         printable(name, shown));
    return 0;
}

int namespace_sysctl_write(const struct sysctl *s, struct error *err)
{
    if (!s->value || strlen(s->value) > SYSCTL_VALUE_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "sysctl \"%s\": value missing or too long",
                         s->name);
    char path[sizeof("/proc/sys/") + SYSCTL_NAME_MAX];
    int r = path_format(path, sizeof(path), "/proc/sys/%s", s->name);
    if (r < 0)
        return error_errno(err, r, "sysctl");
    for (char *p = path + strlen("/proc/sys/"); *p; p++)
        if (*p == '.')
            *p = '/';
    r = file_write_value_at(AT_FDCWD, path, s->value);
    if (r == -ENOENT)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "sysctl \"%s\" does not exist in this kernel; remove it from the pod or "
                         "load the module that brings it",
                         s->name);
    if (r < 0)
        return error_errno(err, r, "sysctl \"%s\": value \"%.100s\" was not accepted", s->name,
                           s->value);
    return 0;
}
