#include "ctl/handlers.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

#define RUNTIMES "plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes"

const struct document *handlers_document(const struct doctor *d)
{
    return d->merged_known ? &d->merged : &d->files;
}

void handlers_each(const struct document *doc, void (*fn)(const char *name, void *arg), void *arg)
{
    document_each(doc, RUNTIMES, fn, arg);
}

void handlers_quote(char *to, size_t size, const char *name)
{
    bool bare = name[strcspn(name, ". \t")] == '\0';
    snprintf(to, size, bare ? "%s" : "\"%s\"", name);
}

int handlers_table(const char *name, char *out, size_t size)
{
    char quoted[200];
    handlers_quote(quoted, sizeof quoted, name);
    return path_format(out, size, RUNTIMES ".%s", quoted);
}

const char *handlers_value(const struct document *doc, const char *name, const char *key)
{
    char table[HANDLER_TABLE_MAX];
    const char *text = handlers_table(name, table, sizeof table) == 0
                           ? document_getf(doc, "%s.%s", table, key)
                           : NULL;
    return text ? text : "";
}

bool handlers_is_ours(const struct document *doc, const char *name)
{
    const char *sandboxer = handlers_value(doc, name, "sandboxer");
    return *sandboxer && strcmp(sandboxer, "podsandbox") != 0 && strcmp(sandboxer, "shim") != 0;
}
