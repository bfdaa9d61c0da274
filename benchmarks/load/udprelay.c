/* The bare relay loop that ours is measured against: SOCKS 6 datagrams between clients and a socket for each
 * association, with the same batches of system calls; no handshake, no policy, no checks that cost anything.
 *
 * usage: udprelay; says "port N". Association ids are indexes; their datagrams tell their clients' addresses. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, MOST = 4096, ROOM = 2048, HEADER = 20 };

static struct {
    int far;
    struct sockaddr_in client;
} associations[MOST];
static struct mmsghdr in[BATCH], out[BATCH];
static struct iovec in_parts[BATCH], out_parts[BATCH][2];
static struct sockaddr_in names[BATCH], targets[BATCH];
static unsigned char buffers[BATCH][ROOM], headers[BATCH][HEADER];
static int near_socket, ready;

static int receive(int fd)
{
    for (int at = 0; at < BATCH; at++) {
        in_parts[at] = (struct iovec){buffers[at], ROOM};
        in[at].msg_hdr = (struct msghdr){.msg_name = &names[at], .msg_namelen = sizeof names[at],
                                         .msg_iov = &in_parts[at], .msg_iovlen = 1};
    }
    return recvmmsg(fd, in, BATCH, MSG_DONTWAIT, NULL);
}

static void send_out(int fd, int count)
{
    for (int at = 0, sent; at < count; at += sent)
        if ((sent = sendmmsg(fd, out + at, (unsigned)(count - at), MSG_DONTWAIT)) <= 0)
            sent = 1;
}

static int association_of(int at)
{
    return (buffers[at][10] << 8 | buffers[at][11]) % MOST;
}

static void open_far(int index)
{
    int room = 1 << 20;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
    associations[index].far = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(associations[index].far, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    epoll_ctl(ready, EPOLL_CTL_ADD, associations[index].far, &event);
}

static void from_clients(void)
{
    int came = receive(near_socket), done[BATCH] = {0};
    for (int first = 0; first < came; first++) {
        if (done[first])
            continue;
        int index = association_of(first), count = 0;
        if (!associations[index].far)
            open_far(index);
        associations[index].client = names[first];
        for (int at = first; at < came; at++) {
            if (done[at] || association_of(at) != index)
                continue;
            done[at] = 1;
            targets[count] = (struct sockaddr_in){.sin_family = AF_INET};
            memcpy(&targets[count].sin_port, buffers[at] + 14, 2);
            memcpy(&targets[count].sin_addr, buffers[at] + 16, 4);
            out_parts[count][0] = (struct iovec){buffers[at] + HEADER, in[at].msg_len - HEADER};
            out[count].msg_hdr = (struct msghdr){.msg_name = &targets[count], .msg_namelen = sizeof targets[count],
                                                 .msg_iov = out_parts[count], .msg_iovlen = 1};
            count++;
        }
        send_out(associations[index].far, count);
    }
}

static void from_remotes(int index)
{
    int came = receive(associations[index].far);
    for (int at = 0; at < came; at++) {
        unsigned length = HEADER + in[at].msg_len;
        unsigned char *header = headers[at];
        memcpy(header, (unsigned char[]){6, 3, (unsigned char)(length >> 8), (unsigned char)length}, 4);
        memset(header + 4, 0, 8);
        header[10] = (unsigned char)(index >> 8), header[11] = (unsigned char)index, header[12] = 1, header[13] = 0;
        memcpy(header + 14, &names[at].sin_port, 2);
        memcpy(header + 16, &names[at].sin_addr, 4);
        out_parts[at][0] = (struct iovec){header, HEADER};
        out_parts[at][1] = (struct iovec){buffers[at], in[at].msg_len};
        out[at].msg_hdr = (struct msghdr){.msg_name = &associations[index].client,
                                          .msg_namelen = sizeof associations[index].client,
                                          .msg_iov = out_parts[at], .msg_iovlen = 2};
    }
    send_out(near_socket, came > 0 ? came : 0);
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int room = 4 << 20;
    near_socket = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(near_socket, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(near_socket, (struct sockaddr *)&address, length))
        err(1, "bind");
    getsockname(near_socket, (struct sockaddr *)&address, &length);
    ready = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = MOST}, events[256];
    epoll_ctl(ready, EPOLL_CTL_ADD, near_socket, &event);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int happened = epoll_wait(ready, events, 256, -1);
        for (int which = 0; which < happened; which++) {
            if (events[which].data.u32 == MOST)
                from_clients();
            else
                from_remotes((int)events[which].data.u32);
        }
    }
}
