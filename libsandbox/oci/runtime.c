#include "oci/runtime.h"

#include <fnmatch.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/ident.h"
#include "base/json.h"

// Logs. runc writes one JSON object a line; crun writes each object over several lines. So a log is
// read as a sequence of JSON values, whatever their line breaks, and text between them is skipped.

// Longest text of a runtime that we hand on; errors are cut at ERROR_TEXT_MAX anyway.
#define MESSAGE_MAX 900
// How much of the end of a log is looked at.
#define LOG_TAIL_MAX (64u * 1024)
// Lines that look like the start of a record and are none, after which the rest is ignored: each
// costs a look at everything behind it.
#define LOG_GARBAGE_MAX 64

void oci_runtime_done(struct oci_runtime *rt)
{
    free(rt->binary);
    free(rt->root);
    *rt = (struct oci_runtime){0};
}

int oci_runtime_check(const struct oci_runtime *rt, struct error *err)
{
    const char *binary = rt->binary ? rt->binary : "";
    if (strchr(binary, '/')) {
        if (ident_path_check(binary, "runtime binary", err) < 0)
            return -1;
    } else if (ident_check(binary, "runtime binary", err) < 0) {
        return -1;
    }
    return ident_path_check(rt->root, "runtime root", err);
}

static void add_text(struct oci_argv *a, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void add_text(struct oci_argv *a, const char *fmt, va_list ap)
{
    size_t room = sizeof a->text - a->used;
    int n = a->n < OCI_ARGV_MAX ? vsnprintf(a->text + a->used, room, fmt, ap) : -1;
    if (n < 0 || (size_t)n >= room) {
        a->overflow = true;
        return;
    }
    a->argv[a->n++] = a->text + a->used;
    a->argv[a->n] = NULL;
    a->used += (size_t)n + 1;
}

void oci_argv_add(struct oci_argv *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_text(a, fmt, ap);
    va_end(ap);
}

// An option and its value, both as they are; nothing if the value is NULL.
static void add_option(struct oci_argv *a, const char *option, const char *value)
{
    if (!value)
        return;
    oci_argv_add(a, "%s", option);
    oci_argv_add(a, "%s", value);
}

void oci_argv_begin(struct oci_argv *a, const struct oci_runtime *rt, const char *log_path)
{
    a->n = 0;
    a->used = 0;
    a->overflow = false;
    a->argv[0] = NULL;
    oci_argv_add(a, "%s", rt->binary);
    add_option(a, "--root", rt->root);
    add_option(a, "--log", log_path);
    add_option(a, "--log-format", "json");
    if (rt->systemd_cgroup)
        oci_argv_add(a, "--systemd-cgroup");
}

void oci_argv_create(struct oci_argv *a, const struct oci_runtime *rt, const char *bundle,
                     const char *pid_file, const char *console_socket, const char *id)
{
    oci_argv_add(a, "create");
    add_option(a, "--bundle", bundle);
    add_option(a, "--pid-file", pid_file);
    add_option(a, "--console-socket", console_socket);
    if (rt->no_pivot_root)
        oci_argv_add(a, "--no-pivot");
    if (rt->no_new_keyring)
        oci_argv_add(a, "--no-new-keyring");
    oci_argv_add(a, "%s", id);
}

void oci_argv_exec(struct oci_argv *a, const char *process_file, const char *pid_file,
                   const char *console_socket, const char *id)
{
    oci_argv_add(a, "exec");
    add_option(a, "--process", process_file);
    add_option(a, "--pid-file", pid_file);
    add_option(a, "--console-socket", console_socket);
    oci_argv_add(a, "--detach");
    oci_argv_add(a, "%s", id);
}

// Bytes of the UTF-8 sequence at p, 0 if it is not one.
static size_t utf8_length(const char *p, size_t left)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    unsigned char c = (unsigned char)p[0];
    for (size_t n = 1; n <= ARRAY_SIZE(forms) && n <= left; n++) {
        if ((c & forms[n - 1].mask) != forms[n - 1].lead)
            continue;
        uint32_t point = c & (unsigned char)~forms[n - 1].mask;
        for (size_t i = 1; i < n; i++) {
            if (((unsigned char)p[i] & 0xc0) != 0x80)
                return 0;
            point = point << 6 | ((unsigned char)p[i] & 0x3f);
        }
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        return point >= forms[n - 1].least && point <= 0x10ffff && !surrogate ? n : 0;
    }
    return 0;
}

