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
#
# Group normalisation, of x (N, G, C / G, S), has statistics for each row of C / G * S numbers that follow each other: a task is a row, whose sums
# are those of one plane. Weights belong to channels of at least 16 numbers, or to single numbers (S = 1): layer normalisation is that with G = 1.
# A weight's gradient sums over rows: tasks of a few columns for single numbers, else the caller adds up what each row gives its channels.

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


# --- groups ---------------------------------------------------------------------------------------------------


cdef struct Row:
    Py_ssize_t groups  # of an image
    Py_ssize_t channels  # of a group
    Py_ssize_t plane
    double eps


cdef inline void statistics(double* mean, double* inverse, const real* x, Py_ssize_t n, double eps) noexcept nogil:
    """Of n numbers that follow each other; `inverse` is 1 / sqrt(var + eps)."""
    cdef double first[LANES]
    cdef double second[LANES]
    cdef double pivot = x[0] if isfinite(x[0]) else 0, centre, spreading
    cdef int k
    for k in range(LANES):
        first[k] = second[k] = 0
    add_plane(first, second, pivot, x, x, n, n, FORWARD)
    centre = total(first) / n
    spreading = total(second) / n - centre * centre
    mean[0], inverse[0] = pivot + centre, 1 / sqrt((0 if spreading < 0 else spreading) + eps)


cdef inline vec part(const vec* p, Py_ssize_t i, int n, const bint whole) noexcept nogil:
    return at(p, i)[0] if whole else head(at(p, i), n)


cdef inline void write_element(vec* out, const vec* g, const vec* x, const vec* weight, const vec* bias, vec m, vec a, vec b, vec c, Py_ssize_t i, int n,
                               const bint whole, const int form) noexcept nogil:
    cdef vec v = part(x, i, n, whole) - m, w = part(weight, i, n, whole)
    if form == FORWARD:
        v = fma(fma(v, a, c), w, part(bias, i, n, whole))
    else:
        v = fma(part(g, i, n, whole) * w, a, fma(v, b, c))
    if whole:
        (<vec*> at(out, i))[0] = v
    else:
        put(<vec*> at(out, i), v, n)


