// kuasar-ctl - look at the sandboxes and containers of this node
//
// SYNOPSIS
//     kuasar-ctl COMMAND [options] [ID]
//
// Reads only. It asks the daemons of every kind of sandbox over their sockets (which takes root),
// and reads their records where they do not answer. The commands are in cmd_NAME.c.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "ctl/ctl.h"
#include "ctl/table.h"

static const struct command_entry *const commands[] = {&cmd_list, &cmd_show, &cmd_events, &cmd_dump,
                                                       &cmd_doctor};

static void usage(FILE *out)
{
    fprintf(out, "usage: kuasar-ctl COMMAND [options]\n"
                 "Look at the sandboxes and containers of this node.\n\ncommands:\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        fprintf(out, "  %-8s %-4s %s\n", commands[i]->name, commands[i]->arguments,
                commands[i]->summary);
    fprintf(out, "\nkuasar-ctl COMMAND --help says more. --version prints the version.\n"
                 "exit status: 0 in order, 1 with warnings, 2 failed, 64 wrong command line\n");
}

static const struct command_entry *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i]->name, name) == 0 ||
            (commands[i]->alias && strcmp(commands[i]->alias, name) == 0))
            return commands[i];
    return NULL;
}

static int complain(int code, const struct error *err)
{
    char clean[ERROR_TEXT_MAX];
    text_clean(clean, sizeof clean, err->text);
    if (*clean)
        fprintf(stderr, "kuasar-ctl: %s\n", clean);
    return code;
}

static int run(const struct command_entry *command, const struct options *options)
{
    struct error err = {0};
    struct ctl ctl = {.options = options, .out = stdout};
    int code = EXIT_ERROR;
    // Not libev's default loop: that reaps children by itself.
    ctl.loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    ctl.reaper = ctl.loop ? reaper_new(ctl.loop) : NULL;
    if (ctl.reaper)
        code = command->run(&ctl, &err);
    else
        error_set(&err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    reaper_free(ctl.reaper);
    if (ctl.loop)
        ev_loop_destroy(ctl.loop);
    if (fflush(stdout) != 0 && code == EXIT_OK)
        code = error_errno(&err, errno, "standard output") < 0 ? EXIT_ERROR : code;
    return code == EXIT_ERROR || code == EXIT_USAGE ? complain(code, &err) : code;
}

int main(int argc, char **argv)
{
    struct options options;
    struct error err = {0};
    const char *name = argc > 1 ? argv[1] : "";
    log_setup("kuasar-ctl", LOG_LEVEL_ERROR);
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        usage(stdout);
        return EXIT_OK;
    }
    if (strcmp(name, "-v") == 0 || strcmp(name, "--version") == 0) {
        printf("Version: %s\n", CTL_VERSION);
        return EXIT_OK;
    }
    const struct command_entry *command = find_command(name);
    if (!command) {
        error_set(&err, STATUS_INVALID_ARGUMENT,
                  *name ? "\"%.100s\" is no command (list, show, events, dump, doctor); options go "
                          "behind the command"
                        : "%sno command is given; kuasar-ctl --help lists them",
                  name);
        return complain(EXIT_USAGE, &err);
    }
    if (options_parse(command, argc - 1, argv + 1, &options, &err) < 0)
        return complain(EXIT_USAGE, &err);
    if (options.help) {
        options_help(command, stdout);
        return EXIT_OK;
    }
    return run(command, &options);
}
