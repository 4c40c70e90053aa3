// doctor: is there a containerd of a version that has the Sandbox API as we speak it, and does it
// take its configuration?
#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/ident.h"
#include "ctl/doctor.h"
#include "ctl/find_containerd.h"
#include "ctl/program.h"

#define CONFIG_DEFAULT "/etc/containerd/config.toml"
// The first containerd whose Sandbox API ours is.
#define MAJOR_WANTED 2
#define MINOR_WANTED 1
// Version of a configuration file from which on the tables have the names that we document.
#define CONFIG_VERSION_WANTED 3

// ---- the version --------------------------------------------------------------------------------

// "containerd github.com/containerd/containerd/v2 v2.3.4 <commit>": the first word that is a
// version.
static bool parse_version(const char *text, int *major, int *minor)
{
    for (const char *word = text; *word; word++) {
        const char *number = word + (*word == 'v');
        if ((word == text || word[-1] == ' ') && isdigit((unsigned char)*number) &&
            sscanf(number, "%d.%d", major, minor) == 2)
            return true;
    }
    return false;
}

static void check_version(struct doctor *d, struct containerd *c)
{
    struct error err = {0};
    const char *const arguments[] = {"--version", NULL};
    _cleanup_free_ char *text = doctor_output(d, c->program, arguments, &err);
    if (!text || !parse_version(text, &c->major, &c->minor)) {
        c->major = c->minor = 0;
        found(d, VERDICT_WARNING, "%s does not say its version%s%s", c->program, text ? "" : ": ",
              text ? "" : err.text);
        remedy(d, "see that %s --version works", c->program);
        return;
    }
    if (c->major > MAJOR_WANTED || (c->major == MAJOR_WANTED && c->minor >= MINOR_WANTED)) {
        found(d, VERDICT_OK, "%s is version %d.%d", c->program, c->major, c->minor);
        return;
    }
    found(d, VERDICT_ERROR, "%s is version %d.%d; its Sandbox API is not the one we serve",
          c->program, c->major, c->minor);
    remedy(d, "install containerd %d.%d or newer", MAJOR_WANTED, MINOR_WANTED);
}

// ---- the configuration --------------------------------------------------------------------------

static long version_of(const struct document *doc)
{
    const char *text = document_get(doc, "version");
    return text ? strtol(text, NULL, 10) : 1; // as containerd takes a file without it
}

// A drop-in, for its version and its tables.
static void check_import(struct doctor *d, const char *path, long main_version)
{
    struct document doc = {0};
    struct error err = {0};
    if (document_load(&doc, path, &err) < 0) {
        found(d, VERDICT_ERROR, "a drop-in cannot be read: %s", err.text);
        remedy(d, "correct it, or move it out of the imports");
    } else if (version_of(&doc) > main_version) {
        // containerd 2.3 does not start with it (cmd/containerd/server/config: "drop-in config
        // version 3 higher than root config version 2").
        found(d, VERDICT_ERROR, "%s is of version %ld, the main file %s only of version %ld", path,
              version_of(&doc), d->containerd.config, main_version);
        remedy(d,
               "move the drop-in aside, run \"containerd config migrate\", and write what it "
               "prints to %s",
               d->containerd.config);
    } else if (document_load(&d->files, path, &err) < 0) {
        found(d, VERDICT_WARNING, "%s", err.text);
        remedy(d, "look at the file");
    }
    document_done(&doc);
}

// imports[N]: a path or a pattern, absolute or beside the main file.
static void check_import_pattern(struct doctor *d, const char *pattern, long main_version)
{
    char full[PATH_MAX];
    glob_t paths = {0};
    const char *main_file = d->containerd.config, *slash = strrchr(main_file, '/');
    int dir_len = pattern[0] == '/' || !slash ? 0 : (int)(slash + 1 - main_file);
    if (doctor_path(d, full, sizeof full, "%.*s%s", dir_len, main_file, pattern) < 0)
        return;
    if (glob(full, 0, NULL, &paths) == 0)
        for (size_t i = 0; i < paths.gl_pathc; i++)
            check_import(d, paths.gl_pathv[i], main_version);
    globfree(&paths);
}

// Drop-ins where our documentation puts them, that nothing imports.
static void check_forgotten(struct doctor *d, bool has_imports)
{
    char pattern[PATH_MAX];
    glob_t paths = {0};
    if (has_imports || doctor_path(d, pattern, sizeof pattern, "/etc/containerd/conf.d/*.toml") < 0)
        return;
    if (glob(pattern, 0, NULL, &paths) == 0) {
        found(d, VERDICT_ERROR, "%s imports nothing, so %s is not read", d->containerd.config,
              paths.gl_pathv[0]);
        remedy(d, "add imports = [\"/etc/containerd/conf.d/*.toml\"] to %s, before its first table",
               d->containerd.config);
    }
    globfree(&paths);
}

