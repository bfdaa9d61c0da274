/* Moves datagrams between the clients' port and the associations' sockets: what mover.py says and does, with
 * batches of system calls and no object per datagram. Optional: without it the mover in Python does the same, and
 * the same tests run with both (docs/decisions/0018).
 *
 * Everything here runs with the GIL held and calls no Python while pointers into its tables are in use: what cannot
 * be moved is returned, and whoever called hands it up. Peers choose every byte of a message and of a source
 * address; nothing is read beyond what the kernel says has arrived. */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    BATCH = 64,           /* buffers, and messages taken from the kernel at a time */
    LONGEST = 65536,      /* of a message, or of several that the kernel has glued together */
    ROOM = 128,           /* of ancillary data */
    MAX_OUT = 256,        /* datagrams that wait to be sent together */
    MAX_SEGMENTS = 64,    /* that the kernel cuts out of one send */
    MAX_GLUED = 65000,
    MAX_ENTRIES = 1024,   /* of a table; beyond, it forgets all of them and they are found anew */
    ADDRESS = sizeof(struct sockaddr_in6),
    HEAD = 12,            /* version, type, length, association id */
    SHORTEST = 17,        /* of a Datagram message: the 17th byte is a name's length */
    MAX_KEY = 4 + 1 + 255,
    SHORT_KEY = 28,
    MAX_PREFIX = 32,      /* of a message before the data: 2, then the length, then so many more */
    UNCUT = 1024,         /* datagrams after which the kernel is asked once more to cut such */
    MESSAGE = 65535,      /* what the length field can say */
    DATAGRAM = 3,
};

/* What the kernel refused to cut for a place: datagrams so long, or longer; 0 for none. A path's MTU changes, and an
 * error may have been another's: so it is not for good. */
typedef struct {
    uint16_t from;
    uint16_t spared; /* how many went by themselves since */
} Cut;

/* How much went one way. */
typedef struct {
    unsigned long long datagrams, bytes;
} Count;

/* A way to a remote host, or a source that may answer. */
typedef struct {
    uint64_t hash; /* 0: the slot is free */
    double until;
    unsigned char *long_key;
    uint64_t flush; /* of which `group` is a part; so many bits never come round again */
    int group;
    int fd;
    uint16_t key_size;
    Cut cut;
    uint8_t address_size;
    uint8_t prefix_size;
    unsigned char key[SHORT_KEY];
    unsigned char address[ADDRESS];
    unsigned char prefix[MAX_PREFIX];
} Entry;

typedef struct {
    Entry *slots;
    size_t capacity; /* a power of two */
    size_t count;
} Table;

typedef struct Core Core;

typedef struct Lane {
    PyObject_HEAD
    Core *core;
    PyObject *owner;
    struct Lane *next; /* in the core's bucket */
    uint64_t id;
    Count up, down; /* of what the kernel took */
    Table ways, sources;
    uint64_t flush;
    int group;
    int near; /* the descriptor of the client's port, -1 before the first datagram */
    Cut cut;
    uint8_t version, draft, counts_itself, source_size, local_size;
    uint8_t control_size;
    unsigned char source[ADDRESS];
    unsigned char local[16];
    unsigned char control[ROOM];
} Lane;

enum { BUCKETS = 4096 };

/* A datagram that waits to be sent. */
typedef struct {
    struct iovec parts[2];
    int next; /* of its group, -1 for none */
    unsigned char head[4 + MAX_PREFIX];
} Out;

/* Datagrams that one call of the kernel sends: one, or several of equal length that it cuts. */
typedef struct {
    int fd, first, last, count, parts_each;
    int closed, sent;
    size_t size, total;
    void *address;
    socklen_t address_size;
    const unsigned char *control;
    size_t control_size;
    Cut *cut;
    Count *count_of; /* of its lane */
    unsigned char ancillary[ROOM + CMSG_SPACE(sizeof(uint16_t))];
} Group;