// Copies a message: one line of valid UTF-8 (it will travel in a protobuf string) without control
// characters, cut between characters.
static void copy_message(char *out, size_t size, const char *msg, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        size_t chars = utf8_length(msg + i, len - i);
        unsigned char c = (unsigned char)msg[i];
        if (n + (chars > 1 ? chars : 1) >= size)
            break;
        if (chars == 0)
            out[n++] = '?';
        else if (c < 0x20 || c == 0x7f)
            out[n++] = ' ';
        for (size_t k = 0; k < chars && c >= 0x20 && c != 0x7f; k++)
            out[n++] = msg[i + k];
        i += chars > 1 ? chars : 1;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}

// The message of a record if its level is "error" or "fatal".
static bool record_message(json_object *record, char *out, size_t size)
{
    const char *level = NULL, *msg = NULL;
    if (!json_object_is_type(record, json_type_object) ||
        json_get_string(record, "level", &level, NULL) < 0 ||
        json_get_string(record, "msg", &msg, NULL) < 0 || !level || !msg)
        return false;
    if (strcmp(level, "error") != 0 && strcmp(level, "fatal") != 0)
        return false;
    char text[MESSAGE_MAX];
    copy_message(text, sizeof text, msg, strlen(msg));
    if (!*text)
        return false;
    (void)snprintf(out, size, "%s", text);
    return true;
}

// The next line that starts with a brace; NULL when there is none.
static const char *next_record(const char *p)
{
    while (*p && *p != '{') {
        p += strcspn(p, "\n");
        p += *p == '\n';
    }
    return *p ? p : NULL;
}

// The message of the last error record.
static bool message_from_log(const char *text, char *out, size_t size)
{
    size_t len = text ? strlen(text) : 0;
    json_tokener *tok = len > 0 ? json_tokener_new_ex(JSON_DEPTH_MAX) : NULL;
    if (!tok)
        return false;
    const char *end = text + len;
    const char *p = next_record(len > LOG_TAIL_MAX ? end - LOG_TAIL_MAX : text);
    bool found = false;
    for (unsigned garbage = 0; p && garbage < LOG_GARBAGE_MAX; p = next_record(p)) {
        json_tokener_reset(tok);
        _cleanup_json_ json_object *record = json_tokener_parse_ex(tok, p, (int)(end - p));
        if (record) {
            found |= record_message(record, out, size);
            p += json_tokener_get_parse_end(tok);
        } else {
            garbage++;
            p += strcspn(p, "\n");
        }
    }
    json_tokener_free(tok);
    return found;
}

static bool message_from_stderr(const char *text, char *out, size_t size)
{
    // Some runtimes write their records to standard error too.
    if (message_from_log(text, out, size))
        return true;
    size_t end = text ? strlen(text) : 0;
    while (end > 0 && strchr("\r\n \t", text[end - 1]))
        end--;
    size_t start = end;
    while (start > 0 && text[start - 1] != '\n')
        start--;
    if (end > start)
        copy_message(out, size, text + start, end - start);
    return end > start && *out;
}

// How runc, crun (two ways) and runsc say that they do not know a container. With "kill", a
// container that is there but has no process any more is as gone as one that was deleted
// (containerd expects NOT_FOUND for both). `command` NULL: all but "create".
static const struct {
    const char *command;
    const char *pattern; // fnmatch(3)
} gone_messages[] = {
    {NULL, "container does not exist"},
    {NULL, "exec failed: container does not exist"},
    {NULL, "container `*` does not exist*"},
    {NULL, "error opening file `*/status`: No such file or directory"},
    {NULL, "loading container*: file does not exist"},
    {"delete", "cannot open directory `*`: No such file or directory"},
    {"kill", "*container not running*"},
    {"kill", "*process already finished*"},
    {"kill", "*[Nn]o such process*"},
};

static bool says_gone(const char *command, const char *message)
{
    if (strcmp(command, "create") == 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(gone_messages); i++) {
        const char *only = gone_messages[i].command;
        if ((!only || strcmp(only, command) == 0) &&
            fnmatch(gone_messages[i].pattern, message, 0) == 0)
            return true;
    }
    return false;
}

int oci_runtime_error(struct error *err, const struct oci_runtime *rt, const char *command,
                      const char *log_text, const char *stderr_text, unsigned exit_code)
{
    char message[MESSAGE_MAX] = "";
    if (!message_from_log(log_text, message, sizeof message) &&
        !message_from_stderr(stderr_text, message, sizeof message))
        (void)snprintf(message, sizeof message, "exit status %u without a message", exit_code);

    const char *slash = rt->binary ? strrchr(rt->binary, '/') : NULL;
    const char *name = slash ? slash + 1 : rt->binary ? rt->binary : "?";
    // runc begins its own messages with its name.
    bool named = strncmp(message, name, strlen(name)) == 0;
    return error_set(err, says_gone(command, message) ? STATUS_NOT_FOUND : STATUS_UNKNOWN,
                     "OCI runtime %s failed: %s%s%s", command, named ? "" : name, named ? "" : ": ",
                     message);
}
