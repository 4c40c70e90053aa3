#include "oci_test.h"

// The smallest spec that passes, in pieces that a case can replace.
#define PROCESS "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"}"
#define ROOT    "\"root\":{\"path\":\"rootfs\"}"
#define LINUX   "\"linux\":{\"namespaces\":[{\"type\":\"pid\"}]}"

Test(spec, refuses_what_we_depend_on_and_names_the_field)
{
    static const struct {
        const char *text;
        const char *field;
    } cases[] = {
        {"[]", "object"},
        {"{" ROOT "," LINUX "}", "process"},
        {"{\"process\":[]," ROOT "," LINUX "}", "process"},
        {"{\"process\":{\"cwd\":\"/\"}," ROOT "," LINUX "}", "args"},
        {"{\"process\":{\"args\":[],\"cwd\":\"/\"}," ROOT "," LINUX "}", "args"},
        {"{\"process\":{\"args\":[\"\"],\"cwd\":\"/\"}," ROOT "," LINUX "}", "args[0]"},
        {"{\"process\":{\"args\":[\"a\",7],\"cwd\":\"/\"}," ROOT "," LINUX "}", "args[1]"},
        {"{\"process\":{\"args\":[\"a\",\"b\\u0000c\"],\"cwd\":\"/\"}," ROOT "," LINUX "}",
         "args[1]"},
        {"{\"process\":{\"args\":[\"a\"]}," ROOT "," LINUX "}", "cwd"},
        {"{\"process\":{\"args\":[\"a\"],\"cwd\":\"tmp\"}," ROOT "," LINUX "}", "cwd"},
        {"{\"process\":{\"args\":[\"a\"],\"cwd\":\"/\",\"terminal\":1}," ROOT "," LINUX "}",
         "terminal"},
        {"{" PROCESS "," LINUX "}", "root"},
        {"{" PROCESS ",\"root\":{}," LINUX "}", "root.path"},
        {"{" PROCESS ",\"root\":{\"path\":\"r\",\"readonly\":\"no\"}," LINUX "}", "readonly"},
        {"{" PROCESS "," ROOT "}", "linux"},
        {"{" PROCESS "," ROOT ",\"linux\":{}}", "linux.namespaces"},
        {"{" PROCESS "," ROOT ",\"linux\":{\"namespaces\":{}}}", "namespaces"},
        {"{" PROCESS "," ROOT ",\"linux\":{\"namespaces\":[\"pid\"]}}", "linux.namespaces[0]"},
        {"{" PROCESS "," ROOT ",\"linux\":{\"namespaces\":[{}]}}", "type"},
        {"{" PROCESS "," ROOT ",\"linux\":{\"namespaces\":[{\"type\":\"pid\",\"path\":3}]}}",
         "path"},
        {"{" PROCESS "," ROOT ",\"linux\":{\"namespaces\":[],\"cgroupsPath\":[]}}", "cgroupsPath"},
        {"{" PROCESS "," ROOT "," LINUX ",\"mounts\":{}}", "mounts"},
        {"{" PROCESS "," ROOT "," LINUX ",\"mounts\":[{\"type\":\"proc\"}]}", "mounts[0]"},
        {"{" PROCESS "," ROOT "," LINUX ",\"annotations\":[]}", "annotations"},
        {"{" PROCESS "," ROOT "," LINUX ",\"annotations\":{\"io.kubernetes.cri.sandbox-id\":{}}}",
         "io.kubernetes.cri.sandbox-id"},
        {"{" PROCESS "," ROOT "," LINUX "} x", "config.json"},
        {"", "config.json"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = {0};
        cr_expect_null(oci_spec_parse(cases[i].text, strlen(cases[i].text), &err), "%s",
                       cases[i].text);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT, "%s", cases[i].text);
        cr_expect_not_null(strstr(err.text, cases[i].field), "%s: %s", cases[i].text, err.text);
    }
}

Test(spec, accepts_the_least)
{
    json_object_put(parse_text("{" PROCESS "," ROOT "," LINUX "}"));
    json_object_put(parse_text("{" PROCESS "," ROOT "," LINUX ",\"mounts\":null}"));
}

Test(spec, refuses_more_than_the_limit)
{
    size_t len = OCI_SPEC_MAX + 1;
    char *text = malloc(len);
    memset(text, ' ', len);
    struct error err = {0};
    cr_expect_null(oci_spec_parse(text, len, &err));
    cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
    free(text);
}

