// What can be done with the paths that it is given: "r" read, "w" write (or make a file in it), "-"
// nothing.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_writable(const char *path, int is_directory)
{
    char name[256];
    snprintf(name, sizeof(name), is_directory ? "%s/new" : "%s", path);
    int fd = open(name, O_WRONLY | (is_directory ? O_CREAT : 0), 0644);
    if (fd >= 0 && is_directory)
        unlink(name);
    return fd >= 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char byte;
        struct stat st;
        int is_directory = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
        int fd = open(argv[i], O_RDONLY | (is_directory ? O_DIRECTORY : 0));
        int readable = fd >= 0 && (is_directory || read(fd, &byte, 1) == 1);
        int writable = is_writable(argv[i], is_directory);
        printf("%s%s%s\n", readable ? "r" : "", writable ? "w" : "",
               readable || writable ? "" : "-");
    }
    return 0;
}
