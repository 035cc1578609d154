# What is done to sums where they are stored, while they are in the first-level cache: y = min(max(sum, 0), top). `top` is infinity for
# relu, 6 for relu6, and 0 where nothing is to be done.

from cconv._kernels.simd cimport L32, L64, at, head, put, real, splat, v32, v64, vec, where_gt


cdef inline vec rectified(vec x, vec zero, vec top) noexcept nogil:
    """As relu and hardtanh of activation.pyx: NaN and -0.0 stay."""
    return where_gt(zero, x, zero, where_gt(x, top, top, x))


cdef inline void rectify_registers(vec* p, Py_ssize_t n, double top) noexcept nogil:
    cdef int width = L32 if vec is v32 else L64, rest = <int> (n % width)
    cdef Py_ssize_t i
    cdef vec value, zero, most
    if n >= width:
        zero = splat(0, p[0])
        most = splat(top, p[0])
        for i in range(n // width):
            p[i] = rectified(p[i], zero, most)
    if rest:
        value = head(<const vec*> at(p, n - rest), rest)
        put(<vec*> at(p, n - rest), rectified(value, splat(0, value), splat(top, value)), rest)


cdef inline void rectify(real* p, Py_ssize_t n, double top) noexcept nogil:
    if real is float:
        rectify_registers(<v32*> p, n, top)
    else:
        rectify_registers(<v64*> p, n, top)
