// The names of compiled code.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "worker/code.h"
#include "worker/processor.h"

static const char *version(void)
{
    return "1.2.3";
}

// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

Test(code, is_named_by_all_that_it_depends_on)
{
    const struct engine_ops engine = {.name = "test", .version = version, .options = "fast"};
    char name[WORKER_NAME_MAX], expected[WORKER_NAME_MAX], processor[PROCESSOR_NAME_SIZE];
    code_name(&engine, "abc", 3, name);
    processor_name(processor);
    cr_expect_eq(strspn(processor, "0123456789abcdef"), sizeof(processor) - 1);
    snprintf(expected, sizeof(expected), "test-1.2.3-fast-%s-" ABC, processor);
    cr_expect_str_eq(name, expected);
}