struct Core {
    PyObject_HEAD
    uint64_t seed;
    unsigned long long dropped;
    Lane *buckets[BUCKETS];
    uint64_t flush; /* number of the batch that is being collected */
    int outs, groups;
    unsigned char *buffers;
    struct mmsghdr received[BATCH];
    struct iovec places[BATCH];
    unsigned char names[BATCH][ADDRESS];
    unsigned char controls[BATCH][ROOM];
    Out out[MAX_OUT];
    Group group[MAX_OUT];
    struct mmsghdr sending[MAX_OUT];
    struct iovec parts[MAX_OUT * 2];
};

/* Tables. */

static uint64_t hash_of(uint64_t seed, const unsigned char *key, size_t size)
{
    uint64_t hash = seed ^ (size * 0x9E3779B97F4A7C15u);
    while (size) {
        uint64_t word = 0;
        size_t piece = size < 8 ? size : 8;
        memcpy(&word, key, piece);
        hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
        hash ^= hash >> 32;
        key += piece;
        size -= piece;
    }
    return hash ? hash : 1;
}

static const unsigned char *key_of(const Entry *entry)
{
    return entry->long_key ? entry->long_key : entry->key;
}

static Entry *table_find(Table *table, uint64_t hash, const unsigned char *key, size_t size)
{
    if (!table->capacity)
        return NULL;
    for (size_t at = hash & (table->capacity - 1); table->slots[at].hash; at = (at + 1) & (table->capacity - 1)) {
        Entry *entry = &table->slots[at];
        if (entry->hash == hash && entry->key_size == size && !memcmp(key_of(entry), key, size))
            return entry;
    }
    return NULL;
}

static void table_forget(Table *table)
{
    for (size_t at = 0; at < table->capacity; at++)
        PyMem_Free(table->slots[at].long_key);
    PyMem_Free(table->slots);
    memset(table, 0, sizeof *table);
}

static int table_grow(Table *table)
{
    Table larger = {NULL, table->capacity ? table->capacity * 2 : 8, table->count};
    larger.slots = PyMem_Calloc(larger.capacity, sizeof(Entry));
    if (!larger.slots) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t from = 0; from < table->capacity; from++) {
        if (!table->slots[from].hash)
            continue;
        size_t at = table->slots[from].hash & (larger.capacity - 1);
        while (larger.slots[at].hash)
            at = (at + 1) & (larger.capacity - 1);
        larger.slots[at] = table->slots[from];
    }
    PyMem_Free(table->slots);
    *table = larger;
    return 0;
}

/* Return the entry of a key, a new one if need be; NULL with an exception set. */
static Entry *table_put(Table *table, uint64_t hash, const unsigned char *key, size_t size)
{
    Entry *entry = table_find(table, hash, key, size);
    if (entry)
        return entry;
    if (table->count >= MAX_ENTRIES)
        table_forget(table);
    if (table->count * 2 >= table->capacity && table_grow(table))
        return NULL;
    unsigned char *long_key = NULL;
    if (size > SHORT_KEY && !(long_key = PyMem_Malloc(size))) {
        PyErr_NoMemory();
        return NULL;
    }
    size_t at = hash & (table->capacity - 1);
    while (table->slots[at].hash)
        at = (at + 1) & (table->capacity - 1);
    entry = &table->slots[at];
    memset(entry, 0, sizeof *entry);
    entry->hash = hash;
    entry->key_size = (uint16_t)size;
    entry->long_key = long_key;
    memcpy(long_key ? long_key : entry->key, key, size);
    table->count++;
    return entry;
}

/* Sending. */

/* Count what the kernel took: the data are always the last part. */
static void took(Group *group, const Out *out)
{
    group->count_of->datagrams++;
    group->count_of->bytes += out->parts[1].iov_len;
}

static void took_all(Core *core, Group *group)
{
    for (int at = group->first; at >= 0; at = core->out[at].next)
        took(group, &core->out[at]);
}

