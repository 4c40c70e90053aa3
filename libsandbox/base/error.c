#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static const char *const status_names[STATUS_MAX_] = {
    [STATUS_OK] = "OK",
    [STATUS_CANCELLED] = "CANCELLED",
    [STATUS_UNKNOWN] = "UNKNOWN",
    [STATUS_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [STATUS_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [STATUS_NOT_FOUND] = "NOT_FOUND",
    [STATUS_ALREADY_EXISTS] = "ALREADY_EXISTS",
    [STATUS_PERMISSION_DENIED] = "PERMISSION_DENIED",
    [STATUS_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [STATUS_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [STATUS_ABORTED] = "ABORTED",
    [STATUS_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [STATUS_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [STATUS_INTERNAL] = "INTERNAL",
    [STATUS_UNAVAILABLE] = "UNAVAILABLE",
    [STATUS_DATA_LOSS] = "DATA_LOSS",
    [STATUS_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

static const struct {
    int errnum;
    enum status status;
} errno_statuses[] = {
    {0, STATUS_OK},
    {ECANCELED, STATUS_CANCELLED},
    {EINVAL, STATUS_INVALID_ARGUMENT},
    {ENAMETOOLONG, STATUS_INVALID_ARGUMENT},
    {EMSGSIZE, STATUS_INVALID_ARGUMENT},
    {ENOEXEC, STATUS_INVALID_ARGUMENT},
    {E2BIG, STATUS_INVALID_ARGUMENT},
    {EFBIG, STATUS_INVALID_ARGUMENT},
    {ETIMEDOUT, STATUS_DEADLINE_EXCEEDED},
    {ENOENT, STATUS_NOT_FOUND},
    {ESRCH, STATUS_NOT_FOUND},
    {EEXIST, STATUS_ALREADY_EXISTS},
    {EPERM, STATUS_PERMISSION_DENIED},
    {EACCES, STATUS_PERMISSION_DENIED},
    {EROFS, STATUS_PERMISSION_DENIED},
    {ENOMEM, STATUS_RESOURCE_EXHAUSTED},
    {ENOSPC, STATUS_RESOURCE_EXHAUSTED},
    {EDQUOT, STATUS_RESOURCE_EXHAUSTED},
    {EMFILE, STATUS_RESOURCE_EXHAUSTED},
    {ENFILE, STATUS_RESOURCE_EXHAUSTED},
    {EAGAIN, STATUS_RESOURCE_EXHAUSTED}, // fork and clone: process limit
    {EBUSY, STATUS_FAILED_PRECONDITION},
    {ENOTDIR, STATUS_FAILED_PRECONDITION},
    {EISDIR, STATUS_FAILED_PRECONDITION},
    {ENOTEMPTY, STATUS_FAILED_PRECONDITION},
    {ELOOP, STATUS_FAILED_PRECONDITION},
    {ERANGE, STATUS_OUT_OF_RANGE},
    {EOVERFLOW, STATUS_OUT_OF_RANGE},
    {ENOSYS, STATUS_UNIMPLEMENTED},
    {EOPNOTSUPP, STATUS_UNIMPLEMENTED},
    {ECONNREFUSED, STATUS_UNAVAILABLE},
    {ECONNRESET, STATUS_UNAVAILABLE},
    {EPIPE, STATUS_UNAVAILABLE},
    {ENOTCONN, STATUS_UNAVAILABLE},
};

const char *status_name(enum status status)
{
    if ((unsigned)status >= STATUS_MAX_)
        return "UNKNOWN";
    return status_names[status];
}

enum status status_from_errno(int errnum)
{
    for (size_t i = 0; i < ARRAY_SIZE(errno_statuses); i++)
        if (errno_statuses[i].errnum == errnum || errno_statuses[i].errnum == -errnum)
            return errno_statuses[i].status;
    return STATUS_INTERNAL;
}

// Drops a UTF-8 sequence that the end of the text cuts in two.
static void trim_partial(char *text)
{
    size_t len = strlen(text), start = len;
    while (start > 0 && len - start < 4 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (len - start + 1 < want)
        text[start - 1] = '\0';
}

// Formats into a text of ERROR_TEXT_MAX bytes. The arguments must not point into it.
__attribute__((format(printf, 2, 0))) static void format(char *text, const char *fmt, va_list ap)
{
    int n = vsnprintf(text, ERROR_TEXT_MAX, fmt, ap);
    if (n < 0)
        text[0] = '\0';
    else if (n >= ERROR_TEXT_MAX)
        trim_partial(text);
}

// Puts a text together from a head and a tail; the head has the priority when they do not fit.
static void join(char *out, const char *head, const char *tail)
{
    size_t hlen = strnlen(head, ERROR_TEXT_MAX - 1), room = ERROR_TEXT_MAX - hlen - 1;
    size_t tlen = strnlen(tail, room + 1);
    memcpy(out, head, hlen);
    memcpy(out + hlen, tail, tlen > room ? room : tlen);
    out[hlen + (tlen > room ? room : tlen)] = '\0';
    if (tlen > room)
        trim_partial(out);
}

int error_set(struct error *err, enum status status, const char *fmt, ...)
{
    if (!err)
        return -1;
    char text[ERROR_TEXT_MAX]; // an argument may be the text of *err itself
    va_list ap;
    va_start(ap, fmt);
    format(text, fmt, ap);
    va_end(ap);
    err->status = status;
    memcpy(err->text, text, strlen(text) + 1);
    return -1;
}

int error_errno(struct error *err, int errnum, const char *fmt, ...)
{
    if (!err)
        return -1;
    char text[ERROR_TEXT_MAX], tail[160], why_buf[128];
    va_list ap;
    va_start(ap, fmt);
    format(text, fmt, ap);
    va_end(ap);
    const char *why = strerror_r(errnum < 0 ? -errnum : errnum, why_buf, sizeof why_buf);
    snprintf(tail, sizeof tail, ": %s", why);
    // A long text must not push the reason out.
    size_t room = ERROR_TEXT_MAX - 1 - strlen(tail);
    if (strlen(text) > room) {
        text[room] = '\0';
        trim_partial(text);
    }
    join(err->text, text, tail);
    err->status = status_from_errno(errnum);
    return -1;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    char head[ERROR_TEXT_MAX], tail[ERROR_TEXT_MAX + 2];
    va_list ap;
    va_start(ap, fmt);
    format(head, fmt, ap);
    va_end(ap);
    snprintf(tail, sizeof tail, ": %s", err->text);
    join(err->text, head, tail);
    return -1;
}

void error_clear(struct error *err)
{
    if (!err)
        return;
    err->status = STATUS_OK;
    err->text[0] = '\0';
}
