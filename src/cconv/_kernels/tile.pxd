# The three loops that do nearly all of the arithmetic: register tiles of sums that stay in registers from first to last term.
#
#   outer   acc[i][v] += x[xo[t] + i*step] * w[wo[t] + v]   over t: `rows` numbers times `J` registers of lanes
#   rows    y[i][v] += a[i*a_row + t*a_step] * b[t*b_step + v]   the same where both sides are rows of matrices as they lie
#   dot     acc[i][j] += a[ao[i] + p] * b[j*bs + p]    over p: both sides contiguous, lanes summed at the end
#
# Every sum of `outer` and `rows` is one chain of fused multiply-adds in the order of t, whatever the tile and the width of
# a register; one of `dot` runs in 64 bytes of virtual lanes (16 float, 8 double) on every instruction set. So bits depend on shapes alone.
#
# The tile's sizes are literals at each call, so that the compiler unrolls the loops and keeps `acc` in registers. All of this file is
# inlined: a kernel wraps `outer_any`, `rows_any` or `dot_any` in one function of its own and calls that.

from cconv._kernels.simd cimport L32, L64, TILE, at, broadcast, fma, head, real, splat, v32, v64, vec


cdef inline void outer_tile(
    vec* acc, Py_ssize_t stride, const vec* x, const vec* w, const int* xo, const int* wo, Py_ssize_t terms, const int I, const int J,
    const int step, bint fresh
) noexcept nogil:
    cdef vec s[28]
    cdef vec wide[3]
    cdef vec one
    cdef const vec* wp
    cdef const vec* xp
    cdef Py_ssize_t t
    cdef int i, j
    for i in range(I):
        for j in range(J):
            s[i * J + j] = splat(0, acc[0]) if fresh else at(acc, i * stride)[j]
    for t in range(terms):
        wp = at(w, wo[t])
        xp = at(x, xo[t])
        for j in range(J):
            wide[j] = wp[j]
        for i in range(I):
            one = broadcast(xp, i * step)
            for j in range(J):
                s[i * J + j] = fma(one, wide[j], s[i * J + j])
    for i in range(I):
        for j in range(J):
            (<vec*>at(acc, i * stride))[j] = s[i * J + j]


cdef inline void outer_rows(
    vec* acc, Py_ssize_t stride, const vec* x, const vec* w, const int* xo, const int* wo, Py_ssize_t terms, int rows, const int J,
    const int step, bint fresh
) noexcept nogil:
    if rows == 1:
        outer_tile(acc, stride, x, w, xo, wo, terms, 1, J, step, fresh)
    elif rows == 2:
        outer_tile(acc, stride, x, w, xo, wo, terms, 2, J, step, fresh)
    elif rows == 3:
        outer_tile(acc, stride, x, w, xo, wo, terms, 3, J, step, fresh)
    elif rows == 4:
        outer_tile(acc, stride, x, w, xo, wo, terms, 4, J, step, fresh)
    if J <= 2 or TILE > 6:
        if rows == 5:
            outer_tile(acc, stride, x, w, xo, wo, terms, 5, J, step, fresh)
        elif rows == 6:
            outer_tile(acc, stride, x, w, xo, wo, terms, 6, J, step, fresh)
    if TILE > 6:
        if rows == 7:
            outer_tile(acc, stride, x, w, xo, wo, terms, 7, J, step, fresh)
        elif rows == 8:
            outer_tile(acc, stride, x, w, xo, wo, terms, 8, J, step, fresh)
    if TILE > 6 and J <= 2:
        if rows == 9:
            outer_tile(acc, stride, x, w, xo, wo, terms, 9, J, step, fresh)
        elif rows == 10:
            outer_tile(acc, stride, x, w, xo, wo, terms, 10, J, step, fresh)
        elif rows == 11:
            outer_tile(acc, stride, x, w, xo, wo, terms, 11, J, step, fresh)
        elif rows == 12:
            outer_tile(acc, stride, x, w, xo, wo, terms, 12, J, step, fresh)
        elif rows == 13:
            outer_tile(acc, stride, x, w, xo, wo, terms, 13, J, step, fresh)
        elif rows == 14:
            outer_tile(acc, stride, x, w, xo, wo, terms, 14, J, step, fresh)


