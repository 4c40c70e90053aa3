// kuasar-ctl show ID: everything about one sandbox or container.
#include <stdlib.h>

#include "base/cleanup.h"
#include "ctl/choose.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/text.h"

static const struct item *choose_item(const struct view *v, const struct options *o,
                                      struct error *err)
{
    size_t index;
    _cleanup_free_ struct choice *choices = calloc(v->n_items + 1, sizeof *choices);
    if (!choices) {
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return NULL;
    }
    for (size_t i = 0; i < v->n_items; i++)
        choices[i] = (struct choice){v->items[i].source->kind->name, v->items[i].entry->namespace_,
                                     v->items[i].entry->id};
    if (choose(choices, v->n_items, o->ns, o->arguments[0], &index, err) < 0)
        return NULL;
    return &v->items[index];
}

static int show(struct ctl *ctl, struct view *v, struct error *err)
{
    const struct item *item = choose_item(v, ctl->options, err);
    const Internal__Entry *entry = item ? view_detail(v, item, ctl, err) : NULL;
    struct look look;
    if (!entry)
        return EXIT_ERROR;
    look_at(&look, entry->exited_at ? 0 : entry->pid, entry->cgroup);
    if (ctl->options->json) {
        json_object *o = json_of_entry(item->source, entry);
        json_add(o, "now", json_of_look(&look));
        json_print(o, true, ctl->out);
    } else {
        text_show(item->source, entry, &look, ctl->out);
    }
    look_done(&look);
    return item->source->answered ? EXIT_OK : EXIT_WARNING;
}

static int run(struct ctl *ctl, struct error *err)
{
    struct view view;
    int code = EXIT_ERROR;
    if (choose_check(ctl->options->arguments[0], err) < 0)
        return EXIT_USAGE;
    if (view_gather(&view, ctl, err) == 0) {
        code = show(ctl, &view, err);
        if (code != EXIT_OK)
            text_complaints(&view, stderr);
    }
    view_done(&view);
    return code;
}

const struct command_entry cmd_show = {
    .name = "show",
    .arguments = "ID",
    .summary = "Print everything about one sandbox or container.",
    .description = "ID is an id, or a prefix that only one id has. State, processes, what its "
                   "daemon and the\njournal know of it, its namespaces and cgroup as the kernel "
                   "shows them now, and how long\nthe steps of its last operations took.",
    .letters = "n",
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
