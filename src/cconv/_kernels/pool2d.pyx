# Max and average pooling. A plane (one channel of one image) is one task: its outputs, and in backward its grad_x, have one owner.
#
#   y[i, j] = max or sum over r, s of x[i*stride + r*dilation - top, j*stride + s*dilation - left]
#
# A register holds neighbouring outputs of a row, and stays one from the window's first place to its last. Where windows leave the image, the
# plane is first copied with a border of minus infinity, or of zeros. A maximum's place is kept as its distance from the window's
# corner, which fits a lane of float up to 2**24, and becomes an index at the end.

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
cimport numpy as cnp

from cconv._kernels.pack cimport copy, inside, set_all, steps
from cconv._kernels.simd cimport L32, L64, at, head, lane, put, put_places, real, splat, v32, v64, vec, where_max

cnp.import_array()


cdef enum:
    BLOCK = 256  # outputs whose shares are worked out together


# As the tuple that functional/pool.py makes, field by field.
cdef struct Window:
    Py_ssize_t height
    Py_ssize_t width
    Py_ssize_t out_rows
    Py_ssize_t out_columns
    Py_ssize_t kernel_h
    Py_ssize_t kernel_w
    Py_ssize_t stride_h
    Py_ssize_t stride_w
    Py_ssize_t top
    Py_ssize_t bottom
    Py_ssize_t left
    Py_ssize_t right
    Py_ssize_t dilation_h
    Py_ssize_t dilation_w
    Py_ssize_t include_pad
    Py_ssize_t bordered_rows  # of the copy with a border; 0: no window leaves the image, and there is none
    Py_ssize_t bordered_columns


cdef const real* with_border(real* buffer, const real* x, const Window* w, real outside) noexcept nogil:
    """The plane that windows read, from its first corner on: x itself, or its copy."""
    cdef Py_ssize_t q, row, low, high
    if w.bordered_rows == 0:
        return x
    inside(-w.left, 1, w.width, w.bordered_columns, &low, &high)
    for q in range(w.bordered_rows):
        row = q - w.top
        if 0 <= row < w.height:
            set_all(buffer + q * w.bordered_columns, low, outside)
            copy(buffer + q * w.bordered_columns + low, x + row * w.width + low - w.left, high - low)
            set_all(buffer + q * w.bordered_columns + high, w.bordered_columns - high, outside)
        else:
            set_all(buffer + q * w.bordered_columns, w.bordered_columns, outside)
    return buffer


