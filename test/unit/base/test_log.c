#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

// What the function writes to standard error.
static char *written(void (*fn)(void), char *out, size_t size)
{
    int ends[2], saved = dup(2);
    cr_assert_eq(pipe2(ends, O_NONBLOCK), 0);
    dup2(ends[1], 2);
    fn();
    dup2(saved, 2);
    ssize_t n = read(ends[0], out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    close(ends[0]);
    close(ends[1]);
    close(saved);
    return out;
}

static void write_plain(void)
{
    log_info("pod %s is %d", "abc", 7);
}

Test(log, line_has_time_level_component_and_text)
{
    char line[8192];
    regex_t re;
    log_setup("runc-task", LOG_LEVEL_INFO);
    written(write_plain, line, sizeof line);
    regcomp(&re,
            "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z info runc-task: "
            "pod abc is 7\n$",
            REG_EXTENDED | REG_NOSUB);
    cr_assert_eq(regexec(&re, line, 0, NULL, 0), 0, "%s", line);
    regfree(&re);
}

static void write_hostile(void)
{
    log_error("a\nforged\t\x1b[31m\x7f \xc2\x9b \xc3\xa4 %s", "\r");
}

Test(log, control_bytes_are_escaped)
{
    char line[8192];
    written(write_hostile, line, sizeof line);
    cr_assert(strstr(line, ": a\\nforged\\t\\x1b[31m\\x7f \\xc2\x9b \xc3\xa4 \\x0d\n"), "%s", line);
    cr_assert_eq(strchr(line, '\n') - line, (long)strlen(line) - 1);
}

static void write_long(void)
{
    char text[10000];
    memset(text, '\n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_warn("%s", text);
}

Test(log, line_is_bounded)
{
    char line[30000];
    written(write_long, line, sizeof line);
    size_t len = strlen(line);
    cr_assert_leq(len, 4096);
    cr_assert_gt(len, 4000);
    cr_assert_str_eq(line + len - 6, "\\n...\n");
}

static void write_below(void)
{
    log_debug("hidden");
    log_trace("hidden");
}

Test(log, lower_levels_are_dropped)
{
    char line[64];
    log_setup("x", LOG_LEVEL_INFO);
    cr_assert_str_empty(written(write_below, line, sizeof line));
}

Test(log, keeps_errno)
{
    int saved = dup(2);
    close(2);
    errno = ENOTTY;
    log_error("nobody hears this");
    int e = errno;
    dup2(saved, 2);
    cr_assert_eq(e, ENOTTY);
}

Test(log, levels_are_parsed_in_any_case)
{
    static const char *const names[] = {"trace", "DEBUG", "Info", "warn", "ERROR"};
    enum log_level level;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cr_assert_eq(log_level_parse(names[i], &level), 0);
        cr_assert_eq((size_t)level, i);
    }
    level = LOG_LEVEL_WARN;
    cr_assert_eq(log_level_parse("loud", &level), -EINVAL);
    cr_assert_eq(log_level_parse("", &level), -EINVAL);
    cr_assert_eq(log_level_parse(NULL, &level), -EINVAL);
    cr_assert_eq(level, LOG_LEVEL_WARN);
}
