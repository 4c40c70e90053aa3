#include "ctl/document.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/grow.h"
#include "base/toml_reader.h"

// Longest key that is looked up, and longest name of a table.
#define KEY_MAX 512

void document_done(struct document *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->list[i].key);
        free(d->list[i].value);
    }
    free(d->list);
    *d = (struct document){0};
}

static char *value_of(const struct toml_entry *entry)
{
    char number[32];
    switch (entry->type) {
    case TOML_TYPE_STRING:
        return strdup(entry->string);
    case TOML_TYPE_BOOL:
        return strdup(entry->boolean ? "true" : "false");
    case TOML_TYPE_INT:
        snprintf(number, sizeof number, "%lld", (long long)entry->integer);
        return strdup(number);
    default:
        return NULL;
    }
}

static int take(const struct toml_entry *entry, void *arg)
{
    struct document *d = arg;
    if (d->n == DOCUMENT_ENTRIES_MAX)
        return 1;
    struct document_entry *list = grow_by_one(d->list, d->n, sizeof *list);
    if (!list)
        return 1;
    d->list = list;
    struct document_entry *e = &d->list[d->n];
    *e = (struct document_entry){.key = strdup(entry->key),
                                 .value = value_of(entry),
                                 .table = entry->type == TOML_TYPE_TABLE};
    d->n++;
    return e->key ? 0 : 1;
}

int document_parse(struct document *d, const char *name, const char *text, size_t len,
                   struct error *err)
{
    struct toml_problem problem = {0};
    int r = toml_read(text, len, take, d, &problem);
    if (r < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%u: %s", name, problem.line,
                         problem.text);
    if (r > 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: too much for this program", name);
    return 0;
}

int document_load(struct document *d, const char *path, struct error *err)
{
    _cleanup_free_ char *real = realpath(path, NULL);
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, DOCUMENT_SIZE_MAX);
    int e = real ? file_read_at(AT_FDCWD, real, &text) : -errno;
    if (e < 0)
        return error_errno(err, e, "%s", path);
    return document_parse(d, path, (const char *)text.data, text.len, err);
}

const char *document_get(const struct document *d, const char *key)
{
    for (size_t i = d->n; i-- > 0;)
        if (d->list[i].key && d->list[i].value && strcmp(d->list[i].key, key) == 0)
            return d->list[i].value;
    return NULL;
}

const char *document_getf(const struct document *d, const char *fmt, ...)
{
    char key[KEY_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(key, sizeof key, fmt, ap);
    va_end(ap);
    return n < 0 || (size_t)n >= sizeof key ? NULL : document_get(d, key);
}

bool document_has_table(const struct document *d, const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < d->n; i++)
        if (d->list[i].key && strncmp(d->list[i].key, key, len) == 0 && d->list[i].key[len] == '.')
            return true;
    return false;
}

// Is `key` that of a table directly below `table`? Its name without quotes.
static bool child_of(const char *key, const char *table, char name[KEY_MAX])
{
    size_t len = strlen(table);
    if (strncmp(key, table, len) != 0 || key[len] != '.')
        return false;
    const char *rest = key + len + 1;
    bool quoted = *rest == '"';
    size_t n = quoted ? strcspn(rest + 1, "\"") : strcspn(rest, ".");
    if (rest[quoted ? n + 2 : n] || n >= KEY_MAX)
        return false;
    memcpy(name, rest + quoted, n);
    name[n] = '\0';
    return true;
}

void document_each(const struct document *d, const char *table,
                   void (*fn)(const char *name, void *arg), void *arg)
{
    char name[KEY_MAX];
    for (size_t i = 0; i < d->n; i++) {
        bool seen = false;
        if (!d->list[i].table || !child_of(d->list[i].key, table, name))
            continue;
        for (size_t k = 0; k < i && !seen; k++)
            seen = strcmp(d->list[k].key, d->list[i].key) == 0;
        if (!seen)
            fn(name, arg);
    }
}
