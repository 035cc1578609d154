# Activations: one pass over flat arrays, a register at a time, the last one in part.
#
# An operation reads one array forward (x) and two backward (grad_y and what was kept: x or y). Each is one line of `value`,
# which the compiler specialises: the operation is a literal in every loop.
#
# Maxout alone is not of single numbers: x (N, C, S) and y (N, C / size, S), S numbers a plane. A register holds neighbours of a plane, for which the
# planes of a group are walked; a task is a group.

from cython.parallel cimport prange
cimport numpy as cnp

cimport cconv._kernels.vmath as vmath
from cconv._kernels.simd cimport L32, L64, at, copysign, fma, head, put, real, splat, v32, v64, vec, where_gt, where_le

cnp.import_array()


cdef enum:
    BLOCK = 16384  # numbers a task

# gelu's approximation: (1 + tanh(z / 2)) / 2 = sigmoid(z) with z = SLOPE * x + CUBE * x**3, SLOPE = 2 sqrt(2 / pi), CUBE = 0.044715 SLOPE.
cdef extern from *:
    """
    #define CC_SLOPE 1.5957691216057308
    #define CC_CUBE 0.07135481627260025
    """
    const double SLOPE "CC_SLOPE"
    const double CUBE "CC_CUBE"

cpdef enum Operation:
    RELU
    LEAKY_RELU
    SIGMOID
    TANH
    SOFTPLUS
    ELU
    GELU
    GELU_TANH
    SILU
    HARDSWISH
    HARDTANH
    HARDSIGMOID
    RELU_BACKWARD
    LEAKY_RELU_BACKWARD
    SIGMOID_BACKWARD
    TANH_BACKWARD
    SOFTPLUS_BACKWARD
    ELU_BACKWARD
    GELU_BACKWARD
    GELU_TANH_BACKWARD
    SILU_BACKWARD
    HARDSWISH_BACKWARD
    HARDTANH_BACKWARD
    HARDSIGMOID_BACKWARD
    ADD
    ADD_RELU


cdef inline vec logistic_slope(vec x, vec z, vec slope) noexcept nogil:
    """Of x * sigmoid(z): sigmoid(z) * (1 + x * slope * sigmoid(-z)), with z's slope."""
    cdef vec zero = splat(0.0, x), one = splat(1.0, x), e = vmath.exp(copysign(z, -one)), one_part = one / (one + e), e_part = e * one_part
    return where_gt(zero, z, e_part, one_part) * fma(x * slope, where_gt(zero, z, one_part, e_part), one)


cdef inline vec gelu_tanh_slope(vec x) noexcept nogil:
    """Beyond 50 it is 0 or 1, and x**3 would overflow somewhere; at infinity it is NaN, as in PyTorch."""
    cdef vec k = vmath.clamp(x, -50.0, 50.0), square = k * k
    cdef vec z = k * fma(square, splat(CUBE, x), splat(SLOPE, x))
    return logistic_slope(k, z, fma(square, splat(3 * CUBE, x), splat(SLOPE, x))) + splat(0.0, x) * x


cdef inline vec value(const int operation, vec g, vec k, vec a, vec b) noexcept nogil:
    """Forward of k, backward of g where k was kept, or a sum of both; a and b are the operation's options."""
    cdef vec zero = splat(0.0, k), one = splat(1.0, k), k3
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
    if operation == ELU:
        return where_le(zero, k, k, a * vmath.expm1_negative(k))
    if operation == GELU:
        return vmath.times_normal(k)
    if operation == GELU_TANH:
        return vmath.times_sigmoid(k, k * fma(k * k, splat(CUBE, k), splat(SLOPE, k)))
    if operation == SILU:
        return vmath.times_sigmoid(k, k)
    if operation == HARDSWISH:
        k3 = k + splat(3.0, k)
        return where_le(splat(3.0, k), k, k, k * where_gt(zero, k3, zero, k3) / splat(6.0, k))
    if operation == HARDTANH:
        return where_gt(a, k, a, where_gt(k, b, b, k))
    if operation == HARDSIGMOID:
        k3 = k + splat(3.0, k)
        return where_gt(zero, k3, zero, where_gt(k3, splat(6.0, k), splat(6.0, k), k3)) / splat(6.0, k)
    if operation == RELU_BACKWARD:
        return where_le(k, zero, zero, g)
    if operation == LEAKY_RELU_BACKWARD:
        return where_gt(k, zero, g, a * g)
    if operation == SIGMOID_BACKWARD:
        return g * (one - k) * k
    if operation == TANH_BACKWARD:
        return g * (one - k * k)
    if operation == ELU_BACKWARD:
        return where_le(k, zero, g * (a * vmath.exp(k)), g)
    if operation == GELU_BACKWARD:
        return g * vmath.times_normal_slope(k)
    if operation == GELU_TANH_BACKWARD:
        return g * gelu_tanh_slope(k)
    if operation == SILU_BACKWARD:
        return g * logistic_slope(k, k, one)
    if operation == HARDSWISH_BACKWARD:
        return where_le(k, splat(-3.0, k), zero, where_gt(splat(3.0, k), k, g * (k / splat(3.0, k) + splat(0.5, k)), g))
    if operation == HARDTANH_BACKWARD:
        return where_le(k, a, zero, where_le(b, k, zero, g))
    if operation == HARDSIGMOID_BACKWARD:
        return where_gt(k, splat(-3.0, k), where_gt(splat(3.0, k), k, g / splat(6.0, k), zero), zero)
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
    elif operation == ELU:
        loop(ELU, out, grad, kept, a, b, n)
    elif operation == GELU:
        loop(GELU, out, grad, kept, a, b, n)
    elif operation == GELU_TANH:
        loop(GELU_TANH, out, grad, kept, a, b, n)
    elif operation == SILU:
        loop(SILU, out, grad, kept, a, b, n)
    elif operation == HARDSWISH:
        loop(HARDSWISH, out, grad, kept, a, b, n)
    elif operation == HARDSIGMOID:
        loop(HARDSIGMOID, out, grad, kept, a, b, n)
    elif operation == HARDTANH:
        loop(HARDTANH, out, grad, kept, a, b, n)
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
    elif operation == ELU_BACKWARD:
        loop(ELU_BACKWARD, out, grad, kept, a, b, n)
    elif operation == GELU_BACKWARD:
        loop(GELU_BACKWARD, out, grad, kept, a, b, n)
    elif operation == GELU_TANH_BACKWARD:
        loop(GELU_TANH_BACKWARD, out, grad, kept, a, b, n)
    elif operation == SILU_BACKWARD:
        loop(SILU_BACKWARD, out, grad, kept, a, b, n)
    elif operation == HARDSWISH_BACKWARD:
        loop(HARDSWISH_BACKWARD, out, grad, kept, a, b, n)
    elif operation == HARDSIGMOID_BACKWARD:
        loop(HARDSIGMOID_BACKWARD, out, grad, kept, a, b, n)
    elif operation == HARDTANH_BACKWARD:
        loop(HARDTANH_BACKWARD, out, grad, kept, a, b, n)
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


