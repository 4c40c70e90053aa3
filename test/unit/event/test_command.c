#include "event/command.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ev_loop *loop;
static struct reaper *reaper;

static void setup(void)
{
    loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    reaper = reaper_new(loop);
    signal(SIGPIPE, SIG_IGN);
}

static void teardown(void)
{
    reaper_free(reaper);
    ev_loop_destroy(loop);
}

TestSuite(command, .init = setup, .fini = teardown, .timeout = 20);

struct outcome {
    int n;
    uint32_t code;
    bool timed_out;
    char *out, *err;
};

static void on_result(const struct command_result *result, void *arg)
{
    struct outcome *o = arg;
    o->n++;
    o->code = result->code;
    o->timed_out = result->timed_out;
    o->out = strdup(result->out);
    o->err = strdup(result->err);
}

static void on_late(struct ev_loop *l, ev_timer *w, int revents)
{
    *(bool *)w->data = true;
}

static bool run_until(const int *counter, int want, double limit)
{
    bool late = false;
    ev_timer timer;
    ev_timer_init(&timer, on_late, limit, 0.);
    timer.data = &late;
    ev_now_update(loop);
    ev_timer_start(loop, &timer);
    while (*counter < want && !late)
        ev_run(loop, EVRUN_ONCE);
    ev_timer_stop(loop, &timer);
    return *counter >= want;
}

static void forget(struct outcome *o)
{
    free(o->out);
    free(o->err);
    *o = (struct outcome){0};
}

// A spec that captures both outputs and has no descriptors.
#define SPEC(...)                                                                                  \
    {                                                                                              \
        FDS(-1, -1, -1), .capture_stdout = true, __VA_ARGS__                                       \
    }
#define FDS(in, out, err) .stdin_fd = in, .stdout_fd = out, .stderr_fd = err

// Runs a shell script to its end.
static void run_script(const char *script, struct command_spec spec, struct outcome *o)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct error err = {0};
    spec.argv = argv;
    cr_assert_not_null(command_start(loop, reaper, &spec, on_result, o, &err), "%s", err.text);
    cr_assert_eq(o->n, 0, "never from inside command_start");
    cr_assert(run_until(&o->n, 1, 10));
}

static int open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

Test(command, reports_status_and_output)
{
    struct outcome o = {0};
    int before = open_fds();
    run_script("echo out; echo err >&2; exit 3", (struct command_spec)SPEC(), &o);
    cr_assert_eq(o.code, 3);
    cr_assert_str_eq(o.out, "out\n");
    cr_assert_str_eq(o.err, "err\n");
    cr_assert_not(o.timed_out);
    cr_assert_eq(open_fds(), before);
    forget(&o);
}

Test(command, signal_death_is_128_plus)
{
    struct outcome o = {0};
    run_script("kill -TERM $$", (struct command_spec)SPEC(), &o);
    cr_assert_eq(o.code, 143);
    forget(&o);
}

Test(command, missing_program_is_named)
{
    const char *const argv[] = {"/nonexistent/runc", NULL};
    struct command_spec spec = SPEC(.argv = argv);
    struct error err = {0};
    int before = open_fds();
    cr_assert_null(command_start(loop, reaper, &spec, on_result, NULL, &err));
    cr_assert_eq(err.status, STATUS_NOT_FOUND);
    cr_assert(strstr(err.text, "/nonexistent/runc"), "%s", err.text);
    cr_assert_eq(open_fds(), before);
    const char *const plain[] = {"no-such-program-anywhere", NULL};
    spec.argv = plain;
    cr_assert_null(command_start(loop, reaper, &spec, on_result, NULL, &err));
    cr_assert_eq(err.status, STATUS_NOT_FOUND);
    cr_assert(strstr(err.text, plain[0]), "%s", err.text);
    const char *const dir[] = {"/etc", NULL};
    spec.argv = dir;
    cr_assert_null(command_start(loop, reaper, &spec, on_result, NULL, &err));
    cr_assert_eq(err.status, STATUS_PERMISSION_DENIED);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "no zombie is left");
}

