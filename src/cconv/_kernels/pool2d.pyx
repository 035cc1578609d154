# Max and average pooling. A plane (one channel of one image) is one task: its outputs, and in backward its grad_x, have one owner.
#
# The window loops are outermost and the output columns innermost, so that a block of outputs is updated a register at a time:
#
#   for each window row r and column s:   y[i, j] = max(y[i, j], x[i*stride + r, j*stride + s])   over a block of outputs
#
# with those x copied out first, so that they are contiguous and padded. A maximum's place is kept as the number of its window row
# and column, which fits a lane, and becomes an index at the end.

from cython.parallel cimport prange
from libc.math cimport INFINITY
cimport numpy as cnp

from cconv._kernels.pack cimport copy_steps, inside, set_all
from cconv._kernels.simd cimport L32, L64, real, splat, v32, v64, vec, where_max

cnp.import_array()


cdef enum:
    BLOCK = 256  # outputs a pass
    TAPS = 64  # places of a window whose offsets are looked up rather than worked out


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


cdef void gather(real* column, const real* x, const Window* w, Py_ssize_t down, Py_ssize_t across, Py_ssize_t i0, Py_ssize_t i1,
                 Py_ssize_t j0, Py_ssize_t j1, real outside) noexcept nogil:
    """What the windows of outputs (i0..i1-1, j0..j1-1) have at one place, `down` and `across` from their corner."""
    cdef Py_ssize_t offset = j0 * w.stride_w - w.left + across, n = j1 - j0, i, row, low, high
    inside(offset, w.stride_w, w.width, n, &low, &high)
    for i in range(i0, i1):
        row = i * w.stride_h - w.top + down
        if row < 0 or row >= w.height:
            set_all(column, n, outside)
        else:
            set_all(column, low, outside)
            copy_steps(column + low, x + row * w.width + offset + low * w.stride_w, w.stride_w, high - low)
            set_all(column + high, n - high, outside)
        column += n


