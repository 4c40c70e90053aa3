// The keys of upstream Kuasar's files: taken, or passed over, none refused.
#include <criterion/criterion.h>
#include <string.h>

#include "base/log.h"
#include "task/settings.h"
#include "vmm/config.h"

static int parse(const char *text, struct error *err)
{
    log_setup("test", LOG_LEVEL_ERROR);
    const struct config_table *t = &vmm_config_table;
    if (config_parse("vmm.toml", text, strlen(text), t->keys, t->n, t->target, err) < 0)
        return -1;
    return t->check(t->target, err);
}

static void good(const char *text)
{
    struct error err = {0};
    cr_assert_eq(parse(text, &err), 0, "%s", err.text);
}

static void bad(const char *text, const char *why)
{
    struct error err = {0};
    cr_assert_eq(parse(text, &err), -1, "%s", text);
    cr_expect(strstr(err.text, why), "%s", err.text);
}

Test(vmm_config, what_qemu_gets)
{
    struct vmm_machine m = {0};
    good("[sandbox]\nlog_level = \"info\"\nenable_tracing = false\n"
         "[hypervisor]\nvcpus = 2\nmemory_in_mb = 2048\nkernel_path = \"/k\"\n"
         "initrd_path = \"/i\"\nimage_path = \"\"\nkernel_params = \"a=b\"\nfirmware_path = \"\"\n"
         "machine_accelerators = \"\"\ncpu_features = \"pmu=off\"\ncpu_model = \"host\"\n"
         "qemu_path = \"/usr/bin/q\"\nmachine_type = \"pc\"\ndefault_bridges = 1\n"
         "default_max_vcpus = 0\nentropy_source = \"/dev/urandom\"\nmem_slots = 1\n"
         "mem_offset = 0\nmemory_path = \"\"\nfile_backend_mem_path = \"\"\nmem_prealloc = false\n"
         "hugepages = false\nenable_vhost_user_store = false\nenable_swap = false\n"
         "msize_9p = 8192\nvirtio_9p_direct_io = true\nvirtio_9p_multidevs = \"x\"\n"
         "enable_iothreads = false\nblock_device_driver = \"virtio-blk\"\ndisable_nvdimm = true\n"
         "share_fs = \"virtio-fs\"\nuse_vsock = true\nvirtiofs_daemon_path = \"/v\"\ndebug = true\n"
         "[hypervisor.virtiofsd]\npath = \"/v\"\nthread_pool_size = 4\n");
    cr_expect_eq(vmm_config.vcpus, 2);
    cr_expect_eq(vmm_config.memory_in_mb, 2048);
    cr_expect_str_eq(vmm_config.kernel_params, "a=b");
    vmm_config_files(&vmm_qemu, &m);
    cr_expect_str_eq(m.program, "/usr/bin/q");
    cr_expect_str_eq(m.kernel, "/k");
    cr_expect_str_eq(m.initrd, "/i");
    // Another kernel altogether.
    vmm_config_files(&vmm_uml, &m);
    cr_expect_str_eq(m.kernel, vmm_uml.kernel);
}

Test(vmm_config, what_others_have)
{
    good("[hypervisor]\npath = \"/usr/local/bin/cloud-hypervisor\"\nvcpus = 1\n"
         "memory_in_mb = 1024\nkernel_path = \"\"\nimage_path = \"/var/lib/kuasar/kuasar.img\"\n"
         "enable_mem_prealloc = false\nfirmware = \"\"\n"
         "[hypervisor.task]\ndebug = true\nenable_tracing = false\n"
         "[hypervisor.virtiofsd]\npath = \"/usr/local/bin/virtiofsd\"\nlog_level = \"info\"\n"
         "cache = \"never\"\nthread_pool_size = 4\nsyslog = true\n");
    cr_expect(vmm_config.debug);
    good("[hypervisor.virtiofsd_conf]\npath = \"/usr/bin/vhost_user_fs\"\n");
}

Test(vmm_config, our_own)
{
    struct vmm_machine m = {0};
    good("[hypervisor]\ntype = \"qemu\"\n[hypervisor.uml]\nkernel_path = \"/u\"\n");
    cr_expect_str_eq(vmm_config.type, "qemu");
    vmm_config_files(&vmm_uml, &m);
    cr_expect_str_eq(m.kernel, "/u");
    cr_expect_str_eq(m.initrd, vmm_uml.initrd);
    vmm_config_files(&vmm_qemu, &m);
    cr_expect_str_eq(m.kernel, vmm_qemu.kernel);
    cr_expect_null(m.accelerator);
    good("[hypervisor]\naccelerator = \"tcg\"\n");
    vmm_config_files(&vmm_qemu, &m);
    cr_expect_str_eq(m.accelerator, "tcg");
    vmm_config_files(&vmm_uml, &m);
    cr_expect_null(m.accelerator);
}

// The example says of itself that it holds the defaults.
Test(vmm_config, example)
{
    const struct vmm_config before = vmm_config;
    struct error err = {0};
    struct settings s;
    cr_assert_eq(settings_init(&s, "/run/kuasar-vmm", &err), 0);
    cr_assert_eq(
        settings_load(&s, TEST_DATA "/../examples/kuasar/vmm.toml", true, &vmm_config_table, &err),
        0, "%s", err.text);
    cr_expect_str_eq(vmm_config.type, vmm_uml.name);
    cr_expect_eq(vmm_config.vcpus, before.vcpus);
    cr_expect_eq(vmm_config.memory_in_mb, before.memory_in_mb);
    cr_expect_str_eq(vmm_config.kernel_params, "");
    cr_expect(!vmm_config.debug);
    cr_expect_str_eq(vmm_config.qemu.program, vmm_qemu.program);
    cr_expect_str_eq(vmm_config.qemu.kernel, vmm_qemu.kernel);
    cr_expect_str_eq(vmm_config.qemu.initrd, vmm_qemu.initrd);
    cr_expect_str_eq(vmm_config.uml.kernel, vmm_uml.kernel);
    cr_expect_str_eq(vmm_config.uml.initrd, vmm_uml.initrd);
    cr_expect(s.default_unprivileged_ports && s.default_unprivileged_icmp);
    settings_done(&s);
}

Test(vmm_config, errors_name_the_key)
{
    bad("[hypervisor]\ntype = \"xen\"\n", "hypervisor.type: \"xen\": there are uml and qemu");
    bad("[hypervisor]\ntype = \"uml\"\nvcpus = 0\n", "vmm.toml:3: hypervisor.vcpus: 0 is out of");
    bad("[hypervisor]\nmemory_in_mb = 1\n", "hypervisor.memory_in_mb: 1 is out of range");
    bad("[hypervisor]\nkernel_path = \"vmlinux\"\n", "hypervisor.kernel_path");
    bad("[hypervisor]\nkernel = \"/vmlinux\"\n", "hypervisor.kernel: unknown key");
    bad("[hypervisor]\nvcpus = \"2\"\n", "wanted integer, found string");
    bad("[hypervisor]\naccelerator = \"hvf\"\n", "hypervisor.accelerator: \"hvf\": there are kvm");
}
