#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "sandbox/record.h"

static struct sandbox_record sample(void)
{
    struct sandbox_record r = {
        .id = strdup("abc"),
        .state = SANDBOX_READY,
        .created_at = {1700000000, 123456789},
        .exit_status = 7,
        .remove = true,
        .netns = strdup("/run/netns/x"),
        .hostname = strdup("name \"with\" quotes"),
        .runtime_type = strdup("io.containerd.kuasar-runc.v1"),
        .labels = json_object_new_object(),
        .init = {.pid = 5000, .start_time = 77},
    };
    json_object_object_add(r.labels, "name", json_object_new_string("pod"));
    return r;
}

static int parse(struct sandbox_record *r, const char *text, struct error *err)
{
    return record_parse(r, text, strlen(text), "/run/d/abc", "abc", err);
}

Test(record, comes_back_as_it_was_written)
{
    char base[] = "/tmp/record-XXXXXX", dir[64];
    cr_assert(mkdtemp(base));
    snprintf(dir, sizeof dir, "%s/abc", base);
    cr_assert_eq(file_mkdir_all(dir, 0700), 0);
    struct sandbox_record r = sample(), back;
    struct error err = {0};
    undo_push_path(&r.undo, UNDO_UNMOUNT, dir);
    cr_assert_eq(record_store(&r, dir, &err), 0, "%s", err.text);
    cr_assert_eq(pod_store(&(struct pod){.id = (char *)"abc"}, dir, &err), 0, "%s", err.text);
    cr_assert_eq(record_load(&back, dir, "abc", &err), 0, "%s", err.text);
    cr_expect_eq(back.state, SANDBOX_READY);
    cr_expect_eq(back.created_at.tv_sec, 1700000000);
    cr_expect_eq(back.created_at.tv_nsec, 123456789);
    cr_expect_eq(back.exit_status, 7);
    cr_expect(back.remove);
    cr_expect_str_eq(back.netns, r.netns);
    cr_expect_str_eq(back.hostname, r.hostname);
    cr_expect_eq(back.init.pid, 5000);
    cr_expect_eq(back.init.start_time, 77);
    cr_expect_eq(back.undo.n, 1);
    cr_expect_str_eq(json_object_get_string(json_object_object_get(back.labels, "name")), "pod");
    record_done(&r);
    record_done(&back);
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, base), 0);
}

Test(record, of_a_future_version_is_told_apart_from_a_broken_one)
{
    struct sandbox_record r = {0};
    struct error err = {0};
    cr_assert_lt(parse(&r, "{\"version\":2,\"id\":\"abc\",\"state\":\"ready\"}", &err), 0);
    cr_expect_eq(err.status, STATUS_FAILED_PRECONDITION);
    cr_expect(strstr(err.text, "version 2"));
}

Test(record, broken_contents_are_refused_whole)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"version\":1}",
        "{\"version\":1,\"id\":\"abc\"}",
        "{\"version\":1,\"id\":\"abc\",\"state\":\"ready\"}",
        "{\"version\":1,\"id\":\"abc\",\"state\":\"ready\",\"undo\":null}",
        "{\"version\":1,\"id\":\"abc\",\"state\":\"ready\",\"undo\":[],\"remove\":1}",
        "{\"version\":1,\"id\":\"abc\",\"state\":\"happy\",\"undo\":[]}",
        "{\"version\":1,\"id\":\"other\",\"state\":\"ready\",\"undo\":[]}",
        "{\"version\":1,\"id\":7,\"state\":\"ready\",\"undo\":[]}",
        "{\"version\":1,\"id\":\"abc\",\"state\":\"ready\",\"undo\":[],\"created_at\":[1]}",
        "{\"version\":1,\"id\":\"abc\",\"state\":\"ready\",\"undo\":[],\"created_at\":[1,-1]}",
        "{\"version\":1,\"id\":\"abc\",\"state\":\"ready\",\"undo\":[],\"labels\":{\"a\":1}}",
        "{\"version\":1,\"id\":\"abc\",\"state\":\"ready\",\"undo\":[],\"init_pid\":-4}",
        "{\"version\":1,\"id\":\"abc\",\"state\":\"ready\",\"undo\":[{\"kind\":\"unmount\"}]}",
        "{\"version\":1,\"id\":\"abc\",\"state\":\"ready\",\"undo\":[]} trailing",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sandbox_record r = {.exit_status = 42};
        struct error err = {0};
        cr_expect_lt(parse(&r, bad[i], &err), 0, "taken: %s", bad[i]);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT, "%s: %s", bad[i], err.text);
        cr_expect_eq(r.exit_status, 42, "the target was touched");
    }
}

