// json-c's strict mode still takes more than JSON, and how much depends on its version: strings in
// single quotes, raw control bytes in strings, "1.e5", NaN and Infinity, and integers beyond 64
// bits, which it clamps. A scan of the text ahead of the parser refuses these, so that what we
// accept is what the other readers of the same document accept.
#include "base/json.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

static void cleanup_tokener(json_tokener **tok)
{
    if (*tok)
        json_tokener_free(*tok);
}

static int refuse(struct error *err, const char *what, size_t at, const char *why)
{
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: not valid JSON at byte %zu: %s", what, at,
                     why);
}

static bool only_space(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!strchr(" \t\r\n", p[i]))
            return false;
    return true;
}

// Whether a number is one that json-c keeps as it is. The token is not empty.
static bool check_number(const char *token, size_t len)
{
    const char *point = memchr(token, '.', len);
    if (point && (point + 1 == token + len || !strchr("0123456789", point[1])))
        return false;
    for (size_t i = 0; i < len; i++)
        if (strchr(".eE", token[i]))
            return true;
    bool negative = token[0] == '-';
    const char *limit = negative ? "9223372036854775808" : "18446744073709551615";
    size_t digits = len - negative, most = strlen(limit);
    return digits < most || (digits == most && memcmp(token + negative, limit, most) <= 0);
}

// Whether all of it is UTF-8: shortest forms only, no surrogates, nothing above U+10FFFF. json-c's
// own check knows the shape of a sequence, not its range.
static bool is_utf8(const unsigned char *p, size_t len)
{
    for (size_t i = 0; i < len;) {
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        unsigned char c = p[i];
        size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
        if (n == 0 || n > len - i || c > 0xf4)
            return false;
        uint32_t point = n == 1 ? c : c & (0x7fu >> n);
        for (size_t k = 1; k < n; k++) {
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (p[i + k] & 0x3f);
        }
        if (point < least[n] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
            return false;
        i += n;
    }
    return true;
}

// Steps over a string that starts at `i`. False: it holds a raw control byte.
static bool skip_string(const char *text, size_t len, size_t *i)
{
    for (++*i; *i < len && text[*i] != '"'; ++*i) {
        if (text[*i] == '\\')
            ++*i;
        if (*i < len && (unsigned char)text[*i] < 0x20)
            return false;
    }
    return true;
}

// Refuses what json-c would take although it is not JSON. Text without NUL bytes.
static bool check_tokens(const char *text, size_t len, size_t *ret_at, const char **ret_why)
{
    for (size_t i = 0; i < len; i++) {
        *ret_at = i;
        if (text[i] == '\'') {
            *ret_why = "a string in single quotes";
            return false;
        }
        if (text[i] == '"' && !skip_string(text, len, &i)) {
            *ret_why = "a control character in a string";
            return false;
        }
        size_t end = i;
        while (end < len && strchr("+-.0123456789eE", text[end]))
            end++;
        if (end > i && strchr("-0123456789", text[i]) && !check_number(text + i, end - i)) {
            *ret_why = "a number that is out of range or malformed";
            return false;
        }
        if (end > i)
            i = end - 1;
    }
    return true;
}

// NaN, Infinity, and numbers that overflow to them. Recursion is bounded by JSON_DEPTH_MAX.
static bool all_finite(json_object *obj)
{
    switch (json_object_get_type(obj)) {
    case json_type_double:
        return isfinite(json_object_get_double(obj));
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(obj); i++)
            if (!all_finite(json_object_array_get_idx(obj, i)))
                return false;
        return true;
    case json_type_object: {
        json_object_object_foreach(obj, key, value)
        {
            (void)key;
            if (!all_finite(value))
                return false;
        }
        return true;
    }
    default:
        return true;
    }
}

// The value and where it ended, by json-c. NULL also for the value null.
static json_object *tokenize(const char *text, size_t len, const char *what, size_t *ret_end,
                             struct error *err)
{
    __attribute__((cleanup(cleanup_tokener))) json_tokener *tok =
        json_tokener_new_ex(JSON_DEPTH_MAX);
    if (!tok) {
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: out of memory", what);
        return NULL;
    }
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
    json_object *obj = json_tokener_parse_ex(tok, text, (int)len);
    *ret_end = json_tokener_get_parse_end(tok);
    // Only a NUL tells the tokener that a number at the top has ended.
    if (json_tokener_get_error(tok) == json_tokener_continue) {
        obj = json_tokener_parse_ex(tok, "", 1);
        *ret_end = len;
    }
    enum json_tokener_error e = json_tokener_get_error(tok);
    if (e == json_tokener_success && !obj)
        error_set(err, STATUS_INVALID_ARGUMENT, "%s: the document is null", what);
    else if (e != json_tokener_success)
        refuse(err, what, *ret_end,
               e == json_tokener_continue ? "ends too early" : json_tokener_error_desc(e));
    return obj;
}

