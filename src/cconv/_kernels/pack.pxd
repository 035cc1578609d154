# Copies between the caller's arrays and the layouts that the register tiles read.

from libc.string cimport memset

from cconv._kernels.simd cimport CC_SECOND, CC_TURN, L32, L64, at, cc_turn4, every_second, head, put, real, v32, v64, vec


cdef inline void turn_columns(
    const float* src, Py_ssize_t src_stride, Py_ssize_t rows, float* dst, Py_ssize_t dst_stride, const int columns
) noexcept nogil:
    """`transpose` of 4 or 8 columns."""
    cdef Py_ssize_t r = 0
    cdef int c
    while r + 4 <= rows:
        for c in range(0, columns, 4):
            cc_turn4(src + r * src_stride + c, src_stride, dst + c * dst_stride + r, dst_stride)
        r += 4
    while r < rows:
        for c in range(columns):
            dst[c * dst_stride + r] = src[r * src_stride + c]
        r += 1


cdef inline void transpose(
    const real* src, Py_ssize_t src_stride, Py_ssize_t rows, Py_ssize_t columns, real* dst, Py_ssize_t dst_stride
) noexcept nogil:
    """dst[c*dst_stride + r] = src[r*src_stride + c].

    For float in 4x4 blocks, 8 columns at a time: their lines of dst then stay in the first-level cache until they are full, also
    where dst_stride is a multiple of 4 KB and all of them share one of its sets.
    """
    cdef Py_ssize_t r, c = 0, i
    if real is float:
        if CC_TURN:
            while c + 8 <= columns:
                turn_columns(src + c, src_stride, rows, dst + c * dst_stride, dst_stride, 8)
                c += 8
            if c + 4 <= columns:
                turn_columns(src + c, src_stride, rows, dst + c * dst_stride, dst_stride, 4)
                c += 4
    for r in range(rows):
        for i in range(c, columns):
            dst[i * dst_stride + r] = src[r * src_stride + i]


cdef inline void copy(real* dst, const real* src, Py_ssize_t n) noexcept nogil:
    """n numbers, in place of memcpy: rows are short, and a call is dear."""
    if real is float:
        copy_registers(<v32*> dst, <const v32*> src, n)
    else:
        copy_registers(<v64*> dst, <const v64*> src, n)


cdef inline void copy_registers(vec* dst, const vec* src, Py_ssize_t n) noexcept nogil:
    cdef int width = L32 if vec is v32 else L64
    cdef Py_ssize_t i
    for i in range(n // width):
        dst[i] = src[i]
    if n % width:
        i = n - n % width
        put(<vec*> at(dst, i), head(at(src, i), <int> (n % width)), <int> (n % width))


cdef inline vec steps(const vec* src, Py_ssize_t step, int n) noexcept nogil:
    """src[0], src[step], ..., n numbers in 1..lanes; the other lanes are 0. Reads nothing past the last."""
    cdef int width = L32 if vec is v32 else L64
    cdef int low = min(width, 2 * n - 1), j
    cdef double few[16]
    if step == 1:
        return src[0] if n == width else head(src, n)
    if step == 2 and CC_SECOND:
        if n == width:
            return every_second(src[0], head(at(src, width), width - 1))
        return every_second(head(src, low), head(at(src, low), 2 * n - 1 - low))
    for j in range(n):
        if vec is v32:
            (<float*> few)[j] = (<const float*> src)[j * step]
        else:
            few[j] = (<const double*> src)[j * step]
    return head(<const vec*> few, n)


cdef inline void copy_apart(vec* dst, const vec* src, Py_ssize_t step, Py_ssize_t n) noexcept nogil:
    cdef int width = L32 if vec is v32 else L64, count
    cdef Py_ssize_t j = 0
    while j < n:
        count = <int> min(<Py_ssize_t> width, n - j)
        put(<vec*> at(dst, j), steps(at(src, j * step), step, count), count)
        j += count


cdef inline void copy_steps(real* dst, const real* src, Py_ssize_t step, Py_ssize_t n) noexcept nogil:
    """dst[j] = src[j*step]."""
    cdef Py_ssize_t j
    if step == 1:
        copy(dst, src, n)
    elif step == 2:
        if real is float:
            copy_apart(<v32*> dst, <const v32*> src, 2, n)
        else:
            copy_apart(<v64*> dst, <const v64*> src, 2, n)
    else:
        for j in range(n):
            dst[j] = src[j * step]


cdef inline void inside(Py_ssize_t offset, Py_ssize_t step, Py_ssize_t size, Py_ssize_t count, Py_ssize_t* first, Py_ssize_t* last) noexcept nogil:
    """The j < count with offset + j*step in 0..size-1 are first..last-1."""
    first[0] = min(count, (step - 1 - offset) // step) if offset < 0 else 0
    last[0] = max(first[0], min(count, (size - offset + step - 1) // step)) if offset < size else first[0]


cdef inline void clear(real* p, Py_ssize_t n) noexcept nogil:
    memset(p, 0, n * sizeof(real))


cdef inline void set_all(real* p, Py_ssize_t n, real value) noexcept nogil:
    """A few numbers: a loop, in place of a call."""
    cdef Py_ssize_t j
    for j in range(n):
        p[j] = value