cdef inline int tile_rows(int J) noexcept nogil:
    """The most rows that a tile of J registers a row may have."""
    return TILE if J <= 2 else (8 if TILE > 6 else 4)


cdef inline void outer_any(
    real* acc, Py_ssize_t stride, const real* x, const real* w, const int* xo, const int* wo, Py_ssize_t terms, int rows, int J,
    const int step, bint fresh
) noexcept nogil:
    """acc[i*stride + v] += sum over t of x[xo[t] + i*step] * w[wo[t] + v]; i < rows <= tile_rows(J), v < J registers, J in 1..3.

    `step` is a literal; `fresh` starts the sums from zero, whatever acc holds.
    """
    if real is float:
        if J == 2:
            outer_rows(<v32*> acc, stride, <const v32*> x, <const v32*> w, xo, wo, terms, rows, 2, step, fresh)
        elif J == 1:
            outer_rows(<v32*> acc, stride, <const v32*> x, <const v32*> w, xo, wo, terms, rows, 1, step, fresh)
        else:
            outer_rows(<v32*> acc, stride, <const v32*> x, <const v32*> w, xo, wo, terms, rows, 3, step, fresh)
    else:
        if J == 2:
            outer_rows(<v64*> acc, stride, <const v64*> x, <const v64*> w, xo, wo, terms, rows, 2, step, fresh)
        elif J == 1:
            outer_rows(<v64*> acc, stride, <const v64*> x, <const v64*> w, xo, wo, terms, rows, 1, step, fresh)
        else:
            outer_rows(<v64*> acc, stride, <const v64*> x, <const v64*> w, xo, wo, terms, rows, 3, step, fresh)


cdef enum Start:  # what the sums of `rows` start from
    ZERO
    RESULT  # what y holds
    BIAS  # one number a row


cdef inline void rows_tile(
    vec* y, Py_ssize_t y_row, const vec* bias, const vec* a, Py_ssize_t a_row, Py_ssize_t a_step, const vec* b, Py_ssize_t b_step,
    Py_ssize_t terms, Start start, const int I, const int J
) noexcept nogil:
    # Three pointers, each for five rows: 14 would not fit the registers for addresses.
    cdef vec s[28]
    cdef vec wide[2]
    cdef vec one
    cdef const vec* five[3]
    cdef Py_ssize_t _
    cdef int i, j
    for i in range(3):
        five[i] = at(a, 5 * i * a_row)
    for i in range(I):
        for j in range(J):
            s[i * J + j] = splat(0, y[0]) if start == ZERO else (broadcast(bias, i) if start == BIAS else at(y, i * y_row)[j])
    for _ in range(terms):
        for j in range(J):
            wide[j] = b[j]
        for i in range(I):
            one = broadcast(five[i // 5], i % 5 * a_row)
            for j in range(J):
                s[i * J + j] = fma(one, wide[j], s[i * J + j])
        b = at(b, b_step)
        for i in range(3):
            five[i] = at(five[i], a_step)
    for i in range(I):
        for j in range(J):
            (<vec*> at(y, i * y_row))[j] = s[i * J + j]


cdef inline void rows_count(
    vec* y, Py_ssize_t y_row, const vec* bias, const vec* a, Py_ssize_t a_row, Py_ssize_t a_step, const vec* b, Py_ssize_t b_step,
    Py_ssize_t terms, Start start, int rows, const int J
) noexcept nogil:
    if rows == 1:
        rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 1, J)
    elif rows == 2:
        rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 2, J)
    elif rows == 3:
        rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 3, J)
    elif rows == 4:
        rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 4, J)
    elif rows == 5:
        rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 5, J)
    elif rows == 6:
        rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 6, J)
    if TILE > 6:
        if rows == 7:
            rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 7, J)
        elif rows == 8:
            rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 8, J)
        elif rows == 9:
            rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 9, J)
        elif rows == 10:
            rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 10, J)
        elif rows == 11:
            rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 11, J)
        elif rows == 12:
            rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 12, J)
        elif rows == 13:
            rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 13, J)
        elif rows == 14:
            rows_tile(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, 14, J)


