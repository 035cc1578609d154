# Convolution in all three directions, by filter taps over one padded image: no im2col copy of the batch.
#
#   correlate         forward, and the gradient to the input (the same sum over another table of taps)
#   input_by_taps     gradient to the input, small planes without padding: a product for each tap, then added where the taps fall
#   weight_by_outer   gradient to the weight, many filters: outer products of dy and x, position by position
#   weight_by_dot     gradient to the weight, few filters: dot products along rows
#   sum_planes        gradient to the bias
#
# A *tap* is one (channel, row, column) of the filter. Its image is copied once into a zero-padded buffer, split into
# stride x stride phases, so that a tap is one offset and neighbouring outputs are neighbours in memory:
#
#   y[m, i, j] = bias[m] + sum over t of packed[places[t]][m] * buffer[offsets[t] + i*row_step + j]
#
# The tables (offsets, places, phases) are made in functional/_conv_plan.py, once a shape. Sums run over t in order, a chain of
# fused multiply-adds each; which side of the product is the vector changes no bit.

from cython.parallel cimport prange, threadid
cimport numpy as cnp

from cconv._kernels.epilogue cimport rectify
from cconv._kernels.pack cimport clear, copy, copy_steps, inside, set_all, transpose
from cconv._kernels.simd cimport L32, L64, TILE, at, between, head, lanes, put, real, splat, v32, v64, vec
from cconv._kernels.tile cimport dot_any, lane_sum, outer_any, tile_rows, virtual_lanes

cnp.import_array()


cdef enum:
    TERMS = 128  # taps a pass: their packed weights (16 KB) stay in the first-level cache
    POSITIONS = 192  # positions a pass: their sums do too
    GATHERED = 256  # positions a pass of the gradient to the weight, of one image or of several
    CHANNELS = 16  # channels whose weight gradients are put in place together: a line of the result
    SMALL = 1 << 17  # numbers that one thread copies or adds up before another is awake


# As `Geometry` in functional/_conv_plan.py, field by field.
cdef struct Geometry:
    Py_ssize_t groups
    Py_ssize_t channels  # of one group, in the source image
    Py_ssize_t height  # of the source image
    Py_ssize_t width
    Py_ssize_t top  # zeros before the first row and column
    Py_ssize_t left
    Py_ssize_t stride_h  # phases of the buffer
    Py_ssize_t stride_w
    Py_ssize_t rows  # of one phase's plane
    Py_ssize_t columns
    Py_ssize_t copied  # 0: nothing to pad or split, taps read the caller's array
    Py_ssize_t buffer  # numbers in the buffer of one group of one image, a tail of zeros included
    Py_ssize_t row_step  # buffer numbers between output rows
    Py_ssize_t reach  # phase rows below an output's own that its taps read
    Py_ssize_t outputs  # of one group
    Py_ssize_t output_step  # weight numbers between outputs
    Py_ssize_t group_weights  # weight numbers between groups
    Py_ssize_t terms  # taps, all panels together
    Py_ssize_t run  # so many taps in a row lie next to each other in the weight
    Py_ssize_t panels
    Py_ssize_t phases
    Py_ssize_t out_rows  # of the tallest phase of the result
    Py_ssize_t out_plane  # numbers between channels of the result


# Weights that are packed together: `terms` taps, from `first` in the table of sources and in the packed weights.
cdef struct Panel:
    Py_ssize_t first
    Py_ssize_t terms


# Outputs that share their taps: rows begin..end-1 of one phase of the result, at start + i*row + j*column.
cdef struct Phase:
    Py_ssize_t first  # tap, in the tables of offsets and of places
    Py_ssize_t terms
    Py_ssize_t panel
    Py_ssize_t begin
    Py_ssize_t end
    Py_ssize_t columns
    Py_ssize_t start
    Py_ssize_t row
    Py_ssize_t column


cdef void outer(real* acc, Py_ssize_t stride, const real* x, const real* w, const int* xo, const int* wo, Py_ssize_t terms, int rows, int J,
                bint fresh) noexcept nogil:
    outer_any(acc, stride, x, w, xo, wo, terms, rows, J, 1, fresh)


cdef void dot(real* acc, Py_ssize_t si, Py_ssize_t sj, const real* a, const int* ao, Py_ssize_t a_row, const real* b, Py_ssize_t bs, Py_ssize_t b_row,
              Py_ssize_t rows, Py_ssize_t n, int I, int J) noexcept nogil:
    dot_any(acc, si, sj, a, ao, a_row, b, bs, b_row, rows, n, I, J)