cdef inline void raise_max(vec* best, vec* tap, const vec* x, double number, Py_ssize_t n) noexcept nogil:
    """best = x, tap = number wherever x is larger, or NaN. Arrays of whole registers."""
    cdef int width = L32 if vec is v32 else L64
    cdef Py_ssize_t i
    cdef vec v, b
    for i in range((n + width - 1) // width):
        v = x[i]
        b = best[i]
        best[i] = where_max(v, b, v, b)
        tap[i] = where_max(v, b, splat(number, v), tap[i])


cdef void max_block(real* y, cnp.int64_t* indices, const real* x, const Window* w, Py_ssize_t i0, Py_ssize_t i1, Py_ssize_t j0, Py_ssize_t j1) noexcept nogil:
    cdef real column[BLOCK]
    cdef real best[BLOCK]
    cdef real tap[BLOCK]
    cdef Py_ssize_t offsets[TAPS]
    cdef Py_ssize_t r, s, i, j, place, across, number, n = (i1 - i0) * (j1 - j0), p = 0
    for j in range((n + 15) // 16 * 16):
        best[j] = -INFINITY
        tap[j] = -1
        column[j] = -INFINITY
    for r in range(w.kernel_h):
        for s in range(w.kernel_w):
            gather(column, x, w, r * w.dilation_h, s * w.dilation_w, i0, i1, j0, j1, <real> -INFINITY)
            number = r * w.kernel_w + s
            if number < TAPS:
                offsets[number] = r * w.dilation_h * w.width + s * w.dilation_w
            if real is float:
                raise_max(<v32*> best, <v32*> tap, <const v32*> column, <double> number, n)
            else:
                raise_max(<v64*> best, <v64*> tap, <const v64*> column, <double> number, n)
    for i in range(i0, i1):
        place = (i * w.stride_h - w.top) * w.width + j0 * w.stride_w - w.left
        for j in range(j1 - j0):
            y[j] = best[p]
            number = <Py_ssize_t> tap[p]
            if 0 <= number < TAPS:
                indices[j] = place + offsets[number]
            elif number >= TAPS:
                indices[j] = place + number // w.kernel_w * w.dilation_h * w.width + number % w.kernel_w * w.dilation_w
            else:  # minus infinity everywhere: the window's first place inside the image
                r = i * w.stride_h - w.top
                while r < 0:
                    r += w.dilation_h
                across = (j0 + j) * w.stride_w - w.left
                while across < 0:
                    across += w.dilation_w
                indices[j] = r * w.width + across
            place += w.stride_w
            p += 1
        y += w.out_columns
        indices += w.out_columns


cdef void max_plane(real* y, cnp.int64_t* indices, const real* x, const Window* w) noexcept nogil:
    cdef Py_ssize_t columns = min(w.out_columns, <Py_ssize_t> BLOCK), rows = BLOCK // columns
    cdef Py_ssize_t i, j, p, q
    for p in range((w.out_rows + rows - 1) // rows):
        i = p * rows
        for q in range((w.out_columns + columns - 1) // columns):
            j = q * columns
            max_block(y + i * w.out_columns + j, indices + i * w.out_columns + j, x, w, i, min(i + rows, w.out_rows), j,
                      min(j + columns, w.out_columns))


def max_forward(cnp.ndarray y, cnp.ndarray indices, cnp.ndarray x, cnp.ndarray window, int threads):
    """y and indices (h*W + w in the plane; the first maximum, or the last NaN) of each plane of x."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Window* w = <Window*> cnp.PyArray_DATA(window)
    cdef Py_ssize_t planes = cnp.PyArray_DIM(x, 0) * cnp.PyArray_DIM(x, 1), p, size = w.height * w.width, out = w.out_rows * w.out_columns
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef cnp.int64_t* ip = <cnp.int64_t*> cnp.PyArray_DATA(indices)
    if single:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            max_plane(<float*> yp + p * out, ip + p * out, <float*> xp + p * size, w)
    else:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            max_plane(<double*> yp + p * out, ip + p * out, <double*> xp + p * size, w)


cdef void scatter_plane(real* grad_x, const real* grad_y, const cnp.int64_t* indices, Py_ssize_t size, Py_ssize_t out) noexcept nogil:
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
    cdef cnp.int64_t* ip = <cnp.int64_t*> cnp.PyArray_DATA(indices)
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


cdef void average_block(real* y, const real* x, const Window* w, Py_ssize_t i0, Py_ssize_t i1, Py_ssize_t j0, Py_ssize_t j1) noexcept nogil:
    cdef real column[BLOCK]
    cdef real total[BLOCK]
    cdef real columns[BLOCK]
    cdef real rows
    cdef Py_ssize_t r, s, i, j, width = j1 - j0, n = (i1 - i0) * width
    for j in range(n):
        total[j] = 0
    for r in range(w.kernel_h):
        for s in range(w.kernel_w):
            gather(column, x, w, r, s, i0, i1, j0, j1, <real> 0)
            for j in range(n):
                total[j] += column[j]
    for j in range(width):
        columns[j] = <real> counted((j0 + j) * w.stride_w - w.left, w.kernel_w, w.width, w.right, w.include_pad)
    for i in range(i0, i1):
        rows = <real> counted(i * w.stride_h - w.top, w.kernel_h, w.height, w.bottom, w.include_pad)
        for j in range(width):
            y[j] = total[(i - i0) * width + j] / (rows * columns[j])
        y += w.out_columns


cdef void spread_rows(real* grad_x, const real* grad_y, const Window* w, Py_ssize_t j0, Py_ssize_t j1) noexcept nogil:
    """Columns j0..j1-1 of all output rows."""
    cdef real share[BLOCK]
    cdef real columns[BLOCK]
    cdef Py_ssize_t r, s, i, j, row, offset, low, high, n = j1 - j0
    cdef real rows
    cdef real* dst
    for j in range(n):
        columns[j] = <real> counted((j0 + j) * w.stride_w - w.left, w.kernel_w, w.width, w.right, w.include_pad)
    for i in range(w.out_rows):
        rows = <real> counted(i * w.stride_h - w.top, w.kernel_h, w.height, w.bottom, w.include_pad)
        for j in range(n):
            share[j] = grad_y[i * w.out_columns + j0 + j] / (rows * columns[j])
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


cdef void average_plane(real* y, const real* x, const Window* w) noexcept nogil:
    cdef Py_ssize_t columns = min(w.out_columns, <Py_ssize_t> BLOCK), rows = BLOCK // columns
    cdef Py_ssize_t i, j, p, q
    for p in range((w.out_rows + rows - 1) // rows):
        i = p * rows
        for q in range((w.out_columns + columns - 1) // columns):
            j = q * columns
            average_block(y + i * w.out_columns + j, x, w, i, min(i + rows, w.out_rows), j, min(j + columns, w.out_columns))


cdef void spread_plane(real* grad_x, const real* grad_y, const Window* w) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(w.height * w.width):
        grad_x[i] = 0
    for i in range((w.out_columns + BLOCK - 1) // BLOCK):
        spread_rows(grad_x, grad_y, w, i * BLOCK, min((i + 1) * BLOCK, w.out_columns))


def average_forward(cnp.ndarray y, cnp.ndarray x, cnp.ndarray window, int threads):
    """y, the mean of each window of each plane of x."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Window* w = <Window*> cnp.PyArray_DATA(window)
    cdef Py_ssize_t planes = cnp.PyArray_DIM(x, 0) * cnp.PyArray_DIM(x, 1), p, size = w.height * w.width, out = w.out_rows * w.out_columns
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    if single:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            average_plane(<float*> yp + p * out, <float*> xp + p * size, w)
    else:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            average_plane(<double*> yp + p * out, <double*> xp + p * size, w)


def average_backward(cnp.ndarray grad_x, cnp.ndarray grad_y, cnp.ndarray window, int threads):
    """Each output's gradient spread evenly over its window."""
    cdef bint single = cnp.PyArray_TYPE(grad_x) == cnp.NPY_FLOAT
    cdef Window* w = <Window*> cnp.PyArray_DATA(window)
    cdef Py_ssize_t planes = cnp.PyArray_DIM(grad_x, 0) * cnp.PyArray_DIM(grad_x, 1), p, size = w.height * w.width
    cdef Py_ssize_t out = w.out_rows * w.out_columns
    cdef void* xp = cnp.PyArray_DATA(grad_x)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    if single:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            spread_plane(<float*> xp + p * size, <float*> yp + p * out, w)
    else:
        for p in prange(planes, nogil=True, num_threads=threads, schedule="static"):
            spread_plane(<double*> xp + p * size, <double*> yp + p * out, w)
