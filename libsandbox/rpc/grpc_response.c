// The answer of a call.
//
// Success is HEADERS, DATA with exactly one message (its prefix is there even when the message is
// empty), and HEADERS with END_STREAM for the trailers. An error is one HEADERS with END_STREAM
// ("trailers only"). A client that finds another shape makes an error of its own out of it.
#include "grpc_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Names and values with static storage are not copied by nghttp2.
#define NV_STATIC(n, v)                                                                            \
    {                                                                                              \
        .name = (uint8_t *)(n), .namelen = sizeof(n) - 1, .value = (uint8_t *)(v),                 \
        .valuelen = sizeof(v) - 1,                                                                 \
        .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE                      \
    }

// ---- grpc-message ----------------------------------------------------------------------------

// Length of the valid UTF-8 sequence at s; 0 if it is not one.
static size_t utf8_sequence(const unsigned char *s)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    // Overlong forms, surrogates, beyond U+10FFFF.
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static size_t encode_byte(unsigned char c, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    if (c >= 0x20 && c <= 0x7e && c != '%') {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '%';
    out[1] = hex[c >> 4];
    out[2] = hex[c & 15];
    return 3;
}

size_t grpc_message_encode(const char *text, char *out, size_t size)
{
    size_t len = 0;
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        const unsigned char *from = s;
        size_t n = utf8_sequence(s);
        s += n ? n : 1;
        if (!n) {
            from = (const unsigned char *)"\xef\xbf\xbd"; // U+FFFD
            n = 3;
        }
        char encoded[12];
        size_t encoded_len = 0;
        for (size_t i = 0; i < n; i++)
            encoded_len += encode_byte(from[i], encoded + encoded_len);
        if (len + encoded_len >= size)
            break;
        memcpy(out + len, encoded, encoded_len);
        len += encoded_len;
    }
    out[len] = '\0';
    return len;
}

// ---- frames ----------------------------------------------------------------------------------

// After an answer was submitted, or could not be. Without memory for the answer the stream is
// reset, and without memory for the reset the session is broken.
static int submitted(struct grpc_call *call, int r)
{
    struct grpc_session *s = call->session;
    call->answered = true;
    if (r == 0)
        return 0;
    if (nghttp2_submit_rst_stream(s->h2, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_INTERNAL_ERROR) ==
        0)
        return 0;
    s->broken = true;
    return -1;
}

int grpc_response_error(struct grpc_call *call, int http, enum status status, const char *text)
{
    if (status <= STATUS_OK || status >= STATUS_MAX_)
        status = STATUS_UNKNOWN;
    char http_text[12], status_text[12], message[9 * ERROR_TEXT_MAX];
    int http_len = snprintf(http_text, sizeof http_text, "%d", http ? http : 200);
    int status_len = snprintf(status_text, sizeof status_text, "%d", (int)status);
    size_t message_len = grpc_message_encode(text, message, sizeof message);
    nghttp2_nv headers[] = {
        {.name = (uint8_t *)":status",
         .namelen = 7,
         .value = (uint8_t *)http_text,
         .valuelen = (size_t)http_len},
        NV_STATIC("content-type", "application/grpc"),
        {.name = (uint8_t *)"grpc-status",
         .namelen = 11,
         .value = (uint8_t *)status_text,
         .valuelen = (size_t)status_len},
        {.name = (uint8_t *)"grpc-message",
         .namelen = 12,
         .value = (uint8_t *)message,
         .valuelen = message_len},
    };
    return submitted(call,
                     grpc_h2_submit_answer(call->session->h2, call->stream, headers, 4, NULL));
}

static grpc_ssize read_answer(nghttp2_session *h2, int32_t stream, uint8_t *out, size_t size,
                              uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    static const nghttp2_nv trailers[] = {NV_STATIC("grpc-status", "0")};
    struct grpc_call *call = source->ptr;
    size_t n = call->answer_len - call->answer_sent;
    if (n > size)
        n = size;
    memcpy(out, call->answer + call->answer_sent, n);
    call->answer_sent += n;
    if (call->answer_sent == call->answer_len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(h2, stream, trailers, 1) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (grpc_ssize)n;
}

int grpc_response_message(struct grpc_call *call, const uint8_t *data, size_t len)
{
    static const nghttp2_nv headers[] = {NV_STATIC(":status", "200"),
                                         NV_STATIC("content-type", "application/grpc")};
    struct grpc_usage *usage = call->session->config.usage;
    if (len > GRPC_MESSAGE_MAX)
        return grpc_response_error(call, 0, STATUS_RESOURCE_EXHAUSTED,
                                   "the answer is larger than the limit of 16 MiB");
    if (len + GRPC_PREFIX > GRPC_USAGE_PENDING_MAX - usage->pending)
        return grpc_response_error(call, 0, STATUS_RESOURCE_EXHAUSTED,
                                   "too many answers wait for clients that do not read them");
    call->answer = malloc(len + GRPC_PREFIX);
    if (!call->answer)
        return grpc_response_error(call, 0, STATUS_RESOURCE_EXHAUSTED, "no memory for the answer");
    call->answer_len = len + GRPC_PREFIX;
    usage->pending += call->answer_len;
    call->answer[0] = 0;
    for (int i = 0; i < 4; i++)
        call->answer[1 + i] = (uint8_t)(len >> (24 - 8 * i));
    if (len > 0)
        memcpy(call->answer + GRPC_PREFIX, data, len);
    grpc_data_provider provider = {.source.ptr = call, .read_callback = read_answer};
    return submitted(call,
                     grpc_h2_submit_answer(call->session->h2, call->stream, headers, 2, &provider));
}

void grpc_response_clear(struct grpc_call *call)
{
    if (call->answer && call->session)
        call->session->config.usage->pending -= call->answer_len;
    free(call->answer);
    call->answer = NULL;
    call->answer_len = 0;
}
