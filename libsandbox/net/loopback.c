#include "net/loopback.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

// ---- the program
// ----------------------------------------------------------------------------------

#define INSN(code_, dst, src, off_, imm_)                                                          \
    {                                                                                              \
        .code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_)          \
    }
#define MOV(dst, src)   INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define SET(dst, value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value)
#define ADD(dst, value) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, value)
#define AND(dst, value) INSN(BPF_ALU64 | BPF_AND | BPF_K, dst, 0, 0, value)
#define OR(dst, src)    INSN(BPF_ALU64 | BPF_OR | BPF_X, dst, src, 0, 0)
// A field of the context, which is in r6.
#define FIELD(dst, field)                                                                          \
    INSN(BPF_LDX | BPF_MEM | BPF_W, dst, 6, offsetof(struct bpf_sk_lookup, field), 0)
// The key, on the stack.
#define KEY(value)     INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, value)
#define CALL(function) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, function)
// Jumps from instruction `at` to `to`.
#define GO(at, to)                 INSN(BPF_JMP | BPF_JA, 0, 0, (to) - (at)-1, 0)
#define IF(at, dst, value, to)     INSN(BPF_JMP | BPF_JEQ | BPF_K, dst, 0, (to) - (at)-1, value)
#define UNLESS(at, dst, value, to) INSN(BPF_JMP | BPF_JNE | BPF_K, dst, 0, (to) - (at)-1, value)

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the program below is written for little-endian machines"
#endif
// Addresses are words in network order.
#define FIRST_OCTET 0xff
#define LOOPBACK_V4 0x7f
#define LAST_OF_V6  0x01000000 // of ::1

enum { KEY_V4, KEY_V6, KEYS };

// Places of the program.
enum { V4 = 16, LOOK_UP = 20, PASS = 33, END = 35 };

static const struct bpf_insn program[END] = {
    [0] = MOV(6, 1),
    [1] = FIELD(2, protocol),
    [2] = UNLESS(2, 2, IPPROTO_TCP, PASS),
    [3] = FIELD(2, family),
    [4] = IF(4, 2, AF_INET, V4),
    [5] = UNLESS(5, 2, AF_INET6, PASS),
    [6] = FIELD(2, local_ip6[0]),
    [7] = FIELD(3, local_ip6[1]),
    [8] = OR(2, 3),
    [9] = FIELD(3, local_ip6[2]),
    [10] = OR(2, 3),
    [11] = UNLESS(11, 2, 0, PASS),
    [12] = FIELD(2, local_ip6[3]),
    [13] = UNLESS(13, 2, LAST_OF_V6, PASS),
    [14] = KEY(KEY_V6),
    [15] = GO(15, LOOK_UP),
    [V4] = FIELD(2, local_ip4),
    [17] = AND(2, FIRST_OCTET),
    [18] = UNLESS(18, 2, LOOPBACK_V4, PASS),
    [19] = KEY(KEY_V4),
    [LOOK_UP] = INSN(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, 0), // two words long
    [22] = MOV(2, 10),
    [23] = ADD(2, -4),
    [24] = CALL(BPF_FUNC_map_lookup_elem),
    [25] = IF(25, 0, 0, PASS),
    [26] = MOV(7, 0),
    [27] = MOV(1, 6),
    [28] = MOV(2, 7),
    [29] = SET(3, 0),
    [30] = CALL(BPF_FUNC_sk_assign),
    [31] = MOV(1, 7),
    [32] = CALL(BPF_FUNC_sk_release),
    [PASS] = SET(0, SK_PASS),
    [34] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
};

static int bpf(enum bpf_cmd command, union bpf_attr *attr, size_t size)
{
    return (int)syscall(SYS_bpf, command, attr, size);
}

static int make_map(void)
{
    union bpf_attr attr = {0};
    attr.map_type = BPF_MAP_TYPE_SOCKMAP;
    attr.key_size = sizeof(uint32_t);
    attr.value_size = sizeof(uint64_t);
    attr.max_entries = KEYS;
    return bpf(BPF_MAP_CREATE, &attr, sizeof attr);
}

