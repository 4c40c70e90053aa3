#include "shim/options.h"

#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"

// A flag. It takes a value (offset of the string it is stored in), or it is a switch that stands
// for an action. Neither: known and of no interest.
static const struct flag {
    const char *name;
    size_t offset;
    bool takes_value;
    enum shim_action action;
} flags[] = {
    {"namespace", offsetof(struct shim_options, name_space), true, SHIM_NONE},
    {"id", offsetof(struct shim_options, id), true, SHIM_NONE},
    {"bundle", offsetof(struct shim_options, bundle), true, SHIM_NONE},
    {"address", 0, true, SHIM_NONE},
    {"publish-binary", 0, true, SHIM_NONE},
    {"socket", 0, true, SHIM_NONE},
    {"debug", 0, false, SHIM_NONE},
    {"info", 0, false, SHIM_INFO},
    {"v", 0, false, SHIM_VERSION},
    {"version", 0, false, SHIM_VERSION},
    {"h", 0, false, SHIM_HELP},
    {"help", 0, false, SHIM_HELP},
};

static const struct flag *find_flag(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        if (strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0)
            return &flags[i];
    }
    return NULL;
}

static enum shim_action action_of(const char *word)
{
    if (strcmp(word, "start") == 0)
        return SHIM_START;
    return strcmp(word, "delete") == 0 ? SHIM_DELETE : SHIM_NONE;
}

static bool is_false(const char *value)
{
    static const char *const words[] = {"false", "0", "f", "F", "FALSE", "False"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(value, words[i]) == 0)
            return true;
    }
    return false;
}

// Takes the flag argv[i]. Returns how many arguments it took.
static int take_flag(struct shim_options *o, int argc, char *const argv[], int i)
{
    const char *name = argv[i] + (argv[i][1] == '-' ? 2 : 1);
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    const char *next = i + 1 < argc ? argv[i + 1] : NULL;
    const struct flag *f = find_flag(name, len);

    // An unknown flag is taken to have a value if something follows that looks like one.
    bool wants = f ? f->takes_value : next && next[0] != '-' && action_of(next) == SHIM_NONE;
    int used = 1;
    if (wants && !value && next) {
        value = next;
        used = 2;
    }
    if (f && f->takes_value && f->offset && value)
        *(const char **)(void *)((char *)o + f->offset) = value;
    if (f && f->action != SHIM_NONE && !(value && is_false(value)))
        o->action = f->action;
    return used;
}

void shim_options_parse(struct shim_options *o, int argc, char *const argv[])
{
    *o = (struct shim_options){.name_space = "", .id = "", .bundle = ""};
    for (int i = 1; i < argc;) {
        if (argv[i][0] == '-' && argv[i][1] != '\0' && strcmp(argv[i], "--") != 0) {
            i += take_flag(o, argc, argv, i);
            continue;
        }
        enum shim_action action = action_of(argv[i]);
        if (o->action == SHIM_NONE)
            o->action = action;
        if (action == SHIM_NONE && strcmp(argv[i], "--") != 0)
            o->unknown = argv[i];
        i++;
    }
}
