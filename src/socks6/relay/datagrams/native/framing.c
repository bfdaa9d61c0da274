#include "framing.h"

#include <string.h>

enum { DATAGRAM_TYPE = 3, IPV4 = 1, NAME = 3, IPV6 = 4, SOCKS5_KEY_START = 3, SOCKS5_NAME_START = 7, MAX_MESSAGE = 65535 };

uint64_t socks6_id(const unsigned char *message, size_t size)
{
    uint64_t id = 0;
    if (size < SOCKS6_NAME_START)
        return 0;
    for (int at = 4; at < SOCKS6_ID_END; at++)
        id = id << 8 | message[at];
    return id;
}

/* Return where the data start, by the four bytes that hold address type, port and a zero (datagrams._find_layout). */
static size_t socks6_start(unsigned first, unsigned last, int is_draft)
{
    unsigned kind = 0;
    int fits_draft = first == 0x0100 || first == 0x0300 || first == 0x0400;
    int fits_consistent = last == IPV4 || last == NAME || last == IPV6;
    if (fits_draft && (is_draft || !fits_consistent))
        kind = first >> 8;
    else if (fits_consistent)
        kind = last;
    return kind == IPV4 ? 20 : kind == IPV6 ? 32 : kind == NAME ? SOCKS6_NAME_START : 0;
}

static int parse_socks6(const Framing *framing, const unsigned char *message, size_t size, Datagram *datagram)
{
    if (size < SOCKS6_NAME_START)
        return 0;
    size_t end = (size_t)message[2] << 8 | message[3];
    if (message[0] != framing->version || message[1] != DATAGRAM_TYPE || end > size ||
        socks6_id(message, size) != framing->id)
        return 0;
    size_t start = socks6_start((unsigned)message[12] << 8 | message[13], (unsigned)message[14] << 8 | message[15],
                                framing->kind == SOCKS6_DRAFT_HEADER);
    if (start == SOCKS6_NAME_START) {
        size_t name = message[16];
        start += framing->counts_itself && name && name % 4 == 0 ? name - 1 : name;
    }
    if (!start || start > end)
        return 0;
    *datagram = (Datagram){.key = message + SOCKS6_ID_END, .key_size = start - SOCKS6_ID_END,
                           .data = message + start, .size = end - start};
    return 1;
}

static int parse_socks5(const unsigned char *packet, size_t size, Datagram *datagram)
{
    if (size < SOCKS5_NAME_START || packet[0] || packet[1] || packet[2]) /* the third numbers fragments: not relayed */
        return 0;
    unsigned kind = packet[SOCKS5_KEY_START];
    size_t start = kind == IPV4 ? 10 : kind == IPV6 ? 22 : kind == NAME ? SOCKS5_NAME_START + (size_t)packet[4] : 0;
    if (!start || start > size)
        return 0;
    *datagram = (Datagram){.key = packet + SOCKS5_KEY_START, .key_size = start - SOCKS5_KEY_START,
                           .data = packet + start, .size = size - start};
    return 1;
}

int framing_parse(const Framing *framing, const unsigned char *message, size_t size, Datagram *datagram)
{
    switch (framing->kind) {
    case NO_HEADER:
        *datagram = (Datagram){.key = message, .data = message, .size = size};
        return 1;
    case SOCKS5_HEADER:
        return parse_socks5(message, size, datagram);
    default:
        return parse_socks6(framing, message, size, datagram);
    }
}

int framing_write(const Framing *framing, const unsigned char *prefix, size_t prefix_size, size_t size,
                  unsigned char *header)
{
    if (framing->kind == NO_HEADER || framing->kind == SOCKS5_HEADER) {
        memcpy(header, prefix, prefix_size);
        return (int)prefix_size;
    }
    size_t length = prefix_size + 2 + size;
    if (length > MAX_MESSAGE)
        return -1;
    memcpy(header, prefix, 2);
    header[2] = (unsigned char)(length >> 8);
    header[3] = (unsigned char)length;
    memcpy(header + 4, prefix + 2, prefix_size - 2);
    return (int)prefix_size + 2;
}
