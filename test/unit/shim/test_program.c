// The program itself, as containerd runs it.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim/wire.h"

#define PROGRAM TEST_BINARY_DIR "/shim/containerd-shim-kuasar-runc-v2"
#define V1      TEST_BINARY_DIR "/shim/containerd-shim-kuasar-runc-v1"
#define WASM    TEST_BINARY_DIR "/shim/containerd-shim-kuasar-wasm-v2"
#define EDGE    TEST_BINARY_DIR "/shim/containerd-shim-kuasar-wasmedge-v1"

struct result {
    int code;
    size_t len;
    char out[65536];
};

// Runs a shell command. Only its standard output is taken.
static struct result run(const char *command)
{
    static struct result r;
    cr_assert_eq(access(PROGRAM, X_OK), 0, "build containerd-shim-kuasar-runc-v2 first");
    FILE *p = popen(command, "r");
    cr_assert_not_null(p);
    r.len = fread(r.out, 1, sizeof r.out - 1, p);
    r.out[r.len] = '\0';
    int status = pclose(p);
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return r;
}

Test(program, version)
{
    struct result r = run(PROGRAM " -v");
    cr_expect_eq(r.code, 0);
    cr_expect_eq(strncmp(r.out, "containerd-shim-kuasar-runc-v2 " KUASAR_VERSION, 32), 0);
}

Test(program, start_is_refused_in_one_line)
{
    struct result r = run(
        PROGRAM " -namespace k8s.io -address /a -publish-binary /b -id x start 2>&1 </dev/null");
    cr_expect_eq(r.code, 1);
    cr_expect_eq(strchr(r.out, '\n'), r.out + r.len - 1);
    cr_expect_not_null(strstr(r.out, "sandboxer = \"runc\""));
    cr_expect_not_null(strstr(r.out, "containerd 2.1"));
    r = run(EDGE " -namespace k8s.io -id x start 2>&1 </dev/null");
    cr_expect_eq(r.code, 1);
    cr_expect_not_null(strstr(r.out, "served by wasm-sandboxer"));
    cr_expect_not_null(strstr(r.out, "sandboxer = \"wasm\""));
}

// The task server of its own kind is asked.
Test(program, delete_names_its_task_server)
{
    if (access("/run/kuasar-wasm/task.sock", F_OK) == 0)
        cr_skip_test("a task server runs here");
    struct result r = run(WASM " -id x -bundle /nonexistent delete 2>&1 >/dev/null");
    cr_expect_eq(r.code, 0);
    cr_expect_not_null(strstr(r.out, "/run/kuasar-wasm/task.sock"));
}

Test(program, delete_answers_whatever_is_there)
{
    static const char *const commands[] = {
        PROGRAM " -namespace k8s.io -address /a -publish-binary /b -id x -bundle /nonexistent "
                "-debug delete 2>/dev/null",
        "cd /tmp && " PROGRAM " delete 2>/dev/null",
        PROGRAM " --unheard-of=1 --id '../../x' --bundle '' delete 2>/dev/null <&-",
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct result r = run(commands[i]);
        struct wire_reader reader = {(const uint8_t *)r.out, r.len};
        struct wire_field f;
        cr_expect_eq(r.code, 0);
        cr_assert(wire_next(&reader, &f));
        cr_expect(f.number == 2 && f.value == 137);
        cr_assert(wire_next(&reader, &f));
        cr_expect(f.number == 3 && f.len > 0);
        cr_expect_eq(reader.len, 0u);
    }
}

static void expect_info(struct result r, const char *name)
{
    struct wire_field f, value;
    cr_expect_eq(r.code, 0);
    cr_assert(wire_find(r.out, r.len, 1, &f));
    cr_expect(f.len == strlen(name) && memcmp(f.data, name, f.len) == 0);
    cr_assert(wire_find(r.out, r.len, 2, &f));
    cr_assert(wire_find(r.out, r.len, 4, &f), "no features");
    cr_assert(wire_find(f.data, f.len, 2, &value));
    cr_expect(value.len > 2 && value.data[0] == '{');
}

// Options{binary_name="no-such-engine"}: nothing is found, so nothing is cached outside the test.
#define NO_ENGINE "printf '\\012\\032containerd.runc.v1.Options\\022\\0202\\016no-such-engine' | "

Test(program, info_never_fails)
{
    expect_info(run(NO_ENGINE PROGRAM " -info 2>/dev/null"), "io.containerd.kuasar-runc.v2");
    expect_info(run(NO_ENGINE V1 " -info 2>/dev/null"), "io.containerd.kuasar-runc.v1");
    struct result r = run(NO_ENGINE PROGRAM " -info 2>&1 >/dev/null");
    cr_expect_not_null(strstr(r.out, "warning: no-such-engine"));
}

Test(program, info_of_a_wasm_handler)
{
    expect_info(run(NO_ENGINE WASM " -info 2>/dev/null"), "io.containerd.kuasar-wasm.v2");
    expect_info(run(EDGE " -info 2>/dev/null </dev/null"), "io.containerd.kuasar-wasmedge.v1");
}

Test(program, wrong_usage)
{
    cr_expect_eq(run(PROGRAM " 2>/dev/null").code, 2);
    cr_expect_eq(run(PROGRAM " stop 2>/dev/null").code, 2);
    cr_expect_eq(run(PROGRAM " -h").code, 0);
    cr_expect_eq(run(PROGRAM " delete >/dev/full 2>/dev/null").code, 1);
}
