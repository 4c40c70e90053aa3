// Compiling apart, with compilers of our own: what they find, and what they leave.
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "worker/apart.h"
#include "worker/worker.h"

#define WORKER TEST_BINARY_DIR "/wasm-task/wasm-worker"
#define ENGINE TEST_BINARY_DIR "/wasm-task/engine-wasmtime.so" // the one that is used

static const char text[] = "code";
static const struct plan plan = {.uid = 1000, .gid = 1000};

// As the server makes it (worker.h).
static int make_file(void)
{
    int fd = memfd_create("code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert(fd >= 0 && ftruncate(fd, WORKER_CODE_MAX) == 0 &&
              fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
    return fd;
}

static void *be_there(void *arg)
{
    pause();
    return NULL;
}

static bool with_a_thread;

static int compile_by(int (*compiler)(const void *, size_t, int, struct error *), int file,
                      struct error *err)
{
    pthread_t thread;
    const struct engine_ops engine = {.name = "test", .compile_apart = compiler};
    int said[2];
    if (geteuid() != 0)
        cr_skip("not root");
    cr_assert(pipe2(said, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0 && with_a_thread && pthread_create(&thread, NULL, be_there, NULL) != 0)
        _exit(1);
    if (pid == 0)
        apart_work(&engine, &plan, -1, text, sizeof(text), file, said[1]);
    cr_assert(pid > 0);
    close(said[1]);
    int r = apart_wait("test", pid, said[0], file, err);
    close(said[0]);
    return r;
}

static int write_code(const void *bytes, size_t len, int fd, struct error *err)
{
    return write(fd, bytes, len) == (ssize_t)len ? 1 : error_errno(err, errno, "write");
}

Test(apart, code_is_cut_and_sealed)
{
    struct error err = {0};
    struct stat st;
    char back[sizeof(text)];
    _cleanup_close_ int file = make_file();
    cr_assert_eq(compile_by(write_code, file, &err), 1, "%s", err.text);
    cr_expect(fstat(file, &st) == 0 && st.st_size == sizeof(text));
    cr_expect(pread(file, back, sizeof(back), 0) == sizeof(back) &&
              memcmp(back, text, sizeof(text)) == 0);
    cr_expect(pwrite(file, "x", 1, 0) < 0 && errno == EPERM);
    cr_expect(ftruncate(file, 0) < 0 && errno == EPERM);
}

// What it says goes there.
static int pipe_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
           (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
}

static int look_around(const void *bytes, size_t len, int fd, struct error *err)
{
    char name[PATH_MAX];
    int n_names = 0, n_pipes = 0, probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in loopback = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (getuid() != 1000 || getgid() != 1000 || setuid(0) == 0)
        return error_set(err, STATUS_INTERNAL, "user %u", getuid());
    if (probe < 0 || connect(probe, (const struct sockaddr *)&loopback, sizeof(loopback)) == 0 ||
        errno != ENETUNREACH)
        return error_set(err, STATUS_INTERNAL, "a network: %s", strerror(errno));
    close(probe);
    for (int other = STDERR_FILENO + 1; other < 1024; other++) {
        if (other == fd || fcntl(other, F_GETFD) < 0)
            continue;
        n_pipes += pipe_of(other);
        if (!pipe_of(other) || n_pipes > 1)
            return error_set(err, STATUS_INTERNAL, "descriptor %d", other);
    }
    if (!getcwd(name, sizeof(name)) || strcmp(name, "/") != 0)
        return error_set(err, STATUS_INTERNAL, "it is in %s", name);
    DIR *root = opendir("..");
    for (struct dirent *e = root ? readdir(root) : NULL; e; e = readdir(root))
        n_names += e->d_name[0] != '.';
    if (!root || n_names > 0)
        return error_set(err, STATUS_INTERNAL, "%d names in its root", n_names);
    closedir(root);
    int made = open("/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (made < 0 || write(made, bytes, len) != (ssize_t)len || rename("/file", "/other") < 0)
        return error_errno(err, errno, "a file of its own");
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) != -1 || kill(getppid(), SIGTERM) == 0)
        return error_set(err, STATUS_INTERNAL, "other processes");
    return 0;
}

// Rights are a thread's.
Test(apart, other_threads_are_refused)
{
    struct error err = {0};
    _cleanup_close_ int file = make_file();
    with_a_thread = true;
    cr_expect_eq(compile_by(write_code, file, &err), -1);
    cr_expect(err.status == STATUS_FAILED_PRECONDITION && strstr(err.text, "other threads"), "%s",
              err.text);
}

Test(apart, there_is_nothing_but_the_module)
{
    struct error err = {0};
    _cleanup_close_ int file = make_file(), other = open("/", O_RDONLY | O_CLOEXEC);
    cr_assert(other >= 0);
    cr_expect_eq(compile_by(look_around, file, &err), 0, "%s", err.text);
}

static int die(const void *bytes, size_t len, int fd, struct error *err)
{
    (void)raise(SIGKILL);
    _exit(0);
}

static int refuse(const void *bytes, size_t len, int fd, struct error *err)
{
    return error_set(err, STATUS_UNIMPLEMENTED, "not this one");
}

// What one does that has been taken over.
static int lie(const void *bytes, size_t len, int fd, struct error *err)
{
    memset(err, 'x', sizeof(*err));
    err->status = STATUS_INTERNAL;
    return -1;
}

static int lie_about_the_status(const void *bytes, size_t len, int fd, struct error *err)
{
    err->status = STATUS_OK;
    return -1;
}

Test(apart, errors_are_told)
{
    struct error err = {0};
    _cleanup_close_ int file = make_file();
    cr_expect_eq(compile_by(die, file, &err), -1);
    cr_expect(err.status == STATUS_RESOURCE_EXHAUSTED && strstr(err.text, "test's compiler"));
    cr_expect_eq(compile_by(refuse, file, &err), -1);
    cr_expect(err.status == STATUS_UNIMPLEMENTED && strcmp(err.text, "not this one") == 0);
    cr_expect_eq(compile_by(lie, file, &err), -1);
    cr_expect(err.status == STATUS_INTERNAL && memchr(err.text, 0, sizeof(err.text)));
    cr_expect_eq(compile_by(lie_about_the_status, file, &err), -1);
    cr_expect_eq(err.status, STATUS_INTERNAL);
}

static int seal_too_early(const void *bytes, size_t len, int fd, struct error *err)
{
    return write(fd, bytes, len) == (ssize_t)len && fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL) == 0;
}

