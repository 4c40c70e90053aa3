// doctor: the OCI runtimes, and that the one which a kind is configured to use is there.
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "ctl/doctor.h"
#include "ctl/program.h"

// Cuts a text behind its first line.
static char *first_line(char *text)
{
    text[strcspn(text, "\r\n")] = '\0';
    return text;
}

// Does "features" (runtime-spec features.md) say that mounts can be mapped to a user namespace's
// ids? 1 or 0; -1: not known.
static int maps_ids(const struct doctor *d, const char *program)
{
    struct error err = {0};
    const char *const arguments[] = {"features", NULL};
    json_object *linux_ = NULL, *extensions = NULL, *map = NULL;
    bool enabled = false;
    _cleanup_free_ char *text = doctor_output(d, program, arguments, &err);
    _cleanup_json_ json_object *o = text ? json_parse(text, strlen(text), "features", &err) : NULL;
    if (!o || json_get_object(o, "linux", &linux_, &err) < 0 || !linux_ ||
        json_get_object(linux_, "mountExtensions", &extensions, &err) < 0 || !extensions ||
        json_get_object(extensions, "idmap", &map, &err) < 0 || !map ||
        json_get_bool(map, "enabled", &enabled, &err) < 0)
        return -1;
    return enabled;
}

// Returns whether it is there.
static bool check_runtime(struct doctor *d, const char *name)
{
    char program[PATH_MAX];
    struct error err = {0};
    const char *const arguments[] = {"--version", NULL};
    if (!doctor_find_program(d, PROGRAM_PATH, name, program))
        return false;
    _cleanup_free_ char *version = doctor_output(d, program, arguments, &err);
    if (!version) {
        found(d, VERDICT_WARNING, "%s does not run: %s", program, err.text);
        remedy(d, "see that %s --version works", program);
        return true;
    }
    int ids = maps_ids(d, program);
    found(d, VERDICT_OK, "%s: %s%s", program, first_line(version),
          ids == 1   ? ", maps ids of mounts"
          : ids == 0 ? ", cannot map ids of mounts (user namespaces)"
                     : "");
    return true;
}

// The key `runtime` of a kind's configuration file.
static void check_configured(struct doctor *d, const char *path)
{
    struct document doc = {0};
    struct error err = {0};
    char program[PATH_MAX];
    if (document_load(&doc, path, &err) < 0) {
        found(d, VERDICT_ERROR, "a configuration file of ours cannot be read: %s", err.text);
        remedy(d, "correct it: the daemons of its kind do not start with it");
    } else {
        const char *runtime = document_get(&doc, "runtime");
        if (runtime && !doctor_find_program(d, PROGRAM_PATH, runtime, program)) {
            found(d, VERDICT_ERROR, "%s: runtime = \"%s\": there is no such program", path,
                  runtime);
            remedy(d, "install it, or name another");
        }
    }
    document_done(&doc);
}

void check_runtimes(struct doctor *d)
{
    static const char *const names[] = {"runc", "crun"};
    char pattern[PATH_MAX];
    glob_t paths = {0};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        n += check_runtime(d, names[i]);
    if (!n) {
        found(d, VERDICT_ERROR, "there is neither runc nor crun in " PROGRAM_PATH);
        remedy(d, "install one: apt install runc");
    }
    if (doctor_path(d, pattern, sizeof pattern, KUASAR_SYSCONFDIR "/*.toml") == 0 &&
        glob(pattern, 0, NULL, &paths) == 0)
        for (size_t i = 0; i < paths.gl_pathc; i++)
            check_configured(d, paths.gl_pathv[i]);
    globfree(&paths);
}
