// Reading the recorded traffic (traces/README.md).
#ifndef TEST_RECORDING_H
#define TEST_RECORDING_H

#include <criterion/criterion.h>
#include <glob.h>
#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base64.h"

#define LINES_MAX 8192

static inline const char *get_string(json_object *o, const char *key)
{
    json_object *v = json_object_object_get(o, key);
    return v ? json_object_get_string(v) : "";
}

static inline int get_number(json_object *o, const char *key)
{
    return json_object_get_int(json_object_object_get(o, key));
}

// A file: its lines in their order, and the bytes of each by its number ("n"), NULL where there
// are none.
struct recording {
    const char *path;
    size_t n;
    json_object *lines[LINES_MAX];
    const char *raw[LINES_MAX]; // borrowed from the lines
};

// Bytes that were recorded once are found again by the number of their line.
static inline void recording_add(struct recording *r, json_object *line)
{
    json_object *v;
    int number = get_number(line, "n");
    cr_assert(number > 0 && number < LINES_MAX && r->n < LINES_MAX);
    r->lines[r->n++] = line;
    if (json_object_object_get_ex(line, "raw", &v))
        r->raw[number] = json_object_get_string(v);
    else if (json_object_object_get_ex(line, "same_as", &v))
        r->raw[number] = r->raw[json_object_get_int(v)];
}

// Free with recording_free.
static inline struct recording *recording_load(const char *path)
{
    struct recording *r = calloc(1, sizeof *r);
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    _cleanup_free_ char *text = NULL;
    size_t cap = 0;
    cr_assert(r && f, "%s", path);
    r->path = path;
    while (getline(&text, &cap, f) > 0) {
        json_object *line = json_tokener_parse(text);
        cr_assert(line, "%s:%zu is not JSON", path, r->n + 1);
        recording_add(r, line);
    }
    return r;
}

static inline void recording_free(struct recording *r)
{
    for (size_t i = 0; i < r->n; i++)
        json_object_put(r->lines[i]);
    free(r);
}

static inline bool line_is(json_object *line, const char *proto, const char *kind)
{
    return strcmp(get_string(line, "proto"), proto) == 0 &&
           strcmp(get_string(line, "kind"), kind) == 0;
}

static inline struct bytes line_bytes(const struct recording *r, size_t i)
{
    const char *raw = r->raw[get_number(r->lines[i], "n")];
    cr_assert(raw, "%s:%zu: no bytes", r->path, i + 1);
    return base64_bytes(raw);
}

// One recorded request.
struct request {
    const char *service, *method; // into `name`
    char name[128];
    struct bytes raw;
    uint8_t flags;
    const char *file;
    int line;
};

// Free `raw.data`.
static inline void request_parse(struct request *q, const struct recording *r, size_t i)
{
    *q = (struct request){.file = r->path, .line = (int)i + 1};
    snprintf(q->name, sizeof q->name, "%s", get_string(r->lines[i], "method"));
    char *slash = strrchr(q->name, '/');
    cr_assert(slash && slash > q->name, "%s:%d: method", q->file, q->line);
    *slash = '\0';
    q->service = q->name + 1;
    q->method = slash + 1;
    q->flags = (uint8_t)get_number(r->lines[i], "flags");
    q->raw = line_bytes(r, i);
}

typedef void (*recording_fn)(const struct recording *r, void *arg);

static inline void recordings_each(recording_fn fn, void *arg)
{
    glob_t found;
    cr_assert_eq(glob(TEST_DATA "/protocol/traces/*/*.jsonl", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        if (strstr(found.gl_pathv[i], "http2-frames"))
            continue;
        struct recording *r = recording_load(found.gl_pathv[i]);
        fn(r, arg);
        recording_free(r);
    }
    globfree(&found);
}

// Calls fn for every request of a protocol, and file_over behind each file. Returns their number.
typedef void (*replay_fn)(const struct request *q, void *arg);
struct replay {
    const char *proto;
    replay_fn fn;
    void (*file_over)(void *arg);
    void *arg;
    unsigned n;
};

static inline void replay_file(const struct recording *r, void *arg)
{
    struct replay *replay = arg;
    for (size_t i = 0; i < r->n; i++) {
        struct request q;
        if (!line_is(r->lines[i], replay->proto, "request"))
            continue;
        request_parse(&q, r, i);
        replay->fn(&q, replay->arg);
        free(q.raw.data);
        replay->n++;
    }
    replay->file_over(replay->arg);
}

static inline unsigned replay_all(const char *proto, replay_fn fn, void *arg,
                                  void (*file_over)(void *arg))
{
    struct replay replay = {.proto = proto, .fn = fn, .file_over = file_over, .arg = arg};
    recordings_each(replay_file, &replay);
    return replay.n;
}

#endif