cdef inline void rows_width(
    vec* y, Py_ssize_t y_row, const vec* bias, const vec* a, Py_ssize_t a_row, Py_ssize_t a_step, const vec* b, Py_ssize_t b_step,
    Py_ssize_t terms, Start start, int rows, int J
) noexcept nogil:
    if J == 2:
        rows_count(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, rows, 2)
    else:
        rows_count(y, y_row, bias, a, a_row, a_step, b, b_step, terms, start, rows, 1)


cdef inline void rows_any(
    real* y, Py_ssize_t y_row, const real* bias, const real* a, Py_ssize_t a_row, Py_ssize_t a_step, const real* b, Py_ssize_t b_step,
    Py_ssize_t terms, Start start, int rows, int J
) noexcept nogil:
    """y[i*y_row + v] = start + sum over t of a[i*a_row + t*a_step] * b[t*b_step + v]; i < rows <= TILE, v < J registers, J in 1..2."""
    if real is float:
        rows_width(<v32*> y, y_row, <const v32*> bias, <const v32*> a, a_row, a_step, <const v32*> b, b_step, terms, start, rows, J)
    else:
        rows_width(<v64*> y, y_row, <const v64*> bias, <const v64*> a, a_row, a_step, <const v64*> b, b_step, terms, start, rows, J)


cdef enum:
    LANE_BYTES = 64  # the virtual register of `dot`

# The largest tile of `dot`: sums, a column of b and one of a fit the registers.
cdef extern from *:
    """
    #if CC_BYTES == 64
      #define CC_DOT_I 4
      #define CC_DOT_J 6
    #elif CC_BYTES == 32 || CC_TILE > 6
      #define CC_DOT_I 2
      #define CC_DOT_J 3
    #else
      #define CC_DOT_I 1
      #define CC_DOT_J 3
    #endif
    """
    const int DOT_I "CC_DOT_I"
    const int DOT_J "CC_DOT_J"


cdef inline void dot_tile(
    vec* acc, Py_ssize_t si, Py_ssize_t sj, const vec* a, const int* ao, Py_ssize_t a_row,
    const vec* b, Py_ssize_t bs, Py_ssize_t b_row, Py_ssize_t rows, Py_ssize_t n, const int I, const int J
) noexcept nogil:
    cdef vec s[96]
    cdef vec bv[6]
    cdef vec av
    cdef Py_ssize_t p, _
    cdef int i, j, v, left
    cdef int width = L32 if vec is v32 else L64
    cdef int registers = LANE_BYTES // (width * (4 if vec is v32 else 8))  # of an accumulator
    cdef const vec* ap
    for i in range(I):
        for j in range(J):
            for v in range(registers):
                s[(i * J + j) * registers + v] = at(acc, i * si + j * sj + v * width)[0]
    for _ in range(rows):
        p = 0
        while p + registers * width <= n:
            for v in range(registers):
                for j in range(J):
                    bv[j] = at(b, j * bs + p + v * width)[0]
                for i in range(I):
                    av = at(a, ao[i] + p + v * width)[0]
                    for j in range(J):
                        s[(i * J + j) * registers + v] = fma(av, bv[j], s[(i * J + j) * registers + v])
            p += registers * width
        if p < n:
            for v in range(registers):
                left = max(0, min(width, <int> (n - p - v * width)))
                for j in range(J):
                    bv[j] = head(at(b, j * bs + p + v * width), left)
                for i in range(I):
                    ap = at(a, ao[i] + p + v * width)
                    av = head(ap, left)
                    for j in range(J):
                        s[(i * J + j) * registers + v] = fma(av, bv[j], s[(i * J + j) * registers + v])
        a = at(a, a_row)
        b = at(b, b_row)
    for i in range(I):
        for j in range(J):
            for v in range(registers):
                (<vec*> at(acc, i * si + j * sj + v * width))[0] = s[(i * J + j) * registers + v]


