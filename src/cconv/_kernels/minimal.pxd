# Minimal filtering F(4, 3): four outputs of a filter of three taps by 6 multiplications in place of 12; in two dimensions 36 in
# place of 144 (Winograd 1980; Lavin & Gray 2015, arXiv 1509.09308).
#
# Polynomials are multiplied by their values at six points: 0, +-3/4, +-3/2 and infinity. Points near 1 that are fractions of powers
# of two keep the transforms of data exact in their constants and the error near that of the direct sum: 1.5 to 2 times as large, where
# the customary 0, +-1, +-2 give 4 to 6 times (measured, see README.md).
#
# Each function maps one line of a tile, register by register: in[i] at d + i*ds, out[i] at e + i*es (numbers apart).
#
#   data        6 -> 6   what the filter slides over, to its values at the points
#   taps        3 -> 6   the filter
#   outputs     6 -> 4   products back to outputs
#   outputs_t   4 -> 6   the transpose of `outputs`: gradients of outputs to those of the products
#   taps_t      6 -> 3   the transpose of `taps`: gradients of products to those of the filter

from cconv._kernels.simd cimport at, fma, splat, vec

# Points a = 3/4 and b = 3/2; N0, NA, NB: products of a point's distances to the others.
cdef extern from *:
    """
    #define CC_A 0.75
    #define CC_B 1.5
    #define CC_A2 (CC_A * CC_A)
    #define CC_B2 (CC_B * CC_B)
    #define CC_N0 (CC_A2 * CC_B2)
    #define CC_NA (2 * CC_A2 * (CC_A2 - CC_B2))
    #define CC_NB (2 * CC_B2 * (CC_B2 - CC_A2))
    """
    const double A "CC_A"
    const double B "CC_B"
    const double A2 "CC_A2"
    const double B2 "CC_B2"
    const double N0 "CC_N0"
    const double NA "CC_NA"
    const double NB "CC_NB"


cdef inline void store(vec* e, Py_ssize_t i, vec value) noexcept nogil:
    (<vec*> at(e, i))[0] = value


cdef inline void data(const vec* d, Py_ssize_t ds, vec* e, Py_ssize_t es) noexcept nogil:
    cdef vec d0 = d[0], d1 = at(d, ds)[0], d2 = at(d, 2 * ds)[0], d3 = at(d, 3 * ds)[0], d4 = at(d, 4 * ds)[0], d5 = at(d, 5 * ds)[0]
    cdef vec even_a = fma(splat(-B2, d0), d2, d4), odd_a = fma(splat(-B2, d0), d1, d3)
    cdef vec even_b = fma(splat(-A2, d0), d2, d4), odd_b = fma(splat(-A2, d0), d1, d3)
    store(e, 0, fma(splat(N0, d0), d0, fma(splat(-(A2 + B2), d0), d2, d4)))
    store(e, es, fma(splat(A, d0), odd_a, even_a))
    store(e, 2 * es, fma(splat(-A, d0), odd_a, even_a))
    store(e, 3 * es, fma(splat(B, d0), odd_b, even_b))
    store(e, 4 * es, fma(splat(-B, d0), odd_b, even_b))
    store(e, 5 * es, fma(splat(N0, d0), d1, fma(splat(-(A2 + B2), d0), d3, d5)))


cdef inline void taps(const vec* d, Py_ssize_t ds, vec* e, Py_ssize_t es) noexcept nogil:
    cdef vec d0 = d[0], d1 = at(d, ds)[0], d2 = at(d, 2 * ds)[0]
    cdef vec even_a = fma(splat(A2 / NA, d0), d2, splat(1 / NA, d0) * d0)
    cdef vec even_b = fma(splat(B2 / NB, d0), d2, splat(1 / NB, d0) * d0)
    store(e, 0, splat(1 / N0, d0) * d0)
    store(e, es, fma(splat(A / NA, d0), d1, even_a))
    store(e, 2 * es, fma(splat(-A / NA, d0), d1, even_a))
    store(e, 3 * es, fma(splat(B / NB, d0), d1, even_b))
    store(e, 4 * es, fma(splat(-B / NB, d0), d1, even_b))
    store(e, 5 * es, d2)


cdef inline void taps_t(const vec* d, Py_ssize_t ds, vec* e, Py_ssize_t es) noexcept nogil:
    cdef vec d0 = d[0], d1 = at(d, ds)[0], d2 = at(d, 2 * ds)[0], d3 = at(d, 3 * ds)[0], d4 = at(d, 4 * ds)[0]
    cdef vec even_a = d1 + d2, odd_a = d1 - d2, even_b = d3 + d4, odd_b = d3 - d4
    store(e, 0, fma(splat(1 / NB, d0), even_b, fma(splat(1 / NA, d0), even_a, splat(1 / N0, d0) * d0)))
    store(e, es, fma(splat(B / NB, d0), odd_b, splat(A / NA, d0) * odd_a))
    store(e, 2 * es, fma(splat(B2 / NB, d0), even_b, fma(splat(A2 / NA, d0), even_a, at(d, 5 * ds)[0])))


cdef inline void outputs(const vec* d, Py_ssize_t ds, vec* e, Py_ssize_t es) noexcept nogil:
    cdef vec d1 = at(d, ds)[0], d2 = at(d, 2 * ds)[0], d3 = at(d, 3 * ds)[0], d4 = at(d, 4 * ds)[0]
    cdef vec even_a = d1 + d2, odd_a = d1 - d2, even_b = d3 + d4, odd_b = d3 - d4
    store(e, 0, d[0] + even_a + even_b)
    store(e, es, fma(splat(B, d1), odd_b, splat(A, d1) * odd_a))
    store(e, 2 * es, fma(splat(B2, d1), even_b, splat(A2, d1) * even_a))
    store(e, 3 * es, fma(splat(B * B2, d1), odd_b, fma(splat(A * A2, d1), odd_a, at(d, 5 * ds)[0])))


cdef inline void outputs_t(const vec* d, Py_ssize_t ds, vec* e, Py_ssize_t es) noexcept nogil:
    cdef vec d0 = d[0], d1 = at(d, ds)[0], d2 = at(d, 2 * ds)[0], d3 = at(d, 3 * ds)[0]
    cdef vec even_a = fma(splat(A2, d0), d2, d0), odd_a = fma(splat(A * A2, d0), d3, splat(A, d0) * d1)
    cdef vec even_b = fma(splat(B2, d0), d2, d0), odd_b = fma(splat(B * B2, d0), d3, splat(B, d0) * d1)
    store(e, 0, d0)
    store(e, es, even_a + odd_a)
    store(e, 2 * es, even_a - odd_a)
    store(e, 3 * es, even_b + odd_b)
    store(e, 4 * es, even_b - odd_b)
    store(e, 5 * es, d3)
