#include "base/config.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

struct settings {
    char *listen;
    char *runtime;
    bool debug;
    int64_t limit;
};

static const struct config_key keys[] = {
    {"listen", CONFIG_STRING, offsetof(struct settings, listen), 0, 0},
    {"runtime.default", CONFIG_STRING, offsetof(struct settings, runtime), 0, 0},
    {"runtime.debug", CONFIG_BOOL, offsetof(struct settings, debug), 0, 0},
    {"limit", CONFIG_INT, offsetof(struct settings, limit), 1, 100},
    {"old.*", CONFIG_UNUSED, 0, 0, 0},
    {"older", CONFIG_UNUSED, 0, 0, 0},
};

static int parse(const char *text, struct settings *s, struct error *err)
{
    return config_parse("t.toml", text, strlen(text), keys, ARRAY_SIZE(keys), s, err);
}

static void done(struct settings *s)
{
    free(s->listen);
    free(s->runtime);
}

Test(config, reads_all_types)
{
    struct settings s = {.listen = strdup("old")};
    struct error err = {0};
    cr_assert_eq(parse("# comment\nlisten = \"/run/x.sock\"\nlimit = 100\n"
                       "[runtime]\ndefault = 'runc'\ndebug = true\n",
                       &s, &err),
                 0, "%s", err.text);
    cr_assert_str_eq(s.listen, "/run/x.sock");
    cr_assert_str_eq(s.runtime, "runc");
    cr_assert(s.debug);
    cr_assert_eq(s.limit, 100);
    done(&s);
}

Test(config, other_spellings_of_tables)
{
    struct settings s = {0};
    cr_assert_eq(parse("runtime.default = \"a\"", &s, NULL), 0);
    cr_assert_str_eq(s.runtime, "a");
    cr_assert_eq(parse("runtime = { default = \"b\" }", &s, NULL), 0);
    cr_assert_str_eq(s.runtime, "b");
    cr_assert_eq(parse("[runtime]\n", &s, NULL), 0);
    done(&s);
}

Test(config, absent_keys_keep_their_value)
{
    struct settings s = {.limit = 7, .debug = true};
    cr_assert_eq(parse("", &s, NULL), 0);
    cr_assert_eq(config_parse("x", NULL, 0, keys, ARRAY_SIZE(keys), &s, NULL), 0);
    cr_assert_eq(s.limit, 7);
    cr_assert(s.debug);
}

Test(config, errors_name_file_line_and_key)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"\n\nlisten = 1", "t.toml:3: listen: wanted string, found integer"},
        {"limit = \"1\"", "t.toml:1: limit: wanted integer, found string"},
        {"limit = 1.0", "t.toml:1: limit: wanted integer, found floating-point"},
        {"runtime.debug = 1", "t.toml:1: runtime.debug: wanted boolean, found integer"},
        {"listen = [\"a\"]", "t.toml:1: listen: wanted string, found array"},
        {"[listen]", "t.toml:1: listen: wanted string, found table"},
        {"listen = 2020-01-01", "t.toml:1: listen: wanted string, found date"},
        {"runtime = 5", "t.toml:1: runtime: wanted table, found integer"},
        {"limit = 0", "t.toml:1: limit: 0 is out of range (wanted: 1 to 100)"},
        {"limit = 101", "t.toml:1: limit: 101 is out of range (wanted: 1 to 100)"},
        {"limit = -9223372036854775808",
         "t.toml:1: limit: -9223372036854775808 is out of range (wanted: 1 to 100)"},
        {"a = 1",
         "t.toml:1: a: unknown key (known: listen, runtime.default, runtime.debug, limit)"},
        {"\n[runtime]\nx = 1", "t.toml:3: runtime.x: unknown key (known: listen, "
                               "runtime.default, runtime.debug, limit)"},
        {"[other]\n", "t.toml:1: other: unknown key (known: listen, runtime.default, "
                      "runtime.debug, limit)"},
        {"\"runtime.default\" = \"x\"", "t.toml:1: \"runtime.default\": unknown key (known: "
                                        "listen, runtime.default, runtime.debug, limit)"},
        {"listen = \"a\\u0000b\"", "t.toml:1: listen: contains a NUL character"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct settings s = {0};
        struct error err = {0};
        cr_expect_eq(parse(rows[i].text, &s, &err), -1, "%s", rows[i].text);
        cr_expect_str_eq(err.text, rows[i].error);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        done(&s);
    }
}

