# 3x3 convolution of stride 1 in all three directions by minimal filtering: tiles of 4x4 outputs, 36 multiplications in place of 144.
#
#   correlate      forward, and the gradient to the input (filters turned by 180 degrees, their channels and outputs swapped)
#   weight         gradient to the weight, by the transposes of the same transforms
#
#   V[p][c][tile] = data, 6x6 points p of each tile of the padded source
#   U[p][c][k]    = filters at the same points
#   M[p][tile][k] = sum over c of V[p][c][tile] * U[p][c][k]       36 matrix products
#   y             = outputs(M) + bias
#
# and, for the weight, dU[p][c][k] = sum over tiles of V[p][c][tile] * Z[p][tile][k] with Z from grad_y, then taps_t(dU).
#
# Registers hold neighbouring channels throughout. Tiles are taken a block at a time through all stages, so that V, M and Z stay in
# cache and nothing grows with the batch. A tile's numbers depend on no other tile, sums run over c (or over tiles, images first) in
# order: the bits are those of any other cut into blocks, tasks and threads.
#
# A sum that is not finite is reported: infinity and NaN spread in a transform further than in the definition, and the caller
# then takes the direct kernels.

from cython.parallel cimport parallel, prange, threadid
cimport numpy as cnp

from cconv._kernels.epilogue cimport rectify
from cconv._kernels.minimal cimport data, outputs, outputs_t, taps, taps_t
from cconv._kernels.pack cimport clear, transpose
from cconv._kernels.simd cimport L32, L64, at, fma, head, lane, lanes, real, splat, v32, v64, vec
from cconv._kernels.tile cimport outer_any, tile_rows

cnp.import_array()


cdef enum:
    POINTS = 36
    SLAB = 128  # most channels of a slab
    ROOM = 512  # most tiles of a block
    TERMS = 8  # channels whose filters are turned together
    SMALL = 1 << 15  # filters that one thread transforms before another is awake


# As `Geometry` in functional/_winograd.py, field by field.
cdef struct Geometry:
    Py_ssize_t groups
    Py_ssize_t channels  # of one group, in the source: what is summed over
    Py_ssize_t outputs  # of one group
    Py_ssize_t height  # of the source
    Py_ssize_t width
    Py_ssize_t top  # zeros before the first row and column
    Py_ssize_t left
    Py_ssize_t out_rows
    Py_ssize_t out_columns
    Py_ssize_t tiles_h
    Py_ssize_t tiles_w
    Py_ssize_t pieces  # of a row of tiles: a piece of one row is a strip
    Py_ssize_t blocks  # of strips: those of one go through all stages together
    Py_ssize_t room  # tiles of the largest block
    Py_ssize_t widest  # tiles of the longest strip
    Py_ssize_t slab  # channels whose filters stay in cache for a block: whole registers
    Py_ssize_t weight_output  # numbers from a filter of one output to the next, and from a channel's to the next
    Py_ssize_t weight_term
    Py_ssize_t turned  # 1: filters are turned by 180 degrees


cdef struct Strip:
    Py_ssize_t image
    Py_ssize_t row  # of tiles
    Py_ssize_t first  # tile
    Py_ssize_t tiles


cdef Strip strip_at(const Geometry* g, Py_ssize_t index) noexcept nogil:
    cdef Strip s
    cdef Py_ssize_t piece = index % g.pieces
    s.row = index // g.pieces % g.tiles_h
    s.image = index // g.pieces // g.tiles_h
    s.first = g.tiles_w * piece // g.pieces
    s.tiles = g.tiles_w * (piece + 1) // g.pieces - s.first
    return s


cdef Py_ssize_t tiles_in(const Geometry* g, Py_ssize_t s0, Py_ssize_t s1) noexcept nogil:
    """Tiles of strips s0 to s1 - 1."""
    cdef Py_ssize_t tiles = 0, s
    for s in range(s0, s1):
        tiles += strip_at(g, s).tiles
    return tiles


cdef Py_ssize_t padded(const real* kind, Py_ssize_t count) noexcept nogil:
    """`count` numbers in whole registers."""
    return (count + lanes(kind) - 1) // lanes(kind) * lanes(kind)


