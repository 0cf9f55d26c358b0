#include <pthread.h>
#include <stdio.h>
#include <string.h>
char *block(void);
static void *fill(void *letter) {
    memset(block(), *(char *)letter, 65536);
    return block() + 65535;
}
int main(void) {
    pthread_t thread;
    fill("a");
    pthread_create(&thread, NULL, fill, "b");
    pthread_join(thread, NULL);
    printf("%c %c\n", block()[0], block()[65535]);
    return 0;
}