// Writing a spec back must not lose or change a field that we do not know: that is how security
// settings get lost silently.
Test(spec, unknown_fields_survive_a_round_trip)
{
    char dir[64];
    make_dir(dir);
    struct buf text;
    read_sample(&text);
    write_file(dir, "config.json", buf_cstr(&text), 0640);

    struct error err = {0};
    json_object *spec = oci_spec_load(dir, &err);
    cr_assert_not_null(spec, "%s", err.text);
    cr_assert_eq(oci_spec_store(spec, dir, &err), 0, "%s", err.text);

    char path[128];
    snprintf(path, sizeof path, "%s/config.json", dir);
    struct buf stored;
    buf_init(&stored, OCI_SPEC_MAX);
    cr_assert_eq(file_read_at(AT_FDCWD, path, &stored), 0);
    json_object *before = parse_sample(), *after = parse_text(buf_cstr(&stored));
    cr_expect(json_object_equal(before, after));

    static const char *const exact[] = {
        "\"limit\":-1",
        "\"swap\":-1",
        "\"burst\":18446744073709551615",
        "\"limit\":18446744073709551615",
        "\"value\":18446744071562067967",
        "\"rate\":0.1,\"big\":1e300",
        "\"timeOffsets\":{\"monotonic\":{\"secs\":172800,\"nanosecs\":0}}",
        "\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"],\"listenerPath\":\"/run/seccomp.sock\"",
        "\"unified\":{\"memory.high\":\"max\"",
        "\"createRuntime\":[{\"path\":\"/usr/bin/hook\"",
        "\"args\":[\"/bin/sh\",\"-c\",\"\"]",
        "\"a/b \xc3\xa9 \xf0\x9f\x98\x80\"",
    };
    for (size_t i = 0; i < ARRAY_SIZE(exact); i++)
        cr_expect_not_null(strstr(buf_cstr(&stored), exact[i]), "%s", exact[i]);

    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0640u);
    json_object_put(before);
    json_object_put(after);
    json_object_put(spec);
    buf_free(&text);
    buf_free(&stored);
    remove_dir(dir);
}

Test(spec, an_absent_file_is_not_found)
{
    char dir[64];
    make_dir(dir);
    struct error err = {0};
    cr_expect_null(oci_spec_load(dir, &err));
    cr_expect_eq(err.status, STATUS_NOT_FOUND);
    cr_expect_not_null(strstr(err.text, dir));
    error_clear(&err);
    cr_expect_null(oci_spec_load("/nonexistent/bundle", &err));
    cr_expect_eq(err.status, STATUS_NOT_FOUND);
    remove_dir(dir);
}

Test(spec, a_symlink_is_not_followed)
{
    char dir[64], link[128];
    make_dir(dir);
    snprintf(link, sizeof link, "%s/config.json", dir);
    cr_assert_eq(symlink(SAMPLE, link), 0);
    struct error err = {0};
    cr_expect_null(oci_spec_load(dir, &err));
    remove_dir(dir);
}

Test(spec, getters)
{
    json_object *spec = parse_sample();
    cr_expect_str_eq(oci_spec_sandbox_id(spec), "6d7b2c1a9f00");
    cr_expect_str_eq(oci_spec_container_name(spec), "web");
    cr_expect_str_eq(oci_spec_annotation(spec, "io.kubernetes.cri.container-type"), "container");
    cr_expect_null(oci_spec_annotation(spec, "absent"));
    cr_expect_str_eq(oci_spec_cgroups_path(spec), "/kubepods/burstable/pod01/6d7b2c1a9f01");
    cr_expect_str_eq(oci_spec_root_path(spec), "rootfs");
    cr_expect_not(oci_spec_root_readonly(spec));
    cr_expect(oci_spec_private_pid(spec));
    cr_expect(oci_spec_has_hooks(spec));
    json_object_put(spec);

    spec = parse_text("{" PROCESS ",\"root\":{\"path\":\"/r\",\"readonly\":true},"
                      "\"linux\":{\"namespaces\":[{\"type\":\"mount\"}]}}");
    cr_expect_null(oci_spec_sandbox_id(spec));
    cr_expect_null(oci_spec_container_name(spec));
    cr_expect_null(oci_spec_cgroups_path(spec));
    cr_expect(oci_spec_root_readonly(spec));
    cr_expect_not(oci_spec_private_pid(spec), "no entry is the host's namespace");
    cr_expect_not(oci_spec_has_hooks(spec));
    json_object_put(spec);

    spec = parse_text("{" PROCESS "," ROOT ",\"hooks\":{},\"linux\":{\"namespaces\":["
                      "{\"type\":\"pid\",\"path\":\"/proc/7/ns/pid\"}]}}");
    cr_expect_not(oci_spec_private_pid(spec));
    cr_expect_not(oci_spec_has_hooks(spec));
    json_object_put(spec);
}

Test(spec, process_of_an_exec)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"{\"args\":[\"sh\",\"\"],\"cwd\":\"/\",\"terminal\":true}", true},
        {"{\"args\":[\"sh\"],\"cwd\":\"/\"}", true},
        {"[]", false},
        {"{\"args\":\"sh\",\"cwd\":\"/\"}", false},
        {"{\"args\":[\"sh\"],\"cwd\":\"\"}", false},
        {"{\"args\":[\"sh\"],\"cwd\":\"/\",\"terminal\":\"true\"}", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_object *process = json_tokener_parse(cases[i].text);
        struct error err = {0};
        cr_expect_eq(oci_process_check(process, &err), cases[i].good ? 0 : -1, "%s", cases[i].text);
        cr_expect_eq(err.status, cases[i].good ? STATUS_OK : STATUS_INVALID_ARGUMENT);
        json_object_put(process);
    }
    struct error err = {0};
    cr_expect_eq(oci_process_check(NULL, &err), -1);
}
