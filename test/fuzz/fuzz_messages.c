// The first byte picks a message type, the rest are its bytes. Whatever decodes must encode, and
// what comes out must decode to the same bytes again. What the check lets through, protobuf-c must
// take from an ordinary allocator as well; there the sanitizers see each of its allocations.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../protocol/message_types.h"
#include "api/check.h"
#include "api/message.h"
#include "base/cleanup.h"

#define INPUT_MAX (256u * 1024)

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_stable(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *msg)
{
    struct error err = {0};
    size_t len, len_again;
    _cleanup_free_ uint8_t *data = api_message_encode(msg, &len);
    require(data);
    ProtobufCMessage *back = api_message_decode(type, data, len, &err);
    require(back);
    _cleanup_free_ uint8_t *again = api_message_encode(back, &len_again);
    require(again && len_again == len && memcmp(again, data, len) == 0);
    api_message_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > INPUT_MAX)
        return 0;
    const ProtobufCMessageDescriptor *type =
        message_types[data[0] % ARRAY_SIZE(message_types)].type;
    data++;
    size--;

    struct error err = {0};
    ProtobufCMessage *msg = api_message_decode(type, data, size, &err);
    if (!msg) {
        require(err.status != STATUS_OK && err.text[0]);
        return 0;
    }
    require(err.status == STATUS_OK);
    check_stable(type, msg);
    api_message_free(msg);

    msg = protobuf_c_message_unpack(type, NULL, size, data);
    require(msg);
    protobuf_c_message_free_unpacked(msg, NULL);
    return 0;
}
