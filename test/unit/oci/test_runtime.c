#include "oci/runtime.h"

#include <time.h>

#include "oci_test.h"

static struct oci_runtime runc(void)
{
    return (struct oci_runtime){.binary = LENT("runc"), .root = LENT("/run/k/runtime/k8s.io")};
}

static void expect_argv(const struct oci_argv *a, const char *words)
{
    char text[1024] = "";
    for (size_t i = 0; i < a->n; i++) {
        strcat(text, i ? " " : "");
        strcat(text, a->argv[i]);
    }
    cr_expect_str_eq(text, words);
    cr_expect_null(a->argv[a->n]);
    cr_expect_not(a->overflow);
}

Test(runtime, create)
{
    struct oci_runtime rt = runc();
    struct oci_argv a;
    oci_argv_begin(&a, &rt, "/b/log.json");
    oci_argv_create(&a, &rt, "/b", "/b/init.pid", NULL, "c1");
    expect_argv(&a, "runc --root /run/k/runtime/k8s.io --log /b/log.json --log-format json create "
                    "--bundle /b --pid-file /b/init.pid c1");
}

Test(runtime, create_with_every_option)
{
    struct oci_runtime rt = {LENT("/usr/bin/crun"), LENT("/r"), true, true, true};
    struct oci_argv a;
    oci_argv_begin(&a, &rt, "/l");
    oci_argv_create(&a, &rt, "/b", "/p", "/s", "c1");
    expect_argv(&a, "/usr/bin/crun --root /r --log /l --log-format json --systemd-cgroup create "
                    "--bundle /b --pid-file /p --console-socket /s --no-pivot --no-new-keyring c1");
}

Test(runtime, exec)
{
    struct oci_runtime rt = runc();
    struct oci_argv a;
    oci_argv_begin(&a, &rt, "/l");
    oci_argv_exec(&a, "/b/x.json", "/b/x.pid", "/s", "c1");
    expect_argv(&a, "runc --root /run/k/runtime/k8s.io --log /l --log-format json exec --process "
                    "/b/x.json --pid-file /b/x.pid --console-socket /s --detach c1");
    oci_argv_begin(&a, &rt, "/l");
    oci_argv_add(&a, "kill");
    oci_argv_add(&a, "%s", "c1");
    oci_argv_add(&a, "%d", 15);
    expect_argv(&a, "runc --root /run/k/runtime/k8s.io --log /l --log-format json kill c1 15");
}

Test(runtime, an_argument_keeps_blanks_and_percent_signs)
{
    struct oci_runtime rt = runc();
    struct oci_argv a;
    oci_argv_begin(&a, &rt, "/a b/%s%n");
    cr_expect_str_eq(a.argv[4], "/a b/%s%n");
}

Test(runtime, too_much_sets_overflow_and_stays_terminated)
{
    struct oci_runtime rt = runc();
    struct oci_argv *a = malloc(sizeof *a);
    oci_argv_begin(a, &rt, "/l");
    for (int i = 0; i < 100; i++)
        oci_argv_add(a, "%d", i);
    cr_expect(a->overflow);
    cr_expect_eq(a->n, (size_t)OCI_ARGV_MAX);
    cr_expect_null(a->argv[OCI_ARGV_MAX]);

    char *big = malloc(sizeof a->text + 1);
    memset(big, 'x', sizeof a->text);
    big[sizeof a->text] = '\0';
    oci_argv_begin(a, &rt, "/l");
    cr_expect_not(a->overflow, "begin starts anew");
    size_t n = a->n;
    oci_argv_add(a, "%s", big);
    cr_expect(a->overflow);
    cr_expect_eq(a->n, n);
    cr_expect_null(a->argv[n]);
    free(big);
    free(a);
}

