// Names in an archive: what is refused, what is cut.
#include "ctl/tar.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

// Adds one empty file; gives what was written, which the caller frees.
static int add(const char *name, char **written, size_t *len)
{
    FILE *out = open_memstream(written, len);
    cr_assert(out);
    int r = tar_add(out, name, "", 0, 0);
    fclose(out);
    return r;
}

Test(tar, a_name)
{
    char *data;
    size_t len;
    cr_expect_eq(add("a/..b/c..", &data, &len), 0);
    cr_expect_eq(len, 512);
    cr_expect_str_eq(data, "a/..b/c..");
    free(data);
}

Test(tar, names_that_leave_the_directory)
{
    static const char *const names[] = {"..", "../a", "a/../b", "a/..", "/a", "", "a//../b"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char *data;
        size_t len;
        cr_expect_eq(add(names[i], &data, &len), -EINVAL, "%s", names[i]);
        cr_expect_eq(len, 0);
        free(data);
    }
}
