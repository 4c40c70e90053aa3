#include "shim/info.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shim/wire.h"

static double seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static char *engine_of(const char *type, const void *value, size_t len)
{
    struct buf any;
    buf_init(&any, 4096);
    cr_assert_eq(wire_put_text(&any, 1, type), 0);
    cr_assert_eq(wire_put_bytes(&any, 2, value, len), 0);
    char *engine = info_wanted_engine(&any);
    buf_free(&any);
    return engine;
}

Test(info, the_options_name_the_engine)
{
    // Options{systemd_cgroup=true, binary_name="crun", root="/r"}
    static const char options[] = "\x48\x01\x32\x04"
                                  "crun\x3a\x02/r";
    char *engine = engine_of("containerd.runc.v1.Options", options, sizeof options - 1);
    cr_assert_not_null(engine);
    cr_expect_str_eq(engine, "crun");
    free(engine);

    cr_expect_null(engine_of("containerd.runc.v1.Options", "\x48\x01", 2));
    cr_expect_null(engine_of("containerd.runc.v1.Options",
                             "\x32\x03"
                             "a\0b",
                             5));
    // As recorded: Any of runtimeoptions.v1.Options with a TOML body.
    cr_expect_null(engine_of("runtimeoptions.v1.Options",
                             "\x1a\x10"
                             "Engine = 'crun'\n",
                             18));
    static const char body[] = "\x1a\x29"
                               "SystemdCgroup = true\nBinaryName = \"youki\"";
    engine = engine_of("runtimeoptions.v1.Options", body, sizeof body - 1);
    cr_assert_not_null(engine);
    cr_expect_str_eq(engine, "youki");
    free(engine);
    cr_expect_null(engine_of("runtimeoptions.v1.Options",
                             "\x1a\x0f"
                             "BinaryName = \"\"",
                             17));
    struct buf none;
    buf_init(&none, 16);
    cr_expect_null(info_wanted_engine(&none));
}

Test(info, input_is_read_to_its_end_or_its_limit)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(write(ends[1], "abc", 3), 3);
    close(ends[1]);
    struct buf input;
    buf_init(&input, INFO_INPUT_MAX);
    info_read_input(ends[0], &input);
    cr_expect(input.len == 3 && memcmp(input.data, "abc", 3) == 0);
    close(ends[0]);
    buf_free(&input);

    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    buf_init(&input, INFO_INPUT_MAX);
    double before = seconds();
    info_read_input(zero, &input);
    cr_expect_leq(input.len, (size_t)INFO_INPUT_MAX);
    cr_expect_lt(seconds() - before, 5.0);
    close(zero);
    buf_free(&input);
}

Test(info, a_pipe_that_nobody_closes_costs_a_moment_only)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(write(ends[1], "abc", 3), 3);
    struct buf input;
    buf_init(&input, INFO_INPUT_MAX);
    double before = seconds();
    info_read_input(ends[0], &input);
    cr_expect_lt(seconds() - before, 5.0);
    cr_expect_eq(input.len, 3u);
    buf_free(&input);
    close(ends[0]);
    close(ends[1]);
}

Test(info, no_input_at_all)
{
    int fd = dup(0);
    close(fd);
    struct buf input;
    buf_init(&input, INFO_INPUT_MAX);
    info_read_input(fd, &input);
    cr_expect_eq(input.len, 0u);
}

Test(info, encodes_a_runtime_info)
{
    uint8_t json[] = "{}";
    const struct buf features = {.data = json, .len = 2};
    const struct info info = {"n", "1", "r", &features};
    struct buf out;
    buf_init(&out, 4096);
    cr_assert_eq(info_encode(&info, &out), 0);
    static const char want[] =
        "\x0a\x01n\x12\x06\x0a\x01"
        "1\x12\x01r\x22\x49\x0a\x43"
        "types.containerd.io/opencontainers/runtime-spec/1/features/Features\x12\x02{}";
    cr_assert_eq(out.len, sizeof want - 1);
    cr_expect_eq(memcmp(out.data, want, out.len), 0);
    buf_free(&out);
}

// ---- the configuration --------------------------------------------------------------------------

static void check_engine(const char *path, const char *want)
{
    char *engine = NULL;
    struct error err = {0};
    cr_expect_eq(info_configured_engine(path, &engine, &err), 0, "%s", err.text);
    cr_expect(engine && strcmp(engine, want) == 0, "%s: %s", path, engine);
    free(engine);
}

// The examples have every key of the daemons.
Test(info, configured_engine)
{
    check_engine(TEST_DATA "/../examples/kuasar/runc.toml", "runc");
    check_engine(TEST_DATA "/../examples/kuasar/wasm.toml", "runc");
}

Test(info, configuration_that_is_not_there)
{
    char *engine = NULL;
    struct error err = {0};
    cr_expect_eq(info_configured_engine("/nonexistent/runc.toml", &engine, &err), -1);
    cr_expect_null(engine);
    cr_expect_not_null(strstr(err.text, "/nonexistent/runc.toml"));
}