cdef void outer(real* acc, Py_ssize_t stride, const real* x, const real* w, const int* xo, const int* wo, Py_ssize_t terms, int rows, int J, bint fresh) noexcept nogil:
    outer_any(acc, stride, x, w, xo, wo, terms, rows, J, L32 if real is float else L64, fresh)


cdef void outer_row(real* acc, Py_ssize_t stride, const real* x, const real* w, const int* xo, const int* wo, Py_ssize_t terms, int rows, int J, bint fresh) noexcept nogil:
    outer_any(acc, stride, x, w, xo, wo, terms, rows, J, 1, fresh)


# --- from and to planes -------------------------------------------------------------------------------------


cdef void load(real* lines, const real* src, Py_ssize_t count, Py_ssize_t height, Py_ssize_t width, Py_ssize_t row, Py_ssize_t column,
               Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """lines[i][j][lane] = src[lane][row + i][column + j], zero outside and past the last of `count` channels."""
    cdef Py_ssize_t L = lanes(lines), i
    cdef Py_ssize_t low = min(columns, max(<Py_ssize_t> 0, -column)), high = max(low, min(columns, width - column))
    if count < L:
        clear(lines, rows * columns * L)
    for i in range(rows):
        if 0 <= row + i < height:
            clear(lines, low * L)
            transpose(src + (row + i) * width + column + low, height * width, count, high - low, lines + low * L, L)
            clear(lines + high * L, (columns - high) * L)
        else:
            clear(lines, columns * L)
        lines += columns * L


cdef inline void data_tiles(vec* v, Py_ssize_t point, vec* lines, Py_ssize_t columns, Py_ssize_t tiles) noexcept nogil:
    """Points of the tiles of a strip, one register of channels: v[p*point + tile]."""
    cdef Py_ssize_t L = L32 if vec is v32 else L64, j, t, i, row = columns * L
    for j in range(columns):
        data(at(lines, j * L), row, <vec*> at(lines, j * L), row)
    for t in range(tiles):
        for i in range(6):
            data(at(lines, i * row + 4 * t * L), L, <vec*> at(v, 6 * i * point + t * L), point)


cdef inline void gradient_tiles(vec* z, Py_ssize_t point, Py_ssize_t step, vec* lines, Py_ssize_t tiles) noexcept nogil:
    """The same of 4x4 gradients: z[p*point + tile*step]."""
    cdef Py_ssize_t L = L32 if vec is v32 else L64, j, t, i, row = 4 * tiles * L
    for j in range(4 * tiles):
        outputs_t(at(lines, j * L), row, <vec*> at(lines, j * L), row)
    for t in range(tiles):
        for i in range(6):
            outputs_t(at(lines, i * row + 4 * t * L), L, <vec*> at(z, 6 * i * point + t * step), point)


cdef inline bint output_tiles(vec* lines, const vec* m, Py_ssize_t point, Py_ssize_t step, Py_ssize_t tiles, vec bias) noexcept nogil:
    """Outputs of the tiles of a strip, one register of them, from m[p*point + tile*step]; whether one is not finite."""
    cdef Py_ssize_t L = L32 if vec is v32 else L64, t, i, j
    cdef vec part[24]
    cdef vec four[4]
    cdef vec check = splat(0, bias)
    cdef bint bad = False
    for t in range(tiles):
        for j in range(6):
            outputs(at(m, j * point + t * step), 6 * point, part + j, 6 * L)
        for i in range(4):
            outputs(part + 6 * i, L, four, L)
            for j in range(4):
                four[j] += bias
                check = fma(four[j], splat(0, bias), check)
                (<vec*> at(lines, ((i * tiles + t) * 4 + j) * L))[0] = four[j]
    for i in range(L):
        bad |= lane(check, <int> i) != 0
    return bad


cdef inline void filter_points(vec* u, Py_ssize_t point, const vec* lines, Py_ssize_t row, Py_ssize_t column) noexcept nogil:
    """u[p*point] of one register of filters, taps at lines[r*row + s*column]."""
    cdef Py_ssize_t L = L32 if vec is v32 else L64, i
    cdef vec part[18]
    for i in range(3):
        taps(at(lines, i * column), row, part + i, 3 * L)
    for i in range(6):
        taps(part + 3 * i, L, <vec*> at(u, 6 * i * point), point)


cdef inline bint filter_taps(vec* lines, Py_ssize_t wide, const vec* u, Py_ssize_t point) noexcept nogil:
    """Nine taps, `wide` numbers apart, from the gradients u[p*point]; whether one is not finite."""
    cdef Py_ssize_t L = L32 if vec is v32 else L64, i
    cdef vec part[18]
    cdef vec check = splat(0, part[0])
    cdef bint bad = False
    for i in range(6):
        taps_t(at(u, i * point), 6 * point, part + i, 6 * L)
    for i in range(3):
        taps_t(part + 6 * i, L, <vec*> at(lines, 3 * i * wide), wide)
    for i in range(9):
        check = fma(at(lines, i * wide)[0], splat(0, check), check)
    for i in range(L):
        bad |= lane(check, <int> i) != 0
    return bad


cdef void load_data(real* v, Py_ssize_t point, const real* x, const Geometry* g, Py_ssize_t group, Strip s, Py_ssize_t c, real* lines) noexcept nogil:
    """Points of channels c, c+1, ... (one register) of one strip."""
    cdef Py_ssize_t columns = 4 * s.tiles + 2
    load(lines, x + ((s.image * g.groups + group) * g.channels + c) * g.height * g.width, min(<Py_ssize_t> lanes(v), g.channels - c), g.height, g.width,
         4 * s.row - g.top, 4 * s.first - g.left, 6, columns)
    if real is float:
        data_tiles(<v32*> v, point, <v32*> lines, columns, s.tiles)
    else:
        data_tiles(<v64*> v, point, <v64*> lines, columns, s.tiles)


# --- forward, and the gradient to the input -----------------------------------------------------------------


cdef void pack(real* u, const real* weight, const Geometry* g, Py_ssize_t group, Py_ssize_t panel, Py_ssize_t slab) noexcept nogil:
    """u[p][c][k]: points of the filters of one slab of channels for one panel of outputs (two registers)."""
    cdef real lines[9 * TERMS * 32]
    cdef Py_ssize_t L = lanes(u), m0 = panel * 2 * L, wide = min(2 * L, padded(u, g.outputs) - m0), valid = min(wide, g.outputs - m0)
    cdef Py_ssize_t c0 = slab * g.slab, count = min(g.slab, g.channels - c0), c, i, n, r, turn = -wide if g.turned else wide
    cdef real* first
    weight += group * g.outputs * g.channels * 9 + m0 * g.weight_output + c0 * g.weight_term
    if valid < wide:
        clear(lines, 9 * TERMS * wide)
    c = 0
    while c < count:
        n = min(<Py_ssize_t> TERMS, count - c)
        if g.weight_term == 9:
            transpose(weight + 9 * c, g.weight_output, valid, 9 * n, lines, wide)
        else:
            for i in range(n):
                transpose(weight + (c + i) * g.weight_term, g.weight_output, valid, 9, lines + 9 * i * wide, wide)
        for i in range(n):
            first = lines + (9 * i + (8 if g.turned else 0)) * wide
            for r in range(wide // L):
                if real is float:
                    filter_points(<v32*> (u + (c + i) * wide + r * L), count * wide, <v32*> (first + r * L), 3 * turn, turn)
                else:
                    filter_points(<v64*> (u + (c + i) * wide + r * L), count * wide, <v64*> (first + r * L), 3 * turn, turn)
        c += n


cdef bint put_strip(real* y, const real* m, const real* bias, const Geometry* g, Strip s, Py_ssize_t step, Py_ssize_t count, real* lines,
                    double top) noexcept nogil:
    """Outputs of one strip and one register, from products m[p][tile] to rows of y; whether one is not finite."""
    cdef Py_ssize_t plane = g.out_rows * g.out_columns, i, rows = min(<Py_ssize_t> 4, g.out_rows - 4 * s.row)
    cdef Py_ssize_t columns = min(4 * s.tiles, g.out_columns - 4 * s.first)
    cdef bint bad
    if real is float:
        bad = output_tiles(<v32*> lines, <v32*> m, g.room * step, step, s.tiles, splat(0, (<v32*> m)[0]) if bias == NULL else head(<v32*> bias, <int> count))
    else:
        bad = output_tiles(<v64*> lines, <v64*> m, g.room * step, step, s.tiles, splat(0, (<v64*> m)[0]) if bias == NULL else head(<v64*> bias, <int> count))
    if top:
        rectify(lines, 16 * s.tiles * lanes(y), top)
    y += 4 * s.row * g.out_columns + 4 * s.first
    for i in range(rows):
        transpose(lines + 4 * i * s.tiles * lanes(y), lanes(y), columns, count, y + i * g.out_columns, plane)
    return bad


cdef void task(real* y, const real* x, const real* weight, const real* bias, const real* packed, const Geometry* g, Py_ssize_t strips,
               unsigned char* bad, real* scratch, Py_ssize_t splits, double top, Py_ssize_t index) noexcept nogil:
    """One block of strips, one group, one range of outputs. `packed` is NULL where filters are transformed here, slab by slab."""
    cdef int xo[SLAB]
    cdef int wo[SLAB]
    cdef Py_ssize_t L = lanes(y), C = g.channels, K = g.outputs, Kp = padded(y, K), Cp = padded(y, C), panels = (Kp + 2 * L - 1) // (2 * L)
    cdef Py_ssize_t slabs = (C + g.slab - 1) // g.slab
    cdef Py_ssize_t split = index % splits, block = index // splits % g.blocks, group = index // splits // g.blocks
    cdef Py_ssize_t s0 = strips * block // g.blocks, s1 = strips * (block + 1) // g.blocks, tiles = 0
    cdef Py_ssize_t s, c, slab, panel, m0, wide, count, p, k, i, r, pieces, start
    cdef int J
    cdef Strip strip
    cdef real* v = scratch
    cdef real* m = v + POINTS * g.room * Cp
    cdef real* lines = m + POINTS * g.room * 2 * L
    cdef real* local = lines + 6 * (4 * g.widest + 2) * L
    cdef const real* u
    for s in range(s0, s1):
        strip = strip_at(g, s)
        for r in range(Cp // L):
            c = r * L
            start = c // g.slab * g.slab
            count = min(g.slab, Cp - start)
            load_data(v + (POINTS * start + c - start) * g.room + tiles * L, count * g.room, x, g, group, strip, c, lines)
        tiles += strip.tiles
    for panel in range(panels * split // splits, panels * (split + 1) // splits):
        m0 = panel * 2 * L
        wide = min(2 * L, Kp - m0)
        J = <int> (wide // L)
        pieces = (tiles + tile_rows(J) - 1) // tile_rows(J)
        for c in range(min(g.slab, C)):
            xo[c] = <int> (c // L * L * g.room + c % L)
            wo[c] = <int> (c * wide)
        for slab in range(slabs):
            start = slab * g.slab
            count = min(g.slab, C - start)
            u = local
            if packed != NULL:
                u = packed + POINTS * (group * C * Kp + C * m0 + start * wide)
            else:
                pack(local, weight, g, group, panel, slab)
            for p in range(POINTS):
                for k in range(pieces):
                    i = tiles * k // pieces
                    outer(m + (p * g.room + i) * wide, wide, v + (POINTS * start + p * padded(y, count)) * g.room + i * L, u + p * count * wide,
                          xo, wo, count, <int> (tiles * (k + 1) // pieces - i), J, slab == 0)
        i = 0
        for s in range(s0, s1):
            strip = strip_at(g, s)
            for r in range(J):
                k = m0 + r * L
                if put_strip(y + ((strip.image * g.groups + group) * K + k) * g.out_rows * g.out_columns, m + i * wide + r * L,
                             NULL if bias == NULL else bias + group * K + k, g, strip, wide, min(L, K - k), lines, top):
                    bad[strip.image] = 1
            i += strip.tiles


cdef void run(real* y, const real* x, const real* weight, const real* bias, const Geometry* g, unsigned char* bad, real* scratch, Py_ssize_t per_thread,
              Py_ssize_t images, bint pack_first, Py_ssize_t splits, double top, int threads) noexcept nogil:
    cdef Py_ssize_t L = lanes(y), Kp = padded(y, g.outputs), panels = (Kp + 2 * L - 1) // (2 * L), slabs = (g.channels + g.slab - 1) // g.slab
    cdef Py_ssize_t strips = images * g.tiles_h * g.pieces, i, panel, slab, group, m0
    cdef real* packed = NULL
    if pack_first:
        packed = scratch
        scratch += g.groups * POINTS * g.channels * Kp
        for i in prange(g.groups * panels * slabs, num_threads=threads if g.groups * g.channels * Kp > SMALL else 1, schedule="dynamic"):
            slab = i % slabs
            panel = i // slabs % panels
            group = i // slabs // panels
            m0 = panel * 2 * L
            pack(packed + POINTS * (group * g.channels * Kp + g.channels * m0 + slab * g.slab * min(2 * L, Kp - m0)), weight, g, group, panel, slab)
    for i in prange(g.blocks * g.groups * splits, num_threads=threads, schedule="dynamic"):
        task(y, x, weight, bias, packed, g, strips, bad, scratch + threadid() * per_thread, splits, top, i)


def correlate(cnp.ndarray y, cnp.ndarray x, cnp.ndarray weight, bias, cnp.ndarray geometry, cnp.ndarray bad, cnp.ndarray scratch, Py_ssize_t per_thread,
              bint pack_first, Py_ssize_t splits, double top, int threads):
    """y from x and weight, or the part of it in 0..top; bad[n] becomes 1 where image n has a result that is not finite."""
    cdef void* b = cnp.PyArray_DATA(bias) if bias is not None else NULL
    cdef bint single = cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* wp = cnp.PyArray_DATA(weight)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef unsigned char* fp = <unsigned char*> cnp.PyArray_DATA(bad)
    cdef Geometry* g = <Geometry*> cnp.PyArray_DATA(geometry)
    cdef Py_ssize_t images = cnp.PyArray_DIM(x, 0)
    with nogil:
        if single:
            run(<float*> yp, <float*> xp, <float*> wp, <float*> b, g, fp, <float*> sp, per_thread, images, pack_first, splits, top, threads)
        else:
            run(<double*> yp, <double*> xp, <double*> wp, <double*> b, g, fp, <double*> sp, per_thread, images, pack_first, splits, top, threads)


# --- gradient to the weight ---------------------------------------------------------------------------------


cdef void load_gradient(real* z, const real* grad_y, const Geometry* g, Py_ssize_t group, Strip s, Py_ssize_t k, real* lines) noexcept nogil:
    """z[p][panel][tile][filter] of filters k, k+1, ... (one register) of one strip."""
    cdef Py_ssize_t L = lanes(z), K = g.outputs, Kp = padded(z, K), m0 = k // (2 * L) * 2 * L, wide = min(2 * L, Kp - m0)
    load(lines, grad_y + ((s.image * g.groups + group) * K + k) * g.out_rows * g.out_columns, min(L, K - k), g.out_rows, g.out_columns,
         4 * s.row, 4 * s.first, 4, 4 * s.tiles)
    z += m0 * g.room + k - m0
    if real is float:
        gradient_tiles(<v32*> z, Kp * g.room, wide, <v32*> lines, s.tiles)
    else:
        gradient_tiles(<v64*> z, Kp * g.room, wide, <v64*> lines, s.tiles)


cdef void load_tiles(real* v, real* z, const real* grad_y, const real* x, const Geometry* g, Py_ssize_t group, Py_ssize_t s0, Py_ssize_t strip,
                     Py_ssize_t c, real* lines) noexcept nogil:
    """One register of channels of one strip of a block that starts at s0: first those of x, then those of grad_y."""
    cdef Py_ssize_t L = lanes(v), Cp = padded(v, g.channels), first = tiles_in(g, s0, strip), k, m0
    cdef Strip s = strip_at(g, strip)
    if c < Cp:
        load_data(v + c * g.room + first * L, Cp * g.room, x, g, group, s, c, lines)
    else:
        k = c - Cp
        m0 = k // (2 * L) * 2 * L
        load_gradient(z + first * min(2 * L, padded(v, g.outputs) - m0), grad_y, g, group, s, k, lines)


cdef void add_products(real* u, const real* v, const real* z, const Geometry* g, Py_ssize_t tiles, bint fresh, Py_ssize_t index) noexcept nogil:
    """u[p][panel][c][k] += the block's products, of one point and one panel of filters."""
    cdef int xo[ROOM]
    cdef int wo[ROOM]
    cdef Py_ssize_t L = lanes(u), C = g.channels, Cp = padded(u, C), Kp = padded(u, g.outputs), panels = (Kp + 2 * L - 1) // (2 * L)
    cdef Py_ssize_t m0 = index % panels * 2 * L, p = index // panels, wide = min(2 * L, Kp - m0), t, c, k, i, r, rows, pieces
    cdef int J = <int> (wide // L)
    for t in range(tiles):
        xo[t] = <int> (t * L)
        wo[t] = <int> (t * wide)
    u += (p * Kp + m0) * C
    z += (p * Kp + m0) * g.room
    v += p * Cp * g.room
    for r in range(Cp // L):
        c = r * L
        rows = min(L, C - c)
        pieces = (rows + tile_rows(J) - 1) // tile_rows(J)
        for k in range(pieces):
            i = rows * k // pieces
            outer_row(u + (c + i) * wide, wide, v + c * g.room + i, z, xo, wo, tiles, <int> (rows * (k + 1) // pieces - i), J, fresh)


cdef bint put_taps(real* grad_weight, real* u, const Geometry* g, Py_ssize_t chunks, Py_ssize_t index) noexcept nogil:
    """Taps of one panel of filters and TERMS channels, the chunks' sums added in order; whether one is not finite."""
    cdef real lines[9 * TERMS * 32]
    cdef Py_ssize_t L = lanes(u), C = g.channels, K = g.outputs, Kp = padded(u, K), groups = (C + TERMS - 1) // TERMS
    cdef Py_ssize_t m0 = index // groups * 2 * L, c = index % groups * TERMS, wide = min(2 * L, Kp - m0), n = min(<Py_ssize_t> TERMS, C - c), i, r, p
    cdef bint bad = False
    cdef const real* part
    u += m0 * C + c * wide
    for i in range(1, chunks):
        part = u + i * POINTS * C * Kp
        for p in range(POINTS):
            for r in range(n * wide):
                u[p * Kp * C + r] += part[p * Kp * C + r]
    for i in range(n):
        for r in range(wide // L):
            if real is float:
                bad |= filter_taps(<v32*> (lines + 9 * i * wide + r * L), wide, <v32*> (u + i * wide + r * L), Kp * C)
            else:
                bad |= filter_taps(<v64*> (lines + 9 * i * wide + r * L), wide, <v64*> (u + i * wide + r * L), Kp * C)
    transpose(lines, wide, 9 * n, min(wide, K - m0), grad_weight + (m0 * C + c) * 9, 9 * C)
    return bad


cdef void weight_task(real* u, const real* grad_y, const real* x, const Geometry* g, Py_ssize_t group, Py_ssize_t strips, Py_ssize_t chunks,
                      real* scratch, Py_ssize_t chunk) noexcept nogil:
    """u of one chunk of blocks, which a thread takes through both stages alone."""
    cdef Py_ssize_t L = lanes(u), Cp = padded(u, g.channels), Kp = padded(u, g.outputs), panels = (Kp + 2 * L - 1) // (2 * L)
    cdef Py_ssize_t registers = (Cp + Kp) // L, first = g.blocks * chunk // chunks, block, s0, s1, i, tiles
    cdef real* v = scratch
    cdef real* z = v + POINTS * Cp * g.room
    cdef real* lines = z + POINTS * Kp * g.room
    u += chunk * POINTS * g.channels * Kp
    for block in range(first, g.blocks * (chunk + 1) // chunks):
        s0 = strips * block // g.blocks
        s1 = strips * (block + 1) // g.blocks
        tiles = tiles_in(g, s0, s1)
        for i in range((s1 - s0) * registers):
            load_tiles(v, z, grad_y, x, g, group, s0, s0 + i // registers, i % registers * L, lines)
        for i in range(POINTS * panels):
            add_products(u, v, z, g, tiles, block == first, i)


cdef void run_chunks(real* grad_weight, const real* grad_y, const real* x, const Geometry* g, unsigned char* bad, real* scratch, Py_ssize_t per_thread,
                     Py_ssize_t images, Py_ssize_t chunks, int threads) noexcept nogil:
    cdef Py_ssize_t C = g.channels, Kp = padded(x, g.outputs), panels = (Kp + 2 * lanes(x) - 1) // (2 * lanes(x)), group, i
    cdef real* buffers = scratch + chunks * POINTS * C * Kp
    for group in range(g.groups):
        for i in prange(chunks, num_threads=threads, schedule="dynamic"):
            weight_task(scratch, grad_y, x, g, group, images * g.tiles_h * g.pieces, chunks, buffers + threadid() * per_thread, i)
        for i in prange(panels * ((C + TERMS - 1) // TERMS), num_threads=threads, schedule="dynamic"):
            if put_taps(grad_weight + group * g.outputs * C * 9, scratch, g, chunks, i):
                bad[0] = 1


cdef void run_weight(real* grad_weight, const real* grad_y, const real* x, const Geometry* g, unsigned char* bad, real* scratch, Py_ssize_t per_thread,
                     Py_ssize_t images, int threads) noexcept nogil:
    cdef Py_ssize_t L = lanes(x), C = g.channels, K = g.outputs, Cp = padded(x, C), Kp = padded(x, K), panels = (Kp + 2 * L - 1) // (2 * L)
    cdef Py_ssize_t strips = images * g.tiles_h * g.pieces, registers = (Cp + Kp) // L, i
    cdef Py_ssize_t group = 0, block = 0, s0 = 0, s1 = 0, tiles = 0
    cdef real* u = scratch
    cdef real* v = u + POINTS * C * Kp
    cdef real* z = v + POINTS * Cp * g.room
    cdef real* lines = z + POINTS * Kp * g.room
    with parallel(num_threads=threads):
        for group in range(g.groups):
            for block in range(g.blocks):
                s0 = strips * block // g.blocks
                s1 = strips * (block + 1) // g.blocks
                tiles = tiles_in(g, s0, s1)
                for i in prange((s1 - s0) * registers, schedule="dynamic"):
                    load_tiles(v, z, grad_y, x, g, group, s0, s0 + i // registers, i % registers * L, lines + threadid() * per_thread)
                for i in prange(POINTS * panels, schedule="dynamic"):
                    add_products(u, v, z, g, tiles, s0 == 0, i)
            for i in prange(panels * ((C + TERMS - 1) // TERMS), schedule="dynamic"):
                if put_taps(grad_weight + group * K * C * 9, u, g, 1, i):
                    bad[0] = 1


def weight(cnp.ndarray grad_weight, cnp.ndarray grad_y, cnp.ndarray x, cnp.ndarray geometry, cnp.ndarray bad, cnp.ndarray scratch,
           Py_ssize_t per_thread, Py_ssize_t chunks, int threads):
    """grad_weight, written; bad[0] becomes 1 where a result is not finite.

    The sums of `chunks` chunks are added in order; 0: all threads share one, and each block.
    """
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef void* wp = cnp.PyArray_DATA(grad_weight)
    cdef void* yp = cnp.PyArray_DATA(grad_y)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* sp = cnp.PyArray_DATA(scratch)
    cdef unsigned char* fp = <unsigned char*> cnp.PyArray_DATA(bad)
    cdef Geometry* g = <Geometry*> cnp.PyArray_DATA(geometry)
    cdef Py_ssize_t images = cnp.PyArray_DIM(x, 0)
    with nogil:
        if chunks and single:
            run_chunks(<float*> wp, <float*> yp, <float*> xp, g, fp, <float*> sp, per_thread, images, chunks, threads)
        elif chunks:
            run_chunks(<double*> wp, <double*> yp, <double*> xp, g, fp, <double*> sp, per_thread, images, chunks, threads)
        elif single:
            run_weight(<float*> wp, <float*> yp, <float*> xp, g, fp, <float*> sp, per_thread, images, threads)
        else:
            run_weight(<double*> wp, <double*> yp, <double*> xp, g, fp, <double*> sp, per_thread, images, threads)


def constants():
    """Most channels of a slab; most tiles of a block."""
    return SLAB, ROOM
