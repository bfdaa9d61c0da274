/* Sends datagrams through a proxy to an echo of its own, and counts what comes back.
 *
 * usage: udpload -p PROTOCOL -P PORT -c ASSOCIATIONS -s BYTES -w WARM_UP -t SECONDS
 * PROTOCOL: direct; socks5; socks6; bare, which is udprelay. Each association has a socket of its own and a window
 * of datagrams on their way; who loses one waits 50 ms. Says "ready", waits for a line, says "measure" after the
 * warm-up, and last a line of JSON. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, MOST = 4096, ROOM = 2048, TOGETHER = 96 };

typedef struct {
    int udp, tcp, waiting;
    double heard;
    unsigned char message[ROOM];
    size_t size;
} Association;

static Association associations[MOST];
static int count = 1, size = 200, window;
static struct mmsghdr batch[BATCH];
static struct iovec parts[BATCH];
static unsigned char buffers[BATCH][ROOM];
static unsigned long long answered, lost;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct sockaddr_in local(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int udp_socket(int port, int connected)
{
    struct sockaddr_in address = local(port);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (fd < 0 || (connected ? connect : bind)(fd, (struct sockaddr *)&address, sizeof address))
        err(1, "udp port %d", port);
    return fd;
}

/* Echo until the parent ends; return the port. */
static int echo(void)
{
    int fd = udp_socket(0, 0);
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &length);
    if (fork())
        return ntohs(address.sin_port);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    static struct sockaddr_in names[BATCH];
    for (;;) {
        for (int at = 0; at < BATCH; at++) {
            parts[at] = (struct iovec){buffers[at], ROOM};
            batch[at].msg_hdr = (struct msghdr){.msg_name = &names[at], .msg_namelen = sizeof names[at],
                                                .msg_iov = &parts[at], .msg_iovlen = 1};
        }
        int came = recvmmsg(fd, batch, BATCH, MSG_WAITFORONE, NULL);
        for (int at = 0; at < came; at++)
            parts[at].iov_len = batch[at].msg_len;
        for (int at = 0, sent; at < came; at += sent)
            if ((sent = sendmmsg(fd, batch + at, (unsigned)(came - at), 0)) <= 0)
                sent = 1;
    }
}

static void exactly(int fd, void *data, size_t length)
{
    if (recv(fd, data, length, MSG_WAITALL) != (ssize_t)length)
        errx(1, "the proxy ended the handshake");
}

