#include "ctl/redact.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/toml_reader.h"

// ---- names --------------------------------------------------------------------------------------

// Does the name go on with this word, whatever separates its parts? ("api_key", "API-Key")
static bool goes_on_with(const char *name, const char *word)
{
    while (*word) {
        if (*name && strchr("_-. ", *name))
            name++;
        else if (tolower((unsigned char)*name++) != *word++)
            return false;
    }
    return true;
}

static bool is_secret_name(const char *name)
{
    static const char *const words[] = {"auth",    "token",  "password",  "passwd",   "passphrase",
                                        "secret",  "cred",   "header",    "registry", "username",
                                        "private", "bearer", "accesskey", "apikey"};
    for (const char *at = name; *at; at++)
        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
            if (goes_on_with(at, words[i]))
                return true;
    size_t len = strlen(name);
    return len >= 3 && strcasecmp(name + len - 3, "key") == 0;
}

static bool is_environment(const char *key)
{
    return strcmp(key, "env") == 0 || strcmp(key, "envs") == 0;
}

static bool is_command(const char *key)
{
    return strcmp(key, "args") == 0 || strcmp(key, "command") == 0 ||
           strcmp(key, "commandLine") == 0;
}

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

// ---- values -------------------------------------------------------------------------------------

// What differs between records and configurations.
struct rules {
    bool program_stays; // a command line begins with its program
};

static json_object *hidden(void)
{
    return json_object_new_string(REDACTED);
}

static bool is_leaf(json_object *o)
{
    return !json_object_is_type(o, json_type_object) && !json_object_is_type(o, json_type_array);
}

// In a table everything that may be a secret; keys stay.
static void hide_table(json_object *table)
{
    for (struct lh_entry *e = json_object_get_object(table)->head; e; e = e->next) {
        json_object *value = (json_object *)lh_entry_v(e);
        if (json_object_is_type(value, json_type_object))
            hide_table(value);
        else if (value && !json_object_is_type(value, json_type_boolean))
            json_object_object_add(table, lh_entry_k(e), hidden());
    }
}

// Annotations and labels but for those that are known.
static void hide_unknown(json_object *map)
{
    for (struct lh_entry *e = json_object_get_object(map)->head; e; e = e->next)
        if (!is_known_annotation(lh_entry_k(e)))
            json_object_object_add(map, lh_entry_k(e), hidden());
}

// "NAME=value" becomes "NAME=<redacted>".
static json_object *hide_variable(json_object *variable)
{
    _cleanup_(buf_free) struct buf b;
    const char *text =
        json_object_is_type(variable, json_type_string) ? json_object_get_string(variable) : "";
    size_t name = strcspn(text, "=");
    buf_init(&b, 2048);
    if (name && buf_printf(&b, "%.*s=" REDACTED, name < 1024 ? (int)name : 1024, text) == 0) {
        const char *shown = buf_cstr(&b);
        return shown ? json_object_new_string(shown) : hidden();
    }
    return hidden();
}

static void hide_environment(json_object *list)
{
    for (size_t i = 0; i < json_object_array_length(list); i++)
        json_object_array_put_idx(list, i, hide_variable(json_object_array_get_idx(list, i)));
}

static void hide_arguments(json_object *list, size_t from)
{
    for (size_t i = from; i < json_object_array_length(list); i++)
        json_object_array_put_idx(list, i, hidden());
}

// What is left of a text whose URLs carry users and passwords; NULL: all of it. A password may hold
// nearly anything, so the last '@' of a word counts.
static json_object *hide_userinfo(json_object *string)
{
    const char *text = json_object_get_string(string), *from = text;
    _cleanup_(buf_free) struct buf b;
    buf_init(&b, 1024 * 1024);
    if ((size_t)json_object_get_string_len(string) != strlen(text))
        return hidden(); // what stands behind a NUL is not looked at
    for (const char *url; (url = strstr(from, "://"));) {
        size_t word = strcspn(url, " \t\r\n");
        const char *at = memrchr(url, '@', word);
        if (at && buf_printf(&b, "%.*s" REDACTED, (int)(url + 3 - from), from) < 0)
            return hidden();
        if (!at && buf_append(&b, from, (size_t)(url + word - from)) < 0)
            return hidden();
        from = at ? at : url + word;
    }
    if (from == text)
        return NULL;
    if (buf_append(&b, from, strlen(from)) < 0)
        return hidden();
    const char *shown = buf_cstr(&b);
    return shown ? json_object_new_string(shown) : hidden();
}

// ---- all ----------------------------------------------------------------------------------------

// The value of one key, or its contents. Returns whether it was one to redact.
static bool redact_member(const struct rules *rules, const char *key, json_object *value)
{
    bool map = json_object_is_type(value, json_type_object);
    bool list = json_object_is_type(value, json_type_array);
    if (map && (strcmp(key, "annotations") == 0 || strcmp(key, "labels") == 0))
        hide_unknown(value);
    else if (map && (is_environment(key) || is_secret_name(key)))
        hide_table(value);
    else if (list && is_environment(key))
        hide_environment(value);
    else if (list && is_command(key))
        hide_arguments(value, rules->program_stays);
    else
        return false;
    return true;
}

// What stands for a value that is replaced; NULL: it stays, redacted inside.
static json_object *replacement(const char *key, json_object *value)
{
    bool leaf = is_leaf(value);
    if (!value || json_object_is_type(value, json_type_boolean))
        return NULL;
    if ((leaf && (is_environment(key) || is_command(key))) || is_secret_name(key))
        return hidden();
    return json_object_is_type(value, json_type_string) ? hide_userinfo(value) : NULL;
}

static void redact(const struct rules *rules, json_object *o)
{
    if (json_object_is_type(o, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(o); i++) {
            json_object *item = json_object_array_get_idx(o, i);
            json_object *instead = replacement("", item);
            if (instead)
                json_object_array_put_idx(o, i, instead);
            else
                redact(rules, item);
        }
        return;
    }
    if (!json_object_is_type(o, json_type_object))
        return;
    for (struct lh_entry *e = json_object_get_object(o)->head; e; e = e->next) {
        const char *key = lh_entry_k(e);
        json_object *value = (json_object *)lh_entry_v(e);
        if (redact_member(rules, key, value))
            continue;
        json_object *instead = replacement(key, value);
        if (instead)
            json_object_object_add(o, key, instead);
        else
            redact(rules, value);
    }
}

void redact_json(json_object *o)
{
    redact(&(const struct rules){.program_stays = true}, o);
}

json_object *redact_toml(const char *text, size_t len, struct error *err)
{
    struct toml_problem problem = {0};
    json_object *o = toml_to_json(text, len, &problem);
    if (o)
        redact(&(const struct rules){.program_stays = false}, o);
    else if (problem.line)
        error_set(err, STATUS_INVALID_ARGUMENT, "it is no TOML in line %u", problem.line);
    else
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return o;
}
