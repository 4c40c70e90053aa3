// The command lines of the monitors, word by word.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "vmm/vmm.h"

TestSuite(command);

static const struct vmm_machine machine = {
    .program = "/usr/bin/qemu-system-x86_64",
    .kernel = "/k",
    .initrd = "/i",
    .parameters = "a=b c",
    .accelerator = "tcg",
    .vcpus = 2,
    .memory = 300ull << 20,
    .nics = {{.tap = "tap_kua_2", .mac = {2, 0, 0xfe, 3, 4, 5}}, {.tap = "tap_kua_7", .mac = {1}}},
    .n_nics = 2,
};

static const char *line(const struct vmm_ops *ops)
{
    static struct vmm_command c;
    static struct buf b;
    c = (struct vmm_command){0};
    ops->command(&machine, &c);
    cr_assert_not(c.overflow);
    cr_assert_null(c.argv[c.n]);
    buf_init(&b, 65536);
    for (size_t i = 0; i < c.n; i++)
        buf_printf(&b, "%s\n", c.argv[i]);
    return buf_cstr(&b);
}

static void has(const char *text, const char *word)
{
    cr_assert_not_null(strstr(text, word), "no \"%s\" in:\n%s", word, text);
}

Test(command, uml)
{
    const char *l = line(&vmm_uml);
    cr_assert_eq(strncmp(l, "/k\nmem=300M\ninitrd=/i\n", 22), 0, "%s", l);
    has(l, "\nvirtio_uml.device=vsock.vu:19\nvirtio_uml.device=fs.vu:26\n");
    has(l, "\nvec0:transport=tap,ifname=tap_kua_2,mac=02:00:fe:03:04:05\n");
    has(l, "\nvec1:transport=tap,ifname=tap_kua_7,mac=01:00:00:00:00:00\n");
    has(l, "\na=b c\n");
}

Test(command, qemu)
{
    const char *l = line(&vmm_qemu);
    cr_assert_eq(strncmp(l, "/usr/bin/qemu-system-x86_64\n-machine\nq35,accel=tcg,", 50), 0, "%s",
                 l);
    has(l, "\n-smp\n2\n-m\n300M\n");
    has(l, "\nmemory-backend-memfd,id=memory,size=300M,share=on\n");
    has(l, "\n-sandbox\non,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny\n");
    has(l,
        "\n-netdev\ntap,id=net0,ifname=tap_kua_2,script=no,downscript=no\n-device\nvirtio-net-pci,"
        "netdev=net0,romfile=,mac=02:00:fe:03:04:05\n");
    has(l, "\n-kernel\n/k\n-initrd\n/i\n-append\n");
    has(l, " init_on_alloc=1 a=b c\n");
}

Test(command, qemu_with_hardware)
{
    static struct vmm_command c;
    struct vmm_machine fast = machine;
    fast.accelerator = "kvm";
    vmm_qemu.command(&fast, &c);
    for (size_t i = 0; i < c.n; i++)
        cr_expect(!strstr(c.argv[i], "tcg") && !strstr(c.argv[i], "init_on_alloc"), "%s",
                  c.argv[i]);
}

// To see whether guests run at all.
Test(command, qemu_without_devices)
{
    static struct vmm_command c;
    struct vmm_machine bare = machine;
    bare.bare = true;
    bare.n_nics = 0;
    vmm_qemu.command(&bare, &c);
    for (size_t i = 0; i < c.n; i++)
        cr_expect(!strstr(c.argv[i], "socket") && !strstr(c.argv[i], "tap"), "%s", c.argv[i]);
}

Test(command, what_does_not_fit_is_noticed)
{
    static struct vmm_command c;
    for (int i = 0; i < VMM_WORDS_MAX; i++)
        vmm_word(&c, "%d", i);
    cr_assert_not(c.overflow);
    vmm_word(&c, "x");
    cr_assert(c.overflow);
    cr_assert_eq(c.n, (size_t)VMM_WORDS_MAX);

    static struct vmm_command d;
    char *longest = calloc(1, VMM_TEXT_MAX);
    memset(longest, 'x', VMM_TEXT_MAX - 1);
    vmm_word(&d, "%s", longest);
    cr_assert_not(d.overflow);
    vmm_word(&d, "y");
    cr_assert(d.overflow);
    free(longest);
}
