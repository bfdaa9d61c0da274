/* Datagrams in batches: many from the kernel with one recvmmsg, many to it with one sendmmsg, and those of one
 * length for one place as one message that the kernel cuts (UDP_SEGMENT, UDP_GRO). */

#ifndef SOCKS6_BATCH_H
#define SOCKS6_BATCH_H

#define _GNU_SOURCE
#include "framing.h"

#include <netinet/in.h>
#include <sys/socket.h>

enum {
    MAX_RECEIVED = 64,       /* buffers, and messages taken from the kernel at a time */
    MAX_MESSAGE_BYTES = 65536, /* of a message, or of several that the kernel hands over as one */
    MAX_ANCILLARY = 128,
    MAX_OUT = 256,           /* datagrams that wait to be sent together */
    MAX_ADDRESS = sizeof(struct sockaddr_in6),
};

/* From which size on the kernel refused to cut datagrams for a place; 0: it did not. A path's MTU changes, and an
 * error may have been another's: so it is asked again after a while. */
typedef struct {
    uint16_t from;
    uint16_t spared; /* how many went by themselves since */
} SegmentRefusal;

/* How much went one way, as far as the kernel took it. */
typedef struct {
    unsigned long long datagrams, bytes;
} Count;

/* Where datagrams go: a socket, and an address unless the socket is connected. */
typedef struct {
    uint64_t flush; /* of which `group` is a part; so many bits never come round again */
    int group;
    int fd;
    SegmentRefusal refusal;
    uint8_t address_size, control_size;
    unsigned char address[MAX_ADDRESS];
    const unsigned char *control; /* ancillary data of each datagram */
} Destination;

typedef struct {
    struct iovec parts[2]; /* header and data */
    int next;              /* of its group, -1 for none */
    unsigned char header[MAX_HEADER];
} Out;

/* Datagrams that one system call sends: one, or several of equal length that the kernel cuts. */
typedef struct {
    Destination *to;
    Count *count_of;
    int first, last, count, parts_each;
    int closed, sent;
    size_t size, total;
    unsigned char ancillary[MAX_ANCILLARY + CMSG_SPACE(sizeof(uint16_t))];
} Group;

typedef struct {
    unsigned long long dropped;
    uint64_t flush; /* number of the batch that is being collected */
    int outs, groups;
    unsigned char *buffers;
    struct mmsghdr received[MAX_RECEIVED];
    struct iovec places[MAX_RECEIVED];
    unsigned char names[MAX_RECEIVED][MAX_ADDRESS];
    unsigned char controls[MAX_RECEIVED][MAX_ANCILLARY];
    Out out[MAX_OUT];
    Group group[MAX_OUT];
    struct mmsghdr sending[MAX_OUT];
    struct iovec parts[MAX_OUT * 2];
} Batch;

/* What came in one buffer, cut where the kernel has glued; valid until the buffer is received into again. */
typedef struct {
    const unsigned char *data;
    size_t length, piece; /* of all of it; of each datagram but the last */
    const unsigned char *source;
    size_t source_size;
    uint8_t local_size;
    unsigned char local[16]; /* the address that it was sent to, where the socket has several */
} Received;

/* Receive into the buffers from `first` on; return how many are in use now. */
int batch_receive(Batch *batch, int fd, int first);
Received batch_received(Batch *batch, int at);

/* Return where the next datagram's header is written. */
unsigned char *batch_header(Batch *batch);

/* Send that header and data to a place, with others; both pointers must stay valid until `batch_send`. */
void batch_add(Batch *batch, Destination *to, Count *count_of, size_t header_size, const unsigned char *data,
               size_t size);
void batch_send(Batch *batch);

#endif
