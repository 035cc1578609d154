# Linear maps on the register tiles of tile.pxd.
#
#   forward        y[n, k] = sum over c of x[n, c] * weight[k, c] + bias[k]     dot products: both rows are contiguous, nothing is packed
#   grad_x         grad_x[n, c] = sum over k of grad_y[n, k] * weight[k, c]     outer products, vectors along c
#   grad_weight    grad_weight[k, c] = sum over n of grad_y[n, k] * x[n, c]     outer products, vectors along c
#
# Every sum is owned by one thread and runs in one order, so bits depend on neither threads nor batch.

from cython.parallel cimport prange
cimport numpy as cnp

from cconv._kernels.pack cimport clear, transpose
from cconv._kernels.simd cimport lanes, real
from cconv._kernels.tile cimport dot_any, lane_sum, outer_any, tile_rows, virtual_lanes

cnp.import_array()


cdef enum:
    ROWS = 16  # rows of x and of weight that meet in one forward task
    COLUMNS = 24
    TERMS = 128  # terms a pass of outer products
    FEW = 1 << 12  # numbers that leave room in the first-level cache
    DEPTH = 512  # numbers of a row a pass of dot products: a task's rows stay in the first-level cache


cdef void outer(real* acc, Py_ssize_t stride, const real* x, const real* w, const int* xo, const int* wo, Py_ssize_t terms, int rows, int J,
                bint fresh) noexcept nogil:
    outer_any(acc, stride, x, w, xo, wo, terms, rows, J, 1, fresh)


cdef void dot(real* acc, Py_ssize_t si, Py_ssize_t sj, const real* a, const int* ao, Py_ssize_t a_row, const real* b, Py_ssize_t bs, Py_ssize_t b_row,
              Py_ssize_t rows, Py_ssize_t n, int I, int J) noexcept nogil:
    dot_any(acc, si, sj, a, ao, a_row, b, bs, b_row, rows, n, I, J)


