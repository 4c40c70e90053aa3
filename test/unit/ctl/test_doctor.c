// Each check of doctor against a made-up tree: what is in order, and each fault with its remedy.
#include "ctl/doctor.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "rpc/listen.h"

static char root[64];
static int socket_fd = -1;

static void put_mode(const char *path, const char *text, mode_t mode)
{
    char full[PATH_MAX], dir[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", root, path);
    snprintf(dir, sizeof dir, "%s", full);
    *strrchr(dir, '/') = '\0';
    cr_assert_eq(file_mkdir_all(dir, 0755), 0);
    cr_assert_eq(file_write_atomic_at(AT_FDCWD, full, text, strlen(text), mode), 0);
}

static void put(const char *path, const char *text)
{
    put_mode(path, text, 0644);
}

static void put_program(const char *path, const char *script)
{
    char text[4096];
    snprintf(text, sizeof text, "#!/bin/sh\n%s\n", script);
    put_mode(path, text, 0755);
}

static void take_away(const char *path)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", root, path);
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, full), 0);
}

#define CONFIG                                                                                     \
    "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n"                                 \
    "[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'pause:1'\n"
#define DROP_IN                                                                                    \
    "version = 3\n[proxy_plugins.runc]\ntype = 'sandbox'\naddress = '/run/s.sock'\n"               \
    "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kuasar-runc]\n"                   \
    "runtime_type = 'io.containerd.kuasar-runc.v2'\nsandboxer = 'runc'\n"

// containerd, as far as it is asked: --version, and "config dump", which is all that it imports.
static void put_containerd(const char *version)
{
    char script[1024];
    snprintf(script, sizeof script,
             "if [ \"$1\" = --version ]; then echo 'containerd example.com/c v%s abc'; exit; fi\n"
             "sed -e '/^version/d' '%s/etc/containerd/config.toml' %s/etc/containerd/conf.d/*",
             version, root, root);
    put_program("/opt/c/containerd", script);
}

static void put_link(const char *path, const char *target)
{
    char full[PATH_MAX];
    put(path, ""); // for its directory
    take_away(path);
    snprintf(full, sizeof full, "%s%s", root, path);
    cr_assert_eq(symlink(target, full), 0);
}

static void set_mode(const char *path, mode_t mode)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", root, path);
    cr_assert_eq(chmod(full, mode), 0);
}

#define OUR_NS   "mnt:[4026531840]"
#define OTHER_NS "mnt:[4026532999]"

// A process as /proc shows it, of real, effective and saved user.
static void put_process(const char *pid, const char *exe, const unsigned uids[3], const char *ns)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    put_link(path, exe);
    snprintf(path, sizeof path, "/proc/%s/ns/mnt", pid);
    put_link(path, ns);
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    snprintf(text, sizeof text, "Name:\tcontainerd\nUmask:\t0022\nUid:\t%u\t%u\t%u\t%u\nGid:\t0\n",
             uids[0], uids[1], uids[2], uids[2]);
    put(path, text);
}

static void put_our_process(const char *pid, const char *exe)
{
    put_process(pid, exe, (unsigned[]){geteuid(), geteuid(), geteuid()}, OUR_NS);
}

static void make_node(void)
{
    char path[PATH_MAX];
    struct error err = {0};
    strcpy(root, "/tmp/doctor.XXXXXX");
    cr_assert(mkdtemp(root));
    put_containerd("2.3.4");
    put_program("/opt/c/ctr", "echo 'REF TYPE'; echo 'pause:1 x'");
    put_program("/opt/shims/containerd-shim-kuasar-runc-v2", "");
    put_program("/usr/bin/runc",
                "case $1 in --version) echo 'runc version 1.2';; *) echo "
                "'{\"linux\":{\"mountExtensions\":{\"idmap\":{\"enabled\":true}}}}';; esac");
    put("/etc/containerd/config.toml", CONFIG);
    put("/etc/containerd/conf.d/a.toml", DROP_IN);
    put("/proc/42/environ", "");
    put("/proc/filesystems", "nodev\tproc\nnodev\toverlay\n");
    put("/proc/sys/user/max_user_namespaces", "1000\n");
    put("/proc/sys/kernel/osrelease", "6.1.0-x\n");
    put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
    put_link("/proc/self/ns/mnt", OUR_NS);
    put_our_process("42", "/opt/c/containerd");
    snprintf(path, sizeof path, "%s/proc/42/environ", root);
    int fd = open(path, O_WRONLY);
    static const char environment[] = "A=b\0PATH=/nowhere:/opt/shims";
    cr_assert_eq(write(fd, environment, sizeof environment), (ssize_t)sizeof environment);
    close(fd);
    put("/run/x", "");
    snprintf(path, sizeof path, "%s/run/s.sock", root);
    socket_fd = rpc_listen_unix(path, &err);
    cr_assert(socket_fd >= 0, "%s", err.text);
}

