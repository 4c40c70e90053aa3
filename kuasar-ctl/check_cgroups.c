// doctor: the cgroup hierarchies, and the controllers in them.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "ctl/doctor.h"

#define TOP "/sys/fs/cgroup"

// Controllers, by their names in both versions.
static const struct controller {
    const char *v1, *v2;
    enum verdict without;
} controllers[] = {
    {"memory", "memory", VERDICT_ERROR}, {"cpu", "cpu", VERDICT_ERROR},
    {"pids", "pids", VERDICT_ERROR},     {"cpuset", "cpuset", VERDICT_WARNING},
    {"blkio", "io", VERDICT_WARNING},    {"freezer", NULL, VERDICT_WARNING},
    {"devices", NULL, VERDICT_WARNING},
};

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += len)
        if ((at == text || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
            return true;
    return false;
}

static bool has_v1(const struct doctor *d, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, TOP "/%s/cgroup.procs", name);
    return doctor_exists(d, path);
}

static void missing(struct doctor *d, const struct controller *c, const char *name)
{
    found(d, c->without, "the %s controller is not there: pods have no limits and numbers of it",
          name);
    remedy(d, strcmp(name, "memory") == 0 ? "boot with cgroup_enable=memory, or mount it"
                                          : "mount it, or build it into the kernel");
}

static void check_v2(struct doctor *d, const char *available)
{
    found(d, VERDICT_OK, "version 2: %s", available);
    for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
        if (controllers[i].v2 && !has_word(available, controllers[i].v2))
            missing(d, &controllers[i], controllers[i].v2);
}

static void check_v1(struct doctor *d)
{
    char text[512] = "";
    bool hybrid = doctor_exists(d, TOP "/unified/cgroup.controllers");
    for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
        if (has_v1(d, controllers[i].v1))
            snprintf(text + strlen(text), sizeof text - strlen(text), " %s", controllers[i].v1);
    if (!*text) {
        found(d, VERDICT_ERROR, "no cgroup hierarchy is mounted at " TOP);
        remedy(d, "mount -t cgroup2 none " TOP);
        return;
    }
    found(d, VERDICT_OK, "version 1%s:%s", hybrid ? ", hybrid (version 2 without controllers)" : "",
          text);
    for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
        if (!has_v1(d, controllers[i].v1))
            missing(d, &controllers[i], controllers[i].v1);
}

void check_cgroups(struct doctor *d)
{
    char available[512];
    if (doctor_read(d, TOP "/cgroup.controllers", available, sizeof available))
        check_v2(d, available);
    else
        check_v1(d);
}
