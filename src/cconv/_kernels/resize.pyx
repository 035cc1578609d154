# Planes made larger or smaller: nearest and linear interpolation, forward and backward, by tables of each axis.
#
#   y[i, j] = sum over a, b of down[a, i] * along[b, j] * x[row[a, i], column[b, j]],  one (nearest) or two (linear) terms an axis
#
# Forward, a row of x is first brought to y's width, once for all rows of y that read it: the last two are kept. Then registers run along a row of
# y. Backward the tables are those of the transpose, so that a row of grad_x has one owner: rows of grad_y are added up first, along which
# registers run, and their sum is brought to x's width. There each column has as many terms as the one with most; those that it lacks point to a
# zero past the row's end. No term is left out for its weight of zero: NaN spreads as in PyTorch.

from cython.parallel cimport prange
from libc.stdint cimport int32_t
from libc.string cimport memcpy, memset
cimport numpy as cnp

from cconv._kernels.simd cimport real

cnp.import_array()


# In C for its `restrict`: without, no compiler would load several columns at once.
cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #define CC_RESIZE(T, S) \
      static void cc_pick##S(T *__restrict y, const T *__restrict x, const int32_t *__restrict at, ptrdiff_t n) { \
        for (ptrdiff_t j = 0; j < n; j++) y[j] = x[at[j]]; \
      } \
      static void cc_mix##S(T *__restrict y, const T *__restrict x, const int32_t *__restrict at, const T *__restrict w, ptrdiff_t n) { \
        for (ptrdiff_t j = 0; j < n; j++) y[j] = w[j] * x[at[j]] + w[n + j] * x[at[n + j]]; \
      } \
      static void cc_add##S(T *__restrict y, const T *__restrict x, const int32_t *__restrict at, const T *__restrict w, ptrdiff_t n) { \
        for (ptrdiff_t j = 0; j < n; j++) y[j] += w[j] * x[at[j]]; \
      } \
      static void cc_two##S(T *__restrict y, const T *__restrict a, T u, const T *__restrict b, T v, ptrdiff_t n) { \
        for (ptrdiff_t j = 0; j < n; j++) y[j] = u * a[j] + v * b[j]; \
      } \
      static void cc_more##S(T *__restrict y, const T *__restrict a, T u, ptrdiff_t n) { \
        for (ptrdiff_t j = 0; j < n; j++) y[j] += u * a[j]; \
      }
    CC_RESIZE(float, 32)
    CC_RESIZE(double, 64)
    """
    void cc_pick32(float* y, const float* x, const int32_t* at, Py_ssize_t n) noexcept nogil
    void cc_pick64(double* y, const double* x, const int32_t* at, Py_ssize_t n) noexcept nogil
    void cc_mix32(float* y, const float* x, const int32_t* at, const float* w, Py_ssize_t n) noexcept nogil
    void cc_mix64(double* y, const double* x, const int32_t* at, const double* w, Py_ssize_t n) noexcept nogil
    void cc_add32(float* y, const float* x, const int32_t* at, const float* w, Py_ssize_t n) noexcept nogil
    void cc_add64(double* y, const double* x, const int32_t* at, const double* w, Py_ssize_t n) noexcept nogil
    void cc_two32(float* y, const float* a, float u, const float* b, float v, Py_ssize_t n) noexcept nogil
    void cc_two64(double* y, const double* a, double u, const double* b, double v, Py_ssize_t n) noexcept nogil
    void cc_more32(float* y, const float* a, float u, Py_ssize_t n) noexcept nogil
    void cc_more64(double* y, const double* a, double u, Py_ssize_t n) noexcept nogil


# Of one axis: term t of output i is weight[t * n + i] times number place[t * n + i] of the input.
cdef struct Axis:
    Py_ssize_t size  # of the input
    Py_ssize_t n  # of the output
    Py_ssize_t terms
    const int32_t* place
    const void* weight


cdef Axis axis_of(Py_ssize_t size, cnp.ndarray place, cnp.ndarray weight):
    cdef Axis a
    a.size, a.n, a.terms = size, cnp.PyArray_DIM(place, 1), cnp.PyArray_DIM(place, 0)
    a.place, a.weight = <const int32_t*> cnp.PyArray_DATA(place), cnp.PyArray_DATA(weight)
    return a


# --- forward ------------------------------------------------------------------------------------------------


cdef inline void widened(real* y, const real* x, const Axis* along) noexcept nogil:
    if along.terms == 1:
        if real is float:
            cc_pick32(y, x, along.place, along.n)
        else:
            cc_pick64(y, x, along.place, along.n)
    else:
        if real is float:
            cc_mix32(y, x, along.place, <const real*> along.weight, along.n)
        else:
            cc_mix64(y, x, along.place, <const real*> along.weight, along.n)


cdef void forward_rows(real* y, const real* x, const Axis* down, const Axis* along, Py_ssize_t first, Py_ssize_t last, real* work) noexcept nogil:
    """Rows first..last-1 of all planes of y. `work` has room for two of them."""
    cdef Py_ssize_t k, i, top, bottom, held = -1, held_next = -1, width = along.n
    cdef const real* weight = <const real*> down.weight
    cdef real* above = work
    cdef real* below = work + width
    for k in range(first, last):
        i = k % down.n
        top = (k // down.n) * down.size + down.place[i]
        if down.terms == 1:
            if top == held:
                memcpy(y + k * width, y + (k - 1) * width, width * sizeof(real))
            else:
                widened(y + k * width, x + top * along.size, along)
                held = top
            continue
        bottom = top + down.place[down.n + i] - down.place[i]
        if held != top:
            above, below = below, above
            held, held_next = held_next, held
            if held != top:
                widened(above, x + top * along.size, along)
                held = top
        if bottom != top and held_next != bottom:
            widened(below, x + bottom * along.size, along)
            held_next = bottom
        if real is float:
            cc_two32(y + k * width, above, weight[i], above if bottom == top else below, weight[down.n + i], width)
        else:
            cc_two64(y + k * width, above, weight[i], above if bottom == top else below, weight[down.n + i], width)


cdef void run_forward(real* y, const real* x, const Axis* down, const Axis* along, Py_ssize_t planes, real* work, int threads) noexcept nogil:
    cdef Py_ssize_t rows = planes * down.n
    cdef int part
    for part in prange(threads, num_threads=threads, schedule="static"):
        forward_rows(y, x, down, along, rows * part // threads, rows * (part + 1) // threads, work + part * 2 * along.n)


def forward(cnp.ndarray y, cnp.ndarray x, cnp.ndarray rows, cnp.ndarray row_weights, cnp.ndarray columns, cnp.ndarray column_weights,
            cnp.ndarray work, int threads):
    """y (planes, P, Q) of x (planes, H, W). Tables are (terms, outputs), places int32. `work` has room for two rows of y a thread."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Axis down = axis_of(cnp.PyArray_DIM(x, 1), rows, row_weights), along = axis_of(cnp.PyArray_DIM(x, 2), columns, column_weights)
    cdef Py_ssize_t planes = cnp.PyArray_DIM(x, 0)
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* wp = cnp.PyArray_DATA(work)
    with nogil:
        if single:
            run_forward(<float*> yp, <float*> xp, &down, &along, planes, <float*> wp, threads)
        else:
            run_forward(<double*> yp, <double*> xp, &down, &along, planes, <double*> wp, threads)


