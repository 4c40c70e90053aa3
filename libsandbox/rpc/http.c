#include "rpc/http.h"

#include <string.h>

#include "base/cleanup.h"

#define PATH "/metrics"

// ---- the request ------------------------------------------------------------------------------

static bool is_token(const char *text, size_t len)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr(marks, c))))
            return false;
    }
    return len > 0;
}

static bool word_is(const char *word, size_t len, const char *wanted)
{
    return len == strlen(wanted) && memcmp(word, wanted, len) == 0;
}

static bool is_visible(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f) // a char may be signed or not
            return false;
    return len > 0;
}

// "GET /metrics?query HTTP/1.1"
static enum http_status judge_line(struct http_request *r)
{
    const char *method = r->line, *end = r->line + r->n;
    const char *first = memchr(method, ' ', r->n);
    const char *second = first ? memchr(first + 1, ' ', (size_t)(end - first) - 1) : NULL;
    if (!second)
        return HTTP_BAD_REQUEST;
    const char *target = first + 1, *version = second + 1;
    size_t method_len = (size_t)(target - method) - 1;
    size_t target_len = (size_t)(version - target) - 1;
    size_t version_len = (size_t)(end - version);
    if (!is_token(method, method_len) || !is_visible(target, target_len) ||
        (!word_is(version, version_len, "HTTP/1.1") && !word_is(version, version_len, "HTTP/1.0")))
        return HTTP_BAD_REQUEST;
    const char *query = memchr(target, '?', target_len);
    if (!word_is(target, query ? (size_t)(query - target) : target_len, PATH))
        return HTTP_NOT_FOUND;
    r->head = word_is(method, method_len, "HEAD");
    return r->head || word_is(method, method_len, "GET") ? HTTP_OK : HTTP_METHOD_NOT_ALLOWED;
}

// The end of a line, which is in r->line without its line break.
static enum http_status take_line(struct http_request *r)
{
    if (r->n && r->line[r->n - 1] == '\r')
        r->n--;
    if (!r->headers) {
        r->headers = true;
        r->wanted = judge_line(r);
        return r->wanted == HTTP_BAD_REQUEST ? HTTP_BAD_REQUEST : HTTP_MORE;
    }
    if (r->n == 0)
        return r->wanted;
    return r->named ? HTTP_MORE : HTTP_BAD_REQUEST;
}

// A byte within a line. Only the request line and the names of headers are looked at.
static enum http_status take_byte(struct http_request *r, char c)
{
    if ((c >= 0 && c < ' ' && c != '\t' && c != '\r') || c == 0x7f)
        return HTTP_BAD_REQUEST;
    if (r->headers && !r->named && c == ':') {
        r->named = true;
        return is_token(r->line, r->n) ? HTTP_MORE : HTTP_BAD_REQUEST;
    }
    if (r->headers && r->named)
        return HTTP_MORE;
    if (r->n == HTTP_LINE_MAX)
        return HTTP_TOO_LARGE;
    r->line[r->n++] = c;
    return HTTP_MORE;
}

enum http_status http_receive(struct http_request *r, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len && r->verdict == HTTP_MORE; i++) {
        if (r->total++ == HTTP_REQUEST_MAX) {
            r->verdict = HTTP_TOO_LARGE;
        } else if (data[i] == '\n') {
            r->verdict = take_line(r);
            r->n = 0;
            r->named = false;
        } else {
            r->verdict = take_byte(r, (char)data[i]);
        }
    }
    return r->verdict;
}

// ---- the answer -------------------------------------------------------------------------------

static const struct {
    enum http_status status;
    const char *reason, *text;
} answers[] = {
    {HTTP_OK, "OK", ""},
    {HTTP_BAD_REQUEST, "Bad Request", "this is no HTTP/1.1 request\n"},
    {HTTP_NOT_FOUND, "Not Found", "there is nothing here but " PATH "\n"},
    {HTTP_METHOD_NOT_ALLOWED, "Method Not Allowed", PATH " is read with GET or HEAD\n"},
    {HTTP_TIMEOUT, "Request Timeout", "the request was not complete in time\n"},
    {HTTP_TOO_LARGE, "Request Header Fields Too Large",
     "the request line or the headers are too long\n"},
    {HTTP_UNAVAILABLE, "Service Unavailable",
     "too many requests for metrics at a time, or no memory; try again\n"},
};

int http_answer(struct buf *out, enum http_status status, const struct buf *body, bool head)
{
    size_t i = 0;
    while (i < ARRAY_SIZE(answers) - 1 && answers[i].status != status)
        i++;
    bool page = answers[i].status == HTTP_OK;
    const void *data = page ? (const void *)body->data : answers[i].text;
    size_t len = page ? body->len : strlen(answers[i].text);
    int e = buf_printf(out,
                       "HTTP/1.1 %d %s\r\nContent-Type: text/plain%s; charset=utf-8\r\n"
                       "Content-Length: %zu\r\n%sConnection: close\r\n\r\n",
                       (int)answers[i].status, answers[i].reason, page ? "; version=0.0.4" : "",
                       len, status == HTTP_METHOD_NOT_ALLOWED ? "Allow: GET, HEAD\r\n" : "");
    return e < 0 || head || !len ? e : buf_append(out, data, len);
}
