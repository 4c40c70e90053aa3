// The server's side of one HTTP/1.1 request, as bytes in and bytes out: GET and HEAD of /metrics,
// and nothing else. (RFC 9112; no body is taken, no connection is kept.)
#ifndef RPC_HTTP_H
#define RPC_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

// Largest request, with its headers.
#define HTTP_REQUEST_MAX 8192
// Longest request line: the path that is served, with room for a query.
#define HTTP_LINE_MAX 1024

enum http_status {
    HTTP_MORE = 0, // the request is not complete
    HTTP_OK = 200,
    HTTP_BAD_REQUEST = 400,
    HTTP_NOT_FOUND = 404,
    HTTP_METHOD_NOT_ALLOWED = 405,
    HTTP_TIMEOUT = 408,
    HTTP_TOO_LARGE = 431,
    HTTP_UNAVAILABLE = 503,
};

// A request that is being read. {0} is a fresh one.
struct http_request {
    size_t total;             // bytes so far
    size_t n;                 // of the line that is being read
    bool headers, head;       // the request line is over; it was HEAD
    bool named;               // the header line has its colon
    enum http_status verdict; // HTTP_MORE until it is known
    enum http_status wanted;  // what the request line asks for
    char line[HTTP_LINE_MAX];
};

// Takes bytes; what comes after the request is ignored. Returns the verdict: HTTP_MORE, HTTP_OK if
// the page is to be sent, or an error. It never changes again once it is not HTTP_MORE.
enum http_status http_receive(struct http_request *r, const uint8_t *data, size_t len);

// Appends an answer. With HTTP_OK `body` is the page, with an error the text is made here and
// `body` is ignored. `head`: without the body. Returns 0 or a negative errno of base/buf.h.
int http_answer(struct buf *out, enum http_status status, const struct buf *body, bool head);

#endif