static void end_node(void)
{
    close(socket_fd);
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, root), 0);
}

TestSuite(doctor, .init = make_node, .fini = end_node);

static struct options options = {.run_dir = "/run", .timeout = 1};

// Runs doctor on the tree. The daemons do not run there: what their check finds is left out.
static struct doctor *examine(void)
{
    static struct ctl ctl = {.options = &options};
    static struct doctor d;
    struct error err = {0};
    ctl.loop = ev_loop_new(EVFLAG_NOENV);
    ctl.reaper = reaper_new(ctl.loop);
    cr_assert_eq(doctor_run(&d, &ctl, root, &err), 0, "%s", err.text);
    reaper_free(ctl.reaper);
    ev_loop_destroy(ctl.loop);
    return &d;
}

// Among what is found is this, with this remedy.
static void expect_among(enum verdict verdict, const char *says, const char *does)
{
    struct doctor *d = examine();
    bool said = false;
    for (size_t i = 0; i < d->n; i++)
        said |= d->list[i].verdict == verdict && strstr(d->list[i].text, says) &&
                strstr(d->list[i].remedy, does);
    cr_expect(said, "not found: %s -> %s", says, does);
    doctor_done(d);
}

// Exactly one finding is not in order (none with `says` NULL), says this, and has this remedy.
static void expect_fault(enum verdict verdict, const char *says, const char *does)
{
    struct doctor *d = examine();
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++) {
        const struct finding *f = &d->list[i];
        if (f->verdict == VERDICT_OK || strcmp(f->area, "daemons") == 0)
            continue;
        n++;
        cr_expect(says && strstr(f->text, says) && strstr(f->remedy, does) && f->verdict == verdict,
                  "%s: %s -> %s", verdict_name(f->verdict), f->text, f->remedy);
    }
    cr_expect_eq(n, says ? 1 : 0, "%zu findings, want: %s", n, says ? says : "none");
    doctor_done(d);
}

Test(doctor, a_node_in_order)
{
    expect_fault(VERDICT_OK, NULL, NULL);
}

Test(doctor, no_sandboxer_was_started)
{
    struct doctor *d = examine();
    cr_expect_eq(doctor_exit(d), EXIT_ERROR);
    bool said = false;
    for (size_t i = 0; i < d->n; i++)
        said |= strstr(d->list[i].text, "no state directory") && *d->list[i].remedy;
    cr_expect(said);
    doctor_done(d);
}

// ---- which process is containerd ---------------------------------------------------------------

// Makes a program that leaves a mark below the root when it is run.
static void put_trap(const char *path)
{
    char script[256];
    snprintf(script, sizeof script, "touch %s/sprung; echo 'containerd x v2.3.4'", root);
    put_program(path, script);
}

static bool trap_sprung(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/sprung", root);
    return access(path, F_OK) == 0;
}

// A process that must not be taken for containerd. With the real one beside it nothing is said;
// alone it is what doctor complains of. In neither case its program is run.
static void expect_refused(const char *says)
{
    expect_fault(VERDICT_OK, NULL, NULL);
    take_away("/proc/42");
    expect_among(VERDICT_ERROR, says, "nobody else's to write");
    cr_expect_not(trap_sprung(), "it was run");
}

