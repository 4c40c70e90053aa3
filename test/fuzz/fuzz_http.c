// HTTP requests: the verdict is one of the known ones, does not depend on how the bytes are cut,
// and is reached within the limit.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answer(enum http_status verdict, bool head)
{
    struct buf out, page;
    buf_init(&out, 4096);
    buf_init(&page, 16);
    if (buf_append(&page, "a 1\n", 4) < 0 || http_answer(&out, verdict, &page, head) < 0)
        abort();
    if (strncmp((const char *)out.data, "HTTP/1.1 ", 9) != 0 ||
        strtol((const char *)out.data + 9, NULL, 10) != (long)verdict)
        abort();
    buf_free(&out);
    buf_free(&page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request whole = {0}, cut = {0};
    enum http_status verdict = http_receive(&whole, data, size);
    for (size_t i = 0; i < size; i++)
        http_receive(&cut, data + i, 1);
    if (cut.verdict != verdict || cut.total != whole.total || cut.head != whole.head)
        abort();
    if (whole.total > HTTP_REQUEST_MAX + 1 || (size > HTTP_REQUEST_MAX && verdict == HTTP_MORE))
        abort();
    if (verdict != HTTP_MORE)
        check_answer(verdict, whole.head);
    return 0;
}
