/* What the load generator knows of SOCKS 5 and SOCKS 6: the client's side of a CONNECT to 127.0.0.1. */
#include "loadgen.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t be16(const uint8_t *at) { return (size_t)at[0] << 8 | at[1]; }

static size_t address_size(uint8_t kind, uint8_t first)
{
    return kind == 1 ? 4 : kind == 4 ? 16 : 1 + (size_t)first;
}

size_t reply_size(const struct connection *c)
{
    const uint8_t *in = c->in;
    switch (c->state) {
    case METHOD:
    case PASSWORD:
        return 2;
    case REPLY:
        return c->length < 5 ? 5 : 6 + address_size(in[3], in[4]);
    case AUTHENTICATION6:
        return c->length < 4 ? 4 : 4 + be16(in + 2);
    case REPLY6:
        return c->length < 9 ? 9 : 8 + address_size(in[7], in[8]) + be16(in + 2);
    default:
        return 0;
    }
}

bool reply_is_good(const struct connection *c)
{
    const uint8_t *in = c->in;
    switch (c->state) {
    case METHOD:
        return in[0] == 5 && in[1] != 0xFF;
    case PASSWORD:
        return in[1] == 0;
    case REPLY:
        return in[0] == 5 && in[1] == 0;
    case AUTHENTICATION6:
    case REPLY6:
        return in[0] == 6 && in[1] == 0;
    default:
        return true;
    }
}

static size_t credentials(const struct settings *settings, uint8_t *out)
{
    size_t user = strlen(settings->user), password = strlen(settings->password), n = 0;
    out[n++] = 1;
    out[n++] = (uint8_t)user;
    memcpy(out + n, settings->user, user);
    n += user;
    out[n++] = (uint8_t)password;
    memcpy(out + n, settings->password, password);
    return n + password;
}

static size_t request5(const struct settings *settings, uint8_t *out)
{
    memcpy(out, "\5\1\0\1\177\0\0\1", 8);
    out[8] = (uint8_t)(settings->origin_port >> 8);
    out[9] = (uint8_t)settings->origin_port;
    return 10;
}

/* Version 6, CONNECT, options length, port, padding, address type, address; then one Authentication Data. */
static size_t request6(const struct settings *settings, uint8_t *out)
{
    size_t options = 0;
    memcpy(out, "\6\1\0\0\0\0\0\1\177\0\0\1", 12);
    out[4] = (uint8_t)(settings->origin_port >> 8);
    out[5] = (uint8_t)settings->origin_port;
    if (settings->user) {
        uint8_t *option = out + 12;
        memset(option, 0, 600);
        options = (5 + credentials(settings, option + 5) + 3) / 4 * 4;
        option[1] = 4; /* kind: Authentication Data */
        option[2] = (uint8_t)(options >> 8);
        option[3] = (uint8_t)options;
        option[4] = 2; /* method: username/password */
        out[2] = (uint8_t)(options >> 8);
        out[3] = (uint8_t)options;
    }
    return 12 + options;
}

size_t next_message(struct connection *c, const struct settings *settings, uint8_t *out)
{
    switch (c->state) {
    case CONNECTING:
        if (settings->protocol == DIRECT) {
            c->state = OPEN;
            return 0;
        }
        if (settings->protocol == SOCKS6) {
            c->state = AUTHENTICATION6;
            return request6(settings, out);
        }
        c->state = METHOD;
        memcpy(out, "\5\1\0", 3);
        out[2] = settings->user ? 2 : 0;
        return 3;
    case METHOD:
        if (settings->user) {
            c->state = PASSWORD;
            return credentials(settings, out);
        } /* fall through */
    case PASSWORD:
        c->state = REPLY;
        return request5(settings, out);
    case AUTHENTICATION6:
        c->state = REPLY6;
        return 0;
    default:
        c->state = OPEN;
        return 0;
    }
}

static enum protocol protocol_named(const char *name)
{
    return !strcmp(name, "socks5") ? SOCKS5 : !strcmp(name, "socks6") ? SOCKS6 : DIRECT;
}

void read_settings(int argc, char **argv, struct settings *s)
{
    int flag;
    while ((flag = getopt(argc, argv, "m:p:P:o:c:w:t:n:s:u:k:e")) != -1) {
        switch (flag) {
        case 'm': s->mode = optarg; break;
        case 'p': s->protocol = protocol_named(optarg); break;
        case 'P': s->proxy_port = (uint16_t)atoi(optarg); break;
        case 'o': s->origin_port = (uint16_t)atoi(optarg); break;
        case 'c': s->connections = (unsigned)atoi(optarg); break;
        case 'w': s->warm_up = atof(optarg); break;
        case 't': s->seconds = atof(optarg); break;
        case 'n': s->most = (uint64_t)atoll(optarg); break;
        case 's': s->size = (size_t)atoi(optarg); break;
        case 'u': s->user = optarg; break;
        case 'k': s->password = optarg; break;
        case 'e': s->early = true; break;
        default: exit(2);
        }
    }
    if (s->user && !s->password)
        s->password = "";
    if (!s->connections || !s->size || s->size > sizeof ((struct connection *)0)->in) {
        fprintf(stderr, "loadgen: -c and -s must be at least 1, -s at most 1024\n");
        exit(2);
    }
}