static void send_alone(Core *core, Group *group)
{
    for (int at = group->first; at >= 0; at = core->out[at].next) {
        struct msghdr message = {
            .msg_name = group->address,
            .msg_namelen = group->address_size,
            .msg_iov = core->out[at].parts + (2 - group->parts_each),
            .msg_iovlen = (size_t)group->parts_each,
            .msg_control = group->control_size ? (void *)group->control : NULL,
            .msg_controllen = group->control_size,
        };
        if (sendmsg(group->fd, &message, MSG_DONTWAIT) < 0 && sendmsg(group->fd, &message, MSG_DONTWAIT) < 0)
            core->dropped++;
        else
            took(group, &core->out[at]);
    }
}

static void describe(Core *core, Group *group, struct msghdr *message, struct iovec **parts)
{
    memset(message, 0, sizeof *message);
    message->msg_name = group->address;
    message->msg_namelen = group->address_size;
    message->msg_iov = *parts;
    for (int at = group->first; at >= 0; at = core->out[at].next)
        for (int part = 2 - group->parts_each; part < 2; part++)
            *(*parts)++ = core->out[at].parts[part];
    message->msg_iovlen = (size_t)(*parts - message->msg_iov);
    if (group->count == 1) {
        message->msg_control = group->control_size ? (void *)group->control : NULL;
        message->msg_controllen = group->control_size;
        return;
    }
    if (group->control_size)
        memcpy(group->ancillary, group->control, group->control_size);
    struct cmsghdr *cut = (struct cmsghdr *)(group->ancillary + group->control_size);
    uint16_t size = (uint16_t)group->size;
    cut->cmsg_level = IPPROTO_UDP;
    cut->cmsg_type = UDP_SEGMENT;
    cut->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(cut), &size, sizeof size);
    message->msg_control = group->ancillary;
    message->msg_controllen = group->control_size + CMSG_SPACE(sizeof size);
}

/* Send a run of described messages of one socket. */
static void send_run(Core *core, int fd, Group **groups, int count)
{
    int at = 0, again = 0;
    while (at < count) {
        int sent = sendmmsg(fd, core->sending + at, (unsigned)(count - at), MSG_DONTWAIT);
        if (sent > 0) {
            for (int end = at + sent; at < end; at++)
                took_all(core, groups[at]);
            again = 0;
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EBADF) {
            for (; at < count; at++)
                core->dropped += (unsigned)groups[at]->count;
            return;
        }
        /* an ICMP error that came meanwhile is told instead of sending */
        if (!again++)
            continue;
        if (groups[at]->count > 1) { /* longer than the path takes, or no device to cut it */
            int too_long = errno == EMSGSIZE || errno == EINVAL;
            groups[at]->cut->from = too_long ? (uint16_t)groups[at]->size : 1;
            groups[at]->cut->spared = 0;
            send_alone(core, groups[at]);
        } else {
            core->dropped++;
        }
        at++;
        again = 0;
    }
}

static void send_all(Core *core)
{
    Group *run[MAX_OUT];
    for (int first = 0; first < core->groups; first++) {
        if (core->group[first].sent)
            continue;
        int fd = core->group[first].fd, count = 0;
        struct iovec *parts = core->parts;
        for (int at = first; at < core->groups; at++) {
            Group *group = &core->group[at];
            if (group->sent || group->fd != fd)
                continue;
            group->sent = 1;
            run[count] = group;
            describe(core, group, &core->sending[count].msg_hdr, &parts);
            count++;
        }
        send_run(core, fd, run, count);
    }
    core->outs = core->groups = 0;
    core->flush++;
}

/* Return whether the kernel is to cut datagrams of a size, as far as one knows. */
static int is_cut(Cut *cut, size_t size)
{
    if (!cut->from || size < cut->from)
        return 1;
    if (++cut->spared >= UNCUT)
        cut->from = cut->spared = 0;
    return 0;
}