Test(doctor, containerd_upgraded_under_way)
{
    put_our_process("42", "/opt/c/containerd (deleted)");
    expect_fault(VERDICT_WARNING, "has been replaced since containerd was started", "restart");
}

Test(doctor, containerd_of_another_user)
{
    const unsigned other = geteuid() + 1000;
    put_trap("/home/x/containerd");
    for (size_t i = 0; i < 3; i++) {
        unsigned uids[] = {geteuid(), geteuid(), geteuid()};
        char pid[] = {(char)('2' + i), '\0'};
        uids[i] = other;
        put_process(pid, "/home/x/containerd", uids, OUR_NS);
    }
    expect_refused("user");
}

Test(doctor, containerd_without_status)
{
    put_trap("/home/x/containerd");
    put_our_process("7", "/home/x/containerd");
    put("/proc/7/status", "Name:\tx\n");
    expect_refused("user");
}

Test(doctor, containerd_in_another_mount_namespace)
{
    put_trap("/usr/bin/containerd"); // the path as it is seen inside
    put_process("7", "/usr/bin/containerd", (unsigned[]){geteuid(), geteuid(), geteuid()},
                OTHER_NS);
    expect_fault(VERDICT_OK, NULL, NULL);
    cr_expect_not(trap_sprung());
    take_away("/usr/bin/containerd"); // which doctor would find in $PATH
    expect_refused("another mount namespace");
}

Test(doctor, containerd_that_others_may_write)
{
    put_trap("/home/x/containerd");
    put_our_process("7", "/home/x/containerd");
    set_mode("/home/x/containerd", 0775);
    expect_refused("/home/x/containerd has mode 0775");
}

Test(doctor, containerd_in_a_directory_that_others_may_write)
{
    put_trap("/tmp/x/containerd");
    put_our_process("7", "/tmp/x/containerd");
    set_mode("/tmp", 01777);
    expect_refused("/tmp has mode 1777");
}

Test(doctor, containerd_that_belongs_to_another_user)
{
    char path[PATH_MAX];
    if (geteuid() != 0)
        cr_skip_test("only root gives a file away");
    put_trap("/home/x/containerd");
    put_our_process("7", "/home/x/containerd");
    snprintf(path, sizeof path, "%s/home/x", root);
    cr_assert_eq(chown(path, 1000, 1000), 0);
    expect_refused("/home/x belongs to user 1000");
}

Test(doctor, containerd_whose_program_is_a_link)
{
    put_trap("/home/x/other");
    put_link("/home/x/containerd", "other");
    put_our_process("7", "/home/x/containerd");
    expect_refused("/home/x/containerd is");
}

Test(doctor, ctr_that_others_may_write)
{
    put_trap("/opt/c/ctr");
    set_mode("/opt/c/ctr", 0777);
    expect_fault(VERDICT_OK, NULL, NULL); // nothing is known of the image
    cr_expect_not(trap_sprung());
}

Test(doctor, config_that_is_no_absolute_path)
{
    static const char *const values[] = {"--config=config.toml", "--config=/etc/../tmp/x"};
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        put("/proc/42/cmdline", values[i]);
        expect_fault(VERDICT_WARNING, "containerd was started with", "--containerd-config");
    }
}

// ---- its version and configuration --------------------------------------------------------------

Test(doctor, old_containerd)
{
    put_containerd("1.7.24");
    expect_fault(VERDICT_ERROR, "version 1.7", "2.1 or newer");
}

Test(doctor, containerd_refuses_its_configuration)
{
    put_program("/opt/c/containerd",
                "[ \"$1\" = --version ] && echo 'containerd x v2.3.4' && exit\n"
                "echo 'noise' >&2; echo 'containerd: it is broken' >&2; exit 1");
    expect_fault(VERDICT_ERROR, "does not take its configuration: containerd: it is broken",
                 "config dump");
}

