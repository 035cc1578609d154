# Augmentation of images (N, C, H, W) of float, double or uint8: pixels moved, images resampled, boxes filled.
#
# A task is one image, so that nothing depends on the batch or on threads. No multiply-add is fused here: every instruction set gives the same bits.
#
# `resample` copies an image's planes into a border first (two columns and rows after it, one before), so that the four pixels around any place
# lie in memory and no tap is tested. Places are worked out once for all channels, 64 columns of a row at a time, in double: plain loops without
# a branch, which the compiler turns into registers. What remains a pixel are loads from four places and three linear steps.

from libc.math cimport floor, rint
from libc.stdint cimport int32_t, uint8_t

from cython.parallel cimport prange, threadid
cimport numpy as cnp

from cconv._kernels.simd cimport L32, L64, at, broadcast, real, splat, v32, v64, vec

cnp.import_array()

ctypedef fused pixel:
    uint8_t
    float
    double

cdef enum:
    STRIP = 64
    UNIT = 32  # numbers of a row that are filtered at once: registers enough to hide an addition's latency

# Borders, in the order of `_geometry.BORDERS`.
cdef enum:
    CONSTANT = 0
    EDGE = 1
    REFLECT = 2
    SYMMETRIC = 3

cdef struct Sizes:
    Py_ssize_t channels, in_rows, in_columns, rows, columns
    int border
    bint nearest
    double fill
    # Elastic: the filter's taps (0 without), the row or column that each of them reads, and a factor.
    Py_ssize_t taps
    const double* weights
    const int32_t* row_of
    const int32_t* column_of
    const int32_t* steps  # 0, 1, 2, ...
    double scale


cdef inline pixel stored(real value, const pixel* kind) noexcept nogil:
    if pixel is uint8_t:
        return <uint8_t> rint(value)
    else:
        return <pixel> value


# --- move and erase ---------------------------------------------------------------------------------------------


cdef void move_image(pixel* y, const pixel* x, const int32_t* rows, const int32_t* columns, Sizes s) noexcept nogil:
    cdef Py_ssize_t c, i, j
    cdef const pixel* source
    cdef pixel* target
    cdef pixel fill = <pixel> s.fill
    for c in range(s.channels):
        for i in range(s.rows):
            target = y + (c * s.rows + i) * s.columns
            if rows[i] < 0:
                for j in range(s.columns):
                    target[j] = fill
            else:
                source = x + (c * s.in_rows + rows[i]) * s.in_columns
                for j in range(s.columns):
                    target[j] = source[columns[j]] if columns[j] >= 0 else fill


cdef void move_images(pixel* y, const pixel* x, const int32_t* rows, const int32_t* columns, Sizes s, Py_ssize_t images, int threads) noexcept nogil:
    cdef Py_ssize_t n, y_size = s.channels * s.rows * s.columns, x_size = s.channels * s.in_rows * s.in_columns
    for n in prange(images, num_threads=threads, schedule="static"):
        move_image(y + n * y_size, x + n * x_size, rows + n * s.rows, columns + n * s.columns, s)


def move(cnp.ndarray y, cnp.ndarray x, cnp.ndarray rows, cnp.ndarray columns, double fill, int threads):
    """y[n, c, i, j] = x[n, c, rows[n, i], columns[n, j]], or `fill` where one of them is negative; int32 (N, rows) and (N, columns)."""
    cdef Sizes s
    s.channels, s.in_rows, s.in_columns, s.rows, s.columns, s.fill = x.shape[1], x.shape[2], x.shape[3], y.shape[2], y.shape[3], fill
    cdef Py_ssize_t images = x.shape[0]
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef int32_t* rp = <int32_t*> cnp.PyArray_DATA(rows)
    cdef int32_t* cp = <int32_t*> cnp.PyArray_DATA(columns)
    with nogil:
        if kind == cnp.NPY_UINT8:
            move_images(<uint8_t*> yp, <uint8_t*> xp, rp, cp, s, images, threads)
        elif kind == cnp.NPY_FLOAT:
            move_images(<float*> yp, <float*> xp, rp, cp, s, images, threads)
        else:
            move_images(<double*> yp, <double*> xp, rp, cp, s, images, threads)


cdef void erase_image(pixel* y, const int32_t* box, const double* values, Sizes s) noexcept nogil:
    cdef Py_ssize_t c, i, j
    for c in range(s.channels):
        for i in range(box[0], box[2]):
            for j in range(box[1], box[3]):
                y[(c * s.rows + i) * s.columns + j] = <pixel> values[c]


cdef void erase_images(pixel* y, const int32_t* boxes, const double* values, Sizes s, Py_ssize_t images, int threads) noexcept nogil:
    cdef Py_ssize_t n
    for n in prange(images, num_threads=threads, schedule="static"):
        erase_image(y + n * s.channels * s.rows * s.columns, boxes + 4 * n, values, s)