/* Have core->out[core->outs] sent together with others to the same place. */
static void enqueue(Core *core, Group like, uint64_t *flush, int *last_group)
{
    Out *out = &core->out[core->outs];
    out->next = -1;
    Group *group = *flush == core->flush ? &core->group[*last_group] : NULL;
    if (group && !group->closed && like.size && like.size <= group->size && group->count < MAX_SEGMENTS &&
        group->total + like.size <= MAX_GLUED && is_cut(group->cut, group->size)) {
        core->out[group->last].next = core->outs;
        group->last = core->outs;
        group->count++;
        group->total += like.size;
        group->closed = like.size < group->size; /* only the last one may be shorter */
    } else {
        group = &core->group[core->groups];
        *group = like;
        group->first = group->last = core->outs;
        group->count = 1;
        group->total = like.size;
        group->closed = !like.size;
        *flush = core->flush;
        *last_group = core->groups++;
    }
    if (++core->outs == MAX_OUT)
        send_all(core);
}

/* Receiving. */

static int receive(Core *core, int fd, int first)
{
    for (int at = first; at < BATCH; at++) {
        struct msghdr *message = &core->received[at].msg_hdr;
        core->places[at].iov_base = core->buffers + (size_t)at * LONGEST;
        core->places[at].iov_len = LONGEST;
        message->msg_name = core->names[at];
        message->msg_namelen = ADDRESS;
        message->msg_iov = &core->places[at];
        message->msg_iovlen = 1;
        message->msg_control = core->controls[at];
        message->msg_controllen = ROOM;
        message->msg_flags = 0;
    }
    for (int again = 0; again < 3; again++) { /* ICMP errors are told instead of receiving */
        int count = recvmmsg(fd, core->received + first, (unsigned)(BATCH - first), MSG_DONTWAIT, NULL);
        if (count >= 0)
            return count;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
    }
    return 0;
}

/* Tell the address that a message was sent to, and how long the datagrams are that the kernel has glued. */
static void read_control(struct msghdr *message, size_t *piece, unsigned char *local, uint8_t *local_size)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level == IPPROTO_UDP && part->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(part), sizeof size);
            if (size > 0)
                *piece = (size_t)size;
        } else if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(part), sizeof info);
            memcpy(local, &info.ipi_spec_dst, 4);
            *local_size = 4;
        } else if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(part), sizeof info);
            memcpy(local, &info.ipi6_addr, 16);
            *local_size = 16;
        }
    }
}

