// Becoming a container: the pod's namespaces, a mount namespace with the rootfs as its root, the
// identity and limits of the spec, nothing privileged left.
#ifndef WASM_WORKER_ENTER_H
#define WASM_WORKER_ENTER_H

#include "plan.h"

// In this order. 0 or -1. For a process with one thread that has just been executed.
//
// Joins the namespaces that have a path, and makes those that are to be new (but for pid).
int enter_namespaces(const struct plan *p, struct error *err);
// Goes on in the pid namespace that the spec asks for: in a new process, if that is another one
// than ours; the old one ends. (A new one is ours if we are its first process already.) In a new
// one, of which it is the first process, it ends by the signals by which others do, and leaves no
// zombies.
int enter_pids(const struct plan *p, struct error *err);
// Opens the user namespace of the spec: *ret is -1 if it has none. It is joined last.
int enter_users_open(const struct plan *p, int *ret, struct error *err);
// Makes a mount namespace of our own, with the mounts of the spec on the rootfs, masked and
// read-only paths covered. What is made for them belongs to the root of p->ids, of whose user
// namespace `users` is (-1: none). Returns the rootfs (O_PATH), or -1.
int enter_mounts(const struct plan *p, int users, struct error *err);
// Makes it the root, beside which nothing is left.
int enter_root(const struct plan *p, int root, struct error *err);
// For an exec. Goes on as a new process in the pid namespace of a container, whose first process is
// behind `pidfd`; the old one ends. Tells whose ids it has: in p->ids, and its user namespace in
// *ret_users (-1: ours), as enter_users_open. Returns the container's root (O_PATH), or -1.
int enter_container_pids(int pidfd, pid_t pid, struct plan *p, int *ret_users, struct error *err);
// Joins all other namespaces of it; its root is ours then.
int enter_container(int pidfd, struct error *err);
// Goes to the working directory of the spec, below the root that is ours. No link of procfs leads
// out.
int enter_directory(const struct plan *p, struct error *err);
// For a file that the container's user is to open in a root that is not ours yet: the kernel looks
// at the user and the groups of the spec from here on, and at our own again after
// enter_user_left.
int enter_user(const struct plan *p, struct error *err);
int enter_user_left(struct error *err);
// Where this process takes an AppArmor profile, which its root will not show any more: for
// enter_identity. 0, with -1 in *ret_attr if the spec has none, or -1.
int enter_profile_open(const struct plan *p, int *ret_attr, struct error *err);
// Another session keyring, limits, user namespace, groups, user, umask, AppArmor profile (`users`,
// `attr`: closed); no capability, no_new_privs, not dumpable. From here on the process has nothing
// that the container should not have. FAILED_PRECONDITION: it has other threads.
int enter_identity(const struct plan *p, int users, int attr, struct error *err);

#endif
