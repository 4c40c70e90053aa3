#include "support.h"

#include <signal.h>

#include "linux/process.h"

Test(process, identifies_itself)
{
    struct process_id id = {0};
    cr_assert_eq(process_identify(getpid(), &id), 0);
    cr_assert_eq(id.pid, getpid());
    cr_assert_gt(id.start_time, 0);
    cr_assert(process_alive(&id));
}

Test(process, refuses_pids_that_cannot_be)
{
    struct process_id id = {0};
    cr_assert_eq(process_identify(0, &id), -ESRCH);
    cr_assert_eq(process_identify(-1, &id), -ESRCH);
    cr_assert_eq(process_identify(1 << 22, &id), -ESRCH); // above pid_max's maximum
    struct process_id none = {0};
    cr_assert_not(process_alive(&none));
    cr_assert_eq(process_open(&none), -ESRCH);
    cr_assert_eq(process_signal(&none, SIGKILL), -ESRCH);
}

Test(process, zombie_is_not_alive_but_known)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    siginfo_t info;
    cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    struct process_id id = {0};
    cr_assert_eq(process_identify(pid, &id), 0);
    cr_assert_not(process_alive(&id));
    support_wait(pid);
    cr_assert_eq(process_identify(pid, &id), -ESRCH);
}

Test(process, another_start_time_is_another_process)
{
    pid_t pid = support_sleeper();
    struct process_id id = {0};
    cr_assert_eq(process_identify(pid, &id), 0);
    struct process_id old = {.pid = pid, .start_time = id.start_time - 1};
    cr_assert_not(process_alive(&old));
    cr_assert_eq(process_open(&old), -ESRCH);
    cr_assert_eq(process_signal(&old, SIGKILL), -ESRCH);
    cr_assert(process_alive(&id));
    cr_assert_eq(process_signal(&id, 12345), -EINVAL);
    cr_assert_eq(process_signal(&id, SIGKILL), 0);
    int status = support_wait(pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cr_assert_eq(process_signal(&id, SIGKILL), -ESRCH);
}

Test(process, descriptor_is_close_on_exec)
{
    struct process_id id = {0};
    cr_assert_eq(process_identify(getpid(), &id), 0);
    int fd = process_open(&id);
    cr_assert_geq(fd, 0);
    cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

Test(process, hostile_command_name_does_not_shift_the_fields)
{
    struct process_id plain = {0}, named = {0};
    cr_assert_eq(process_identify(getpid(), &plain), 0);
    prctl(PR_SET_NAME, "a) Z 1 (b) 2\n");
    cr_assert_eq(process_identify(getpid(), &named), 0);
    cr_assert_eq(plain.start_time, named.start_time);
    cr_assert(process_alive(&named));
}