static int write_nothing(const void *bytes, size_t len, int fd, struct error *err)
{
    return 1;
}

Test(apart, what_cannot_be_sealed_is_no_code)
{
    struct error err = {0};
    _cleanup_close_ int file = make_file(), empty = make_file();
    cr_expect_eq(compile_by(seal_too_early, file, &err), 0, "%s", err.text);
    cr_expect_eq(compile_by(write_nothing, empty, &err), 0, "%s", err.text);
}

// ---- the program that is executed for it --------------------------------------------------------

// What `wasm-worker compile wasmtime VERSION` leaves, with files that are empty.
static int compile_with(const char *version, struct error *err)
{
    enum { FIRST = STDERR_FILENO + 1, MODULE = FIRST, PROCESS, SAID, CODE, USERS };
    int said[2];
    _cleanup_close_ int file = make_file(), empty = memfd_create("empty", MFD_CLOEXEC);
    cr_assert(empty >= 0 && pipe2(said, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        const int fds[] = {empty, empty, said[1], file, empty};
        int copies[ARRAY_SIZE(fds)];
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
            copies[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST + (int)ARRAY_SIZE(fds));
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
            dup2(copies[i], FIRST + (int)i);
        execl(WORKER, "wasm-worker", "compile", "wasmtime", version, "", "", NULL);
        _exit(98);
    }
    cr_assert(pid > 0);
    close(said[1]);
    int r = apart_wait("wasmtime", pid, said[0], file, err);
    close(said[0]);
    return r;
}

// A package may be upgraded while a container starts.
Test(apart, another_version_than_looked_for_the_code_compiles_nothing)
{
    struct error err = {0};
    if (access(ENGINE, R_OK) < 0)
        cr_skip("wasmtime was not found when this was built");
    cr_expect_eq(compile_with("0.0.1", &err), -1);
    cr_expect(err.status == STATUS_FAILED_PRECONDITION &&
                  strstr(err.text, "wasmtime was 0.0.1 when the container began") &&
                  strstr(err.text, "start it again"),
              "%s", err.text);
}

static const char *some_version(void)
{
    return "1";
}

// Where it is not there. 0, or what differs.
static int compile_without_the_program(const char *root, int file)
{
    const struct engine_ops engine = {.name = "test", .version = some_version};
    const struct plan p = {.process = json_object_new_object()};
    struct error err = {0};
    if (!p.process || chroot(root) < 0)
        return 1;
    int r = apart_compile(&engine, &p, -1, file, file, &err);
    if (r == -1 && err.status == STATUS_NOT_FOUND && strstr(err.text, "the compiler's process: "))
        return 0;
    dprintf(STDERR_FILENO, "%d %d %s\n", r, err.status, err.text);
    return 2;
}

Test(apart, what_cannot_begin_tells_why)
{
    int status;
    char root[] = "/tmp/apart-XXXXXX";
    _cleanup_close_ int file = make_file();
    if (geteuid() != 0)
        cr_skip("not root");
    cr_assert(mkdtemp(root));
    pid_t pid = fork();
    if (pid == 0)
        _exit(compile_without_the_program(root, file));
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid &&
              file_remove_tree_at(AT_FDCWD, root) == 0);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}
