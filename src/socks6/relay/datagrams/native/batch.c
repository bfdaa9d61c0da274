#include "batch.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    MAX_SEGMENTS = 64, /* that the kernel cuts out of one message */
    MAX_SEGMENTED = 65000,
    REFUSAL_DATAGRAMS = 1024, /* after so many the kernel is asked once more to cut datagrams of a size */
};

/* Receiving. */

int batch_receive(Batch *batch, int fd, int first)
{
    for (int at = first; at < MAX_RECEIVED; at++) {
        struct msghdr *message = &batch->received[at].msg_hdr;
        batch->places[at].iov_base = batch->buffers + (size_t)at * MAX_MESSAGE_BYTES;
        batch->places[at].iov_len = MAX_MESSAGE_BYTES;
        message->msg_name = batch->names[at];
        message->msg_namelen = MAX_ADDRESS;
        message->msg_iov = &batch->places[at];
        message->msg_iovlen = 1;
        message->msg_control = batch->controls[at];
        message->msg_controllen = MAX_ANCILLARY;
        message->msg_flags = 0;
    }
    for (int again = 0; again < 3; again++) { /* ICMP errors are reported instead of receiving */
        int count = recvmmsg(fd, batch->received + first, (unsigned)(MAX_RECEIVED - first), MSG_DONTWAIT, NULL);
        if (count >= 0)
            return first + count;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
    }
    return first;
}

Received batch_received(Batch *batch, int at)
{
    struct msghdr *message = &batch->received[at].msg_hdr;
    Received received = {
        .data = batch->buffers + (size_t)at * MAX_MESSAGE_BYTES,
        .length = batch->received[at].msg_len,
        .piece = batch->received[at].msg_len,
        .source = batch->names[at],
        .source_size = message->msg_namelen,
    };
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level == IPPROTO_UDP && part->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(part), sizeof size);
            if (size > 0)
                received.piece = (size_t)size;
        } else if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(part), sizeof info);
            memcpy(received.local, &info.ipi_spec_dst, received.local_size = 4);
        } else if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(part), sizeof info);
            memcpy(received.local, &info.ipi6_addr, received.local_size = 16);
        }
    }
    struct sockaddr_in6 *name = (struct sockaddr_in6 *)message->msg_name;
    if (message->msg_namelen == sizeof *name && name->sin6_family == AF_INET6)
        name->sin6_flowinfo = 0; /* equal addresses are equal bytes */
    return received;
}

/* Sending. */

static void count(Group *group, const Out *out)
{
    group->count_of->datagrams++;
    group->count_of->bytes += out->parts[1].iov_len;
}

static void count_all(Batch *batch, Group *group)
{
    for (int at = group->first; at >= 0; at = batch->out[at].next)
        count(group, &batch->out[at]);
}

static struct msghdr message_to(const Destination *to)
{
    return (struct msghdr){
        .msg_name = to->address_size ? (void *)to->address : NULL,
        .msg_namelen = to->address_size,
        .msg_control = to->control_size ? (void *)to->control : NULL,
        .msg_controllen = to->control_size,
    };
}

static void send_one_by_one(Batch *batch, Group *group)
{
    for (int at = group->first; at >= 0; at = batch->out[at].next) {
        struct msghdr message = message_to(group->to);
        message.msg_iov = batch->out[at].parts + (2 - group->parts_each);
        message.msg_iovlen = (size_t)group->parts_each;
        if (sendmsg(group->to->fd, &message, MSG_DONTWAIT) < 0 && sendmsg(group->to->fd, &message, MSG_DONTWAIT) < 0)
            batch->dropped++;
        else
            count(group, &batch->out[at]);
    }
}

