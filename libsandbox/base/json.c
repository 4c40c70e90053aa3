#include "base/json.h"

#include <limits.h>
#include <math.h>
#include <string.h>

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

// json-c takes NaN and Infinity, and numbers that overflow to them; JSON has neither. Recursion is
// bounded by JSON_DEPTH_MAX.
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

json_object *json_parse(const void *data, size_t len, const char *what, struct error *err)
{
    if (len > INT_MAX || (len > 0 && memchr(data, '\0', len))) {
        error_set(err, STATUS_INVALID_ARGUMENT, "%s: not valid JSON: %s", what,
                  len > INT_MAX ? "too long" : "contains a NUL byte");
        return NULL;
    }
    __attribute__((cleanup(cleanup_tokener))) json_tokener *tok =
        json_tokener_new_ex(JSON_DEPTH_MAX);
    if (!tok) {
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: out of memory", what);
        return NULL;
    }
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    _cleanup_json_ json_object *obj = json_tokener_parse_ex(tok, len ? data : "", (int)len);
    size_t end = json_tokener_get_parse_end(tok);
    // Only a NUL tells the tokener that a number at the top has ended.
    if (json_tokener_get_error(tok) == json_tokener_continue) {
        obj = json_tokener_parse_ex(tok, "", 1);
        end = len;
    }
    enum json_tokener_error e = json_tokener_get_error(tok);
    if (e != json_tokener_success) {
        const char *why =
            e == json_tokener_continue ? "ends too early" : json_tokener_error_desc(e);
        refuse(err, what, end, why);
        return NULL;
    }
    if (end < len && !only_space((const char *)data + end, len - end)) {
        refuse(err, what, end, "something follows the value");
        return NULL;
    }
    if (!obj || !all_finite(obj)) {
        error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s", what,
                  obj ? "a number is not finite" : "the document is null");
        return NULL;
    }
    json_object *ret = obj;
    obj = NULL;
    return ret;
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
    json_object *value;
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
    json_object *value;
    int r = get(obj, key, json_type_boolean, &value, err);
    if (r <= 0)
        return r;
    *ret = json_object_get_boolean(value);
    return 0;
}

int json_get_int(json_object *obj, const char *key, int64_t *ret, struct error *err)
{
    json_object *value;
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