Test(command, bad_specs_are_refused)
{
    const char *const none[] = {NULL}, *const empty[] = {"", NULL}, *const good[] = {"true", NULL};
    struct error err = {0};
    struct command_spec spec = SPEC(.argv = none);
    cr_assert_null(command_start(loop, reaper, &spec, on_result, NULL, &err));
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    spec.argv = empty;
    cr_assert_null(command_start(loop, reaper, &spec, on_result, NULL, &err));
    spec.argv = good;
    spec.input = "x";
    spec.input_len = COMMAND_INPUT_MAX + 1;
    cr_assert_null(command_start(loop, reaper, &spec, on_result, NULL, &err));
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    spec.input_len = 1;
    spec.stdin_fd = 0;
    cr_assert_null(command_start(loop, reaper, &spec, on_result, NULL, &err));
    spec = (struct command_spec){.argv = good, FDS(-1, 999, -1)};
    cr_assert_null(command_start(loop, reaper, &spec, on_result, NULL, &err));
}

Test(command, working_directory_and_environment)
{
    struct outcome o = {0};
    const char *const env[] = {"A=1", "PATH=/usr/bin:/bin", NULL};
    run_script("pwd; echo $A; echo $HOME", (struct command_spec)SPEC(.cwd = "/usr", .env = env),
               &o);
    cr_assert_str_eq(o.out, "/usr\n1\n\n");
    forget(&o);
    const char *const argv[] = {"true", NULL};
    struct command_spec spec = SPEC(.argv = argv, .cwd = "/nonexistent");
    struct error err = {0};
    cr_assert_null(command_start(loop, reaper, &spec, on_result, NULL, &err));
    cr_assert(strstr(err.text, "in /nonexistent"), "%s", err.text);
}

Test(command, output_beyond_the_limit_is_read_and_dropped)
{
    struct outcome o = {0};
    run_script(
        "head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero | tr '\\0' y >&2; "
        "exit 4",
        (struct command_spec)SPEC(), &o);
    cr_assert_eq(o.code, 4);
    cr_assert_eq(strlen(o.out), COMMAND_OUTPUT_MAX);
    cr_assert_eq(strlen(o.err), COMMAND_OUTPUT_MAX);
    cr_assert_eq(o.err[0], 'y');
    forget(&o);
}

Test(command, last_output_before_the_end_is_not_lost)
{
    for (int i = 0; i < 50; i++) {
        struct outcome o = {0};
        run_script("head -c 60000 /dev/zero | tr '\\0' x; printf end", (struct command_spec)SPEC(),
                   &o);
        cr_assert_eq(strlen(o.out), 60003);
        forget(&o);
    }
}

Test(command, does_not_wait_for_a_grandchild_that_holds_the_pipes)
{
    struct outcome o = {0};
    double start = ev_time();
    run_script("sleep 30 & echo $!; exit 5", (struct command_spec)SPEC(), &o);
    cr_assert_lt(ev_time() - start, 5);
    cr_assert_eq(o.code, 5);
    cr_assert_gt(atoi(o.out), 0);
    kill(atoi(o.out), SIGKILL);
    forget(&o);
}

Test(command, timeout_kills_the_whole_group)
{
    struct outcome o = {0};
    double start = ev_time();
    run_script("sleep 30 & echo $!; sleep 30", (struct command_spec)SPEC(.timeout = 0.3), &o);
    cr_assert_geq(ev_time() - start, 0.29);
    cr_assert_lt(ev_time() - start, 5);
    cr_assert(o.timed_out);
    cr_assert_eq(o.code, 137);
    pid_t grandchild = atoi(o.out);
    cr_assert_gt(grandchild, 0);
    // Dead, or a zombie that its new parent has not collected yet.
    char path[64], state = 'Z';
    for (int i = 0; i < 100; i++) {
        snprintf(path, sizeof path, "/proc/%d/stat", grandchild);
        FILE *f = fopen(path, "r");
        if (!f || fscanf(f, "%*d %*s %c", &state) != 1)
            state = 'Z';
        if (f)
            fclose(f);
        if (state == 'Z')
            break;
        usleep(10000);
    }
    cr_assert_eq(state, 'Z');
    forget(&o);
}

