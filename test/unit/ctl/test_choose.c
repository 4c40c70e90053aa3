#include "ctl/choose.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct choice choices[] = {
    {"runc", "", "abc"},        {"runc", "", "abcd"},      {"runc", "k8s.io", "abx1"},
    {"runc", "k8s.io", "same"}, {"runc", "other", "same"}, {"wasm", "", "z9"},
    {"runc", "", "twin"},       {"wasm", "", "twin"},      {"wasm", "", "m1"},
    {"wasm", "", "m2"},         {"wasm", "", "m3"},        {"wasm", "", "m4"},
    {"wasm", "", "m5"},         {"wasm", "", "m6"},
};
#define N (sizeof choices / sizeof *choices)

Test(choose, an_id_or_the_only_prefix)
{
    static const struct {
        const char *ns, *argument;
        size_t index;
        enum status status;
        const char *text;
    } cases[] = {
        {NULL, "abc", 0, STATUS_OK, ""}, // an id, though another begins with it
        {NULL, "abcd", 1, STATUS_OK, ""},
        {NULL, "abx", 2, STATUS_OK, ""},
        {NULL, "z", 5, STATUS_OK, ""},
        {"other", "same", 4, STATUS_OK, ""},
        {"other", "s", 4, STATUS_OK, ""},
        {NULL, "m", 0, STATUS_FAILED_PRECONDITION, "wasm m4, wasm m5, ...)"},
        {NULL, "ab", 0, STATUS_FAILED_PRECONDITION, "more of the id"},
        {NULL, "same", 0, STATUS_FAILED_PRECONDITION, "(runc k8s.io/same, runc other/same)"},
        {NULL, "twin", 0, STATUS_FAILED_PRECONDITION, "(runc twin, wasm twin)"},
        {NULL, "abcde", 0, STATUS_NOT_FOUND, "kuasar-ctl list"},
        {"k8s.io", "z9", 0, STATUS_NOT_FOUND, "in namespace k8s.io"},
        {NULL, "", 0, STATUS_INVALID_ARGUMENT, "empty"},
        {NULL, "a/b", 0, STATUS_INVALID_ARGUMENT, "--namespace"},
        {NULL, "a b\033", 0, STATUS_INVALID_ARGUMENT, "\"a b?\""},
        {NULL,
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 0,
         STATUS_INVALID_ARGUMENT, "at most 76"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        size_t index = 99;
        int r = choose(choices, N, cases[i].ns, cases[i].argument, &index, &err);
        cr_expect_eq(err.status, cases[i].status, "%zu: %s", i, err.text);
        cr_expect_eq(r, cases[i].status ? -1 : 0);
        cr_expect(strstr(err.text, cases[i].text), "%zu: %s", i, err.text);
        if (r == 0)
            cr_expect_eq(index, cases[i].index, "%zu", i);
    }
}