/* Describe a group's message to the kernel, taking as many of `parts` as it needs. */
static void describe(Batch *batch, Group *group, struct msghdr *message, struct iovec **parts)
{
    *message = message_to(group->to);
    message->msg_iov = *parts;
    for (int at = group->first; at >= 0; at = batch->out[at].next)
        for (int part = 2 - group->parts_each; part < 2; part++)
            *(*parts)++ = batch->out[at].parts[part];
    message->msg_iovlen = (size_t)(*parts - message->msg_iov);
    if (group->count == 1)
        return;
    size_t before = group->to->control_size;
    if (before)
        memcpy(group->ancillary, group->to->control, before);
    struct cmsghdr *segment = (struct cmsghdr *)(group->ancillary + before);
    uint16_t size = (uint16_t)group->size;
    segment->cmsg_level = IPPROTO_UDP;
    segment->cmsg_type = UDP_SEGMENT;
    segment->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(segment), &size, sizeof size);
    message->msg_control = group->ancillary;
    message->msg_controllen = before + CMSG_SPACE(sizeof size);
}

/* Send described messages of one socket. */
static void send_run(Batch *batch, int fd, Group **groups, int number)
{
    int at = 0, again = 0;
    while (at < number) {
        int sent = sendmmsg(fd, batch->sending + at, (unsigned)(number - at), MSG_DONTWAIT);
        if (sent > 0) {
            for (int end = at + sent; at < end; at++)
                count_all(batch, groups[at]);
            again = 0;
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EBADF) {
            for (; at < number; at++)
                batch->dropped += (unsigned)groups[at]->count;
            return;
        }
        if (!again++) /* an ICMP error that came meanwhile is reported instead of sending */
            continue;
        if (groups[at]->count > 1) { /* longer than the path takes, or no device to cut it */
            int too_long = errno == EMSGSIZE || errno == EINVAL;
            groups[at]->to->refusal.from = too_long ? (uint16_t)groups[at]->size : 1;
            groups[at]->to->refusal.spared = 0;
            send_one_by_one(batch, groups[at]);
        } else {
            batch->dropped++;
        }
        at++;
        again = 0;
    }
}

void batch_send(Batch *batch)
{
    Group *run[MAX_OUT];
    for (int first = 0; first < batch->groups; first++) {
        if (batch->group[first].sent)
            continue;
        int fd = batch->group[first].to->fd, number = 0;
        struct iovec *parts = batch->parts;
        for (int at = first; at < batch->groups; at++) {
            Group *group = &batch->group[at];
            if (group->sent || group->to->fd != fd)
                continue;
            group->sent = 1;
            run[number] = group;
            describe(batch, group, &batch->sending[number].msg_hdr, &parts);
            number++;
        }
        send_run(batch, fd, run, number);
    }
    batch->outs = batch->groups = 0;
    batch->flush++;
}

/* Return whether the kernel is to cut datagrams of a size, as far as is known. */
static int may_segment(SegmentRefusal *refusal, size_t size)
{
    if (!refusal->from || size < refusal->from)
        return 1;
    if (++refusal->spared >= REFUSAL_DATAGRAMS)
        refusal->from = refusal->spared = 0;
    return 0;
}

unsigned char *batch_header(Batch *batch)
{
    return batch->out[batch->outs].header;
}

void batch_add(Batch *batch, Destination *to, Count *count_of, size_t header_size, const unsigned char *data,
               size_t data_size)
{
    Out *out = &batch->out[batch->outs];
    size_t size = header_size + data_size;
    out->parts[0] = (struct iovec){.iov_base = out->header, .iov_len = header_size};
    out->parts[1] = (struct iovec){.iov_base = (void *)data, .iov_len = data_size};
    out->next = -1;
    Group *group = to->flush == batch->flush ? &batch->group[to->group] : NULL;
    if (group && !group->closed && size && size <= group->size && group->count < MAX_SEGMENTS &&
        group->total + size <= MAX_SEGMENTED && may_segment(&to->refusal, group->size)) {
        batch->out[group->last].next = batch->outs;
        group->last = batch->outs;
        group->count++;
        group->total += size;
        group->closed = size < group->size; /* only the last one may be shorter */
    } else {
        group = &batch->group[batch->groups];
        group->to = to;
        group->count_of = count_of;
        group->parts_each = header_size ? 2 : 1;
        group->size = group->total = size;
        group->first = group->last = batch->outs;
        group->count = 1;
        group->sent = 0;
        group->closed = !size;
        to->flush = batch->flush;
        to->group = batch->groups++;
    }
    if (++batch->outs == MAX_OUT)
        batch_send(batch);
}
