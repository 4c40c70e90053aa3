#include "sandbox/selinux.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"

#define FIELD "linux.security_context.selinux_options"
// Categories of a policy for containers, and how often two of them are drawn until no other pod has
// them: of half a million pairs SANDBOX_COUNT_MAX may be taken.
#define CATEGORIES 1024u
#define DRAWS_MAX  64
// Longest part of a label, and file of the configuration.
#define PART_MAX 256
#define FILE_MAX (64u * 1024)
#define PARTS    4

const struct selinux_places selinux_host = {.fs = "/sys/fs/selinux", .etc = "/etc/selinux"};

enum { USER, ROLE, TYPE, LEVEL };

struct context {
    char part[PARTS][PART_MAX];
};

// ---- the host's ---------------------------------------------------------------------------------

// The value of the line "key=value" of a file, without spaces and quotes. False if there is none.
static bool find_value(const char *path, const char *key, char out[PARTS * PART_MAX])
{
    struct buf b;
    bool found = false;
    buf_init(&b, FILE_MAX);
    const char *p = file_read_at(AT_FDCWD, path, &b) == 0 ? buf_cstr(&b) : NULL;
    while (p && *p && !found) {
        size_t len = strcspn(p, "\n");
        const char *equal = memchr(p, '=', len);
        size_t key_len = equal ? strcspn(p, " \t=") : 0;
        if (equal && key_len == strlen(key) && strncmp(p, key, key_len) == 0) {
            const char *value = equal + 1 + strspn(equal + 1, " \t\"");
            size_t n = strcspn(value, " \t\"\n");
            found = n > 0 && n < PARTS * PART_MAX;
            snprintf(out, PARTS * PART_MAX, "%.*s", found ? (int)n : 0, value);
        }
        p += len + (p[len] != '\0');
    }
    buf_free(&b);
    return found;
}

// Into its parts; what is behind the third colon is the level. False for what is no label.
static bool split(const char *label, struct context *ret)
{
    *ret = (struct context){0};
    for (int i = 0; i < PARTS; i++) {
        size_t n = i == LEVEL ? strlen(label) : strcspn(label, ":");
        if (n == 0 || n >= PART_MAX)
            return false;
        memcpy(ret->part[i], label, n);
        label += n + (i != LEVEL && label[n] == ':');
    }
    return true;
}

// What processes of containers have by the policy of this host. False: there is no SELinux, or
// nothing for containers in it.
static bool find_default(const struct selinux_places *where, struct context *ret)
{
    char path[PATH_MAX], policy[PARTS * PART_MAX], label[PARTS * PART_MAX];
    // Only a kernel in which it is at work has the file.
    if (path_format(path, sizeof path, "%s/enforce", where->fs) < 0 || access(path, R_OK) < 0 ||
        path_format(path, sizeof path, "%s/config", where->etc) < 0)
        return false;
    if (!find_value(path, "SELINUXTYPE", policy))
        strcpy(policy, "targeted");
    return ident_valid(policy) &&
           path_format(path, sizeof path, "%s/%s/contexts/lxc_contexts", where->etc, policy) == 0 &&
           find_value(path, "process", label) && split(label, ret);
}

// ---- a pod's ------------------------------------------------------------------------------------

struct search {
    const char *level;
    bool found;
};

static bool compare(const char *id, void *value, void *arg)
{
    const struct sandbox *s = value;
    struct search *search = arg;
    struct context c;
    json_object *label = NULL;
    if (s->record.labels && json_object_object_get_ex(s->record.labels, SELINUX_LABEL, &label) &&
        split(json_object_get_string(label), &c))
        search->found = strcmp(c.part[LEVEL], search->level) == 0;
    return !search->found;
}

// Two categories that no other pod has, with the sensitivity of the default.
static int draw_level(struct sandbox_manager *m, char level[PART_MAX], struct error *err)
{
    char sensitivity[PART_MAX / 2];
    snprintf(sensitivity, sizeof sensitivity, "%.*s", (int)strcspn(level, ":"), level);
    for (int i = 0; i < DRAWS_MAX; i++) {
        uint16_t drawn[2];
        struct search search = {.level = level};
        if (getrandom(drawn, sizeof drawn, 0) != sizeof drawn)
            return error_errno(err, errno, "random numbers");
        unsigned a = drawn[0] % CATEGORIES, b = drawn[1] % CATEGORIES;
        if (a == b)
            continue;
        snprintf(level, PART_MAX, "%s:c%u,c%u", sensitivity, a < b ? a : b, a < b ? b : a);
        map_each(m->sandboxes, compare, &search);
        if (!search.found)
            return 0;
    }
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no pair of SELinux categories is free");
}

// A part that the pod has chosen, if it has.
static int choose(struct context *c, int part, const char *name, const char *value,
                  struct error *err)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t len = value ? strlen(value) : 0;
    size_t good = 0;
    while (good < len && (strchr(letters, value[good]) ||
                          (part == LEVEL && (value[good] == ':' || value[good] == ','))))
        good++;
    if (good < len || len >= PART_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         FIELD ".%s: \"%.100s\" is no part of an SELinux label", name, value);
    if (len)
        memcpy(c->part[part], value, len + 1);
    return 0;
}

static int choose_all(struct context *c, const struct sandbox_request *q, bool *ret_level,
                      struct error *err)
{
    const Cri__LinuxSandboxSecurityContext *sc =
        q->config && q->config->linux_ ? q->config->linux_->security_context : NULL;
    const Cri__SELinuxOption *o = sc ? sc->selinux_options : NULL;
    *ret_level = o && o->level && *o->level;
    if (!o)
        return 0;
    return choose(c, USER, "user", o->user, err) < 0 || choose(c, ROLE, "role", o->role, err) < 0 ||
                   choose(c, TYPE, "type", o->type, err) < 0 ||
                   choose(c, LEVEL, "level", o->level, err) < 0
               ? -1
               : 0;
}

int selinux_plan(const struct selinux_places *where, struct sandbox_manager *m,
                 struct sandbox_record *r, const struct sandbox_request *q, struct error *err)
{
    char label[PARTS * PART_MAX];
    struct context c;
    bool own_level = false;
    // Nobody else says it.
    if (r->labels)
        json_object_object_del(r->labels, SELINUX_LABEL);
    if (!find_default(where, &c))
        return 0;
    if (choose_all(&c, q, &own_level, err) < 0 ||
        (!own_level && draw_level(m, c.part[LEVEL], err) < 0))
        return -1;
    snprintf(label, sizeof label, "%s:%s:%s:%s", c.part[USER], c.part[ROLE], c.part[TYPE],
             c.part[LEVEL]);
    json_object *value = json_object_new_string(label);
    if (!r->labels)
        r->labels = json_object_new_object();
    if (value && r->labels && json_object_object_add(r->labels, SELINUX_LABEL, value) == 0)
        return 0;
    json_object_put(value);
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
}