cdef inline void dot_columns(
    vec* acc, Py_ssize_t si, Py_ssize_t sj, const vec* a, const int* ao, Py_ssize_t a_row,
    const vec* b, Py_ssize_t bs, Py_ssize_t b_row, Py_ssize_t rows, Py_ssize_t n, const int I, int columns
) noexcept nogil:
    cdef Py_ssize_t j = 0
    while DOT_J >= 6 and columns - j >= 6:
        dot_tile(<vec*> at(acc, j * sj), si, sj, a, ao, a_row, at(b, j * bs), bs, b_row, rows, n, I, 6)
        j += 6
    while columns - j >= 3:
        dot_tile(<vec*> at(acc, j * sj), si, sj, a, ao, a_row, at(b, j * bs), bs, b_row, rows, n, I, 3)
        j += 3
    while columns - j >= 1:
        dot_tile(<vec*> at(acc, j * sj), si, sj, a, ao, a_row, at(b, j * bs), bs, b_row, rows, n, I, 1)
        j += 1


cdef inline void dot_block(
    vec* acc, Py_ssize_t si, Py_ssize_t sj, const vec* a, const int* ao, Py_ssize_t a_row,
    const vec* b, Py_ssize_t bs, Py_ssize_t b_row, Py_ssize_t rows, Py_ssize_t n, int I, int J
) noexcept nogil:
    cdef Py_ssize_t i = 0
    while DOT_I >= 4 and I - i >= 4:
        dot_columns(<vec*> at(acc, i * si), si, sj, a, ao + i, a_row, b, bs, b_row, rows, n, 4, J)
        i += 4
    while DOT_I >= 3 and I - i >= 3:
        dot_columns(<vec*> at(acc, i * si), si, sj, a, ao + i, a_row, b, bs, b_row, rows, n, 3, J)
        i += 3
    while DOT_I >= 2 and I - i >= 2:
        dot_columns(<vec*> at(acc, i * si), si, sj, a, ao + i, a_row, b, bs, b_row, rows, n, 2, J)
        i += 2
    while I - i >= 1:
        dot_columns(<vec*> at(acc, i * si), si, sj, a, ao + i, a_row, b, bs, b_row, rows, n, 1, J)
        i += 1


cdef inline void dot_any(
    real* acc, Py_ssize_t si, Py_ssize_t sj, const real* a, const int* ao, Py_ssize_t a_row,
    const real* b, Py_ssize_t bs, Py_ssize_t b_row, Py_ssize_t rows, Py_ssize_t n, int I, int J
) noexcept nogil:
    """acc[i*si + j*sj + lane] += sum over row < rows, p < n of a[ao[i] + row*a_row + p] * b[j*bs + row*b_row + p].

    Term p of a row goes to lane p mod (64 bytes); `lane_sum` adds the lanes.
    """
    if real is float:
        dot_block(<v32*> acc, si, sj, <const v32*> a, ao, a_row, <const v32*> b, bs, b_row, rows, n, I, J)
    else:
        dot_block(<v64*> acc, si, sj, <const v64*> a, ao, a_row, <const v64*> b, bs, b_row, rows, n, I, J)


cdef inline int virtual_lanes(const real* kind) noexcept nogil:
    return LANE_BYTES // <int> sizeof(real)


cdef inline real lane_sum(const real* acc) noexcept nogil:
    """The virtual lanes added as a tree: halves, quarters, ..."""
    cdef real half[8]
    cdef int i
    if real is float:
        for i in range(8):
            half[i] = acc[i] + acc[i + 8]
    else:
        for i in range(8):
            half[i] = acc[i]
    for i in range(4):
        half[i] += half[i + 4]
    half[0] += half[2]
    half[1] += half[3]
    return half[0] + half[1]
