# Softmax over the rows of a matrix, and cross-entropy on top of it.
#
# exp(x - max) is summed in 16 virtual lanes and a fixed tree, whatever the instruction set; the logarithm of a row's sum, one
# number a row, is the C library's.

from cython.parallel cimport prange
from libc.math cimport INFINITY, log
cimport numpy as cnp

cimport cconv._kernels.vmath as vmath
from cconv._kernels.simd cimport L32, L64, at, head, real, splat, v32, v64, vec

cnp.import_array()


cdef enum:
    LANES = 16


cdef inline void exp_lanes(vec* out, const vec* x, double shift, int n) noexcept nogil:
    """out[i] = exp(x[i] - shift) for n <= LANES numbers; the rest of out is undefined."""
    cdef int width = L32 if vec is v32 else L64, v
    cdef vec s
    for v in range(LANES // width):
        if v * width < n:
            s = head(at(x, v * width), min(width, n - v * width))
            out[v] = vmath.exp(s - splat(shift, s))


cdef inline void exps(real* out, const real* x, double shift, int n) noexcept nogil:
    if real is float:
        exp_lanes(<v32*> out, <const v32*> x, shift, n)
    else:
        exp_lanes(<v64*> out, <const v64*> x, shift, n)


cdef real row_max(const real* x, Py_ssize_t C) noexcept nogil:
    """The largest number; NaN if there is one."""
    cdef real top = -INFINITY
    cdef Py_ssize_t c
    for c in range(C):
        if x[c] > top or x[c] != x[c]:
            top = x[c]
            if top != top:
                return top
    return top


cdef real row_sum(const real* x, Py_ssize_t C, real top) noexcept nogil:
    """Sum of exp(x - top)."""
    cdef real acc[LANES]
    cdef real e[LANES]
    cdef Py_ssize_t c, p
    cdef int i, n
    for i in range(LANES):
        acc[i] = 0
    for p in range((C + LANES - 1) // LANES):
        c = p * LANES
        n = <int> min(<Py_ssize_t> LANES, C - c)
        exps(e, x + c, top, n)
        for i in range(n):
            acc[i] += e[i]
    for i in range(8):
        acc[i] += acc[i + 8]
    for i in range(4):
        acc[i] += acc[i + 4]
    return (acc[0] + acc[2]) + (acc[1] + acc[3])


cdef void softmax_row(real* y, const real* x, Py_ssize_t C, bint logarithm) noexcept nogil:
    cdef real top = row_max(x, C), total = row_sum(x, C, top)
    cdef real e[LANES]
    cdef Py_ssize_t c, p
    cdef int i, n
    cdef real shift
    if logarithm:
        shift = <real> log(total)
        for c in range(C):
            y[c] = (x[c] - top) - shift
        return
    for p in range((C + LANES - 1) // LANES):
        c = p * LANES
        n = <int> min(<Py_ssize_t> LANES, C - c)
        exps(e, x + c, top, n)
        for i in range(n):
            y[c + i] = e[i] / total


cdef void entropy_row(real* loss, const real* x, Py_ssize_t C, Py_ssize_t label) noexcept nogil:
    cdef real top = row_max(x, C)
    loss[0] = <real> log(row_sum(x, C, top)) - (x[label] - top)


cdef void entropy_backward_row(real* grad, const real* x, Py_ssize_t C, Py_ssize_t label, real scale) noexcept nogil:
    cdef Py_ssize_t c
    softmax_row(grad, x, C, False)
    grad[label] -= 1
    for c in range(C):
        grad[c] *= scale


cdef void weighted_row(real* loss, const real* x, Py_ssize_t C, Py_ssize_t label, const real* weight, double smoothing) noexcept nogil:
    """As entropy_row, whose bits it gives with neither weights nor smoothing; in part towards all classes alike."""
    cdef real top = row_max(x, C), shift = <real> log(row_sum(x, C, top))
    cdef double others = 0, own = shift - (x[label] - top)
    cdef Py_ssize_t c
    if weight != NULL:
        own = weight[label] * own
    if smoothing:
        for c in range(C):
            others += (shift - (x[c] - top)) * (<double> weight[c] if weight != NULL else 1)
        own = (1 - smoothing) * own + smoothing / C * others
    loss[0] = <real> own


cdef void weighted_backward_row(real* grad, const real* x, Py_ssize_t C, Py_ssize_t label, const real* weight, double smoothing,
                                double total, real scale) noexcept nogil:
    """`total` is the sum of all weights; a label below 0 counts nothing."""
    cdef double own = 0, each = 0, rest
    cdef Py_ssize_t c
    softmax_row(grad, x, C, False)
    if label >= 0:
        own = (1 - smoothing) * (<double> weight[label] if weight != NULL else 1)
        each = smoothing / C
    rest = own + each * total
    for c in range(C):
        grad[c] = <real> ((grad[c] * rest - each * (<double> weight[c] if weight != NULL else 1) - (own if c == label else 0)) * scale)


def softmax(cnp.ndarray y, cnp.ndarray x, bint logarithm, int threads):
    """y = softmax (or its logarithm) of each row of x (rows, C)."""
    cdef bint single = cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT
    cdef Py_ssize_t rows = cnp.PyArray_DIM(x, 0), C = cnp.PyArray_DIM(x, 1), r
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    if single:
        for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
            softmax_row(<float*> yp + r * C, <float*> xp + r * C, C, logarithm)
    else:
        for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
            softmax_row(<double*> yp + r * C, <double*> xp + r * C, C, logarithm)


def cross_entropy(cnp.ndarray losses, cnp.ndarray logits, cnp.ndarray labels, int threads):
    """losses[r] = -log softmax(logits[r])[labels[r]]; labels int64, checked by the caller."""
    cdef bint single = cnp.PyArray_TYPE(losses) == cnp.NPY_FLOAT
    cdef Py_ssize_t rows = cnp.PyArray_DIM(logits, 0), C = cnp.PyArray_DIM(logits, 1), r
    cdef void* lp = cnp.PyArray_DATA(losses)
    cdef void* xp = cnp.PyArray_DATA(logits)
    cdef cnp.int64_t* label = <cnp.int64_t*> cnp.PyArray_DATA(labels)
    if single:
        for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
            entropy_row(<float*> lp + r, <float*> xp + r * C, C, label[r])
    else:
        for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
            entropy_row(<double*> lp + r, <double*> xp + r * C, C, label[r])


def cross_entropy_backward(cnp.ndarray grad, cnp.ndarray logits, cnp.ndarray labels, cnp.ndarray scales, int threads):
    """grad[r] = (softmax(logits[r]) - one_hot(labels[r])) * scales[r]; one scale may serve all rows."""
    cdef bint single = cnp.PyArray_TYPE(grad) == cnp.NPY_FLOAT
    cdef Py_ssize_t rows = cnp.PyArray_DIM(logits, 0), C = cnp.PyArray_DIM(logits, 1), r
    cdef Py_ssize_t step = 1 if cnp.PyArray_SIZE(scales) > 1 else 0
    cdef void* gp = cnp.PyArray_DATA(grad)
    cdef void* xp = cnp.PyArray_DATA(logits)
    cdef void* sp = cnp.PyArray_DATA(scales)
    cdef cnp.int64_t* label = <cnp.int64_t*> cnp.PyArray_DATA(labels)
    if single:
        for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
            entropy_backward_row(<float*> gp + r * C, <float*> xp + r * C, C, label[r], (<float*> sp)[r * step])
    else:
        for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
            entropy_backward_row(<double*> gp + r * C, <double*> xp + r * C, C, label[r], (<double*> sp)[r * step])


def weighted_cross_entropy(cnp.ndarray losses, cnp.ndarray logits, cnp.ndarray labels, weight, Py_ssize_t ignored, double smoothing,
                           int threads):
    """As cross_entropy, with a weight (or None) for each class, label smoothing, and 0 where the label is `ignored`."""
    cdef bint single = cnp.PyArray_TYPE(losses) == cnp.NPY_FLOAT
    cdef Py_ssize_t rows = cnp.PyArray_DIM(logits, 0), C = cnp.PyArray_DIM(logits, 1), r
    cdef void* lp = cnp.PyArray_DATA(losses)
    cdef void* xp = cnp.PyArray_DATA(logits)
    cdef void* wp = cnp.PyArray_DATA(weight) if weight is not None else NULL
    cdef cnp.int64_t* label = <cnp.int64_t*> cnp.PyArray_DATA(labels)
    for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
        if single:
            (<float*> lp)[r] = 0
            if label[r] != ignored:
                weighted_row(<float*> lp + r, <float*> xp + r * C, C, label[r], <float*> wp, smoothing)
        else:
            (<double*> lp)[r] = 0
            if label[r] != ignored:
                weighted_row(<double*> lp + r, <double*> xp + r * C, C, label[r], <double*> wp, smoothing)


def weighted_cross_entropy_backward(cnp.ndarray grad, cnp.ndarray logits, cnp.ndarray labels, weight, Py_ssize_t ignored,
                                    double smoothing, double total, cnp.ndarray scales, int threads):
    """Its gradient, a scale for each row; `total` is the sum of the classes' weights."""
    cdef bint single = cnp.PyArray_TYPE(grad) == cnp.NPY_FLOAT
    cdef Py_ssize_t rows = cnp.PyArray_DIM(logits, 0), C = cnp.PyArray_DIM(logits, 1), r
    cdef void* gp = cnp.PyArray_DATA(grad)
    cdef void* xp = cnp.PyArray_DATA(logits)
    cdef void* sp = cnp.PyArray_DATA(scales)
    cdef void* wp = cnp.PyArray_DATA(weight) if weight is not None else NULL
    cdef cnp.int64_t* label = <cnp.int64_t*> cnp.PyArray_DATA(labels)
    for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
        if single:
            weighted_backward_row(<float*> gp + r * C, <float*> xp + r * C, C, -1 if label[r] == ignored else label[r], <float*> wp,
                                  smoothing, total, (<float*> sp)[r])
        else:
            weighted_backward_row(<double*> gp + r * C, <double*> xp + r * C, C, -1 if label[r] == ignored else label[r], <double*> wp,
                                  smoothing, total, (<double*> sp)[r])
