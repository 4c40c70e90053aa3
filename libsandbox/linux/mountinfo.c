#include "linux/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

#include "base/file.h"

// Fields before the variable part (id, parent, major:minor, root, target, options).
#define FIELD_ROOT   3
#define FIELD_TARGET 4
#define FIXED_FIELDS 6

int mountinfo_read(struct buf *out)
{
    buf_init(out, MOUNTINFO_MAX);
    int r = file_read_at(AT_FDCWD, "/proc/self/mountinfo", out);
    if (r < 0)
        return r;
    return buf_cstr(out) ? 0 : -ENOMEM;
}

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

// The kernel writes blank, tab, newline and backslash as \ooo.
static void unescape(char *s)
{
    char *to = s;
    while (*s) {
        if (s[0] == '\\' && is_octal(s[1]) && is_octal(s[2]) && is_octal(s[3])) {
            *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
}

static bool parse_line(char *line, struct mountinfo *ret)
{
    char *save = NULL;
    char *field[FIXED_FIELDS];
    for (int i = 0; i < FIXED_FIELDS; i++) {
        field[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
        if (!field[i])
            return false;
    }
    char *word;
    bool shared = false;
    while ((word = strtok_r(NULL, " ", &save)) && strcmp(word, "-") != 0)
        shared |= strncmp(word, "shared:", 7) == 0; // optional fields: propagation
    char *fstype = word ? strtok_r(NULL, " ", &save) : NULL;
    char *source = fstype ? strtok_r(NULL, " ", &save) : NULL;
    char *options = source ? strtok_r(NULL, " ", &save) : NULL;
    if (!fstype)
        return false;
    if (!options)
        options = source ? source : fstype; // an empty source leaves one word less
    *ret = (struct mountinfo){.root = field[FIELD_ROOT],
                              .target = field[FIELD_TARGET],
                              .fstype = fstype,
                              .super_options = options,
                              .shared = shared};
    unescape(ret->root);
    unescape(ret->target);
    return true;
}

bool mountinfo_next(char **cursor, struct mountinfo *ret)
{
    while (**cursor) {
        char *line = *cursor;
        char *end = strchr(line, '\n');
        if (end) {
            *end = '\0';
            *cursor = end + 1;
        } else {
            *cursor = line + strlen(line);
        }
        if (parse_line(line, ret))
            return true;
    }
    return false;
}
