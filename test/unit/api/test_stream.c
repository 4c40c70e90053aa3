// Messages of streams: what we write is what a protobuf decoder reads, and only what is one is
// read.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "api/any.h"
#include "api/message.h"
#include "api/stream.h"
#include "api/streaming.pb-c.h"
#include "base/cleanup.h"

Test(stream, data_is_what_the_decoder_reads)
{
    static const size_t sizes[] = {
        0, 1, 125, 126, 127, 128, 129, 16380, 16383, 16384, STREAM_DATA_MAX};
    static uint8_t bytes[STREAM_HEADER_MAX + STREAM_DATA_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint8_t *data = bytes + STREAM_HEADER_MAX;
        struct stream_message m;
        struct error err = {0};
        for (size_t n = 0; n < sizes[i]; n++)
            data[n] = (uint8_t)(n * 7);
        size_t header = stream_data_header(data, sizes[i]);
        cr_assert_leq(header, STREAM_HEADER_MAX);
        cr_assert_eq(stream_message_parse(data - header, header + sizes[i], &m, &err), 0, "%zu: %s",
                     sizes[i], err.text);
        cr_assert_eq(m.kind, STREAM_DATA);
        cr_assert_eq(m.len, sizes[i]);
        cr_assert(!m.len || memcmp(m.data, data, m.len) == 0);

        // The same bytes as the encoder's.
        Streaming__Data d = STREAMING__DATA__INIT;
        Google__Any any;
        size_t len;
        d.data = (ProtobufCBinaryData){.data = data, .len = sizes[i]};
        cr_assert_eq(any_pack(&any, ANY_STREAM_DATA, (const ProtobufCMessage *)&d), 0);
        uint8_t *want = api_message_encode((const ProtobufCMessage *)&any, &len);
        if (sizes[i]) { // an empty value may be left out or be there
            cr_assert_eq(len, header + sizes[i]);
            cr_assert_eq(memcmp(want, data - header, len), 0);
        }
        free(want);
        any_clear(&any);
        stream_message_done(&m);
    }
}

Test(stream, updates_and_the_answer_are_what_the_decoder_reads)
{
    static const uint32_t updates[] = {1, 127, 128, 65536, INT32_MAX};
    uint8_t out[STREAM_SMALL_MAX];
    struct error err = {0};
    for (size_t i = 0; i < ARRAY_SIZE(updates); i++) {
        struct stream_message m;
        size_t len = stream_update_encode(out, updates[i]);
        cr_assert_leq(len, sizeof out);
        cr_assert_eq(stream_message_parse(out, len, &m, &err), 0, "%s", err.text);
        cr_assert_eq(m.kind, STREAM_UPDATE);
        cr_assert_eq(m.update, updates[i]);
        stream_message_done(&m);
    }
    size_t len = stream_empty_encode(out);
    ProtobufCMessage *any = api_message_decode(&google__any__descriptor, out, len, &err);
    cr_assert(any, "%s", err.text);
    cr_assert(any_is((const Google__Any *)any, ANY_EMPTY));
    api_message_free(any);
}

Test(stream, a_client_s_and_a_server_s_first_messages)
{
    uint8_t out[STREAM_INIT_MAX];
    struct stream_message m;
    struct error err = {0};
    char id[STREAM_INIT_ID_MAX + 1];
    memset(id, 'x', sizeof(id));
    id[STREAM_INIT_ID_MAX] = '\0';
    cr_assert_eq(stream_message_parse(out, stream_init_encode(out, id), &m, &err), 0, "%s",
                 err.text);
    cr_assert_eq(m.kind, STREAM_INIT);
    cr_assert_str_eq(m.id, id);
    stream_message_done(&m);
    cr_assert_eq(stream_message_parse(out, stream_empty_encode(out), &m, &err), 0, "%s", err.text);
    cr_assert_eq(m.kind, STREAM_EMPTY);
    stream_message_done(&m);
}

Test(stream, what_is_none_is_refused)
{
    static const struct {
        const char *type_url, *value, *says;
    } rows[] = {
        {"google.protobuf.Any", "", "google.protobuf.Any"},
        {"", "", "empty"},
        {ANY_STREAM_WINDOW, "", "not positive"},
        {ANY_STREAM_WINDOW, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "not positive"},
        {ANY_STREAM_DATA, "\x0a\x05x", "Data"},
        {ANY_STREAM_INIT, "\x0a\x02\xff\xfe", "StreamInit"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        Google__Any any;
        struct stream_message m;
        struct error err = {0};
        size_t len;
        cr_assert_eq(any_set(&any, rows[i].type_url, rows[i].value, strlen(rows[i].value)), 0);
        uint8_t *bytes = api_message_encode((const ProtobufCMessage *)&any, &len);
        cr_expect(stream_message_parse(bytes, len, &m, &err) < 0, "%zu", i);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        cr_expect(strstr(err.text, rows[i].says), "%zu: %s", i, err.text);
        free(bytes);
        any_clear(&any);
    }
}
