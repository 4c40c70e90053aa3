/* Says with whose rights it runs; installed with the set-uid bit. critest looks for the words. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    return printf("Effective uid: %d\n", (int)geteuid()) < 0;
}
