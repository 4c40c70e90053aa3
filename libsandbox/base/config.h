// Configuration files (TOML), read against a table of keys: an unknown key or a wrong type is an
// error that names file, line and key. Characters beyond ASCII may stand in comments only; a string
// has them as escapes ("\u00e4").
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stddef.h>

#include "base/error.h"

// CONFIG_UNUSED: it is accepted, whatever its value is, and the log says that it is not used.
enum config_type { CONFIG_STRING, CONFIG_BOOL, CONFIG_INT, CONFIG_UNUSED };

// One key. `key` is dotted ("runtime.default"). For CONFIG_STRING the target is a `char *` that is
// replaced by a malloc'ed copy (the old value is freed), for CONFIG_BOOL a `bool`, for CONFIG_INT
// an `int64_t` that must lie in [min, max]. A CONFIG_UNUSED key may end in '*', for all that begin
// so.
struct config_key {
    const char *key;
    enum config_type type;
    size_t offset; // of the target in the config struct
    long min, max; // CONFIG_INT only
};

// Keys, and the struct that they fill.
struct config_table {
    const struct config_key *keys;
    size_t n;
    void *target;
    // Looks at what was read: 0, or -1 with an error that names the key. NULL: all is well.
    int (*check)(const void *target, struct error *err);
};

// Largest configuration file.
#define CONFIG_SIZE_MAX (256 * 1024)

// Reads `path` into the struct at `target`. Keys that the file lacks keep their value. On error
// (unreadable: status from errno; else INVALID_ARGUMENT with "file:line: key: reason") some keys
// may already be set. Returns 0 or -1.
int config_load(const char *path, const struct config_key *keys, size_t n, void *target,
                struct error *err);
// The same against several tables at once.
int config_load_tables(const char *path, const struct config_table *tables, size_t n,
                       struct error *err);
// The same from memory; `name` stands for the file name in errors. (Entry point of the fuzzer.)
int config_parse(const char *name, const char *text, size_t len, const struct config_key *keys,
                 size_t n, void *target, struct error *err);

#endif
