#include "ctl/choose.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/ident.h"
#include "ctl/table.h"

// Candidates that an error lists.
#define LISTED_MAX 5

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

int choose_check(const char *argument, struct error *err)
{
    char shown[128];
    text_clean(shown, sizeof shown, argument);
    size_t len = strlen(argument);
    if (!len)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "ID: is empty; give an id or the beginning of one");
    if (len > IDENT_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "ID: \"%s...\" has %zu characters, an id has at most %d", shown, len,
                         IDENT_MAX);
    if (strspn(argument, alphabet) != len)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "ID: \"%s\": an id has only letters, digits, '.', '_' and '-'%s", shown,
                         strchr(argument, '/') ? "; give a namespace with --namespace" : "");
    return 0;
}

static bool counts(const struct choice *c, const char *ns)
{
    return !ns || strcmp(c->ns, ns) == 0;
}

static bool matches(const struct choice *c, const char *ns, const char *argument, bool whole)
{
    if (!counts(c, ns))
        return false;
    return whole ? strcmp(c->id, argument) == 0 : strncmp(c->id, argument, strlen(argument)) == 0;
}

static int ambiguous(const struct choice *choices, size_t n, const char *ns, const char *argument,
                     bool whole, struct error *err)
{
    struct buf list;
    size_t found = 0;
    buf_init(&list, LISTED_MAX * (size_t)(3 * IDENT_MAX + 8));
    for (size_t i = 0; i < n; i++)
        if (matches(&choices[i], ns, argument, whole) && found++ < LISTED_MAX)
            buf_printf(&list, "%s%s %s%s%s", found > 1 ? ", " : "", choices[i].kind, choices[i].ns,
                       *choices[i].ns ? "/" : "", choices[i].id);
    const char *text = buf_cstr(&list);
    error_set(err, STATUS_FAILED_PRECONDITION, "ID: \"%s\" means several (%s%s); give %s", argument,
              text ? text : "", found > LISTED_MAX ? ", ..." : "",
              whole ? "--namespace or --kind as well" : "more of the id");
    buf_free(&list);
    return -1;
}

int choose(const struct choice *choices, size_t n, const char *ns, const char *argument,
           size_t *ret_index, struct error *err)
{
    if (choose_check(argument, err) < 0)
        return -1;
    for (int whole = 1; whole >= 0; whole--) {
        size_t found = 0;
        for (size_t i = 0; i < n; i++)
            if (matches(&choices[i], ns, argument, whole)) {
                found++;
                *ret_index = i;
            }
        if (found == 1)
            return 0;
        if (found)
            return ambiguous(choices, n, ns, argument, whole, err);
    }
    return error_set(err, STATUS_NOT_FOUND,
                     "ID: no sandbox or container begins with \"%s\"%s%s; kuasar-ctl list prints "
                     "what there is",
                     argument, ns ? " in namespace " : "", ns ? ns : "");
}
