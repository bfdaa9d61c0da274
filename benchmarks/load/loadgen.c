/* The client end of every benchmark: one epoll loop that speaks direct TCP, SOCKS 5 or SOCKS 6 to a proxy.
 *
 * usage: loadgen -m down|up|connect|ping|idle -p direct|socks5|socks6 -P PROXY_PORT -o ORIGIN_PORT
 *                [-c CONNECTIONS] [-w WARM_UP] [-t SECONDS] [-n MOST] [-s SIZE] [-u USER -k PASSWORD] [-e]
 *   -e  SOCKS 6: the first message goes out in the same write as the request
 *
 * It prints "ready", waits for a line, works; prints "measure" after the warm-up; then one line of JSON; and
 * keeps its connections open until its standard input ends. Bytes that "up" sends are counted by the origin.
 */
#define _GNU_SOURCE
#include "loadgen.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256u << 10)
#define TURNS 4
#define MOST_ERRORS 100
#define SETUP_AT_ONCE 32 /* connections in their handshake while the set is built up */
#define MOST_SAMPLES (4u << 20)

static struct settings settings = {
    .mode = "ping", .protocol = DIRECT, .connections = 1, .warm_up = 0.3, .seconds = 2, .most = 0, .size = 64};
static struct connection *connections;
static char chunk[CHUNK], sink[CHUNK];
static int loop;
static uint32_t *samples;
static uint64_t count, bytes, errors, sampled;
static unsigned opened, wanted; /* connections ready, connections begun */
static bool running, measuring;

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool mode_is(const char *mode) { return !strcmp(settings.mode, mode); }

static void watch(struct connection *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(loop, operation, c->fd, &event);
}

