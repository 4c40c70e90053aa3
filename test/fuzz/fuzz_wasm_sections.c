// Sections of a module: whatever is kept of one has no compiled code in it and is otherwise the
// same, and code that is put behind it is found.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/wasmedge/sections.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (256u * 1024)

static void check(bool good)
{
    if (!good)
        abort();
}

// Every byte of `part` is in `whole`, in that order.
static bool is_left_of(const uint8_t *part, size_t part_len, const uint8_t *whole, size_t len)
{
    size_t at = 0;
    for (size_t i = 0; i < len && at < part_len; i++)
        at += whole[i] == part[at];
    return at == part_len;
}

// Cutting it once more takes nothing away.
static void check_clean(const uint8_t *bytes, size_t len)
{
    struct error err = {0};
    size_t n = 0;
    uint8_t *again = sections_without_code(bytes, len, &n, &err);
    check(again && n == len && memcmp(again, bytes, n) == 0);
    free(again);
    check(!sections_end_with_code(bytes, len));
}

static void check_with_code(const uint8_t *bytes, size_t len)
{
    static const char code[] = "\0\x0d\x08wasmedge"
                               "code";
    struct error err = {0};
    size_t n = 0, whole_len = len + sizeof(code) - 1;
    uint8_t *whole = malloc(whole_len);
    check(whole);
    memcpy(whole, bytes, len);
    memcpy(whole + len, code, sizeof(code) - 1);
    check(sections_end_with_code(whole, whole_len) == (memcmp(whole, "\0asm", 4) == 0));
    uint8_t *cut = sections_without_code(whole, whole_len, &n, &err);
    check(cut && n == len && memcmp(cut, bytes, n) == 0);
    free(cut);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    size_t n = 0;
    bool ends = sections_end_with_code(data, size);
    if (size < SECTIONS_HEADER || size > INPUT_MAX)
        return 0;
    uint8_t *kept = sections_without_code(data, size, &n, &err);
    check((kept != NULL) == (err.status == STATUS_OK));
    check(!ends || kept);
    if (kept) {
        check(n >= SECTIONS_HEADER && n <= size && (!ends || n < size));
        check(is_left_of(kept, n, data, size));
        check_clean(kept, n);
        check_with_code(kept, n);
    }
    free(kept);
    return 0;
}
