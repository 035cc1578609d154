# Memory of the arrays that operations return: a NumPy data allocator (NEP 49) that keeps freed blocks for the next call.
#
# A training step allocates and frees the same large arrays again and again. From the C library each comes as fresh pages, and touching them
# takes longer than filling them: LeNet-5 at batch 64 spent a third of a step there. A block is handed out again only after NumPy has
# freed it, that is when no array or view of it is left, so an array that somebody holds is never reused.
#
# Batches of one size ask for the same blocks in each step, and find them. Where sizes vary a block half as large again serves, too, and what
# is kept gives way so that it and what is in use take at most half as much again as was ever in use at once: without these a network whose
# batches had 256 sizes took six times the memory that it needed.
#
# Built once, for the plainest processor. NumPy calls an allocator with the GIL held, which guards the lists.

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strcpy
cimport numpy as cnp
from numpy import empty as new

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void* ctx
        void* (*malloc)(void*, size_t) noexcept
        void* (*calloc)(void*, size_t, size_t) noexcept
        void* (*realloc)(void*, void*, size_t) noexcept
        void (*free)(void*, void*, size_t) noexcept
    ctypedef struct PyDataMem_Handler:
        char name[127]
        uint8_t version
        PyDataMemAllocator allocator
    object PyDataMem_SetHandler(object handler)


cdef enum:
    ALIGNMENT = 64  # a cache line, and the widest register
    SMALLEST = 1 << 14  # bytes; smaller blocks the C library serves well
    STEPS = 8  # sizes kept for each doubling
    REACH = STEPS // 2  # sizes above its own from which a request is served
    CLASSES = 48 * STEPS

# Before each block's data.
cdef struct Header:
    void* raw  # what malloc gave
    size_t size  # bytes that the data may fill
    Py_ssize_t kind  # size class, -1 for a block that is not kept
    Header* next

cdef Header* kept[CLASSES]
cdef size_t kept_bytes = 0
cdef size_t used_bytes = 0  # in blocks that arrays hold, and the most of them so far
cdef size_t most_bytes = 0
cdef size_t limit = 256 << 20
cdef int turn = 0  # the size class that `shrink` freed from last
memset(kept, 0, sizeof(kept))


cdef Py_ssize_t size_class(size_t size, size_t* rounded) noexcept:
    """The class that serves `size` bytes, and the bytes of its blocks."""
    cdef Py_ssize_t doubling = 0, step
    cdef size_t base = SMALLEST, width
    while base * 2 < size:
        base *= 2
        doubling += 1
    width = base // STEPS
    step = (size - base + width - 1) // width if size > base else 0
    rounded[0] = base + step * width
    return doubling * STEPS + step


cdef void shrink(size_t target) noexcept:
    """Free kept blocks until they take at most `target` bytes, in turns over the sizes: those in use come back."""
    global kept_bytes, turn
    cdef Header* header
    cdef int idle = 0
    while kept_bytes > target and idle < CLASSES:
        turn = (turn + 1) % CLASSES
        header = kept[turn]
        if header == NULL:
            idle += 1
        else:
            idle = 0
            kept[turn] = header.next
            kept_bytes -= header.size
            free(header.raw)


cdef void use(size_t size) noexcept:
    """Count a block of `size` bytes among those in use."""
    global used_bytes, most_bytes
    used_bytes += size
    most_bytes = max(most_bytes, used_bytes)


cdef void* take(void* ctx, size_t size) noexcept:
    global kept_bytes, used_bytes
    cdef Py_ssize_t kind = -1, found, last
    cdef size_t rounded = size
    cdef Header* header
    cdef void* raw
    cdef uintptr_t data
    if size >= SMALLEST:
        kind = size_class(size, &rounded)
        if kind >= CLASSES:
            kind, rounded = -1, size
        last = min(kind + REACH + 1, CLASSES) if kind >= 0 else 0
        for found in range(kind, last):
            header = kept[found]
            if header != NULL:
                kept[found] = header.next
                kept_bytes -= header.size
                use(header.size)
                return <void*> (header + 1)
    if rounded > <size_t> -1 - 2 * ALIGNMENT:
        return NULL
    if kind >= 0:
        use(rounded)
        if kept_bytes > most_bytes + most_bytes // 2 - used_bytes:
            shrink(most_bytes + most_bytes // 2 - used_bytes)
    raw = malloc(rounded + 2 * ALIGNMENT)
    if raw == NULL:
        shrink(0)
        raw = malloc(rounded + 2 * ALIGNMENT)
    if raw == NULL:
        if kind >= 0:
            used_bytes -= rounded
        return NULL
    data = (<uintptr_t> raw + sizeof(Header) + ALIGNMENT - 1) & ~<uintptr_t> (ALIGNMENT - 1)
    header = <Header*> data - 1
    header.raw, header.size, header.kind, header.next = raw, rounded, kind, NULL
    return <void*> data


cdef void* take_zeroed(void* ctx, size_t count, size_t each) noexcept:
    cdef void* data
    if each and count > <size_t> -1 // each:
        return NULL
    data = take(ctx, count * each)
    if data != NULL:
        memset(data, 0, count * each)
    return data


cdef void give(void* ctx, void* data, size_t size) noexcept:
    global kept_bytes, used_bytes
    cdef Header* header
    if data == NULL:
        return
    header = <Header*> data - 1
    if header.kind >= 0:
        used_bytes -= header.size
    if header.kind >= 0 and header.size <= limit:
        # The newest is wanted soonest; sizes that nobody asks for again make room.
        if kept_bytes + header.size > limit:
            shrink(limit - header.size)
        header.next = kept[header.kind]
        kept[header.kind] = header
        kept_bytes += header.size
    else:
        free(header.raw)


cdef void* resize(void* ctx, void* data, size_t size) noexcept:
    cdef void* larger = take(ctx, size)
    if larger != NULL and data != NULL:
        memcpy(larger, data, min(size, (<Header*> data - 1).size))
        give(ctx, data, 0)
    return larger


cdef PyDataMem_Handler handler
strcpy(handler.name, "cconv")
handler.version = 1
handler.allocator = PyDataMemAllocator(NULL, take, take_zeroed, resize, give)
cdef object capsule = PyCapsule_New(&handler, "mem_handler", NULL)


def empty(shape, dtype):
    """As numpy.empty (C order), aligned to a cache line, from kept memory where there is some. MemoryError where there is none."""
    cdef cnp.npy_intp sizes[4]
    cdef int axis, ndim = 0
    if type(shape) is tuple and 0 < len(<tuple> shape) <= 4 and isinstance(dtype, cnp.dtype):
        ndim = <int> len(<tuple> shape)
        for axis in range(ndim):
            sizes[axis] = (<tuple> shape)[axis]
    cdef object before = PyDataMem_SetHandler(capsule)
    try:
        if ndim and (<cnp.dtype> dtype).type_num <= cnp.NPY_DOUBLE:
            return cnp.PyArray_EMPTY(ndim, sizes, (<cnp.dtype> dtype).type_num, False)  # as below, in less time
        return new(shape, dtype)
    finally:
        PyDataMem_SetHandler(before)


def keep_at_most(Py_ssize_t size):
    """Keep at most `size` bytes of freed blocks from now on, and free the rest; returns the bytes still kept."""
    global limit
    if size < 0:
        raise ValueError(f"keep_at_most: size must be at least 0, got {size}")
    limit = size
    shrink(limit)
    return kept_bytes