cdef inline void write_elements(vec* out, const vec* g, const vec* x, const vec* weight, const vec* bias, double mean, double scale, double slope,
                                double offset, Py_ssize_t n, const int form) noexcept nogil:
    """Forward (x - mean) * scale * weight + bias; backward g * weight * scale + (x - mean) * slope + offset."""
    cdef int width = L32 if vec is v32 else L64, left = <int> (n % width)
    cdef vec like = splat(0.0, head(x, 1)), m = splat(mean, like), a = splat(scale, like), b = splat(slope, like), c
    # m is mean rounded.
    cdef double rest = mean - (<float> mean if vec is v32 else mean)
    cdef Py_ssize_t i
    c = splat(-rest * scale if form == FORWARD else offset - rest * slope, like)
    for i in range(n // width):
        write_element(out, g, x, weight, bias, m, a, b, c, i * width, width, True, form)
    if left:
        write_element(out, g, x, weight, bias, m, a, b, c, n - left, left, False, form)


cdef inline void write_elements_as(real* out, const real* g, const real* x, const real* weight, const real* bias, double mean, double scale, double slope,
                                   double offset, Py_ssize_t n, const int form) noexcept nogil:
    if real is float:
        write_elements(<v32*> out, <const v32*> g, <const v32*> x, <const v32*> weight, <const v32*> bias, mean, scale, slope, offset, n, form)
    else:
        write_elements(<v64*> out, <const v64*> g, <const v64*> x, <const v64*> weight, <const v64*> bias, mean, scale, slope, offset, n, form)


cdef void forward_row(real* y, const real* x, const real* weight, const real* bias, const Row* z) noexcept nogil:
    cdef double mean, scale, rest
    cdef Py_ssize_t c
    cdef real m, a, b
    statistics(&mean, &scale, x, z.channels * z.plane, z.eps)
    if z.plane == 1:
        write_elements_as(y, x, x, weight, bias, mean, scale, 0, 0, z.channels, FORWARD)
        return
    m = <real> mean
    rest = mean - m
    for c in range(z.channels):
        a = <real> (scale * (weight[c] if weight != NULL else 1))
        b = <real> ((bias[c] if bias != NULL else 0) - rest * scale * (weight[c] if weight != NULL else 1))
        write_as(y + c * z.plane, x, x + c * z.plane, &m, &a, &a, &b, z.plane, False, FORWARD)


cdef inline void add_elements(double* first, double* second, double pivot, const real* g, const real* x, const real* weight, Py_ssize_t n) noexcept nogil:
    """Sums of g * weight, and of that times x less the pivot, on 16 lanes."""
    cdef v64 a[16]
    cdef v64 b[16]
    cdef v64 v, p = splat(pivot, (<v64*> first)[0])
    cdef Py_ssize_t i, j
    cdef int k, left
    for k in range(WIDES):
        a[k] = b[k] = splat(0.0, p)
    for i in range(n // LANES):
        for k in range(WIDES):
            j = i * LANES + k * L64
            v = wide(g + j) * wide(weight + j)
            a[k], b[k] = a[k] + v, fma(v, wide(x + j) - p, b[k])
    i = n - n % LANES
    if i < n:
        for k in range(WIDES):
            j = i + k * L64
            left = <int> max(<Py_ssize_t> 0, min(<Py_ssize_t> L64, n - j))
            v = wide_head(g + j, left) * wide_head(weight + j, left)
            a[k], b[k] = a[k] + v, fma(v, wide_head(x + j, left) - head(&p, left), b[k])
    for k in range(WIDES):
        (<v64*> first)[k], (<v64*> second)[k] = a[k], b[k]


cdef void backward_row(real* grad_x, double* table, double* parts, const real* g, const real* x, const real* weight, const Row* z) noexcept nogil:
    """Of grad_y g. `table` takes mean and inverse deviation; `parts`, unless NULL, the row's part of each channel's gradients: weight, bias."""
    cdef double first[LANES]
    cdef double second[LANES]
    cdef double mean, inverse, along = 0, across = 0, w, rest, slope, offset
    cdef Py_ssize_t c, n = z.channels * z.plane
    cdef real m, a, b, d
    cdef int k
    statistics(&mean, &inverse, x, n, z.eps)
    table[0], table[1] = mean, inverse
    if z.plane == 1:
        if grad_x == NULL:
            return
        add_elements(first, second, mean, g, x, weight, n)
        along, across = total(first), total(second)
    else:
        for c in range(z.channels):
            for k in range(LANES):
                first[k] = second[k] = 0
            add_plane(first, second, mean, g + c * z.plane, x + c * z.plane, z.plane, 0, BACKWARD)
            w = weight[c] if weight != NULL else 1
            along += w * total(first)
            across += w * total(second)
            if parts != NULL:
                parts[2 * c], parts[2 * c + 1] = second[0] * inverse, first[0]
        if grad_x == NULL:
            return
    slope, offset = -inverse * inverse * inverse * (across / n), -inverse * (along / n)
    if z.plane == 1:
        write_elements_as(grad_x, g, x, weight, weight, mean, inverse, slope, offset, n, BACKWARD)
        return
    m = <real> mean
    rest = mean - m
    b, d = <real> slope, <real> (offset - rest * slope)
    for c in range(z.channels):
        a = <real> (inverse * (weight[c] if weight != NULL else 1))
        write_as(grad_x + c * z.plane, g + c * z.plane, x + c * z.plane, &m, &a, &b, &d, z.plane, False, BACKWARD)


cdef void add_columns(real* grad_weight, real* grad_bias, const double* table, const real* g, const real* x, Py_ssize_t images, Py_ssize_t groups,
                      Py_ssize_t step, int n) noexcept nogil:
    """Up to 64 columns of a group: its rows lie `step` numbers apart, and their statistics `groups` entries."""
    cdef double first[64 + LANES]
    cdef double second[64 + LANES]
    cdef Py_ssize_t r
    cdef v64 a, p, like
    cdef int k, left
    for k in range(64 + LANES):
        first[k] = second[k] = 0
    like = (<v64*> first)[0]
    for r in range(images):
        p = splat(table[2 * r * groups], like)
        for k in range((n + L64 - 1) // L64):
            left = min(L64, n - k * L64)
            a = wide_head(g + r * step + k * L64, left)
            (<v64*> first)[k] = (<v64*> first)[k] + a
            a = a * splat(table[2 * r * groups + 1], like)
            (<v64*> second)[k] = fma(a, wide_head(x + r * step + k * L64, left) - p, (<v64*> second)[k])
    for k in range(n):
        if grad_weight != NULL:
            grad_weight[k] = <real> second[k]
        if grad_bias != NULL:
            grad_bias[k] = <real> first[k]


def forward_groups(cnp.ndarray y, cnp.ndarray x, weight, bias, Py_ssize_t groups, Py_ssize_t channels, Py_ssize_t plane, double eps, int threads):
    """y of x (N, groups, channels, plane), which is not empty. weight and bias (groups * channels,): None is allowed unless `plane` is 1."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Row z = Row(groups, channels, plane, eps)
    cdef Py_ssize_t n = channels * plane, i, c
    cdef void* yp = data(y)
    cdef void* xp = data(x)
    cdef void* wp = data(weight)
    cdef void* bp = data(bias)
    if single:
        for i in prange(cnp.PyArray_SIZE(x) // n, nogil=True, num_threads=threads, schedule="static"):
            c = i % groups * channels
            forward_row(<float*> yp + i * n, <float*> xp + i * n, <float*> wp + c if wp != NULL else NULL, <float*> bp + c if bp != NULL else NULL, &z)
    else:
        for i in prange(cnp.PyArray_SIZE(x) // n, nogil=True, num_threads=threads, schedule="static"):
            c = i % groups * channels
            forward_row(<double*> yp + i * n, <double*> xp + i * n, <double*> wp + c if wp != NULL else NULL, <double*> bp + c if bp != NULL else NULL, &z)


def backward_groups(grad_x, cnp.ndarray table, parts, cnp.ndarray grad_y, cnp.ndarray x, weight, Py_ssize_t groups, Py_ssize_t channels, Py_ssize_t plane,
                    double eps, int threads):
    """Gradient to x; `table` (rows, 2) and `parts` (rows, channels, 2) are of double. grad_x and parts may be None."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Row z = Row(groups, channels, plane, eps)
    cdef Py_ssize_t n = channels * plane, i, c
    cdef double* tp = <double*> data(table)
    cdef double* pp = <double*> data(parts)
    cdef void* op = data(grad_x)
    cdef void* gp = data(grad_y)
    cdef void* xp = data(x)
    cdef void* wp = data(weight)
    if single:
        for i in prange(cnp.PyArray_SIZE(x) // n, nogil=True, num_threads=threads, schedule="static"):
            c = i % groups * channels
            backward_row(<float*> op + i * n if op != NULL else NULL, tp + 2 * i, pp + 2 * i * channels if pp != NULL else NULL,
                         <float*> gp + i * n, <float*> xp + i * n, <float*> wp + c if wp != NULL else NULL, &z)
    else:
        for i in prange(cnp.PyArray_SIZE(x) // n, nogil=True, num_threads=threads, schedule="static"):
            c = i % groups * channels
            backward_row(<double*> op + i * n if op != NULL else NULL, tp + 2 * i, pp + 2 * i * channels if pp != NULL else NULL,
                         <double*> gp + i * n, <double*> xp + i * n, <double*> wp + c if wp != NULL else NULL, &z)


def backward_columns(grad_weight, grad_bias, cnp.ndarray table, cnp.ndarray grad_y, cnp.ndarray x, Py_ssize_t groups, Py_ssize_t columns, int threads):
    """Gradients (groups * columns,) to weights of single numbers, of which either may be None; `table` from backward_groups."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Py_ssize_t blocks = (columns + 63) // 64, step = groups * columns, images = cnp.PyArray_SIZE(x) // step, i, group, j
    cdef int n
    cdef double* tp = <double*> data(table)
    cdef void* wp = data(grad_weight)
    cdef void* bp = data(grad_bias)
    cdef void* gp = data(grad_y)
    cdef void* xp = data(x)
    if single:
        for i in prange(groups * blocks, nogil=True, num_threads=threads, schedule="static"):
            group = i // blocks
            j = group * columns + i % blocks * 64
            n = <int> min(<Py_ssize_t> 64, (group + 1) * columns - j)
            add_columns(<float*> wp + j if wp != NULL else NULL, <float*> bp + j if bp != NULL else NULL, tp + 2 * group,
                        <float*> gp + j, <float*> xp + j, images, groups, step, n)
    else:
        for i in prange(groups * blocks, nogil=True, num_threads=threads, schedule="static"):
            group = i // blocks
            j = group * columns + i % blocks * 64
            n = <int> min(<Py_ssize_t> 64, (group + 1) * columns - j)
            add_columns(<double*> wp + j if wp != NULL else NULL, <double*> bp + j if bp != NULL else NULL, tp + 2 * group,
                        <double*> gp + j, <double*> xp + j, images, groups, step, n)


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