Test(doctor, drop_in_newer_than_the_main_file)
{
    put("/etc/containerd/config.toml",
        "version = 2\nimports = [\"conf.d/*.toml\"]\n"
        "[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'pause:1'\n");
    struct doctor *d = examine();
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++)
        n += d->list[i].verdict == VERDICT_ERROR && strstr(d->list[i].text, "of version 3") &&
             strstr(d->list[i].remedy, "config migrate");
    cr_expect_geq(n, 1);
    doctor_done(d);
}

Test(doctor, drop_in_that_nothing_imports)
{
    put("/etc/containerd/config.toml",
        "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = "
        "'pause:1'\n");
    expect_fault(VERDICT_ERROR, "imports nothing", "add imports = ");
}

Test(doctor, no_handler_of_ours)
{
    put("/etc/containerd/conf.d/a.toml", "version = 3\n");
    expect_fault(VERDICT_ERROR, "no handler", "restart containerd");
}

Test(doctor, only_one_kind)
{
    put("/etc/containerd/conf.d/b.toml",
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kuasar-wasm]\n"
        "runtime_type = 'io.containerd.kuasar-wasm.v2'\nsandboxer = 'wasm'\n");
    put_program("/opt/shims/containerd-shim-kuasar-wasm-v2", "");
    expect_among(VERDICT_ERROR, "no [proxy_plugins.wasm]", "add the table");
    expect_among(VERDICT_ERROR, "no wasm-worker", "README.md");
    options.kind = "runc";
    expect_fault(VERDICT_OK, NULL, NULL);
    options.kind = "vmm";
    expect_fault(VERDICT_ERROR, "no handler has the sandboxer \"vmm\"", "restart containerd");
    options.kind = "wasm";
    expect_among(VERDICT_ERROR, "no [proxy_plugins.wasm]", "add the table");
    expect_among(VERDICT_ERROR, "no wasm-worker", "README.md");
}

Test(doctor, no_proxy_plugin)
{
    put("/etc/containerd/conf.d/a.toml",
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kuasar-runc]\n"
        "runtime_type = 'io.containerd.kuasar-runc.v2'\nsandboxer = 'runc'\n");
    expect_fault(VERDICT_ERROR, "no [proxy_plugins.runc]", "add the table");
}

Test(doctor, wrong_type_of_proxy)
{
    put("/etc/containerd/conf.d/a.toml",
        "version = 3\n[proxy_plugins.runc]\ntype = 'snapshot'\naddress = '/run/s.sock'\n"
        "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.\"my.kind\"]\n"
        "runtime_type = 'io.containerd.kuasar-runc.v2'\nsandboxer = 'runc'\n");
    expect_fault(VERDICT_ERROR, "my.kind: [proxy_plugins.runc] has type = \"snapshot\"",
                 "type = \"sandbox\"");
}

Test(doctor, stale_socket_of_the_sandboxer)
{
    close(socket_fd);
    socket_fd = -1;
    expect_fault(VERDICT_ERROR, "its sandboxer does not listen", "start it");
}

Test(doctor, shim_not_in_the_path)
{
    take_away("/opt/shims");
    expect_fault(VERDICT_ERROR,
                 "containerd-shim-kuasar-runc-v2 is not in containerd's PATH "
                 "(/nowhere:/opt/shims)",
                 "runtime_path");
    put_program("/opt/c/containerd-shim-kuasar-runc-v2", ""); // beside containerd will do
    expect_fault(VERDICT_OK, NULL, NULL);
}

Test(doctor, options_table_on_2_1_only)
{
    put("/etc/containerd/conf.d/a.toml",
        DROP_IN "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kuasar-runc.options]\n"
                "BinaryName = 'crun'\n");
    expect_fault(VERDICT_OK, NULL, NULL);
    put_containerd("2.1.9");
    expect_fault(VERDICT_ERROR, "table of options", "runtimes.kuasar-runc.options] out");
}

Test(doctor, pause_image_absent)
{
    put_program("/opt/c/ctr", "echo REF");
    expect_fault(VERDICT_WARNING, "pause:1 is not in the image store", "pinned_images.sandbox");
}

Test(doctor, cri_disabled)
{
    put("/etc/containerd/config.toml", "disabled_plugins = ['cri']\n" CONFIG);
    expect_fault(VERDICT_ERROR, "disabled_plugins has \"cri\"", "take it out");
}