static void begin(struct connection *c)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    at.sin_port = htons(settings.protocol == DIRECT ? settings.origin_port : settings.proxy_port);
    int on = 1;
    memset(c, 0, sizeof *c);
    c->started = now();
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&at, sizeof at) && errno != EINPROGRESS)) {
        perror("loadgen: connect");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void again(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    if (mode_is("connect"))
        begin(c);
}

static void fail(struct connection *c, const char *why)
{
    if (!errors++)
        fprintf(stderr, "loadgen: first error: %s in state %d, reply %d (%s)\n", why, c->state,
                c->length > 1 ? c->in[1] : -1, strerror(errno));
    if (errors > MOST_ERRORS || !mode_is("connect")) {
        fprintf(stderr, "loadgen: %s after %u of %u connections\n", why, opened, settings.connections);
        exit(1);
    }
    again(c);
}

static bool put(struct connection *c, const void *data, size_t size)
{
    errno = 0;
    if (send(c->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size)
        return true;
    fail(c, "cannot send");
    return false;
}

static void sample(struct connection *c)
{
    double at = now();
    if (measuring) {
        count++;
        if (sampled < MOST_SAMPLES)
            samples[sampled++] = (uint32_t)((at - c->started) * 1e6);
    }
    c->started = at;
}

/* The connection leads to the origin: say the first word. */
static void reach(struct connection *c, bool said_already)
{
    c->state = ECHOING;
    if (mode_is("down") || mode_is("up"))
        c->state = FLOWING;
    if (c->state == FLOWING || mode_is("ping"))
        opened++;
    else if (!said_already)
        put(c, chunk, mode_is("idle") ? 1 : settings.size);
}

static void echoed(struct connection *c)
{
    if (mode_is("idle")) {
        opened++;
        c->state = FLOWING;
        return;
    }
    sample(c);
    if (mode_is("connect"))
        again(c);
    else if (running)
        put(c, chunk, settings.size);
}

static void advance(struct connection *c)
{
    while (c->state != FLOWING && c->fd >= 0) {
        size_t need = c->state == ECHOING ? (mode_is("idle") ? 1 : settings.size) : reply_size(c);
        if (need > sizeof c->in || (c->length >= need && c->state != ECHOING && !reply_is_good(c))) {
            fail(c, "refused");
            return;
        }
        if (c->length < need)
            return;
        c->length -= need;
        memmove(c->in, c->in + need, c->length);
        if (c->state == ECHOING) {
            echoed(c);
            return;
        }
        uint8_t out[MESSAGE_ROOM];
        size_t size = next_message(c, &settings, out);
        if (c->state == OPEN)
            reach(c, settings.early && settings.protocol == SOCKS6);
        else if (size && !put(c, out, size))
            return;
    }
}

static void connected(struct connection *c)
{
    uint8_t out[MESSAGE_ROOM];
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    size_t size = next_message(c, &settings, out);
    if (c->state == OPEN) {
        reach(c, false);
        return;
    }
    if (settings.early && settings.protocol == SOCKS6 && settings.size + size <= sizeof out) {
        memcpy(out + size, chunk, settings.size);
        size += settings.size;
    }
    put(c, out, size);
}

static void take(struct connection *c)
{
    errno = 0;
    ssize_t n = recv(c->fd, c->in + c->length, sizeof c->in - c->length, 0);
    if (n > 0) {
        c->length += (size_t)n;
        advance(c);
    } else if (n == 0 || errno != EAGAIN) {
        fail(c, "closed");
    }
}

static void flow(struct connection *c, uint32_t events)
{
    for (int turn = 0; turn < TURNS && events & EPOLLIN; turn++) {
        errno = 0;
        ssize_t n = recv(c->fd, sink, sizeof sink, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            fail(c, "ended");
        if (n <= 0)
            break;
        bytes += (uint64_t)n;
    }
    for (int turn = 0; turn < TURNS && events & EPOLLOUT; turn++) {
        errno = 0;
        ssize_t n = send(c->fd, chunk, sizeof chunk, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            fail(c, "broken");
        if (n < (ssize_t)sizeof chunk)
            break;
    }
}

static void turn(void)
{
    struct epoll_event events[256];
    int n = epoll_wait(loop, events, 256, 20);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->fd < 0)
            continue;
        if (c->state == CONNECTING)
            connected(c);
        else if (c->state == FLOWING)
            flow(c, events[i].events);
        else
            take(c);
    }
}

static void build_up(void)
{
    double limit = now() + 60;
    while (opened < settings.connections) {
        while (wanted < settings.connections && wanted - opened < SETUP_AT_ONCE)
            begin(&connections[wanted++]);
        turn();
        if (now() > limit) {
            fprintf(stderr, "loadgen: only %u of %u connections opened\n", opened, settings.connections);
            exit(1);
        }
    }
}

static void say(const char *word)
{
    puts(word);
    fflush(stdout);
}

static void start_work(void)
{
    running = true;
    for (unsigned i = 0; i < settings.connections; i++) {
        struct connection *c = &connections[i];
        c->started = now();
        if (mode_is("connect"))
            begin(c);
        else if (mode_is("ping"))
            put(c, chunk, settings.size);
        else if (mode_is("down") && put(c, "D", 1))
            continue;
        else if (mode_is("up"))
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(double seconds, double cpu)
{
    qsort(samples, sampled, sizeof *samples, by_value);
    printf("{\"seconds\": %.6f, \"count\": %llu, \"bytes\": %llu, \"errors\": %llu, \"cpu\": %.6f, "
           "\"p50_us\": %u, \"p99_us\": %u}\n",
           seconds, (unsigned long long)count, (unsigned long long)bytes, (unsigned long long)errors, cpu,
           sampled ? samples[sampled / 2] : 0, sampled ? samples[sampled * 99 / 100] : 0);
    fflush(stdout);
}

static double own_cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void work(void)
{
    double start = now(), warm = start + settings.warm_up;
    start_work();
    while (now() < warm)
        turn();
    count = bytes = 0;
    measuring = true;
    say("measure");
    double cpu = own_cpu(), from = now(), until = from + settings.seconds;
    while (now() < until && (!settings.most || count < settings.most))
        turn();
    report(now() - from, own_cpu() - cpu);
}

int main(int argc, char **argv)
{
    struct rlimit files = {20000, 20000};
    char line[64];
    setrlimit(RLIMIT_NOFILE, &files);
    read_settings(argc, argv, &settings);
    alarm((unsigned)(settings.warm_up + settings.seconds) + 150);
    memset(chunk, mode_is("up") ? 'U' : 'E', sizeof chunk);
    samples = malloc(MOST_SAMPLES * sizeof *samples);
    connections = calloc(settings.connections, sizeof *connections);
    loop = epoll_create1(EPOLL_CLOEXEC);
    if (!mode_is("connect"))
        build_up();
    say("ready");
    if (fgets(line, sizeof line, stdin) && !mode_is("idle"))
        work();
    while (fgets(line, sizeof line, stdin))
        ;
    return 0;
}
