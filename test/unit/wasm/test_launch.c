// A worker that does what it likes. This program is its own worker: executed under that name it
// plays the part that its first argument names.
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "launch.h"
#include "task/internal.h"
#include "worker/message.h"
#include "worker/worker.h"

#define NAME "engine-1-abc"

// ---- the worker's parts ------------------------------------------------------------------------

static void say_module(const char *name)
{
    struct worker_module said = {0};
    memcpy(said.name, name, strlen(name));
    if (!message_send(WORKER_CONTROL, &said, sizeof(said), -1))
        _exit(101);
}

static void say_ready(struct worker_ready said)
{
    if (write(WORKER_READY, &said, sizeof(said)) != sizeof(said))
        _exit(102);
}

static int wait_for_go(void)
{
    char go = 0;
    ssize_t n = read(WORKER_GO, &go, 1);
    return n == 1 && go == WORKER_RUN ? 7 : 103;
}

static int play_good(void)
{
    say_module(NAME);
    say_ready((struct worker_ready){0});
    return wait_for_go();
}

static int play_forked(void)
{
    if (fork() > 0)
        return 0;
    return play_good();
}

static int play_silent(void)
{
    return 3;
}

static int play_not_told(void)
{
    say_ready((struct worker_ready){0});
    return wait_for_go();
}

static int play_short(void)
{
    say_module(NAME);
    return write(WORKER_READY, "short", 5) == 5 ? wait_for_go() : 1;
}

static int play_refuse(void)
{
    struct worker_ready said = {.err.status = STATUS_INVALID_ARGUMENT};
    memset(said.err.text, 'x', sizeof(said.err.text)); // without an end
    say_module(NAME);
    say_ready(said);
    return wait_for_go();
}

static int play_odd_status(void)
{
    struct worker_ready said = {.err.status = (enum status)99};
    say_module(NAME);
    say_ready(said);
    return wait_for_go();
}

static int play_bad_name(void)
{
    say_module("engine-1-../../etc/x");
    say_ready((struct worker_ready){0});
    return wait_for_go();
}

static int play_other_engine(void)
{
    say_module("another-1-abc");
    say_ready((struct worker_ready){0});
    return wait_for_go();
}

static int play_endless_name(void)
{
    struct worker_module said;
    memset(&said, 'e', sizeof(said));
    memcpy(said.name, "engine-", 7);
    (void)message_send(WORKER_CONTROL, &said, sizeof(said), -1);
    say_ready((struct worker_ready){0});
    return wait_for_go();
}

static int play_dies_compiling(void)
{
    say_module(NAME);
    (void)raise(SIGKILL);
    return 1;
}

static int play_hangs(void)
{
    say_module(NAME);
    return pause();
}

static int play_deaf(void)
{
    say_module(NAME);
    say_ready((struct worker_ready){0});
    return pause();
}

static int play_flood(void)
{
    struct worker_ready said = {0};
    signal(SIGPIPE, SIG_IGN);
    say_module(NAME);
    while (write(WORKER_READY, &said, sizeof(said)) > 0)
        ;
    return wait_for_go();
}

static int play_descriptors(void)
{
    int fds[64];
    struct worker_module said = {.name = NAME};
    struct iovec part = {&said, sizeof(said)};
    _Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof(fds))] = {0};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = STDIN_FILENO;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fds))};
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    if (sendmsg(WORKER_CONTROL, &m, 0) < 0)
        return 104;
    (void)sendmsg(WORKER_CONTROL, &m, MSG_NOSIGNAL);
    say_ready((struct worker_ready){0});
    return wait_for_go();
}

static int leave_code(int seals, uint32_t said)
{
    say_module(NAME);
    if (write(WORKER_CODE, "code", 4) != 4 || ftruncate(WORKER_CODE, 4) < 0 ||
        (seals && fcntl(WORKER_CODE, F_ADD_SEALS, seals) < 0))
        return 105;
    say_ready((struct worker_ready){.code = said});
    return wait_for_go();
}

static int play_code(void)
{
    return leave_code(F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, 1);
}

static int play_open_code(void)
{
    return leave_code(0, 1);
}

static int play_native_with_code(void)
{
    say_module("");
    say_ready((struct worker_ready){.code = 1});
    return wait_for_go();
}

static int play_large_code(void)
{
    if (ftruncate(WORKER_CODE, (off_t)WORKER_CODE_MAX + 1) == 0)
        return 106;
    return play_good();
}