cdef Py_ssize_t first_place(const Window* w, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """The index of a window's first place inside the image."""
    cdef Py_ssize_t row = i * w.stride_h - w.top, column = j * w.stride_w - w.left
    while row < 0:
        row += w.dilation_h
    while column < 0:
        column += w.dilation_w
    return row * w.width + column


cdef inline vec max_register(vec* y, const vec* corner, Py_ssize_t row_step, const Window* w, Py_ssize_t step, Py_ssize_t kernel_h,
                             Py_ssize_t kernel_w, int n) noexcept nogil:
    """n neighbouring outputs; returns their places. `step` is the stride, a literal where it is 1 or 2, and the kernel's sizes are such
    where they are 2 and 2."""
    cdef vec v = head(corner, 0), best = splat(-INFINITY, v), found = splat(-1.0, v)
    cdef Py_ssize_t r, s
    for r in range(kernel_h):
        for s in range(kernel_w):
            v = steps(at(corner, r * w.dilation_h * row_step + s * w.dilation_w), step, n)
            found = where_max(v, best, splat(<double> (r * w.dilation_h * w.width + s * w.dilation_w), v), found)
            best = where_max(v, best, v, best)
    put(y, best, n)
    return found


cdef inline void max_row(vec* y, int64_t* indices, const vec* corner, Py_ssize_t row_step, const Window* w, Py_ssize_t step, Py_ssize_t kernel_h,
                         Py_ssize_t kernel_w, Py_ssize_t i) noexcept nogil:
    cdef int width = L32 if vec is v32 else L64, n, k
    cdef Py_ssize_t j = 0, first = (i * w.stride_h - w.top) * w.width - w.left
    cdef vec found
    while j < w.out_columns:
        n = <int> min(<Py_ssize_t> width, w.out_columns - j)
        found = max_register(<vec*> at(y, j), at(corner, j * w.stride_w), row_step, w, step, kernel_h, kernel_w, n)
        if put_places(indices + j, found, first + j * w.stride_w, w.stride_w, n):
            # Minus infinity in all of a window: nothing was larger than the start.
            for k in range(n):
                if lane(found, k) < 0:
                    indices[j + k] = first_place(w, i, j + k)
        j += n


cdef void max_plane(real* y, int64_t* indices, const real* x, const Window* w, real* buffer) noexcept nogil:
    cdef Py_ssize_t i, row_step = w.bordered_columns if w.bordered_rows else w.width
    cdef const real* corner = with_border(buffer, x, w, <real> -INFINITY)
    for i in range(w.out_rows):
        if real is float:
            if w.stride_w == 2 and w.kernel_h == 2 and w.kernel_w == 2:
                max_row(<v32*> y, indices, <const v32*> corner, row_step, w, 2, 2, 2, i)
            elif w.stride_w == 1:
                max_row(<v32*> y, indices, <const v32*> corner, row_step, w, 1, w.kernel_h, w.kernel_w, i)
            elif w.stride_w == 2:
                max_row(<v32*> y, indices, <const v32*> corner, row_step, w, 2, w.kernel_h, w.kernel_w, i)
            else:
                max_row(<v32*> y, indices, <const v32*> corner, row_step, w, w.stride_w, w.kernel_h, w.kernel_w, i)
        else:
            if w.stride_w == 2 and w.kernel_h == 2 and w.kernel_w == 2:
                max_row(<v64*> y, indices, <const v64*> corner, row_step, w, 2, 2, 2, i)
            elif w.stride_w == 1:
                max_row(<v64*> y, indices, <const v64*> corner, row_step, w, 1, w.kernel_h, w.kernel_w, i)
            elif w.stride_w == 2:
                max_row(<v64*> y, indices, <const v64*> corner, row_step, w, 2, w.kernel_h, w.kernel_w, i)
            else:
                max_row(<v64*> y, indices, <const v64*> corner, row_step, w, w.stride_w, w.kernel_h, w.kernel_w, i)
        y += w.out_columns
        indices += w.out_columns
        corner += w.stride_h * row_step


def max_forward(cnp.ndarray y, cnp.ndarray indices, cnp.ndarray x, cnp.ndarray window, cnp.ndarray scratch, int threads):
    """y and indices (h*W + w in the plane; the first maximum, or the last NaN) of each plane of x. `scratch` has room for a plane with
    its border for each thread."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Window* w = <Window*> cnp.PyArray_DATA(window)
    cdef Py_ssize_t planes = cnp.PyArray_DIM(x, 0) * cnp.PyArray_DIM(x, 1), p, size = w.height * w.width, out = w.out_rows * w.out_columns
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef Py_ssize_t room = w.bordered_rows * w.bordered_columns
    cdef int64_t* ip = <int64_t*> cnp.PyArray_DATA(indices)
    if single:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            max_plane(<float*> yp + p * out, ip + p * out, <float*> xp + p * size, w, <float*> sp + threadid() * room)
    else:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            max_plane(<double*> yp + p * out, ip + p * out, <double*> xp + p * size, w, <double*> sp + threadid() * room)


cdef void scatter_plane(real* grad_x, const real* grad_y, const int64_t* indices, Py_ssize_t size, Py_ssize_t out) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(size):
        grad_x[j] = 0
    for j in range(out):
        grad_x[indices[j]] += grad_y[j]


def max_backward(cnp.ndarray grad_x, cnp.ndarray grad_y, cnp.ndarray indices, int threads):
    """Each output's gradient added at its index; indices are checked by the caller."""
    cdef bint single = cnp.PyArray_TYPE(grad_x) == cnp.NPY_FLOAT
    cdef Py_ssize_t planes = cnp.PyArray_DIM(grad_x, 0) * cnp.PyArray_DIM(grad_x, 1), p
    cdef Py_ssize_t size = cnp.PyArray_DIM(grad_x, 2) * cnp.PyArray_DIM(grad_x, 3)
    cdef Py_ssize_t out = cnp.PyArray_DIM(grad_y, 2) * cnp.PyArray_DIM(grad_y, 3)
    cdef void* xp = cnp.PyArray_DATA(grad_x)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef int64_t* ip = <int64_t*> cnp.PyArray_DATA(indices)
    if single:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            scatter_plane(<float*> xp + p * size, <float*> yp + p * out, ip + p * out, size, out)
    else:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            scatter_plane(<double*> xp + p * size, <double*> yp + p * out, ip + p * out, size, out)


# --- average ------------------------------------------------------------------------------------------------


cdef inline Py_ssize_t counted(Py_ssize_t start, Py_ssize_t kernel, Py_ssize_t size, Py_ssize_t after, bint include_pad) noexcept nogil:
    """Places of a window along one axis that its average counts: with padding, but never past it, or inside only."""
    if include_pad:
        return min(start + kernel, size + after) - start
    return min(start + kernel, size) - max(start, <Py_ssize_t> 0)


cdef inline void average_row(vec* y, const vec* corner, const vec* columns, Py_ssize_t row_step, const Window* w, Py_ssize_t step, double rows) noexcept nogil:
    cdef int width = L32 if vec is v32 else L64, n
    cdef Py_ssize_t j = 0, r, s
    cdef vec total
    while j < w.out_columns:
        n = <int> min(<Py_ssize_t> width, w.out_columns - j)
        total = head(corner, 0)
        for r in range(w.kernel_h):
            for s in range(w.kernel_w):
                total = total + steps(at(corner, r * row_step + j * w.stride_w + s), step, n)
        put(<vec*> at(y, j), total / (splat(rows, total) * head(at(columns, j), n)), n)
        j += n


cdef void spread_rows(real* grad_x, const real* grad_y, const Window* w, const real* columns, Py_ssize_t j0, Py_ssize_t j1) noexcept nogil:
    """Columns j0..j1-1 of all output rows."""
    cdef real share[BLOCK]
    cdef Py_ssize_t r, s, i, j, row, offset, low, high, n = j1 - j0
    cdef real rows
    cdef real* dst
    for i in range(w.out_rows):
        rows = <real> counted(i * w.stride_h - w.top, w.kernel_h, w.height, w.bottom, w.include_pad)
        for j in range(n):
            share[j] = grad_y[i * w.out_columns + j0 + j] / (rows * columns[j0 + j])
        for s in range(w.kernel_w):
            offset = j0 * w.stride_w + s - w.left
            inside(offset, w.stride_w, w.width, n, &low, &high)
            for r in range(w.kernel_h):
                row = i * w.stride_h - w.top + r
                if row < 0 or row >= w.height:
                    continue
                dst = grad_x + row * w.width + offset
                if w.stride_w == 2:
                    for j in range(low, high):
                        dst[j * 2] += share[j]
                else:
                    for j in range(low, high):
                        dst[j * w.stride_w] += share[j]


cdef void average_plane(real* y, const real* x, const Window* w, const real* columns, real* buffer) noexcept nogil:
    cdef Py_ssize_t i, row_step = w.bordered_columns if w.bordered_rows else w.width
    cdef const real* corner = with_border(buffer, x, w, <real> 0)
    cdef double rows
    for i in range(w.out_rows):
        rows = <double> counted(i * w.stride_h - w.top, w.kernel_h, w.height, w.bottom, w.include_pad)
        if real is float:
            if w.stride_w == 1:
                average_row(<v32*> y, <const v32*> corner, <const v32*> columns, row_step, w, 1, rows)
            elif w.stride_w == 2:
                average_row(<v32*> y, <const v32*> corner, <const v32*> columns, row_step, w, 2, rows)
            else:
                average_row(<v32*> y, <const v32*> corner, <const v32*> columns, row_step, w, w.stride_w, rows)
        else:
            if w.stride_w == 1:
                average_row(<v64*> y, <const v64*> corner, <const v64*> columns, row_step, w, 1, rows)
            elif w.stride_w == 2:
                average_row(<v64*> y, <const v64*> corner, <const v64*> columns, row_step, w, 2, rows)
            else:
                average_row(<v64*> y, <const v64*> corner, <const v64*> columns, row_step, w, w.stride_w, rows)
        y += w.out_columns
        corner += w.stride_h * row_step


cdef void count_columns(real* columns, const Window* w) noexcept nogil:
    """Places that each output column's windows count along the width."""
    cdef Py_ssize_t j
    for j in range(w.out_columns):
        columns[j] = <real> counted(j * w.stride_w - w.left, w.kernel_w, w.width, w.right, w.include_pad)


cdef void spread_plane(real* grad_x, const real* grad_y, const Window* w, const real* columns) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(w.height * w.width):
        grad_x[i] = 0
    for i in range((w.out_columns + BLOCK - 1) // BLOCK):
        spread_rows(grad_x, grad_y, w, columns, i * BLOCK, min((i + 1) * BLOCK, w.out_columns))


def average_forward(cnp.ndarray y, cnp.ndarray x, cnp.ndarray window, cnp.ndarray scratch, int threads):
    """y, the mean of each window of each plane of x. `scratch` has room for a row of y, and a plane with its border for each thread."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Window* w = <Window*> cnp.PyArray_DATA(window)
    cdef Py_ssize_t planes = cnp.PyArray_DIM(x, 0) * cnp.PyArray_DIM(x, 1), p, size = w.height * w.width, out = w.out_rows * w.out_columns
    cdef Py_ssize_t room = w.bordered_rows * w.bordered_columns
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    if single:
        count_columns(<float*> sp, w)
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            average_plane(<float*> yp + p * out, <float*> xp + p * size, w, <float*> sp, <float*> sp + w.out_columns + threadid() * room)
    else:
        count_columns(<double*> sp, w)
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            average_plane(<double*> yp + p * out, <double*> xp + p * size, w, <double*> sp, <double*> sp + w.out_columns + threadid() * room)


def average_backward(cnp.ndarray grad_x, cnp.ndarray grad_y, cnp.ndarray window, cnp.ndarray scratch, int threads):
    """Each output's gradient spread evenly over its window. `scratch` has room for a row of grad_y."""
    cdef bint single = cnp.PyArray_TYPE(grad_x) == cnp.NPY_FLOAT
    cdef Window* w = <Window*> cnp.PyArray_DATA(window)
    cdef Py_ssize_t planes = cnp.PyArray_DIM(grad_x, 0) * cnp.PyArray_DIM(grad_x, 1), p, size = w.height * w.width
    cdef Py_ssize_t out = w.out_rows * w.out_columns
    cdef void* xp = cnp.PyArray_DATA(grad_x)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    if single:
        count_columns(<float*> sp, w)
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            spread_plane(<float*> xp + p * size, <float*> yp + p * out, w, <float*> sp)
    else:
        count_columns(<double*> sp, w)
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            spread_plane(<double*> xp + p * size, <double*> yp + p * out, w, <double*> sp)


# --- adaptive average ---------------------------------------------------------------------------------------

# Outputs share the plane out evenly: output i of P along H places has those from i*H/P (rounded down) to (i + 1)*H/P (rounded up).


cdef inline Py_ssize_t share_start(Py_ssize_t i, Py_ssize_t size, Py_ssize_t shares) noexcept nogil:
    return i * size // shares


cdef inline Py_ssize_t share_end(Py_ssize_t i, Py_ssize_t size, Py_ssize_t shares) noexcept nogil:
    return ((i + 1) * size + shares - 1) // shares


cdef real run_sum(const real* x, Py_ssize_t n) noexcept nogil:
    """The sum of n numbers, on 16 lanes where there are so many."""
    cdef real lanes[16]
    cdef real total = 0
    cdef Py_ssize_t i, k, width = 8
    if n < 16:
        for i in range(n):
            total += x[i]
        return total
    set_all(lanes, 16, 0)
    for i in range(n // 16):
        for k in range(16):
            lanes[k] += x[i * 16 + k]
    i = n - n % 16
    for k in range(n % 16):
        lanes[k] += x[i + k]
    while width:
        for k in range(width):
            lanes[k] += lanes[k + width]
        width //= 2
    return lanes[0]


cdef void adaptive_max_plane(real* y, int64_t* indices, const real* x, Py_ssize_t height, Py_ssize_t width, Py_ssize_t P, Py_ssize_t Q) noexcept nogil:
    cdef Py_ssize_t i, j, r, c, c0, c1, place
    cdef real largest
    for i in range(P):
        for j in range(Q):
            c0, c1 = share_start(j, width, Q), share_end(j, width, Q)
            place = share_start(i, height, P) * width + c0
            largest = x[place]
            for r in range(share_start(i, height, P), share_end(i, height, P)):
                for c in range(c0, c1):
                    if x[r * width + c] > largest or x[r * width + c] != x[r * width + c]:
                        largest, place = x[r * width + c], r * width + c
            y[i * Q + j], indices[i * Q + j] = largest, place


def adaptive_max_forward(cnp.ndarray y, cnp.ndarray indices, cnp.ndarray x, int threads):
    """y and indices, as of `max_forward`, of each share of each plane of x."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Py_ssize_t planes = cnp.PyArray_DIM(x, 0) * cnp.PyArray_DIM(x, 1), p
    cdef Py_ssize_t height = cnp.PyArray_DIM(x, 2), width = cnp.PyArray_DIM(x, 3), P = cnp.PyArray_DIM(y, 2), Q = cnp.PyArray_DIM(y, 3)
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef int64_t* ip = <int64_t*> cnp.PyArray_DATA(indices)
    if single:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            adaptive_max_plane(<float*> yp + p * P * Q, ip + p * P * Q, <float*> xp + p * height * width, height, width, P, Q)
    else:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            adaptive_max_plane(<double*> yp + p * P * Q, ip + p * P * Q, <double*> xp + p * height * width, height, width, P, Q)


cdef void adaptive_plane(real* y, const real* x, Py_ssize_t height, Py_ssize_t width, Py_ssize_t P, Py_ssize_t Q, real* buffer) noexcept nogil:
    cdef Py_ssize_t i, j, r, c, r0, r1, c0, c1
    cdef real total
    for i in range(P):
        r0, r1 = share_start(i, height, P), share_end(i, height, P)
        if Q == 1:
            y[i] = run_sum(x + r0 * width, (r1 - r0) * width) / <real> ((r1 - r0) * width)
            continue
        # Down the columns first, where neighbours share a register.
        copy(buffer, x + r0 * width, width)
        for r in range(r0 + 1, r1):
            for c in range(width):
                buffer[c] += x[r * width + c]
        for j in range(Q):
            c0, c1 = share_start(j, width, Q), share_end(j, width, Q)
            total = 0
            for c in range(c0, c1):
                total += buffer[c]
            y[i * Q + j] = total / <real> ((r1 - r0) * (c1 - c0))


cdef void adaptive_spread(real* grad_x, const real* grad_y, Py_ssize_t height, Py_ssize_t width, Py_ssize_t P, Py_ssize_t Q) noexcept nogil:
    cdef Py_ssize_t i, j, r, c, r0, r1, c0, c1
    cdef real share
    if P == 1 and Q == 1:
        set_all(grad_x, height * width, grad_y[0] / <real> (height * width))
        return
    set_all(grad_x, height * width, <real> 0)
    for i in range(P):
        r0, r1 = share_start(i, height, P), share_end(i, height, P)
        for j in range(Q):
            c0, c1 = share_start(j, width, Q), share_end(j, width, Q)
            share = grad_y[i * Q + j] / <real> ((r1 - r0) * (c1 - c0))
            for r in range(r0, r1):
                for c in range(c0, c1):
                    grad_x[r * width + c] += share


def adaptive_forward(cnp.ndarray y, cnp.ndarray x, cnp.ndarray scratch, int threads):
    """y, the mean of each share of each plane of x. `scratch` has room for a row of x for each thread."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Py_ssize_t planes = cnp.PyArray_DIM(x, 0) * cnp.PyArray_DIM(x, 1), p
    cdef Py_ssize_t height = cnp.PyArray_DIM(x, 2), width = cnp.PyArray_DIM(x, 3), P = cnp.PyArray_DIM(y, 2), Q = cnp.PyArray_DIM(y, 3)
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    if single:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            adaptive_plane(<float*> yp + p * P * Q, <float*> xp + p * height * width, height, width, P, Q, <float*> sp + threadid() * width)
    else:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            adaptive_plane(<double*> yp + p * P * Q, <double*> xp + p * height * width, height, width, P, Q, <double*> sp + threadid() * width)


def adaptive_backward(cnp.ndarray grad_x, cnp.ndarray grad_y, int threads):
    """Each output's gradient spread evenly over its share of the plane."""
    cdef bint single = cnp.PyArray_TYPE(grad_x) == cnp.NPY_FLOAT
    cdef Py_ssize_t planes = cnp.PyArray_DIM(grad_x, 0) * cnp.PyArray_DIM(grad_x, 1), p
    cdef Py_ssize_t height = cnp.PyArray_DIM(grad_x, 2), width = cnp.PyArray_DIM(grad_x, 3), P = cnp.PyArray_DIM(grad_y, 2), Q = cnp.PyArray_DIM(grad_y, 3)
    cdef void* xp = cnp.PyArray_DATA(grad_x)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    if single:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            adaptive_spread(<float*> xp + p * height * width, <float*> yp + p * P * Q, height, width, P, Q)
    else:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            adaptive_spread(<double*> xp + p * height * width, <double*> yp + p * P * Q, height, width, P, Q)
