# What Python would be slow to ask of arrays: the signature of a call, and whether all of an array's numbers are such and such.
#
# Built once, for the plainest processor.

from cython.parallel cimport prange
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset
cimport numpy as cnp

cnp.import_array()

cdef extern from "Python.h":
    int64_t PyLong_AsLongLongAndOverflow(object value, int* overflow)
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


cdef enum:
    ROOM = 64  # numbers of a signature
    TEXT = 4  # of which a text takes so many

# What follows in a signature.
cdef enum:
    NOTHING
    TRUE
    FALSE
    WHOLE
    SEVERAL
    WORDS
    ARRAY

cdef struct Signature:
    int64_t numbers[ROOM]
    int count


cdef inline bint put(Signature* to, int64_t number) noexcept:
    if to.count == ROOM:
        return False
    to.numbers[to.count] = number
    to.count += 1
    return True


cdef bint put_text(Signature* to, object text) except -1:
    cdef Py_ssize_t size
    cdef const char* start
    try:
        start = PyUnicode_AsUTF8AndSize(text, &size)
    except UnicodeEncodeError:
        return False
    if size > 8 * TEXT or to.count + TEXT + 2 > ROOM:
        return False
    put(to, WORDS)
    put(to, size)
    memset(to.numbers + to.count, 0, 8 * TEXT)
    memcpy(to.numbers + to.count, start, size)
    to.count += TEXT
    return True


cdef bint put_array(Signature* to, cnp.ndarray array) noexcept:
    cdef int kind = cnp.PyArray_TYPE(array), axis
    if kind > cnp.NPY_DOUBLE or not cnp.PyArray_ISCARRAY_RO(array):
        return False
    if not (put(to, ARRAY) and put(to, kind) and put(to, cnp.PyArray_NDIM(array))):
        return False
    for axis in range(cnp.PyArray_NDIM(array)):
        if not put(to, cnp.PyArray_DIM(array, axis)):
            return False
    return True


cdef bint put_item(Signature* to, object item) except -1:
    cdef int overflow = 0
    cdef int64_t number
    kind = type(item)
    if cnp.PyArray_CheckExact(item):
        return put_array(to, item)
    if item is None:
        return put(to, NOTHING)
    if kind is int:
        number = PyLong_AsLongLongAndOverflow(item, &overflow)
        return not overflow and put(to, WHOLE) and put(to, number)
    if kind is tuple:
        if not (put(to, SEVERAL) and put(to, len(<tuple> item))):
            return False
        for each in <tuple> item:
            if not put_item(to, each):
                return False
        return True
    if kind is bool:
        return put(to, TRUE if item else FALSE)
    return kind is str and put_text(to, item)


def signature(*items):
    """All that a call's checks and plans can see of its arguments but the arrays' numbers, as bytes.

    None where an argument is not plain: an array of another class, layout or byte order, or an option that is neither None, bool, int,
    short str, nor a tuple of such. So 1.0 or True is never taken for 1.
    """
    cdef Signature to
    to.count = 0
    for item in items:
        if not put_item(&to, item):
            return None
    return PyBytes_FromStringAndSize(<const char*> to.numbers, to.count * sizeof(int64_t))


def all_below(cnp.ndarray integers, int64_t bound):
    """Whether all of a contiguous int64 array lies in 0..bound - 1."""
    cdef const uint64_t* p = <const uint64_t*> cnp.PyArray_DATA(integers)
    cdef Py_ssize_t i, n = cnp.PyArray_SIZE(integers)
    cdef uint64_t signs = 0
    for i in range(n):
        signs |= p[i] | (<uint64_t> bound - 1 - p[i])  # of a number, and of what is left above it
    return signs >> 63 == 0


cdef bint finite32(const int32_t* p, Py_ssize_t n) noexcept nogil:
    cdef int32_t bad = 0
    cdef Py_ssize_t i
    for i in range(n):
        bad |= (p[i] & 0x7f800000) == 0x7f800000
    return bad == 0


cdef bint finite64(const int64_t* p, Py_ssize_t n) noexcept nogil:
    cdef int64_t bad = 0
    cdef Py_ssize_t i
    for i in range(n):
        bad |= (p[i] & <int64_t> 0x7ff0000000000000) == <int64_t> 0x7ff0000000000000
    return bad == 0


def all_finite(cnp.ndarray array, int n_threads=1):
    """Whether a contiguous array of float32 or float64 holds neither infinity nor NaN: an exponent of ones."""
    cdef const char* p = <const char*> cnp.PyArray_DATA(array)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(array), share = (n + n_threads - 1) // n_threads
    cdef bint single = cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT
    cdef int t, bad = 0
    if n_threads == 1:
        return finite32(<const int32_t*> p, n) if single else finite64(<const int64_t*> p, n)
    for t in prange(n_threads, nogil=True, schedule="static", num_threads=n_threads):
        if single:
            bad += not finite32(<const int32_t*> p + min(t * share, n), min(share, n - min(t * share, n)))
        else:
            bad += not finite64(<const int64_t*> p + min(t * share, n), min(share, n - min(t * share, n)))
    return bad == 0