Test(doctor, no_runtime)
{
    take_away("/usr/bin/runc");
    expect_fault(VERDICT_ERROR, "neither runc nor crun", "apt install runc");
}

Test(doctor, configured_runtime_absent)
{
    put(KUASAR_SYSCONFDIR "/runc.toml", "runtime = 'youki'\n");
    expect_fault(VERDICT_ERROR, "runtime = \"youki\"", "name another");
}

// ---- WebAssembly --------------------------------------------------------------------------------

static void put_wasm_handler(const char *handler)
{
    char text[1024], shim[128];
    snprintf(text, sizeof text,
             "version = 3\n"
             "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.%s]\n"
             "runtime_type = 'io.containerd.%s.v2'\nsandboxer = 'runc'\n",
             handler, handler);
    put("/etc/containerd/conf.d/b.toml", text);
    snprintf(shim, sizeof shim, "/opt/shims/containerd-shim-%s-v2", handler);
    put_program(shim, "");
}

static void put_worker(const char *engines)
{
    char script[256];
    snprintf(script, sizeof script, "[ $1 = engines ] && printf '%s'", engines);
    put_program("/usr/local/bin/wasm-worker", script);
}

Test(doctor, engines)
{
    put_wasm_handler("kuasar-wasm");
    put_worker("wasmtime 50.0.1\\nwasmedge 0.14\\n");
    expect_fault(VERDICT_OK, NULL, NULL);
    expect_among(VERDICT_OK, "wasm-worker has wasmtime 50.0.1", "");
    expect_among(VERDICT_OK, "wasm-worker has wasmedge 0.14", "");
}

Test(doctor, no_worker)
{
    expect_fault(VERDICT_OK, NULL, NULL); // and no handler that needs one
    put_wasm_handler("kuasar-wasm");
    expect_fault(VERDICT_ERROR, "no wasm-worker", "README.md");
}

Test(doctor, no_worker_for_a_daemon)
{
    put("/run/kuasar-wasm/tasks/x", "");
    expect_among(VERDICT_ERROR, "no wasm-worker", "README.md");
}

Test(doctor, library_of_the_engine_absent)
{
    put_program("/usr/local/bin/wasm-worker",
                "echo 'wasm-worker: error while loading shared libraries: libwasmtime.so: cannot "
                "open shared object file: No such file or directory' >&2; exit 127");
    expect_fault(VERDICT_WARNING, "libwasmtime.so", "ldconfig");
    put_wasm_handler("kuasar-wasm");
    expect_fault(VERDICT_ERROR, "libwasmtime.so", "ldconfig");
}

Test(doctor, worker_without_engines)
{
    put_wasm_handler("kuasar-wasm");
    put_worker("");
    expect_fault(VERDICT_ERROR, "finds no engine", "engine-NAME.so");
}

Test(doctor, engine_of_a_handler_absent)
{
    put_wasm_handler("kuasar-wasmedge");
    put_worker("wasmtime 50.0.1\\n");
    expect_fault(VERDICT_WARNING, "kuasar-wasmedge: /usr/local/bin/wasm-worker finds no",
                 "take the handler out");
    put_worker("wasmtime 50.0.1\\nwasmedge 0.14\\n");
    expect_fault(VERDICT_OK, NULL, NULL);
}

Test(doctor, configured_engine_absent)
{
    put_wasm_handler("kuasar-wasm");
    put_worker("wasmtime 50.0.1\\n");
    put(KUASAR_SYSCONFDIR "/wasm.toml", "engine = 'wasmedge'\n");
    expect_fault(VERDICT_ERROR, "finds no wasmedge, which is the engine in", "set engine");
    put_worker("wasmedge 0.14\\n");
    expect_fault(VERDICT_OK, NULL, NULL);
    take_away(KUASAR_SYSCONFDIR "/wasm.toml");
    expect_fault(VERDICT_ERROR, "finds no wasmtime", "set engine");
}

