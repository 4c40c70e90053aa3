// Listening sockets: one owner, 0600, stale ones replaced, nothing else removed.
#include "rpc/listen.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

static char dir[64], path[96];
static struct error err;

static void up(void)
{
    strcpy(dir, "/tmp/kuasar-listen-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
}

static void down(void)
{
    unlink(path);
    rmdir(dir);
}

TestSuite(listen, .init = up, .fini = down);

Test(listen, is_private_and_close_on_exec)
{
    umask(0);
    _cleanup_close_ int fd = rpc_listen_unix(path, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode, S_IFSOCK | 0600);
    cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    _cleanup_close_ int peer = rpc_connect_unix(path, &err);
    cr_assert_geq(peer, 0);
    cr_assert(fcntl(peer, F_GETFD) & FD_CLOEXEC);
    cr_assert(fcntl(peer, F_GETFL) & O_NONBLOCK);
    _cleanup_close_ int accepted = accept(fd, NULL, NULL);
    cr_assert_geq(accepted, 0);
}

Test(listen, a_live_owner_keeps_its_socket)
{
    _cleanup_close_ int fd = rpc_listen_unix(path, &err);
    cr_assert_eq(rpc_listen_unix(path, &err), -1);
    cr_assert_eq(err.status, STATUS_ALREADY_EXISTS);
    cr_assert_not_null(strstr(err.text, path));
    _cleanup_close_ int peer = rpc_connect_unix(path, &err);
    cr_assert_geq(peer, 0, "the first owner is still there");
}

Test(listen, a_stale_socket_is_replaced)
{
    int fd = rpc_listen_unix(path, &err);
    close(fd);
    cr_assert_eq(rpc_connect_unix(path, &err), -1);
    cr_assert_eq(err.status, STATUS_UNAVAILABLE);
    fd = rpc_listen_unix(path, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    close(fd);
}

Test(listen, other_files_are_left_alone)
{
    close(open(path, O_CREAT | O_WRONLY, 0600));
    cr_assert_eq(rpc_listen_unix(path, &err), -1);
    cr_assert_eq(err.status, STATUS_FAILED_PRECONDITION);
    cr_assert_eq(access(path, F_OK), 0);
    unlink(path);
    cr_assert_eq(symlink("/nonexistent", path), 0);
    cr_assert_eq(rpc_listen_unix(path, &err), -1);
    cr_assert_eq(err.status, STATUS_FAILED_PRECONDITION);
}

Test(listen, paths_are_checked)
{
    char longest[200];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[108] = '\0';
    cr_assert_eq(rpc_listen_unix("relative", &err), -1);
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_assert_eq(rpc_listen_unix(longest, &err), -1);
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_assert_eq(rpc_listen_unix("/nonexistent-directory/s", &err), -1);
    cr_assert_eq(err.status, STATUS_NOT_FOUND);
    cr_assert_eq(rpc_connect_unix("/nonexistent-directory/s", &err), -1);
    cr_assert_eq(err.status, STATUS_UNAVAILABLE);
}

// Looking at the old socket and making the new one are one step for others.
Test(listen, waits_for_another_that_is_at_it)
{
    _cleanup_close_ int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_eq(flock(lock, LOCK_EX), 0);
    pid_t child = fork();
    if (!child) {
        close(lock);
        _exit(rpc_listen_unix(path, &err) < 0);
    }
    usleep(100000);
    cr_assert_neq(access(path, F_OK), 0);
    flock(lock, LOCK_UN);
    int status = -1;
    waitpid(child, &status, 0);
    cr_assert_eq(status, 0);

    _cleanup_close_ int other = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_eq(flock(other, LOCK_EX), 0);
    cr_assert_eq(rpc_listen_unix(path, &err), -1);
    cr_assert_eq(err.status, STATUS_UNAVAILABLE);
}

// Many start at the same time over a stale socket: one wins, and can be reached.
Test(listen, a_race_has_one_winner)
{
    close(rpc_listen_unix(path, &err));
    pid_t children[8];
    int go[2];
    cr_assert_eq(pipe(go), 0);
    for (size_t i = 0; i < ARRAY_SIZE(children); i++) {
        children[i] = fork();
        if (!children[i]) {
            char byte;
            close(go[1]);
            if (read(go[0], &byte, 1) < 0)
                _exit(3);
            int fd = rpc_listen_unix(path, &err);
            if (fd < 0)
                _exit(err.status == STATUS_ALREADY_EXISTS ? 0 : 2);
            usleep(300000);
            int peer = accept(fd, NULL, NULL); // the probes, and at last the parent
            while (peer >= 0) {
                char text[4];
                fcntl(peer, F_SETFL, 0);
                if (recv(peer, text, sizeof text, 0) == 4)
                    _exit(1);
                close(peer);
                peer = accept(fd, NULL, NULL);
            }
            _exit(4);
        }
    }
    close(go[0]);
    close(go[1]);
    usleep(150000);
    _cleanup_close_ int peer = rpc_connect_unix(path, &err);
    cr_assert_geq(peer, 0);
    cr_assert_eq(send(peer, "here", 4, 0), 4);
    int winners = 0;
    for (size_t i = 0; i < ARRAY_SIZE(children); i++) {
        int status;
        waitpid(children[i], &status, 0);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2, "status %x", (unsigned)status);
        winners += WEXITSTATUS(status);
    }
    cr_assert_eq(winners, 1);
}

Test(listen, only_loopback_addresses_with_a_port)
{
    static const char *const good[] = {"127.0.0.1:1", "127.0.0.2:9464", "[::1]:65535"};
    static const char *const bad[] = {
        "",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:x",
        "127.0.0.1:80 ",
        "127.0.0.1:99999999999999999999",
        "0.0.0.0:80",
        "10.0.0.1:80",
        "localhost:80",
        "[::]:80",
        "::1:80",
        ":80",
        "[::1]:+80",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_expect_eq(rpc_loopback_check(good[i], "a", &err), 0, "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(rpc_loopback_check(bad[i], "metrics", &err), -1, "%s", bad[i]);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        cr_expect(strncmp(err.text, "metrics: ", 9) == 0, "%s", err.text);
        cr_expect_lt(rpc_listen_loopback(bad[i], &err), 0);
    }
}