def erase(cnp.ndarray y, cnp.ndarray boxes, cnp.ndarray values, int threads):
    """y[n, c, top:bottom, left:right] = values[c] in place; boxes (N, 4) int32, within the images."""
    cdef Sizes s
    s.channels, s.rows, s.columns = y.shape[1], y.shape[2], y.shape[3]
    cdef Py_ssize_t images = y.shape[0]
    cdef int kind = cnp.PyArray_TYPE(y)
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef int32_t* bp = <int32_t*> cnp.PyArray_DATA(boxes)
    cdef double* vp = <double*> cnp.PyArray_DATA(values)
    with nogil:
        if kind == cnp.NPY_UINT8:
            erase_images(<uint8_t*> yp, bp, vp, s, images, threads)
        elif kind == cnp.NPY_FLOAT:
            erase_images(<float*> yp, bp, vp, s, images, threads)
        else:
            erase_images(<double*> yp, bp, vp, s, images, threads)


# --- resample ---------------------------------------------------------------------------------------------------


cdef void bordered(real* plane, const pixel* x, Sizes s) noexcept nogil:
    """A plane of x from row and column 1 on; around it the fill, or the edge again (a place within the image gives it no weight)."""
    cdef Py_ssize_t i, j, source, width = s.in_columns + 3
    cdef real fill = <real> s.fill
    cdef real* row
    for i in range(s.in_rows + 3):
        row = plane + i * width
        source = min(max(i - 1, <Py_ssize_t> 0), s.in_rows - 1)
        if s.border == CONSTANT and source != i - 1:
            for j in range(width):
                row[j] = fill
        else:
            for j in range(s.in_columns):
                row[j + 1] = <real> x[source * s.in_columns + j]
            row[0] = fill if s.border == CONSTANT else row[1]
            row[width - 1] = row[width - 2] = fill if s.border == CONSTANT else row[width - 3]


