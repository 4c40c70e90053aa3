#include "net/netlink.h"

#include <stdarg.h>
#include <stdio.h>

struct nl_sock *netlink_open(struct error *err)
{
    struct nl_sock *s = nl_socket_alloc();
    int r = s ? nl_connect(s, NETLINK_ROUTE) : -NLE_NOMEM;
    if (r == 0)
        return s;
    netlink_error(err, r, "netlink");
    if (s)
        nl_socket_free(s);
    return NULL;
}

// What callers can tell apart; the rest is INTERNAL, with libnl's text.
static enum status status_of(int nlerr)
{
    switch (nlerr < 0 ? -nlerr : nlerr) {
    case NLE_EXIST:
        return STATUS_ALREADY_EXISTS;
    case NLE_OBJ_NOTFOUND:
    case NLE_NODEV:
        return STATUS_NOT_FOUND;
    case NLE_NOMEM:
        return STATUS_RESOURCE_EXHAUSTED;
    case NLE_PERM:
    case NLE_NOACCESS:
        return STATUS_PERMISSION_DENIED;
    case NLE_INVAL:
        return STATUS_INVALID_ARGUMENT;
    default:
        return STATUS_INTERNAL;
    }
}

int netlink_error(struct error *err, int nlerr, const char *fmt, ...)
{
    char what[ERROR_TEXT_MAX / 2];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return error_set(err, status_of(nlerr), "%s: %s", what, nl_geterror(nlerr));
}
