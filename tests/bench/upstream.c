/*
 * An instant provider of the OpenAI chat dialect, so that what is measured is the proxy before it.
 *
 *   upstream [-t SECONDS]
 *
 * Listens on two free ports of 127.0.0.1 and prints them: the first answers, the second refuses every
 * POST with 503. One thread, epoll, HTTP/1.1 keep-alive; ends after SECONDS or with its parent.
 *
 *   POST, any path    by the model's name: `stream-N-G` is a stream of N events, G milliseconds apart
 *                     (0: all in one write); anything else one short answer
 *   GET /stats        {"accepted": connections so far, "requests": ..., "refused": ...}
 *   GET, other        a model list
 *
 * Requests need a content-length; a body's first 16 kB are looked at, the rest is only counted.
 */
#define _GNU_SOURCE
#include "loop.h"

enum { HEAD_BYTES = 16384, READ_BYTES = 262144, GAPS_MAX = 16, EVENTS_MOST = 10000 };

struct conn {
    int fd;
    bool refuses, full; /* full: the socket takes no more, and EPOLLOUT is waited for */
    char in[HEAD_BYTES + 1];
    size_t seen, total; /* bytes of this request that came; its size, 0 before its head is complete */
    char *out;
    size_t out_len, out_off, out_room;
    int events_left; /* of the stream under way */
    bool first_event;
    struct queue *queue;
    struct conn *before, *after;
    int64_t due_ns;
};

/* Streams with one gap, in the order in which they are due: each next event is due last of all. */
struct queue {
    int gap_ms;
    struct conn *first, *last;
};

static int poll_fd, listeners[2];
static struct queue queues[GAPS_MAX];
static int queue_count;
static struct {
    unsigned long accepted, requests, refused;
} stats;

static const char FIRST[] = "\"role\":\"assistant\",", REST[] = "";
static const char CONTENT[] = "Lorem ipsum dolor sit amet.";

static void dequeue(struct conn *conn)
{
    struct queue *queue = conn->queue;
    if (!queue)
        return;
    *(conn->before ? &conn->before->after : &queue->first) = conn->after;
    *(conn->after ? &conn->after->before : &queue->last) = conn->before;
    conn->queue = NULL;
}

static void enqueue(struct conn *conn, struct queue *queue)
{
    conn->queue = queue;
    conn->due_ns = now_ns() + queue->gap_ms * 1000000ll;
    conn->before = queue->last;
    conn->after = NULL;
    *(queue->last ? &queue->last->after : &queue->first) = conn;
    queue->last = conn;
}

static struct queue *queue_of(int gap_ms)
{
    for (int i = 0; i < queue_count; i++)
        if (queues[i].gap_ms == gap_ms)
            return &queues[i];
    if (queue_count == GAPS_MAX)
        return &queues[0];
    queues[queue_count].gap_ms = gap_ms;
    return &queues[queue_count++];
}

static void drop(struct conn *conn)
{
    dequeue(conn);
    close(conn->fd);
    free(conn->out);
    free(conn);
}

/* -- writing -- */

static void put(struct conn *conn, const char *text, size_t bytes)
{
    if (conn->out_len + bytes > conn->out_room) {
        conn->out_room = 2 * (conn->out_len + bytes);
        conn->out = realloc(conn->out, conn->out_room);
        if (!conn->out)
            fail("realloc");
    }
    memcpy(conn->out + conn->out_len, text, bytes);
    conn->out_len += bytes;
}

/* False when the connection is gone. */
static bool flush(struct conn *conn)
{
    while (conn->out_off < conn->out_len) {
        ssize_t sent = write(conn->fd, conn->out + conn->out_off, conn->out_len - conn->out_off);
        if (sent < 0 && errno == EAGAIN) {
            if (!conn->full)
                watch(poll_fd, EPOLL_CTL_MOD, conn->fd, EPOLLIN | EPOLLOUT, conn);
            conn->full = true;
            return true;
        }
        if (sent < 0)
            return false;
        conn->out_off += (size_t)sent;
    }
    if (conn->full)
        watch(poll_fd, EPOLL_CTL_MOD, conn->fd, EPOLLIN, conn);
    conn->full = false;
    conn->out_len = conn->out_off = 0;
    return true;
}

static void put_answer(struct conn *conn, const char *status, const char *body, int bytes)
{
    char head[256];
    int head_bytes = snprintf(head, sizeof head,
                              "HTTP/1.1 %s\r\ncontent-type: application/json\r\nx-request-id: up-1\r\n"
                              "content-length: %d\r\n\r\n",
                              status, bytes);
    put(conn, head, (size_t)head_bytes);
    put(conn, body, (size_t)bytes);
}