static void forget_flow(unsigned char *address, socklen_t size)
{
    if (size == sizeof(struct sockaddr_in6) && ((struct sockaddr *)address)->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_flowinfo = 0;
}

static uint64_t read_id(const unsigned char *data)
{
    uint64_t id = 0;
    for (int at = 4; at < HEAD; at++)
        id = id << 8 | data[at];
    return id;
}

static Lane *find_lane(Core *core, uint64_t id)
{
    Lane *lane = core->buckets[id % BUCKETS];
    while (lane && lane->id != id)
        lane = lane->next;
    return lane;
}

static size_t start_by(unsigned first, unsigned last, int draft)
{
    unsigned kind = 0;
    int is_draft = first == 0x0100 || first == 0x0300 || first == 0x0400;
    int is_consistent = last == 1 || last == 3 || last == 4;
    if (is_draft && (draft || !is_consistent))
        kind = first >> 8;
    else if (is_consistent)
        kind = last;
    return kind == 1 ? 20 : kind == 4 ? 32 : kind == 3 ? SHORTEST : 0;
}

/* Return where the data of a Datagram message start, and where they end; 0 if it is none (datagrams.parse_header). */
static size_t parse(const Lane *lane, const unsigned char *data, size_t size, size_t *end)
{
    *end = (size_t)data[2] << 8 | data[3];
    if (data[0] != lane->version || data[1] != DATAGRAM || *end > size)
        return 0;
    size_t start = start_by((unsigned)data[12] << 8 | data[13], (unsigned)data[14] << 8 | data[15], lane->draft);
    if (start == SHORTEST) {
        size_t name = data[16];
        start += lane->counts_itself && name && name % 4 == 0 ? name - 1 : name;
    }
    return start <= *end ? start : 0;
}

/* Move one message from a client. Return 1 if it must be handed up, 0 if it went or was dropped. */
static int move_up(Core *core, Lane *lane, int fd, const unsigned char *data, size_t size, int at,
                   const unsigned char *local, uint8_t local_size, double now)
{
    struct msghdr *message = &core->received[at].msg_hdr;
    size_t end, start;
    if (lane->near < 0)
        return 1;
    if (lane->near != fd || lane->source_size != message->msg_namelen ||
        memcmp(lane->source, core->names[at], lane->source_size) || lane->local_size != local_size ||
        memcmp(lane->local, local, local_size) || !(start = parse(lane, data, size, &end))) {
        core->dropped++;
        return 0;
    }
    const unsigned char *key = data + HEAD;
    Entry *way = table_find(&lane->ways, hash_of(core->seed, key, start - HEAD), key, start - HEAD);
    if (!way || now >= way->until)
        return 1;
    Out *out = &core->out[core->outs];
    out->parts[1].iov_base = (void *)(data + start);
    out->parts[1].iov_len = end - start;
    enqueue(core,
            (Group){.fd = way->fd, .size = end - start, .parts_each = 1, .address = way->address,
                    .address_size = way->address_size, .cut = &way->cut, .count_of = &lane->up},
            &way->flush, &way->group);
    return 0;
}

/* Move one datagram from a remote host. Return 1 if it must be handed up, 0 if it went or was dropped. */
static int move_down(Core *core, Lane *lane, const unsigned char *data, size_t size, int at, double now)
{
    struct msghdr *message = &core->received[at].msg_hdr;
    const unsigned char *name = core->names[at];
    Entry *source = table_find(&lane->sources, hash_of(core->seed, name, message->msg_namelen), name,
                               message->msg_namelen);
    if (!source || now >= source->until)
        return 1;
    size_t length = 4u + source->prefix_size - 2u + size;
    if (lane->near < 0 || length > MESSAGE) {
        core->dropped++;
        return 0;
    }
    Out *out = &core->out[core->outs];
    memcpy(out->head, source->prefix, 2);
    out->head[2] = (unsigned char)(length >> 8);
    out->head[3] = (unsigned char)length;
    memcpy(out->head + 4, source->prefix + 2, source->prefix_size - 2u);
    out->parts[0].iov_base = out->head;
    out->parts[0].iov_len = length - size;
    out->parts[1].iov_base = (void *)data;
    out->parts[1].iov_len = size;
    enqueue(core,
            (Group){.fd = lane->near, .size = length, .parts_each = 2, .address = lane->source,
                    .address_size = lane->source_size, .control = lane->control,
                    .control_size = lane->control_size, .cut = &lane->cut, .count_of = &lane->down},
            &lane->flush, &lane->group);
    return 0;
}

/* Hand up a message, in a list that is made when it is first needed; return -1 with an exception set.
 *
 * What waits is sent first: objects that are made may have others collected, and these close lanes. */
static int add_miss(Core *core, PyObject **misses, Lane *lane, const unsigned char *data, size_t size, int at,
                    const unsigned char *local, uint8_t local_size)
{
    int failed = -1;
    if (core->outs)
        send_all(core);
    if (!lane->owner)
        return 0;
    /* a reference of its own: if the lane is closed as the tuple is made, nobody else may hold the owner */
    PyObject *miss = Py_BuildValue("Ny#y#y#", Py_NewRef(lane->owner), data, (Py_ssize_t)size, core->names[at],
                                   (Py_ssize_t)core->received[at].msg_hdr.msg_namelen, local,
                                   (Py_ssize_t)local_size);
    if (miss && (*misses || (*misses = PyList_New(0))))
        failed = PyList_Append(*misses, miss);
    Py_XDECREF(miss);
    return failed;
}

static PyObject *core_pump_near(Core *core, PyObject *args)
{
    int fd, failed = 0;
    double now;
    PyObject *misses = NULL;
    if (!PyArg_ParseTuple(args, "id", &fd, &now))
        return NULL;
    int count = receive(core, fd, 0);
    for (int at = 0; at < count && !failed; at++) {
        unsigned char local[16] = {0};
        uint8_t local_size = 0;
        size_t length = core->received[at].msg_len, piece = length;
        struct msghdr *message = &core->received[at].msg_hdr;
        read_control(message, &piece, local, &local_size);
        forget_flow(core->names[at], message->msg_namelen);
        for (size_t from = 0; from < length && !failed; from += piece) {
            const unsigned char *data = core->buffers + (size_t)at * LONGEST + from;
            size_t size = length - from < piece ? length - from : piece;
            Lane *lane = size < SHORTEST ? NULL : find_lane(core, read_id(data));
            if (!lane)
                core->dropped++;
            else if (move_up(core, lane, fd, data, size, at, local, local_size, now))
                failed = add_miss(core, &misses, lane, data, size, at, local, local_size);
        }
    }
    send_all(core);
    if (failed) {
        Py_XDECREF(misses);
        return NULL;
    }
    return misses ? misses : Py_NewRef(Py_None);
}

static PyTypeObject LaneType;

/* Move what has come to one lane's socket, into buffers from `first` on; return how many were used, or -1. */
static int pump_lane(Core *core, Lane *lane, int fd, int first, double now, PyObject **misses)
{
    int count = receive(core, fd, first);
    for (int at = first; at < first + count; at++) {
        unsigned char local[16];
        uint8_t local_size = 0;
        size_t length = core->received[at].msg_len, piece = length, from = 0;
        struct msghdr *message = &core->received[at].msg_hdr;
        read_control(message, &piece, local, &local_size);
        forget_flow(core->names[at], message->msg_namelen);
        do { /* once also for a datagram without data */
            const unsigned char *data = core->buffers + (size_t)at * LONGEST + from;
            size_t size = length - from < piece ? length - from : piece;
            if (move_down(core, lane, data, size, at, now) &&
                add_miss(core, misses, lane, data, size, at, local, local_size))
                return -1;
            from += piece;
        } while (from < length);
    }
    return count;
}

static PyObject *core_pump_far(Core *core, PyObject *args)
{
    PyObject *ready, *misses = NULL;
    double now;
    int used = 0, failed = 0;
    if (!PyArg_ParseTuple(args, "O!d", &PyList_Type, &ready, &now))
        return NULL;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(ready) && !failed; at++) {
        PyObject *lane;
        int fd;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(ready, at), "O!i", &LaneType, &lane, &fd)) {
            failed = 1;
            break;
        }
        if (!((Lane *)lane)->core)
            continue; /* closed */
        int count = pump_lane(core, (Lane *)lane, fd, used, now, &misses);
        failed = count < 0;
        used += count;
        if (used > BATCH / 2) { /* the buffers are needed again */
            send_all(core);
            used = 0;
        }
    }
    send_all(core);
    if (failed) {
        Py_XDECREF(misses);
        return NULL;
    }
    return misses ? misses : Py_NewRef(Py_None);
}

