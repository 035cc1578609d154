# Batch normalisation, of x (N, C, S): N images, C channels, planes of S numbers (1 for x of two dimensions).
#
#   y = (x - mean[c]) * weight[c] / sqrt(var[c] + eps) + bias[c]
#
# A task is a block of neighbouring channels, in all images: first their sums, then their outputs, while x is still in cache. Blocks change no bit:
# a channel's sums run over the images in order, on 16 virtual lanes (place i of a plane on lane i % 16), which are added in one order at the end.
# Planes narrower than that leave most lanes empty: there every place of a plane has sums of its own, and registers run on from channel to channel.
#
# Sums are of doubles, and of differences from a number of the channel itself, its pivot. For n numbers no pivot lies further than sqrt(n)
# standard deviations from the mean, so the variance, mean square less squared mean, keeps all but the last log2(n) bits of a double.

from cython.parallel cimport prange
from libc.math cimport isfinite, sqrt
cimport numpy as cnp

from cconv._kernels.simd cimport L32, L64, at, broadcast, fma, head, prefetch, put, real, splat, v32, v64, vec, wide, wide_head

cnp.import_array()


cdef enum:
    LANES = 16
    COLUMNS = 512  # places of a block of narrow planes, at most

cdef extern from *:
    """
    #define CC_WIDES (16 / CC_L64)
    """
    const int WIDES "CC_WIDES"  # registers of double to 16 lanes

# Of a block of channels: 16 lanes for each, or an entry for each of its places where planes are narrow; at the end one for each channel.
cdef struct Sums:
    double first[COLUMNS + LANES]  # forward: of x - pivot; backward: of grad_y
    double second[COLUMNS + LANES]  # forward: of (x - pivot)**2; backward: of grad_y * (x - mean)
    double pivot[COLUMNS + LANES]  # backward: the mean

cdef struct Sizes:
    Py_ssize_t images
    Py_ssize_t channels
    Py_ssize_t plane


cdef enum Form:
    FORWARD
    BACKWARD
    FROZEN  # backward where the statistics were given: grad_x does not depend on x


# --- sums ---------------------------------------------------------------------------------------------------


cdef inline void spread(real* table, Py_ssize_t channels, Py_ssize_t plane) noexcept nogil:
    """A number for each channel becomes one for each of its places."""
    cdef Py_ssize_t c, s
    cdef real one
    # From the last channel on: no number is overwritten before it is read.
    for c in range(channels - 1, -1, -1):
        one = table[c]
        for s in range(plane):
            table[c * plane + s] = one


cdef inline void add(v64* first, v64* second, v64 g, v64 d, const int form) noexcept nogil:
    """A register of either sum; d is x less the pivot."""
    cdef v64 a = d if form == FORWARD else g
    first[0] = first[0] + a
    second[0] = fma(a, d, second[0])


