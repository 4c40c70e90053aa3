// Errors that a person or an RPC peer will read: a status and a text.
//
// Low layers (base, event, linux) return 0 or a negative errno. Everything that talks to a peer or
// reads bytes from outside takes a trailing `struct error *`. It is a plain value with a bounded
// text: reporting "out of memory" needs no memory. Functions never touch *err on success.
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

// Status codes of gRPC and ttrpc (both use the numbers of google.rpc.Code).
enum status {
    STATUS_OK = 0,
    STATUS_CANCELLED = 1,
    STATUS_UNKNOWN = 2,
    STATUS_INVALID_ARGUMENT = 3,
    STATUS_DEADLINE_EXCEEDED = 4,
    STATUS_NOT_FOUND = 5,
    STATUS_ALREADY_EXISTS = 6,
    STATUS_PERMISSION_DENIED = 7,
    STATUS_RESOURCE_EXHAUSTED = 8,
    STATUS_FAILED_PRECONDITION = 9,
    STATUS_ABORTED = 10,
    STATUS_OUT_OF_RANGE = 11,
    STATUS_UNIMPLEMENTED = 12,
    STATUS_INTERNAL = 13,
    STATUS_UNAVAILABLE = 14,
    STATUS_DATA_LOSS = 15,
    STATUS_UNAUTHENTICATED = 16,
    STATUS_MAX_ = 17,
};

// Longest text of an error, with its NUL; longer texts are cut at a character boundary.
#define ERROR_TEXT_MAX 1024

struct error {
    enum status status; // STATUS_OK: no error
    char text[ERROR_TEXT_MAX];
};

// Name of a status ("NOT_FOUND"); "UNKNOWN" for numbers outside the enum.
const char *status_name(enum status status);

// The status a peer should see for an errno value (positive or negative).
enum status status_from_errno(int errnum);

// Sets *err (which may be NULL). Always returns -1, so that `return error_set(...)` composes.
int error_set(struct error *err, enum status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// Like error_set with the status of `errnum` (sign ignored) and ": <strerror>" after the text.
int error_errno(struct error *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// Puts "<text>: " in front of the text that *err already has; keeps the status. Returns -1.
int error_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// Forgets the error.
void error_clear(struct error *err);

#endif
