// kuasar-ctl list: the sandboxes and containers of every daemon.
#include <time.h>

#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/text.h"

static int run(struct ctl *ctl, struct error *err)
{
    struct view view;
    int code = EXIT_ERROR;
    if (view_gather(&view, ctl, err) == 0) {
        if (ctl->options->json)
            json_print(json_of_view(&view), true, ctl->out);
        else
            text_list(&view, ctl->options->long_ids, time(NULL), ctl->out);
        text_complaints(&view, stderr);
        code = view_complete(&view) ? EXIT_OK : EXIT_WARNING;
    }
    view_done(&view);
    return code;
}

const struct command_entry cmd_list = {
    .name = "list",
    .alias = "ls",
    .arguments = "",
    .summary = "Print the sandboxes of this node, each with its containers.",
    .description = "Where a daemon does not answer, its records are read instead, and the exit "
                   "status is 1.",
    .letters = "l",
    .run = run,
};