cdef inline void add_plane(double* first, double* second, double pivot, const real* g, const real* x, Py_ssize_t n, Py_ssize_t ahead, const int form) noexcept nogil:
    """n numbers that follow each other, folded onto 16 lanes. The next image's lie `ahead`."""
    cdef v64 a[16]
    cdef v64 b[16]
    cdef v64 p = splat(pivot, (<v64*> first)[0])
    cdef Py_ssize_t i
    cdef int k, left
    for k in range(WIDES):
        a[k] = (<v64*> first)[k]
        b[k] = (<v64*> second)[k]
    for i in range(n // LANES):
        prefetch(x + i * LANES + ahead)
        if form != FORWARD:
            prefetch(g + i * LANES + ahead)
        for k in range(WIDES):
            add(&a[k], &b[k], wide(g + i * LANES + k * L64), wide(x + i * LANES + k * L64) - p, form)
    i = n - n % LANES
    if i < n:
        for k in range(WIDES):
            # Nothing on the lanes that are left.
            left = <int> max(<Py_ssize_t> 0, min(<Py_ssize_t> L64, n - i - k * L64))
            add(&a[k], &b[k], wide_head(g + i + k * L64, left), wide_head(x + i + k * L64, left) - head(&p, left), form)
    for k in range(WIDES):
        (<v64*> first)[k] = a[k]
        (<v64*> second)[k] = b[k]


cdef inline void add_rows(Sums* o, const real* g, const real* x, Py_ssize_t step, const int rows, Py_ssize_t columns, const int form) noexcept nogil:
    """The numbers of a few images that lie `step` apart, each to its column's entry."""
    cdef v64 a, b, p
    cdef Py_ssize_t i, j
    cdef int r, left = <int> (columns % L64)
    for i in range(columns // L64):
        j = i * L64
        a, b, p = (<v64*> &o.first[j])[0], (<v64*> &o.second[j])[0], (<v64*> &o.pivot[j])[0]
        for r in range(rows):
            add(&a, &b, wide(g + r * step + j), wide(x + r * step + j) - p, form)
        (<v64*> &o.first[j])[0], (<v64*> &o.second[j])[0] = a, b
    if left:
        j = columns - left
        a, b, p = (<v64*> &o.first[j])[0], (<v64*> &o.second[j])[0], (<v64*> &o.pivot[j])[0]
        for r in range(rows):
            add(&a, &b, wide_head(g + r * step + j, left), wide_head(x + r * step + j, left) - p, form)
        (<v64*> &o.first[j])[0], (<v64*> &o.second[j])[0] = a, b


cdef double total(double* lanes) noexcept nogil:
    cdef int k, width = LANES // 2
    while width:
        for k in range(width):
            lanes[k] += lanes[k + width]
        width //= 2
    return lanes[0]


cdef inline void add_up(Sums* o, const real* g, const real* x, const Sizes* z, Py_ssize_t channels, const int form) noexcept nogil:
    """Both sums of each channel, about its pivot. g and x point at the block's first channel."""
    cdef Py_ssize_t n, c, s, image = z.channels * z.plane, entries = channels * min(z.plane, <Py_ssize_t> LANES)
    cdef double first, second
    for c in range(entries + LANES):
        o.first[c] = o.second[c] = 0
    if z.plane < LANES:
        spread(o.pivot, channels, z.plane)
        # Four at a time: the sums are loaded and stored once for all of them.
        for n in range(z.images // 4):
            add_rows(o, g + 4 * n * image, x + 4 * n * image, image, 4, entries, form)
        for n in range(z.images - z.images % 4, z.images):
            add_rows(o, g + n * image, x + n * image, image, 1, entries, form)
        for c in range(channels):
            first = second = 0
            for s in range(z.plane):
                first += o.first[c * z.plane + s]
                second += o.second[c * z.plane + s]
            o.first[c], o.second[c], o.pivot[c] = first, second, o.pivot[c * z.plane]
    else:
        for n in range(z.images):
            for c in range(channels):
                add_plane(&o.first[c * LANES], &o.second[c * LANES], o.pivot[c], g + n * image + c * z.plane, x + n * image + c * z.plane, z.plane, image, form)
        for c in range(channels):
            o.first[c], o.second[c] = total(&o.first[c * LANES]), total(&o.second[c * LANES])


# --- outputs ------------------------------------------------------------------------------------------------


cdef inline vec value(vec g, vec x, vec mean, vec scale, vec slope, vec offset, const int form) noexcept nogil:
    if form == FORWARD:
        return fma(x - mean, scale, offset)
    if form == BACKWARD:
        return fma(g, scale, fma(x - mean, slope, offset))
    return g * scale


cdef inline void write(vec* out, const vec* g, const vec* x, const vec* mean, const vec* scale, const vec* slope, const vec* offset, Py_ssize_t n,
                       const bint narrow, const int form) noexcept nogil:
    """n numbers; of `mean` and the others each has its own where `narrow`, else all have the first."""
    cdef int width = L32 if vec is v32 else L64, left = <int> (n % width)
    cdef Py_ssize_t i
    cdef vec m = broadcast(mean, 0), a = broadcast(scale, 0), b = broadcast(slope, 0), c = broadcast(offset, 0)
    for i in range(n // width):
        if narrow:
            out[i] = value(g[i], x[i], mean[i], scale[i], slope[i], offset[i], form)
        else:
            out[i] = value(g[i], x[i], m, a, b, c, form)
    if left:
        i = n - left
        if narrow:
            m, a, b, c = head(at(mean, i), left), head(at(scale, i), left), head(at(slope, i), left), head(at(offset, i), left)
        put(<vec*> at(out, i), value(head(at(g, i), left), head(at(x, i), left), m, a, b, c, form), left)


cdef inline void write_as(real* out, const real* g, const real* x, const real* mean, const real* scale, const real* slope, const real* offset, Py_ssize_t n,
                          const bint narrow, const int form) noexcept nogil:
    if real is float:
        write(<v32*> out, <const v32*> g, <const v32*> x, <const v32*> mean, <const v32*> scale, <const v32*> slope, <const v32*> offset, n, narrow, form)
    else:
        write(<v64*> out, <const v64*> g, <const v64*> x, <const v64*> mean, <const v64*> scale, <const v64*> slope, <const v64*> offset, n, narrow, form)


cdef inline void write_all(real* out, const real* g, const real* x, real* mean, real* scale, real* slope, real* offset, const Sizes* z, Py_ssize_t channels,
                           const int form) noexcept nogil:
    """The block's outputs, from numbers for each channel. Only backward has a slope of its own."""
    cdef Py_ssize_t n, c, place, image = z.channels * z.plane
    if z.plane < LANES:
        spread(mean, channels, z.plane)
        spread(scale, channels, z.plane)
        spread(offset, channels, z.plane)
        if form == BACKWARD:
            spread(slope, channels, z.plane)
        for n in range(z.images):
            write_as(out + n * image, g + n * image, x + n * image, mean, scale, slope, offset, channels * z.plane, True, form)
        return
    for n in range(z.images):
        for c in range(channels):
            place = n * image + c * z.plane
            write_as(out + place, g + place, x + place, mean + c, scale + c, slope + c, offset + c, z.plane, False, form)


# --- blocks -------------------------------------------------------------------------------------------------


cdef void forward_block(real* y, real* mean, real* var, const real* x, const real* weight, const real* bias, bint given, double eps, const Sizes* z,
                        Py_ssize_t first, Py_ssize_t channels) noexcept nogil:
    """Channels from `first` on. Where the statistics are not `given`, they are written."""
    cdef Sums o
    cdef real m[COLUMNS]
    cdef real a[COLUMNS]
    cdef real b[COLUMNS]
    cdef double count = <double> z.images * <double> z.plane, centre, spreading, scale, rest
    cdef Py_ssize_t c, i
    x += first * z.plane
    y += first * z.plane
    if not given:
        for c in range(channels):
            o.pivot[c] = x[c * z.plane] if isfinite(x[c * z.plane]) else 0
        add_up(&o, x, x, z, channels, FORWARD)
    for c in range(channels):
        i = first + c
        rest = 0
        if given:
            spreading = var[i]
        else:
            centre = o.first[c] / count
            spreading = o.second[c] / count - centre * centre
            # Rounding may leave a little less than nothing; NaN stays.
            spreading = 0 if spreading < 0 else spreading
            centre += o.pivot[c]
            mean[i], var[i] = <real> centre, <real> spreading
            rest = centre - mean[i]
        scale = (weight[i] if weight != NULL else 1) / sqrt(spreading + eps)
        m[c], a[c] = mean[i], <real> scale
        b[c] = <real> ((bias[i] if bias != NULL else 0) - rest * scale)
    write_all(y, x, x, m, a, a, b, z, channels, FORWARD)


cdef void backward_block(real* grad_x, real* grad_weight, real* grad_bias, const real* g, const real* x, const real* mean, const real* var,
                         const real* weight, bint given, double eps, const Sizes* z, Py_ssize_t first, Py_ssize_t channels) noexcept nogil:
    """Channels from `first` on. What is not wanted is NULL."""
    cdef Sums o
    cdef real m[COLUMNS]
    cdef real a[COLUMNS]
    cdef real b[COLUMNS]
    cdef real d[COLUMNS]
    cdef double count = <double> z.images * <double> z.plane, inverse, scale
    cdef Py_ssize_t c, i
    x += first * z.plane
    g += first * z.plane
    for c in range(channels):
        o.pivot[c] = mean[first + c]
    if not given or grad_weight != NULL or grad_bias != NULL:
        add_up(&o, g, x, z, channels, BACKWARD)
    for c in range(channels):
        i = first + c
        inverse = 1 / sqrt(var[i] + eps)
        if grad_weight != NULL:
            grad_weight[i] = <real> (o.second[c] * inverse)
        if grad_bias != NULL:
            grad_bias[i] = <real> o.first[c]
        scale = (weight[i] if weight != NULL else 1) * inverse
        m[c], a[c] = mean[i], <real> scale
        b[c] = d[c] = 0
        if not given:
            b[c], d[c] = <real> (-scale * inverse * inverse * (o.second[c] / count)), <real> (-scale * (o.first[c] / count))
    if grad_x == NULL:
        return
    grad_x += first * z.plane
    if given:
        write_all(grad_x, g, g, m, a, b, d, z, channels, FROZEN)
    else:
        write_all(grad_x, g, x, m, a, b, d, z, channels, BACKWARD)


cdef inline void* data(object array):
    return cnp.PyArray_DATA(<cnp.ndarray> array) if array is not None else NULL


cdef Sizes sizes(cnp.ndarray x):
    cdef Py_ssize_t n = cnp.PyArray_DIM(x, 0), c = cnp.PyArray_DIM(x, 1)
    return Sizes(n, c, cnp.PyArray_SIZE(x) // (n * c))


def most_channels(Py_ssize_t plane):
    """The channels that a block may have."""
    return COLUMNS // min(plane, <Py_ssize_t> LANES)


def forward(cnp.ndarray y, cnp.ndarray mean, cnp.ndarray var, cnp.ndarray x, weight, bias, bint given, double eps, Py_ssize_t block, int threads):
    """y of x, which is not empty; `mean` and `var` are read where they are `given`, else written. A task takes `block` channels."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Sizes z = sizes(x)
    cdef Py_ssize_t i
    cdef void* yp = data(y)
    cdef void* mp = data(mean)
    cdef void* vp = data(var)
    cdef void* xp = data(x)
    cdef void* wp = data(weight)
    cdef void* bp = data(bias)
    if single:
        for i in prange((z.channels + block - 1) // block, nogil=True, num_threads=threads, schedule="static"):
            forward_block(<float*> yp, <float*> mp, <float*> vp, <float*> xp, <float*> wp, <float*> bp, given, eps, &z,
                          i * block, min(block, z.channels - i * block))
    else:
        for i in prange((z.channels + block - 1) // block, nogil=True, num_threads=threads, schedule="static"):
            forward_block(<double*> yp, <double*> mp, <double*> vp, <double*> xp, <double*> wp, <double*> bp, given, eps, &z,
                          i * block, min(block, z.channels - i * block))


def backward(grad_x, grad_weight, grad_bias, cnp.ndarray grad_y, cnp.ndarray x, cnp.ndarray mean, cnp.ndarray var, weight, bint given, double eps,
             Py_ssize_t block, int threads):
    """Gradients, of which each may be None; through the statistics, too, where they were not `given`."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Sizes z = sizes(x)
    cdef Py_ssize_t i
    cdef void* op = data(grad_x)
    cdef void* kp = data(grad_weight)
    cdef void* bp = data(grad_bias)
    cdef void* gp = data(grad_y)
    cdef void* xp = data(x)
    cdef void* mp = data(mean)
    cdef void* vp = data(var)
    cdef void* wp = data(weight)
    if single:
        for i in prange((z.channels + block - 1) // block, nogil=True, num_threads=threads, schedule="static"):
            backward_block(<float*> op, <float*> kp, <float*> bp, <float*> gp, <float*> xp, <float*> mp, <float*> vp, <float*> wp, given, eps, &z,
                           i * block, min(block, z.channels - i * block))
    else:
        for i in prange((z.channels + block - 1) // block, nogil=True, num_threads=threads, schedule="static"):
            backward_block(<double*> op, <double*> kp, <double*> bp, <double*> gp, <double*> xp, <double*> mp, <double*> vp, <double*> wp, given, eps, &z,
                           i * block, min(block, z.channels - i * block))


# --- running statistics -------------------------------------------------------------------------------------


cdef void blend_all(real* running, const real* fresh, double keep, double take, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(n):
        running[c] = <real> (keep * running[c] + take * fresh[c])


def blend(cnp.ndarray running, cnp.ndarray fresh, double keep, double take):
    """running = keep * running + take * fresh, in place."""
    cdef bint single = cnp.PyArray_TYPE(running) == cnp.NPY_FLOAT
    if single:
        blend_all(<float*> data(running), <float*> data(fresh), keep, take, cnp.PyArray_SIZE(running))
    else:
        blend_all(<double*> data(running), <double*> data(fresh), keep, take, cnp.PyArray_SIZE(running))