static void put_event(struct conn *conn)
{
    bool last = conn->events_left == 1;
    char event[512], chunk[640];
    int bytes = snprintf(event, sizeof event,
                         "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,"
                         "\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\"%s\"},"
                         "\"finish_reason\":%s}]}\n\n",
                         conn->first_event ? FIRST : REST, CONTENT, last ? "\"stop\"" : "null");
    int chunk_bytes = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", (unsigned)bytes, event);
    put(conn, chunk, (size_t)chunk_bytes);
    if (last) {
        static const char end[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
        put(conn, end, sizeof end - 1);
    }
    conn->first_event = false;
    conn->events_left--;
}

static bool stream(struct conn *conn, int events, int gap_ms)
{
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: up-1\r\n"
                               "transfer-encoding: chunked\r\n\r\n";
    put(conn, head, sizeof head - 1);
    conn->events_left = events;
    conn->first_event = true;
    do
        put_event(conn);
    while (gap_ms == 0 && conn->events_left);
    if (conn->events_left)
        enqueue(conn, queue_of(gap_ms));
    return flush(conn);
}

/* -- requests -- */

static bool answer_get(struct conn *conn)
{
    char body[256];
    int bytes;
    if (!strncmp(conn->in, "GET /stats ", 11))
        bytes = snprintf(body, sizeof body, "{\"accepted\":%lu,\"requests\":%lu,\"refused\":%lu}", stats.accepted,
                         stats.requests, stats.refused);
    else
        bytes = snprintf(body, sizeof body, "{\"object\":\"list\",\"data\":[{\"id\":\"answer\",\"object\":\"model\"}]}");
    put_answer(conn, "200 OK", body, bytes);
    return flush(conn);
}

static bool answer_post(struct conn *conn)
{
    if (conn->refuses) {
        static const char error[] = "{\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":null}}";
        stats.refused++;
        put_answer(conn, "503 Service Unavailable", error, sizeof error - 1);
        return flush(conn);
    }
    char model[64] = "answer";
    const char *at = strstr(conn->in, "\"model\"");
    if (at)
        sscanf(at + 7, " : \"%63[^\"]", model);
    int events, gap_ms;
    if (sscanf(model, "stream-%d-%d", &events, &gap_ms) == 2 && events > 0 && events <= EVENTS_MOST && gap_ms >= 0)
        return stream(conn, events, gap_ms);
    char body[1024];
    int bytes = snprintf(body, sizeof body,
                         "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"%s\","
                         "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s %s %s %s\"},"
                         "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":24,"
                         "\"total_tokens\":36}}",
                         model, CONTENT, CONTENT, CONTENT, CONTENT);
    put_answer(conn, "200 OK", body, bytes);
    return flush(conn);
}

/* Takes bytes that came; false when the connection is to be closed. */
static bool take(struct conn *conn, const char *bytes, size_t count)
{
    size_t kept = conn->seen < HEAD_BYTES ? HEAD_BYTES - conn->seen : 0;
    if (kept > count)
        kept = count;
    memcpy(conn->in + conn->seen, bytes, kept);
    if (kept)
        conn->in[conn->seen + kept] = 0;
    conn->seen += count;
    if (!conn->total) {
        const char *end = strstr(conn->in, "\r\n\r\n");
        if (!end)
            return conn->seen < HEAD_BYTES;
        const char *length = strcasestr(conn->in, "\r\ncontent-length:");
        conn->total = (size_t)(end + 4 - conn->in);
        if (length && length < end)
            conn->total += strtoul(length + 17, NULL, 10);
    }
    if (conn->seen < conn->total)
        return true;
    if (conn->seen > conn->total || conn->events_left || conn->full)
        return false; /* pipelining is not spoken here */
    stats.requests++;
    bool posted = !strncmp(conn->in, "POST ", 5);
    conn->seen = conn->total = 0;
    return posted ? answer_post(conn) : answer_get(conn);
}

static bool receive(struct conn *conn)
{
    static char buffer[READ_BYTES];
    ssize_t count = read(conn->fd, buffer, sizeof buffer);
    if (count <= 0)
        return count < 0 && errno == EAGAIN;
    return take(conn, buffer, (size_t)count);
}

/* -- connections -- */

static int listen_anywhere(void)
{
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) || listen(fd, 4096))
        fail("listen");
    if (getsockname(fd, (struct sockaddr *)&address, &size))
        fail("getsockname");
    printf("%d\n", ntohs(address.sin_port));
    return fd;
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct conn *conn = calloc(1, sizeof *conn);
        if (!conn)
            fail("calloc");
        conn->fd = fd;
        conn->refuses = listener == listeners[1];
        no_delay(fd);
        watch(poll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, conn);
        stats.accepted++;
    }
}

/* Sends the events that are due; gives the moment of the next one. */
static int64_t send_due(void)
{
    int64_t now = now_ns(), next = now + SECOND_NS;
    for (int i = 0; i < queue_count; i++) {
        struct conn *conn;
        while ((conn = queues[i].first) && conn->due_ns <= now) {
            struct queue *queue = conn->queue;
            dequeue(conn);
            put_event(conn);
            if (!flush(conn))
                drop(conn);
            else if (conn->events_left)
                enqueue(conn, queue);
        }
        if (conn && conn->due_ns < next)
            next = conn->due_ns;
    }
    return next;
}

int main(int argc, char **argv)
{
    unsigned seconds = 600;
    for (int option; (option = getopt(argc, argv, "t:")) != -1;) {
        if (option != 't')
            return 2;
        seconds = (unsigned)atoi(optarg);
    }
    bound_life(seconds);
    poll_fd = epoll_create1(0);
    for (int i = 0; i < 2; i++) {
        listeners[i] = listen_anywhere();
        watch(poll_fd, EPOLL_CTL_ADD, listeners[i], EPOLLIN, &listeners[i]);
    }
    fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        int count = wait_events(poll_fd, events, 256, send_due());
        for (int i = 0; i < count; i++) {
            void *owner = events[i].data.ptr;
            if (owner == &listeners[0] || owner == &listeners[1]) {
                accept_all(*(int *)owner);
                continue;
            }
            struct conn *conn = owner;
            bool alive = !(events[i].events & (EPOLLERR | EPOLLHUP));
            if (alive && events[i].events & EPOLLOUT)
                alive = flush(conn);
            if (alive && events[i].events & EPOLLIN)
                alive = receive(conn);
            if (!alive)
                drop(conn);
        }
    }
}
