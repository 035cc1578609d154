# What is done to sums where they are stored, while they are in the first-level cache.

from cconv._kernels.simd cimport L32, L64, at, head, put, real, splat, v32, v64, vec, where_gt


cdef inline void rectify_registers(vec* p, Py_ssize_t n) noexcept nogil:
    cdef int width = L32 if vec is v32 else L64, rest = <int> (n % width)
    cdef Py_ssize_t i
    cdef vec zero, value
    if n >= width:
        zero = splat(0, p[0])
        for i in range(n // width):
            p[i] = where_gt(zero, p[i], zero, p[i])
    if rest:
        value = head(<const vec*> at(p, n - rest), rest)
        zero = splat(0, value)
        put(<vec*> at(p, n - rest), where_gt(zero, value, zero, value), rest)


cdef inline void rectify(real* p, Py_ssize_t n) noexcept nogil:
    """n numbers as relu of activation.pyx leaves them: 0 for what is less, NaN as it is."""
    if real is float:
        rectify_registers(<v32*> p, n)
    else:
        rectify_registers(<v64*> p, n)
