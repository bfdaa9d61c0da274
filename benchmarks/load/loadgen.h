/* What the load generator's loop (loadgen.c) and its knowledge of the protocols (handshake.c) share. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_ROOM 2048

enum protocol { DIRECT, SOCKS5, SOCKS6 };

enum state { CONNECTING, METHOD, PASSWORD, REPLY, AUTHENTICATION6, REPLY6, OPEN, ECHOING, FLOWING };

struct settings {
    const char *mode;
    enum protocol protocol;
    uint16_t proxy_port, origin_port;
    unsigned connections;
    double warm_up, seconds;
    uint64_t most; /* stop after so many; 0 for no such limit */
    size_t size;
    const char *user, *password;
    bool early;
};

struct connection {
    int fd;
    enum state state;
    double started;
    size_t length;
    uint8_t in[1024];
};

void read_settings(int argc, char **argv, struct settings *settings);

/* How long the reply is that this state waits for, as far as the bytes tell; or how many are needed to know. */
size_t reply_size(const struct connection *c);

/* Whether a complete reply lets the handshake go on. */
bool reply_is_good(const struct connection *c);

/* Move to the next state and write what is to be sent there; 0 when nothing is. */
size_t next_message(struct connection *c, const struct settings *settings, uint8_t *out);
