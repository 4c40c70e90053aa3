// The text of grpc-message.
#include <criterion/criterion.h>
#include <string.h>

#include "rpc/grpc_internal.h"

static const struct {
    const char *text, *encoded;
} messages[] = {
    {"", ""},
    {"plain ~text!", "plain ~text!"},
    {"100%", "100%25"},
    {"a\nb\x7f", "a%0Ab%7F"},
    {"caf\xc3\xa9", "caf%C3%A9"},
    {"\xf0\x9f\x90\xb3", "%F0%9F%90%B3"},
    // What is no UTF-8 would make the client's own encoding fail later.
    {"x\xffy", "x%EF%BF%BDy"},
    {"\xc3", "%EF%BF%BD"},
    {"\xc0\xaf", "%EF%BF%BD%EF%BF%BD"},
    {"\xed\xa0\x80", "%EF%BF%BD%EF%BF%BD%EF%BF%BD"},
    {"\xf4\x90\x80\x80", "%EF%BF%BD%EF%BF%BD%EF%BF%BD%EF%BF%BD"},
};

Test(grpc_response, message_encoding)
{
    char out[256];
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        size_t n = grpc_message_encode(messages[i].text, out, sizeof out);
        cr_expect_str_eq(out, messages[i].encoded);
        cr_expect_eq(n, strlen(out));
    }
}

Test(grpc_response, message_is_cut_at_a_character)
{
    char out[8];
    cr_expect_eq(grpc_message_encode("ab\xc3\xa9", out, sizeof out), 2);
    cr_expect_str_eq(out, "ab");
    cr_expect_eq(grpc_message_encode("a\xc3\xa9z", out, sizeof out), 7);
    cr_expect_str_eq(out, "a%C3%A9");
    cr_expect_eq(grpc_message_encode("abc", out, 1), 0);
}