/* Lanes. */

static PyObject *core_open(Core *core, PyObject *args)
{
    unsigned long long id;
    PyObject *owner;
    int version, counts_itself, draft;
    if (!PyArg_ParseTuple(args, "KOipp", &id, &owner, &version, &draft, &counts_itself))
        return NULL;
    Lane *lane = PyObject_GC_New(Lane, &LaneType);
    if (!lane)
        return NULL;
    memset((char *)lane + offsetof(Lane, core), 0, sizeof *lane - offsetof(Lane, core));
    lane->core = (Core *)Py_NewRef((PyObject *)core);
    lane->owner = Py_NewRef(owner);
    lane->id = id;
    lane->version = (uint8_t)version;
    lane->draft = (uint8_t)draft;
    lane->counts_itself = (uint8_t)counts_itself;
    lane->near = -1;
    lane->flush = core->flush - 1;
    lane->next = core->buckets[id % BUCKETS];
    core->buckets[id % BUCKETS] = lane;
    PyObject_GC_Track(lane);
    return (PyObject *)lane;
}

static int lane_traverse(Lane *lane, visitproc visit, void *arg)
{
    Py_VISIT(lane->owner);
    Py_VISIT(lane->core);
    return 0;
}

/* Move nothing any more. Idempotent. */
static int lane_clear(Lane *lane)
{
    Core *core = lane->core;
    if (core) {
        Lane **link = &core->buckets[lane->id % BUCKETS];
        while (*link && *link != lane)
            link = &(*link)->next;
        if (*link)
            *link = lane->next;
        lane->core = NULL;
        table_forget(&lane->ways);
        table_forget(&lane->sources);
        Py_CLEAR(lane->owner);
        Py_DECREF((PyObject *)core);
    }
    return 0;
}

