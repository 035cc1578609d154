# Activations: one pass over flat arrays, a register at a time, the last one in part.
#
# An operation reads one array forward (x) and two backward (grad_y and what was kept: x or y). Each is one line of `value`,
# which the compiler specialises: the operation is a literal in every loop.

from cython.parallel cimport prange
cimport numpy as cnp

cimport cconv._kernels.vmath as vmath
from cconv._kernels.simd cimport L32, L64, at, head, put, real, splat, v32, v64, vec, where_gt, where_le

cnp.import_array()


cdef enum:
    BLOCK = 16384  # numbers a task

cpdef enum Operation:
    RELU
    LEAKY_RELU
    SIGMOID
    TANH
    SOFTPLUS
    RELU_BACKWARD
    LEAKY_RELU_BACKWARD
    SIGMOID_BACKWARD
    TANH_BACKWARD
    SOFTPLUS_BACKWARD
    ADD
    ADD_RELU


cdef inline vec value(const int operation, vec g, vec k, vec a, vec b) noexcept nogil:
    """Forward of k, backward of g where k was kept, or a sum of both; a and b are the operation's options."""
    cdef vec zero = splat(0.0, k), one = splat(1.0, k)
    if operation == RELU:
        return where_gt(zero, k, zero, k)
    if operation == LEAKY_RELU:
        return where_gt(k, zero, k, a * k)
    if operation == SIGMOID:
        return vmath.sigmoid(k)
    if operation == TANH:
        return vmath.tanh(k)
    if operation == SOFTPLUS:
        return where_gt(k * a, b, k, vmath.softplus(k * a) / a)
    if operation == RELU_BACKWARD:
        return where_le(k, zero, zero, g)
    if operation == LEAKY_RELU_BACKWARD:
        return where_gt(k, zero, g, a * g)
    if operation == SIGMOID_BACKWARD:
        return g * (one - k) * k
    if operation == TANH_BACKWARD:
        return g * (one - k * k)
    if operation == ADD:
        return g + k
    if operation == ADD_RELU:
        return where_gt(zero, g + k, zero, g + k)
    return where_gt(k * a, b, g, g * vmath.sigmoid(k * a))


cdef inline void loop(const int operation, vec* out, const vec* grad, const vec* kept, double a, double b, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef int width = L32 if vec is v32 else L64, left = <int> (n % width)
    cdef vec like = splat(0.0, kept[0] if n >= width else head(kept, left))
    cdef vec av = splat(a, like), bv = splat(b, like)
    for i in range(n // width):
        if operation >= RELU_BACKWARD:
            out[i] = value(operation, grad[i], kept[i], av, bv)
        else:
            out[i] = value(operation, like, kept[i], av, bv)
    if left:
        i = n - left
        if operation >= RELU_BACKWARD:
            put(<vec*> at(out, i), value(operation, head(at(grad, i), left), head(at(kept, i), left), av, bv), left)
        else:
            put(<vec*> at(out, i), value(operation, like, head(at(kept, i), left), av, bv), left)


cdef inline void choose(int operation, vec* out, const vec* grad, const vec* kept, double a, double b, Py_ssize_t n) noexcept nogil:
    if operation == RELU:
        loop(RELU, out, grad, kept, a, b, n)
    elif operation == LEAKY_RELU:
        loop(LEAKY_RELU, out, grad, kept, a, b, n)
    elif operation == SIGMOID:
        loop(SIGMOID, out, grad, kept, a, b, n)
    elif operation == TANH:
        loop(TANH, out, grad, kept, a, b, n)
    elif operation == SOFTPLUS:
        loop(SOFTPLUS, out, grad, kept, a, b, n)
    elif operation == RELU_BACKWARD:
        loop(RELU_BACKWARD, out, grad, kept, a, b, n)
    elif operation == LEAKY_RELU_BACKWARD:
        loop(LEAKY_RELU_BACKWARD, out, grad, kept, a, b, n)
    elif operation == SIGMOID_BACKWARD:
        loop(SIGMOID_BACKWARD, out, grad, kept, a, b, n)
    elif operation == TANH_BACKWARD:
        loop(TANH_BACKWARD, out, grad, kept, a, b, n)
    elif operation == SOFTPLUS_BACKWARD:
        loop(SOFTPLUS_BACKWARD, out, grad, kept, a, b, n)
    elif operation == ADD:
        loop(ADD, out, grad, kept, a, b, n)
    elif operation == ADD_RELU:
        loop(ADD_RELU, out, grad, kept, a, b, n)


cdef void block(int operation, real* out, const real* grad, const real* kept, double a, double b, Py_ssize_t n) noexcept nogil:
    if real is float:
        choose(operation, <v32*> out, <const v32*> grad, <const v32*> kept, a, b, n)
    else:
        choose(operation, <v64*> out, <const v64*> grad, <const v64*> kept, a, b, n)


def apply(int operation, cnp.ndarray out, grad, cnp.ndarray kept, double a, double b, int threads):
    """out = operation(kept) forward (`grad` None), operation(grad, kept) backward and for sums."""
    cdef bint single = cnp.PyArray_TYPE(out) == cnp.NPY_FLOAT
    cdef Py_ssize_t n = cnp.PyArray_SIZE(out), i
    cdef void* op = cnp.PyArray_DATA(out)
    cdef void* kp = cnp.PyArray_DATA(kept)
    cdef void* gp = cnp.PyArray_DATA(grad) if grad is not None else kp
    if single:
        for i in prange((n + BLOCK - 1) // BLOCK, nogil=True, num_threads=threads, schedule="static"):
            block(operation, <float*> op + i * BLOCK, <float*> gp + i * BLOCK, <float*> kp + i * BLOCK, a, b,
                  min(<Py_ssize_t> BLOCK, n - i * BLOCK))
    else:
        for i in prange((n + BLOCK - 1) // BLOCK, nogil=True, num_threads=threads, schedule="static"):
            block(operation, <double*> op + i * BLOCK, <double*> gp + i * BLOCK, <double*> kp + i * BLOCK, a, b,
                  min(<Py_ssize_t> BLOCK, n - i * BLOCK))
