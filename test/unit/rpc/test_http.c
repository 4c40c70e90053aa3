#include "rpc/http.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

// The verdict on a text given whole, which must be the same when it comes byte by byte.
static enum http_status judge(const char *text)
{
    struct http_request whole = {0}, bytes = {0};
    size_t len = strlen(text);
    enum http_status verdict = http_receive(&whole, (const uint8_t *)text, len);
    for (size_t i = 0; i < len; i++)
        http_receive(&bytes, (const uint8_t *)text + i, 1);
    cr_expect_eq(verdict, bytes.verdict, "%s", text);
    return verdict;
}

Test(http, requests_and_their_verdicts)
{
    static const struct {
        const char *text;
        enum http_status verdict;
    } cases[] = {
        {"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", HTTP_OK},
        {"GET /metrics HTTP/1.0\r\n\r\n", HTTP_OK},
        {"HEAD /metrics HTTP/1.1\r\n\r\n", HTTP_OK},
        {"GET /metrics HTTP/1.1\n\n", HTTP_OK},
        {"GET /metrics?name[]=x HTTP/1.1\r\nAccept: */*\r\nX:\r\n\r\n", HTTP_OK},
        {"GET /metrics HTTP/1.1\r\nA: b\r\n\r\nwhat follows is ignored", HTTP_OK},
        {"", HTTP_MORE},
        {"GET /metrics HTTP/1.1", HTTP_MORE},
        {"GET /metrics HTTP/1.1\r\nHost: x\r\n", HTTP_MORE},
        {"GET / HTTP/1.1\r\n\r\n", HTTP_NOT_FOUND},
        {"GET /metricsx HTTP/1.1\r\n\r\n", HTTP_NOT_FOUND},
        {"GET /../metrics HTTP/1.1\r\n\r\n", HTTP_NOT_FOUND},
        {"GET http://h/metrics HTTP/1.1\r\n\r\n", HTTP_NOT_FOUND},
        {"POST / HTTP/1.1\r\n\r\n", HTTP_NOT_FOUND},
        {"POST /metrics HTTP/1.1\r\n\r\n", HTTP_METHOD_NOT_ALLOWED},
        {"get /metrics HTTP/1.1\r\n\r\n", HTTP_METHOD_NOT_ALLOWED},
        {"\r\n", HTTP_BAD_REQUEST},
        {" GET /metrics HTTP/1.1\r\n\r\n", HTTP_BAD_REQUEST},
        {"GET  /metrics HTTP/1.1\r\n\r\n", HTTP_BAD_REQUEST},
        {"GET /metrics\r\n\r\n", HTTP_BAD_REQUEST},
        {"GET /metrics HTTP/1.2\r\n", HTTP_BAD_REQUEST},
        {"GET /metrics HTTP/1.1 \r\n", HTTP_BAD_REQUEST},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP_BAD_REQUEST},
        {"\x16\x03\x01\x02", HTTP_BAD_REQUEST}, // TLS
        {"GET /metrics HTTP/1.1\r\nno colon\r\n", HTTP_BAD_REQUEST},
        {"GET /metrics HTTP/1.1\r\nHost: x\r\n folded\r\n", HTTP_BAD_REQUEST},
        {"GET /metrics HTTP/1.1\r\n: x\r\n", HTTP_BAD_REQUEST},
        {"GET /metrics HTTP/1.1\r\nHost : x\r\n", HTTP_BAD_REQUEST},
        {"GET /metrics HTTP/1.1\r\nA: \x01\r\n", HTTP_BAD_REQUEST},
        {"GET /metr\x7fics HTTP/1.1\r\n", HTTP_BAD_REQUEST},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_eq(judge(cases[i].text), cases[i].verdict, "%zu: %s", i, cases[i].text);
}

Test(http, a_request_line_has_a_limit)
{
    char text[HTTP_LINE_MAX + 2] = "GET /";
    memset(text + 5, 'x', HTTP_LINE_MAX - 5 + 1);
    text[HTTP_LINE_MAX] = '\0';
    cr_expect_eq(judge(text), HTTP_MORE);
    text[HTTP_LINE_MAX] = 'x';
    cr_expect_eq(judge(text), HTTP_TOO_LARGE);
}

Test(http, headers_have_a_limit)
{
    struct http_request r = {0};
    const char *line = "GET /metrics HTTP/1.1\r\nA: ";
    http_receive(&r, (const uint8_t *)line, strlen(line));
    while (r.total < HTTP_REQUEST_MAX)
        cr_assert_eq(http_receive(&r, (const uint8_t *)"x", 1), HTTP_MORE);
    cr_expect_eq(http_receive(&r, (const uint8_t *)"x", 1), HTTP_TOO_LARGE);
    // and a name of a header
    r = (struct http_request){0};
    http_receive(&r, (const uint8_t *)line, strlen(line) - 3);
    while (http_receive(&r, (const uint8_t *)"x", 1) == HTTP_MORE)
        cr_assert_leq(r.total, 2 * HTTP_LINE_MAX);
    cr_expect_eq(r.verdict, HTTP_TOO_LARGE);
}

Test(http, a_nul_byte_is_refused)
{
    struct http_request r = {0};
    cr_expect_eq(http_receive(&r, (const uint8_t *)"GET \0", 5), HTTP_BAD_REQUEST);
}

Test(http, a_verdict_stays)
{
    struct http_request r = {0};
    http_receive(&r, (const uint8_t *)"\r\n", 2);
    cr_expect_eq(http_receive(&r, (const uint8_t *)"GET /metrics HTTP/1.1\r\n\r\n", 25),
                 HTTP_BAD_REQUEST);
    cr_expect_eq(r.total, 2, "what follows is not even looked at");
}

static void expect_answer(enum http_status status, bool head, const char *wanted)
{
    struct buf out, page;
    buf_init(&out, 4096);
    buf_init(&page, 4096);
    buf_append(&page, "a 1\n", 4);
    cr_assert_eq(http_answer(&out, status, &page, head), 0);
    cr_expect_str_eq(buf_cstr(&out), wanted);
    buf_free(&out);
    buf_free(&page);
}

Test(http, answers)
{
    expect_answer(HTTP_OK, false,
                  "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                  "Content-Length: 4\r\nConnection: close\r\n\r\na 1\n");
    expect_answer(HTTP_OK, true,
                  "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                  "Content-Length: 4\r\nConnection: close\r\n\r\n");
    expect_answer(HTTP_METHOD_NOT_ALLOWED, false,
                  "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\n"
                  "Content-Length: 34\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n"
                  "/metrics is read with GET or HEAD\n");
}

Test(http, an_answer_without_room_fails)
{
    struct buf out;
    buf_init(&out, 100);
    cr_expect_lt(http_answer(&out, HTTP_NOT_FOUND, NULL, false), 0);
    buf_free(&out);
}