Test(runtime, check)
{
    static const struct {
        const char *binary, *root;
        const char *names; // NULL: good
    } cases[] = {
        {"runc", "/r", NULL},        {"/usr/bin/runc", "/r", NULL},    {"crun-wasm", "/r", NULL},
        {"", "/r", "binary"},        {NULL, "/r", "binary"},           {"bin/runc", "/r", "binary"},
        {"./runc", "/r", "binary"},  {"/usr/../runc", "/r", "binary"}, {"-runc", "/r", "binary"},
        {"ru nc", "/r", "binary"},   {"runc", NULL, "root"},           {"runc", "r", "root"},
        {"runc", "/r/../x", "root"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct oci_runtime rt = {.binary = (char *)cases[i].binary, .root = (char *)cases[i].root};
        struct error err = {0};
        cr_expect_eq(oci_runtime_check(&rt, &err), cases[i].names ? -1 : 0, "%zu", i);
        cr_expect_eq(err.status, cases[i].names ? STATUS_INVALID_ARGUMENT : STATUS_OK);
        cr_expect(!cases[i].names || strstr(err.text, cases[i].names), "%s", err.text);
    }
}

Test(runtime, done_frees_and_forgets)
{
    struct oci_runtime rt = {.binary = strdup("runc"), .root = strdup("/r")};
    oci_runtime_done(&rt);
    cr_expect_null(rt.binary);
    oci_runtime_done(&rt);
}

struct failure {
    const char *binary, *command, *log, *err;
    unsigned code;
    enum status status;
    const char *text;
};

static void expect_failure(const struct failure *f)
{
    struct oci_runtime rt = {.binary = (char *)f->binary, .root = LENT("/r")};
    struct error err = {0};
    cr_expect_eq(oci_runtime_error(&err, &rt, f->command, f->log, f->err, f->code), -1);
    cr_expect_eq(err.status, f->status, "%s", err.text);
    cr_expect_str_eq(err.text, f->text);
}

// Logs and texts as the runtimes write them (runc 1.3, crun 1.28).
Test(runtime, errors)
{
    static const struct failure cases[] = {
        {"runc", "create",
         "{\"level\":\"warning\",\"msg\":\"w\",\"time\":\"2026-01-01T00:00:00Z\"}\n"
         "{\"level\":\"error\",\"msg\":\"runc create failed: unable to start container process: "
         "error during container init: exec: \\\"/nope\\\": stat /nope: no such file or "
         "directory\",\"time\":\"2026-01-01T00:00:00Z\"}\n"
         "{\"level\":\"info\",\"msg\":\"later\"}\n",
         "noise", 1, STATUS_UNKNOWN,
         "OCI runtime create failed: runc create failed: unable to start container process: error "
         "during container init: exec: \"/nope\": stat /nope: no such file or directory"},
        {"/usr/sbin/runc", "create", "",
         "init: noise\nrunc create failed: unable to start container process: exec: \"/nope\": "
         "stat /nope: no such file or directory\n\n",
         1, STATUS_UNKNOWN,
         "OCI runtime create failed: runc create failed: unable to start container process: exec: "
         "\"/nope\": stat /nope: no such file or directory"},
        {"runc", "state",
         "{\"level\":\"error\",\"msg\":\"container does not exist\",\"time\":\"t\"}\n", NULL, 1,
         STATUS_NOT_FOUND, "OCI runtime state failed: runc: container does not exist"},
        {"runc", "exec", NULL, "exec failed: container does not exist\n", 255, STATUS_NOT_FOUND,
         "OCI runtime exec failed: runc: exec failed: container does not exist"},
        // crun's records take several lines.
        {"crun", "kill",
         "{\n  \"msg\": \"container `nope` does not exist: open `\\/run\\/r\\/nope\\/status`: No "
         "such file or directory\",\n  \"level\": \"error\",\n  \"time\": "
         "\"2026-01-01T00:00:00.5Z\"\n}\n",
         "", 1, STATUS_NOT_FOUND,
         "OCI runtime kill failed: crun: container `nope` does not exist: open "
         "`/run/r/nope/status`: No such file or directory"},
        {"crun", "delete", NULL, "cannot open directory `/run/r/nope`: No such file or directory\n",
         1, STATUS_NOT_FOUND,
         "OCI runtime delete failed: crun: cannot open directory `/run/r/nope`: No such file or "
         "directory"},
        // The last error counts, whatever its form.
        {"crun", "create",
         "{\n \"msg\": \"first\",\n \"level\": \"error\"\n}\n{\"msg\":\"second\",\"level\":"
         "\"error\"}{\n \"msg\": \"third\",\n \"level\": \"warning\"\n}\n",
         "", 1, STATUS_UNKNOWN, "OCI runtime create failed: crun: second"},
        // A start that was cut off, and text between records.
        {"crun", "create",
         "g\": \"cut\"}\n{ broken\nplain\n{\"msg\":\"whole\",\"level\":\"fatal\"}\n{\"msg\":\"un",
         "", 1, STATUS_UNKNOWN, "OCI runtime create failed: crun: whole"},
        {"runsc", "create", NULL, "{\"msg\":\"on stderr\",\"level\":\"error\"}\n", 128,
         STATUS_UNKNOWN, "OCI runtime create failed: runsc: on stderr"},
        {"runc", "start", "", "", 3, STATUS_UNKNOWN,
         "OCI runtime start failed: runc: exit status 3 without a message"},
        {"runc", "start", "{\"level\":\"error\",\"msg\":\"\"}\n", " \n\n", 3, STATUS_UNKNOWN,
         "OCI runtime start failed: runc: exit status 3 without a message"},
        {"runc", "start", "{\"level\":\"error\",\"msg\":7}\n[]\n{}\n", "e", 3, STATUS_UNKNOWN,
         "OCI runtime start failed: runc: e"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect_failure(&cases[i]);
}

// A missing file of the container must not look like a missing container: containerd would forget
// it.
Test(runtime, not_found_is_about_the_container_only)
{
    static const struct {
        const char *command, *text;
        enum status status;
    } cases[] = {
        {"create", "container does not exist", STATUS_UNKNOWN},
        {"exec", "exec: \"/nope\": stat /nope: no such file or directory", STATUS_UNKNOWN},
        {"start", "mount source /x does not exist", STATUS_UNKNOWN},
        {"exec", "executable file `/nope` not found: No such file or directory", STATUS_UNKNOWN},
        {"kill", "unable to signal init: container not running", STATUS_NOT_FOUND},
        {"kill", "kill container: No such process", STATUS_NOT_FOUND},
        {"exec", "cannot exec in a stopped container: container not running", STATUS_UNKNOWN},
        {"start", "error opening file `/run/crun/a/status`: No such file or directory",
         STATUS_NOT_FOUND},
        {"state", "loading container \"a\": file does not exist", STATUS_NOT_FOUND},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct oci_runtime rt = runc();
        struct error err = {0};
        oci_runtime_error(&err, &rt, cases[i].command, NULL, cases[i].text, 1);
        cr_expect_eq(err.status, cases[i].status, "%s: %s", cases[i].command, cases[i].text);
    }
}

Test(runtime, a_message_is_bounded_and_printable)
{
    struct oci_runtime rt = runc();
    struct error err = {0};
    oci_runtime_error(&err, &rt, "start", NULL, "a\x1b[31mb\tc\xff\xc3\x28 \xed\xa0\x80 \xc3\xa9",
                      1);
    cr_expect_str_eq(err.text, "OCI runtime start failed: runc: a [31mb c?\?( ?\?\? \xc3\xa9");

    // Many bytes of two-byte characters: cut between two of them.
    char *big = malloc(100001);
    for (size_t i = 0; i < 100000; i += 2)
        memcpy(big + i, "\xc3\xa9", 2);
    big[100000] = '\0';
    for (size_t shift = 0; shift < 2; shift++) {
        big[0] = 'x';
        big[1] = shift ? 'y' : ' ';
        oci_runtime_error(&err, &rt, "start", NULL, big + shift, 1);
        size_t len = strlen(err.text);
        cr_expect_lt(len, 1000u);
        cr_expect_gt(len, 850u);
        cr_expect_eq((unsigned char)err.text[len - 1], 0xa9);
    }
    free(big);
}

// A log of nothing but record starts costs a bounded time, also where each start swallows the rest
// (an open comment).
Test(runtime, hostile_logs, .timeout = 20)
{
    struct oci_runtime rt = runc();
    size_t n = 4u * 1024 * 1024;
    char *log = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        log[i] = "{/*\n"[i % 4];
    log[n] = '\0';
    struct error err = {0};
    clock_t before = clock();
    oci_runtime_error(&err, &rt, "start", log, NULL, 9);
    cr_expect_lt(clock() - before, CLOCKS_PER_SEC / 2);
    cr_expect_str_eq(err.text, "OCI runtime start failed: runc: exit status 9 without a message");
    memset(log, '{', n);
    oci_runtime_error(&err, &rt, "start", log, NULL, 9);
    memset(log, '[', n);
    oci_runtime_error(&err, &rt, "start", log, log, 9);
    free(log);
}
