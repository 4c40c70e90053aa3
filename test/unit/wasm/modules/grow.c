// Takes memory, up to 256 MiB, and says how many MiB there were.
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    int n = 0;
    for (volatile char *p; n < 256 && (p = malloc(1 << 20)); n++)
        p[n] = 1;
    printf("%d\n", n);
    return 0;
}