static int put_socket(int map, uint32_t key, int fd)
{
    union bpf_attr attr = {0};
    uint64_t value = (uint64_t)fd;
    attr.map_fd = (uint32_t)map;
    attr.key = (uintptr_t)&key;
    attr.value = (uintptr_t)&value;
    return bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof attr);
}

static int load(int map)
{
    struct bpf_insn insns[ARRAY_SIZE(program)];
    union bpf_attr attr = {0};
    memcpy(insns, program, sizeof insns);
    insns[LOOK_UP].imm = map;
    attr.prog_type = BPF_PROG_TYPE_SK_LOOKUP;
    attr.expected_attach_type = BPF_SK_LOOKUP;
    attr.insns = (uintptr_t)insns;
    attr.insn_cnt = ARRAY_SIZE(insns);
    attr.license = (uintptr_t) "Apache-2.0"; // none of its helpers asks for another
    return bpf(BPF_PROG_LOAD, &attr, sizeof attr);
}

static int attach(int prog, int netns)
{
    union bpf_attr attr = {0};
    attr.link_create.prog_fd = (uint32_t)prog;
    attr.link_create.target_fd = (uint32_t)netns;
    attr.link_create.attach_type = BPF_SK_LOOKUP;
    return bpf(BPF_LINK_CREATE, &attr, sizeof attr);
}

// ---- the listeners
// --------------------------------------------------------------------------------

static int listen_at(const void *address, socklen_t len, int family)
{
    const int on = 1;
    _cleanup_close_ int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, address, len) < 0 || listen(fd, SOMAXCONN) < 0)
        return -1;
    return take_fd(&fd);
}

// In the namespace that the process is in, at a port that the kernel chooses.
static int make_listeners(struct net_loopback *l, struct error *err)
{
    const struct sockaddr_in v4 = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    l->v4 = listen_at(&v4, sizeof v4, AF_INET);
    if (l->v4 < 0)
        return error_errno(err, errno, "cannot listen on the pod's loopback");
    l->v6 = listen_at(&v6, sizeof v6, AF_INET6);
    return 0;
}

static int make_listeners_in(int netns, struct net_loopback *l, struct error *err)
{
    _cleanup_close_ int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0 || setns(netns, CLONE_NEWNET) < 0)
        return error_errno(err, errno, "cannot enter the pod's network namespace");
    int r = make_listeners(l, err);
    if (setns(own, CLONE_NEWNET) < 0) {
        log_error("cannot come back from a pod's network namespace: %s", strerror(errno));
        abort();
    }
    return r;
}

static int steer(int netns, struct net_loopback *l, struct error *err)
{
    _cleanup_close_ int map = make_map();
    if (map < 0 || put_socket(map, KEY_V4, l->v4) < 0 ||
        (l->v6 >= 0 && put_socket(map, KEY_V6, l->v6) < 0))
        return error_errno(err, errno, "BPF map of sockets");
    _cleanup_close_ int prog = load(map);
    if (prog < 0)
        return error_set(
            err, STATUS_UNIMPLEMENTED,
            "port-forward: the kernel takes no BPF program for socket lookups (%s); it "
            "must be Linux 5.9 or newer, with CONFIG_BPF_SYSCALL and CONFIG_INET",
            strerror(errno));
    l->link = attach(prog, netns);
    return l->link < 0 ? error_errno(err, errno, "BPF program of socket lookups") : 0;
}

int net_loopback_take(const char *netns, struct net_loopback *ret, struct error *err)
{
    struct net_loopback l = {-1, -1, -1};
    _cleanup_close_ int fd = open(netns, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "network namespace %s", netns);
    if (make_listeners_in(fd, &l, err) < 0 || steer(fd, &l, err) < 0) {
        net_loopback_done(&l);
        return -1;
    }
    *ret = l;
    return 0;
}

void net_loopback_done(struct net_loopback *l)
{
    close_fd(&l->link);
    close_fd(&l->v4);
    close_fd(&l->v6);
}
