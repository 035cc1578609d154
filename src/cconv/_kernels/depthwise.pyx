# Depthwise convolution: groups of one channel each. Nothing is summed over channels, so there is nothing to pack and little to
# keep: the kernels read the caller's rows where they lie, and lanes past either end of a row read as 0 (`take`).
#
#   correlate   forward, and the gradient to the input:  y[i, j] = bias + sum over r, s of w[r, s] * x[row(i, r), column(j, s)]
#   weight      gradient to the weight:                  dw[r, s] = sum over i, j of dy[i, j] * x[row(i, r), column(j, s)]
#
# Registers hold neighbouring columns of one row of y (or dy). A strip of such columns is walked down, row of x after row of x:
#
#   `slide`  (3x3, 5x5, 7x7)  a row of x is loaded once a shift s and serves all outputs above it that it reaches, whose sums are in
#                             registers: three loads for nine multiply-adds
#   `spread` (the gradient to the input through columns strided by 2)  even and odd columns together, to be stored side by side
#   `strip`  (all else)       output row by output row, tap by tap
#
# Both axes are described alike, by phases (`Axis`): the outputs of a phase share their taps, and output i's tap k reads position
# i*source_step + shift[k]. A forward pass has one phase; a gradient through a stride has one a remainder; rows of a dilated
# filter are put into phases so that a phase's taps are its neighbours. Rows that are not there are read from a row of zeros.
#
# The chain of a sum is rows of taps from the top, each from the left, as x lies; whole planes of filters one after the other.

from cython.parallel cimport prange, threadid
cimport numpy as cnp

from cconv._kernels.epilogue cimport rectify_registers
from cconv._kernels.simd cimport CC_SECOND, L32, L64, at, broadcast, cc_span, every_second, fma, head, put, real, span, splat, take, v32, v64, vec, weave
from cconv._kernels.tile cimport lane_sum, virtual_lanes

cnp.import_array()


cdef enum:
    WIDE = 4  # registers a strip
    FEW = 4  # taps of a row whose weight gradients are summed together


# As `Planes` in functional/_depthwise.py, field by field.
cdef struct Planes:
    Py_ssize_t planes  # of the result, in one image
    Py_ssize_t fan_in  # planes of the source that add up to one of the result
    Py_ssize_t fan_out  # planes of the result that one of the source feeds
    Py_ssize_t height  # of the source
    Py_ssize_t width
    Py_ssize_t out_height
    Py_ssize_t out_width
    Py_ssize_t kernel_columns
    Py_ssize_t taps  # of a filter
    Py_ssize_t row_phases
    Py_ssize_t column_phases
    Py_ssize_t band  # rows of outputs whose source stays in the first-level cache
    Py_ssize_t sliding  # side of a filter that slides, or 0
    Py_ssize_t spreading  # whether two phases of columns share the taps of such a filter
    Py_ssize_t backwards  # whether the first tap is the last of the weight
    Py_ssize_t together  # planes whose source stays in the first-level cache; 1 where a plane has several bands
    Py_ssize_t temporary  # numbers in one column phase of a row, whole registers; 0 where there is one phase


# Outputs first, first + step, ... of a row or a column; their taps are `taps` entries of the table, from `tap` on.
cdef struct Axis:
    Py_ssize_t first
    Py_ssize_t step
    Py_ssize_t outputs
    Py_ssize_t source_step
    Py_ssize_t tap
    Py_ssize_t taps
    Py_ssize_t unit  # source positions between the taps of a filter that slides


cdef struct Tap:
    Py_ssize_t index  # row or column of the weight
    Py_ssize_t shift


# Where a register of columns reads a row: at base, base + step, ..., of which lo..hi-1 (counted from base) lie in the row.
cdef struct Window:
    Py_ssize_t base
    Py_ssize_t lo
    Py_ssize_t hi
    cc_span low  # the same for one register, and for the next
    cc_span high


cdef inline int clamp(Py_ssize_t n, int high) noexcept nogil:
    return <int> max(<Py_ssize_t> 0, min(n, <Py_ssize_t> high))


cdef inline Window window(Py_ssize_t base, Py_ssize_t width, Py_ssize_t step, int n, vec kind) noexcept nogil:
    """Of n lanes, over a row of `width`."""
    cdef int L = L32 if vec is v32 else L64
    cdef Window w
    w.base = base
    w.lo = max(<Py_ssize_t> 0, -base)
    w.hi = min((n - 1) * step + 1, width - base)
    w.low = span(clamp(w.lo, L), clamp(w.hi, L), kind)
    w.high = span(clamp(w.lo - L, L), clamp(w.hi - L, L), kind)
    return w


cdef inline vec load(const vec* row, const Window* w, Py_ssize_t step, const int STEP, const bint EDGE) noexcept nogil:
    """A register of columns; at an EDGE, lanes outside the row or past the last column are 0."""
    cdef int L = L32 if vec is v32 else L64, k
    cdef bint inside
    cdef double few[8]  # 64 bytes
    cdef const vec* p = at(row, w.base)
    if STEP == 1:
        return take(p, w.low) if EDGE else p[0]
    if STEP == 2 and CC_SECOND:
        return every_second(take(p, w.low), take(at(p, L), w.high)) if EDGE else every_second(p[0], at(p, L)[0])
    for k in range(L):
        inside = not EDGE or w.lo <= k * step < w.hi
        if vec is v32:
            (<float*> few)[k] = (<const float*> p)[k * step] if inside else 0
        else:
            few[k] = (<const double*> p)[k * step] if inside else 0
    return (<const vec*> few)[0]