cdef inline void filtered(vec* y, const vec* x, const int32_t* rows, Py_ssize_t step, const vec* weights, Py_ssize_t taps,
                          Py_ssize_t columns) noexcept nogil:
    """y[j] = sum of weights[t] * x[rows[t] * step + j] over t in order; columns a multiple of UNIT."""
    cdef vec sums[UNIT]
    cdef vec weight
    cdef const vec* row
    cdef Py_ssize_t j, t
    cdef int k, width = L32 if vec is v32 else L64
    for j in range(columns // UNIT):
        for k in range(UNIT // width):
            sums[k] = splat(0, weight)
        for t in range(taps):
            row, weight = at(x, rows[t] * step + j * UNIT), broadcast(weights, t)
            for k in range(UNIT // width):
                sums[k] = sums[k] + weight * at(row, k * width)[0]
        for k in range(UNIT // width):
            (<vec*> at(y, j * UNIT + k * width))[0] = sums[k]


cdef void blurred(real* field, const float* noise, const real* weights, real* between, real* line, Sizes s) noexcept nogil:
    """The noise of one axis under a filter along columns, then along rows."""
    cdef Py_ssize_t i, j, width = whole_units(s.columns)
    for i in range(s.rows):
        for j in range(s.columns + s.taps - 1):
            line[j] = <real> noise[i * s.columns + s.column_of[j]]
        if real is float:
            filtered(<v32*> (between + i * width), <v32*> line, s.steps, 1, <v32*> weights, s.taps, width)
        else:
            filtered(<v64*> (between + i * width), <v64*> line, s.steps, 1, <v64*> weights, s.taps, width)
    for i in range(s.rows):
        if real is float:
            filtered(<v32*> (field + i * width), <v32*> between, s.row_of + i, width, <v32*> (weights + s.taps), s.taps, width)
        else:
            filtered(<v64*> (field + i * width), <v64*> between, s.row_of + i, width, <v64*> (weights + s.taps), s.taps, width)


cdef inline Py_ssize_t whole_units(Py_ssize_t columns) noexcept nogil:
    return (columns + UNIT - 1) // UNIT * UNIT


cdef inline void within(double* place, Py_ssize_t size, int border, bint nearest, int n) noexcept nogil:
    """Places as they are read: folded back into the image, or held where all is fill."""
    cdef int k
    cdef double t, low = -1 if border == CONSTANT else 0, high = size if border == CONSTANT else size - 1
    cdef double period = 2 * <double> size - (2 if border == REFLECT else 0), shift = 0.5 if border == SYMMETRIC else 0
    if border >= REFLECT and period > 0:
        for k in range(n):
            t = place[k] + shift
            t -= period * floor(t / period)
            place[k] = (t if t < period - t else period - t) - shift
    if nearest:
        for k in range(n):
            place[k] = rint(place[k])
    for k in range(n):
        t = place[k]
        t = t if t > low else low
        place[k] = t if t < high else high


cdef void resample_image(pixel* y, const pixel* x, const double* m, const float* noise, real* scratch, Sizes s) noexcept nogil:
    cdef Py_ssize_t c, i, strip, first, width = s.in_columns + 3, plane = (s.in_rows + 3) * width
    cdef Py_ssize_t pitch = whole_units(s.columns), size = s.rows * pitch, t
    cdef int k, n, a, b
    cdef double u, v
    cdef double px[STRIP]
    cdef double py[STRIP]
    cdef real wx[STRIP]
    cdef real wy[STRIP]
    cdef int32_t place[STRIP]
    cdef real top, bottom
    cdef real* dx = scratch + s.channels * plane
    cdef real* dy = dx + size
    cdef real* weights = dy + 2 * size
    cdef real* line = weights + 2 * s.taps
    cdef const real* source
    cdef pixel* target
    for c in range(s.channels):
        bordered(scratch + c * plane, x + c * s.in_rows * s.in_columns, s)
    if s.taps:
        for t in range(s.taps):
            weights[t], weights[s.taps + t] = <real> s.weights[t], <real> (s.weights[t] * s.scale)
        blurred(dx, noise, weights, dy + size, line, s)
        blurred(dy, noise + s.rows * s.columns, weights, dy + size, line, s)
    for i in range(s.rows):
        for strip in range((s.columns + STRIP - 1) // STRIP):
            first = strip * STRIP
            n = <int> min(<Py_ssize_t> STRIP, s.columns - first)
            if s.taps:
                for k in range(n):
                    u, v = <double> (first + k) + dx[i * pitch + first + k], <double> i + dy[i * pitch + first + k]
                    px[k] = m[0] * u + (m[1] * v + m[2])
                    py[k] = m[3] * u + (m[4] * v + m[5])
            else:
                for k in range(n):
                    u = <double> (first + k)
                    px[k] = m[0] * u + (m[1] * i + m[2])
                    py[k] = m[3] * u + (m[4] * i + m[5])
            within(px, s.in_columns, s.border, s.nearest, n)
            within(py, s.in_rows, s.border, s.nearest, n)
            for k in range(n):
                # From -1 on: cut is floor after a step of 1.
                a, b = <int> (px[k] + 1), <int> (py[k] + 1)
                wx[k], wy[k] = <real> (px[k] + 1 - a), <real> (py[k] + 1 - b)
                place[k] = b * <int32_t> width + a
            for c in range(s.channels):
                source, target = scratch + c * plane, y + (c * s.rows + i) * s.columns + first
                if s.nearest:
                    for k in range(n):
                        target[k] = <pixel> source[place[k]]
                else:
                    for k in range(n):
                        top = source[place[k]] + wx[k] * (source[place[k] + 1] - source[place[k]])
                        bottom = source[place[k] + width] + wx[k] * (source[place[k] + width + 1] - source[place[k] + width])
                        target[k] = stored(top + wy[k] * (bottom - top), target)


cdef void resample_images(pixel* y, const pixel* x, const double* m, const float* noise, real* scratch, Py_ssize_t per_thread, Sizes s,
                          Py_ssize_t images, int threads) noexcept nogil:
    cdef Py_ssize_t n, y_size = s.channels * s.rows * s.columns, x_size = s.channels * s.in_rows * s.in_columns
    for n in prange(images, num_threads=threads, schedule="static"):
        resample_image(y + n * y_size, x + n * x_size, m + 6 * n, noise + (2 * n * s.rows * s.columns if s.taps else 0),
                       scratch + threadid() * per_thread, s)


def resample(cnp.ndarray y, cnp.ndarray x, cnp.ndarray matrix, int border, double fill, bint nearest, cnp.ndarray noise, cnp.ndarray row_of,
             cnp.ndarray column_of, cnp.ndarray steps, cnp.ndarray weights, double scale, cnp.ndarray scratch, int threads):
    """y[n, c, i, j] = x[n, c] at column m0*u + m1*v + m2 and row m3*u + m4*v + m5; u = j and v = i, plus noise filtered by `weights`, times `scale`.

    matrix (N, 6) double; noise (N, 2, H, W) float; the others as `Sizes` has them; scratch: (threads, numbers a thread) of float, or of double for double."""
    cdef Sizes s
    s.channels, s.in_rows, s.in_columns, s.rows, s.columns = x.shape[1], x.shape[2], x.shape[3], y.shape[2], y.shape[3]
    s.border, s.fill, s.nearest, s.taps, s.scale = border, fill, nearest, weights.shape[0], scale
    s.row_of, s.column_of = <int32_t*> cnp.PyArray_DATA(row_of), <int32_t*> cnp.PyArray_DATA(column_of)
    s.steps, s.weights = <int32_t*> cnp.PyArray_DATA(steps), <double*> cnp.PyArray_DATA(weights)
    cdef Py_ssize_t images = x.shape[0], per_thread = scratch.shape[1]
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef double* mp = <double*> cnp.PyArray_DATA(matrix)
    cdef float* np = <float*> cnp.PyArray_DATA(noise)
    with nogil:
        if kind == cnp.NPY_UINT8:
            resample_images(<uint8_t*> yp, <uint8_t*> xp, mp, np, <float*> sp, per_thread, s, images, threads)
        elif kind == cnp.NPY_FLOAT:
            resample_images(<float*> yp, <float*> xp, mp, np, <float*> sp, per_thread, s, images, threads)
        else:
            resample_images(<double*> yp, <double*> xp, mp, np, <double*> sp, per_thread, s, images, threads)
