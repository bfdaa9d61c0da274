/* Where one association's datagrams go, by the bytes that name their host and port: a hash table of bounded size. */

#ifndef SOCKS6_TABLE_H
#define SOCKS6_TABLE_H

#include "batch.h"

enum { MAX_ROUTES = 1024, INLINE_BYTES = 64 };

typedef struct {
    uint64_t hash; /* 0: the slot is free */
    double until;
    unsigned char *long_bytes; /* of key and prefix, if they do not fit here */
    uint16_t key_size, prefix_size;
    unsigned char bytes[INLINE_BYTES];
    Destination to;
} Route;

typedef struct {
    Route *slots;
    size_t capacity; /* a power of two */
    size_t count;
} Table;

/* Return a hash that is never 0. Peers choose the keys, and must not know which collide: `seed` is random. */
uint64_t hash_of(uint64_t seed, const unsigned char *key, size_t size);

Route *table_find(const Table *table, uint64_t seed, const unsigned char *key, size_t size);

/* Return the route of a key, which is as good as new; NULL when out of memory. A full table forgets all first. */
Route *table_put(Table *table, uint64_t seed, const unsigned char *key, size_t key_size, const unsigned char *prefix,
                 size_t prefix_size);
void table_clear(Table *table);
const unsigned char *route_prefix(const Route *route);

#endif
