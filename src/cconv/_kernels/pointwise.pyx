# 1x1 convolution of stride 1 without padding: matrix products on the caller's arrays, rows of positions as they lie.
#
#   correlate   y[n, k, p] = bias[k] + sum over c of weight[k, c] * x[n, c, p]: forward, and with weight turned the gradient to the input
#   weight      grad_weight[k, c] = sum over n, p of grad_y[n, k, p] * x[n, c, p]
#
# Registers hold positions in the first: nothing is packed or turned. In the second they hold the filters or the channels, whichever
# is cheaper to turn; the other side is read as it lies. Sums run in the order of the general kernels, to the same bits.

from cython.parallel cimport prange, threadid
cimport numpy as cnp

from cconv._kernels.epilogue cimport rectify
from cconv._kernels.pack cimport clear, copy, transpose
from cconv._kernels.simd cimport TILE, lanes, real
from cconv._kernels.tile cimport BIAS, RESULT, Start, ZERO, rows_any

cnp.import_array()


cdef enum:
    SMALL = 1 << 17  # numbers that one thread adds up before another is awake


# As `Geometry` in functional/_pointwise.py, field by field.
cdef struct Geometry:
    Py_ssize_t groups
    Py_ssize_t terms  # channels of one group
    Py_ssize_t outputs  # of one group
    Py_ssize_t plane  # positions
    Py_ssize_t a_row  # weight numbers from one output to the next
    Py_ssize_t a_step  # and from one term to the next


cdef void product(real* y, Py_ssize_t y_row, const real* bias, const real* a, Py_ssize_t a_row, Py_ssize_t a_step, const real* b, Py_ssize_t b_step,
                  Py_ssize_t terms, Start start, int rows, int J) noexcept nogil:
    if a_row == 1:
        rows_any(y, y_row, bias, a, 1, a_step, b, b_step, terms, start, rows, J)
    else:
        rows_any(y, y_row, bias, a, a_row, 1, b, b_step, terms, start, rows, J)


# --- forward, and the gradient to the input -----------------------------------------------------------------