static PyObject *lane_close(Lane *lane, PyObject *unused)
{
    (void)unused;
    lane_clear(lane);
    Py_RETURN_NONE;
}

static void lane_dealloc(Lane *lane)
{
    PyObject_GC_UnTrack(lane);
    lane_clear(lane);
    PyObject_GC_Del(lane);
}

static int fits(Py_ssize_t size, Py_ssize_t most, const char *what)
{
    if (size <= most)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s of %zd bytes", what, size);
    return 0;
}

static PyObject *lane_latch(Lane *lane, PyObject *args)
{
    int near, draft;
    const char *source, *local, *control;
    Py_ssize_t source_size, local_size, control_size;
    if (!PyArg_ParseTuple(args, "iy#y#y#p", &near, &source, &source_size, &local, &local_size, &control,
                          &control_size, &draft) ||
        !fits(source_size, ADDRESS, "an address") || !fits(local_size, 16, "an address") ||
        !fits(control_size, ROOM, "ancillary data"))
        return NULL;
    lane->near = near;
    lane->draft = (uint8_t)draft;
    memcpy(lane->source, source, (size_t)source_size);
    memcpy(lane->local, local, (size_t)local_size);
    memcpy(lane->control, control, (size_t)control_size);
    lane->source_size = (uint8_t)source_size;
    lane->local_size = (uint8_t)local_size;
    lane->control_size = (uint8_t)control_size;
    Py_RETURN_NONE;
}

static PyObject *lane_allow_to(Lane *lane, PyObject *args)
{
    const char *key, *address;
    Py_ssize_t key_size, address_size;
    int fd;
    double until;
    if (!PyArg_ParseTuple(args, "y#iy#d", &key, &key_size, &fd, &address, &address_size, &until) ||
        !fits(key_size, MAX_KEY, "a key") || !fits(address_size, ADDRESS, "an address"))
        return NULL;
    if (!lane->core)
        Py_RETURN_NONE;
    const unsigned char *bytes = (const unsigned char *)key;
    Entry *way = table_put(&lane->ways, hash_of(lane->core->seed, bytes, (size_t)key_size), bytes,
                           (size_t)key_size);
    if (!way)
        return NULL;
    way->fd = fd;
    way->until = until;
    way->flush = lane->core->flush - 1;
    way->address_size = (uint8_t)address_size;
    memcpy(way->address, address, (size_t)address_size);
    Py_RETURN_NONE;
}

