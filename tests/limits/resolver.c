/* A name server that the test commands: *.test is answered from a file in $RESOLVER, or not for a minute. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*lookup)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    lookup system = (lookup)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *directory = getenv("RESOLVER");
    char path[512], address[64] = "";
    if (node == NULL || directory == NULL || strstr(node, ".test") == NULL)
        return system(node, service, hints, found);
    snprintf(path, sizeof path, "%s/%s", directory, node);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return EAI_NONAME;
    if (fscanf(file, "%63s", address) != 1)
        address[0] = '\0';
    fclose(file);
    if (strcmp(address, "silence") == 0) {
        sleep(60);
        return EAI_AGAIN;
    }
    return system(address, service, hints, found);
}
