#include "ctl/options.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/ident.h"
#include "ctl/ctl.h"

// Options that every command takes.
#define COMMON "hjkrt"

enum value { FLAG, TEXT, IDENT, PATH, SECONDS };

static const struct option {
    char letter;
    enum value value;
    const char *name, *value_name, *help;
    size_t offset;
} table[] = {
    {'l', FLAG, "long", NULL, "whole ids, and more columns", offsetof(struct options, long_ids)},
    {'n', IDENT, "namespace", "NAME", "only containers of this containerd namespace",
     offsetof(struct options, ns)},
    {'a', FLAG, "recent", NULL, "first the events that the daemons remember",
     offsetof(struct options, recent)},
    {'o', TEXT, "output", "FILE", "the tar archive to write; \"-\" for standard output",
     offsetof(struct options, output)},
    {'L', FLAG, "no-logs", NULL, "leave the logs out", offsetof(struct options, no_logs)},
    {'q', FLAG, "quiet", NULL, "only what is not in order", offsetof(struct options, quiet)},
    {'c', PATH, "containerd-config", "FILE", "containerd's main file; else that of the running one",
     offsetof(struct options, containerd_config)},
    {'R', PATH, "root", "DIR", "look at a file tree instead of this machine",
     offsetof(struct options, root)},
    {'j', FLAG, "json", NULL, "print JSON", offsetof(struct options, json)},
    {'k', IDENT, "kind", "KIND", "only this kind of sandbox: runc, wasm, vmm",
     offsetof(struct options, kind)},
    {'r', PATH, "run-dir", "DIR", "where the state directories kuasar-KIND are (/run)",
     offsetof(struct options, run_dir)},
    {'t', SECONDS, "timeout", "SECONDS", "how long a daemon may take to answer (5)",
     offsetof(struct options, timeout)},
    {'h', FLAG, "help", NULL, "print this", offsetof(struct options, help)},
};

static bool takes(const struct command_entry *command, char letter)
{
    return strchr(COMMON, letter) || strchr(command->letters, letter);
}

static int refuse(const struct command_entry *command, struct error *err, const char *what,
                  const char *argument)
{
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s: \"%.200s\" %s; kuasar-ctl %s --help lists what it takes", command->name,
                     argument, what, command->name);
}

static int read_seconds(const char *name, const char *text, double *ret, struct error *err)
{
    char *end;
    double seconds = strtod(text, &end);
    if (!*text || *end || !isfinite(seconds) || seconds <= 0 || seconds > OPTIONS_TIMEOUT_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--%s: \"%.100s\" is no number of seconds above 0 and up to %d", name,
                         text, OPTIONS_TIMEOUT_MAX);
    *ret = seconds;
    return 0;
}

static int store(const struct option *o, const char *value, struct options *to, struct error *err)
{
    char *target = (char *)to + o->offset, field[32];
    snprintf(field, sizeof field, "--%s", o->name);
    switch (o->value) {
    case FLAG:
        *(bool *)target = true;
        return 0;
    case SECONDS:
        return read_seconds(o->name, value, (double *)(void *)target, err);
    case IDENT:
        if (ident_check(value, field, err) < 0)
            return -1;
        break;
    case PATH:
        if (ident_path_check(value, field, err) < 0)
            return -1;
        break;
    case TEXT:
        if (!*value || strlen(value) > IDENT_PATH_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: must have 1 to %d characters",
                             field, IDENT_PATH_MAX);
        break;
    }
    *(const char **)(void *)target = value;
    return 0;
}

// Takes the option argv[i], which is "--name", "--name=value" or "-x[value]". Returns the number of
// arguments used, or -1.
static int take_long(const struct command_entry *command, int argc, char **argv, int i,
                     struct options *to, struct error *err)
{
    const char *name = argv[i] + 2;
    size_t len = strcspn(name, "=");
    const struct option *o = NULL;
    for (size_t k = 0; k < ARRAY_SIZE(table); k++)
        if (takes(command, table[k].letter) && strlen(table[k].name) == len &&
            memcmp(table[k].name, name, len) == 0)
            o = &table[k];
    if (!o)
        return refuse(command, err, "is no option of it", argv[i]);
    if (o->value == FLAG) {
        if (name[len])
            return refuse(command, err, "takes no value", argv[i]);
        return store(o, NULL, to, err) < 0 ? -1 : 1;
    }
    if (name[len])
        return store(o, name + len + 1, to, err) < 0 ? -1 : 1;
    if (i + 1 == argc)
        return refuse(command, err, "lacks its value", argv[i]);
    return store(o, argv[i + 1], to, err) < 0 ? -1 : 2;
}

static int take_short(const struct command_entry *command, int argc, char **argv, int i,
                      struct options *to, struct error *err)
{
    for (const char *letter = argv[i] + 1; *letter; letter++) {
        const struct option *o = NULL;
        for (size_t k = 0; k < ARRAY_SIZE(table); k++)
            if (table[k].letter == *letter && takes(command, *letter))
                o = &table[k];
        if (!o)
            return refuse(command, err, "is no option of it", argv[i]);
        if (o->value == FLAG) {
            if (store(o, NULL, to, err) < 0)
                return -1;
            continue;
        }
        if (letter[1])
            return store(o, letter + 1, to, err) < 0 ? -1 : 1;
        if (i + 1 == argc)
            return refuse(command, err, "lacks its value", argv[i]);
        return store(o, argv[i + 1], to, err) < 0 ? -1 : 2;
    }
    return 1;
}

static int take_argument(const struct command_entry *command, const char *argument,
                         struct options *to, struct error *err)
{
    if (to->n_arguments == command->max_arguments)
        return refuse(command, err, "is one argument too many", argument);
    to->arguments[to->n_arguments++] = argument;
    return 1;
}

int options_parse(const struct command_entry *command, int argc, char **argv, struct options *ret,
                  struct error *err)
{
    struct options o = {.run_dir = "/run", .timeout = 5};
    bool only_arguments = false;
    for (int i = 1, used = 1; i < argc; i += used) {
        if (!only_arguments && strcmp(argv[i], "--") == 0) {
            only_arguments = true;
            used = 1;
        } else if (only_arguments || argv[i][0] != '-' || !argv[i][1]) {
            used = take_argument(command, argv[i], &o, err);
        } else if (argv[i][1] == '-') {
            used = take_long(command, argc, argv, i, &o, err);
        } else {
            used = take_short(command, argc, argv, i, &o, err);
        }
        if (used < 0)
            return -1;
    }
    if (!o.help && o.n_arguments < command->min_arguments)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: %s is missing: kuasar-ctl list prints what there is", command->name,
                         command->arguments);
    *ret = o;
    return 0;
}

void options_help(const struct command_entry *command, FILE *out)
{
    fprintf(out, "usage: kuasar-ctl %s [options]%s%s\n%s\n%s\n\noptions:\n", command->name,
            *command->arguments ? " " : "", command->arguments, command->summary,
            command->description);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        char left[64];
        if (!takes(command, table[i].letter))
            continue;
        snprintf(left, sizeof left, "-%c, --%s%s%s", table[i].letter, table[i].name,
                 table[i].value_name ? " " : "", table[i].value_name ? table[i].value_name : "");
        fprintf(out, "  %-32s %s\n", left, table[i].help);
    }
}
