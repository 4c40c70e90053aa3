// The fields of a request that are parsed by hand.
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "rpc/grpc_internal.h"

static const struct {
    const char *text;
    int r;
    uint64_t ms;
} timeouts[] = {
    {"1n", 0, 1},
    {"0n", 0, 0},
    {"1000000n", 0, 1},
    {"1000001n", 0, 2},
    {"39985881u", 0, 39986},
    {"99999999u", 0, 100000},
    {"7m", 0, 7},
    {"60S", 0, 60000},
    {"2M", 0, 120000},
    {"1H", 0, 3600000},
    {"99999999H", 0, 99999999ull * 3600000},
    {"", -EINVAL, 0},
    {"S", -EINVAL, 0},
    {"5", -EINVAL, 0},
    {"5s", -EINVAL, 0},
    {"123456789S", -EINVAL, 0},
    {"-1S", -EINVAL, 0},
    {"1 S", -EINVAL, 0},
    {"1.5S", -EINVAL, 0},
};

Test(grpc_request, timeouts)
{
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        uint64_t ms = 0;
        int r = grpc_timeout_parse(timeouts[i].text, strlen(timeouts[i].text), &ms);
        cr_expect_eq(r, timeouts[i].r, "\"%s\"", timeouts[i].text);
        cr_expect_eq(ms, timeouts[i].ms, "\"%s\": %lu", timeouts[i].text, (unsigned long)ms);
    }
}
