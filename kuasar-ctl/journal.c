#include "ctl/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/message.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "sandbox/inspect.h"
#include "task/record.h"

// Calls fn for every name in a directory that is no hidden one.
static void each_name(const char *dir, const struct journal_visitor *v,
                      void (*fn)(const char *dir, const char *name,
                                 const struct journal_visitor *v))
{
    struct error err = {0};
    DIR *d = opendir(dir);
    if (!d && errno != ENOENT) {
        error_errno(&err, errno, "cannot be read");
        v->broken(dir, &err, v->arg);
    }
    for (const struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            fn(dir, e->d_name, v);
    if (d)
        closedir(d);
}

// Hands over an entry in memory of its own, made as if a daemon had sent it.
static void hand_over(struct inspect_entry *entry, const char *path,
                      const struct journal_visitor *v)
{
    struct error err = {0};
    size_t len;
    ProtobufCMessage *msg = NULL;
    _cleanup_free_ uint8_t *data =
        entry->memory->failed ? NULL : api_message_encode(&entry->msg.base, &len);
    if (!data)
        error_set(&err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    else
        msg = api_message_decode(&internal__entry__descriptor, data, len, &err);
    if (msg)
        v->entry((Internal__Entry *)(void *)msg, v->arg);
    else
        v->broken(path, &err, v->arg);
}

static void read_sandbox(const char *dir, const char *name, const struct journal_visitor *v)
{
    char path[PATH_MAX];
    struct error err = {0};
    struct sandbox_record record;
    struct inspect_memory memory = {0};
    struct inspect_entry entry;
    if (path_format(path, sizeof path, "%s/%s", dir, name) < 0)
        return;
    if (record_load(&record, path, name, &err) < 0) {
        v->broken(path, &err, v->arg);
        return;
    }
    inspect_entry_init(&entry, &memory, true);
    sandbox_record_describe(&record, path, &entry);
    hand_over(&entry, path, v);
    inspect_memory_done(&memory);
    record_done(&record);
}

static int load_task(const char *path, struct task_record *ret, struct error *err)
{
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, TASK_RECORD_MAX);
    int e = file_read_at(AT_FDCWD, path, &text);
    if (e < 0)
        return error_errno(err, e, "cannot be read");
    return task_record_parse(text.data, text.len, ret, err);
}

static void read_task(const char *dir, const char *name, const struct journal_visitor *v)
{
    char path[PATH_MAX];
    struct error err = {0};
    struct task_record record;
    struct inspect_memory memory = {0};
    struct inspect_entry entry;
    size_t len = strlen(name);
    if (len < 6 || strcmp(name + len - 5, ".json") != 0 ||
        path_format(path, sizeof path, "%s/%s", dir, name) < 0)
        return;
    if (load_task(path, &record, &err) < 0) {
        v->broken(path, &err, v->arg);
        return;
    }
    inspect_entry_init(&entry, &memory, true);
    task_record_describe(&record, &entry);
    hand_over(&entry, path, v);
    inspect_memory_done(&memory);
    task_record_done(&record);
}

static void read_namespace(const char *dir, const char *name, const struct journal_visitor *v)
{
    char path[PATH_MAX];
    struct stat st;
    if (path_format(path, sizeof path, "%s/%s", dir, name) == 0 && lstat(path, &st) == 0 &&
        S_ISDIR(st.st_mode))
        each_name(path, v, read_task);
}

void journal_read(const struct kind *kind, enum role role, const struct journal_visitor *v)
{
    static const struct {
        const char *dir;
        void (*read)(const char *dir, const char *name, const struct journal_visitor *v);
    } journals[] = {
        [ROLE_SANDBOXER] = {"sandboxes", read_sandbox},
        [ROLE_TASK] = {"tasks", read_namespace},
    };
    char dir[PATH_MAX];
    if (path_format(dir, sizeof dir, "%s/%s", kind->dir, journals[role].dir) == 0)
        each_name(dir, v, journals[role].read);
}
