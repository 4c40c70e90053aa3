#include "ctl/options.h"

#include <criterion/criterion.h>
#include <string.h>

#include "ctl/ctl.h"

static int parse(const struct command_entry *c, char *line, struct options *o, struct error *err)
{
    char *argv[16];
    int argc = 0;
    for (char *save = NULL, *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    return options_parse(c, argc, argv, o, err);
}

Test(options, forms)
{
    struct options o;
    struct error err = {0};
    char a[] = "show -jt2.5 --namespace=k8s.io -k runc --run-dir /x abc";
    cr_assert_eq(parse(&cmd_show, a, &o, &err), 0, "%s", err.text);
    cr_expect(o.json);
    cr_expect_eq(o.timeout, 2.5);
    cr_expect_str_eq(o.ns, "k8s.io");
    cr_expect_str_eq(o.kind, "runc");
    cr_expect_str_eq(o.run_dir, "/x");
    cr_expect_str_eq(o.arguments[0], "abc");
    char b[] = "show -- -abc";
    cr_assert_eq(parse(&cmd_show, b, &o, &err), 0);
    cr_expect_str_eq(o.arguments[0], "-abc");
    char c[] = "show --help";
    cr_assert_eq(parse(&cmd_show, c, &o, &err), 0);
    cr_expect(o.help);
    char d[] = "list";
    cr_assert_eq(parse(&cmd_list, d, &o, &err), 0);
    cr_expect_str_eq(o.run_dir, "/run");
}

Test(options, refusals_name_the_argument_and_the_remedy)
{
    static const struct {
        const struct command_entry *command;
        const char *line, *says;
    } cases[] = {
        {&cmd_list, "list --foo", "\"--foo\" is no option"},
        {&cmd_list, "list -n x", "\"-n\" is no option"}, // another command's
        {&cmd_list, "list extra", "one argument too many"},
        {&cmd_show, "show", "ID is missing: kuasar-ctl list"},
        {&cmd_show, "show a b", "\"b\" is one argument too many"},
        {&cmd_show, "show a --namespace", "lacks its value"},
        {&cmd_show, "show a -n", "lacks its value"},
        {&cmd_show, "show a --json=1", "takes no value"},
        {&cmd_show, "show a -n a/b", "--namespace"},
        {&cmd_list, "list -t 0", "--timeout"},
        {&cmd_list, "list -t nan", "--timeout"},
        {&cmd_list, "list -t 1e9", "up to 3600"},
        {&cmd_list, "list -t 1s", "--timeout"},
        {&cmd_list, "list -r run", "--run-dir"},
        {&cmd_list, "list -r /a/../b", "--run-dir"},
        {&cmd_list, "list -k ../x", "--kind"},
        {&cmd_dump, "dump --output=", "--output"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options o;
        struct error err = {0};
        char line[128];
        strcpy(line, cases[i].line);
        cr_expect_eq(parse(cases[i].command, line, &o, &err), -1, "%s", cases[i].line);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        cr_expect(strstr(err.text, cases[i].says), "%s: %s", cases[i].line, err.text);
    }
}
