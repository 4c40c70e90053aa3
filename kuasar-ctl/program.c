#include "ctl/program.h"

#include <stdlib.h>
#include <string.h>

#include "event/command.h"

struct running {
    struct ev_loop *loop;
    struct program *ret;
    bool over;
};

static void on_end(const struct command_result *result, void *arg)
{
    struct running *r = arg;
    r->ret->code = result->code;
    r->ret->timed_out = result->timed_out;
    r->ret->out = strdup(result->out ? result->out : "");
    r->ret->err = strdup(result->err ? result->err : "");
    r->ret->cut = (result->out && strlen(result->out) >= COMMAND_OUTPUT_MAX) ||
                  (result->err && strlen(result->err) >= COMMAND_OUTPUT_MAX);
    r->over = true;
    ev_break(r->loop, EVBREAK_ALL);
}

int program_run(const struct ctl *ctl, const char *const *argv, double timeout, struct program *ret,
                struct error *err)
{
    static const char *const env[] = {"PATH=" PROGRAM_PATH, "LANG=C.UTF-8", NULL};
    struct running r = {.loop = ctl->loop, .ret = ret};
    const struct command_spec spec = {.argv = argv,
                                      .env = env,
                                      .cwd = "/",
                                      .stdin_fd = -1,
                                      .stdout_fd = -1,
                                      .stderr_fd = -1,
                                      .capture_stdout = true,
                                      .timeout = timeout,
                                      .mortal = true};
    *ret = (struct program){0};
    if (!command_start(ctl->loop, ctl->reaper, &spec, on_end, &r, err))
        return -1;
    while (!r.over)
        ev_run(ctl->loop, 0);
    return ret->out && ret->err ? 0 : error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
}

void program_done(struct program *p)
{
    free(p->out);
    free(p->err);
    *p = (struct program){0};
}

const char *program_last_line(char *text)
{
    size_t len = strlen(text);
    while (len && strchr("\r\n \t", text[len - 1]))
        text[--len] = '\0';
    const char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}
