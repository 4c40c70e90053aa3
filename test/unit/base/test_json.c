#include "base/json.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static json_object *parse(const char *text, struct error *err)
{
    return json_parse(text, strlen(text), "config.json", err);
}

Test(json, accepts)
{
    static const char *const good[] = {"{}",
                                       "[]",
                                       "1",
                                       "0",
                                       "-1",
                                       "1.5e3",
                                       "true",
                                       "\"x\"",
                                       " { \"a\" : [ 1 , null ] } \r\n\t",
                                       "\"\\u00e4\\ud83d\\ude00\"",
                                       "\"\xc3\xa4\""};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct error err = {0};
        _cleanup_json_ json_object *obj = parse(good[i], &err);
        cr_assert_not_null(obj, "%s: %s", good[i], err.text);
    }
}

Test(json, refuses)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "null",
                                      "{",
                                      "[1",
                                      "{\"a\"",
                                      "{\"a\":}",
                                      "{'a':1}",
                                      "{a:1}",
                                      "[1,]",
                                      "{\"a\":1,}",
                                      "{} x",
                                      "{}{}",
                                      "1 2",
                                      "/* c */ 1",
                                      "NaN",
                                      "[Infinity]",
                                      "[-Infinity]",
                                      "[1e999]",
                                      "\"\xff\"",
                                      "\"\xc3\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"a\nb\"",
                                      "\"abc",
                                      "TRUE",
                                      "01",
                                      "[1 2]",
                                      "\"\\x41\"",
                                      "\xef\xbb\xbf{}",
                                      "-",
                                      "1.e5",
                                      "+1"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err = {0};
        _cleanup_json_ json_object *obj = parse(bad[i], &err);
        cr_expect_null(obj, "%s", bad[i]);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        cr_expect_eq(strncmp(err.text, "config.json: ", 13), 0, "%s", err.text);
    }
}

Test(json, utf8_is_checked)
{
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"\"\xc2\x80\"", true},
        {"\"\xdf\xbf\"", true},
        {"\"\xe0\xa0\x80\"", true},
        {"\"\xef\xbf\xbf\"", true},
        {"\"\xf0\x90\x80\x80\"", true},
        {"\"\xf4\x8f\xbf\xbf\"", true},
        {"\"\xc1\xbf\"", false},
        {"\"\xe0\x9f\xbf\"", false},
        {"\"\xf0\x8f\xbf\xbf\"", false},
        {"\"\xf4\x90\x80\x80\"", false},
        {"\"\xed\xbf\xbf\"", false},
        {"\"\x80\"", false},
        {"\"\xf8\x88\x80\x80\x80\"", false},
        {"\"\xe2\x82\"", false},
        {"\"\xc3", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_json_ json_object *obj = parse(rows[i].text, NULL);
        cr_expect_eq(obj != NULL, rows[i].good, "row %zu", i);
    }
}

Test(json, refuses_nul_bytes)
{
    cr_assert_null(json_parse("{}\0", 3, "x", NULL));
    cr_assert_null(json_parse("\0", 1, "x", NULL));
    cr_assert_null(json_parse(NULL, 0, "x", NULL));
}

Test(json, does_not_read_past_the_end)
{
    char *exact = malloc(2);
    memcpy(exact, "12", 2);
    _cleanup_json_ json_object *obj = json_parse(exact, 2, "x", NULL);
    cr_assert_eq(json_object_get_int(obj), 12);
    free(exact);
}

Test(json, depth_is_limited)
{
    char text[4096] = "";
    for (int depth = 1; depth < 64; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        _cleanup_json_ json_object *obj = parse(text, NULL);
        if (depth <= JSON_DEPTH_MAX - 1)
            cr_assert_not_null(obj, "%d", depth);
        else if (depth > JSON_DEPTH_MAX)
            cr_assert_null(obj, "%d", depth);
    }
}