# --- maxout -------------------------------------------------------------------------------------------------


cdef inline vec larger(vec best, vec x, vec yes, vec no) noexcept nogil:
    """yes where x >= best or x is NaN."""
    return where_le(best, x, yes, where_le(x, x, no, yes))


cdef inline vec taken(const vec* p, Py_ssize_t i, int n, const bint whole) noexcept nogil:
    return at(p, i)[0] if whole else head(at(p, i), n)


cdef inline void maxout_piece(vec* out, const vec* grad, const vec* x, Py_ssize_t S, int size, int n, const bint whole, const bint back) noexcept nogil:
    """n neighbours of each of the group's planes, from the last on: the first maximum wins, and a NaN over all."""
    cdef vec best = taken(x, (size - 1) * S, n, whole), v, g, place = splat(size - 1, best), zero = splat(0.0, best), one
    cdef int j
    for j in range(size - 2, -1, -1):
        v = taken(x, j * S, n, whole)
        if back:
            place = larger(best, v, splat(j, v), place)
        best = larger(best, v, v, best)
    if not back:
        put(out, best, n)
        return
    g = taken(grad, 0, n, whole)
    for j in range(size):
        one = place - splat(j, best)
        put(<vec*> at(out, j * S), where_le(one * one, zero, g, zero), n)


cdef inline void maxout_group(vec* out, const vec* grad, const vec* x, Py_ssize_t S, int size, const bint back) noexcept nogil:
    cdef int width = L32 if vec is v32 else L64, left = <int> (S % width)
    cdef Py_ssize_t i
    for i in range(S // width):
        maxout_piece(<vec*> at(out, i * width), at(grad, i * width), at(x, i * width), S, size, width, True, back)
    if left:
        i = S - left
        maxout_piece(<vec*> at(out, i), at(grad, i), at(x, i), S, size, left, False, back)


cdef void maxout_range(real* out, const real* grad, const real* x, Py_ssize_t S, int size, bint back) noexcept nogil:
    if real is float:
        if back:
            maxout_group(<v32*> out, <const v32*> grad, <const v32*> x, S, size, True)
        else:
            maxout_group(<v32*> out, <const v32*> x, <const v32*> x, S, size, False)
    else:
        if back:
            maxout_group(<v64*> out, <const v64*> grad, <const v64*> x, S, size, True)
        else:
            maxout_group(<v64*> out, <const v64*> x, <const v64*> x, S, size, False)


def maxout(cnp.ndarray out, grad, cnp.ndarray x, int size, int threads):
    """out = maxout(x (N, C, ...)) forward (`grad` None), else its gradient to x. x is not empty."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT, back = grad is not None
    cdef Py_ssize_t planes = cnp.PyArray_DIM(x, 0) * cnp.PyArray_DIM(x, 1), S = cnp.PyArray_SIZE(x) // planes, groups = planes // size, i
    cdef Py_ssize_t step = S * size if back else S
    cdef void* op = cnp.PyArray_DATA(out)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* gp = cnp.PyArray_DATA(grad) if grad is not None else xp
    if single:
        for i in prange(groups, nogil=True, num_threads=threads, schedule="static"):
            maxout_range(<float*> op + i * step, <float*> gp + i * S, <float*> xp + i * S * size, S, size, back)
    else:
        for i in prange(groups, nogil=True, num_threads=threads, schedule="static"):
            maxout_range(<double*> op + i * step, <double*> gp + i * S, <double*> xp + i * S * size, S, size, back)
