// kuasar-ctl doctor: is everything there that pods need, and what to do about what is not.
#include "ctl/doctor.h"
#include "ctl/json.h"
#include "ctl/text.h"

static void print_text(const struct doctor *d, bool quiet, FILE *out)
{
    size_t counts[3] = {0};
    for (size_t i = 0; i < d->n; i++) {
        counts[d->list[i].verdict]++;
        if (!quiet || d->list[i].verdict != VERDICT_OK)
            text_finding(&d->list[i], out);
    }
    fprintf(out, "%zu in order, %zu warnings, %zu errors\n", counts[VERDICT_OK],
            counts[VERDICT_WARNING], counts[VERDICT_ERROR]);
}

static void print_json(const struct doctor *d, bool quiet, FILE *out)
{
    json_object *o = json_object_new_object(), *list = json_object_new_array();
    for (size_t i = 0; i < d->n; i++) {
        const struct finding *f = &d->list[i];
        if (quiet && f->verdict == VERDICT_OK)
            continue;
        json_object *item = json_object_new_object();
        json_add_text(item, "verdict", verdict_name(f->verdict));
        json_add_text(item, "area", f->area);
        json_add_text(item, "text", f->text);
        json_add_text(item, "remedy", f->remedy);
        json_object_array_add(list, item);
    }
    json_add(o, "findings", list);
    json_print(o, true, out);
}

static int run(struct ctl *ctl, struct error *err)
{
    struct doctor d;
    const struct options *o = ctl->options;
    int code = EXIT_ERROR;
    if (doctor_run(&d, ctl, o->root ? o->root : "", err) == 0) {
        if (o->json)
            print_json(&d, o->quiet, ctl->out);
        else
            print_text(&d, o->quiet, ctl->out);
        code = doctor_exit(&d);
    }
    doctor_done(&d);
    return code;
}

const struct command_entry cmd_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "Look for what is wrong with this node, and say what to do about it.",
    .description =
        "containerd, its configuration and handlers, our daemons and their files, OCI "
        "runtimes,\nWebAssembly engines, kernel, cgroups. The exit status is that of the worst "
        "finding: 0 all in\norder, 1 warnings, 2 errors.",
    .letters = "qcR",
    .run = run,
};