Test(json, getters_return_values)
{
    _cleanup_json_ json_object *obj = parse(
        "{\"s\":\"x\",\"b\":true,\"i\":-9223372036854775808,\"o\":{},\"a\":[1],\"n\":null}", NULL);
    const char *s = NULL;
    bool b = false;
    int64_t i = 0;
    json_object *o = NULL, *a = NULL;
    cr_assert_eq(json_get_string(obj, "s", &s, NULL), 0);
    cr_assert_eq(json_get_bool(obj, "b", &b, NULL), 0);
    cr_assert_eq(json_get_int(obj, "i", &i, NULL), 0);
    cr_assert_eq(json_get_object(obj, "o", &o, NULL), 0);
    cr_assert_eq(json_get_array(obj, "a", &a, NULL), 0);
    cr_assert_str_eq(s, "x");
    cr_assert(b);
    cr_assert_eq(i, INT64_MIN);
    cr_assert(json_object_is_type(o, json_type_object));
    cr_assert_eq(json_object_array_length(a), 1);
}

Test(json, missing_and_null_leave_the_target_alone)
{
    _cleanup_json_ json_object *obj = parse("{\"n\":null}", NULL);
    const char *s = "old";
    cr_assert_eq(json_get_string(obj, "n", &s, NULL), 0);
    cr_assert_eq(json_get_string(obj, "missing", &s, NULL), 0);
    cr_assert_eq(json_get_string(NULL, "missing", &s, NULL), 0);
    cr_assert_str_eq(s, "old");
}

Test(json, wrong_types_name_the_key)
{
    _cleanup_json_ json_object *obj =
        parse("{\"s\":1,\"b\":\"true\",\"i\":1.0,\"o\":[],\"a\":{},\"big\":9223372036854775808,"
              "\"nul\":\"a\\u0000b\"}",
              NULL);
    struct error err = {0};
    const char *s = NULL;
    bool b = false;
    int64_t i = 5;
    json_object *o = NULL;
    cr_assert_eq(json_get_string(obj, "s", &s, &err), -1);
    cr_assert_str_eq(err.text, "s: wanted string, found int");
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_assert_eq(json_get_bool(obj, "b", &b, &err), -1);
    cr_assert_eq(json_get_int(obj, "i", &i, &err), -1);
    cr_assert_eq(json_get_int(obj, "big", &i, &err), -1);
    cr_assert_eq(strncmp(err.text, "big: ", 5), 0);
    cr_assert_eq(json_get_object(obj, "o", &o, &err), -1);
    cr_assert_eq(json_get_array(obj, "a", &o, &err), -1);
    cr_assert_eq(json_get_string(obj, "nul", &s, &err), -1);
    cr_assert_str_eq(err.text, "nul: contains a NUL character");
    cr_assert_null(s);
    cr_assert_null(o);
    cr_assert_eq(i, 5);
    _cleanup_json_ json_object *array = parse("[]", NULL);
    cr_assert_eq(json_get_int(array, "k", &i, &err), -1);
}

Test(json, numbers_beyond_64_bits_are_refused)
{
    static const char *const texts[] = {"{\"i\":99999999999999999999999}",
                                        "{\"i\":-99999999999999999999999}"};
    for (size_t n = 0; n < ARRAY_SIZE(texts); n++) {
        int64_t i = 5;
        _cleanup_json_ json_object *obj = parse(texts[n], NULL);
        cr_assert(!obj || json_get_int(obj, "i", &i, NULL) == -1, "%s", texts[n]);
    }
}

Test(json, text_is_compact)
{
    _cleanup_json_ json_object *obj = parse("{ \"a\" : [ 1, \"/x\" ] }", NULL);
    cr_assert_str_eq(json_text(obj), "{\"a\":[1,\"/x\"]}");
}

Test(json, a_file_of_memory_has_all_of_it)
{
    char back[64] = "";
    struct stat st;
    _cleanup_json_ json_object *obj = parse("{ \"a\" : [ 1, \"/x\" ] }", NULL);
    _cleanup_close_ int fd = json_memory_file(obj, "test");
    cr_assert(fd >= 0 && fstat(fd, &st) == 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    cr_assert_eq(pread(fd, back, sizeof(back), 0), st.st_size);
    cr_expect_str_eq(back, json_text(obj));
}