static void check_files(struct doctor *d)
{
    struct error err = {0};
    char path[PATH_MAX];
    bool has_imports = false;
    if (doctor_path(d, path, sizeof path, "%s", d->containerd.config) < 0)
        return;
    if (document_load(&d->files, path, &err) < 0) {
        found(d, err.status == STATUS_NOT_FOUND ? VERDICT_ERROR : VERDICT_WARNING,
              "the main file cannot be read here: %s", err.text);
        if (err.status == STATUS_NOT_FOUND)
            remedy(d, "write one: containerd config default >%s", d->containerd.config);
        else
            remedy(d, "correct it; \"containerd config dump\" says whether containerd reads it");
        return;
    }
    long version = version_of(&d->files);
    if (version < CONFIG_VERSION_WANTED) {
        found(d, VERDICT_ERROR, "%s is of version %ld; our drop-in is of version %d",
              d->containerd.config, version, CONFIG_VERSION_WANTED);
        remedy(d, "run \"containerd config migrate\" and write what it prints to %s",
               d->containerd.config);
    }
    size_t own = d->files.n;
    for (size_t i = 0; i < own; i++) {
        const char *key = d->files.list[i].key;
        if (!key || strncmp(key, "imports[", 8) != 0 || !d->files.list[i].value)
            continue;
        has_imports = true;
        check_import_pattern(d, d->files.list[i].value, version);
    }
    check_forgotten(d, has_imports);
}

// As containerd itself takes it.
static void check_dump(struct doctor *d, const struct containerd *c)
{
    struct error err = {0};
    char config[PATH_MAX], option[PATH_MAX + 16];
    if (doctor_path(d, config, sizeof config, "%s", c->config) < 0)
        return;
    snprintf(option, sizeof option, "--config=%s", config);
    const char *const arguments[] = {option, "config", "dump"};
    _cleanup_free_ char *text = doctor_output(d, c->program, arguments, &err);
    if (!text) {
        found(d, VERDICT_ERROR, "containerd does not take its configuration: %s", err.text);
        remedy(d, "correct %s and what it imports; \"containerd config dump\" tries it", c->config);
        return;
    }
    if (document_parse(&d->merged, "containerd config dump", text, strlen(text), &err) < 0) {
        found(d, VERDICT_WARNING, "its configuration cannot be read here: %s", err.text);
        remedy(d, "the checks below look at the files alone");
        return;
    }
    d->merged_known = true;
    found(d, VERDICT_OK, "it takes its configuration, %s", c->config);
}

// ---- all ----------------------------------------------------------------------------------------

// Without a process: says why, and finds the program that would be started.
static void check_absent(struct doctor *d, const struct error *why)
{
    struct containerd *c = &d->containerd;
    if (*why->text) {
        found(d, VERDICT_ERROR, "no process is taken for this node's containerd: %s", why->text);
        remedy(d, "run kuasar-ctl as containerd's user and in its mount namespace; its program and "
                  "the directories above it have to belong to root and be nobody else's to write "
                  "(chown, chmod go-w)");
    } else {
        found(d, VERDICT_ERROR, "containerd does not run");
        remedy(d, "start it: systemctl start containerd; its log says why if it ends");
    }
    if (!doctor_find_program(d, c->path, "containerd", c->program))
        c->program[0] = '\0';
}

static void check_argument(struct doctor *d)
{
    struct containerd *c = &d->containerd;
    struct error err = {0};
    if (ident_path_check(c->config, "--config", &err) == 0)
        return;
    found(d, VERDICT_WARNING, "containerd was started with %s", err.text);
    remedy(d, "give the path of its main file: --containerd-config");
    snprintf(c->config, sizeof c->config, "%s", CONFIG_DEFAULT);
}

void check_containerd(struct doctor *d)
{
    struct containerd *c = &d->containerd;
    struct error why = {0};
    snprintf(c->path, sizeof c->path, "%s", PROGRAM_PATH);
    snprintf(c->config, sizeof c->config, "%s", CONFIG_DEFAULT);
    if (!find_containerd(d, c, &why))
        check_absent(d, &why);
    else if (c->replaced) {
        found(d, VERDICT_WARNING, "%s has been replaced since containerd was started", c->program);
        remedy(d, "restart containerd; what follows is about the new program");
    }
    if (d->ctl->options->containerd_config)
        snprintf(c->config, sizeof c->config, "%s", d->ctl->options->containerd_config);
    check_argument(d);
    if (*c->program) {
        check_version(d, c);
        check_dump(d, c);
    } else {
        found(d, VERDICT_ERROR, "there is no program containerd in %s", c->path);
        remedy(d, "install containerd %d.%d or newer", MAJOR_WANTED, MINOR_WANTED);
    }
    check_files(d);
}
