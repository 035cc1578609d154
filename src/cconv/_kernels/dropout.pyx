# Dropout: which numbers stay is a matter of (seed, stream, step) and a number's place alone, so that no mask is kept and threads do not count.
#
# Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") makes 4 words of 32 bits from a counter of 128 and a key of 64.
# Counters go through 16 at a time, for 64 numbers; number 64 b + 16 w + k takes word w of counter 16 b + k. A task is 64 * BLOCKS numbers.

from libc.stdint cimport uint32_t, uint64_t

from cython.parallel cimport prange
cimport numpy as cnp

from cconv._kernels.simd cimport real

cnp.import_array()


cdef enum:
    BLOCKS = 64


cdef inline void words(uint32_t* out, uint64_t block, uint32_t step, uint32_t stream, uint64_t seed) noexcept nogil:
    """64 words."""
    cdef uint32_t a[16]
    cdef uint32_t b[16]
    cdef uint32_t c[16]
    cdef uint32_t d[16]
    cdef uint32_t low = <uint32_t> seed, high = <uint32_t> (seed >> 32)
    cdef uint64_t p, q
    cdef int k, _r
    for k in range(16):
        a[k], b[k], c[k], d[k] = <uint32_t> (block * 16 + <uint64_t> k), <uint32_t> ((block * 16) >> 32), step, stream
    for _r in range(10):
        for k in range(16):
            p, q = <uint64_t> 0xD2511F53 * a[k], <uint64_t> 0xCD9E8D57 * c[k]
            a[k], c[k] = <uint32_t> (q >> 32) ^ b[k] ^ low, <uint32_t> (p >> 32) ^ d[k] ^ high
            b[k], d[k] = <uint32_t> q, <uint32_t> p
        low += <uint32_t> 0x9E3779B9
        high += <uint32_t> 0xBB67AE85
    for k in range(16):
        out[k], out[16 + k], out[32 + k], out[48 + k] = a[k], b[k], c[k], d[k]


cdef void task(real* y, const real* x, Py_ssize_t first, Py_ssize_t n, uint32_t threshold, double scale, uint64_t seed, uint32_t stream,
               uint32_t step) noexcept nogil:
    cdef uint32_t bits[64]
    cdef real factor = <real> scale, nothing = 0
    cdef Py_ssize_t block, i, base
    for block in range(first, min(first + BLOCKS, (n + 63) // 64)):
        words(bits, block, step, stream, seed)
        base = 64 * block
        for i in range(min(<Py_ssize_t> 64, n - base)):
            # A product: NaN and infinity become NaN where dropped.
            y[base + i] = x[base + i] * (factor if bits[i] >= threshold else nothing)


def apply(cnp.ndarray y, cnp.ndarray x, uint32_t threshold, double scale, uint64_t seed, uint32_t stream, uint32_t step, int threads):
    """y = x * scale where the number's word is at least `threshold`, else x * 0."""
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x), i
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* xp = cnp.PyArray_DATA(x)
    if single:
        for i in prange((n + 64 * BLOCKS - 1) // (64 * BLOCKS), nogil=True, num_threads=threads, schedule="static"):
            task(<float*> yp, <float*> xp, i * BLOCKS, n, threshold, scale, seed, stream, step)
    else:
        for i in prange((n + 64 * BLOCKS - 1) // (64 * BLOCKS), nogil=True, num_threads=threads, schedule="static"):
            task(<double*> yp, <double*> xp, i * BLOCKS, n, threshold, scale, seed, stream, step)