static PyObject *lane_allow_from(Lane *lane, PyObject *args)
{
    const char *source, *prefix;
    Py_ssize_t source_size, prefix_size;
    double until;
    if (!PyArg_ParseTuple(args, "y#y#d", &source, &source_size, &prefix, &prefix_size, &until) ||
        !fits(source_size, ADDRESS, "an address") || !fits(prefix_size, MAX_PREFIX, "a prefix"))
        return NULL;
    if (prefix_size < 2) {
        PyErr_SetString(PyExc_ValueError, "a prefix begins with version and type");
        return NULL;
    }
    if (!lane->core)
        Py_RETURN_NONE;
    const unsigned char *bytes = (const unsigned char *)source;
    Entry *entry = table_put(&lane->sources, hash_of(lane->core->seed, bytes, (size_t)source_size), bytes,
                             (size_t)source_size);
    if (!entry)
        return NULL;
    entry->until = until;
    entry->prefix_size = (uint8_t)prefix_size;
    memcpy(entry->prefix, prefix, (size_t)prefix_size);
    Py_RETURN_NONE;
}

static PyMethodDef lane_methods[] = {
    {"latch", (PyCFunction)lane_latch, METH_VARARGS, "Set the client's path."},
    {"allow_to", (PyCFunction)lane_allow_to, METH_VARARGS, "Set the way for a key."},
    {"allow_from", (PyCFunction)lane_allow_from, METH_VARARGS, "Let a source send."},
    {"close", (PyCFunction)lane_close, METH_NOARGS, "Move nothing any more."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef lane_members[] = {
    {"up_datagrams", T_ULONGLONG, offsetof(Lane, up.datagrams), READONLY, NULL},
    {"up_bytes", T_ULONGLONG, offsetof(Lane, up.bytes), READONLY, NULL},
    {"down_datagrams", T_ULONGLONG, offsetof(Lane, down.datagrams), READONLY, NULL},
    {"down_bytes", T_ULONGLONG, offsetof(Lane, down.bytes), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject LaneType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "socks6.relay.datagrams._mover.Lane",
    .tp_basicsize = sizeof(Lane),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_dealloc = (destructor)lane_dealloc,
    .tp_traverse = (traverseproc)lane_traverse,
    .tp_clear = (inquiry)lane_clear,
    .tp_methods = lane_methods,
    .tp_members = lane_members,
};

static PyObject *core_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)names;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "K", &seed))
        return NULL;
    Core *core = (Core *)type->tp_alloc(type, 0); /* zeroed */
    if (!core)
        return NULL;
    core->seed = seed;
    core->flush = 1;
    core->buffers = PyMem_RawMalloc((size_t)BATCH * LONGEST);
    if (!core->buffers) {
        Py_DECREF((PyObject *)core);
        return PyErr_NoMemory();
    }
    return (PyObject *)core;
}

static void core_dealloc(Core *core)
{
    PyMem_RawFree(core->buffers); /* every lane holds the core: none is left */
    Py_TYPE(core)->tp_free((PyObject *)core);
}

static PyMethodDef core_methods[] = {
    {"open", (PyCFunction)core_open, METH_VARARGS, "Return a lane for an association."},
    {"pump_near", (PyCFunction)core_pump_near, METH_VARARGS, "Move what came to a port; return what is missed."},
    {"pump_far", (PyCFunction)core_pump_far, METH_VARARGS, "Move what came to lanes; return what is missed."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef core_members[] = {
    {"dropped", T_ULONGLONG, offsetof(Core, dropped), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject CoreType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "socks6.relay.datagrams._mover.Core",
    .tp_basicsize = sizeof(Core),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = core_new,
    .tp_dealloc = (destructor)core_dealloc,
    .tp_methods = core_methods,
    .tp_members = core_members,
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_mover", .m_doc = "Moves datagrams (see mover.py).", .m_size = -1,
};

PyMODINIT_FUNC PyInit__mover(void)
{
    if (PyType_Ready(&LaneType) || PyType_Ready(&CoreType))
        return NULL;
    PyObject *made = PyModule_Create(&module);
    if (made && (PyModule_AddObjectRef(made, "Core", (PyObject *)&CoreType) ||
                 PyModule_AddObjectRef(made, "Lane", (PyObject *)&LaneType)))
        Py_CLEAR(made);
    return made;
}
