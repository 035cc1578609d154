# exp and its kin on registers, by Taylor polynomials on a short interval.
#
#   exp(x) = 2**k * exp(r),  k = round(x / ln 2),  |r| <= ln(2) / 2 = 0.3466
#
# Degree 7 in float leaves a remainder of 0.3466**8 / 8! = 5e-9 (0.09 units in the last place), degree 13 in double 4e-18 (0.02).
# Errors against exact values over the whole range, subnormal results included (tests/test_functional_activation.py holds the
# bounds): exp 1.1 units in the last place, sigmoid 2.5, tanh 2.6, softplus 3, expm1 of a negative number 2, x sigmoid(x) 3,
# in float and in double; x Phi(x) 5 in float and 7 in double.
#
# Phi, the normal distribution, comes from Mills' ratio: Phi(-a) = exp(-a*a / 2) * R(a) for a >= 0, where R falls slowly from 1/2 and like
# 1 / (a sqrt(2 pi)) in the end. R(a) = u g(1 - 2u) with u = k / (k + a) (Shepherd and Laframboise 1981); g is a polynomial through Chebyshev's
# points, in float of degree 10 with relative error 1.2e-9, in double of degree 21 with 9e-18. The tail keeps its digits, down to subnormal results.
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


cdef inline vec expm1_negative(vec x) noexcept nogil:
    """exp(x) - 1 for x <= 0, with the digits that it has near 0."""
    cdef vec t, q, s, one = splat(1.0, x)
    q = expm1_short(split_exp(clamp(x, -50.0, 0.0), &t))
    s = scale(one, t)
    return fma(s, q, s - one)


cdef inline vec sigmoid(vec x) noexcept nogil:
    """From e = exp(-|x|), which cannot overflow: 1 / (1 + e), and e / (1 + e) where x is negative."""
    cdef vec zero = splat(0.0, x), one = splat(1.0, x), e = exp(copysign(x, splat(-1.0, x)))
    return where_gt(zero, x, e, one) / (one + e)


cdef inline vec tanh(vec x) noexcept nogil:
    """From e = exp(-2|x|) - 1, which keeps its digits near 0: tanh|x| = -e / (2 + e)."""
    cdef vec e, z = splat(-2.0, x) * copysign(x, splat(1.0, x))
    e = expm1_negative(z)
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


cdef inline vec times_sigmoid(vec x, vec z) noexcept nogil:
    """x * sigmoid(z), where x and z have one sign. x comes in before the scaling: exp(z) alone may be subnormal, and short of digits."""
    cdef vec t, p, y, zero = splat(0.0, x), one = splat(1.0, x), low
    # Below, the product is 0 in any case.
    low = splat(-110.0, x) if vec is v32 else splat(-760.0, x)
    p = expm1_short(split_exp(clamp(copysign(z, -one), -110.0 if vec is v32 else -760.0, 0.0), &t)) + one
    y = where_gt(zero, z, scale(p * x, t), x) / (one + scale(p, t))
    return where_gt(low, z, zero * x, y)


cdef inline vec normal_tail(vec x, vec* t, vec* p) noexcept nogil:
    """R(|x|), and p, t with exp(-x*x / 2) = scale(p, t). Both stay as they are from where x * exp(-x*x / 2) is 0.

    x*x is the exact square of a number of half the digits, and a small rest that joins the short argument.
    """
    cdef vec a, h, u, w, q, big
    if vec is v32:
        a = clamp(copysign(x, splat(1.0, x)), 0.0, 15.0)
        big = splat(49152.0, x)
    else:
        a = clamp(copysign(x, splat(1.0, x)), 0.0, 40.0)
        big = splat(6442450944.0, x)
    h = (a + big) - big
    w = split_exp(splat(-0.5, x) * (h * h), t) - splat(0.5, x) * ((a - h) * (a + h))
    p[0] = expm1_short(w) + splat(1.0, x)
    if vec is v32:
        u = splat(3.0, x) / (a + splat(3.0, x))
        w = fma(splat(-2.0, x), u, splat(1.0, x))
        q = splat(1.849729057e-5, x)
        q = fma(q, w, splat(4.444131807e-5, x))
        q = fma(q, w, splat(-8.15697736e-5, x))
        q = fma(q, w, splat(-0.000344825517, x))
        q = fma(q, w, splat(0.0003413857748, x))
        q = fma(q, w, splat(0.002323306717, x))
        q = fma(q, w, splat(-0.003487429656, x))
        q = fma(q, w, splat(-0.01575425397, x))
        q = fma(q, w, splat(0.07667255889, x))
        q = fma(q, w, splat(-0.1697773296, x))
        q = fma(q, w, splat(0.2430278969, x))
    else:
        u = splat(5.5, x) / (a + splat(5.5, x))
        w = fma(splat(-2.0, x), u, splat(1.0, x))
        q = splat(-4.7435974677816926e-10, x)
        q = fma(q, w, splat(-1.043867554502836e-9, x))
        q = fma(q, w, splat(4.1697692523725059e-9, x))
        q = fma(q, w, splat(9.1766432692075156e-9, x))
        q = fma(q, w, splat(-3.2263830030869269e-8, x))
        q = fma(q, w, splat(-4.8726878725494668e-8, x))
        q = fma(q, w, splat(2.697541253500708e-7, x))
        q = fma(q, w, splat(8.1175782100123576e-8, x))
        q = fma(q, w, splat(-2.2034079113906539e-6, x))
        q = fma(q, w, splat(2.9672636023275926e-6, x))
        q = fma(q, w, splat(1.2984506798635805e-5, x))
        q = fma(q, w, splat(-5.900411787127053e-5, x))
        q = fma(q, w, splat(4.9018912072211312e-5, x))
        q = fma(q, w, splat(0.00044417866815183061, x))
        q = fma(q, w, splat(-0.0025315473759828086, x))
        q = fma(q, w, splat(0.0081995601481416388, x))
        q = fma(q, w, splat(-0.019946016356098906, x))
        q = fma(q, w, splat(0.039613169610539807, x))
        q = fma(q, w, splat(-0.066736193689750193, x))
        q = fma(q, w, splat(0.097381179829544442, x))
        q = fma(q, w, splat(-0.12457880374078874, x))
        q = fma(q, w, splat(0.14068538805025578, x))
    return u * q


cdef inline vec times_normal(vec x) noexcept nogil:
    """x * Phi(x)."""
    cdef vec t, p, y, zero = splat(0.0, x), one = splat(1.0, x), low = splat(-15.0 if vec is v32 else -40.0, x)
    cdef vec tail = normal_tail(x, &t, &p)
    y = where_gt(zero, x, scale(p * (where_gt(low, x, low, x) * tail), t), x * (one - scale(p * tail, t)))
    return where_gt(low, x, zero * x, y)


cdef inline vec times_normal_slope(vec x) noexcept nogil:
    """Phi(x) + x phi(x), the slope of x * Phi(x). At infinity x phi(x) is NaN, as the product's limit is not taken."""
    cdef vec t, p, s, zero = splat(0.0, x), one = splat(1.0, x), a = copysign(x, one)
    cdef vec tail = normal_tail(x, &t, &p)
    a = clamp(a, 0.0, 15.0 if vec is v32 else 40.0)
    s = scale(p * fma(a, splat(-0.3989422804014327, x), tail), t)
    return where_gt(zero, x, s, one - s) + zero * x
