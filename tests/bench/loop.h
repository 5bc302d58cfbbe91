/* What both programs need of the system: a clock, an address on this machine, an end. */
#ifndef LOOP_H
#define LOOP_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000ll

static inline int64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * SECOND_NS + at.tv_nsec;
}

static inline void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Ends with whoever started it, and by itself after so many seconds, whatever happens. */
static inline void bound_life(unsigned seconds)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(seconds);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* Waits until the epoll instance has events, or until `due_ns`; epoll_wait alone counts whole milliseconds. */
static inline int wait_events(int poll_fd, struct epoll_event *events, int most, int64_t due_ns)
{
    int64_t left_ns = due_ns - now_ns();
    if (left_ns > 0) {
        struct timespec left = {left_ns / SECOND_NS, left_ns % SECOND_NS};
        struct pollfd one = {.fd = poll_fd, .events = POLLIN};
        ppoll(&one, 1, &left, NULL);
    }
    int count = epoll_wait(poll_fd, events, most, 0);
    return count < 0 ? 0 : count;
}

static inline void watch(int poll_fd, int operation, int fd, uint32_t events, void *owner)
{
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(poll_fd, operation, fd, &event))
        fail("epoll_ctl");
}

static inline struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on a Unix socket, which has no delay */
}

#endif
