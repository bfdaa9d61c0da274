/* The far end of every benchmark: one epoll loop on loopback, told by a connection's first byte what to do.
 *
 *   'E'  echo everything, the first byte included
 *   'D'  send without end
 *   'U'  swallow everything
 *
 * usage: origin SECONDS_TO_LIVE       prints "listening PORT" once it accepts, and, for each line that it reads,
 *                                     how many bytes it has swallowed so far
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK (256u << 10)
#define TURNS 4 /* reads or writes of one connection before the others get theirs */
#define MAX_FDS 20000

static char modes[MAX_FDS];
static uint64_t swallowed;
static char chunk[CHUNK];
static int loop;

static void finish(int fd)
{
    modes[fd] = 0;
    close(fd);
}

static void watch(int fd, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(loop, operation, fd, &event);
}

static void welcome(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= MAX_FDS) {
            close(fd);
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        modes[fd] = 0;
        watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void pour(int fd)
{
    for (int turn = 0; turn < TURNS; turn++) {
        ssize_t n = send(fd, chunk, sizeof chunk, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            finish(fd);
        if (n < (ssize_t)sizeof chunk)
            return;
    }
}

static void serve(int fd)
{
    static char small[4096];
    char *buffer = modes[fd] == 'U' ? chunk : small;
    size_t room = modes[fd] == 'U' ? sizeof chunk : sizeof small;
    for (int turn = 0; turn < TURNS; turn++) {
        ssize_t n = recv(fd, buffer, room, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            finish(fd);
            return;
        }
        if (!modes[fd])
            modes[fd] = buffer[0];
        if (modes[fd] == 'U') {
            swallowed += (uint64_t)n;
        } else if (modes[fd] == 'D') {
            watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        } else if (send(fd, buffer, (size_t)n, MSG_NOSIGNAL) != n) {
            finish(fd); /* echoes are small: one that does not fit is a fault of the benchmark */
            return;
        }
        if (!modes[fd] || n < (ssize_t)room)
            return;
    }
}

static int open_listener(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&at, &length)) {
        perror("origin");
        exit(1);
    }
    printf("listening %d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static void answer(void)
{
    char line[64];
    if (read(STDIN_FILENO, line, sizeof line) <= 0)
        exit(0);
    printf("%llu\n", (unsigned long long)swallowed);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct rlimit files = {MAX_FDS, MAX_FDS};
    setrlimit(RLIMIT_NOFILE, &files);
    alarm(argc > 1 ? (unsigned)atoi(argv[1]) : 60);
    loop = epoll_create1(EPOLL_CLOEXEC);
    int listener = open_listener();
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    watch(STDIN_FILENO, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(loop, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                welcome(listener);
            else if (fd == STDIN_FILENO)
                answer();
            else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                serve(fd);
            else if (modes[fd] == 'D')
                pour(fd);
        }
    }
}
