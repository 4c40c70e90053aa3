#include "base/ident.h"

#include <stdio.h>
#include <string.h>

// Bytes of a refused value that an error shows.
#define SHOWN_MAX 64

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_separator(char c)
{
    return c == '.' || c == '_' || c == '-';
}

bool ident_valid(const char *id)
{
    if (!id || !is_alnum(id[0]))
        return false;
    size_t len = strnlen(id, IDENT_MAX + 1);
    if (len > IDENT_MAX || !is_alnum(id[len - 1]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!is_alnum(id[i]) && !(is_separator(id[i]) && is_alnum(id[i - 1])))
            return false;
    return true;
}

// A printable form of a value, cut after SHOWN_MAX bytes; everything but ASCII is escaped.
static const char *printable(const char *value, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; value && value[i]; i++) {
        if (i == SHOWN_MAX) {
            snprintf(out + n, size - n, "...");
            break;
        }
        unsigned char c = (unsigned char)value[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        n += (size_t)snprintf(out + n, size - n, plain ? "%c" : "\\x%02x", c);
    }
    return out;
}

int ident_check(const char *id, const char *field, struct error *err)
{
    if (ident_valid(id))
        return 0;
    char shown[SHOWN_MAX * 4 + 4];
    if (!id || !*id)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: must not be empty", field);
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s: \"%s\" is not an identifier (1 to %d letters and digits, with single "
                     "'.', '_' or '-' between them)",
                     field, printable(id, shown, sizeof shown), IDENT_MAX);
}

static bool has_dot_component(const char *path)
{
    for (const char *p = path; *p;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return true;
        p += n;
    }
    return false;
}

int ident_path_check(const char *path, const char *field, struct error *err)
{
    char shown[SHOWN_MAX * 4 + 4];
    if (!path || !*path)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: must not be empty", field);
    const char *wrong = NULL;
    if (strnlen(path, IDENT_PATH_MAX + 1) > IDENT_PATH_MAX)
        wrong = "is too long";
    else if (path[0] != '/')
        wrong = "is not an absolute path";
    else if (has_dot_component(path))
        wrong = "has a \".\" or \"..\" component";
    if (!wrong)
        return 0;
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s: \"%s\" %s (wanted: an absolute path of at most %d bytes without \".\" "
                     "and \"..\")",
                     field, printable(path, shown, sizeof shown), wrong, IDENT_PATH_MAX);
}
