// What is kept, for how long, and from whom.
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cache.h"
#include "worker/worker.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK)

static char top[] = "/tmp/cache-XXXXXX";
static char dir[64];

static void make_top(void)
{
    cr_assert(mkdtemp(top));
    snprintf(dir, sizeof(dir), "%s/a/cache", top);
}

static void remove_top(void)
{
    cr_expect_eq(file_remove_tree_at(AT_FDCWD, top), 0);
}

TestSuite(cache, .init = make_top, .fini = remove_top);

static int code_of(const char *text, int seals)
{
    int fd = memfd_create("code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static enum status keep(const char *name, int code)
{
    struct error err = {0};
    int r = cache_keep(dir, name, code, &err);
    close(code);
    return r == 0 ? STATUS_OK : err.status;
}

static const char *in_cache(const char *name)
{
    static char path[512];
    cr_assert_eq(path_format(path, sizeof(path), "%s/%s", dir, name), 0);
    return path;
}

static bool is_kept(const char *name)
{
    return access(in_cache(name), F_OK) == 0;
}

static const char *code_in(const char *name)
{
    static char path[600];
    cr_assert_eq(path_format(path, sizeof(path), "%s/%s/code", dir, name), 0);
    return path;
}

static const char *text_of(const char *name)
{
    static char text[256];
    int fd = open(code_in(name), O_RDONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0, "%s", name);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static int count_files(void)
{
    int n = 0;
    DIR *d = opendir(dir);
    cr_assert(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    closedir(d);
    return n;
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    cr_assert_eq(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

// An entry of `size` bytes that takes no space, last used `age` seconds ago.
static void make_entry(const char *name, off_t size, time_t age)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - age}, {.tv_sec = time(NULL) - age}};
    cr_assert_eq(mkdir(in_cache(name), 0755), 0);
    int fd = open(code_in(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && ftruncate(fd, size) == 0 && futimens(fd, times) == 0);
    close(fd);
}

Test(cache, is_ours_alone)
{
    umask(0);
    cr_assert_eq(keep("e-1-abc", code_of("code", SEALS)), STATUS_OK);
    cr_expect_str_eq(text_of("e-1-abc"), "code");
    cr_expect_eq(mode_of(dir), 0700);
    cr_expect_eq(mode_of(in_cache("e-1-abc")), 0755);
    cr_expect_eq(mode_of(code_in("e-1-abc")), 0644);
    cr_expect_eq(count_files(), 1);
    umask(077);
    cr_assert_eq(keep("e-1-def", code_of("code", SEALS)), STATUS_OK);
    cr_expect_eq(mode_of(in_cache("e-1-def")), 0755);
    cr_expect_eq(mode_of(code_in("e-1-def")), 0644);
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, in_cache("e-1-def")), 0);
    // The new one takes its place, for those who open it from now on.
    int old = open(code_in("e-1-abc"), O_RDONLY | O_CLOEXEC);
    cr_assert_eq(keep("e-1-abc", code_of("CODE", SEALS)), STATUS_OK);
    char text[8] = "";
    cr_expect(read(old, text, 7) == 4 && strcmp(text, "code") == 0);
    cr_expect_str_eq(text_of("e-1-abc"), "CODE");
    cr_expect_eq(count_files(), 1);
}

Test(cache, takes_what_nobody_can_write)
{
    cr_expect_eq(keep("n", code_of("code", 0)), STATUS_FAILED_PRECONDITION);
    cr_expect_eq(keep("n", code_of("code", F_SEAL_WRITE | F_SEAL_GROW)),
                 STATUS_FAILED_PRECONDITION);
    cr_expect_eq(keep("n", code_of("code", F_SEAL_WRITE | F_SEAL_SHRINK)),
                 STATUS_FAILED_PRECONDITION);
    cr_expect_eq(keep("n", code_of("code", F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK)),
                 STATUS_FAILED_PRECONDITION);
    cr_expect_eq(keep("n", code_of("", SEALS)), STATUS_FAILED_PRECONDITION);
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    cr_expect_eq(keep("n", ends[0]), STATUS_FAILED_PRECONDITION);
    cr_expect_eq(keep("n", open("/proc/self/exe", O_RDONLY | O_CLOEXEC)),
                 STATUS_FAILED_PRECONDITION);
    cr_expect_eq(keep("n", -1), STATUS_FAILED_PRECONDITION);
    int big = memfd_create("code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert(ftruncate(big, (off_t)WORKER_CODE_MAX + 1) == 0 &&
              fcntl(big, F_ADD_SEALS, SEALS) == 0);
    cr_expect_eq(keep("n", big), STATUS_FAILED_PRECONDITION);
    cr_expect_neq(access(dir, F_OK), 0); // nothing was made for them
}

Test(cache, keeps_away_from_what_others_can_write)
{
    char other[80], parent[80];
    cr_assert_eq(keep("n", code_of("code", SEALS)), STATUS_OK);
    cr_assert_eq(chmod(dir, 0770), 0);
    cr_expect_eq(keep("m", code_of("code", SEALS)), STATUS_FAILED_PRECONDITION);
    cr_assert_eq(chmod(dir, 0701), 0);
    cr_expect_eq(keep("m", code_of("code", SEALS)), STATUS_FAILED_PRECONDITION);
    cr_assert(chmod(dir, 0700) == 0 && chown(dir, 1000, 0) == 0);
    cr_expect_eq(keep("m", code_of("code", SEALS)), STATUS_FAILED_PRECONDITION);
    cr_expect_not(is_kept("m"));
    // A link in its place, to a directory that would do.
    cr_assert_eq(chown(dir, 0, 0), 0);
    snprintf(other, sizeof(other), "%s/other", top);
    snprintf(parent, sizeof(parent), "%s/a", top);
    cr_assert(rename(dir, other) == 0 && symlink(other, dir) == 0);
    cr_expect_neq(keep("m", code_of("code", SEALS)), STATUS_OK);
    cr_assert_eq(unlink(dir), 0);
    int file = open(dir, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(file);
    cr_expect_neq(keep("m", code_of("code", SEALS)), STATUS_OK);
    cr_assert(unlink(dir) == 0 && rename(other, dir) == 0);
    cr_expect_eq(keep("m", code_of("code", SEALS)), STATUS_OK);
}

// A link under an entry's name is replaced, not followed.
Test(cache, follows_no_link)
{
    char victim[80];
    cr_assert_eq(keep("n", code_of("code", SEALS)), STATUS_OK);
    snprintf(victim, sizeof(victim), "%s/victim", top);
    close(open(victim, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    cr_assert(file_remove_tree_at(AT_FDCWD, in_cache("n")) == 0 &&
              symlink(victim, in_cache("n")) == 0);
    cr_assert_eq(keep("n", code_of("new", SEALS)), STATUS_OK);
    struct stat st;
    cr_expect(stat(victim, &st) == 0 && st.st_size == 0);
    cr_expect_str_eq(text_of("n"), "new");
}

Test(cache, the_oldest_make_room)
{
    const off_t third = (off_t)(CACHE_BYTES_MAX / 3);
    cr_assert_eq(keep("first", code_of("code", SEALS)), STATUS_OK);
    make_entry("middle", third, 200);
    make_entry("oldest", third, 300);
    make_entry("youngest", third, 100);
    make_entry(".left-behind.1", 5, 1000);
    close(open(in_cache("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    // All but the last bytes are in use: one that is larger than what is left.
    char text[64];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    cr_assert_eq(keep("new", code_of(text, SEALS)), STATUS_OK);
    cr_expect_not(is_kept("oldest"));
    cr_expect_not(is_kept(".left-behind.1"));
    cr_expect(is_kept("middle") && is_kept("youngest") && is_kept("first") && is_kept("new"));
    cr_expect(is_kept("file")); // it is young
    // Use counts, not age.
    make_entry("another", third, 50);
    cr_assert_eq(utimensat(AT_FDCWD, code_in("middle"), NULL, 0), 0);
    cr_assert_eq(keep("newer", code_of(text, SEALS)), STATUS_OK);
    cr_expect_not(is_kept("youngest"));
    cr_expect(is_kept("middle") && is_kept("another") && is_kept("newer"));
}

Test(cache, files_have_a_limit_too)
{
    cr_assert_eq(keep("first", code_of("code", SEALS)), STATUS_OK);
    for (int i = 1; i < CACHE_FILES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "e%d", i);
        make_entry(name, 1, 1000 + i);
    }
    cr_assert_eq(count_files(), CACHE_FILES_MAX);
    cr_assert_eq(keep("new", code_of("code", SEALS)), STATUS_OK);
    cr_expect_eq(count_files(), CACHE_FILES_MAX);
    char oldest[16];
    snprintf(oldest, sizeof(oldest), "e%d", CACHE_FILES_MAX - 1);
    cr_expect(!is_kept(oldest) && is_kept("first") && is_kept("new") && is_kept("e1"));
}

Test(cache, several_at_a_time)
{
    pid_t pids[8];
    for (int i = 0; i < 8; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            int good = 1;
            for (int k = 0; k < 20; k++)
                good = good && keep(i % 2 ? "same" : "other", code_of("the code", SEALS)) == 0;
            _exit(good ? 0 : 1);
        }
    }
    for (int i = 0; i < 8; i++) {
        int status = -1;
        cr_assert(waitpid(pids[i], &status, 0) == pids[i]);
        cr_expect_eq(status, 0);
    }
    cr_expect_str_eq(text_of("same"), "the code");
    cr_expect_str_eq(text_of("other"), "the code");
    cr_expect_eq(count_files(), 2);
}

Test(cache, names_that_are_too_long)
{
    char name[300];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    cr_expect_eq(keep(name, code_of("code", SEALS)), STATUS_INVALID_ARGUMENT);
}