Test(record, an_absent_one_is_not_found)
{
    struct sandbox_record r;
    struct error err = {0};
    char dir[] = "/tmp/record-XXXXXX";
    cr_assert(mkdtemp(dir));
    cr_assert_lt(record_load(&r, dir, "abc", &err), 0);
    cr_expect_eq(err.status, STATUS_NOT_FOUND);
    rmdir(dir);
}

// Stores a record in this state and loads it again; 0 or the status of the refusal.
static enum status reload(const char *dir, enum sandbox_state state, struct error *err)
{
    struct sandbox_record r = sample(), back;
    r.state = state;
    cr_assert_eq(record_store(&r, dir, err), 0, "%s", err->text);
    record_done(&r);
    if (record_load(&back, dir, "abc", err) < 0)
        return err->status;
    record_done(&back);
    return STATUS_OK;
}

Test(record, of_a_living_sandbox_needs_the_pod_that_goes_with_it)
{
    char base[] = "/tmp/record-XXXXXX", dir[64];
    cr_assert(mkdtemp(base));
    snprintf(dir, sizeof dir, "%s/abc", base);
    cr_assert_eq(file_mkdir_all(dir, 0700), 0);
    struct error err = {0};
    for (enum sandbox_state s = SANDBOX_CREATING; s < SANDBOX_STATE_MAX_; s++) {
        bool living = s == SANDBOX_CREATED || s == SANDBOX_READY;
        cr_expect_eq(reload(dir, s, &err), living ? STATUS_INVALID_ARGUMENT : STATUS_OK, "%s",
                     sandbox_state_name(s));
        cr_expect(!living || strstr(err.text, "pod.json"), "%s", err.text);
    }
    cr_assert_eq(pod_store(&(struct pod){.id = (char *)"other"}, dir, &err), 0, "%s", err.text);
    cr_expect_eq(reload(dir, SANDBOX_READY, &err), STATUS_INVALID_ARGUMENT);
    cr_expect(strstr(err.text, "another sandbox"), "%s", err.text);
    cr_expect_eq(reload(dir, SANDBOX_CREATING, &err), STATUS_OK);
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, base), 0);
}

Test(record, with_the_least_in_it_can_be_used)
{
    struct sandbox_record r;
    struct error err = {0};
    const char *text = "{\"version\":1,\"id\":\"abc\",\"state\":\"ready\",\"undo\":[]}";
    cr_assert_eq(parse(&r, text, &err), 0, "%s", err.text);
    cr_expect_str_eq(r.netns, "");
    cr_expect_str_eq(r.hostname, "");
    cr_expect_str_eq(r.runtime_type, "");
    cr_expect(!r.remove);
    record_done(&r);
}

Test(record, is_limited_when_it_is_first_written_and_not_later)
{
    char dir[] = "/tmp/record-XXXXXX", path[64];
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/" RECORD_FILE, dir);
    struct sandbox_record r = sample();
    struct error err = {0};
    char *big = malloc(RECORD_SIZE_MAX);
    memset(big, 'x', RECORD_SIZE_MAX - 1);
    big[RECORD_SIZE_MAX - 1] = '\0';
    r.state = SANDBOX_CREATING;
    json_object_object_add(r.labels, "big", json_object_new_string(big));
    cr_expect_lt(record_store(&r, dir, &err), 0);
    cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_expect(strstr(err.text, "labels and annotations"), "%s", err.text);
    cr_expect_lt(access(path, F_OK), 0, "nothing is written");
    big[RECORD_SIZE_MAX - RECORD_GROWTH_MAX / 2] = '\0';
    json_object_object_add(r.labels, "big", json_object_new_string(big));
    cr_expect_lt(record_store(&r, dir, &err), 0);
    r.state = SANDBOX_CREATED;
    cr_expect_eq(record_store(&r, dir, &err), 0);
    free(big);
    record_done(&r);
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, dir), 0);
}
