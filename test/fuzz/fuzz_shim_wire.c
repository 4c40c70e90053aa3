// What the shim reads of protobuf: the options that containerd hands to `-info`.
//
// Every field lies in the input and behind the one before; wire_find gives the last one that
// wire_next gives; where protobuf-c reads the message too, both read the same; a field that was
// written is read again. The engine's name is a text that came with the input.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/google.pb-c.h"
#include "base/buf.h"
#include "shim/info.h"
#include "shim/wire.h"

// As many numbers of fields are looked up.
#define NUMBERS 16

static void check(bool good)
{
    if (!good)
        abort();
}

static bool same(const struct wire_field *a, const struct wire_field *b)
{
    return a->number == b->number && a->value == b->value && a->data == b->data && a->len == b->len;
}

// A field that is written is the one that was read (of default values nothing is written).
static void write_again(const struct wire_field *f)
{
    struct buf out;
    struct wire_field again;
    buf_init(&out, SIZE_MAX / 2);
    int r = f->data ? wire_put_bytes(&out, f->number, f->data, f->len)
                    : wire_put_uint(&out, f->number, f->value);
    check(r == 0);
    struct wire_reader reader = {out.data, out.len};
    if (f->data ? f->len : f->value) {
        check(wire_next(&reader, &again) && again.number == f->number && again.value == f->value);
        check(again.len == f->len && (!f->data || memcmp(again.data, f->data, f->len) == 0));
    }
    check(!wire_next(&reader, &again));
    buf_free(&out);
}

// Fills `last` by number; returns whether the message is well-formed to its end.
static bool read_all(const uint8_t *data, size_t size, struct wire_field last[NUMBERS])
{
    struct wire_reader r = {data, size};
    struct wire_field f;
    for (;;) {
        const uint8_t *before = r.data;
        const size_t left = r.len;
        if (!wire_next(&r, &f)) {
            check(r.len == 0 && !wire_next(&r, &f) && f.number == 0 && !f.data);
            return left == 0;
        }
        check(f.number > 0 && f.number <= UINT32_MAX >> 3);
        check(r.data > before && r.len < left && r.data + r.len == data + size);
        if (f.data)
            check(f.data > before && f.data + f.len == r.data && f.value == f.len);
        else
            check(f.len == 0);
        if (f.data && f.number < NUMBERS)
            last[f.number] = f;
        write_again(&f);
    }
}

static void check_find(const uint8_t *data, size_t size, const struct wire_field last[NUMBERS])
{
    for (unsigned i = 0; i < NUMBERS; i++) {
        struct wire_field f;
        bool found = wire_find(data, size, i, &f);
        check(found == (last[i].data != NULL));
        check(!found || same(&f, &last[i]));
    }
}

static void check_any(const uint8_t *data, size_t size, const struct wire_field *type,
                      const struct wire_field *value)
{
    Google__Any *any = google__any__unpack(NULL, size, data);
    if (!any)
        return;
    check(type->len == 0 || memcmp(any->type_url, type->data, type->len) == 0);
    check(strlen(any->type_url) <= type->len);
    check(any->value.len == value->len);
    check(value->len == 0 || memcmp(any->value.data, value->data, value->len) == 0);
    google__any__free_unpacked(any, NULL);
}

static void check_engine(const uint8_t *data, size_t size, const struct wire_field last[NUMBERS])
{
    struct buf input;
    buf_init(&input, INFO_INPUT_MAX);
    if (buf_append(&input, data, size) < 0)
        abort();
    char *engine = info_wanted_engine(&input);
    if (engine) {
        check(last[1].data && last[2].data);
        check(engine[0] && strlen(engine) < last[2].len);
    }
    free(engine);
    buf_free(&input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_field last[NUMBERS] = {0}, inner[NUMBERS] = {0};
    if (size > INFO_INPUT_MAX)
        return 0;
    // Exactly as long as it is, so that a sanitizer sees every read past the end.
    uint8_t *exact = malloc(size);
    if (!exact)
        return 0;
    if (size)
        memcpy(exact, data, size);
    bool whole = read_all(exact, size, last);
    check_find(exact, size, last);
    if (whole)
        check_any(exact, size, &last[1], &last[2]);
    if (last[2].data) {
        (void)read_all(last[2].data, last[2].len, inner);
        check_find(last[2].data, last[2].len, inner);
    }
    check_engine(exact, size, last);
    free(exact);
    return 0;
}