json_object *json_parse(const void *data, size_t len, const char *what, struct error *err)
{
    const char *text = len ? data : "", *why = NULL;
    size_t at = 0;
    if (len > INT_MAX || memchr(text, '\0', len)) {
        error_set(err, STATUS_INVALID_ARGUMENT, "%s: not valid JSON: %s", what,
                  len > INT_MAX ? "too long" : "contains a NUL byte");
        return NULL;
    }
    if (!is_utf8((const unsigned char *)text, len)) {
        error_set(err, STATUS_INVALID_ARGUMENT, "%s: not valid JSON: not UTF-8", what);
        return NULL;
    }
    if (!check_tokens(text, len, &at, &why)) {
        refuse(err, what, at, why);
        return NULL;
    }
    _cleanup_json_ json_object *obj = tokenize(text, len, what, &at, err);
    if (!obj)
        return NULL;
    if (!only_space(text + at, len - at)) {
        refuse(err, what, at, "something follows the value");
        return NULL;
    }
    if (!all_finite(obj)) {
        error_set(err, STATUS_INVALID_ARGUMENT, "%s: a number is not finite", what);
        return NULL;
    }
    return take_ptr(obj);
}

// Finds the value of key. Returns 1 with a value of the wanted type, 0 when there is none, else -1.
static int get(json_object *obj, const char *key, enum json_type type, json_object **ret,
               struct error *err)
{
    if (!obj)
        return 0;
    if (!json_object_is_type(obj, json_type_object))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: wanted in an object, found %s", key,
                         json_type_to_name(json_object_get_type(obj)));
    json_object *value = NULL;
    if (!json_object_object_get_ex(obj, key, &value) || !value)
        return 0;
    if (!json_object_is_type(value, type))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: wanted %s, found %s", key,
                         json_type_to_name(type), json_type_to_name(json_object_get_type(value)));
    *ret = value;
    return 1;
}

int json_get_string(json_object *obj, const char *key, const char **ret, struct error *err)
{
    json_object *value = NULL;
    int r = get(obj, key, json_type_string, &value, err);
    if (r <= 0)
        return r;
    const char *text = json_object_get_string(value);
    if (strlen(text) != (size_t)json_object_get_string_len(value))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: contains a NUL character", key);
    *ret = text;
    return 0;
}

int json_get_bool(json_object *obj, const char *key, bool *ret, struct error *err)
{
    json_object *value = NULL;
    int r = get(obj, key, json_type_boolean, &value, err);
    if (r <= 0)
        return r;
    *ret = json_object_get_boolean(value);
    return 0;
}

int json_get_int(json_object *obj, const char *key, int64_t *ret, struct error *err)
{
    json_object *value = NULL;
    int r = get(obj, key, json_type_int, &value, err);
    if (r <= 0)
        return r;
    int64_t number = json_object_get_int64(value);
    if (number == INT64_MAX && json_object_get_uint64(value) > INT64_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: larger than %lld", key,
                         (long long)INT64_MAX);
    *ret = number;
    return 0;
}

int json_get_object(json_object *obj, const char *key, json_object **ret, struct error *err)
{
    int r = get(obj, key, json_type_object, ret, err);
    return r < 0 ? r : 0;
}

int json_get_array(json_object *obj, const char *key, json_object **ret, struct error *err)
{
    int r = get(obj, key, json_type_array, ret, err);
    return r < 0 ? r : 0;
}

const char *json_text(json_object *obj)
{
    return json_object_to_json_string_ext(obj,
                                          JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

int json_memory_file(json_object *obj, const char *name)
{
    const char *text = json_text(obj);
    if (!text)
        return -ENOMEM;
    _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (size_t len = strlen(text), done = 0; done < len;) {
        ssize_t n = write(fd, text + done, len - done);
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return take_fd(&fd);
}