Test(config, broken_toml_names_the_line)
{
    static const char *const rows[] = {"\nlisten = ",
                                       "\nlisten = \"a",
                                       "\n[runtime",
                                       "\nlisten",
                                       "\n[%]",
                                       "\n[[[a]]]",
                                       "\n[[=",
                                       "\na = 1 b = 2",
                                       "\nlimit = 08",
                                       "\nx = \"\xff\"",
                                       "\nx = [1,",
                                       "\nlimit = 99999999999999999999",
                                       "\nlisten = \"\"\nlisten = \"\""};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct settings s = {0};
        struct error err = {0};
        cr_expect_eq(parse(rows[i], &s, &err), -1, "%s", rows[i]);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        cr_expect(strncmp(err.text, "t.toml:2: ", 10) == 0 ||
                      strncmp(err.text, "t.toml:3: ", 10) == 0,
                  "%s", err.text);
        done(&s);
    }
}

static char *repeat(const char *head, const char *piece, size_t n, const char *tail)
{
    size_t size = strlen(head) + strlen(piece) * n + strlen(tail) + 1;
    char *text = malloc(size), *p = stpcpy(text, head);
    for (size_t i = 0; i < n; i++)
        p = stpcpy(p, piece);
    strcpy(p, tail);
    return text;
}

