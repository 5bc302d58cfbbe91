/*
 * A load generator for chat requests, which watches what the answering process spends.
 *
 *   load [options] PORT | PATH       a port of 127.0.0.1, or a Unix socket; nothing else can be loaded
 *
 *   -m MODEL    asked for (answer)            -c N     connections (16)
 *   -s          ask for a stream              -b N     bytes of prompt (40)
 *   -d SECONDS  measured time (2)             -w S     before it, not measured (0.5)
 *   -n N        stop after N requests         -r N     requests a second, on a fixed schedule
 *   -p PID      the process to watch          -u S     first requests spread over this time (0)
 *   -a          ask in Anthropic's dialect: Messages, whose streams end with message_stop
 *   -i N        connections beside those, of which each asks once beforehand and then stays open, idle
 *
 * Without -r every connection asks again as soon as it is answered. With -r a request's time counts from
 * the moment it was due, so that a stall is not hidden by the requests that it delays. The measured time is
 * longer, by up to 10 s, if nothing was answered in it.
 *
 * Prints one JSON object; times in microseconds, `idle` is how many idle connections are open in the end,
 * `idle_kb` what they took. A fault is a status other than 200, an answer that breaks off or never comes, a
 * stream without its [DONE], a connection that cannot be made. One thread, epoll; always ends by itself:
 * answers are waited for 10 s after the measured time.
 */
#define _GNU_SOURCE
#include "loop.h"

enum { HEAD_BYTES = 8192, READ_BYTES = 262144, TAIL_BYTES = 14 };
enum { SETTLE_AT_ONCE = 32 };
static const double DRAIN_S = 10, SETTLE_S = 60;

enum state { IDLE, SENDING, HEAD, SIZED, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER };

struct conn {
    int fd; /* -1: none yet */
    enum state state;
    size_t sent, left; /* of the request; of the body or chunk */
    int64_t due_ns, first_ns;
    char head[HEAD_BYTES + 1];
    size_t head_len;
    char tail[TAIL_BYTES]; /* the last bytes of the body so far */
    long events;
    struct conn *next_idle;
};

struct samples {
    float *us;
    size_t count, room;
};

static struct {
    const char *model, *target;
    int connections, rate, idle;
    bool streams, messages;
    size_t prompt_bytes;
    double warm_s, seconds, ramp_s;
    long requests;
    pid_t pid;
} options = {.model = "answer", .connections = 16, .prompt_bytes = 40, .warm_s = 0.5, .seconds = 2};

static int poll_fd;
static struct sockaddr_storage address;
static socklen_t address_bytes;
static char *request;
static size_t request_bytes;
static struct conn *idle;
static int idle_count, settled_count;
static bool settling; /* the idle connections are being made */
static bool measuring;
static long done, events, faults, opened, started;
static struct conn *conns; /* first those that work, then those that only stay open */
static struct samples whole, first;

/* -- what is measured -- */

