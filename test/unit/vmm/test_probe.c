// Which accelerator is taken, with shell scripts in the place of monitors and their guests.
#include <criterion/criterion.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/services.h"
#include "base/log.h"
#include "vmm/probe.h"

#define NOBODY 65534

static char dir[64], kernel[96], pids[96];
static struct error err;
static unsigned tried;

static void set_up(void)
{
    strcpy(dir, "/tmp/kuasar-probe-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(chmod(dir, 0777), 0); // the scripts are nobody's
    snprintf(kernel, sizeof kernel, "%s/kernel", dir);
    snprintf(pids, sizeof pids, "%s/pids", dir);
    fclose(fopen(kernel, "w"));
    log_setup("test", LOG_LEVEL_ERROR);
    tried = 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void tear_down(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(probe, .init = set_up, .fini = tear_down, .timeout = 60);

// The accelerator's name is the script of a stand-in for the monitor.
static void command(const struct vmm_machine *m, struct vmm_command *c)
{
    tried++;
    cr_assert(m->bare && m->n_nics == 0 && m->vcpus == 1);
    cr_assert_str_eq(m->parameters, GUEST_PROBE_PARAMETER);
    vmm_word(c, "/bin/sh");
    vmm_word(c, "-c");
    vmm_word(c, "echo $$ >>%s; %s", pids, m->accelerator);
}

#define ENDS   "echo KVM: entry failed"
#define SILENT "exec sleep 600"
#define RUNS   "echo Linux; echo '" GUEST_PROBE_MARK "'; exec sleep 600"
#define CHATTY "exec yes"

static const char *found_by(const char *const *accelerators)
{
    const struct vmm_ops ops = {
        .name = "stand-in", .accelerators = accelerators, .command = command};
    struct vmm_machine m = {.program = "/bin/sh", .kernel = kernel, .initrd = "/bin/sh"};
    cr_assert_eq(probe_accelerator(&ops, dir, NOBODY, &m, &err), 0, "%s", err.text);
    return m.accelerator;
}

// What was run for a trial is over.
static void nothing_runs(void)
{
    FILE *f = fopen(pids, "r");
    int pid = 0, n = 0;
    for (; f && fscanf(f, "%d", &pid) == 1; n++)
        cr_expect(kill(pid, 0) < 0, "%d", pid);
    if (f)
        fclose(f);
    cr_expect_eq((unsigned)n, tried);
}

Test(probe, the_first_that_runs_a_guest)
{
    static const char *const all[] = {RUNS, "the last", NULL};
    cr_expect_str_eq(found_by(all), RUNS);
    nothing_runs();
}

Test(probe, what_ends_or_talks_without_end_or_says_nothing_runs_no_guest)
{
    static const char *const all[] = {ENDS, CHATTY, SILENT, "the last", NULL};
    cr_expect_str_eq(found_by(all), "the last");
    cr_expect_eq(tried, 3, "the last is not tried");
    nothing_runs();
}

Test(probe, the_answer_is_kept_while_the_files_are_the_same)
{
    static const char *const all[] = {ENDS, "the last", NULL}, *const others[] = {"another", NULL};
    found_by(all);
    cr_expect_str_eq(found_by(all), "the last");
    cr_expect_eq(tried, 1);
    // Another kernel: who knows.
    char fresh[112];
    snprintf(fresh, sizeof fresh, "%s.new", kernel);
    fclose(fopen(fresh, "w"));
    cr_assert_eq(rename(fresh, kernel), 0);
    found_by(all);
    cr_expect_eq(tried, 2);
    // A file that was written by another version, which had other names.
    cr_expect_str_eq(found_by(others), "another");
    nothing_runs();
}

Test(probe, a_file_that_is_missing_is_named)
{
    static const char *const all[] = {RUNS, "the last", NULL};
    const struct vmm_ops ops = {.name = "stand-in", .accelerators = all, .command = command};
    struct vmm_machine m = {.program = "/no/such/monitor", .kernel = kernel, .initrd = kernel};
    cr_assert_eq(probe_accelerator(&ops, dir, NOBODY, &m, &err), -1);
    cr_expect_eq(err.status, STATUS_NOT_FOUND);
    cr_expect(strstr(err.text, "/no/such/monitor"), "%s", err.text);
    cr_expect_eq(tried, 0);
}

Test(probe, what_is_configured_or_has_no_choice_is_not_tried)
{
    static const char *const all[] = {RUNS, "the last", NULL};
    const struct vmm_ops ops = {.name = "stand-in", .accelerators = all, .command = command};
    const struct vmm_ops none = {.name = "stand-in", .command = command};
    struct vmm_machine m = {.accelerator = "configured"}, other = {0};
    cr_assert_eq(probe_accelerator(&ops, dir, NOBODY, &m, &err), 0);
    cr_expect_str_eq(m.accelerator, "configured");
    cr_assert_eq(probe_accelerator(&none, dir, NOBODY, &other, &err), 0);
    cr_expect_null(other.accelerator);
    cr_expect_eq(tried, 0);
}
