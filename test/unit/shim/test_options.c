#include "shim/options.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/cleanup.h"

// Splits a line at blanks and parses it behind a program name.
static struct shim_options parse(char *line)
{
    char program[] = "shim", *argv[32] = {program};
    int argc = 1;
    for (char *save = NULL, *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    struct shim_options o;
    shim_options_parse(&o, argc, argv);
    return o;
}

Test(options, the_forms_that_containerd_and_people_use)
{
    static const struct {
        const char *line;
        enum shim_action action;
        const char *name_space, *id, *bundle, *unknown;
    } cases[] = {
        // As recorded from containerd 2.1 and 2.3.
        {"-info", SHIM_INFO, "", "", "", NULL},
        {"-namespace k8s.io -address /run/c.sock -publish-binary /bin/containerd -id c1 -bundle "
         "/run/b/c1 -debug delete",
         SHIM_DELETE, "k8s.io", "c1", "/run/b/c1", NULL},
        {"-namespace k8s.io -address /run/c.sock -publish-binary /bin/containerd -id c1 start",
         SHIM_START, "k8s.io", "c1", "", NULL},
        {"-v", SHIM_VERSION, "", "", "", NULL},
        {"--namespace=n --id=c1 --bundle=/b --debug=true delete", SHIM_DELETE, "n", "c1", "/b",
         NULL},
        {"--id c1 -debug=false delete", SHIM_DELETE, "", "c1", "", NULL},
        {"-info=false delete", SHIM_DELETE, "", "", "", NULL},
        {"--info=true", SHIM_INFO, "", "", "", NULL},
        {"-- delete", SHIM_DELETE, "", "", "", NULL},
        {"delete", SHIM_DELETE, "", "", "", NULL},
        // Names that look like actions are values here.
        {"-id delete -namespace start delete", SHIM_DELETE, "start", "delete", "", NULL},
        {"-id= delete", SHIM_DELETE, "", "", "", NULL},
        // Flags of some later containerd.
        {"-new-switch -id c1 delete", SHIM_DELETE, "", "c1", "", NULL},
        {"-new-value x -id c1 delete", SHIM_DELETE, "", "c1", "", NULL},
        {"-new-value=x -id c1 delete", SHIM_DELETE, "", "c1", "", NULL},
        {"-id c1 -new-switch delete", SHIM_DELETE, "", "c1", "", NULL},
        {"-h", SHIM_HELP, "", "", "", NULL},
        {"", SHIM_NONE, "", "", "", NULL},
        {"stop", SHIM_NONE, "", "", "", "stop"},
        {"-id", SHIM_NONE, "", "", "", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char line[512];
        strcpy(line, cases[i].line);
        struct shim_options o = parse(line);
        cr_expect_eq(o.action, cases[i].action, "%s", cases[i].line);
        cr_expect_str_eq(o.name_space, cases[i].name_space, "%s", cases[i].line);
        cr_expect_str_eq(o.id, cases[i].id, "%s", cases[i].line);
        cr_expect_str_eq(o.bundle, cases[i].bundle, "%s", cases[i].line);
        cr_expect_eq(!!o.unknown, !!cases[i].unknown, "%s", cases[i].line);
    }
}
