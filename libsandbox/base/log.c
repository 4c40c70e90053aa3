#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

// Longest line with its newline: what a pipe takes in one piece (PIPE_BUF).
#define LOG_LINE_MAX 4096
// Shown at the end of a line that was cut.
#define LOG_CUT "..."

static const char *const level_names[] = {
    [LOG_LEVEL_TRACE] = "trace", [LOG_LEVEL_DEBUG] = "debug", [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARN] = "warn",   [LOG_LEVEL_ERROR] = "error",
};

static struct {
    const char *component;
    enum log_level level;
} log_state = {"kuasar", LOG_LEVEL_INFO};

void log_setup(const char *component, enum log_level level)
{
    log_state.component = component;
    log_state.level = level;
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
    for (size_t i = 0; text && i < ARRAY_SIZE(level_names); i++)
        if (strcasecmp(text, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    return -EINVAL;
}

// "<time> <level> <component>: "; returns its length.
static size_t write_prefix(char *line, size_t size, enum log_level level)
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
    int more = snprintf(line + n, size - n, ".%06ldZ %s %.64s: ", now.tv_nsec / 1000,
                        level_names[level], log_state.component);
    return more < 0 ? n : n + (size_t)more;
}

// Control bytes, DEL and the two-byte control characters of UTF-8 (U+0080 to U+009F).
static bool is_control(const unsigned char *p)
{
    return *p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f);
}

// Appends text with its control bytes as \n, \t or \xNN; returns the new length, at most `max`.
static size_t append_escaped(char *line, size_t len, size_t max, const char *text)
{
    const size_t cut = sizeof LOG_CUT - 1;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        char piece[5] = {(char)*p};
        int n = 1;
        if (*p == '\n' || *p == '\t')
            n = snprintf(piece, sizeof piece, "\\%c", *p == '\n' ? 'n' : 't');
        else if (is_control(p))
            n = snprintf(piece, sizeof piece, "\\x%02x", *p);
        if (len + (size_t)n > max - cut) {
            memcpy(line + len, LOG_CUT, cut);
            return len + cut;
        }
        memcpy(line + len, piece, (size_t)n);
        len += (size_t)n;
    }
    return len;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    if (level < log_state.level || (unsigned)level >= ARRAY_SIZE(level_names))
        return;
    int saved_errno = errno;
    char text[LOG_LINE_MAX], line[LOG_LINE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= 0) {
        size_t len = write_prefix(line, sizeof line, level);
        len = append_escaped(line, len, sizeof line - 1, text);
        line[len++] = '\n';
        ssize_t written = write(STDERR_FILENO, line, len);
        (void)written; // there is nobody to tell
    }
    errno = saved_errno;
}