Test(config, hostile_nesting_is_refused)
{
    static const struct {
        const char *head, *piece, *tail;
    } rows[] = {
        {"x = ", "[", ""},
        {"x = ", "{a=", ""},
        {"a", ".a", " = 1"},
        {"[a", ".a", "]"},
        {"[[a", ".a", "]]"},
        {"x = {a", ".a", " = 1}"},
        {"x=\"\"\"a\"\"\"\"\"\na", ".a", " = 1"},
        {"x='a'#'\na", ".a", "=1"},
        {"\"\\\"\"=1\na", ".a", "=1"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_free_ char *text = repeat(rows[i].head, rows[i].piece, 60000, rows[i].tail);
        struct settings s = {0};
        struct error err = {0};
        cr_expect_eq(parse(text, &s, &err), -1, "%zu", i);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        done(&s);
    }
}

Test(config, dots_in_strings_and_comments_are_free)
{
    _cleanup_free_ char *string = repeat("listen = \"", ".", 5000, "\"\n");
    _cleanup_free_ char *multi = repeat("listen = '''", ".\n'", 5000, "'''\n");
    _cleanup_free_ char *comment = repeat("# \" '", ".", 5000, "\nlimit = 5\n");
    struct settings s = {0};
    struct error err = {0};
    cr_assert_eq(parse(string, &s, &err), 0, "%s", err.text);
    cr_assert_eq(strlen(s.listen), 5000);
    cr_assert_eq(parse(multi, &s, &err), 0, "%s", err.text);
    cr_assert_eq(parse(comment, &s, &err), 0, "%s", err.text);
    cr_assert_eq(s.limit, 5);
    done(&s);
}

Test(config, characters_beyond_ascii)
{
    static const char *const good[] = {"# \xc3\xa4 \xe3\x80\x81\nlimit = 1",
                                       "listen = \"\\u00e4 \\U0001F600\"", "\xef\xbb\xbflimit = 1",
                                       "listen = \"\"\"\"\"\"\"\" # \xc3\xa4"};
    static const char *const bad[] = {"\xc3\xa4 = 1",
                                      "listen = \"\xc3\xa4\"",
                                      "listen = '\xe2\x80\x99'",
                                      "limit = 1-\"\xef\xbb\xaf\"",
                                      "listen = \xc3\xa4",
                                      "[\xe2\x80\x99]",
                                      "limit\xc2\xa0= 1",
                                      "limit = 1\xc3\xa4",
                                      "listen = \"\"\"a\\\n  \xc3\xa4\"\"\"",
                                      "listen = \"\"\"\\ \xc3\xa4\"\"\"",
                                      "listen = '''\xc3\xa4'''"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct settings s = {0};
        struct error err = {0};
        cr_expect_eq(parse(good[i], &s, &err), 0, "%zu: %s", i, err.text);
        done(&s);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct settings s = {0};
        struct error err = {0};
        cr_expect_eq(parse(bad[i], &s, &err), -1, "%zu", i);
        cr_expect(strstr(err.text, "beyond ASCII"), "%s", err.text);
        done(&s);
    }
}

Test(config, size_is_limited)
{
    _cleanup_free_ char *text = repeat("", "#", CONFIG_SIZE_MAX, "");
    struct settings s = {0};
    struct error err = {0};
    cr_assert_eq(config_parse("t", text, CONFIG_SIZE_MAX, keys, ARRAY_SIZE(keys), &s, &err), 0);
    cr_assert_eq(config_parse("t", text, CONFIG_SIZE_MAX + 1, keys, ARRAY_SIZE(keys), &s, &err),
                 -1);
    cr_assert(strstr(err.text, "larger than 262144 bytes"), "%s", err.text);
}

Test(config, load_reads_a_file_also_through_a_symlink)
{
    char dir[] = "/tmp/test_config.XXXXXX", path[64], link_path[64];
    struct settings s = {0};
    struct error err = {0};
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.toml", dir);
    snprintf(link_path, sizeof link_path, "%s/b.toml", dir);
    FILE *f = fopen(path, "w");
    fputs("limit = 9\n", f);
    fclose(f);
    cr_assert_eq(symlink(path, link_path), 0);
    cr_assert_eq(config_load(link_path, keys, ARRAY_SIZE(keys), &s, &err), 0, "%s", err.text);
    cr_assert_eq(s.limit, 9);
    unlink(link_path);
    f = fopen(path, "w");
    fputs("\nlimit = 900\n", f);
    fclose(f);
    cr_assert_eq(config_load(path, keys, ARRAY_SIZE(keys), &s, &err), -1);
    cr_assert_eq(strncmp(err.text, path, strlen(path)), 0);
    cr_assert(strstr(err.text, "a.toml:2: limit: 900 is out of range"), "%s", err.text);
    unlink(path);
    cr_assert_eq(config_load(path, keys, ARRAY_SIZE(keys), &s, &err), -1);
    cr_assert_eq(err.status, STATUS_NOT_FOUND);
    cr_assert_eq(config_load(dir, keys, ARRAY_SIZE(keys), &s, &err), -1);
    rmdir(dir);
}

Test(config, what_is_not_used_is_taken)
{
    struct settings s = {0};
    struct error err = {0};
    cr_assert_eq(parse("older = [1, \"x\"]\n[old]\na = 1\nb = {c = 1.5}\n", &s, &err), 0, "%s",
                 err.text);
    cr_assert_eq(parse("oldest = 1\n", &s, &err), -1);
    cr_expect(strstr(err.text, "oldest: unknown key"), "%s", err.text);
    cr_expect(!strstr(err.text, "older"), "not among those to be used: %s", err.text);
    done(&s);
}

static int refuse(const void *target, struct error *err)
{
    const struct settings *s = target;
    return s->debug ? error_set(err, STATUS_INVALID_ARGUMENT, "debug: not today") : 0;
}

Test(config, tables_beside_each_other)
{
    struct settings s = {0};
    struct more {
        int64_t depth;
        bool deep;
    } more = {0};
    static const struct config_key other[] = {
        {"depth", CONFIG_INT, offsetof(struct more, depth), 0, 9},
        {"runtime.deep", CONFIG_BOOL, offsetof(struct more, deep), 0, 0}};
    const struct config_table tables[] = {{keys, ARRAY_SIZE(keys), &s, refuse},
                                          {other, ARRAY_SIZE(other), &more, NULL}};
    struct error err = {0};
    char path[] = "/tmp/config-test.XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    dprintf(fd, "limit = 7\ndepth = 3\n[runtime]\ndefault = \"x\"\ndeep = true\n");
    cr_assert_eq(config_load_tables(path, tables, 2, &err), 0, "%s", err.text);
    cr_expect(s.limit == 7 && more.depth == 3 && more.deep && strcmp(s.runtime, "x") == 0);
    dprintf(fd, "debug = true\n");
    cr_assert_eq(config_load_tables(path, tables, 2, &err), -1);
    cr_expect(strstr(err.text, path) && strstr(err.text, "debug: not today"), "%s", err.text);
    close(fd);
    unlink(path);
    done(&s);
}
