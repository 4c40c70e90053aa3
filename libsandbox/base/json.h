// Reading JSON from outside with json-c: bounded, typed, with errors that name the field.
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

// Deepest nesting we accept.
#define JSON_DEPTH_MAX 32

static inline void cleanup_json_put(json_object **o)
{
    if (*o)
        json_object_put(*o);
}
#define _cleanup_json_ __attribute__((cleanup(cleanup_json_put)))

// Parses exactly one JSON value (strict, nothing but white space behind it, at most JSON_DEPTH_MAX
// deep, valid UTF-8). `what` names the document in errors. NULL on error: INVALID_ARGUMENT.
// The caller owns the result.
json_object *json_parse(const void *data, size_t len, const char *what, struct error *err);

// Getters: the value of key in an object. A missing key (or null) leaves *ret untouched and returns
// 0; a value of another type is INVALID_ARGUMENT that names the key. Returned strings and objects
// are borrowed from `obj`. Strings with an embedded NUL are refused.
int json_get_string(json_object *obj, const char *key, const char **ret, struct error *err);
int json_get_bool(json_object *obj, const char *key, bool *ret, struct error *err);
int json_get_int(json_object *obj, const char *key, int64_t *ret, struct error *err);
int json_get_object(json_object *obj, const char *key, json_object **ret, struct error *err);
int json_get_array(json_object *obj, const char *key, json_object **ret, struct error *err);

// Compact text, borrowed from obj.
const char *json_text(json_object *obj);
// The same in a file of memory, that is to be read by its size (its position is at the end). A
// descriptor (close-on-exec), or a negative errno.
int json_memory_file(json_object *obj, const char *name);

#endif
