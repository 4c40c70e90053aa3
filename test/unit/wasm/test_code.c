// The names of compiled code.
#include <criterion/criterion.h>
#include <string.h>

#include "worker/code.h"
#include "worker/processor.h"

static const char *version(void)
{
    return "1.2.3";
}

// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

Test(code, is_named_by_engine_and_module)
{
    const struct engine_ops engine = {.name = "test", .version = version};
    char name[WORKER_NAME_MAX];
    code_name(&engine, "abc", 3, name);
    cr_expect_str_eq(name, "test-1.2.3-" ABC);
}

Test(code, is_named_by_how_it_was_compiled_if_it_does_not_say_it)
{
    const struct engine_ops engine = {.name = "test", .version = version, .options = "fast"};
    char name[WORKER_NAME_MAX];
    code_name(&engine, "abc", 3, name);
    cr_expect_str_eq(name, "test-1.2.3-fast-" ABC);
}

Test(code, is_named_by_the_processor_too_if_it_does_not_say_it)
{
    const struct engine_ops engine = {.name = "test", .version = version, .for_processor = true};
    char name[WORKER_NAME_MAX], processor[PROCESSOR_NAME_SIZE];
    code_name(&engine, "abc", 3, name);
    processor_name(processor);
    cr_expect_eq(strspn(processor, "0123456789abcdef"), sizeof(processor) - 1);
    cr_expect(strncmp(name, "test-1.2.3-", 11) == 0);
    cr_expect(strncmp(name + 11, processor, 16) == 0 && strcmp(name + 27, "-" ABC) == 0, "%s",
              name);
}
