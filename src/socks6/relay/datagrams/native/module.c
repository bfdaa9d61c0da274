/* The Python module `_forwarder`: forwards datagrams between clients and the sockets of their associations, as
 * PythonForwarder in forwarder.py does. Optional; the same tests run with both (docs/decisions/0018).
 *
 * Everything here runs with the GIL held and calls no Python while pointers into its tables are in use: what cannot
 * be forwarded is returned, and the caller hands it up. Peers choose every byte of a message and of a source
 * address; nothing is read beyond what the kernel says has arrived. */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <structmember.h>

#include <string.h>

#include "batch.h"
#include "framing.h"
#include "table.h"

enum { BUCKETS = 4096 };

typedef struct Forwarder Forwarder;

/* One side of an association: how its datagrams are framed, and where they go. */
typedef struct {
    Framing framing;
    Table routes;
    Count forwarded;
    Py_buffer budget; /* of int64_t: bytes that may go, datagrams dropped. Without memory: any number may */
} Side;

typedef struct Association {
    PyObject_HEAD
    Forwarder *forwarder; /* NULL: closed */
    PyObject *owner;
    struct Association *next; /* in the forwarder's bucket */
    uint64_t index;           /* 0: in none */
    Side client, remote;
    double last;           /* when a datagram was forwarded */
    Destination to_client; /* its descriptor is -1 before the client is bound */
    uint8_t local_size;
    unsigned char local[16];
    unsigned char control[MAX_ANCILLARY];
} Association;

struct Forwarder {
    PyObject_HEAD
    uint64_t seed;
    Association *buckets[BUCKETS];
    Batch batch;
};

static PyTypeObject AssociationType;

/* Forwarding. */

static int is_client(const Association *association, int fd, const Received *received)
{
    const Destination *client = &association->to_client;
    return client->fd == fd && client->address_size == received->source_size &&
           association->local_size == received->local_size &&
           !memcmp(client->address, received->source, client->address_size) &&
           !memcmp(association->local, received->local, received->local_size);
}

static Association *find_by_id(Forwarder *forwarder, uint64_t id)
{
    Association *found = forwarder->buckets[id % BUCKETS];
    while (found && found->index != id)
        found = found->next;
    return found;
}

static Association *find_by_source(Forwarder *forwarder, int fd, const Received *received)
{
    uint64_t index = hash_of(forwarder->seed, received->source, received->source_size);
    Association *found = forwarder->buckets[index % BUCKETS];
    while (found && !(found->index == index && is_client(found, fd, received)))
        found = found->next;
    return found;
}

/* Take a datagram of a side's budget, if it has one; return 0 if it is to be dropped (see DatagramBudget). */
static int may_go(const Side *from, size_t size)
{
    int64_t *budget = from->budget.buf;
    if (!budget)
        return 1;
    if (budget[0] > 0) {
        budget[0] -= (int64_t)size;
        return 1;
    }
    budget[1]++;
    return 0;
}

/* Forward one datagram. Return 1 if it must be handed up, 0 if it was sent or dropped. */
static int forward(Forwarder *forwarder, Association *association, int from_client, int fd, const Received *received,
                   const unsigned char *data, size_t size, double now)
{
    Batch *batch = &forwarder->batch;
    Side *from = from_client ? &association->client : &association->remote;
    Side *other = from_client ? &association->remote : &association->client;
    Datagram datagram;
    if (from_client && association->to_client.fd < 0)
        return 1;
    if (from_client && !is_client(association, fd, received)) {
        batch->dropped++;
        return 0;
    }
    if (!framing_parse(&from->framing, data, size, &datagram)) {
        batch->dropped += from_client;
        return !from_client; /* a proxy has other messages, too */
    }
    if (!from_client && from->framing.kind == NO_HEADER) {
        datagram.key = received->source;
        datagram.key_size = received->source_size;
    }
    Route *route = table_find(&from->routes, forwarder->seed, datagram.key, datagram.key_size);
    if (!route || now >= route->until)
        return 1;
    Destination *to = from_client ? &route->to : &association->to_client;
    int header_size = framing_write(&other->framing, route_prefix(route), route->prefix_size, datagram.size,
                                    batch_header(batch));
    if (header_size < 0 || to->fd < 0) {
        batch->dropped++;
        return 0;
    }
    if (!may_go(from, datagram.size))
        return 0;
    association->last = now;
    batch_add(batch, to, &from->forwarded, (size_t)header_size, datagram.data, datagram.size);
    return 0;
}

/* Add a datagram to a list of those to be handed up, made when first needed; return -1 with an exception set.
 *
 * What waits is sent first: objects that are made may have others collected, and these close associations. */
