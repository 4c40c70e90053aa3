// A WebAssembly program that does what its arguments say: what tests run as containers.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

// What is kept here, no compiler takes away.
static char *volatile kept;

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

// show: arguments, environment, working directory
static int show(int argc, char **argv)
{
    char cwd[256] = "?";
    for (int i = 0; i < argc; i++)
        printf("arg %s\n", argv[i]);
    for (char **e = environ; *e; e++)
        printf("env %s\n", *e);
    getcwd(cwd, sizeof(cwd));
    printf("cwd %s\n", cwd);
    return 0;
}

// exit CODE: a line on both outputs before it
static int leave(int argc, char **argv)
{
    printf("to stdout\n");
    fprintf(stderr, "to stderr\n");
    return atoi(argv[1]);
}

static int deeper(int n);
static int (*volatile again)(int n) = deeper;

// Of the engine's stack; C's own, in the memory, is not used.
static int deeper(int n)
{
    return again(n + 1) + 1;
}

// trap KIND
static int trap(int argc, char **argv)
{
    volatile int zero = 0;
    printf("about to trap\n");
    fflush(stdout);
    if (strcmp(argv[1], "unreachable") == 0)
        __builtin_trap();
    if (strcmp(argv[1], "divide") == 0) {
        volatile int one = 1;
        zero = one / zero;
        return 2;
    }
    if (strcmp(argv[1], "memory") == 0)
        return *(volatile char *)(uintptr_t)0xfffffff0u;
    if (strcmp(argv[1], "stack") == 0)
        return deeper(0);
    if (strcmp(argv[1], "abort") == 0)
        abort();
    return 2;
}

// spin: a loop that never looks up
static int spin(int argc, char **argv)
{
    volatile uint64_t n = 0;
    printf("spinning\n");
    fflush(stdout);
    for (;;)
        n++;
}

static int wait_for(int argc, char **argv)
{
    printf("waiting\n");
    fflush(stdout);
    const struct timespec t = {.tv_sec = atoi(argv[1])};
    return nanosleep(&t, NULL) < 0 ? fail("nanosleep") : 0;
}

static void wait_for_file(const char *path)
{
    const struct timespec t = {.tv_nsec = 20000000};
    struct stat st;
    printf("waiting\n");
    fflush(stdout);
    while (stat(path, &st) < 0)
        nanosleep(&t, NULL);
}

// until PATH CODE: waits until there is such a file
static int wait_until(int argc, char **argv)
{
    wait_for_file(argv[1]);
    return atoi(argv[2]);
}

// grow MIB: that much memory, a MiB at a time, all of it written to
static int grow(int argc, char **argv)
{
    int want = atoi(argv[1]), got = 0;
    for (; got < want && (kept = malloc(1 << 20)); got++)
        memset(kept, 1, 1 << 20);
    printf("%d MiB\n", got);
    fflush(stdout);
    return got == want ? 0 : 7;
}

// grow-when PATH MIB: that, as soon as there is such a file
static int grow_when(int argc, char **argv)
{
    wait_for_file(argv[1]);
    return grow(argc - 1, argv + 1);
}

// hold MIB SECONDS: that much memory for so long
static int hold(int argc, char **argv)
{
    int r = grow(argc, argv);
    return r ? r : wait_for(argc - 1, argv + 1);
}

// say MIB: that much to standard output
static int say(int argc, char **argv)
{
    static char line[1024];
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (long n = atol(argv[1]) * 1024; n > 0; n--) {
        if (fwrite(line, sizeof(line), 1, stdout) != 1)
            return fail("stdout");
    }
    return 0;
}

// echo: standard input to standard output
static int echo(int argc, char **argv)
{
    static char data[65536];
    ssize_t n;
    while ((n = read(0, data, sizeof(data))) > 0) {
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(1, data + done, (size_t)(n - done));
            if (w < 0)
                return fail("stdout");
            done += w;
        }
    }
    return n < 0 ? fail("stdin") : 0;
}

static int read_file(int argc, char **argv)
{
    char data[4096];
    int fd = open(argv[1], O_RDONLY);
    if (fd < 0)
        return fail(argv[1]);
    ssize_t n = read(fd, data, sizeof(data));
    return n < 0 || write(1, data, (size_t)n) != n ? fail(argv[1]) : 0;
}

static int write_file(int argc, char **argv)
{
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0)
        return fail(argv[1]);
    return write(fd, argv[2], strlen(argv[2])) < 0 ? fail(argv[1]) : 0;
}

// fill PATH MIB: a file of that size
static int fill(int argc, char **argv)
{
    static char data[1 << 20];
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0)
        return fail(argv[1]);
    for (int n = atoi(argv[2]); n > 0; n--) {
        if (write(fd, data, sizeof(data)) != sizeof(data))
            return fail(argv[1]);
    }
    return 0;
}

static int list(int argc, char **argv)
{
    DIR *d = opendir(argv[1]);
    if (!d)
        return fail(argv[1]);
    for (struct dirent *e; (e = readdir(d));)
        printf("%s\n", e->d_name);
    return 0;
}

// open PATH: as often as it goes
static int open_many(int argc, char **argv)
{
    int n = 0;
    while (n < 1000000 && open(argv[1], O_RDONLY) >= 0)
        n++;
    printf("%d\n", n);
    return fail("open");
}

// read-here NAME: from the directory that PWD says
static int read_here(int argc, char **argv)
{
    const char *here = getenv("PWD");
    if (!here || chdir(here) < 0) {
        perror("PWD");
        return 1;
    }
    return read_file(argc, argv);
}

static const struct {
    const char *name;
    int args; // how many at least
    int (*run)(int argc, char **argv);
} tools[] = {
    {"show", 0, show},           {"exit", 1, leave},
    {"trap", 1, trap},           {"spin", 0, spin},
    {"wait", 1, wait_for},       {"grow", 1, grow},
    {"hold", 2, hold},           {"say", 1, say},
    {"echo", 0, echo},           {"read", 1, read_file},
    {"write", 2, write_file},    {"list", 1, list},
    {"open", 1, open_many},      {"until", 2, wait_until},
    {"fill", 2, fill},           {"grow-when", 2, grow_when},
    {"read-here", 1, read_here},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof(tools) / sizeof(tools[0]); i++) {
        if (strcmp(argv[1], tools[i].name) == 0 && argc - 2 >= tools[i].args)
            return tools[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "no such tool\n");
    return 2;
}