static const struct {
    const char *name;
    int (*play)(void);
} parts[] = {
    {"good", play_good},
    {"forked", play_forked},
    {"silent", play_silent},
    {"not-told", play_not_told},
    {"short", play_short},
    {"refuse", play_refuse},
    {"odd-status", play_odd_status},
    {"bad-name", play_bad_name},
    {"other-engine", play_other_engine},
    {"endless-name", play_endless_name},
    {"dies-compiling", play_dies_compiling},
    {"hangs", play_hangs},
    {"deaf", play_deaf},
    {"flood", play_flood},
    {"descriptors", play_descriptors},
    {"code", play_code},
    {"open-code", play_open_code},
    {"native-with-code", play_native_with_code},
    {"large-code", play_large_code},
};

__attribute__((constructor)) static void be_worker(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[0], "wasm-worker") != 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (strcmp(parts[i].name, argv[1]) == 0)
            _exit(parts[i].play());
    }
    _exit(99);
}

// ---- the server --------------------------------------------------------------------------------

static struct task_server server;
static struct task task = {.server = &server};
static struct task_process process = {.task = &task};
static struct launch *launch;
static char cache[] = "/tmp/launch-XXXXXX";
static bool is_done, is_over, has_exited;
static struct error failure; // of done
static uint32_t exit_code;
static int n_exits;

static void put_worker(void)
{
    char self[PATH_MAX], link[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    cr_assert_gt(n, 0);
    self[n] = '\0';
    cr_assert_eq(
        path_format(link, sizeof(link), "%.*s/wasm-worker", (int)(strrchr(self, '/') - self), self),
        0);
    cr_assert(symlink(self, link) == 0 || errno == EEXIST);
}

static void open_server(void)
{
    struct error err = {0};
    const struct stdio_spec none = {.in = "", .out = "", .err = ""};
    put_worker();
    cr_assert(mkdtemp(cache));
    cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    signal(SIGPIPE, SIG_IGN); // as a daemon does
    server.loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    server.reaper = reaper_new(server.loop);
    cr_assert(server.loop && server.reaper);
    server.stdio.loop = server.loop;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &server.files), 0);
    process.io = task_stdio_open(&server.stdio, &none, &err);
    cr_assert(process.io, "%s", err.text);
}

static void on_time(struct ev_loop *loop, ev_timer *w, int revents)
{
    is_over = true;
}

static void run_until(const bool *flag, double seconds)
{
    ev_timer timer;
    is_over = false;
    ev_timer_init(&timer, on_time, seconds, 0);
    ev_timer_start(server.loop, &timer);
    while (!*flag && !is_over)
        ev_run(server.loop, EVRUN_ONCE);
    ev_timer_stop(server.loop, &timer);
}

static void close_server(void)
{
    launch = launch_free(launch);
    process.io = task_stdio_free(process.io);
    server.reaper = reaper_free(server.reaper);
    ev_loop_destroy(server.loop);
    cr_expect_eq(file_remove_tree_at(AT_FDCWD, cache), 0);
}

TestSuite(launch, .init = open_server, .fini = close_server);

static void on_done(void *arg, const struct error *err)
{
    cr_assert_not(is_done, "done came twice");
    is_done = true;
    failure = err ? *err : (struct error){0};
}

static void on_exit_seen(struct task_process *p, uint32_t code, const struct timespec *at)
{
    cr_assert_eq(p, &process);
    has_exited = true;
    exit_code = code;
    n_exits++;
}

static void begin(const char *part)
{
    struct error err = {0};
    const struct launch_spec spec = {
        .args = {part}, .extra = {-1, -1}, .engine = "engine", .cache = cache};
    launch = launch_start(&process, &spec, on_exit_seen, (struct task_done){on_done, NULL}, &err);
    cr_assert(launch, "%s", err.text);
}

static enum status start(const char *part)
{
    begin(part);
    run_until(&is_done, 20);
    cr_assert(is_done, "%s: done does not come", part);
    return failure.status;
}

static void run_to_the_end(uint32_t code)
{
    struct error err = {0};
    cr_assert_eq(launch_go(launch, &err), 0, "%s", err.text);
    run_until(&has_exited, 20);
    cr_assert(has_exited);
    cr_expect_eq(exit_code, code, "%u", exit_code);
    cr_expect_eq(n_exits, 1);
}

// ---- tests -------------------------------------------------------------------------------------

Test(launch, a_good_one)
{
    cr_assert_eq(start("good"), STATUS_OK, "%s", failure.text);
    cr_expect(process_alive(&process.pid));
    run_to_the_end(7);
}

Test(launch, one_that_goes_on_in_another_process)
{
    cr_assert_eq(start("forked"), STATUS_OK, "%s", failure.text);
    cr_expect(process_alive(&process.pid));
    run_to_the_end(7);
}

static void check_failure(const char *part, enum status status)
{
    cr_expect_eq(start(part), status, "%s: %s", part, failure.text);
    // Whoever it was, he is gone.
    run_until(&has_exited, 0.2);
    cr_expect(!process.pid.pid || !process_alive(&process.pid), "%s", part);
    cr_expect_leq(n_exits, 1);
}