# --- forward, and the gradient to the input: filters that slide ---------------------------------------------


# Rows first, first + unit, ... of a plane, which hand themselves out one after the other.
cdef struct Rows:
    Py_ssize_t row
    Py_ssize_t unit
    Py_ssize_t height
    Py_ssize_t width


cdef inline const vec* row_of(const vec* source, const vec* zeros, Rows* rows) noexcept nogil:
    """The next row of a plane; of zeros where there is none."""
    cdef Py_ssize_t row = rows.row
    rows.row += rows.unit
    return at(source, row * rows.width) if 0 <= row < rows.height else zeros


cdef inline void slide_rows(
    vec* y, Py_ssize_t y_row, int n, const vec* source, const vec* zeros, Rows* rows, Py_ssize_t u, Py_ssize_t count, const Window* windows,
    const vec* w, vec* acc, vec start, bint more, const int K, const int S, const bint EDGE, const bint CHECKED
) noexcept nogil:
    """S rows of the source, for the outputs that they reach: u, u - 1, ... of `count`."""
    cdef int M = (K - 1) // S + 1
    cdef vec xv[7]
    cdef int b, m, s, r
    cdef vec* dst
    cdef const vec* row
    for b in range(S):
        row = row_of(source, zeros, rows)
        if CHECKED and u - (K - 1 - b) // S >= count:
            continue  # below the last output's taps
        for s in range(K):
            xv[s] = load(row, windows + s, S, S, EDGE)
        for m in range((K - 1 - b) // S + 1):
            r = S * m + b
            if not CHECKED or 0 <= u - m < count:
                if r == 0:
                    acc[0] = head(at(y, u * y_row), n) if more else start
                for s in range(K):
                    acc[m] = fma(w[r * K + s], xv[s], acc[m])
                if r == K - 1:
                    dst = <vec*> at(y, (u - m) * y_row)
                    if EDGE:
                        put(dst, acc[m], n)
                    else:
                        dst[0] = acc[m]
    for m in range(M - 1, 0, -1):
        acc[m] = acc[m - 1]


cdef inline void slide(
    vec* y, Py_ssize_t y_row, int n, const vec* source, const vec* zeros, Rows rows, Py_ssize_t count, const Window* windows, const vec* weight,
    Py_ssize_t backwards, vec start, bint more, const int K, const int S, const bint EDGE
) noexcept nogil:
    """One register of columns, `count` rows of one plane."""
    cdef int M = (K - 1) // S + 1
    cdef vec w[49]
    cdef vec acc[7]
    cdef Py_ssize_t u = 0
    cdef int k
    for k in range(K * K):
        w[k] = broadcast(weight, K * K - 1 - k) if backwards else broadcast(weight, k)
    for k in range(M):
        acc[k] = start
    while u < M - 1:
        slide_rows(y, y_row, n, source, zeros, &rows, u, count, windows, w, acc, start, more, K, S, EDGE, True)
        u += 1
    while u < count:
        slide_rows(y, y_row, n, source, zeros, &rows, u, count, windows, w, acc, start, more, K, S, EDGE, False)
        u += 1
    while u < count + M - 1:
        slide_rows(y, y_row, n, source, zeros, &rows, u, count, windows, w, acc, start, more, K, S, EDGE, True)
        u += 1


cdef inline void slide_planes(
    vec* y, const vec* x, const vec* weight, const vec* bias, const vec* zeros, const Planes* g, Py_ssize_t first, Py_ssize_t last,
    Py_ssize_t y_row, Rows rows, Py_ssize_t count, const Window* windows, int n, const int K, const int S, const bint EDGE
) noexcept nogil:
    """One register of columns of planes first..last-1."""
    cdef Py_ssize_t plane, q, p = first % g.planes, k
    cdef vec start = splat(0, zeros[0])
    cdef Window own[7]
    for k in range(K):
        own[k] = windows[k]
    for plane in range(first, last):
        if bias != NULL:
            start = broadcast(bias, p)
        for q in range(g.fan_in):
            k = plane // g.fan_out if g.fan_out > 1 else plane
            slide(<vec*> at(y, plane * g.out_height * g.out_width), y_row, n, at(x, (k * g.fan_in + q) * g.height * g.width), zeros, rows, count, own,
                  at(weight, (p * g.fan_in + q) * g.taps), g.backwards, start, q > 0, K, S, EDGE)
        p = p + 1 if p + 1 < g.planes else 0


cdef inline void slide_columns(
    vec* y, const vec* x, const vec* weight, const vec* bias, const vec* zeros, const Planes* g, Py_ssize_t first, Py_ssize_t last,
    Py_ssize_t y_row, const Rows* rows, Py_ssize_t count, const Axis* columns, const Tap* taps, const int K, const int S
) noexcept nogil:
    """A band of rows of planes first..last-1, register by register of columns: a register's windows are the same for all planes."""
    cdef int L = L32 if vec is v32 else L64, k, n
    cdef Window windows[7]
    cdef Py_ssize_t j = 0
    while j < columns.outputs:
        n = <int> min(<Py_ssize_t> L, columns.outputs - j)
        for k in range(K):
            windows[k] = window(j * S + taps[k].shift, g.width, S, n, zeros[0])
        if n == L and windows[0].base >= 0 and windows[K - 1].base + S * L <= g.width:
            slide_planes(<vec*> at(y, j), x, weight, bias, zeros, g, first, last, y_row, rows[0], count, windows, n, K, S, False)
        else:
            slide_planes(<vec*> at(y, j), x, weight, bias, zeros, g, first, last, y_row, rows[0], count, windows, n, K, S, True)
        j += L


cdef void slide_any(vec* y, const vec* x, const vec* weight, const vec* bias, const vec* zeros, const Planes* g, Py_ssize_t first, Py_ssize_t last,
                    Py_ssize_t y_row, const Rows* rows, Py_ssize_t count, const Axis* columns, const Tap* taps) noexcept nogil:
    if g.sliding == 3 and columns.source_step == 1:
        slide_columns(y, x, weight, bias, zeros, g, first, last, y_row, rows, count, columns, taps, 3, 1)
    elif g.sliding == 3:
        slide_columns(y, x, weight, bias, zeros, g, first, last, y_row, rows, count, columns, taps, 3, 2)
    elif g.sliding == 5 and columns.source_step == 1:
        slide_columns(y, x, weight, bias, zeros, g, first, last, y_row, rows, count, columns, taps, 5, 1)
    elif g.sliding == 5:
        slide_columns(y, x, weight, bias, zeros, g, first, last, y_row, rows, count, columns, taps, 5, 2)
    elif columns.source_step == 1:
        slide_columns(y, x, weight, bias, zeros, g, first, last, y_row, rows, count, columns, taps, 7, 1)
    else:
        slide_columns(y, x, weight, bias, zeros, g, first, last, y_row, rows, count, columns, taps, 7, 2)


cdef inline Rows band_rows(const Planes* g, const Axis* phase, const Tap* taps, Py_ssize_t first) noexcept nogil:
    """The source's rows from the first tap of a phase's output `first` on."""
    cdef Rows rows
    rows.row = first * phase.source_step + taps[phase.tap].shift
    rows.unit, rows.height, rows.width = phase.unit, g.height, g.width
    return rows


cdef void slide_block(vec* y, const vec* x, const vec* weight, const vec* bias, const vec* zeros, const Planes* g, const Axis* phases,
                      const Axis* columns, const Tap* taps, Py_ssize_t first, Py_ssize_t last, Py_ssize_t block, Py_ssize_t blocks) noexcept nogil:
    """One block of rows of planes first..last-1."""
    cdef Py_ssize_t f, i, end, count
    cdef const Axis* phase
    cdef Rows rows
    for f in range(g.row_phases):
        phase = phases + f
        i = phase.outputs * block // blocks
        end = phase.outputs * (block + 1) // blocks
        while i < end:
            count = min(g.band, end - i)
            rows = band_rows(g, phase, taps, i)
            slide_any(<vec*> at(y, (phase.first + i * phase.step) * g.out_width), x, weight, bias, zeros, g, first, last, phase.step * g.out_width,
                      &rows, count, columns, taps + columns.tap)
            i += count


# --- gradient to the input, columns strided by 2 ------------------------------------------------------------


cdef inline void spread(
    vec* y, Py_ssize_t y_row, Py_ssize_t left, const vec* source, const vec* zeros, const Planes* g, const Axis* rows, const Tap* taps,
    Py_ssize_t first, Py_ssize_t last, const Window* windows, const Tap* columns, const vec* weight, const int EVEN, const int ODD, const bint EDGE
) noexcept nogil:
    """Rows first..last-1 of two registers of columns, `left` of them in the row: even ones from EVEN taps, odd ones from ODD."""
    cdef int L = L32 if vec is v32 else L64, s
    cdef int low = <int> min(left, <Py_ssize_t> L), high = <int> max(<Py_ssize_t> 0, min(left - L, <Py_ssize_t> L))
    cdef vec even, odd
    cdef Py_ssize_t i, q, k, row
    cdef const vec* p
    cdef const vec* w
    for i in range(first, last):
        even = odd = splat(0, zeros[0])
        for q in range(g.fan_in):
            for k in range(rows.tap, rows.tap + rows.taps):
                row = i * rows.source_step + taps[k].shift
                p = at(source, (q * g.height + row) * g.width) if 0 <= row < g.height else zeros
                w = at(weight, q * g.taps + taps[k].index * g.kernel_columns)
                for s in range(EVEN):
                    even = fma(broadcast(w, columns[s].index), load(p, windows + s, 1, 1, EDGE), even)
                for s in range(EVEN, EVEN + ODD):
                    odd = fma(broadcast(w, columns[s].index), load(p, windows + s, 1, 1, EDGE), odd)
        if EDGE:
            put(y, weave(even, odd, 0), low)
            put(<vec*> at(y, L), weave(even, odd, 1), high)
        else:
            y[0] = weave(even, odd, 0)
            (<vec*> at(y, L))[0] = weave(even, odd, 1)
        y = <vec*> at(y, y_row)


cdef inline void spread_columns(vec* y, const vec* source, const vec* weight, const vec* zeros, const Planes* g, const Axis* rows, const Axis* columns,
                                const Tap* taps, Py_ssize_t first, Py_ssize_t last, const int EVEN, const int ODD) noexcept nogil:
    """Rows first..last-1 of one phase of one plane. The taps of both phases of columns lie next to each other in the table."""
    cdef int L = L32 if vec is v32 else L64, s
    cdef Py_ssize_t j = 0
    cdef Window windows[7]
    cdef Tap own[7]
    cdef bint edge
    for s in range(EVEN + ODD):
        own[s] = taps[columns.tap + s]
    while j < columns.outputs:
        edge = 2 * (j + L) > g.out_width
        for s in range(EVEN + ODD):
            windows[s] = window(j + own[s].shift, g.width, 1, clamp(columns[s >= EVEN].outputs - j, L), zeros[0])
            edge = edge or windows[s].lo > 0 or windows[s].hi < L
        if edge:
            spread(<vec*> at(y, 2 * j), rows.step * g.out_width, g.out_width - 2 * j, source, zeros, g, rows, taps, first, last, windows, own,
                   weight, EVEN, ODD, True)
        else:
            spread(<vec*> at(y, 2 * j), rows.step * g.out_width, g.out_width - 2 * j, source, zeros, g, rows, taps, first, last, windows, own,
                   weight, EVEN, ODD, False)
        j += L


cdef void spread_block(vec* y, const vec* source, const vec* weight, const vec* zeros, const Planes* g, const Axis* phases, const Axis* columns,
                       const Tap* taps, Py_ssize_t block, Py_ssize_t blocks) noexcept nogil:
    """One block of rows of one plane."""
    cdef Py_ssize_t f, first, last
    cdef const Axis* rows
    for f in range(g.row_phases):
        rows = phases + f
        first = rows.outputs * block // blocks
        last = rows.outputs * (block + 1) // blocks
        if columns.taps == 1:
            spread_columns(<vec*> at(y, (rows.first + first * rows.step) * g.out_width), source, weight, zeros, g, rows, columns, taps, first, last, 1, 2)
        elif columns.taps == 2 and columns[1].taps == 1:
            spread_columns(<vec*> at(y, (rows.first + first * rows.step) * g.out_width), source, weight, zeros, g, rows, columns, taps, first, last, 2, 1)
        elif columns.taps == 2 and columns[1].taps == 2:
            spread_columns(<vec*> at(y, (rows.first + first * rows.step) * g.out_width), source, weight, zeros, g, rows, columns, taps, first, last, 2, 2)
        elif columns.taps == 2:
            spread_columns(<vec*> at(y, (rows.first + first * rows.step) * g.out_width), source, weight, zeros, g, rows, columns, taps, first, last, 2, 3)
        elif columns.taps == 3 and columns[1].taps == 2:
            spread_columns(<vec*> at(y, (rows.first + first * rows.step) * g.out_width), source, weight, zeros, g, rows, columns, taps, first, last, 3, 2)
        elif columns.taps == 3:
            spread_columns(<vec*> at(y, (rows.first + first * rows.step) * g.out_width), source, weight, zeros, g, rows, columns, taps, first, last, 3, 4)
        else:
            spread_columns(<vec*> at(y, (rows.first + first * rows.step) * g.out_width), source, weight, zeros, g, rows, columns, taps, first, last, 4, 3)


# --- forward, and the gradient to the input: any filter -----------------------------------------------------


cdef inline void strip(
    vec* out, int n, const vec* source, const vec* zeros, Py_ssize_t row, const Planes* g, const Axis* rows, const Axis* columns, const Tap* taps,
    Py_ssize_t base, const vec* w, vec start, bint more, const int J, const int STEP, const bint EDGE
) noexcept nogil:
    """J registers of one row of outputs, from column `base` of the source on; the first n lanes at an EDGE."""
    cdef vec acc[4]
    cdef vec one
    cdef int L = L32 if vec is v32 else L64, v
    cdef Py_ssize_t k, s, q, step = columns.source_step
    cdef Window where
    cdef const vec* p
    for v in range(J):
        acc[v] = start
        if more:
            acc[v] = head(out, n) if EDGE else at(out, v * L)[0]
    for k in range(rows.tap, rows.tap + rows.taps):
        q = row + taps[k].shift
        p = at(source, q * g.width) if 0 <= q < g.height else zeros
        for s in range(columns.tap, columns.tap + columns.taps):
            one = broadcast(w, taps[k].index * g.kernel_columns + taps[s].index)
            if EDGE:
                where = window(base + taps[s].shift, g.width, step, n, start)
            else:
                where.base = base + taps[s].shift
            for v in range(J):
                acc[v] = fma(one, load(p, &where, step, STEP, EDGE), acc[v])
                where.base += L * step
    for v in range(J):
        if EDGE:
            put(out, acc[v], n)
        else:
            (<vec*> at(out, v * L))[0] = acc[v]


cdef inline void strips(vec* out, const vec* source, const vec* zeros, Py_ssize_t row, const Planes* g, const Axis* rows, const Axis* columns,
                        const Tap* taps, const vec* w, vec start, bint more, const int STEP) noexcept nogil:
    """One row of the outputs of one column phase."""
    cdef int L = L32 if vec is v32 else L64, n
    cdef Py_ssize_t j = 0, step = columns.source_step, left = 0, right = 0
    if columns.taps:
        left, right = taps[columns.tap].shift, taps[columns.tap + columns.taps - 1].shift
    while j < columns.outputs:
        n = <int> min(<Py_ssize_t> L, columns.outputs - j)
        if j * step + left >= 0 and j + WIDE * L <= columns.outputs and (j + WIDE * L) * step + right <= g.width:
            strip(<vec*> at(out, j), n, source, zeros, row, g, rows, columns, taps, j * step, w, start, more, WIDE, STEP, False)
            j += WIDE * L
        elif j * step + left >= 0 and n == L and (j + L) * step + right <= g.width:
            strip(<vec*> at(out, j), n, source, zeros, row, g, rows, columns, taps, j * step, w, start, more, 1, STEP, False)
            j += L
        else:
            strip(<vec*> at(out, j), n, source, zeros, row, g, rows, columns, taps, j * step, w, start, more, 1, STEP, True)
            j += L


cdef void strips_any(vec* out, const vec* source, const vec* zeros, Py_ssize_t row, const Planes* g, const Axis* rows, const Axis* columns,
                     const Tap* taps, const vec* w, vec start, bint more) noexcept nogil:
    if columns.source_step == 1:
        strips(out, source, zeros, row, g, rows, columns, taps, w, start, more, 1)
    elif columns.source_step == 2:
        strips(out, source, zeros, row, g, rows, columns, taps, w, start, more, 2)
    else:
        strips(out, source, zeros, row, g, rows, columns, taps, w, start, more, 0)


cdef inline void merge(vec* y, const vec* temporary, const Planes* g, const Axis* columns) noexcept nogil:
    """Column phases, each a row of its own, to the columns of y."""
    cdef int L = L32 if vec is v32 else L64, half
    cdef Py_ssize_t f, j = 0
    cdef const vec* odd = at(temporary, g.temporary)
    if g.column_phases == 2 and CC_SECOND:
        while j < g.out_width:
            for half in range(2):
                if j + L <= g.out_width:
                    (<vec*> at(y, j))[0] = weave(temporary[0], odd[0], half)
                elif j < g.out_width:
                    put(<vec*> at(y, j), weave(temporary[0], odd[0], half), <int> (g.out_width - j))
                j += L
            temporary = at(temporary, L)
            odd = at(odd, L)
        return
    for f in range(g.column_phases):
        for j in range(columns[f].outputs):
            if vec is v32:
                (<float*> y)[columns[f].first + j * columns[f].step] = (<const float*> temporary)[f * g.temporary + j]
            else:
                (<double*> y)[columns[f].first + j * columns[f].step] = (<const double*> temporary)[f * g.temporary + j]


cdef inline void strip_row(vec* y, const vec* source, const vec* weight, const vec* zeros, vec* temporary, vec start, const Planes* g,
                           const Axis* rows, const Axis* columns, const Tap* taps, Py_ssize_t row) noexcept nogil:
    """One row of one phase, from all planes that it sums."""
    cdef vec* out = y if g.column_phases == 1 else temporary
    cdef Py_ssize_t f, q
    for f in range(g.column_phases):
        for q in range(g.fan_in):
            strips_any(<vec*> at(out, f * g.temporary), at(source, q * g.height * g.width), zeros, row, g, rows, columns + f, taps,
                       at(weight, q * g.taps), start, q > 0)
    if g.column_phases > 1:
        merge(y, temporary, g, columns)


# --- the call -----------------------------------------------------------------------------------------------


cdef void strip_block(vec* y, const vec* source, const vec* weight, const vec* zeros, vec* temporary, vec start, const Planes* g, const Axis* phases,
                      const Axis* columns, const Tap* taps, Py_ssize_t block, Py_ssize_t blocks) noexcept nogil:
    """One block of rows of one plane of the result."""
    cdef Py_ssize_t f, i
    cdef const Axis* phase
    for f in range(g.row_phases):
        phase = phases + f
        for i in range(phase.outputs * block // blocks, phase.outputs * (block + 1) // blocks):
            strip_row(<vec*> at(y, (phase.first + i * phase.step) * g.out_width), source, weight, zeros, temporary, start, g, phase, columns, taps,
                      i * phase.source_step)


cdef void rectify_block(vec* y, const Planes* g, const Axis* phases, double top, Py_ssize_t block, Py_ssize_t blocks) noexcept nogil:
    """One block of rows of one plane of the result."""
    cdef Py_ssize_t f, i, end
    cdef const Axis* phase
    for f in range(g.row_phases):
        phase = phases + f
        i = phase.outputs * block // blocks
        end = phase.outputs * (block + 1) // blocks
        if phase.step == 1:
            rectify_registers(<vec*> at(y, (phase.first + i) * g.out_width), (end - i) * g.out_width, top)
            continue
        while i < end:
            rectify_registers(<vec*> at(y, (phase.first + i * phase.step) * g.out_width), g.out_width, top)
            i += 1


cdef void correlate_vectors(vec* y, const vec* x, const vec* weight, const vec* bias, const Planes* g, const Axis* rows, const Axis* columns,
                            const Tap* taps, const vec* zeros, vec* temporary, Py_ssize_t blocks, double top, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t unit = first, plane, p, done, end
    cdef vec start = splat(0, zeros[0])
    while unit < last:
        done = unit
        plane = unit // blocks
        if g.sliding:
            end = min(last, unit + g.together) if blocks == 1 else unit + 1
            slide_block(y, x, weight, bias, zeros, g, rows, columns, taps, plane, plane + end - unit, unit % blocks, blocks)
            unit = end
        elif g.spreading and CC_SECOND:
            spread_block(<vec*> at(y, plane * g.out_height * g.out_width), at(x, plane * g.fan_in * g.height * g.width),
                         at(weight, plane % g.planes * g.fan_in * g.taps), zeros, g, rows, columns, taps, unit % blocks, blocks)
            unit += 1
        else:
            p = plane % g.planes
            if bias != NULL:
                start = broadcast(bias, p)
            strip_block(<vec*> at(y, plane * g.out_height * g.out_width), at(x, plane // g.fan_out * g.fan_in * g.height * g.width),
                        at(weight, p * g.fan_in * g.taps), zeros, temporary, start, g, rows, columns, taps, unit % blocks, blocks)
            unit += 1
        if top:
            for p in range(done, unit):
                rectify_block(<vec*> at(y, p // blocks * g.out_height * g.out_width), g, rows, top, p % blocks, blocks)


cdef void correlate_range(real* y, const real* x, const real* weight, const real* bias, const Planes* g, const Axis* rows, const Axis* columns,
                          const Tap* taps, const real* zeros, real* temporary, Py_ssize_t blocks, double top, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Blocks first..last-1 of all planes' blocks."""
    if real is float:
        correlate_vectors(<v32*> y, <const v32*> x, <const v32*> weight, <const v32*> bias, g, rows, columns, taps, <const v32*> zeros,
                          <v32*> temporary, blocks, top, first, last)
    else:
        correlate_vectors(<v64*> y, <const v64*> x, <const v64*> weight, <const v64*> bias, g, rows, columns, taps, <const v64*> zeros,
                          <v64*> temporary, blocks, top, first, last)


cdef void run(real* y, const real* x, const real* weight, const real* bias, const Planes* g, const Axis* rows, const Axis* columns, const Tap* taps,
              real* scratch, Py_ssize_t planes, Py_ssize_t blocks, Py_ssize_t tasks, double top, int threads) noexcept nogil:
    cdef Py_ssize_t i, units = planes * blocks, zeros = (g.width + 15) // 16 * 16
    for i in range(zeros):
        scratch[i] = 0
    for i in prange(tasks, num_threads=threads, schedule="dynamic"):
        correlate_range(y, x, weight, bias, g, rows, columns, taps, scratch, scratch + zeros + threadid() * g.column_phases * g.temporary, blocks, top,
                        units * i // tasks, units * (i + 1) // tasks)


def correlate(cnp.ndarray y, cnp.ndarray x, cnp.ndarray weight, bias, cnp.ndarray fields, cnp.ndarray rows, cnp.ndarray columns, cnp.ndarray taps,
              cnp.ndarray scratch, Py_ssize_t blocks, Py_ssize_t tasks, double top, int threads):
    """y, or the part of it in 0..top, written. `scratch`: a row of zeros, then each thread's column phases. A plane is cut into blocks of rows, and all into tasks."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef void* b = NULL if bias is None else cnp.PyArray_DATA(bias)
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* wp = cnp.PyArray_DATA(weight)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef Planes* g = <Planes*> cnp.PyArray_DATA(fields)
    cdef Axis* rp = <Axis*> cnp.PyArray_DATA(rows)
    cdef Axis* cp = <Axis*> cnp.PyArray_DATA(columns)
    cdef Tap* tp = <Tap*> cnp.PyArray_DATA(taps)
    cdef Py_ssize_t planes = cnp.PyArray_DIM(y, 0) * cnp.PyArray_DIM(y, 1)
    with nogil:
        if single:
            run(<float*> yp, <float*> xp, <float*> wp, <float*> b, g, rp, cp, tp, <float*> sp, planes, blocks, tasks, top, threads)
        else:
            run(<double*> yp, <double*> xp, <double*> wp, <double*> b, g, rp, cp, tp, <double*> sp, planes, blocks, tasks, top, threads)


# --- gradient to the weight ---------------------------------------------------------------------------------
#
# The geometry is the forward pass's: `source` is x, `result` is dy. Each tap has 64 bytes of virtual lanes, as in `dot` of tile.pxd:
# column j goes to lane j mod (64 bytes), image after image, band after band, strip after strip, row after row. A filter's
# images are cut into `parts`, whose number depends on shapes alone; their sums are added in order.


cdef inline void sum_rows(vec* sums, vec* g, const vec* dy, Py_ssize_t dy_row, int n, const vec* x, const vec* zeros, Rows* rows, Py_ssize_t u,
                          Py_ssize_t count, const Window* windows, const int S, const bint EDGE, const bint CHECKED) noexcept nogil:
    """S rows of x, times the rows of dy that they meet: u, u - 1, ... of `count`."""
    cdef int M = 2 // S + 1, b, m, s, r
    cdef vec xv[3]
    cdef const vec* row
    if not CHECKED or u < count:
        g[0] = head(at(dy, u * dy_row), n) if EDGE else at(dy, u * dy_row)[0]
    for b in range(S):
        row = row_of(x, zeros, rows)
        if CHECKED and u - (2 - b) // S >= count:
            continue
        for s in range(3):
            xv[s] = load(row, windows + s, S, S, EDGE)
        for m in range((2 - b) // S + 1):
            r = S * m + b
            if not CHECKED or 0 <= u - m < count:
                for s in range(3):
                    sums[r * 3 + s] = fma(g[m], xv[s], sums[r * 3 + s])
    for m in range(M - 1, 0, -1):
        g[m] = g[m - 1]


cdef inline void sum_slide(vec* sums, const vec* dy, Py_ssize_t dy_row, int n, const vec* x, const vec* zeros, Rows rows, Py_ssize_t count,
                           const Window* windows, const int S, const bint EDGE) noexcept nogil:
    """All taps of a 3x3 filter over one register of columns, `count` rows."""
    cdef int M = 2 // S + 1, k
    cdef vec g[3]
    cdef Py_ssize_t u = 0
    for k in range(M):
        g[k] = sums[0]
    while u < M - 1:
        sum_rows(sums, g, dy, dy_row, n, x, zeros, &rows, u, count, windows, S, EDGE, True)
        u += 1
    while u < count:
        sum_rows(sums, g, dy, dy_row, n, x, zeros, &rows, u, count, windows, S, EDGE, False)
        u += 1
    while u < count + M - 1:
        sum_rows(sums, g, dy, dy_row, n, x, zeros, &rows, u, count, windows, S, EDGE, True)
        u += 1


cdef inline void sum_images(vec* acc, Py_ssize_t V, const vec* dy, Py_ssize_t dy_image, Py_ssize_t dy_row, int n, const vec* x, Py_ssize_t x_image,
                            const vec* zeros, const Rows* rows, Py_ssize_t count, const Window* windows, Py_ssize_t images, const int S,
                            const bint EDGE) noexcept nogil:
    """The same over several images, the sums in registers."""
    cdef vec sums[9]
    cdef Window own[3]
    cdef Py_ssize_t k
    for k in range(3):
        own[k] = windows[k]
    for k in range(9):
        sums[k] = at(acc, k * V)[0]
    for k in range(images):
        sum_slide(sums, at(dy, k * dy_image), dy_row, n, at(x, k * x_image), zeros, rows[0], count, own, S, EDGE)
    for k in range(9):
        (<vec*> at(acc, k * V))[0] = sums[k]


cdef inline void sum_columns(vec* acc, const vec* dy, const vec* x, const vec* zeros, const Planes* g, Py_ssize_t dy_row, const Rows* rows,
                             Py_ssize_t count, const Axis* columns, const Tap* taps, Py_ssize_t images, const int S) noexcept nogil:
    """A band of rows of several images, register by register of columns."""
    cdef int L = L32 if vec is v32 else L64, V = 16 if vec is v32 else 8, k, n
    cdef Window windows[3]
    cdef Py_ssize_t j = 0, dy_image = g.planes * g.out_height * g.out_width, x_image = g.planes // g.fan_out * g.height * g.width
    while j < columns.outputs:
        n = <int> min(<Py_ssize_t> L, columns.outputs - j)
        for k in range(3):
            windows[k] = window(j * S + taps[k].shift, g.width, S, n, zeros[0])
        if n == L and windows[0].base >= 0 and windows[2].base + S * L <= g.width:
            sum_images(<vec*> at(acc, j % V), V, at(dy, j), dy_image, dy_row, n, x, x_image, zeros, rows, count, windows, images, S, False)
        else:
            sum_images(<vec*> at(acc, j % V), V, at(dy, j), dy_image, dy_row, n, x, x_image, zeros, rows, count, windows, images, S, True)
        j += L


cdef inline void sum_few(vec* acc, Py_ssize_t V, const vec* dy, Py_ssize_t dy_row, int n, const vec* x, const vec* zeros, Py_ssize_t row, const Planes* g,
                         const Axis* rows, Py_ssize_t step, const Tap* taps, Py_ssize_t base, const int B, const int STEP, const bint EDGE) noexcept nogil:
    """B neighbouring taps of one row of a filter, over one register of columns and all rows of a phase."""
    cdef vec sums[4]
    cdef vec one
    cdef Window windows[4]
    cdef Py_ssize_t _
    cdef int k
    cdef const vec* p
    for k in range(B):
        sums[k] = at(acc, k * V)[0]
        windows[k] = window(base + taps[k].shift, g.width, step, n, sums[0])
    for _ in range(rows.outputs):
        p = at(x, row * g.width) if 0 <= row < g.height else zeros
        one = head(dy, n) if EDGE else dy[0]
        for k in range(B):
            sums[k] = fma(one, load(p, windows + k, step, STEP, EDGE), sums[k])
        dy = at(dy, dy_row)
        row += rows.source_step
    for k in range(B):
        (<vec*> at(acc, k * V))[0] = sums[k]


cdef inline void sum_taps(vec* acc, const vec* dy, const vec* x, const vec* zeros, const Planes* g, const Axis* rows, const Axis* columns,
                          const Tap* row_tap, const Tap* taps, const int B, const int STEP) noexcept nogil:
    """B neighbouring taps of one row of a filter, strip by strip."""
    cdef int L = L32 if vec is v32 else L64, V = 16 if vec is v32 else 8, n
    cdef Py_ssize_t j = 0, step = columns.source_step, dy_row = rows.step * g.out_width
    while j < columns.outputs:
        n = <int> min(<Py_ssize_t> L, columns.outputs - j)
        if n == L and j * step + taps[0].shift >= 0 and (j + L) * step + taps[B - 1].shift <= g.width:
            sum_few(<vec*> at(acc, j % V), V, at(dy, j), dy_row, n, x, zeros, row_tap.shift, g, rows, step, taps, j * step, B, STEP, False)
        else:
            sum_few(<vec*> at(acc, j % V), V, at(dy, j), dy_row, n, x, zeros, row_tap.shift, g, rows, step, taps, j * step, B, STEP, True)
        j += L


cdef inline void sum_steps(vec* acc, const vec* dy, const vec* x, const vec* zeros, const Planes* g, const Axis* rows, const Axis* columns, const Tap* row_tap,
                           const Tap* taps, const int B) noexcept nogil:
    if columns.source_step == 1:
        sum_taps(acc, dy, x, zeros, g, rows, columns, row_tap, taps, B, 1)
    elif columns.source_step == 2:
        sum_taps(acc, dy, x, zeros, g, rows, columns, row_tap, taps, B, 2)
    else:
        sum_taps(acc, dy, x, zeros, g, rows, columns, row_tap, taps, B, 0)


cdef void sum_any(vec* acc, const vec* dy, const vec* x, const vec* zeros, const Planes* g, const Axis* rows, const Axis* columns, const Tap* taps) noexcept nogil:
    """All taps of one phase of rows, of any filter."""
    cdef int V = 16 if vec is v32 else 8
    cdef Py_ssize_t k, s, left
    cdef const Tap* row_tap
    for k in range(rows.taps):
        row_tap = taps + rows.tap + k
        s = 0
        while s < columns.taps:
            left = columns.taps - s
            if left >= FEW:
                sum_steps(<vec*> at(acc, (k * columns.taps + s) * V), dy, x, zeros, g, rows, columns, row_tap, taps + columns.tap + s, 4)
            elif left == 3:
                sum_steps(<vec*> at(acc, (k * columns.taps + s) * V), dy, x, zeros, g, rows, columns, row_tap, taps + columns.tap + s, 3)
            elif left == 2:
                sum_steps(<vec*> at(acc, (k * columns.taps + s) * V), dy, x, zeros, g, rows, columns, row_tap, taps + columns.tap + s, 2)
            else:
                sum_steps(<vec*> at(acc, (k * columns.taps + s) * V), dy, x, zeros, g, rows, columns, row_tap, taps + columns.tap + s, 1)
            s += FEW


cdef void sum_part(vec* acc, const vec* dy, const vec* x, const vec* zeros, const Planes* g, const Axis* phases, const Axis* columns, const Tap* taps,
                   Py_ssize_t images) noexcept nogil:
    """One filter's sums over some images."""
    cdef Py_ssize_t f, i, n = 0, count, together, dy_image = g.planes * g.out_height * g.out_width, x_image = g.planes // g.fan_out * g.height * g.width
    cdef const Axis* phase
    cdef Rows rows
    while n < images:
        together = min(g.together, images - n)
        for f in range(g.row_phases):
            phase = phases + f
            if g.sliding != 3:
                for i in range(n, n + together):
                    sum_any(acc, at(dy, i * dy_image + phase.first * g.out_width), at(x, i * x_image), zeros, g, phase, columns, taps)
                continue
            i = 0
            while i < phase.outputs:
                count = min(g.band, phase.outputs - i)
                rows = band_rows(g, phase, taps, i)
                if columns.source_step == 1:
                    sum_columns(acc, at(dy, n * dy_image + (phase.first + i * phase.step) * g.out_width), at(x, n * x_image), zeros, g,
                                phase.step * g.out_width, &rows, count, columns, taps + columns.tap, together, 1)
                else:
                    sum_columns(acc, at(dy, n * dy_image + (phase.first + i * phase.step) * g.out_width), at(x, n * x_image), zeros, g,
                                phase.step * g.out_width, &rows, count, columns, taps + columns.tap, together, 2)
                i += count
        n += together


cdef void weight_range(real* sums, const real* dy, const real* x, const Planes* g, const Axis* rows, const Axis* columns, const Tap* taps,
                       const real* zeros, real* acc, Py_ssize_t images, Py_ssize_t parts, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Filters and parts of the images, first..last-1 of them all, filter by filter in each part."""
    cdef Py_ssize_t unit, k, n, count, t, V = virtual_lanes(sums), channels = g.planes // g.fan_out
    for unit in range(first, last):
        k = unit % g.planes
        n = images * (unit // g.planes) // parts
        count = images * (unit // g.planes + 1) // parts - n
        for t in range(g.taps * V):
            acc[t] = 0
        if real is float:
            sum_part(<v32*> acc, <const v32*> (dy + (n * g.planes + k) * g.out_height * g.out_width),
                     <const v32*> (x + (n * channels + k // g.fan_out) * g.height * g.width), <const v32*> zeros, g, rows, columns, taps, count)
        else:
            sum_part(<v64*> acc, <const v64*> (dy + (n * g.planes + k) * g.out_height * g.out_width),
                     <const v64*> (x + (n * channels + k // g.fan_out) * g.height * g.width), <const v64*> zeros, g, rows, columns, taps, count)
        for t in range(g.taps):
            sums[unit * g.taps + t] = lane_sum(acc + t * V)


cdef void run_weight(real* grad_weight, const real* dy, const real* x, const Planes* g, const Axis* rows, const Axis* columns, const Tap* taps,
                     real* scratch, Py_ssize_t images, Py_ssize_t parts, Py_ssize_t tasks, int threads) noexcept nogil:
    cdef Py_ssize_t i, part, size = g.planes * g.taps, units = g.planes * parts, zeros = (g.width + 15) // 16 * 16
    cdef real* sums = scratch + zeros + threads * g.taps * virtual_lanes(scratch)
    for i in range(zeros):
        scratch[i] = 0
    if parts == 1:
        sums = grad_weight
    for i in prange(tasks, num_threads=threads, schedule="dynamic"):
        weight_range(sums, dy, x, g, rows, columns, taps, scratch, scratch + zeros + threadid() * g.taps * virtual_lanes(scratch), images, parts,
                     units * i // tasks, units * (i + 1) // tasks)
    if parts > 1:
        for i in range(size):
            grad_weight[i] = sums[i]
            for part in range(1, parts):
                grad_weight[i] += sums[part * size + i]


def weight(cnp.ndarray grad_weight, cnp.ndarray grad_y, cnp.ndarray x, cnp.ndarray fields, cnp.ndarray rows, cnp.ndarray columns, cnp.ndarray taps,
           cnp.ndarray scratch, Py_ssize_t parts, Py_ssize_t tasks, int threads):
    """grad_weight, written. `scratch`: a row of zeros, each thread's virtual lanes, and the sums of the parts where there are several."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef void* wp = cnp.PyArray_DATA(grad_weight)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef Planes* g = <Planes*> cnp.PyArray_DATA(fields)
    cdef Axis* rp = <Axis*> cnp.PyArray_DATA(rows)
    cdef Axis* cp = <Axis*> cnp.PyArray_DATA(columns)
    cdef Tap* tp = <Tap*> cnp.PyArray_DATA(taps)
    cdef Py_ssize_t images = cnp.PyArray_DIM(x, 0)
    with nogil:
        if single:
            run_weight(<float*> wp, <float*> yp, <float*> xp, g, rp, cp, tp, <float*> sp, images, parts, tasks, threads)
        else:
            run_weight(<double*> wp, <double*> yp, <double*> xp, g, rp, cp, tp, <double*> sp, images, parts, tasks, threads)