Test(command, kill_reports_the_end)
{
    struct outcome o = {0};
    const char *const argv[] = {"sleep", "30", NULL};
    struct command_spec spec = SPEC(.argv = argv, .timeout = 20);
    struct command *c = command_start(loop, reaper, &spec, on_result, &o, NULL);
    pid_t pid = command_pid(c);
    cr_assert_eq(getpgid(pid), pid);
    command_kill(c);
    command_kill(c);
    cr_assert_eq(o.n, 0);
    cr_assert(run_until(&o.n, 1, 5));
    cr_assert_eq(o.code, 137);
    cr_assert_not(o.timed_out);
    forget(&o);
}

Test(command, abandoned_command_never_calls_back_and_is_reaped)
{
    struct outcome o = {0};
    const char *const argv[] = {"sleep", "30", NULL};
    struct command_spec spec = SPEC(.argv = argv);
    int before = open_fds();
    command_abandon(command_start(loop, reaper, &spec, on_result, &o, NULL));
    cr_assert_eq(open_fds(), before);
    run_until(&o.n, 1, 0.3);
    cr_assert_eq(o.n, 0);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

Test(command, large_input_is_written_without_blocking)
{
    struct outcome o = {0};
    char *input = malloc(COMMAND_INPUT_MAX);
    memset(input, 'i', COMMAND_INPUT_MAX);
    run_script("sleep 0.1; wc -c",
               (struct command_spec)SPEC(.input = input, .input_len = COMMAND_INPUT_MAX), &o);
    cr_assert_eq(atol(o.out), COMMAND_INPUT_MAX);
    forget(&o);
    run_script("cat", (struct command_spec)SPEC(.input = "", .input_len = 0), &o);
    cr_assert_str_empty(o.out);
    forget(&o);
    // Nobody reads it.
    run_script("exit 6", (struct command_spec)SPEC(.input = input, .input_len = COMMAND_INPUT_MAX),
               &o);
    cr_assert_eq(o.code, 6);
    forget(&o);
    free(input);
}

Test(command, given_descriptors_are_put_in_place)
{
    struct outcome o = {0};
    int in[2], out[2];
    char text[32] = "";
    cr_assert_eq(pipe2(in, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
    cr_assert_eq(write(in[1], "hello", 5), 5);
    close(in[1]);
    run_script("cat; echo captured >&2", (struct command_spec){FDS(in[0], out[1], -1)}, &o);
    cr_assert_eq(read(out[0], text, sizeof text - 1), 5);
    cr_assert_str_eq(text, "hello");
    cr_assert_str_eq(o.err, "captured\n");
    cr_assert_geq(fcntl(in[0], F_GETFD), 0, "a borrowed descriptor stays open");
    forget(&o);
}

Test(command, descriptors_may_be_exchanged)
{
    struct outcome o = {0};
    int one[2], two[2];
    char first[32] = "", second[32] = "";
    cr_assert_eq(pipe2(one, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(two, O_CLOEXEC), 0);
    int saved_out = dup(1), saved_err = dup(2);
    dup2(one[1], 1);
    dup2(two[1], 2);
    run_script("echo to-out; echo to-err >&2", (struct command_spec){FDS(-1, 2, 1)}, &o);
    dup2(saved_out, 1);
    dup2(saved_err, 2);
    cr_assert_gt(read(one[0], first, sizeof first - 1), 0);
    cr_assert_gt(read(two[0], second, sizeof second - 1), 0);
    cr_assert_str_eq(first, "to-err\n");
    cr_assert_str_eq(second, "to-out\n");
    forget(&o);
}

Test(command, works_with_the_standard_descriptors_closed)
{
    struct outcome o = {0};
    int saved[3];
    for (int i = 0; i < 3; i++) {
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        close(i);
    }
    run_script("cat; echo err >&2", (struct command_spec)SPEC(.input = "in", .input_len = 2), &o);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(fcntl(i, F_GETFD), -1);
        dup2(saved[i], i);
    }
    cr_assert_str_eq(o.out, "in");
    cr_assert_str_eq(o.err, "err\n");
    forget(&o);
}

Test(command, child_starts_clean)
{
    struct outcome o = {0};
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGHUP, SIG_IGN);
    int leak = open("/dev/null", O_RDONLY); // without CLOEXEC
    cr_assert_geq(leak, 0);
    run_script("grep -E '^Sig(Blk|Ign):' /proc/self/status; ls /proc/self/fd | wc -l",
               (struct command_spec)SPEC(), &o);
    unsigned long long blocked = 1, ignored = 1;
    int fds = 0;
    cr_assert_eq(sscanf(o.out, "SigBlk: %llx SigIgn: %llx %d", &blocked, &ignored, &fds), 3);
    cr_assert_eq(blocked, 0);
    cr_assert_eq(ignored, 0, "%llx", ignored);
    cr_assert_eq(fds, 4);
    close(leak);
    forget(&o);
}

Test(command, what_the_service_manager_said_is_not_handed_on)
{
    struct outcome o = {0};
    setenv("NOTIFY_SOCKET", "/run/notify", 1);
    setenv("LISTEN_FDS", "1", 1);
    setenv("WATCHDOG_USEC", "1", 1);
    setenv("KEPT", "yes", 1);
    run_script("echo $NOTIFY_SOCKET$LISTEN_FDS$WATCHDOG_USEC$KEPT", (struct command_spec)SPEC(),
               &o);
    cr_assert_str_eq(o.out, "yes\n");
    cr_assert_str_eq(getenv("NOTIFY_SOCKET"), "/run/notify", "ours stays");
    forget(&o);
}

Test(command, our_limit_of_files_is_ours)
{
    struct outcome o = {0};
    struct rlimit before, after;
    const struct rlimit theirs = {.rlim_cur = 99, .rlim_max = 199};
    getrlimit(RLIMIT_NOFILE, &before);
    run_script("ulimit -Sn; ulimit -Hn", (struct command_spec)SPEC(.files = &theirs), &o);
    cr_assert_str_eq(o.out, "99\n199\n");
    getrlimit(RLIMIT_NOFILE, &after);
    cr_assert_eq(before.rlim_cur, after.rlim_cur);
    forget(&o);
}

// Is it gone, or a zombie?
static bool has_ended(pid_t pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return true;
    cr_assert_eq(fscanf(f, "%*d (%*[^)]) %c", &state), 1);
    fclose(f);
    return state == 'Z' || state == 'X';
}

static bool outlives_us(bool mortal)
{
    int fds[2];
    pid_t pid = 0;
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    pid_t daemon = fork();
    if (daemon == 0) {
        static const char *const argv[] = {"sleep", "20", NULL};
        const struct command_spec spec = {
            .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .mortal = mortal};
        struct command *c = command_start(loop, reaper, &spec, on_result, NULL, NULL);
        pid = c ? command_pid(c) : 0;
        (void)!write(fds[1], &pid, sizeof pid);
        kill(getpid(), SIGKILL);
    }
    cr_assert_eq(read(fds[0], &pid, sizeof pid), (ssize_t)sizeof pid);
    cr_assert_gt(pid, 1);
    waitpid(daemon, NULL, 0);
    bool ended = false;
    for (int i = 0; i < 100 && !ended; i++) {
        usleep(5000);
        ended = has_ended(pid);
    }
    if (!ended)
        kill(pid, SIGKILL);
    close(fds[0]);
    close(fds[1]);
    return !ended;
}

Test(command, a_mortal_one_ends_with_us)
{
    cr_assert(outlives_us(false));
    cr_assert(!outlives_us(true));
}
