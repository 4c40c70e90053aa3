#include "stack.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <unistd.h>

// What the kernel leaves free below a stack, and more than a function needs at once.
#define GAP ((size_t)1 << 20)

static char room[1 << 16]; // for the handler
static const char *top;    // of the stack, or a little below it
static size_t limit;       // how far below it a fault is the stack's
static struct sigaction theirs;
static bool watched;

static void on_fault(int number, siginfo_t *info, void *context)
{
    static const char text[] = "wasm trap: call stack exhausted\n";
    const char *at = info->si_addr;
    // Where a memory must not be used, there is a mapping. Their handler jumps, which it does from
    // where it is set to run: it gets the fault when it comes again.
    if (info->si_code != SEGV_MAPERR || at >= top || (size_t)(top - at) > limit) {
        (void)sigaction(SIGSEGV, &theirs, NULL);
        return;
    }
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(128 + SIGSEGV);
}

// WasmEdge sets its handler when a program enters compiled code, and not again while it is there.
static void on_call(void *arg)
{
    if (watched)
        return;
    watched = true;
    if (sigaction(SIGSEGV, NULL, &theirs) < 0 || !(theirs.sa_flags & SA_SIGINFO) ||
        theirs.sa_sigaction == on_fault)
        return; // it is interpreted
    struct sigaction ours = theirs;
    ours.sa_sigaction = on_fault;
    ours.sa_flags |= SA_ONSTACK;
    (void)sigaction(SIGSEGV, &ours, NULL);
}

void stack_watch(WasmEdge_ExecutorContext *executor)
{
    const stack_t stack = {.ss_sp = room, .ss_size = sizeof(room)};
    struct rlimit most;
    if (sigaltstack(&stack, NULL) < 0 || getrlimit(RLIMIT_STACK, &most) < 0 ||
        most.rlim_cur == RLIM_INFINITY)
        return;
    top = __builtin_frame_address(0);
    limit = most.rlim_cur + GAP;
    watched = false;
    WasmEdge_ExecutorExperimentalRegisterPreHostFunction(executor, NULL, on_call);
}
