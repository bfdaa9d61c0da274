#include "table.h"

#include <stdlib.h>
#include <string.h>

uint64_t hash_of(uint64_t seed, const unsigned char *key, size_t size)
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

static const unsigned char *bytes_of(const Route *route)
{
    return route->long_bytes ? route->long_bytes : route->bytes;
}

const unsigned char *route_prefix(const Route *route)
{
    return bytes_of(route) + route->key_size;
}

static Route *find(const Table *table, uint64_t hash, const unsigned char *key, size_t size)
{
    if (!table->capacity)
        return NULL;
    for (size_t at = hash & (table->capacity - 1); table->slots[at].hash; at = (at + 1) & (table->capacity - 1)) {
        Route *route = &table->slots[at];
        if (route->hash == hash && route->key_size == size && !memcmp(bytes_of(route), key, size))
            return route;
    }
    return NULL;
}

Route *table_find(const Table *table, uint64_t seed, const unsigned char *key, size_t size)
{
    return find(table, hash_of(seed, key, size), key, size);
}

void table_clear(Table *table)
{
    for (size_t at = 0; at < table->capacity; at++)
        free(table->slots[at].long_bytes);
    free(table->slots);
    memset(table, 0, sizeof *table);
}

static Route *free_slot(const Table *table, uint64_t hash)
{
    size_t at = hash & (table->capacity - 1);
    while (table->slots[at].hash)
        at = (at + 1) & (table->capacity - 1);
    return &table->slots[at];
}

static int grow(Table *table)
{
    Table larger = {NULL, table->capacity ? table->capacity * 2 : 8, table->count};
    larger.slots = calloc(larger.capacity, sizeof(Route));
    if (!larger.slots)
        return -1;
    for (size_t from = 0; from < table->capacity; from++)
        if (table->slots[from].hash)
            *free_slot(&larger, table->slots[from].hash) = table->slots[from];
    free(table->slots);
    *table = larger;
    return 0;
}

Route *table_put(Table *table, uint64_t seed, const unsigned char *key, size_t key_size, const unsigned char *prefix,
                 size_t prefix_size)
{
    uint64_t hash = hash_of(seed, key, key_size);
    unsigned char *long_bytes = NULL;
    if (key_size + prefix_size > INLINE_BYTES && !(long_bytes = malloc(key_size + prefix_size)))
        return NULL;
    SegmentRefusal refusal = {0, 0};
    Route *route = find(table, hash, key, key_size);
    if (route) {
        refusal = route->to.refusal;
        free(route->long_bytes);
    } else {
        if (table->count >= MAX_ROUTES)
            table_clear(table);
        if (table->count * 2 >= table->capacity && grow(table)) {
            free(long_bytes);
            return NULL;
        }
        route = free_slot(table, hash);
        table->count++;
    }
    memset(route, 0, sizeof *route);
    route->hash = hash;
    route->key_size = (uint16_t)key_size;
    route->prefix_size = (uint16_t)prefix_size;
    route->long_bytes = long_bytes;
    route->to.refusal = refusal;
    unsigned char *bytes = long_bytes ? long_bytes : route->bytes;
    memcpy(bytes, key, key_size);
    memcpy(bytes + key_size, prefix, prefix_size);
    return route;
}
