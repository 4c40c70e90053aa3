#include "shim/features.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define ONE "{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.2.1\",\"mountOptions\":[\"rro\"]}"
#define TWO "{\"ociVersionMax\":\"1.3.0\",\"x\":\"new\"}"

static char dir[64], cache[80], engine[80], calls[80];

// A program that notes that it was called and then runs `body`.
static void write_engine(const char *body)
{
    FILE *f = fopen(engine, "w");
    cr_assert_not_null(f);
    fprintf(f, "#!/bin/sh\n[ \"$1\" = features ] || exit 9\necho >>%s\n%s\n", calls, body);
    cr_assert_eq(fclose(f), 0);
    cr_assert_eq(chmod(engine, 0755), 0);
}

static void setup(void)
{
    strcpy(dir, "/tmp/shim-test-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(cache, sizeof cache, "%s/cache", dir);
    snprintf(engine, sizeof engine, "%s/engine", dir);
    snprintf(calls, sizeof calls, "%s/calls", dir);
    write_engine("echo '" ONE "'");
}

static void teardown(void)
{
    cr_expect_eq(file_remove_tree_at(AT_FDCWD, dir), 0);
}

TestSuite(features, .init = setup, .fini = teardown);

static long count_calls(void)
{
    struct stat st;
    return stat(calls, &st) < 0 ? 0 : (long)st.st_size;
}

// Asks for the features of `name`; the text must begin with `want`.
static int ask(const char *name, const char *want)
{
    struct buf out;
    struct error err = {0};
    buf_init(&out, FEATURES_SIZE_MAX);
    int r = features_get(name, cache, &out, &err);
    cr_expect_eq(r == 0, err.status == STATUS_OK, "%s", err.text);
    const char *text = buf_cstr(&out);
    cr_expect(text && strncmp(text, want, strlen(want)) == 0, "%s", text);
    buf_free(&out);
    return r;
}

#define BUILT_IN "{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.0.2\""

static void cache_file(char path[512])
{
    path[0] = '\0';
    DIR *d = opendir(cache);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, "features-", 9) == 0)
            snprintf(path, 512, "%s/%s", cache, e->d_name);
    }
    if (d)
        closedir(d);
}

Test(features, the_engine_is_asked_once)
{
    for (int i = 0; i < 3; i++)
        cr_expect_eq(ask(engine, ONE), 0);
    cr_expect_eq(count_calls(), 1);
    char path[512];
    struct stat st;
    cache_file(path);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0600u);
    cr_assert_eq(stat(cache, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0700u);
}

Test(features, everything_that_the_engine_says_is_passed_on)
{
    static const char all[] =
        "{\"ociVersionMax\":\"1.3.0\",\"mountOptions\":[\"ro\",\"rro\"],\"linux\":{\"namespaces\":["
        "\"user\",\"pid\"],\"mountExtensions\":{\"idmap\":{\"enabled\":true}}},\"unknown\":[1.5]}"
        "\n";
    char body[512];
    snprintf(body, sizeof body, "echo '%.*s'", (int)strlen(all) - 1, all);
    write_engine(body);
    for (int i = 0; i < 2; i++) {
        struct buf out;
        buf_init(&out, FEATURES_SIZE_MAX);
        cr_assert_eq(features_get(engine, cache, &out, NULL), 0);
        cr_expect_str_eq(buf_cstr(&out), all);
        buf_free(&out);
    }
    cr_expect_eq(count_calls(), 1);
}

Test(features, another_program_file_is_asked_again)
{
    cr_expect_eq(ask(engine, ONE), 0);
    write_engine("echo '" TWO "'");
    cr_expect_eq(ask(engine, TWO), 0);
    // The same size, only newer.
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    cr_assert_eq(utimensat(AT_FDCWD, engine, times, 0), 0);
    cr_expect_eq(ask(engine, TWO), 0);
    cr_expect_eq(count_calls(), 3);
}

Test(features, the_engine_is_found_in_path)
{
    char path[256];
    snprintf(path, sizeof path, "relative::/nonexistent:%s:/bin", dir);
    setenv("PATH", path, 1);
    cr_expect_eq(ask("engine", ONE), 0);
    cr_expect_eq(ask("engine", ONE), 0);
    cr_expect_eq(count_calls(), 1);
}

