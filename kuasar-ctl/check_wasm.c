// doctor: the worker of WebAssembly containers, the engines that are installed and those that
// are asked for, and the directory of compiled code.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/instance.h"
#include "ctl/doctor.h"
#include "ctl/handlers.h"
#include "ctl/program.h"

#define WORKER      "wasm-worker"
#define CACHE_DIR   "/var/cache/kuasar-wasm"
#define CONFIG_FILE KUASAR_SYSCONFDIR "/wasm.toml"
#define TYPE_PREFIX "io.containerd.kuasar-"
// What is configured where nothing is.
#define ENGINE_DEFAULT "wasmtime"

struct wasm {
    struct doctor *d;
    const struct document *doc;
    bool wanted;           // a handler or a daemon is there for it
    char worker[PATH_MAX]; // without the root; "": there is none
    char *engines;         // what it prints, "NAME VERSION" a line; NULL: it does not
};

// ---- is it wanted? ------------------------------------------------------------------------------

// The last word but one of a handler's runtime type, without our prefix: "wasm", "wasmtime", "".
static void name_of_type(const struct document *doc, const char *handler, char *out, size_t size)
{
    const char *type = handlers_value(doc, handler, "runtime_type");
    *out = '\0';
    if (strncmp(type, TYPE_PREFIX "wasm", strlen(TYPE_PREFIX "wasm")) != 0)
        return;
    type += strlen(TYPE_PREFIX);
    snprintf(out, size, "%.*s", (int)strcspn(type, "."), type);
}

static void see_handler(const char *name, void *arg)
{
    char type[32];
    struct wasm *w = arg;
    name_of_type(w->doc, name, type, sizeof type);
    if (*type)
        w->wanted = true;
}

// A node has all programs, also where nobody asks for WebAssembly.
static void see_whether_wanted(struct wasm *w)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s/kuasar-wasm", w->d->ctl->options->run_dir);
    w->wanted = doctor_exists(w->d, dir);
    handlers_each(w->doc, see_handler, w);
}

// ---- the engines --------------------------------------------------------------------------------

static bool has_engine(const struct wasm *w, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = w->engines; line && *line; line += strspn(line, "\n")) {
        if (strncmp(line, name, len) == 0 && line[len] == ' ')
            return true;
        line += strcspn(line, "\n");
    }
    return false;
}

static void find_worker(struct wasm *w)
{
    if (doctor_find_program(w->d, PROGRAM_PATH, WORKER, w->worker))
        return;
    if (*w->d->root || !instance_find_beside(WORKER, w->worker))
        w->worker[0] = '\0';
}

static void check_worker(struct wasm *w)
{
    struct error err = {0};
    const char *const arguments[] = {"engines", NULL};
    if (!*w->worker) {
        if (w->wanted) {
            found(w->d, VERDICT_ERROR, "there is no " WORKER " in " PROGRAM_PATH);
            remedy(w->d, "install it beside wasm-task, with an engine (see README.md)");
        }
        return;
    }
    w->engines = doctor_output(w->d, w->worker, arguments, &err);
    if (!w->engines) {
        found(w->d, w->wanted ? VERDICT_ERROR : VERDICT_WARNING, "%s does not run: %s", w->worker,
              err.text);
        remedy(w->d,
               strstr(err.text, "shared librar")
                   ? "put the engine's library where %s was built to look for it (readelf -d), or "
                     "where ldconfig finds it"
                   : "see that %s engines works",
               w->worker);
        return;
    }
    if (!*w->engines) {
        found(w->d, w->wanted ? VERDICT_ERROR : VERDICT_WARNING, "%s finds no engine", w->worker);
        remedy(w->d, "install one, " KUASAR_LIBDIR "/engine-NAME.so: see README.md");
        return;
    }
    for (char *line = w->engines, *end; *line; line = end + 1) {
        end = strchrnul(line, '\n');
        found(w->d, VERDICT_OK, "%s has %.*s", w->worker, (int)(end - line), line);
        if (!*end)
            break;
    }
}