#define FAILS(test, part, status)                                                                  \
    Test(launch, test)                                                                             \
    {                                                                                              \
        check_failure(part, status);                                                               \
    }

FAILS(one_that_says_nothing, "silent", STATUS_INTERNAL)
FAILS(one_that_has_no_module, "not-told", STATUS_INTERNAL)
FAILS(a_short_word, "short", STATUS_INTERNAL)
FAILS(an_odd_status, "odd-status", STATUS_INTERNAL)
FAILS(a_name_that_leads_away, "bad-name", STATUS_INTERNAL)
FAILS(a_name_of_another_engine, "other-engine", STATUS_INTERNAL)
FAILS(a_name_without_an_end, "endless-name", STATUS_INTERNAL)
FAILS(one_that_dies_compiling, "dies-compiling", STATUS_INTERNAL)

Test(launch, a_text_without_an_end)
{
    check_failure("refuse", STATUS_INVALID_ARGUMENT);
    cr_expect(strncmp(failure.text, "engine: xxx", 11) == 0);
    cr_expect_lt(strlen(failure.text), sizeof(failure.text));
}

Test(launch, a_cancelled_one_is_killed)
{
    begin("hangs");
    while (!process.pid.pid)
        ev_run(server.loop, EVRUN_ONCE);
    cr_assert_not(is_done);
    launch_cancel(launch);
    cr_assert(is_done);
    cr_expect_eq(failure.status, STATUS_CANCELLED);
    run_until(&has_exited, 20);
    cr_expect(has_exited && exit_code == 128 + SIGKILL);
    launch_cancel(launch); // nothing more to do
}

Test(launch, one_that_has_ended_is_not_let_go)
{
    struct error err = {0};
    cr_assert_eq(start("deaf"), STATUS_OK, "%s", failure.text);
    cr_assert_eq(process_signal(&process.pid, SIGKILL), 0);
    run_until(&has_exited, 20);
    cr_assert(has_exited);
    cr_expect_eq(launch_go(launch, &err), -1);
    cr_expect_eq(err.status, STATUS_FAILED_PRECONDITION);
}

Test(launch, a_deaf_one_and_a_flood_hold_nothing_up)
{
    struct error err = {0};
    cr_assert_eq(start("deaf"), STATUS_OK, "%s", failure.text);
    cr_expect_eq(launch_go(launch, &err), 0);
    cr_assert_eq(process_signal(&process.pid, SIGKILL), 0);
    run_until(&has_exited, 20);
    cr_expect_eq(exit_code, 128 + SIGKILL);
    launch = launch_free(launch);

    is_done = has_exited = false;
    n_exits = 0;
    cr_assert_eq(start("flood"), STATUS_OK, "%s", failure.text);
    run_to_the_end(7);
}

static int count_open(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    cr_assert(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

Test(launch, descriptors_that_it_sends_do_not_stay)
{
    run_until(&has_exited, 0.05); // what the loop needs is open
    int before = count_open();
    cr_assert_eq(start("descriptors"), STATUS_OK, "%s", failure.text);
    cr_expect_eq(count_open(), before + 1); // the way to let it go
    run_to_the_end(7);
    cr_expect_eq(count_open(), before);
}

static bool is_kept(void)
{
    char path[128];
    cr_assert_eq(path_format(path, sizeof(path), "%s/" NAME "/code", cache), 0);
    return access(path, F_OK) == 0;
}

// Runs the loop until the job that keeps code is over: it is our last child.
static void let_jobs_end(void)
{
    const bool never = false;
    for (int i = 0; i < 100 && waitid(P_ALL, 0, NULL, WEXITED | WNOHANG | WNOWAIT) == 0; i++)
        run_until(&never, 0.05);
}

Test(launch, sealed_code_is_kept)
{
    cr_assert_eq(start("code"), STATUS_OK, "%s", failure.text);
    run_to_the_end(7);
    let_jobs_end();
    cr_expect(is_kept());
}

Test(launch, code_that_can_be_written_is_not_kept)
{
    cr_assert_eq(start("open-code"), STATUS_OK, "%s", failure.text);
    run_to_the_end(7);
    let_jobs_end();
    cr_expect_not(is_kept());
}

Test(launch, a_native_program_has_no_code)
{
    cr_assert_eq(start("native-with-code"), STATUS_OK, "%s", failure.text);
    run_to_the_end(7);
    let_jobs_end();
    cr_expect_not(is_kept());
}

Test(launch, code_has_a_largest_size)
{
    cr_assert_eq(start("large-code"), STATUS_OK, "%s", failure.text);
    run_to_the_end(7);
}