static int add_miss(Forwarder *forwarder, PyObject **misses, PyObject *owner, PyObject *sock, int from_client,
                    const Received *received, const unsigned char *data, size_t size)
{
    int failed = -1;
    if (!owner)
        return 0;
    /* a reference of its own: if the association is closed as the tuple is made, nothing else may hold the owner */
    Py_INCREF(owner);
    if (forwarder->batch.outs)
        batch_send(&forwarder->batch);
    PyObject *miss = Py_BuildValue("NOiy#y#y#", owner, sock, from_client, data, (Py_ssize_t)size, received->source,
                                   (Py_ssize_t)received->source_size, received->local,
                                   (Py_ssize_t)received->local_size);
    if (miss && (*misses || (*misses = PyList_New(0))))
        failed = PyList_Append(*misses, miss);
    Py_XDECREF(miss);
    return failed;
}

static PyObject *finish(Forwarder *forwarder, PyObject *misses, int failed)
{
    batch_send(&forwarder->batch);
    if (failed) {
        Py_XDECREF(misses);
        return NULL;
    }
    return misses ? misses : Py_NewRef(Py_None);
}

/* Forward the datagrams of one buffer, of an association or of whichever they are for: by the id in them, or by their
 * source if there are `strangers`, who get what is of none. Return -1 with an exception set. */
static int forward_received(Forwarder *forwarder, Association *association, PyObject *strangers, int from_client, int fd,
                            PyObject *sock, int at, double now, PyObject **misses)
{
    Received received = batch_received(&forwarder->batch, at);
    size_t from = 0;
    do { /* once also for a datagram without data */
        const unsigned char *data = received.data + from;
        size_t size = received.length - from < received.piece ? received.length - from : received.piece;
        Association *found = association ? association
                             : strangers ? find_by_source(forwarder, fd, &received)
                                         : find_by_id(forwarder, socks6_id(data, size));
        PyObject *owner = found ? found->owner : strangers;
        if (!found && !strangers)
            forwarder->batch.dropped++;
        else if ((!found || forward(forwarder, found, from_client, fd, &received, data, size, now)) &&
                 add_miss(forwarder, misses, owner, sock, from_client, &received, data, size))
            return -1;
        from += received.piece;
    } while (from < received.length);
    return 0;
}

static PyObject *forwarder_forward_port(Forwarder *forwarder, PyObject *args)
{
    PyObject *sock, *strangers, *misses = NULL;
    int fd, failed = 0;
    double now;
    if (!PyArg_ParseTuple(args, "OiOd", &sock, &fd, &strangers, &now))
        return NULL;
    int count = batch_receive(&forwarder->batch, fd, 0);
    for (int at = 0; at < count && !failed; at++)
        failed = forward_received(forwarder, NULL, strangers == Py_None ? NULL : strangers, 1, fd, sock, at, now,
                                  &misses);
    return finish(forwarder, misses, failed);
}

static PyObject *forwarder_forward_sockets(Forwarder *forwarder, PyObject *args)
{
    PyObject *ready, *misses = NULL;
    double now;
    int used = 0, failed = 0;
    if (!PyArg_ParseTuple(args, "O!d", &PyList_Type, &ready, &now))
        return NULL;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(ready) && !failed; at++) {
        PyObject *item, *sock;
        int fd, from_client;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(ready, at), "O!iiO", &AssociationType, &item, &fd, &from_client,
                              &sock)) {
            failed = 1;
            break;
        }
        Association *association = (Association *)item;
        if (!association->forwarder)
            continue; /* closed */
        int first = used;
        used = batch_receive(&forwarder->batch, fd, first);
        for (int message = first; message < used && !failed; message++)
            failed = forward_received(forwarder, association, NULL, from_client, fd, sock, message, now, &misses);
        if (used > MAX_RECEIVED / 2) { /* the buffers are needed again */
            batch_send(&forwarder->batch);
            used = 0;
        }
    }
    return finish(forwarder, misses, failed);
}

/* Associations. */

static void put_in_index(Association *association, uint64_t index)
{
    Association **bucket = &association->forwarder->buckets[index % BUCKETS];
    association->index = index;
    association->next = *bucket;
    *bucket = association;
}

static void take_out_of_index(Association *association)
{
    Association **link = &association->forwarder->buckets[association->index % BUCKETS];
    while (*link && *link != association)
        link = &(*link)->next;
    if (*link)
        *link = association->next;
    association->index = 0;
}

/* Read a framing: kind, version, whether a name's length counts itself, association id. */
static int to_framing(PyObject *tuple, void *address)
{
    int kind, version, counts_itself;
    unsigned long long id;
    if (!PyArg_ParseTuple(tuple, "iipK", &kind, &version, &counts_itself, &id))
        return 0;
    *(Framing *)address = (Framing){
        .id = id, .kind = (uint8_t)kind, .version = (uint8_t)version, .counts_itself = (uint8_t)counts_itself};
    return 1;
}

