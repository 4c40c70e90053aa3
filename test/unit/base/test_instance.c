#include "base/instance.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static char dir[] = "/tmp/instance-test.XXXXXX";

static void setup(void)
{
    cr_assert(mkdtemp(dir));
}

static void teardown(void)
{
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, dir), 0);
}

TestSuite(instance, .init = setup, .fini = teardown);

Test(instance, the_second_is_refused_and_told_who_is_there)
{
    struct error err = {0};
    char state[64];
    struct stat st;
    snprintf(state, sizeof state, "%s/a/b", dir);
    umask(0077);
    _cleanup_close_ int fd = instance_lock(state, "x.lock", "tester", &err);
    cr_assert(fd >= 0, "%s", err.text);
    cr_assert_eq(stat(state, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0711);
    cr_expect(instance_lock(state, "x.lock", "tester", &err) == -1);
    cr_expect_eq(err.status, STATUS_ALREADY_EXISTS);
    cr_expect(strstr(err.text, "another tester already runs on /tmp/instance-test"), "%s",
              err.text);
    int other = instance_lock(state, "y.lock", "tester", &err);
    cr_expect(other >= 0);
    close(other);
}

// What a predecessor has forked may live a moment longer than it, and holds the lock.
Test(instance, the_children_of_a_predecessor_are_waited_for)
{
    struct error err = {0};
    int fd = instance_lock(dir, "x.lock", "tester", &err), status;
    cr_assert(fd >= 0, "%s", err.text);
    pid_t child = fork();
    if (child == 0) {
        usleep(300 * 1000);
        _exit(0);
    }
    close(fd);
    fd = instance_lock(dir, "x.lock", "tester", &err);
    cr_expect(fd >= 0, "%s", err.text);
    cr_expect_eq(kill(child, 0), 0);
    cr_expect_eq(waitpid(child, &status, WNOHANG), child, "the lock came before its end");
    close(fd);
}

Test(instance, a_directory_that_cannot_be_made_is_named)
{
    struct error err = {0};
    cr_expect(instance_lock("/proc/no/such", "x.lock", "tester", &err) == -1);
    cr_expect(strstr(err.text, "/proc/no/such"), "%s", err.text);
    char deep[PATH_MAX + 16];
    memset(deep, 'a', sizeof deep);
    deep[0] = '/';
    deep[sizeof deep - 1] = '\0';
    cr_expect(instance_lock(deep, "x.lock", "tester", &err) == -1);
}

Test(instance, programs_beside_our_own)
{
    char path[PATH_MAX];
    cr_expect(instance_find_beside("unit_base_instance", path));
    cr_expect(access(path, X_OK) == 0);
    cr_expect(!instance_find_beside("no-such-program", path));
    cr_expect(path[0] == '\0');
}

Test(instance, files_are_raised_to_the_hard_limit)
{
    struct rlimit low = {.rlim_cur = 100}, before = {0}, now = {0};
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
    low.rlim_max = now.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    instance_raise_files(&before);
    cr_expect_eq(before.rlim_cur, 100);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
    cr_expect_eq(now.rlim_cur, now.rlim_max);
}
