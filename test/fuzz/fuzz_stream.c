// A message of a stream: what is accepted keeps the promises of struct stream_message, and ids that
// pass the door are of the one form.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/stream.h"
#include "task/streams.h"

static void check(int good)
{
    if (!good)
        abort();
}

static void check_id(const char *id)
{
    struct error err = {0};
    if (stream_id_check(id, "id", &err) < 0) {
        check(err.status == STATUS_INVALID_ARGUMENT);
        return;
    }
    const char *tail = strrchr(id, '-');
    check(strlen(id) <= STREAM_ID_MAX && !strchr(id, '/') && tail && tail != id);
    check(!strcmp(tail, "-stdin") || !strcmp(tail, "-stdout") || !strcmp(tail, "-stderr"));
}

// What was read is written again and read again.
static void check_data(const struct stream_message *m)
{
    static uint8_t bytes[STREAM_HEADER_MAX + STREAM_DATA_MAX];
    struct stream_message again;
    struct error err = {0};
    check((m->data != NULL) == (m->len != 0));
    if (m->len > STREAM_DATA_MAX)
        return;
    if (m->len)
        memcpy(bytes + STREAM_HEADER_MAX, m->data, m->len);
    size_t header = stream_data_header(bytes + STREAM_HEADER_MAX, m->len);
    check(header <= STREAM_HEADER_MAX);
    check(!stream_message_parse(bytes + STREAM_HEADER_MAX - header, header + m->len, &again, &err));
    check(again.kind == STREAM_DATA && again.len == m->len);
    check(!m->len || !memcmp(again.data, m->data, m->len));
    stream_message_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream_message m;
    struct error err = {0};
    if (stream_message_parse(data, size, &m, &err) < 0) {
        check(err.status != STATUS_OK);
        return 0;
    }
    if (m.kind == STREAM_INIT)
        check_id(m.id);
    else if (m.kind == STREAM_DATA)
        check_data(&m);
    else if (m.kind == STREAM_UPDATE)
        check(m.update >= 1 && m.update <= INT32_MAX);
    else
        check(m.kind == STREAM_EMPTY && !m.len && !m.data);
    stream_message_done(&m);
    return 0;
}