static PyObject *forwarder_open(Forwarder *forwarder, PyObject *args)
{
    PyObject *owner;
    Framing client, remote;
    if (!PyArg_ParseTuple(args, "OO&O&", &owner, to_framing, &client, to_framing, &remote))
        return NULL;
    Association *association = PyObject_GC_New(Association, &AssociationType);
    if (!association)
        return NULL;
    memset((char *)association + offsetof(Association, forwarder), 0,
           sizeof *association - offsetof(Association, forwarder));
    association->forwarder = (Forwarder *)Py_NewRef((PyObject *)forwarder);
    association->owner = Py_NewRef(owner);
    association->client.framing = client;
    association->remote.framing = remote;
    association->to_client.fd = -1;
    if (client.kind == SOCKS6_DRAFT_HEADER || client.kind == SOCKS6_CONSISTENT_HEADER)
        put_in_index(association, client.id);
    PyObject_GC_Track(association);
    return (PyObject *)association;
}

static int association_traverse(Association *association, visitproc visit, void *arg)
{
    Py_VISIT(association->owner);
    Py_VISIT(association->forwarder);
    return 0;
}

static int association_clear(Association *association)
{
    Forwarder *forwarder = association->forwarder;
    if (forwarder) {
        take_out_of_index(association);
        association->forwarder = NULL;
        table_clear(&association->client.routes);
        table_clear(&association->remote.routes);
        PyBuffer_Release(&association->client.budget);
        PyBuffer_Release(&association->remote.budget);
        Py_CLEAR(association->owner);
        Py_DECREF((PyObject *)forwarder);
    }
    return 0;
}

static PyObject *association_close(Association *association, PyObject *unused)
{
    (void)unused;
    association_clear(association);
    Py_RETURN_NONE;
}

static void association_dealloc(Association *association)
{
    PyObject_GC_UnTrack(association);
    association_clear(association);
    PyObject_GC_Del(association);
}

static int fits(Py_ssize_t size, Py_ssize_t most, const char *what)
{
    if (size <= most)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s of %zd bytes", what, size);
    return 0;
}

static int is_prefix(const Framing *framing, Py_ssize_t size)
{
    if (framing->kind <= SOCKS5_HEADER || size >= 2)
        return fits(size, MAX_PREFIX, "a prefix");
    PyErr_SetString(PyExc_ValueError, "a prefix begins with version and type");
    return 0;
}

static PyObject *association_bind_client(Association *association, PyObject *args)
{
    int fd;
    Framing framing;
    const char *source, *local, *control;
    Py_ssize_t source_size, local_size, control_size;
    if (!PyArg_ParseTuple(args, "O&iy#y#y#", to_framing, &framing, &fd, &source, &source_size, &local, &local_size,
                          &control, &control_size) ||
        !fits(source_size, MAX_ADDRESS, "an address") || !fits(local_size, 16, "an address") ||
        !fits(control_size, MAX_ANCILLARY, "ancillary data"))
        return NULL;
    Destination *client = &association->to_client;
    memset(client, 0, sizeof *client);
    association->client.framing = framing;
    client->fd = fd;
    client->control = association->control;
    client->address_size = (uint8_t)source_size;
    client->control_size = (uint8_t)control_size;
    association->local_size = (uint8_t)local_size;
    memcpy(client->address, source, (size_t)source_size);
    memcpy(association->local, local, (size_t)local_size);
    memcpy(association->control, control, (size_t)control_size);
    if (association->forwarder && framing.kind == NO_HEADER && !association->index)
        put_in_index(association, hash_of(association->forwarder->seed, client->address, client->address_size));
    Py_RETURN_NONE;
}

static PyObject *association_add_route(Association *association, PyObject *args)
{
    const char *key, *address, *prefix;
    Py_ssize_t key_size, address_size, prefix_size;
    int from_client, fd;
    double until;
    if (!PyArg_ParseTuple(args, "py#iy#y#d", &from_client, &key, &key_size, &fd, &address, &address_size, &prefix,
                          &prefix_size, &until))
        return NULL;
    Side *from = from_client ? &association->client : &association->remote;
    Side *other = from_client ? &association->remote : &association->client;
    if (!fits(key_size, MAX_KEY, "a key") || !fits(address_size, MAX_ADDRESS, "an address") ||
        !is_prefix(&other->framing, prefix_size))
        return NULL;
    if (!association->forwarder)
        Py_RETURN_NONE;
    Route *route = table_put(&from->routes, association->forwarder->seed, (const unsigned char *)key, (size_t)key_size,
                             (const unsigned char *)prefix, (size_t)prefix_size);
    if (!route)
        return PyErr_NoMemory();
    route->until = until;
    route->to.fd = fd;
    route->to.address_size = (uint8_t)address_size;
    memcpy(route->to.address, address, (size_t)address_size);
    Py_RETURN_NONE;
}