// Where they are asked for.

static void check_handler(const char *name, void *arg)
{
    char type[32];
    const struct wasm *w = arg;
    name_of_type(w->doc, name, type, sizeof type);
    if (!*type || strcmp(type, "wasm") == 0 || has_engine(w, type))
        return;
    found(w->d, VERDICT_WARNING, "%s: %s finds no %s, so no container of it starts", name,
          w->worker, type);
    remedy(w->d, "install that engine, or take the handler out of containerd's configuration");
}

static void check_configured(const struct wasm *w)
{
    char path[PATH_MAX];
    struct document doc = {0};
    struct error err = {0};
    if (doctor_path(w->d, path, sizeof path, CONFIG_FILE) < 0)
        return;
    // One that cannot be read is said of the runtimes.
    const char *engine = document_load(&doc, path, &err) == 0 ? document_get(&doc, "engine") : NULL;
    if (!has_engine(w, engine ? engine : ENGINE_DEFAULT)) {
        found(w->d, VERDICT_ERROR, "%s finds no %s, which is the engine in " CONFIG_FILE, w->worker,
              engine ? engine : ENGINE_DEFAULT);
        remedy(w->d, "set engine to one that it has, and restart the task server when it has no "
                     "containers; or install that one");
    }
    document_done(&doc);
}

// ---- compiled code ------------------------------------------------------------------------------

static void check_size(struct doctor *d, const char *path)
{
    uint64_t bytes = 0;
    size_t n = 0;
    struct stat st;
    DIR *dir = opendir(path);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        char code[NAME_MAX + sizeof "/code"];
        snprintf(code, sizeof code, "%s/code", e->d_name);
        if (fstatat(dirfd(dir), code, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)) {
            bytes += (uint64_t)st.st_size;
            n++;
        }
    }
    if (dir)
        closedir(dir);
    found(d, VERDICT_OK, CACHE_DIR " has the compiled code of %zu modules, %.1f MiB", n,
          (double)bytes / (1024 * 1024));
}

// What lies there is run, so workers look into it only if it is root's alone (this program runs as
// that).
static void check_cache(struct doctor *d)
{
    char path[PATH_MAX];
    struct stat st;
    struct statvfs fs;
    if (doctor_path(d, path, sizeof path, CACHE_DIR) < 0 || lstat(path, &st) < 0)
        return; // it is made when there is something to keep
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid()) {
        found(d, VERDICT_ERROR, CACHE_DIR " %s",
              S_ISDIR(st.st_mode) ? "is not root's" : "is no directory");
        remedy(d, "see whose it is, and remove it: it is made anew");
    } else if (st.st_mode & 077) {
        found(d, VERDICT_ERROR, CACHE_DIR " has mode %04o: workers do not look into it",
              st.st_mode & 07777);
        remedy(d, st.st_mode & 022
                      ? "others could write there: empty it, then chmod 0700 " CACHE_DIR
                      : "chmod 0700 " CACHE_DIR);
    } else if (statvfs(path, &fs) == 0 && fs.f_flag & ST_NOEXEC) {
        found(d, VERDICT_WARNING,
              CACHE_DIR " is on a file system mounted noexec: every container "
                        "compiles its module");
        remedy(d, "mount another file system there, without noexec");
    } else {
        check_size(d, path);
    }
}

// ---- all ----------------------------------------------------------------------------------------

void check_wasm(struct doctor *d)
{
    const char *only = d->ctl->options->kind;
    struct wasm w = {.d = d, .doc = handlers_document(d)};
    if (only && strcmp(only, "wasm") != 0)
        return;
    see_whether_wanted(&w);
    find_worker(&w);
    check_worker(&w);
    if (w.wanted && w.engines && *w.engines) {
        check_configured(&w);
        handlers_each(w.doc, check_handler, &w);
    }
    check_cache(d);
    free(w.engines);
}