static int tcp_socket(int port)
{
    struct sockaddr_in address = local(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        err(1, "tcp port %d", port);
    return fd;
}

static void put_header6(Association *one, uint64_t id, int origin)
{
    size_t length = 20 + (size_t)size;
    unsigned char *header = one->message;
    header[0] = 6, header[1] = 3, header[2] = (unsigned char)(length >> 8), header[3] = (unsigned char)length;
    for (int at = 0; at < 8; at++)
        header[4 + at] = (unsigned char)(id >> (56 - 8 * at));
    header[12] = 1, header[14] = (unsigned char)(origin >> 8), header[15] = (unsigned char)origin;
    memcpy(header + 16, (unsigned char[]){127, 0, 0, 1}, 4);
    one->size = length;
}

static void open_socks6(Association *one, int port, int origin)
{
    unsigned char answer[4 + 12 + 12];
    uint64_t id = 0;
    one->tcp = tcp_socket(port);
    send(one->tcp, "\6\3\0\0\0\0\0\1\0\0\0\0", 12, 0);
    exactly(one->tcp, answer, sizeof answer);
    if (answer[1] || answer[5])
        errx(1, "the proxy answered %d, %d", answer[1], answer[5]);
    for (int at = 0; at < 8; at++)
        id = id << 8 | answer[20 + at];
    put_header6(one, id, origin);
    one->udp = udp_socket(port, 1);
}

static void open_socks5(Association *one, int port, int origin)
{
    unsigned char answer[10];
    one->tcp = tcp_socket(port);
    send(one->tcp, "\5\1\0", 3, 0);
    exactly(one->tcp, answer, 2);
    send(one->tcp, "\5\3\0\1\0\0\0\0\0\0", 10, 0);
    exactly(one->tcp, answer, 10);
    if (answer[1])
        errx(1, "the proxy answered %d", answer[1]);
    memcpy(one->message, (unsigned char[]){0, 0, 0, 1, 127, 0, 0, 1, (unsigned char)(origin >> 8), (unsigned char)origin}, 10);
    one->size = 10 + (size_t)size;
    one->udp = udp_socket(answer[8] << 8 | answer[9], 1);
}

static void open_one(Association *one, const char *protocol, int index, int port, int origin)
{
    if (!strcmp(protocol, "socks6")) {
        open_socks6(one, port, origin);
    } else if (!strcmp(protocol, "socks5")) {
        open_socks5(one, port, origin);
    } else if (!strcmp(protocol, "bare")) {
        put_header6(one, (uint64_t)index, origin);
        one->udp = udp_socket(port, 1);
    } else {
        one->size = (size_t)size;
        one->udp = udp_socket(origin, 1);
    }
}

static void fill(Association *one)
{
    int missing = window - one->waiting;
    if (missing <= 0)
        return;
    if (missing == 1) {
        one->waiting += send(one->udp, one->message, one->size, MSG_DONTWAIT) > 0;
        return;
    }
    if (missing > BATCH)
        missing = BATCH;
    struct iovec part = {one->message, one->size};
    for (int at = 0; at < missing; at++)
        batch[at].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    int sent = sendmmsg(one->udp, batch, (unsigned)missing, MSG_DONTWAIT);
    if (sent > 0)
        one->waiting += sent;
}

static void collect(Association *one, double at)
{
    for (int place = 0; place < BATCH; place++) {
        parts[place] = (struct iovec){buffers[place], ROOM};
        batch[place].msg_hdr = (struct msghdr){.msg_iov = &parts[place], .msg_iovlen = 1};
    }
    int came = recvmmsg(one->udp, batch, window == 1 ? 1 : BATCH, MSG_DONTWAIT, NULL);
    if (came <= 0)
        return;
    answered += (unsigned)came;
    one->waiting = one->waiting > came ? one->waiting - came : 0;
    one->heard = at;
}

static void run(int ready, double until)
{
    struct epoll_event events[256];
    double looked = now();
    for (double at = looked; at < until; at = now()) {
        int happened = epoll_wait(ready, events, 256, 5);
        for (int which = 0; which < happened; which++) {
            collect(events[which].data.ptr, at);
            fill(events[which].data.ptr);
        }
        if (at - looked < 0.01)
            continue;
        looked = at;
        for (int which = 0; which < count; which++) {
            Association *one = &associations[which];
            if (one->waiting && at - one->heard > 0.05) {
                lost += (unsigned)one->waiting;
                one->waiting = 0;
                one->heard = at;
                fill(one);
            }
        }
    }
}

int main(int argc, char **argv)
{
    const char *protocol = "direct";
    int port = 0, option;
    double warm_up = 0.3, seconds = 1;
    while ((option = getopt(argc, argv, "p:P:c:s:w:t:")) > 0) {
        switch (option) {
        case 'p': protocol = optarg; break;
        case 'P': port = atoi(optarg); break;
        case 'c': count = atoi(optarg); break;
        case 's': size = atoi(optarg); break;
        case 'w': warm_up = atof(optarg); break;
        case 't': seconds = atof(optarg); break;
        default: return 2;
        }
    }
    if (count < 1 || count > MOST || size < 1 || size > 1400)
        errx(2, "1 to %d associations, 1 to 1400 bytes", MOST);
    window = TOGETHER / count ? TOGETHER / count : 1;
    if (window > BATCH)
        window = BATCH;
    int origin = echo(), ready = epoll_create1(0);
    for (int which = 0; which < count; which++) {
        Association *one = &associations[which];
        open_one(one, protocol, which, port, origin);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
        epoll_ctl(ready, EPOLL_CTL_ADD, one->udp, &event);
    }
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;
    double begun = now();
    for (int which = 0; which < count; which++) {
        associations[which].heard = begun;
        fill(&associations[which]);
    }
    run(ready, begun + warm_up);
    puts("measure");
    fflush(stdout);
    unsigned long long before = answered, lost_before = lost;
    begun = now();
    run(ready, begun + seconds);
    double took = now() - begun;
    printf("{\"seconds\": %.6f, \"count\": %llu, \"bytes\": %llu, \"errors\": %llu, \"p50_us\": 0, \"p99_us\": 0}\n", took,
           2 * (answered - before), 2 * (answered - before) * (unsigned)size, lost - lost_before);
    fflush(stdout);
    return 0;
}