static PyObject *association_counts(Association *association, PyObject *unused)
{
    (void)unused;
    Count up = association->client.forwarded, down = association->remote.forwarded;
    return Py_BuildValue("KKKKd", up.datagrams, up.bytes, down.datagrams, down.bytes, association->last);
}

static PyObject *association_limit(Association *association, PyObject *args)
{
    Py_buffer up, down;
    if (!PyArg_ParseTuple(args, "w*w*", &up, &down))
        return NULL;
    int fit = up.len >= 2 * (Py_ssize_t)sizeof(int64_t) && down.len >= 2 * (Py_ssize_t)sizeof(int64_t);
    if (fit && association->forwarder) {
        PyBuffer_Release(&association->client.budget);
        PyBuffer_Release(&association->remote.budget);
        association->client.budget = up;
        association->remote.budget = down;
        Py_RETURN_NONE;
    }
    PyBuffer_Release(&up);
    PyBuffer_Release(&down);
    if (fit)
        Py_RETURN_NONE; /* closed */
    PyErr_SetString(PyExc_ValueError, "a budget of less than two numbers");
    return NULL;
}

static PyMethodDef association_methods[] = {
    {"bind_client", (PyCFunction)association_bind_client, METH_VARARGS, "Set where the client is."},
    {"add_route", (PyCFunction)association_add_route, METH_VARARGS, "Set where datagrams of a side go."},
    {"limit", (PyCFunction)association_limit, METH_VARARGS, "Set how much may go each way."},
    {"counts", (PyCFunction)association_counts, METH_NOARGS, "Return what was forwarded, and when last."},
    {"close", (PyCFunction)association_close, METH_NOARGS, "Forward nothing any more."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject AssociationType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "socks6.relay.datagrams._forwarder.Entry",
    .tp_basicsize = sizeof(Association),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_dealloc = (destructor)association_dealloc,
    .tp_traverse = (traverseproc)association_traverse,
    .tp_clear = (inquiry)association_clear,
    .tp_methods = association_methods,
};

/* The forwarder. */

static PyObject *forwarder_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)names;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "K", &seed))
        return NULL;
    Forwarder *forwarder = (Forwarder *)type->tp_alloc(type, 0); /* zeroed */
    if (!forwarder)
        return NULL;
    forwarder->seed = seed;
    forwarder->batch.flush = 1; /* no destination has sent with this one yet */
    forwarder->batch.buffers = PyMem_RawMalloc((size_t)MAX_RECEIVED * MAX_MESSAGE_BYTES);
    if (!forwarder->batch.buffers) {
        Py_DECREF((PyObject *)forwarder);
        return PyErr_NoMemory();
    }
    return (PyObject *)forwarder;
}

static void forwarder_dealloc(Forwarder *forwarder)
{
    PyMem_RawFree(forwarder->batch.buffers); /* every association holds the forwarder: none is left */
    Py_TYPE(forwarder)->tp_free((PyObject *)forwarder);
}

static PyMethodDef forwarder_methods[] = {
    {"open", (PyCFunction)forwarder_open, METH_VARARGS, "Return a new association."},
    {"forward_port", (PyCFunction)forwarder_forward_port, METH_VARARGS,
     "Forward what came to a port of many clients; return what is missed."},
    {"forward_sockets", (PyCFunction)forwarder_forward_sockets, METH_VARARGS,
     "Forward what came to sockets of one association each; return what is missed."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef forwarder_members[] = {
    {"dropped", T_ULONGLONG, offsetof(Forwarder, batch.dropped), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject ForwarderType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "socks6.relay.datagrams._forwarder.Forwarder",
    .tp_basicsize = sizeof(Forwarder),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = forwarder_new,
    .tp_dealloc = (destructor)forwarder_dealloc,
    .tp_methods = forwarder_methods,
    .tp_members = forwarder_members,
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_forwarder", .m_doc = "Forwards datagrams (see forwarder.py).", .m_size = -1,
};

PyMODINIT_FUNC PyInit__forwarder(void)
{
    if (PyType_Ready(&AssociationType) || PyType_Ready(&ForwarderType))
        return NULL;
    PyObject *made = PyModule_Create(&module);
    if (made && (PyModule_AddObjectRef(made, "Forwarder", (PyObject *)&ForwarderType) ||
                 PyModule_AddObjectRef(made, "Entry", (PyObject *)&AssociationType)))
        Py_CLEAR(made);
    return made;
}