cdef void fill(real* buffer, const real* x, const Geometry* g, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Rows first..last-1 of every phase plane: the padded image, split."""
    cdef Py_ssize_t c, a, b, _, row, low, high, end
    cdef real* dst
    cdef const real* src
    for b in range(g.stride_w):
        inside(b - g.left, g.stride_w, g.width, g.columns, &low, &high)
        for c in range(g.channels):
            for a in range(g.stride_h):
                dst = buffer + (((c * g.stride_h + a) * g.stride_w + b) * g.rows + first) * g.columns
                row = first * g.stride_h + a - g.top
                src = x + (c * g.height + row) * g.width + b - g.left
                for _ in range(first, last):
                    if 0 <= row < g.height:
                        set_all(dst, low, <real> 0)
                        copy_steps(dst + low, src + low * g.stride_w, g.stride_w, high - low)
                        set_all(dst + high, g.columns - high, <real> 0)
                    else:
                        clear(dst, g.columns)
                    dst += g.columns
                    row += g.stride_h
                    src += g.stride_h * g.width
    end = g.channels * g.stride_h * g.stride_w * g.rows * g.columns
    clear(buffer + end, g.buffer - end)


# --- vectors along output channels --------------------------------------------------------------------------


cdef void pack_block(real* dst, const real* weight, const int* sources, const Geometry* g, const Panel* panel, Py_ssize_t m0, Py_ssize_t wide) noexcept nogil:
    """dst[t*wide + m] = weight of output m0 + m at tap t; zero past the last output."""
    cdef Py_ssize_t t = 0, run, count = min(wide, g.outputs - m0)
    if count < wide:
        clear(dst, panel.terms * wide)
    if g.output_step == 1:  # a 1x1 filter's weights for neighbouring outputs lie as they are wanted
        for t in range(panel.terms):
            copy(dst + t * wide, weight + sources[panel.first + t] + m0, count)
        return
    while t < panel.terms:
        run = min(g.run, panel.terms - t)
        transpose(weight + sources[panel.first + t] + m0 * g.output_step, g.output_step, count, run, dst + t * wide, wide)
        t += run


cdef void put_channels(real* y, const real* acc, Py_ssize_t wide, const Geometry* g, const Phase* phase, Py_ssize_t count,
                       Py_ssize_t r0, Py_ssize_t r1, Py_ssize_t c0, Py_ssize_t c1) noexcept nogil:
    """Sums [position][channel] to the result [channel][position]."""
    cdef Py_ssize_t row, j, m, n = c1 - c0
    cdef real* dst
    if phase.column == 1 and (phase.row == n or r1 - r0 == 1):
        transpose(acc, wide, (r1 - r0) * n, count, y + phase.start + r0 * phase.row + c0, g.out_plane)
    elif phase.column == 1:
        for row in range(r0, r1):
            transpose(acc + (row - r0) * n * wide, wide, n, count, y + phase.start + row * phase.row + c0, g.out_plane)
    else:
        for row in range(r0, r1):
            for m in range(count):
                dst = y + m * g.out_plane + phase.start + row * phase.row + c0 * phase.column
                for j in range(n):
                    dst[j * phase.column] = acc[((row - r0) * n + j) * wide + m]


cdef void channels_pass(real* y, const real* x, const real* packed, const real* bias, const int* offsets, const int* places,
                        const Geometry* g, const Phase* phase,
                        Py_ssize_t m0, Py_ssize_t wide, int J, real* acc, Py_ssize_t r0, Py_ssize_t r1, Py_ssize_t c0, Py_ssize_t c1,
                        double top) noexcept nogil:
    """Outputs m0 .. m0+wide-1 at rows r0..r1-1, columns c0..c1-1 of one phase."""
    cdef int steps[TERMS]
    cdef Py_ssize_t p, t, i, terms, row, j, n = c1 - c0
    cdef Py_ssize_t tiles = (n + tile_rows(J) - 1) // tile_rows(J), k
    cdef Py_ssize_t count = min(wide, g.outputs - m0)
    clear(acc, (r1 - r0) * n * wide)
    if bias != NULL:
        for p in range((r1 - r0) * n):
            copy(acc + p * wide, bias + m0, count)
    t = 0
    while t < phase.terms:
        terms = min(<Py_ssize_t> TERMS, phase.terms - t)
        for i in range(terms):
            steps[i] = <int> (places[phase.first + t + i] * wide)
        for row in range(r0, r1):
            for k in range(tiles):  # tiles of nearly one size: 2 x 8 for 16, rather than 14 + 2
                j = n * k // tiles
                outer(acc + ((row - r0) * n + j) * wide, wide, x + row * g.row_step + c0 + j, packed,
                      offsets + phase.first + t, steps, terms, <int> (n * (k + 1) // tiles - j), J, False)
        t += terms
    if top:
        rectify(acc, (r1 - r0) * n * wide, top)
    put_channels(y + m0 * g.out_plane, acc, wide, g, phase, count, r0, r1, c0, c1)


cdef void channels_rows(real* y, const real* x, const real* packed, const real* bias, const int* offsets, const int* places,
                        const Geometry* g, const Phase* phase,
                        Py_ssize_t m0, Py_ssize_t wide, int J, real* acc, Py_ssize_t i0, Py_ssize_t i1, double top) noexcept nogil:
    """Rows i0..i1-1 in passes of about POSITIONS positions."""
    cdef Py_ssize_t r = i0, c, rows, columns
    rows = max(1, POSITIONS // phase.columns)
    columns = phase.columns if rows > 1 else POSITIONS
    while r < i1:
        rows = min(rows, i1 - r)
        c = 0
        while c < phase.columns:
            channels_pass(y, x, packed, bias, offsets, places, g, phase, m0, wide, J, acc, r, r + rows, c, min(c + columns, phase.columns),
                          top)
            c += columns
        r += rows


# --- vectors along positions --------------------------------------------------------------------------------


cdef void positions_pass(real* y, const real* x, const real* packed, const real* bias, const int* offsets, const int* places,
                         const Geometry* g, const Phase* phase,
                         real* acc, Py_ssize_t r0, Py_ssize_t r1, double top) noexcept nogil:
    """All outputs at rows r0..r1-1. Positions run on over row ends: the columns between rows are computed and dropped."""
    cdef int steps[TERMS]
    cdef Py_ssize_t M = g.outputs, wide = lanes(acc), t, i, terms, m, k, v, j, row
    cdef Py_ssize_t registers = ((r1 - r0 - 1) * g.row_step + phase.columns + wide - 1) // wide
    cdef Py_ssize_t n = registers * wide
    cdef Py_ssize_t tiles = (M + tile_rows(3) - 1) // tile_rows(3)
    cdef int J
    cdef real* dst
    cdef const real* src
    for m in range(M):
        for j in range(n):
            acc[m * n + j] = 0 if bias == NULL else bias[m]
    t = 0
    while t < phase.terms:
        terms = min(<Py_ssize_t> TERMS, phase.terms - t)
        for i in range(terms):
            steps[i] = <int> (places[phase.first + t + i] * M)
        v = 0
        while v < registers:
            J = <int> min(3, registers - v)
            if registers - v == 4:
                J = 2
            for k in range(tiles):
                m = M * k // tiles
                outer(acc + m * n + v * wide, n, packed + m, x + r0 * g.row_step + v * wide,
                      steps, offsets + phase.first + t, terms, <int> (M * (k + 1) // tiles - m), J, False)
            v += J
        t += terms
    if top:
        rectify(acc, M * n, top)
    for m in range(M):
        for row in range(r0, r1):
            dst = y + m * g.out_plane + phase.start + row * phase.row
            src = acc + m * n + (row - r0) * g.row_step
            if phase.column == 1:
                copy(dst, src, phase.columns)
            else:
                for j in range(phase.columns):
                    dst[j * phase.column] = src[j]


# --- the call -----------------------------------------------------------------------------------------------


cdef Py_ssize_t padded_outputs(const real* kind, const Geometry* g, bint along_channels) noexcept nogil:
    """Outputs of a group as the packed weights count them: whole registers of channels."""
    if along_channels:
        return (g.outputs + lanes(kind) - 1) // lanes(kind) * lanes(kind)
    return g.outputs


cdef void pack(real* packed, const real* weight, const int* sources, const Geometry* g, const Panel* panels, bint along_channels,
               Py_ssize_t index) noexcept nogil:
    """Weights of one group and one block of outputs, all panels, in the order in which tiles read them."""
    cdef Py_ssize_t padded = padded_outputs(packed, g, along_channels)
    cdef Py_ssize_t wide = 2 * lanes(packed) if along_channels else padded
    cdef Py_ssize_t blocks = (padded + wide - 1) // wide
    cdef Py_ssize_t group = index // blocks, m0 = index % blocks * wide, f
    packed += group * g.terms * padded
    weight += group * g.group_weights
    wide = min(wide, padded - m0)
    for f in range(g.panels):
        pack_block(packed + panels[f].first * padded + panels[f].terms * m0, weight, sources, g, panels + f, m0, wide)


cdef void task(real* y, const real* x, const real* packed, const real* bias, const int* offsets, const int* places, const Geometry* g,
               const Panel* panels, const Phase* phases, bint along_channels, Py_ssize_t images, Py_ssize_t chunk, Py_ssize_t row_blocks,
               Py_ssize_t splits, Py_ssize_t pass_rows, double top, real* buffers, Py_ssize_t index) noexcept nogil:
    """A chunk of images, one group, one block of rows, one range of outputs. Each block of weights meets the whole
    chunk while it is in cache."""
    cdef Py_ssize_t padded = padded_outputs(y, g, along_channels)
    cdef Py_ssize_t wide = 2 * lanes(y) if along_channels else padded
    cdef Py_ssize_t blocks = (padded + wide - 1) // wide
    cdef Py_ssize_t split = index % splits
    cdef Py_ssize_t block = index // splits % row_blocks
    cdef Py_ssize_t group = index // splits // row_blocks % g.groups
    cdef Py_ssize_t n0 = index // splits // row_blocks // g.groups * chunk
    cdef Py_ssize_t n1 = min(n0 + chunk, images)
    cdef Py_ssize_t i0 = g.out_rows * block // row_blocks, i1 = g.out_rows * (block + 1) // row_blocks
    cdef Py_ssize_t n, f, k, i, r, m0, width, begin, end
    cdef const real* image
    cdef const real* weights
    cdef const Phase* phase
    cdef const Panel* panel
    cdef real* acc = buffers + chunk * g.buffer if g.copied else buffers
    packed += group * g.terms * padded
    if bias != NULL:
        bias += group * g.outputs
    if g.copied:
        for n in range(n0, n1):
            image = x + (n * g.groups + group) * g.channels * g.height * g.width
            fill(buffers + (n - n0) * g.buffer, image, g, i0, min(g.rows, i1 + g.reach))
    for f in range(g.phases):
        phase = phases + f
        panel = panels + phase.panel
        begin = max(i0, phase.begin)
        end = min(i1, phase.end)
        if begin >= end or phase.columns == 0:
            continue
        for k in range(blocks * split // splits, blocks * (split + 1) // splits):
            m0 = k * wide
            width = min(wide, padded - m0)
            weights = packed + panel.first * padded + panel.terms * m0
            for n in range(n0, n1):
                if g.copied:
                    image = buffers + (n - n0) * g.buffer
                else:
                    image = x + (n * g.groups + group) * g.channels * g.height * g.width
                if along_channels:
                    channels_rows(y + (n * g.groups + group) * g.outputs * g.out_plane, image, weights, bias, offsets, places, g, phase,
                                  m0, width, <int> (width // lanes(y)), acc, begin, end, top)
                else:
                    for i in range((end - begin + pass_rows - 1) // pass_rows):
                        r = begin + i * pass_rows
                        positions_pass(y + (n * g.groups + group) * g.outputs * g.out_plane, image, weights, bias, offsets, places, g, phase,
                                       acc, r, min(r + pass_rows, end), top)


cdef void run(real* y, const real* x, const real* weight, const real* bias, const int* offsets, const int* places, const int* sources,
              const Geometry* g, const Panel* panels, const Phase* phases, real* scratch, Py_ssize_t per_thread, bint along_channels,
              Py_ssize_t images, Py_ssize_t chunk, Py_ssize_t row_blocks, Py_ssize_t splits, Py_ssize_t pass_rows, double top, int threads) noexcept nogil:
    cdef Py_ssize_t padded = padded_outputs(y, g, along_channels)
    cdef Py_ssize_t blocks = (padded + 2 * lanes(y) - 1) // (2 * lanes(y)) if along_channels else 1
    cdef Py_ssize_t tasks = (images + chunk - 1) // chunk * g.groups * row_blocks * splits
    cdef Py_ssize_t i
    cdef real* buffers = scratch + (g.groups * g.terms * padded + 15) // 16 * 16
    # Few weights are packed sooner by the calling thread than by waking another.
    for i in prange(g.groups * blocks, num_threads=threads if g.groups * g.terms * padded > SMALL else 1, schedule="static"):
        pack(scratch, weight, sources, g, panels, along_channels, i)
    for i in prange(tasks, num_threads=threads, schedule="dynamic"):
        task(y, x, scratch, bias, offsets, places, g, panels, phases, along_channels, images, chunk, row_blocks, splits, pass_rows,
             top, buffers + threadid() * per_thread, i)


def correlate(cnp.ndarray y, cnp.ndarray x, cnp.ndarray weight, bias, cnp.ndarray offsets, cnp.ndarray places, cnp.ndarray sources,
              cnp.ndarray geometry, cnp.ndarray panels, cnp.ndarray phases, cnp.ndarray scratch, Py_ssize_t per_thread, bint along_channels,
              Py_ssize_t chunk, Py_ssize_t row_blocks,
              Py_ssize_t splits, Py_ssize_t pass_rows, double top, int threads):
    """y from x and weight by the tables of a plan, or the part of it in 0..top; `scratch` holds the packed weights and `per_thread` numbers a thread."""
    cdef void* b = cnp.PyArray_DATA(bias) if bias is not None else NULL
    cdef bint single = cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* wp = cnp.PyArray_DATA(weight)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef int* op = <int*> cnp.PyArray_DATA(offsets)
    cdef int* lp = <int*> cnp.PyArray_DATA(places)
    cdef int* qp = <int*> cnp.PyArray_DATA(sources)
    cdef Geometry* g = <Geometry*> cnp.PyArray_DATA(geometry)
    cdef Panel* tp = <Panel*> cnp.PyArray_DATA(panels)
    cdef Phase* fp = <Phase*> cnp.PyArray_DATA(phases)
    cdef Py_ssize_t images = cnp.PyArray_DIM(x, 0)
    with nogil:
        if single:
            run(<float*> yp, <float*> xp, <float*> wp, <float*> b, op, lp, qp, g, tp, fp, <float*> sp, per_thread, along_channels, images,
                chunk, row_blocks, splits, pass_rows, top, threads)
        else:
            run(<double*> yp, <double*> xp, <double*> wp, <double*> b, op, lp, qp, g, tp, fp, <double*> sp, per_thread, along_channels, images,
                chunk, row_blocks, splits, pass_rows, top, threads)


# --- gradient to the input: tap by tap ----------------------------------------------------------------------
#
#   products[r, s, p] = sum over k of weight[k, c, r, s] * grad_y[k, p]       a matrix product: the weights are read as they lie
#   grad_x[c, i + r - top, j + s - left] = sum over s, r of products[r, s, (i, j)]
#
# No number is multiplied by a zero around grad_y, of which `correlate` has more the smaller grad_y is next to x. Stride 1 alone.
# The products of one channel stay in the first- or second-level cache.


# As `TapsGeometry` in functional/_conv_plan.py.
cdef struct TapsGeometry:
    Py_ssize_t groups
    Py_ssize_t channels  # of one group
    Py_ssize_t filters  # of one group
    Py_ssize_t height
    Py_ssize_t width
    Py_ssize_t top
    Py_ssize_t left
    Py_ssize_t out_rows
    Py_ssize_t out_columns
    Py_ssize_t kernel_h
    Py_ssize_t kernel_w
    Py_ssize_t dilation_h
    Py_ssize_t dilation_w


cdef void tap_products(real* products, const real* grad_y, Py_ssize_t step, const real* weight, Py_ssize_t wide, const TapsGeometry* g) noexcept nogil:
    """products[tap*wide + p] of one channel; grad_y's planes are `step` apart."""
    cdef int xo[TERMS]
    cdef int wo[TERMS]
    cdef Py_ssize_t taps = g.kernel_h * g.kernel_w, L = lanes(products), k, v, i, tile, terms
    cdef Py_ssize_t passes = (g.filters + TERMS - 1) // TERMS, k_pass
    cdef Py_ssize_t tiles = (taps + tile_rows(2) - 1) // tile_rows(2)
    cdef int J
    for k in range(min(<Py_ssize_t> TERMS, g.filters)):
        xo[k] = <int> (k * g.channels * taps)
        wo[k] = <int> (k * step)
    for k_pass in range(passes):
        k = k_pass * TERMS
        terms = min(<Py_ssize_t> TERMS, g.filters - k)
        v = 0
        while v < wide:
            J = 2 if wide - v > L else 1
            for tile in range(tiles):
                i = taps * tile // tiles
                rows = <int> (taps * (tile + 1) // tiles - i)
                outer(products + i * wide + v, wide, weight + k * g.channels * taps + i, grad_y + k * step + v, xo, wo, terms, rows, J, k == 0)
            v += J * L


cdef inline void add_tap_row(vec* rows, const vec* products, Py_ssize_t wide, const TapsGeometry* g, Py_ssize_t v, const int I) noexcept nogil:
    """Taps of one row of the filter added to I rows of grad_x, of which a register from column v on; `products` at the first of both."""
    cdef int L = L32 if vec is v32 else L64, low, high, i
    cdef Py_ssize_t s, j
    cdef vec total[4]
    for i in range(I):
        total[i] = rows[i]
    for s in range(g.kernel_w):
        j = v + g.left - s * g.dilation_w  # grad_y's column in the first lane
        if -L < j < g.out_columns:
            low, high = <int> max(0, -j), <int> min(L, g.out_columns - j)
            for i in range(I):
                total[i] = total[i] + between(at(products, s * wide + i * g.out_columns + j), low, high)
    for i in range(I):
        rows[i] = total[i]


cdef inline void add_taps(vec* grad_x, const vec* products, vec* rows, Py_ssize_t wide, const TapsGeometry* g) noexcept nogil:
    """One channel's plane, in strips of a register; `rows` has room for one."""
    cdef int L = L32 if vec is v32 else L64
    cdef Py_ssize_t strip, r, i, h, last
    cdef vec zero = splat(0.0, products[0])
    cdef const vec* src
    for strip in range((g.width + L - 1) // L):
        for h in range(g.height):
            rows[h] = zero
        for r in range(g.kernel_h):
            h = r * g.dilation_h - g.top  # x's row for grad_y's first
            i = max(0, -h)
            last = min(g.out_rows, g.height - h)
            src = at(products, r * g.kernel_w * wide)
            while i + 4 <= last:
                add_tap_row(rows + i + h, at(src, i * g.out_columns), wide, g, strip * L, 4)
                i += 4
            while i < last:
                add_tap_row(rows + i + h, at(src, i * g.out_columns), wide, g, strip * L, 1)
                i += 1
        for h in range(g.height):
            put(<vec*> at(grad_x, h * g.width + strip * L), rows[h], <int> min(<Py_ssize_t> L, g.width - strip * L))


cdef void taps_task(real* grad_x, const real* grad_y, const real* weight, const TapsGeometry* g, real* scratch, Py_ssize_t splits,
                    Py_ssize_t index) noexcept nogil:
    """A range of the channels of one group of one image."""
    cdef Py_ssize_t L = lanes(grad_x), plane = g.out_rows * g.out_columns, wide = (plane + L - 1) // L * L, step = plane, k, c
    cdef Py_ssize_t taps = g.kernel_h * g.kernel_w, split = index % splits, image = index // splits, group = image % g.groups
    cdef real* products = scratch
    cdef real* rows = products + taps * wide
    cdef real* padded = rows + g.height * L
    grad_y += image * g.filters * plane
    if wide > plane:  # registers reach past the end of a plane
        for k in range(g.filters):
            copy(padded + k * wide, grad_y + k * plane, plane)
            clear(padded + k * wide + plane, wide - plane)
        grad_y = padded
        step = wide
    for c in range(g.channels * split // splits, g.channels * (split + 1) // splits):
        tap_products(products, grad_y, step, weight + (group * g.filters * g.channels + c) * taps, wide, g)
        if real is float:
            add_taps(<v32*> (grad_x + (image * g.channels + c) * g.height * g.width), <v32*> products, <v32*> rows, wide, g)
        else:
            add_taps(<v64*> (grad_x + (image * g.channels + c) * g.height * g.width), <v64*> products, <v64*> rows, wide, g)


def input_by_taps(cnp.ndarray grad_x, cnp.ndarray grad_y, cnp.ndarray weight, cnp.ndarray geometry, cnp.ndarray scratch, Py_ssize_t per_thread,
                  Py_ssize_t splits, int threads):
    """grad_x, written; `scratch` holds `per_thread` numbers a thread."""
    cdef bint single = cnp.PyArray_TYPE(grad_x) == cnp.NPY_FLOAT
    cdef void* xp = cnp.PyArray_DATA(grad_x)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef void* wp = cnp.PyArray_DATA(weight)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef TapsGeometry* g = <TapsGeometry*> cnp.PyArray_DATA(geometry)
    cdef Py_ssize_t tasks = cnp.PyArray_DIM(grad_x, 0) * g.groups * splits, i
    if single:
        for i in prange(tasks, nogil=True, num_threads=threads, schedule="dynamic"):
            taps_task(<float*> xp, <float*> yp, <float*> wp, g, <float*> sp + threadid() * per_thread, splits, i)
    else:
        for i in prange(tasks, nogil=True, num_threads=threads, schedule="dynamic"):
            taps_task(<double*> xp, <double*> yp, <double*> wp, g, <double*> sp + threadid() * per_thread, splits, i)


# --- gradient to the weight: outer products -----------------------------------------------------------------
#
# For each chunk of images, into sums of its own, image after image, position after position:
#
#   sums[r, s, c, k] += x[c, i*stride + r, j*stride + s] * grad_y[k, i, j]
#
# with x turned to [row][column][channel] and grad_y to [position][filter], so that both sides of a tile are contiguous. The
# number of chunks depends on shapes alone; `reduce_outer` adds them in order.


# As `WeightGeometry` in functional/_conv_plan.py.
cdef struct WeightGeometry:
    Py_ssize_t groups
    Py_ssize_t channels  # of one group
    Py_ssize_t filters  # of one group
    Py_ssize_t height
    Py_ssize_t width
    Py_ssize_t top
    Py_ssize_t left
    Py_ssize_t padded_width
    Py_ssize_t stride_h
    Py_ssize_t kernel_rows
    Py_ssize_t kernel_columns
    Py_ssize_t reach  # padded rows that one output row reads
    Py_ssize_t out_rows
    Py_ssize_t out_columns
    Py_ssize_t pass_rows  # output rows a pass: x and grad_y, turned, stay in the second-level cache
    Py_ssize_t together  # images a pass: small ones, so that their sums are read and written less often
    Py_ssize_t runs  # stretches of taps that lie next to each other in the turned image
    Py_ssize_t run  # taps a stretch


cdef void turn_rows(real* dst, const real* x, const WeightGeometry* g, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """Padded rows first .. first+count-1 of an image as [row][column][channel]."""
    cdef Py_ssize_t C = g.channels, q, row, before = min(g.left, g.padded_width), middle
    middle = max(0, min(g.width, g.padded_width - before))
    for q in range(count):
        row = first + q - g.top
        if 0 <= row < g.height:
            clear(dst, before * C)
            transpose(x + row * g.width, g.height * g.width, C, middle, dst + before * C, C)
            clear(dst + (before + middle) * C, (g.padded_width - before - middle) * C)
        else:
            clear(dst, g.padded_width * C)
        dst += g.padded_width * C


cdef void outer_task(real* sums, const real* grad_y, const real* x, const int* run_offsets, const int* positions, const WeightGeometry* g,
                     real* scratch, Py_ssize_t images, Py_ssize_t chunks, Py_ssize_t splits, Py_ssize_t index) noexcept nogil:
    """One chunk of images, one group, one range of filters."""
    cdef int steps[GATHERED]
    cdef Py_ssize_t L = lanes(sums), C = g.channels, K = g.filters
    cdef Py_ssize_t padded = (K + L - 1) // L * L, blocks = (padded + 2 * L - 1) // (2 * L)
    cdef Py_ssize_t split = index % splits, group = index // splits % g.groups, chunk = index // splits // g.groups
    cdef Py_ssize_t b0 = blocks * split // splits, b1 = blocks * (split + 1) // splits
    cdef Py_ssize_t k0 = b0 * 2 * L, k1 = min(b1 * 2 * L, padded), wide = k1 - k0, filters = min(k1, K) - k0
    cdef Py_ssize_t taps = g.runs * g.run, plane = g.out_rows * g.out_columns
    cdef Py_ssize_t n, m, block, r0, rows, p, p_pass, count, b, run, i, k, m0, tiles, t, images_here, positions_here, passes
    cdef Py_ssize_t turned_image = ((g.pass_rows - 1) * g.stride_h + g.reach) * g.padded_width * C
    cdef Py_ssize_t n_end = images * (chunk + 1) // chunks
    cdef int J
    cdef real* turned = scratch
    cdef real* dy = scratch + (g.together * turned_image + 15) // 16 * 16
    for t in range(GATHERED):
        steps[t] = <int> (t * wide)
    sums += (chunk * g.groups + group) * taps * padded
    for t in range(taps):
        clear(sums + t * padded + k0, wide)
    if filters < wide:
        clear(dy, g.together * g.pass_rows * g.out_columns * wide)
    n = images * chunk // chunks
    while n < n_end:
        images_here = min(g.together, n_end - n)
        for block in range((g.out_rows + g.pass_rows - 1) // g.pass_rows):
            r0 = block * g.pass_rows
            rows = min(g.pass_rows, g.out_rows - r0)
            for m in range(images_here):
                turn_rows(turned + m * turned_image, x + ((n + m) * g.groups + group) * C * g.height * g.width, g, r0 * g.stride_h,
                          (rows - 1) * g.stride_h + g.reach)
                transpose(grad_y + (((n + m) * g.groups + group) * K + k0) * plane + r0 * g.out_columns, plane, filters, rows * g.out_columns,
                          dy + m * plane * wide, wide)
            positions_here = images_here * rows * g.out_columns
            passes = (positions_here + GATHERED - 1) // GATHERED
            for p_pass in range(passes):
                p = positions_here * p_pass // passes
                count = positions_here * (p_pass + 1) // passes - p
                for b in range(b0, b1):
                    m0 = b * 2 * L - k0
                    J = 2 if wide - m0 >= 2 * L else 1
                    tiles = (g.run + tile_rows(J) - 1) // tile_rows(J)
                    for run in range(g.runs):
                        for k in range(tiles):
                            i = g.run * k // tiles
                            outer(sums + (run * g.run + i) * padded + k0 + m0, padded, turned + run_offsets[run] + i, dy + p * wide + m0,
                                  positions + p, steps, count, <int> (g.run * (k + 1) // tiles - i), J, False)
        n += images_here


cdef void reduce_outer(real* grad_weight, real* sums, const WeightGeometry* g, Py_ssize_t chunks, Py_ssize_t index) noexcept nogil:
    """The chunks' sums of one group and CHANNELS channels, added in order and turned to [filter][channel][row][column]."""
    cdef Py_ssize_t padded = (g.filters + lanes(sums) - 1) // lanes(sums) * lanes(sums), taps = g.runs * g.run
    cdef Py_ssize_t kernel = taps // g.channels, blocks = (g.channels + CHANNELS - 1) // CHANNELS, group = index // blocks
    cdef Py_ssize_t first = index % blocks * CHANNELS, count = min(<Py_ssize_t> CHANNELS, g.channels - first)
    cdef Py_ssize_t chunk, k, c, tap, step = g.channels * padded
    cdef real* total = sums + (group * taps + first) * padded
    cdef const real* part
    for chunk in range(1, chunks):
        for tap in range(kernel):
            part = total + chunk * g.groups * taps * padded + tap * step
            for k in range(count * padded):
                total[tap * step + k] += part[k]
    grad_weight += group * g.filters * taps + first * kernel
    if kernel == 1:
        transpose(total, padded, count, g.filters, grad_weight, taps)
        return
    for c in range(count):
        for k in range(g.filters):
            for tap in range(kernel):
                grad_weight[k * taps + c * kernel + tap] = total[tap * step + c * padded + k]


cdef void run_outer(real* grad_weight, const real* grad_y, const real* x, const int* run_offsets, const int* positions, const WeightGeometry* g,
                    real* scratch, Py_ssize_t per_thread, Py_ssize_t images, Py_ssize_t chunks, Py_ssize_t splits, int threads) noexcept nogil:
    cdef Py_ssize_t padded = (g.filters + lanes(scratch) - 1) // lanes(scratch) * lanes(scratch), i
    cdef real* buffers = scratch + chunks * g.groups * g.runs * g.run * padded
    for i in prange(chunks * g.groups * splits, num_threads=threads, schedule="dynamic"):
        outer_task(scratch, grad_y, x, run_offsets, positions, g, buffers + threadid() * per_thread, images, chunks, splits, i)
    if chunks * g.groups * g.runs * g.run * padded <= SMALL:
        threads = 1
    for i in prange(g.groups * ((g.channels + CHANNELS - 1) // CHANNELS), num_threads=threads, schedule="static"):
        reduce_outer(grad_weight, scratch, g, chunks, i)


def weight_by_outer(cnp.ndarray grad_weight, cnp.ndarray grad_y, cnp.ndarray x, cnp.ndarray run_offsets, cnp.ndarray positions,
                    cnp.ndarray geometry, cnp.ndarray scratch, Py_ssize_t per_thread, Py_ssize_t chunks, Py_ssize_t splits, int threads):
    """grad_weight, written; `scratch` holds the chunks' sums and `per_thread` numbers a thread."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef void* wp = cnp.PyArray_DATA(grad_weight)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef int* rp = <int*> cnp.PyArray_DATA(run_offsets)
    cdef int* pp = <int*> cnp.PyArray_DATA(positions)
    cdef WeightGeometry* g = <WeightGeometry*> cnp.PyArray_DATA(geometry)
    cdef Py_ssize_t images = cnp.PyArray_DIM(x, 0)
    with nogil:
        if single:
            run_outer(<float*> wp, <float*> yp, <float*> xp, rp, pp, g, <float*> sp, per_thread, images, chunks, splits, threads)
        else:
            run_outer(<double*> wp, <double*> yp, <double*> xp, rp, pp, g, <double*> sp, per_thread, images, chunks, splits, threads)


# --- gradient to the weight: dot products -------------------------------------------------------------------
#
# The same sums for few filters or few channels, where a tile of outer products would be mostly empty: rows of the padded
# image times rows of grad_y, in virtual lanes that are kept over all images of a chunk and added at its end.


cdef void dot_task(real* parts, const real* grad_y, const real* x, const int* offsets, const Geometry* g, Py_ssize_t filters, Py_ssize_t rows,
                   Py_ssize_t columns, Py_ssize_t pass_rows, real* scratch, Py_ssize_t images, Py_ssize_t chunks, Py_ssize_t index) noexcept nogil:
    """One chunk of images and one group."""
    cdef Py_ssize_t V = virtual_lanes(parts), taps = g.terms, plane = rows * columns
    cdef Py_ssize_t group = index % g.groups, chunk = index // g.groups
    cdef Py_ssize_t n, block, r, t, k
    cdef real* acc = scratch + g.buffer if g.copied else scratch
    cdef const real* image
    clear(acc, taps * filters * V)
    for n in range(images * chunk // chunks, images * (chunk + 1) // chunks):
        image = x + (n * g.groups + group) * g.channels * g.height * g.width
        if g.copied:
            fill(scratch, image, g, 0, g.rows)
            image = scratch
        for block in range((rows + pass_rows - 1) // pass_rows):
            r = block * pass_rows
            dot(acc, filters * V, V, image + r * g.row_step, offsets, g.row_step, grad_y + (n * g.groups + group) * filters * plane + r * columns,
                plane, columns, min(pass_rows, rows - r), columns, <int> taps, <int> filters)
    parts += (chunk * g.groups + group) * filters * taps
    for k in range(filters):
        for t in range(taps):
            parts[k * taps + t] = lane_sum(acc + (t * filters + k) * V)


cdef void run_dot(real* grad_weight, const real* grad_y, const real* x, const int* offsets, const Geometry* g, Py_ssize_t filters,
                  Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t pass_rows, real* scratch, Py_ssize_t per_thread, Py_ssize_t images,
                  Py_ssize_t chunks, int threads) noexcept nogil:
    cdef Py_ssize_t size = g.groups * filters * g.terms, i, chunk
    cdef real* buffers = scratch + (chunks * size + 15) // 16 * 16
    for i in prange(chunks * g.groups, num_threads=threads, schedule="dynamic"):
        dot_task(scratch, grad_y, x, offsets, g, filters, rows, columns, pass_rows, buffers + threadid() * per_thread, images, chunks, i)
    for i in range(size):
        grad_weight[i] = scratch[i]
    for chunk in range(1, chunks):
        for i in range(size):
            grad_weight[i] += scratch[chunk * size + i]


def weight_by_dot(cnp.ndarray grad_weight, cnp.ndarray grad_y, cnp.ndarray x, cnp.ndarray offsets, cnp.ndarray geometry, cnp.ndarray phases,
                  Py_ssize_t pass_rows, cnp.ndarray scratch, Py_ssize_t per_thread, Py_ssize_t chunks, int threads):
    """grad_weight, written; the tables are those of the forward pass."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef void* wp = cnp.PyArray_DATA(grad_weight)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef int* op = <int*> cnp.PyArray_DATA(offsets)
    cdef Geometry* g = <Geometry*> cnp.PyArray_DATA(geometry)
    cdef Phase* f = <Phase*> cnp.PyArray_DATA(phases)
    cdef Py_ssize_t images = cnp.PyArray_DIM(x, 0), filters = g.outputs
    with nogil:
        if single:
            run_dot(<float*> wp, <float*> yp, <float*> xp, op, g, filters, f.end, f.columns, pass_rows, <float*> sp, per_thread, images,
                    chunks, threads)
        else:
            run_dot(<double*> wp, <double*> yp, <double*> xp, op, g, filters, f.end, f.columns, pass_rows, <double*> sp, per_thread, images,
                    chunks, threads)


# --- gradient to the bias -----------------------------------------------------------------------------------


cdef inline void add_images(vec* total, const vec* grad_y, Py_ssize_t images, Py_ssize_t step, Py_ssize_t plane) noexcept nogil:
    """16 virtual lanes of a channel's sum: number p of a plane goes to lane p mod 16."""
    cdef int L = L32 if vec is v32 else L64, v
    cdef vec acc[16]
    cdef Py_ssize_t _, p
    for v in range(16 // L):
        acc[v] = splat(0, acc[v])
    for _ in range(images):
        for p in range(0, plane - plane % 16, 16):
            for v in range(16 // L):
                acc[v] = acc[v] + at(grad_y, p + v * L)[0]
        p = plane - plane % 16
        for v in range(16 // L):
            if p < plane:
                acc[v] = acc[v] + head(at(grad_y, p), <int> min(<Py_ssize_t> L, plane - p))
            p += L
        grad_y = at(grad_y, step)
    for v in range(16 // L):
        (<vec*> at(total, v * L))[0] = acc[v]


cdef void sum_plane(real* total, const real* grad_y, Py_ssize_t images, Py_ssize_t channels, Py_ssize_t plane, Py_ssize_t channel) noexcept nogil:
    """Sum of one channel over images and positions."""
    cdef real acc[16]
    cdef int i
    if real is float:
        add_images(<v32*> acc, <const v32*> (grad_y + channel * plane), images, channels * plane, plane)
    else:
        add_images(<v64*> acc, <const v64*> (grad_y + channel * plane), images, channels * plane, plane)
    for i in range(8):
        acc[i] += acc[i + 8]
    for i in range(4):
        acc[i] += acc[i + 4]
    total[channel] = (acc[0] + acc[2]) + (acc[1] + acc[3])


def sum_planes(cnp.ndarray total, cnp.ndarray grad_y, int threads):
    """total[k] = sum of grad_y[:, k] over images and positions."""
    cdef bint single = cnp.PyArray_TYPE(total) == cnp.NPY_FLOAT
    cdef void* tp = cnp.PyArray_DATA(total)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef Py_ssize_t images = cnp.PyArray_DIM(grad_y, 0), channels = cnp.PyArray_DIM(grad_y, 1), k
    cdef Py_ssize_t plane = cnp.PyArray_DIM(grad_y, 2) * cnp.PyArray_DIM(grad_y, 3)
    if single:
        for k in prange(channels, nogil=True, num_threads=threads, schedule="static"):
            sum_plane(<float*> tp, <float*> yp, images, channels, plane, k)
    else:
        for k in prange(channels, nogil=True, num_threads=threads, schedule="static"):
            sum_plane(<double*> tp, <double*> yp, images, channels, plane, k)


def constants():
    """What the plans need to know of this build: lanes of a register of float and of double, rows of a tile, positions a pass,
    forward and in the gradient to the weight."""
    return lanes[float](NULL), lanes[double](NULL), TILE, POSITIONS, GATHERED