static void add(struct samples *samples, int64_t ns)
{
    if (samples->count == samples->room) {
        samples->room = samples->room ? 2 * samples->room : 4096;
        samples->us = realloc(samples->us, samples->room * sizeof *samples->us);
        if (!samples->us)
            fail("realloc");
    }
    samples->us[samples->count++] = (float)ns / 1000;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print_quantiles(const char *name, struct samples *samples)
{
    if (!samples->count)
        return;
    qsort(samples->us, samples->count, sizeof *samples->us, by_size);
    printf(", \"%s_p50_us\": %.1f, \"%s_p99_us\": %.1f, \"%s_most_us\": %.1f", name, samples->us[samples->count / 2],
           name, samples->us[samples->count * 99 / 100], name, samples->us[samples->count - 1]);
}

static double cpu_us(void)
{
    clockid_t clock;
    struct timespec spent;
    if (!options.pid || clock_getcpuclockid(options.pid, &clock) || clock_gettime(clock, &spent))
        return 0;
    return (double)spent.tv_sec * 1e6 + (double)spent.tv_nsec / 1e3;
}

static long resident_kb(void)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)options.pid);
    FILE *file = options.pid ? fopen(path, "r") : NULL;
    if (!file)
        return 0;
    if (fscanf(file, "%*d %ld", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* -- one request -- */

static void build_request(void)
{
    char *prompt = malloc(options.prompt_bytes + 1), *body = NULL;
    if (!prompt)
        fail("malloc");
    for (size_t i = 0; i < options.prompt_bytes; i++)
        prompt[i] = "Tell me more. "[i % 14];
    prompt[options.prompt_bytes] = 0;
    int bytes = asprintf(&body, "{\"model\":\"%s\",%s%s\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", options.model,
                         options.streams ? "\"stream\":true," : "", options.messages ? "\"max_tokens\":1000," : "",
                         prompt);
    bool local = options.target[0] == '/';
    int total = asprintf(&request,
                         "POST /v1/%s HTTP/1.1\r\nHost: localhost%s%s\r\nUser-Agent: bench\r\n"
                         "Accept: application/json\r\nAuthorization: Bearer none\r\n"
                         "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                         options.messages ? "messages" : "chat/completions", local ? "" : ":",
                         local ? "" : options.target, bytes, body);
    if (bytes < 0 || total < 0)
        fail("asprintf");
    request_bytes = (size_t)total;
    free(body);
    free(prompt);
}

static void hang_up(struct conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
}

static void rest(struct conn *conn)
{
    conn->state = IDLE;
    if (settling) {
        settled_count++;
        return;
    }
    conn->next_idle = idle;
    idle = conn;
    idle_count++;
}

static void spoil(struct conn *conn)
{
    faults++;
    hang_up(conn);
    rest(conn);
}

static void finish(struct conn *conn)
{
    const char *end = options.messages ? "ssage_stop\"}\n\n" : "data: [DONE]\n\n";
    bool complete = !options.streams || !memcmp(conn->tail, end, TAIL_BYTES);
    if (!complete) {
        spoil(conn);
        return;
    }
    if (measuring) {
        done++;
        add(&whole, now_ns() - conn->due_ns);
        if (options.streams)
            add(&first, conn->first_ns - conn->due_ns);
    }
    rest(conn);
}

static bool dial(struct conn *conn)
{
    conn->fd = socket(address.ss_family, SOCK_STREAM, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&address, address_bytes))
        return false; /* blocking: on loopback it takes as long as the listener's queue is full */
    fcntl(conn->fd, F_SETFL, O_NONBLOCK);
    no_delay(conn->fd);
    opened++;
    watch(poll_fd, EPOLL_CTL_ADD, conn->fd, EPOLLIN, conn);
    return true;
}

static void send_rest(struct conn *conn)
{
    bool was_full = conn->sent > 0;
    ssize_t count = 0;
    while (conn->sent < request_bytes && count >= 0) {
        count = write(conn->fd, request + conn->sent, request_bytes - conn->sent);
        if (count > 0)
            conn->sent += (size_t)count;
    }
    if (count < 0 && errno != EAGAIN)
        return; /* whoever closed may have answered first; reading tells */
    bool full = conn->sent < request_bytes;
    if (full != was_full)
        watch(poll_fd, EPOLL_CTL_MOD, conn->fd, full ? EPOLLIN | EPOLLOUT : EPOLLIN, conn);
    conn->state = full ? SENDING : HEAD;
}

static void ask_on(struct conn *conn, int64_t due_ns)
{
    conn->due_ns = due_ns;
    conn->first_ns = 0;
    conn->sent = conn->head_len = 0;
    conn->events = 0;
    memset(conn->tail, 0, TAIL_BYTES);
    conn->state = SENDING;
    if (conn->fd < 0 && !dial(conn))
        spoil(conn);
    else
        send_rest(conn);
}

static void ask(int64_t due_ns)
{
    struct conn *conn = idle;
    idle = conn->next_idle;
    idle_count--;
    started++;
    ask_on(conn, due_ns);
}

/* -- one answer -- */

/* An event ends with an empty line. */
static void take_body(struct conn *conn, const char *bytes, size_t count)
{
    if (!conn->first_ns)
        conn->first_ns = now_ns();
    if (options.streams) {
        const char *end = bytes + count, *at = bytes;
        long found = 0;
        while ((at = memchr(at, '\n', (size_t)(end - at)))) {
            found += (at > bytes ? at[-1] : conn->tail[TAIL_BYTES - 1]) == '\n';
            at++;
        }
        if (measuring)
            events += found;
    }
    size_t kept = count < TAIL_BYTES ? count : TAIL_BYTES;
    memmove(conn->tail, conn->tail + kept, TAIL_BYTES - kept);
    memcpy(conn->tail + TAIL_BYTES - kept, bytes + count - kept, kept);
}

/* Reads the head if it is complete: gives false when it is no good answer. */
static bool take_head(struct conn *conn)
{
    int status = 0;
    if (sscanf(conn->head, "HTTP/1.1 %d", &status) != 1 || status != 200)
        return false;
    const char *length = strcasestr(conn->head, "\r\ncontent-length:");
    if (strcasestr(conn->head, "\r\ntransfer-encoding: chunked"))
        conn->state = CHUNK_SIZE;
    else if (length)
        conn->state = SIZED;
    else
        return false;
    conn->left = length && conn->state == SIZED ? strtoul(length + 17, NULL, 10) : 0;
    conn->head_len = 0;
    return true;
}

/* Collects one line, or with `blank` all up to an empty one, in `head`; gives what was used of the bytes. */
static size_t take_text(struct conn *conn, const char *bytes, size_t count, bool blank, bool *complete)
{
    for (size_t i = 0; i < count; i++) {
        if (conn->head_len == HEAD_BYTES)
            return 0;
        conn->head[conn->head_len++] = bytes[i];
        conn->head[conn->head_len] = 0;
        size_t length = conn->head_len;
        bool ended = bytes[i] == '\n' && (!blank || (length >= 4 && !memcmp(conn->head + length - 4, "\r\n\r\n", 4)));
        if (ended) {
            *complete = true;
            return i + 1;
        }
    }
    return count;
}

/* One step through the bytes of an answer; gives what it used, 0 when they make no sense. */
static size_t step(struct conn *conn, const char *bytes, size_t count)
{
    bool complete = false;
    size_t used = count;
    switch (conn->state) {
    case HEAD:
        used = take_text(conn, bytes, count, true, &complete);
        if (complete && !take_head(conn))
            return 0;
        if (conn->state == SIZED && !conn->left)
            finish(conn);
        return used;
    case SIZED:
    case CHUNK:
        used = count < conn->left ? count : conn->left;
        take_body(conn, bytes, used);
        conn->left -= used;
        if (conn->left)
            return used;
        if (conn->state == SIZED)
            finish(conn);
        else
            conn->state = CHUNK_END;
        return used;
    case CHUNK_SIZE:
    case CHUNK_END:
    case TRAILER:
        used = take_text(conn, bytes, count, false, &complete);
        if (!complete)
            return used;
        conn->left = strtoul(conn->head, NULL, 16);
        conn->head_len = 0;
        if (conn->state == TRAILER)
            finish(conn);
        else if (conn->state == CHUNK_END)
            conn->state = CHUNK_SIZE;
        else
            conn->state = conn->left ? CHUNK : TRAILER;
        return used;
    default:
        return 0; /* nothing was asked */
    }
}

static void receive(struct conn *conn)
{
    static char buffer[READ_BYTES];
    ssize_t count = read(conn->fd, buffer, sizeof buffer);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        if (conn->state == IDLE)
            hang_up(conn);
        else
            spoil(conn);
        return;
    }
    if (conn->state == SENDING)
        conn->state = HEAD; /* answered before it was all sent: only a refusal does that */
    for (size_t at = 0; at < (size_t)count;) {
        size_t used = conn->state == IDLE ? 0 : step(conn, buffer + at, (size_t)count - at);
        if (!used) {
            if (conn->state == IDLE)
                hang_up(conn);
            else
                spoil(conn);
            return;
        }
        at += used;
    }
}

