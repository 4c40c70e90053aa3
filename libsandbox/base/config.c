#include "base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/toml_reader.h"

// What a walk over a document carries along.
struct reading {
    const char *name; // of the file
    const struct config_table *tables;
    size_t n;
    struct error *err;
};

static const struct {
    enum toml_type type;
    const char *name;
} wanted[] = {
    [CONFIG_STRING] = {TOML_TYPE_STRING, "string"},
    [CONFIG_BOOL] = {TOML_TYPE_BOOL, "boolean"},
    [CONFIG_INT] = {TOML_TYPE_INT, "integer"},
};

// Sets "file:line: key: " and the reason.
#define refuse(reading, entry, fmt, ...)                                                           \
    error_set((reading)->err, STATUS_INVALID_ARGUMENT, "%s:%u: %.128s: " fmt, (reading)->name,     \
              (entry)->line, (entry)->key, __VA_ARGS__)

static bool is_named(const struct config_key *key, const char *name)
{
    size_t len = strlen(key->key);
    if (key->type != CONFIG_UNUSED)
        return strcmp(key->key, name) == 0;
    if (key->key[len - 1] == '*')
        return strncmp(key->key, name, len - 1) == 0;
    return strncmp(key->key, name, len) == 0 && strchr(".[", name[len]); // or nothing
}

static const struct config_key *find_key(const struct reading *r, const char *name,
                                         const struct config_table **ret)
{
    for (const struct config_table *t = r->tables; t < r->tables + r->n; t++)
        for (size_t i = 0; i < t->n; i++)
            if (is_named(&t->keys[i], name)) {
                *ret = t;
                return &t->keys[i];
            }
    return NULL;
}

// Whether some key lies in this table.
static bool is_known_table(const struct reading *r, const char *name)
{
    size_t len = strlen(name);
    for (const struct config_table *t = r->tables; t < r->tables + r->n; t++)
        for (size_t i = 0; i < t->n; i++)
            if (strncmp(t->keys[i].key, name, len) == 0 && t->keys[i].key[len] == '.')
                return true;
    return false;
}

// What is worth being written, with commas between.
static void list_keys(const struct reading *r, struct buf *known)
{
    for (const struct config_table *t = r->tables; t < r->tables + r->n; t++)
        for (size_t i = 0; i < t->n; i++)
            if (t->keys[i].type != CONFIG_UNUSED &&
                buf_printf(known, "%s%s", known->len ? ", " : "", t->keys[i].key) < 0)
                return;
}

static int refuse_unknown(const struct reading *r, const struct toml_entry *entry)
{
    struct buf known; // cut at its maximum: the error is bounded as well
    buf_init(&known, ERROR_TEXT_MAX);
    list_keys(r, &known);
    const char *text = buf_cstr(&known);
    refuse(r, entry, "unknown key (known: %s)", text ? text : "");
    buf_free(&known);
    return -1;
}

static int store_string(const struct reading *r, const struct toml_entry *entry, char **target)
{
    if (memchr(entry->string, '\0', entry->string_len))
        return refuse(r, entry, "%s", "contains a NUL character");
    char *copy = strdup(entry->string);
    if (!copy)
        return error_errno(r->err, ENOMEM, "%s:%u: %s", r->name, entry->line, entry->key);
    free(*target);
    *target = copy;
    return 0;
}

static int store(const struct reading *r, const struct toml_entry *entry,
                 const struct config_key *key, const struct config_table *table)
{
    void *target = (char *)table->target + key->offset;
    switch (key->type) {
    case CONFIG_UNUSED:
        log_info("%s:%u: %s: it is not used", r->name, entry->line, entry->key);
        return 0;
    case CONFIG_STRING:
        return store_string(r, entry, target);
    case CONFIG_BOOL:
        *(bool *)target = entry->boolean;
        return 0;
    case CONFIG_INT:
        if (entry->integer < key->min || entry->integer > key->max)
            return refuse(r, entry, "%lld is out of range (wanted: %ld to %ld)",
                          (long long)entry->integer, key->min, key->max);
        *(int64_t *)target = entry->integer;
        return 0;
    }
    return refuse(r, entry, "the key table has no type %d", (int)key->type);
}

static int take_entry(const struct toml_entry *entry, void *arg)
{
    const struct reading *r = arg;
    const struct config_table *table = NULL;
    const struct config_key *key = find_key(r, entry->key, &table);
    if (!key && entry->type == TOML_TYPE_TABLE && is_known_table(r, entry->key))
        return 0;
    if (!key && is_known_table(r, entry->key))
        return refuse(r, entry, "wanted table, found %s", entry->type_name);
    if (!key)
        return refuse_unknown(r, entry);
    if (key->type != CONFIG_UNUSED && entry->type != wanted[key->type].type)
        return refuse(r, entry, "wanted %s, found %s", wanted[key->type].name, entry->type_name);
    return store(r, entry, key, table);
}

static int parse(const char *name, const char *text, size_t len, const struct config_table *tables,
                 size_t n, struct error *err)
{
    if (len > CONFIG_SIZE_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: larger than %d bytes", name,
                         CONFIG_SIZE_MAX);
    struct reading r = {.name = name, .tables = tables, .n = n, .err = err};
    struct toml_problem problem = {0};
    if (toml_read(text, len, take_entry, &r, &problem) == 0)
        return 0;
    if (problem.line > 0 || problem.text[0])
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%u: %s", name, problem.line,
                         problem.text);
    return -1;
}

int config_parse(const char *name, const char *text, size_t len, const struct config_key *keys,
                 size_t n, void *target, struct error *err)
{
    const struct config_table table = {.keys = keys, .n = n, .target = target};
    return parse(name, text, len, &table, 1, err);
}

static void cleanup_buf(struct buf *b)
{
    buf_free(b);
}

int config_load_tables(const char *path, const struct config_table *tables, size_t n,
                       struct error *err)
{
    // The file itself may well be a symbolic link: an administrator put it there.
    _cleanup_free_ char *real = realpath(path, NULL);
    if (!real)
        return error_errno(err, errno, "%s", path);
    __attribute__((cleanup(cleanup_buf))) struct buf text;
    buf_init(&text, CONFIG_SIZE_MAX);
    int r = file_read_at(AT_FDCWD, real, &text);
    if (r == -EFBIG)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: larger than %d bytes", path,
                         CONFIG_SIZE_MAX);
    if (r < 0)
        return error_errno(err, r, "%s", path);
    if (parse(path, (const char *)text.data, text.len, tables, n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (tables[i].check && tables[i].check(tables[i].target, err) < 0)
            return error_wrap(err, "%s", path);
    return 0;
}

int config_load(const char *path, const struct config_key *keys, size_t n, void *target,
                struct error *err)
{
    const struct config_table table = {.keys = keys, .n = n, .target = target};
    return config_load_tables(path, &table, 1, err);
}
