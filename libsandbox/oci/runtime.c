#include "oci/runtime.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/ident.h"
#include "base/json.h"

// Longest text of a runtime that we hand on; errors are cut at ERROR_TEXT_MAX anyway.
#define MESSAGE_MAX 900
// Longest line of a JSON log that is parsed.
#define LOG_LINE_MAX (64u * 1024)

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

// Takes the last line off text[0..*len). Returns its start and length; NULL when nothing is left.
static const char *last_line(const char *text, size_t *len, size_t *line_len)
{
    size_t end = *len;
    while (end > 0 && strchr("\r\n \t", text[end - 1]))
        end--;
    if (end == 0)
        return NULL;
    size_t start = end;
    while (start > 0 && text[start - 1] != '\n')
        start--;
    *len = start;
    *line_len = end - start;
    return text + start;
}

// Copies a message: one line, printable, bounded, cut between characters.
static void copy_message(char *out, size_t size, const char *msg, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < size; i++) {
        unsigned char c = (unsigned char)msg[i];
        out[n++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}

// The message of one line of a JSON log if its level is "error" or "fatal".
static bool log_line_message(const char *line, size_t len, char *out, size_t size)
{
    if (len > LOG_LINE_MAX || line[0] != '{')
        return false;
    _cleanup_json_ json_object *obj = json_parse(line, len, "log", NULL);
    const char *level = NULL, *msg = NULL;
    if (!obj || !json_object_is_type(obj, json_type_object) ||
        json_get_string(obj, "level", &level, NULL) < 0 ||
        json_get_string(obj, "msg", &msg, NULL) < 0 || !level || !msg || !*msg)
        return false;
    if (strcmp(level, "error") != 0 && strcmp(level, "fatal") != 0)
        return false;
    copy_message(out, size, msg, strlen(msg));
    return *out != '\0';
}

static bool message_from_log(const char *text, char *out, size_t size)
{
    size_t len = text ? strlen(text) : 0, n = 0;
    for (const char *line; (line = last_line(text, &len, &n));) {
        if (log_line_message(line, n, out, size))
            return true;
    }
    return false;
}

static bool message_from_stderr(const char *text, char *out, size_t size)
{
    size_t len = text ? strlen(text) : 0, n = 0;
    const char *line = text ? last_line(text, &len, &n) : NULL;
    if (!line)
        return false;
    // Some runtimes write their JSON lines to standard error too.
    if (!log_line_message(line, n, out, size))
        copy_message(out, size, line, n);
    return *out != '\0';
}

// Texts of runc ("container does not exist"), crun (its state file cannot be opened) and runsc, by
// which they say that they do not know the container. With `kill`, a container that is there but
// has no process any more is as gone as one that was deleted (containerd expects NOT_FOUND).
static const struct {
    const char *command; // NULL: every command on an existing container
    const char *text;
} gone_texts[] = {
    {NULL, "container does not exist"},   {NULL, "/status`: No such file or directory"},
    {NULL, "container not found"},        {"kill", "container not running"},
    {"kill", "process already finished"}, {"kill", "o such process"},
};

static bool says_gone(const char *command, const char *message)
{
    if (strcmp(command, "create") == 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(gone_texts); i++) {
        const char *only = gone_texts[i].command;
        if ((!only || strcmp(only, command) == 0) && strstr(message, gone_texts[i].text))
            return true;
    }
    return false;
}

int oci_runtime_error(struct error *err, const struct oci_runtime *rt, const char *command,
                      const char *log_text, const char *stderr_text, unsigned exit_code)
{
    char message[MESSAGE_MAX];
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
