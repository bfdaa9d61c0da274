/* How a datagram names its destination or its source: the headers of SOCKS 6 (§ Handling UDP ASSOCIATE) and of
 * SOCKS 5 (RFC 1928, section 7), or none. The same as message/framing.py, without an object per datagram. */

#ifndef SOCKS6_FRAMING_H
#define SOCKS6_FRAMING_H

#include <stddef.h>
#include <stdint.h>

enum {
    SOCKS6_ID_END = 12,      /* version, type, length, association id */
    SOCKS6_NAME_START = 17,  /* of a message; the shortest one is as long */
    MAX_KEY = 4 + 1 + 255,   /* bytes that name a host and port */
    MAX_PREFIX = 10 + MAX_KEY, /* bytes of a header, without the length */
    MAX_HEADER = MAX_PREFIX + 2,
};

typedef enum { NO_HEADER, SOCKS5_HEADER, SOCKS6_DRAFT_HEADER, SOCKS6_CONSISTENT_HEADER } HeaderKind;

/* What is written before the data of one association's datagrams, on one of its sides. */
typedef struct {
    uint64_t id;
    uint8_t kind, version, counts_itself;
} Framing;

typedef struct {
    const unsigned char *key, *data;
    size_t key_size, size;
} Datagram;

/* Return the association id of a SOCKS 6 message; 0 if it is too short. */
uint64_t socks6_id(const unsigned char *message, size_t size);

/* Find key and data of a message; return 0 if it is not one of this association's. */
int framing_parse(const Framing *framing, const unsigned char *message, size_t size, Datagram *datagram);

/* Write the header of `size` bytes of data; return its length, or -1 if no message is so long. */
int framing_write(const Framing *framing, const unsigned char *prefix, size_t prefix_size, size_t size,
                  unsigned char *header);

#endif