cdef void forward_task(real* y, const real* x, const real* weight, const real* bias, Py_ssize_t N, Py_ssize_t C, Py_ssize_t K,
                       double top, Py_ssize_t index) noexcept nogil:
    cdef real acc[ROWS * COLUMNS * 16]
    cdef int rows[ROWS]
    cdef Py_ssize_t V = virtual_lanes(y), blocks = (K + COLUMNS - 1) // COLUMNS
    cdef Py_ssize_t n0 = index // blocks * ROWS, k0 = index % blocks * COLUMNS, i, j, c, c_pass
    cdef int I = <int> min(<Py_ssize_t> ROWS, N - n0), J = <int> min(<Py_ssize_t> COLUMNS, K - k0)
    cdef real total
    for i in range(I):
        rows[i] = <int> (i * C)
    clear(acc, I * COLUMNS * V)
    for c_pass in range((C + DEPTH - 1) // DEPTH):
        c = c_pass * DEPTH
        dot(acc, COLUMNS * V, V, x + n0 * C + c, rows, 0, weight + k0 * C + c, C, 0, 1, min(<Py_ssize_t> DEPTH, C - c), I, J)
    for i in range(I):
        for j in range(J):
            total = lane_sum(acc + (i * COLUMNS + j) * V)
            if bias != NULL:
                total += bias[k0 + j]
            if top:
                total = 0 if total < 0 else <real> top if total > top else total
            y[(n0 + i) * K + k0 + j] = total


def forward(cnp.ndarray y, cnp.ndarray x, cnp.ndarray weight, bias, double top, int threads):
    """y (N, K) = x (N, C) weight (K, C)^T + bias (K,), or the part of it in 0..top."""
    cdef bint single = cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* wp = cnp.PyArray_DATA(weight)
    cdef void* bp = cnp.PyArray_DATA(bias) if bias is not None else NULL
    cdef Py_ssize_t N = cnp.PyArray_DIM(x, 0), C = cnp.PyArray_DIM(x, 1), K = cnp.PyArray_DIM(weight, 0), i
    cdef Py_ssize_t tasks = (N + ROWS - 1) // ROWS * ((K + COLUMNS - 1) // COLUMNS)
    if single:
        for i in prange(tasks, nogil=True, num_threads=threads, schedule="dynamic"):
            forward_task(<float*> yp, <float*> xp, <float*> wp, <float*> bp, N, C, K, top, i)
    else:
        for i in prange(tasks, nogil=True, num_threads=threads, schedule="dynamic"):
            forward_task(<double*> yp, <double*> xp, <double*> wp, <double*> bp, N, C, K, top, i)


# out[m, c] = sum over t of left[t, m] * right[t, c], out (M, C), left rows `left_step` apart, right rows C apart.
# The last block of columns reads back over the one before it rather than past the end.


cdef void product_task(real* out, const real* left, Py_ssize_t left_step, const real* right, Py_ssize_t right_step, Py_ssize_t C, Py_ssize_t terms,
                       Py_ssize_t m0, Py_ssize_t m1, Py_ssize_t b0, Py_ssize_t b1) noexcept nogil:
    """Rows m0..m1-1 of blocks b0..b1-1 of two registers of columns."""
    cdef real few[16 * 32]
    cdef real* acc
    cdef int xo[TERMS]
    cdef int wo[TERMS]
    cdef Py_ssize_t L = lanes(out), block, start, c0, wide, t, t_pass, n, i, j, m, k, tiles
    cdef int J
    cdef bint inside  # a block of whole registers: its sums are made where they belong
    tiles = (m1 - m0 + tile_rows(2) - 1) // tile_rows(2)
    for t in range(min(<Py_ssize_t> TERMS, terms)):
        xo[t] = <int> (t * left_step)
        wo[t] = <int> (t * right_step)
    for k in range(tiles):
        m = m0 + (m1 - m0) * k // tiles
        n = m0 + (m1 - m0) * (k + 1) // tiles - m
        for block in range(b0, b1):
            start = block * 2 * L
            J = 1 if C - start <= L else 2
            wide = J * L
            c0 = min(start, right_step - wide)
            inside = start + wide <= C
            acc = out + m * C + start if inside else few
            for t_pass in range(max(<Py_ssize_t> 1, (terms + TERMS - 1) // TERMS)):
                t = t_pass * TERMS
                outer(acc, C if inside else wide, left + t * left_step + m, right + t * right_step + c0, xo, wo,
                      min(<Py_ssize_t> TERMS, terms - t), <int> n, J, t == 0)
            if not inside:
                for i in range(n):
                    for j in range(start - c0, min(wide, C - c0)):
                        out[(m + i) * C + c0 + j] = acc[i * wide + j]


cdef void product(real* out, const real* left, const real* right, Py_ssize_t M, Py_ssize_t C, Py_ssize_t terms, real* scratch,
                  bint turn, int threads) noexcept nogil:
    """`turn`: left comes as (M, terms) and is turned first. A `right` narrower than a register tile is padded first.

    A block of columns of `right` stays in the first-level cache while it meets all rows; where all of `right` does, rows are
    written from end to end.
    """
    cdef Py_ssize_t wide = 2 * lanes(out), blocks, row_blocks, column_blocks, i, j, r, b, step = C
    if turn:
        transpose(left, terms, M, terms, scratch, M)
        left = scratch
        scratch += (M * terms + 15) // 16 * 16
    if C < wide:
        clear(scratch, terms * wide)
        for i in range(terms):
            for j in range(C):
                scratch[i * wide + j] = right[i * C + j]
        right = scratch
        step = wide
    blocks = (C + wide - 1) // wide
    column_blocks = 1 if terms * C <= FEW else blocks
    row_blocks = max(1, min(M // 28, 4 * threads // column_blocks))
    for i in prange(column_blocks * row_blocks, num_threads=threads, schedule="dynamic"):
        r = i % row_blocks
        b = i // row_blocks
        product_task(out, left, M, right, step, C, terms, M * r // row_blocks, M * (r + 1) // row_blocks,
                     blocks * b // column_blocks, blocks * (b + 1) // column_blocks)


cdef void column_sums(real* total, const real* rows, Py_ssize_t N, Py_ssize_t K) noexcept nogil:
    cdef Py_ssize_t n, k
    for k in range(K):
        total[k] = 0
    for n in range(N):
        for k in range(K):
            total[k] += rows[n * K + k]


cdef void gradients(real* grad_x, real* grad_weight, real* grad_bias, const real* grad_y, const real* x, const real* weight,
                    Py_ssize_t N, Py_ssize_t C, Py_ssize_t K, real* scratch, int threads) noexcept nogil:
    if grad_bias != NULL:
        column_sums(grad_bias, grad_y, N, K)
    if grad_weight != NULL:
        product(grad_weight, grad_y, x, K, C, N, scratch, False, threads)
    if grad_x != NULL:
        product(grad_x, grad_y, weight, N, C, K, scratch, True, threads)


def backward(grad_x, grad_weight, grad_bias, cnp.ndarray grad_y, cnp.ndarray x, cnp.ndarray weight, cnp.ndarray scratch, int threads):
    """The gradients that are not None, written."""
    cdef bint single = cnp.PyArray_TYPE(grad_y) == cnp.NPY_FLOAT
    cdef void* gx = cnp.PyArray_DATA(grad_x) if grad_x is not None else NULL
    cdef void* gw = cnp.PyArray_DATA(grad_weight) if grad_weight is not None else NULL
    cdef void* gb = cnp.PyArray_DATA(grad_bias) if grad_bias is not None else NULL
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* wp = cnp.PyArray_DATA(weight)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef Py_ssize_t N = cnp.PyArray_DIM(x, 0), C = cnp.PyArray_DIM(x, 1), K = cnp.PyArray_DIM(weight, 0)
    with nogil:
        if single:
            gradients(<float*> gx, <float*> gw, <float*> gb, <float*> yp, <float*> xp, <float*> wp, N, C, K, <float*> sp, threads)
        else:
            gradients(<double*> gx, <double*> gw, <double*> gb, <double*> yp, <double*> xp, <double*> wp, N, C, K, <double*> sp, threads)


def scratch_size(Py_ssize_t N, Py_ssize_t C, Py_ssize_t K):
    """Numbers of scratch that `backward` needs: grad_y turned, and a narrow right side padded."""
    cdef Py_ssize_t wide = 2 * max(lanes[float](NULL), lanes[double](NULL))
    return (N * K + 15) // 16 * 16 + (max(N, K) * wide if C < wide else 0)