Test(doctor, compiled_code)
{
    put("/var/cache/kuasar-wasm/wasmtime-50.0.1-ab/code", "0123456789");
    set_mode("/var/cache/kuasar-wasm", 0700);
    expect_fault(VERDICT_OK, NULL, NULL);
    expect_among(VERDICT_OK, "the compiled code of 1 modules, 0.0 MiB", "");
    set_mode("/var/cache/kuasar-wasm", 0750);
    expect_fault(VERDICT_ERROR, "has mode 0750", "chmod 0700");
    set_mode("/var/cache/kuasar-wasm", 01777);
    expect_fault(VERDICT_ERROR, "has mode 1777", "empty it");
    take_away("/var/cache/kuasar-wasm");
    put("/var/cache/kuasar-wasm", "");
    expect_fault(VERDICT_ERROR, "is no directory", "remove it");
}

Test(doctor, compiled_code_of_another_user)
{
    char path[PATH_MAX];
    if (geteuid() != 0)
        cr_skip_test("only root gives a directory away");
    put("/var/cache/kuasar-wasm/x", "");
    set_mode("/var/cache/kuasar-wasm", 0700);
    snprintf(path, sizeof path, "%s/var/cache/kuasar-wasm", root);
    cr_assert_eq(chown(path, 1000, 1000), 0);
    expect_fault(VERDICT_ERROR, "is not root's", "remove it");
}

// ---- kernel, cgroups, directories ---------------------------------------------------------------

Test(doctor, old_kernel)
{
    put("/proc/sys/kernel/osrelease", "5.10.0\n");
    expect_fault(VERDICT_WARNING, "mount_setattr is missing", "Linux 5.12");
}

Test(doctor, no_overlay)
{
    put("/proc/filesystems", "nodev\tproc\nnodev\toverlayx\n");
    expect_fault(VERDICT_WARNING, "overlay", "modprobe");
}

Test(doctor, no_user_namespaces)
{
    put("/proc/sys/user/max_user_namespaces", "0\n");
    expect_fault(VERDICT_WARNING, "at most 0", "sysctl");
}

Test(doctor, cgroup_controllers)
{
    put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids memoryx\n");
    expect_fault(VERDICT_ERROR, "the memory controller", "cgroup_enable=memory");
    take_away("/sys/fs/cgroup/cgroup.controllers");
    expect_fault(VERDICT_ERROR, "no cgroup hierarchy", "mount -t cgroup2");
    static const char *const v1[] = {"memory", "cpu", "pids", "cpuset", "blkio", "devices"};
    for (size_t i = 0; i < ARRAY_SIZE(v1); i++) {
        char path[64];
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/cgroup.procs", v1[i]);
        put(path, "");
    }
    expect_fault(VERDICT_WARNING, "freezer controller", "mount it");
}

Test(doctor, state_directories_and_sockets)
{
    static const struct {
        const char *says, *does;
    } wanted[] = {
        {"kuasar-x/sandboxes has mode 0777", "chmod 0755"},
        {"kuasar-x/task.sock has mode 0666", "chmod 0600"},
        {"quarantine holds 1 records", "by hand"},
        {"sandboxer of kind x does not answer", "start it"},
    };
    char path[PATH_MAX];
    struct error err = {0};
    put("/run/kuasar-x/sandboxes/x", "");
    put("/run/kuasar-x/quarantine/a", "");
    snprintf(path, sizeof path, "%s/run/kuasar-x/sandboxes", root);
    cr_assert_eq(chmod(path, 0777), 0);
    snprintf(path, sizeof path, "%s/run/kuasar-x/task.sock", root);
    int fd = rpc_listen_unix(path, &err);
    cr_assert(fd >= 0 && chmod(path, 0666) == 0);
    struct doctor *d = examine();
    for (size_t w = 0; w < ARRAY_SIZE(wanted); w++) {
        bool said = false;
        for (size_t i = 0; i < d->n; i++)
            said |= strstr(d->list[i].text, wanted[w].says) &&
                    strstr(d->list[i].remedy, wanted[w].does);
        cr_expect(said, "%s", wanted[w].says);
    }
    doctor_done(d);
    close(fd);
}
