#include "ctl/tree.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static char root[64];

static void make(void)
{
    strcpy(root, "/tmp/tree.XXXXXX");
    cr_assert(mkdtemp(root));
}

static void end(void)
{
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, root), 0);
}

TestSuite(tree, .init = make, .fini = end);

static void put(const char *path, mode_t mode)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s/%s", root, path);
    cr_assert_eq(file_write_atomic_at(AT_FDCWD, full, "abc", 3, mode), 0);
}

static void put_dir(const char *path)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s/%s", root, path);
    cr_assert_eq(file_mkdir_all(full, 0700), 0);
}

// `head`: type and mode; everything is ours.
static void expect_line(const char *all, const char *head, int size, const char *path)
{
    char line[PATH_MAX];
    snprintf(line, sizeof line, "%s %u:%u %d %s/%s\n", head, getuid(), getgid(), size, root, path);
    cr_expect(strstr(all, line), "no %s in %s", line, all);
}

Test(tree, one_line_for_each)
{
    struct buf out;
    buf_init(&out, 4096);
    put("b", 0640);
    put("a\nd0755 0:0 0 forged\x1b", 0600);
    put_dir("1/2/3/4/5");
    cr_assert_eq(tree_list(root, &out), 0);
    const char *text = buf_cstr(&out);
    expect_line(text, "-0640", 3, "b");
    expect_line(text, "-0600", 3, "a?d0755 0:0 0 forged?");
    cr_expect(strstr(text, "/1/2/3/4\n") && !strstr(text, "/5"), "%s", text);
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    cr_expect_eq(lines, 7, "%s", text);
    buf_free(&out);
}

Test(tree, what_does_not_fit_is_told)
{
    struct buf out;
    buf_init(&out, 200);
    for (char c = 'a'; c <= 'z'; c++)
        put((char[]){c, '\0'}, 0600);
    cr_expect_eq(tree_list(root, &out), -EMSGSIZE);
    cr_expect(out.len > 50 && out.data[out.len - 1] == '\n');
    buf_free(&out);
}

Test(tree, no_directory)
{
    struct buf out;
    buf_init(&out, 4096);
    cr_assert_eq(tree_list("/nonexistent/x", &out), 0);
    cr_expect_str_eq(buf_cstr(&out), "? /nonexistent/x: No such file or directory\n");
    buf_free(&out);
}