/* -- the run -- */

/* Asks for all that is due; gives the moment of the next one. */
static int64_t ask_due(int64_t began_ns)
{
    int64_t now = now_ns();
    double past_s = (double)(now - began_ns) / 1e9;
    if (options.rate) {
        int64_t gap_ns = SECOND_NS / options.rate;
        while (idle && began_ns + started * gap_ns <= now)
            ask(began_ns + started * gap_ns);
        return idle ? began_ns + started * gap_ns : now + SECOND_NS;
    }
    long wanted = options.connections;
    bool ramping = past_s < options.ramp_s;
    if (ramping)
        wanted = (long)(past_s / options.ramp_s * options.connections);
    int asking = options.connections - idle_count;
    while (idle && asking++ < wanted && (!options.requests || started < options.requests))
        ask(now_ns());
    return now + (ramping ? 1000000 : SECOND_NS / 10);
}

static void turn(int64_t until_ns)
{
    struct epoll_event ready[256];
    int count = wait_events(poll_fd, ready, 256, until_ns);
    for (int i = 0; i < count; i++) {
        struct conn *conn = ready[i].data.ptr;
        if (conn->state == SENDING && ready[i].events & EPOLLOUT)
            send_rest(conn);
        if (conn->fd >= 0 && ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            receive(conn);
    }
}

/* Makes the idle connections, a few at a time; gives how much the watched process grew by them. */
static long settle(void)
{
    long before_kb = resident_kb();
    int asked = 0;
    int64_t give_up = now_ns() + (int64_t)(SETTLE_S * 1e9);
    settling = true;
    while (settled_count < options.idle && now_ns() < give_up) {
        while (asked < options.idle && asked - settled_count < SETTLE_AT_ONCE)
            ask_on(&conns[options.connections + asked++], now_ns());
        turn(now_ns() + SECOND_NS / 10);
    }
    settling = false;
    faults += options.idle - settled_count;
    return resident_kb() - before_kb;
}

static int still_idle(void)
{
    int open = 0;
    for (int i = 0; i < options.idle; i++)
        open += conns[options.connections + i].fd >= 0;
    return open;
}

static void run(void)
{
    long idle_kb = settle();
    long most_kb = 0, before_kb = resident_kb(), after_kb;
    double before_us = 0, spent_us;
    int64_t began = now_ns(), from = began + (int64_t)(options.warm_s * 1e9), look = from;
    int64_t until = from + (int64_t)(options.seconds * 1e9), patience = until + (int64_t)(DRAIN_S * 1e9), now;
    while ((now = now_ns()) < (done + events + faults ? until : patience) && (!options.requests || done + faults < options.requests)) {
        if (!measuring && now >= from) {
            measuring = true;
            from = now;
            before_us = cpu_us();
        }
        if (now >= look) {
            long kb = resident_kb();
            most_kb = kb > most_kb ? kb : most_kb;
            look = now + SECOND_NS / 20;
        }
        int64_t next = ask_due(began);
        turn(next < until || now >= until ? next : until);
    }
    spent_us = cpu_us() - before_us;
    after_kb = resident_kb();
    measuring = false;
    int64_t give_up = now_ns() + (int64_t)(DRAIN_S * 1e9);
    while (idle_count < options.connections && now_ns() < give_up)
        turn(now_ns() + SECOND_NS / 10);
    faults += options.connections - idle_count;
    double seconds = (double)(now - from) / 1e9;
    printf("{\"requests\": %ld, \"events\": %ld, \"faults\": %ld, \"opened\": %ld, \"per_s\": %.1f, \"cpu_us\": %.1f, "
           "\"seconds\": %.3f, \"before_kb\": %ld, \"most_kb\": %ld, \"after_kb\": %ld, \"idle\": %d, \"idle_kb\": %ld",
           done, events, faults, opened, (double)done / seconds, spent_us, seconds, before_kb, most_kb, after_kb,
           still_idle(), idle_kb);
    print_quantiles("whole", &whole);
    print_quantiles("first", &first);
    printf("}\n");
}

static void read_target(void)
{
    char *end;
    long port = strtol(options.target, &end, 10);
    if (options.target[0] == '/') {
        struct sockaddr_un path = {.sun_family = AF_UNIX};
        strncpy(path.sun_path, options.target, sizeof path.sun_path - 1);
        memcpy(&address, &path, sizeof path);
        address_bytes = sizeof path;
    } else if (!*end && port > 0 && port < 65536) {
        struct sockaddr_in local = loopback((int)port);
        memcpy(&address, &local, sizeof local);
        address_bytes = sizeof local;
    } else {
        fprintf(stderr, "load: %s is neither a port of 127.0.0.1 nor a path\n", options.target);
        exit(2);
    }
}

static void read_options(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "m:c:sab:d:w:n:r:p:u:i:")) != -1;) {
        switch (option) {
        case 'm': options.model = optarg; break;
        case 'c': options.connections = atoi(optarg); break;
        case 's': options.streams = true; break;
        case 'a': options.messages = true; break;
        case 'b': options.prompt_bytes = strtoul(optarg, NULL, 10); break;
        case 'd': options.seconds = atof(optarg); break;
        case 'w': options.warm_s = atof(optarg); break;
        case 'n': options.requests = atol(optarg); break;
        case 'r': options.rate = atoi(optarg); break;
        case 'p': options.pid = atoi(optarg); break;
        case 'u': options.ramp_s = atof(optarg); break;
        case 'i': options.idle = atoi(optarg); break;
        default: exit(2);
        }
    }
    if (optind != argc - 1 || options.connections < 1 || options.idle < 0 || options.seconds <= 0) {
        fprintf(stderr, "usage: load [options] PORT|PATH\n");
        exit(2);
    }
    options.target = argv[optind];
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    read_target();
    bound_life((unsigned)(options.warm_s + options.seconds + 2 * DRAIN_S + 10 + (options.idle ? SETTLE_S : 0)));
    build_request();
    poll_fd = epoll_create1(0);
    conns = calloc((size_t)(options.connections + options.idle), sizeof *conns);
    if (!conns)
        fail("calloc");
    for (int i = options.connections + options.idle; i--;)
        conns[i].fd = -1;
    for (int i = options.connections; i--;)
        rest(&conns[i]);
    run();
    return 0;
}