cdef void task(real* y, const real* x, const real* weight, const real* bias, const Geometry* g, Py_ssize_t blocks, Py_ssize_t splits,
               Py_ssize_t gathered, double top, real* near, Py_ssize_t index) noexcept nogil:
    """One image, one group, one block of positions, one range of outputs.

    With `gathered` panels of positions at a time copied near, rows of y are written on from panel to panel: on large planes, where rows are
    pages apart. Else each panel meets all filters while it is in the first-level cache.
    """
    cdef Py_ssize_t L = lanes(y), split = index % splits, block = index // splits % blocks, group = index // splits // blocks % g.groups
    cdef Py_ssize_t n = index // splits // blocks // g.groups
    cdef Py_ssize_t tiles = (g.outputs + TILE - 1) // TILE, panels = (g.plane + 2 * L - 1) // (2 * L)
    cdef Py_ssize_t first = panels * block // blocks, last = panels * (block + 1) // blocks
    cdef Py_ssize_t q, p, k, m, t, stop, start = 0, step = g.plane
    cdef int J, rows, r
    cdef const real* source
    y += (n * g.groups + group) * g.outputs * g.plane
    x += (n * g.groups + group) * g.terms * g.plane
    weight += group * g.outputs * g.terms
    if bias != NULL:
        bias += group * g.outputs
    source = near if gathered else x
    while first < last:
        stop = min(first + max(gathered, <Py_ssize_t> 1), last)
        if gathered:
            start = min(first * 2 * L, g.plane - 2 * L)
            step = (stop - first) * 2 * L
            for t in range(g.terms):
                copy(near + t * step, x + t * g.plane + start, min(step, g.plane - start))
        for k in range(tiles * split // splits, tiles * (split + 1) // splits):
            m = g.outputs * k // tiles
            rows = <int> (g.outputs * (k + 1) // tiles - m)
            for q in range(first, stop):
                p = q * 2 * L
                J = 2
                if p + 2 * L > g.plane:  # the last registers end with the plane: some positions are computed twice, to the same bits
                    J = 1 if p + L >= g.plane else 2
                    p = g.plane - J * L
                product(y + m * g.plane + p, g.plane, bias + m if bias != NULL else NULL, weight + m * g.a_row, g.a_row, g.a_step,
                        source + p - start, step, g.terms, ZERO if bias == NULL else BIAS, rows, J)
                if top:
                    for r in range(rows):
                        rectify(y + (m + r) * g.plane + p, J * L, top)
        first = stop


cdef void run(real* y, const real* x, const real* weight, const real* bias, const Geometry* g, Py_ssize_t images, Py_ssize_t blocks, Py_ssize_t splits,
              Py_ssize_t gathered, double top, real* scratch, int threads) noexcept nogil:
    cdef Py_ssize_t i, room = g.terms * gathered * 2 * lanes(y)
    for i in prange(images * g.groups * blocks * splits, num_threads=threads, schedule="dynamic"):
        task(y, x, weight, bias, g, blocks, splits, gathered, top, scratch + threadid() * room, i)


def correlate(cnp.ndarray y, cnp.ndarray x, cnp.ndarray weight, bias, cnp.ndarray geometry, cnp.ndarray scratch, Py_ssize_t blocks, Py_ssize_t splits,
              Py_ssize_t gathered, double top, int threads):
    """y from x and weight, or the part of it in 0..top; a plane has at least two registers of positions."""
    cdef void* b = cnp.PyArray_DATA(bias) if bias is not None else NULL
    cdef bint single = cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* wp = cnp.PyArray_DATA(weight)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef Geometry* g = <Geometry*> cnp.PyArray_DATA(geometry)
    cdef Py_ssize_t images = cnp.PyArray_DIM(x, 0)
    with nogil:
        if single:
            run(<float*> yp, <float*> xp, <float*> wp, <float*> b, g, images, blocks, splits, gathered, top, <float*> sp, threads)
        else:
            run(<double*> yp, <double*> xp, <double*> wp, <double*> b, g, images, blocks, splits, gathered, top, <double*> sp, threads)


# --- gradient to the weight ---------------------------------------------------------------------------------


# As `WeightGeometry` in functional/_pointwise.py, field by field.
cdef struct WeightGeometry:
    Py_ssize_t groups
    Py_ssize_t rows  # of one group: of what is read as it lies
    Py_ssize_t columns  # of one group: of what is turned
    Py_ssize_t plane
    Py_ssize_t filters_turned  # 1: the columns are filters, 0: channels
    Py_ssize_t together  # images turned at a time
    Py_ssize_t stretch  # positions of each of them: all, or a part where one image is enough


cdef void weight_task(real* sums, const real* rows, const real* columns, const WeightGeometry* g, real* turned, Py_ssize_t images, Py_ssize_t chunks,
                      Py_ssize_t splits, Py_ssize_t halves, Py_ssize_t index) noexcept nogil:
    """One chunk of images, one group, one range of columns, one range of rows."""
    cdef Py_ssize_t L = lanes(sums), padded = (g.columns + L - 1) // L * L, panels = (padded + 2 * L - 1) // (2 * L)
    cdef Py_ssize_t half = index % halves, split = index // halves % splits, group = index // halves // splits % g.groups
    cdef Py_ssize_t chunk = index // halves // splits // g.groups
    cdef Py_ssize_t b0 = panels * split // splits, b1 = panels * (split + 1) // splits
    cdef Py_ssize_t n0 = images * chunk // chunks, n1 = images * (chunk + 1) // chunks
    cdef Py_ssize_t tiles = (g.rows + TILE - 1) // TILE, room = g.together * g.stretch
    cdef Py_ssize_t n, i, p, count, together, b, wide, k, m
    cdef int J
    cdef bint fresh = True
    cdef real* panel
    sums += (chunk * g.groups + group) * g.rows * padded
    n = n0
    while n < n1:
        together = min(g.together, n1 - n)
        p = 0
        while p < g.plane:
            count = min(g.stretch, g.plane - p)
            for b in range(b0, b1):
                wide = min(2 * L, padded - b * 2 * L)
                panel = turned + (b - b0) * 2 * L * room
                if wide > g.columns - b * 2 * L:
                    clear(panel, together * count * wide)
                for i in range(together):
                    transpose(columns + (((n + i) * g.groups + group) * g.columns + b * 2 * L) * g.plane + p, g.plane,
                              min(wide, g.columns - b * 2 * L), count, panel + i * count * wide, wide)
            for k in range(tiles * half // halves, tiles * (half + 1) // halves):
                m = g.rows * k // tiles
                for b in range(b0, b1):
                    wide = min(2 * L, padded - b * 2 * L)
                    J = <int> (wide // L)
                    for i in range(together):
                        product(sums + m * padded + b * 2 * L, padded, NULL, rows + (((n + i) * g.groups + group) * g.rows + m) * g.plane + p, g.plane, 1,
                                turned + (b - b0) * 2 * L * room + i * count * wide, wide, count, ZERO if fresh and i == 0 else RESULT,
                                <int> (g.rows * (k + 1) // tiles - m), J)
            fresh = False
            p += count
        n += together


cdef void reduce(real* grad_weight, real* sums, const WeightGeometry* g, Py_ssize_t chunks, Py_ssize_t index) noexcept nogil:
    """TILE rows of one group: the chunks' sums added in order, put where they belong."""
    cdef Py_ssize_t padded = (g.columns + lanes(sums) - 1) // lanes(sums) * lanes(sums)
    cdef Py_ssize_t blocks = (g.rows + TILE - 1) // TILE, group = index // blocks, first = index % blocks * TILE
    cdef Py_ssize_t count = min(<Py_ssize_t> TILE, g.rows - first), chunk, k, m
    cdef real* total = sums + (group * g.rows + first) * padded
    cdef const real* part
    for chunk in range(1, chunks):
        part = total + chunk * g.groups * g.rows * padded
        for k in range(count * padded):
            total[k] += part[k]
    grad_weight += group * g.rows * g.columns
    if g.filters_turned:
        transpose(total, padded, count, g.columns, grad_weight + first, g.rows)
    else:
        for m in range(count):
            copy(grad_weight + (first + m) * g.columns, total + m * padded, g.columns)


cdef void run_weight(real* grad_weight, const real* grad_y, const real* x, const WeightGeometry* g, real* scratch, Py_ssize_t per_thread, Py_ssize_t images,
                     Py_ssize_t chunks, Py_ssize_t splits, Py_ssize_t halves, int threads) noexcept nogil:
    cdef Py_ssize_t padded = (g.columns + lanes(x) - 1) // lanes(x) * lanes(x), size = chunks * g.groups * g.rows * padded, i
    cdef const real* rows = x if g.filters_turned else grad_y
    cdef const real* columns = grad_y if g.filters_turned else x
    for i in prange(chunks * g.groups * splits * halves, num_threads=threads, schedule="dynamic"):
        weight_task(scratch, rows, columns, g, scratch + (size + 15) // 16 * 16 + threadid() * per_thread, images, chunks, splits, halves, i)
    for i in prange(g.groups * ((g.rows + TILE - 1) // TILE), num_threads=threads if size > SMALL else 1, schedule="static"):
        reduce(grad_weight, scratch, g, chunks, i)


def weight(cnp.ndarray grad_weight, cnp.ndarray grad_y, cnp.ndarray x, cnp.ndarray geometry, cnp.ndarray scratch, Py_ssize_t per_thread,
           Py_ssize_t chunks, Py_ssize_t splits, Py_ssize_t halves, int threads):
    """grad_weight, written; `scratch` holds the chunks' sums and `per_thread` numbers a thread."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef void* wp = cnp.PyArray_DATA(grad_weight)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef WeightGeometry* g = <WeightGeometry*> cnp.PyArray_DATA(geometry)
    cdef Py_ssize_t images = cnp.PyArray_DIM(x, 0)
    with nogil:
        if single:
            run_weight(<float*> wp, <float*> yp, <float*> xp, g, <float*> sp, per_thread, images, chunks, splits, halves, threads)
        else:
            run_weight(<double*> wp, <double*> yp, <double*> xp, g, <double*> sp, per_thread, images, chunks, splits, halves, threads)
