# exp and its kin on registers, by Taylor polynomials on a short interval.
#
#   exp(x) = 2**k * exp(r),  k = round(x / ln 2),  |r| <= ln(2) / 2 = 0.3466
#
# Degree 7 in float leaves a remainder of 0.3466**8 / 8! = 5e-9 (0.09 units in the last place), degree 13 in double 4e-18 (0.02).
# Errors against exact values over the whole range, subnormal results included (tests/test_functional_activation.py holds the
# bounds): exp 1.1 units in the last place, sigmoid 2.5, tanh 2.6, softplus 3, in float and in double.
#
# NaN passes through: comparisons with it are false, and each formula then multiplies by it.

from cconv._kernels.simd cimport copysign, fma, scale, splat, v32, vec, where_gt


cdef inline vec split_exp(vec x, vec* t) noexcept nogil:
    """r with exp(x) = 2**k * exp(r); t is k plus a number so large that its last bit counts ones.

    ln 2 comes in two parts; the first has so few bits that k times it is exact, with or without FMA.
    """
    cdef vec big, k
    if vec is v32:
        big = splat(12582912.0, x)
        t[0] = fma(x, splat(1.4426950408889634, x), big)
        k = t[0] - big
        return fma(k, splat(-1.428606820309417e-06, x), fma(k, splat(-0.693145751953125, x), x))
    else:
        big = splat(6755399441055744.0, x)
        t[0] = fma(x, splat(1.4426950408889634, x), big)
        k = t[0] - big
        return fma(k, splat(-1.9082149292705877e-10, x), fma(k, splat(-0.6931471803691238, x), x))


cdef inline vec expm1_short(vec r) noexcept nogil:
    """exp(r) - 1 for |r| <= 0.35: r + r**2/2! + r**3/3! + ..."""
    cdef vec p
    if vec is v32:
        p = splat(1.0 / 5040.0, r)
    else:
        p = splat(1.0 / 6227020800.0, r)
        p = fma(p, r, splat(1.0 / 479001600.0, r))
        p = fma(p, r, splat(1.0 / 39916800.0, r))
        p = fma(p, r, splat(1.0 / 3628800.0, r))
        p = fma(p, r, splat(1.0 / 362880.0, r))
        p = fma(p, r, splat(1.0 / 40320.0, r))
        p = fma(p, r, splat(1.0 / 5040.0, r))
    p = fma(p, r, splat(1.0 / 720.0, r))
    p = fma(p, r, splat(1.0 / 120.0, r))
    p = fma(p, r, splat(1.0 / 24.0, r))
    p = fma(p, r, splat(1.0 / 6.0, r))
    p = fma(p, r, splat(0.5, r))
    return fma(p * r, r, r)


cdef inline vec clamp(vec x, double low, double high) noexcept nogil:
    """x within low..high; NaN stays NaN."""
    cdef vec a = splat(low, x), b = splat(high, x)
    x = where_gt(a, x, a, x)
    return where_gt(x, b, b, x)


cdef inline vec exp(vec x) noexcept nogil:
    cdef vec t, p
    if vec is v32:
        x = clamp(x, -104.0, 89.0)
    else:
        x = clamp(x, -746.0, 710.0)
    p = expm1_short(split_exp(x, &t)) + splat(1.0, x)
    return scale(p, t)


cdef inline vec sigmoid(vec x) noexcept nogil:
    """From e = exp(-|x|), which cannot overflow: 1 / (1 + e), and e / (1 + e) where x is negative."""
    cdef vec zero = splat(0.0, x), one = splat(1.0, x), e = exp(copysign(x, splat(-1.0, x)))
    return where_gt(zero, x, e, one) / (one + e)


cdef inline vec tanh(vec x) noexcept nogil:
    """From e = exp(-2|x|) - 1, which keeps its digits near 0: tanh|x| = -e / (2 + e)."""
    cdef vec t, q, s, e, one = splat(1.0, x), z = splat(-2.0, x) * copysign(x, one)
    z = clamp(z, -50.0, 0.0)
    q = expm1_short(split_exp(z, &t))
    s = scale(one, t)
    e = fma(s, q, s - one)
    return copysign(-e / (splat(2.0, x) + e), x)


cdef inline vec log1p_unit(vec u) noexcept nogil:
    """log(1 + u) for 0 <= u <= 1: 2 atanh(s) = 2 (s + s**3/3 + s**5/5 + ...), s = u / (2 + u) <= 1/3."""
    cdef vec s = u / (splat(2.0, u) + u)
    cdef vec q = s * s, p
    cdef int n
    if vec is v32:
        p = splat(1.0 / 17, u)
        for n in range(7):
            p = fma(p, q, splat(1.0 / (15 - 2 * n), u))
    else:
        p = splat(1.0 / 37, u)
        for n in range(17):
            p = fma(p, q, splat(1.0 / (35 - 2 * n), u))
    return splat(2.0, u) * fma(p * q, s, s)


cdef inline vec softplus(vec z) noexcept nogil:
    """log(1 + exp(z)) = max(z, 0) + log1p(exp(-|z|))."""
    cdef vec zero = splat(0.0, z)
    return where_gt(zero, z, zero, z) + log1p_unit(exp(copysign(z, splat(-1.0, z))))