# --- backward -----------------------------------------------------------------------------------------------


cdef void backward_rows(real* grad_x, const real* grad_y, const Axis* down, const Axis* along, Py_ssize_t first, Py_ssize_t last,
                        real* total) noexcept nogil:
    """Rows first..last-1 of all planes of grad_x. `total` has room for a row of grad_y and a zero."""
    cdef Py_ssize_t k, p, t, row, width = along.size, n = along.n
    cdef const real* weight = <const real*> down.weight
    cdef const real* plane
    total[width] = 0
    for k in range(first, last):
        p, plane = k % down.n, grad_y + (k // down.n) * down.size * width
        memset(total, 0, width * sizeof(real))
        for t in range(down.terms):
            row = down.place[t * down.n + p]
            if row == down.size:
                break
            if real is float:
                cc_more32(total, plane + row * width, weight[t * down.n + p], width)
            else:
                cc_more64(total, plane + row * width, weight[t * down.n + p], width)
        memset(grad_x + k * n, 0, n * sizeof(real))
        for t in range(along.terms):
            if real is float:
                cc_add32(grad_x + k * n, total, along.place + t * n, <const real*> along.weight + t * n, n)
            else:
                cc_add64(grad_x + k * n, total, along.place + t * n, <const real*> along.weight + t * n, n)


cdef void run_backward(real* grad_x, const real* grad_y, const Axis* down, const Axis* along, Py_ssize_t planes, real* work,
                       int threads) noexcept nogil:
    cdef Py_ssize_t rows = planes * down.n
    cdef int part
    for part in prange(threads, num_threads=threads, schedule="static"):
        backward_rows(grad_x, grad_y, down, along, rows * part // threads, rows * (part + 1) // threads, work + part * (along.size + 1))


def backward(cnp.ndarray grad_x, cnp.ndarray grad_y, cnp.ndarray rows, cnp.ndarray row_weights, cnp.ndarray columns,
             cnp.ndarray column_weights, cnp.ndarray work, int threads):
    """grad_x (planes, H, W) of grad_y (planes, P, Q). Tables are those of the transpose, (terms, H) and (terms, W), whose lacking terms have
    place P or Q and weight 0. `work` has room for a row of grad_y and one number a thread."""
    cdef bint single = cnp.PyArray_TYPE(grad_x) == cnp.NPY_FLOAT
    cdef Axis down = axis_of(cnp.PyArray_DIM(grad_y, 1), rows, row_weights)
    cdef Axis along = axis_of(cnp.PyArray_DIM(grad_y, 2), columns, column_weights)
    cdef Py_ssize_t planes = cnp.PyArray_DIM(grad_x, 0)
    cdef void* xp = cnp.PyArray_DATA(grad_x)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef void* wp = cnp.PyArray_DATA(work)
    with nogil:
        if single:
            run_backward(<float*> xp, <float*> yp, &down, &along, planes, <float*> wp, threads)
        else:
            run_backward(<double*> xp, <double*> yp, &down, &along, planes, <double*> wp, threads)
