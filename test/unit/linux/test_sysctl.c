#include "support.h"

#include <criterion/parameterized.h>

#include "linux/namespace.h"

struct row {
    char name[64];
    bool own_net, own_ipc, ok;
};

ParameterizedTestParameters(sysctl, table)
{
    static struct row rows[] = {
        {"net.ipv4.ip_forward", true, false, true},
        {"net.ipv4.ip_forward", false, true, false},
        {"net.ipv4.conf.all.rp_filter", true, true, true},
        {"kernel.shm_rmid_forced", false, true, true},
        {"kernel.shm_rmid_forced", true, false, false},
        {"kernel.msgmax", true, true, true},
        {"kernel.msgmnb", true, true, true},
        {"kernel.msgmni", true, true, true},
        {"kernel.sem", true, true, true},
        {"kernel.shmall", true, true, true},
        {"kernel.shmmax", true, true, true},
        {"kernel.shmmni", true, true, true},
        {"fs.mqueue.msg_max", false, true, true},
        {"fs.mqueue.msg_max", true, false, false},
        {"kernel.pid_max", true, true, false},
        {"kernel.sem_next_id", true, true, false}, // a name is no beginning of a name
        {"kernel.msgmaximum", true, true, false},
        {"kernel.hostname", true, true, false},
        {"kernel.domainname", true, true, false},
        {"kernel.core_pattern", true, true, false},
        {"vm.swappiness", true, true, false},
        {"fs.file-max", true, true, false},
        {"network.foo", true, true, false},
        {"net", true, true, false},
        {"net.", true, true, false},
        {".net.ipv4", true, true, false},
        {"net..ipv4", true, true, false},
        {"net/ipv4/ip_forward", true, true, false},
        {"net.ipv4/../../kernel.pid_max", true, true, false},
        {"net.ipv4.ip_forward ", true, true, false},
        {"net.ipv4.\x01", true, true, false},
        {"", true, true, false},
    };
    return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct row *row, sysctl, table)
{
    struct error err = {0};
    int r = namespace_sysctl_check(row->name, row->own_net, row->own_ipc, &err);
    cr_assert_eq(r, row->ok ? 0 : -1, "%s", row->name);
    cr_assert_eq(err.status, row->ok ? STATUS_OK : STATUS_INVALID_ARGUMENT, "%s", row->name);
}

Test(sysctl, error_names_it_and_says_why)
{
    struct error err = {0};
    cr_assert_eq(namespace_sysctl_check("kernel.pid_max", true, true, &err), -1);
    cr_assert(strstr(err.text, "kernel.pid_max"));
    cr_assert(strstr(err.text, "not in a separate kernel namespace"));
}

Test(sysctl, null_and_endless_names_are_refused)
{
    cr_assert_eq(namespace_sysctl_check(NULL, true, true, NULL), -1);
    char name[1024] = "net.";
    memset(name + 4, 'a', sizeof(name) - 5);
    name[sizeof(name) - 1] = '\0';
    cr_assert_eq(namespace_sysctl_check(name, true, true, NULL), -1);
}
