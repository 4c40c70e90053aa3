#include "sections.h"

#include <stdlib.h>
#include <string.h>

// WebAssembly core specification, 5.2.2: LEB128 of at most 32 bits.
static bool read_u32(const uint8_t **at, const uint8_t *end, uint32_t *ret)
{
    *ret = 0;
    for (unsigned shift = 0; shift < 35 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *ret |= (uint32_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool is_code(uint8_t section, const uint8_t *at, const uint8_t *end)
{
    static const char name[] = "wasmedge";
    uint32_t len = 0;
    return section == 0 && read_u32(&at, end, &len) && len == strlen(name) &&
           len <= (size_t)(end - at) && memcmp(at, name, len) == 0;
}

// The section at *at, which is moved behind it; false if it does not end before the file does.
static bool next_section(const uint8_t **at, const uint8_t *end, bool *ret_is_code)
{
    uint8_t kind = *(*at)++;
    uint32_t size = 0;
    if (!read_u32(at, end, &size) || size > (size_t)(end - *at))
        return false;
    *ret_is_code = is_code(kind, *at, *at + size);
    *at += size;
    return true;
}

uint8_t *sections_without_code(const uint8_t *bytes, size_t len, size_t *ret_len, struct error *err)
{
    const uint8_t *at = bytes + SECTIONS_HEADER, *end = bytes + len;
    uint8_t *copy = malloc(len);
    bool code = false;
    if (!copy) {
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return NULL;
    }
    memcpy(copy, bytes, SECTIONS_HEADER);
    *ret_len = SECTIONS_HEADER;
    while (at < end) {
        const uint8_t *begin = at;
        if (!next_section(&at, end, &code)) {
            error_set(err, STATUS_INVALID_ARGUMENT,
                      "no WebAssembly module: a section is longer than the file");
            free(copy);
            return NULL;
        }
        if (!code) {
            memcpy(copy + *ret_len, begin, (size_t)(at - begin));
            *ret_len += (size_t)(at - begin);
        }
    }
    return copy;
}

bool sections_end_with_code(const uint8_t *bytes, size_t len)
{
    const uint8_t *at = bytes + SECTIONS_HEADER, *end = bytes + len;
    bool code = false;
    if (len < SECTIONS_HEADER || memcmp(bytes, "\0asm", 4) != 0)
        return false;
    while (at < end) {
        if (!next_section(&at, end, &code))
            return false;
    }
    return code;
}
