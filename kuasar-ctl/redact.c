#include "ctl/redact.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

bool redact_is_secret_name(const char *name, size_t len)
{
    static const char *const words[] = {"auth", "token",  "password", "passwd",   "secret",
                                        "cred", "header", "registry", "username", "private"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        size_t n = strlen(words[i]);
        for (size_t at = 0; at + n <= len; at++)
            if (strncasecmp(name + at, words[i], n) == 0)
                return true;
    }
    return false;
}

// ---- JSON ---------------------------------------------------------------------------------------

// Annotations and labels whose values containerd and a kubelet make: names and ids. What else has
// their prefixes may be a person's.
static bool is_known_annotation(const char *key)
{
    static const char *const keys[] = {
        "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id",
        "io.kubernetes.cri.sandbox-name",   "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.sandbox-uid",    "io.kubernetes.cri.container-name",
        "io.kubernetes.cri.image-name",     "io.kubernetes.pod.name",
        "io.kubernetes.pod.namespace",      "io.kubernetes.pod.uid",
        "io.kubernetes.container.name",     "io.cri-containerd.kind"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

static bool is_never(const char *key)
{
    return false;
}

// Redacts the values of a map but for the keys that are known.
static void redact_map(json_object *map, bool (*known)(const char *key))
{
    for (struct lh_entry *e = json_object_get_object(map)->head; e; e = e->next) {
        const char *key = lh_entry_k(e);
        if (!known(key))
            json_object_object_add(map, key, json_object_new_string(REDACTED));
    }
}

// "NAME=value" becomes "NAME=<redacted>"; else everything behind the first string goes.
static void redact_list(json_object *list, bool environment)
{
    size_t n = json_object_array_length(list);
    for (size_t i = environment ? 0 : 1; i < n; i++) {
        const char *text = json_object_get_string(json_object_array_get_idx(list, i));
        size_t name = environment && text ? strcspn(text, "=") : 0;
        _cleanup_(buf_free) struct buf b;
        buf_init(&b, 64 * 1024);
        if (environment && name)
            buf_printf(&b, "%.*s=" REDACTED, name < 1024 ? (int)name : 1024, text);
        const char *shown = b.len ? buf_cstr(&b) : NULL;
        json_object_array_put_idx(list, i, json_object_new_string(shown ? shown : REDACTED));
    }
}

// The value of one key. Returns whether it was one to redact.
static bool redact_member(const char *key, json_object *value)
{
    bool map = json_object_is_type(value, json_type_object);
    bool list = json_object_is_type(value, json_type_array);
    if (map && (strcmp(key, "annotations") == 0 || strcmp(key, "labels") == 0))
        redact_map(value, is_known_annotation);
    else if (map && (strcmp(key, "env") == 0 || strcmp(key, "envs") == 0))
        redact_map(value, is_never);
    else if (list && (strcmp(key, "env") == 0 || strcmp(key, "envs") == 0))
        redact_list(value, true);
    else if (list && (strcmp(key, "args") == 0 || strcmp(key, "command") == 0))
        redact_list(value, false);
    else
        return false;
    return true;
}

void redact_json(json_object *o)
{
    if (json_object_is_type(o, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(o); i++)
            redact_json(json_object_array_get_idx(o, i));
        return;
    }
    if (!json_object_is_type(o, json_type_object))
        return;
    for (struct lh_entry *e = json_object_get_object(o)->head; e; e = e->next) {
        const char *key = lh_entry_k(e);
        json_object *value = (json_object *)lh_entry_v(e);
        bool leaf = json_object_is_type(value, json_type_string) ||
                    json_object_is_type(value, json_type_array);
        if (redact_member(key, value))
            continue;
        if ((leaf && redact_is_secret_name(key, strlen(key))) || strcmp(key, "commandLine") == 0)
            json_object_object_add(o, key, json_object_new_string(REDACTED));
        else
            redact_json(value);
    }
}

// ---- TOML ---------------------------------------------------------------------------------------

// How a line leaves what comes behind it.
struct scan {
    bool secret_table; // its header's name says so
    bool hiding;       // in a value that goes on over several lines and is not shown
    const char *until; // of a multi-line string: what ends it; NULL: it is brackets that are open
    int open;          // brackets
};

// Follows the value that begins in this line: does it go on in the next?
static void follow(struct scan *s, const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s->until) {
            if (len - i >= 3 && strncmp(value + i, s->until, 3) == 0) {
                s->until = NULL;
                i += 2;
            }
            continue;
        }
        if (len - i >= 3 && (!strncmp(value + i, "\"\"\"", 3) || !strncmp(value + i, "'''", 3))) {
            s->until = value[i] == '"' ? "\"\"\"" : "'''";
            i += 2;
        } else if (value[i] == '"' || value[i] == '\'') {
            char quote = value[i++];
            while (i < len && value[i] != quote)
                i += value[i] == '\\' && quote == '"' ? 2 : 1;
        } else if (value[i] == '#') {
            break;
        } else {
            s->open += value[i] == '[' || value[i] == '{';
            s->open -= value[i] == ']' || value[i] == '}';
        }
    }
}

static bool goes_on(const struct scan *s)
{
    return s->until || s->open > 0;
}

// Where the value of a line begins: behind the first '=' outside of a quoted key. 0: none.
static size_t value_at(const char *line, size_t len)
{
    char quote = '\0';
    for (size_t i = 0; i < len; i++) {
        if (quote && line[i] == quote)
            quote = '\0';
        else if (quote)
            continue;
        else if (line[i] == '"' || line[i] == '\'')
            quote = line[i];
        else if (line[i] == '=')
            return i + 1;
        else if (line[i] == '#')
            return 0;
    }
    return 0;
}

static int redact_line(struct scan *s, const char *line, size_t len, struct buf *out)
{
    size_t blank = strspn(line, " \t");
    if (goes_on(s)) { // of an earlier line
        bool hiding = s->hiding;
        follow(s, line, len);
        return hiding ? 0 : buf_append(out, line, len);
    }
    s->hiding = false;
    s->open = 0;
    if (blank < len && line[blank] == '[') {
        s->secret_table = redact_is_secret_name(line, len);
        return buf_append(out, line, len);
    }
    // A comment may be a key that was put aside, with its value.
    size_t value = value_at(line, len);
    if (blank < len && line[blank] == '#')
        return redact_is_secret_name(line, len) || s->secret_table
                   ? buf_printf(out, "# " REDACTED "\n")
                   : buf_append(out, line, len);
    if (!value)
        return buf_append(out, line, len);
    // An inline table names its own keys: all of the line counts.
    s->hiding = s->secret_table || redact_is_secret_name(line, len);
    follow(s, line + value, len - value);
    if (!s->hiding)
        return buf_append(out, line, len);
    return buf_printf(out, "%.*s \"" REDACTED "\"\n", (int)value, line);
}

int redact_toml(const char *text, size_t len, struct buf *out)
{
    struct scan s = {0};
    int r = 0;
    for (size_t at = 0; r == 0 && at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end + 1 - (text + at)) : len - at;
        r = redact_line(&s, text + at, n, out);
        at += n;
    }
    return r;
}