Test(features, what_cannot_be_asked_gets_the_built_in_ones)
{
    cr_expect_eq(ask("/nonexistent/engine", BUILT_IN), -1);
    cr_expect_eq(ask("no-such-engine-anywhere", BUILT_IN), -1);
    cr_expect_eq(ask("", BUILT_IN), -1);
    cr_expect_eq(ask("relative/engine", BUILT_IN), -1);
    cr_expect_eq(ask(dir, BUILT_IN), -1);
    static const char *const bodies[] = {
        "exit 1",
        "echo '" ONE "'; exit 3",
        "kill -9 $$",
        "true",
        "echo not json",
        "echo '[]'",
        "echo '{}'",
        "echo '{\"ociVersionMax\":7}'",
        "echo '{\"ociVersionMax\":\"1\",\"mountOptions\":{}}'",
        "echo '{\"ociVersionMax\":\"1\",\"linux\":[]}'",
        "head -c 1000000 /dev/zero",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        write_engine(bodies[i]);
        cr_expect_eq(ask(engine, BUILT_IN), -1, "%s", bodies[i]);
    }
    // Failures are not remembered.
    write_engine("echo '" ONE "'");
    cr_expect_eq(ask(engine, ONE), 0);
}

Test(features, an_engine_that_hangs_is_killed_in_time, .timeout = 20)
{
    char body[256];
    snprintf(body, sizeof body, "sleep 60 & echo $! >%s/child; wait", dir);
    write_engine(body);
    time_t before = time(NULL);
    cr_expect_eq(ask(engine, BUILT_IN), -1);
    cr_expect_lt(time(NULL) - before, FEATURES_TIMEOUT + 4);
    // Its own children are gone as well.
    char path[128], stat_path[64], state = 'Z';
    int child = 0;
    snprintf(path, sizeof path, "%s/child", dir);
    FILE *f = fopen(path, "r");
    cr_assert(f && fscanf(f, "%d", &child) == 1 && child > 0);
    fclose(f);
    snprintf(stat_path, sizeof stat_path, "/proc/%d/stat", child);
    for (int i = 0; i < 100; i++) {
        f = fopen(stat_path, "r");
        if (!f || fscanf(f, "%*d %*s %c", &state) != 1)
            state = 'Z';
        if (f)
            fclose(f);
        if (state == 'Z')
            break;
        usleep(20000);
    }
    cr_expect_eq(state, 'Z');
}

Test(features, a_cache_that_somebody_tampered_with_counts_for_nothing)
{
    char path[512], text[4096], *end;
    cr_expect_eq(ask(engine, ONE), 0);
    cache_file(path);
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f);
    cr_assert_not_null(fgets(text, sizeof text, f));
    fclose(f);
    end = text + strlen(text);
    static const char *const bodies[] = {"", "{", "[]", "{\"ociVersionMax\":\"1\"} x"};
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        strcpy(end, bodies[i]);
        f = fopen(path, "w");
        cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
        cr_expect_eq(ask(engine, ONE), 0, "%s", bodies[i]);
    }
    cr_expect_eq(count_calls(), 1 + (long)ARRAY_SIZE(bodies));

    strcpy(end, TWO);
    f = fopen(path, "w");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
    cr_expect_eq(ask(engine, TWO), 0, "a good file is believed");
    cr_assert_eq(chmod(path, 0666), 0);
    cr_expect_eq(ask(engine, ONE), 0, "one that others can write is not");
}

Test(features, a_directory_that_others_can_write_is_not_used)
{
    cr_assert_eq(mkdir(cache, 0700), 0);
    cr_assert_eq(chmod(cache, 0777), 0);
    cr_expect_eq(ask(engine, ONE), 0);
    cr_expect_eq(ask(engine, ONE), 0);
    cr_expect_eq(count_calls(), 2);
    char path[512];
    cache_file(path);
    cr_expect_str_eq(path, "");
}

Test(features, a_foreign_or_linked_directory_is_not_used)
{
    if (geteuid() == 0) {
        cr_assert_eq(mkdir(cache, 0700), 0);
        cr_assert_eq(chown(cache, 12345, 12345), 0);
        cr_expect_eq(ask(engine, ONE), 0);
        cr_assert_eq(rmdir(cache), 0, "nothing was written");
    }
    char real[96];
    snprintf(real, sizeof real, "%s/real", dir);
    cr_assert_eq(mkdir(real, 0700), 0);
    cr_assert_eq(symlink(real, cache), 0);
    cr_expect_eq(ask(engine, ONE), 0);
    cr_assert_eq(rmdir(real), 0, "nothing was written");
}
