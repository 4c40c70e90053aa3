// The seam to the C++ of toml.cc. Our own configuration is read with base/config.h; this is for
// documents whose keys are not ours.
#ifndef BASE_TOML_READER_H
#define BASE_TOML_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Deepest nesting of arrays and inline tables.
#define TOML_DEPTH_MAX 16
// Dots outside of strings and comments in one document; they are what makes tables deep.
#define TOML_DOTS_MAX 1024

enum toml_type {
    TOML_TYPE_STRING,
    TOML_TYPE_BOOL,
    TOML_TYPE_INT,
    TOML_TYPE_TABLE,
    TOML_TYPE_OTHER
};

// One entry of a document; valid during the callback.
struct toml_entry {
    const char *key; // dotted; parts that are not bare keys are quoted
    unsigned line;   // counted from 1
    enum toml_type type;
    const char *type_name; // as TOML names it: "string", "table", "floating-point", ...
    const char *string;    // NUL-terminated, string_len bytes
    size_t string_len;
    bool boolean;
    int64_t integer;
};

// Returns 0 to go on; with another value the walk ends. Of a table the contents come next.
typedef int (*toml_fn)(const struct toml_entry *entry, void *arg);

// Where and why a document is not TOML.
struct toml_problem {
    unsigned line;
    char text[256];
};

// Parses a document and calls fn for every entry, tables and arrays before their contents. Of an
// array only the strings are told, with keys like "imports[0]". Returns 0, what fn returned, or -1
// with *problem set when it is no TOML.
int toml_read(const char *text, size_t len, toml_fn fn, void *arg, struct toml_problem *problem);

struct json_object;

// Parses a document and gives all of it as JSON, which the caller owns (json_object_put): tables as
// objects, arrays as arrays, of a date or a time only the name of its type ("date-time"). NULL with
// *problem set when it is no TOML, or without memory (line 0).
struct json_object *toml_to_json(const char *text, size_t len, struct toml_problem *problem);

#ifdef __cplusplus
}
#endif

#endif
