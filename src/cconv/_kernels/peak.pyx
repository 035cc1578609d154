# The machine's own limit, for the benchmarks: fused multiply-adds that never leave the registers.

from cython.parallel cimport prange
cimport numpy as cnp

from cconv._kernels.simd cimport L32, broadcast, fma, v32, vec

cnp.import_array()


cdef inline void spin(vec* out, const vec* start, Py_ssize_t rounds) noexcept nogil:
    cdef vec s[12]  # enough to hide the latency, few enough for 16 registers
    cdef vec a = broadcast(start, 0), b = broadcast(start, 1)
    cdef Py_ssize_t _
    cdef int i
    for i in range(12):
        s[i] = b
    for _ in range(rounds):
        for i in range(12):
            s[i] = fma(a, s[i], b)
    for i in range(1, 12):
        s[0] = s[0] + s[i]
    out[0] = s[0]


cdef void spin32(float* out, const float* start, Py_ssize_t rounds) noexcept nogil:
    spin(<v32*> out, <const v32*> start, rounds)


def multiply_add(cnp.ndarray out, cnp.ndarray start, Py_ssize_t rounds, int threads):
    """Run `rounds` rounds of float32 multiply-adds on each thread; returns the floating-point operations done. `out` has 64 numbers a thread."""
    cdef float* op = <float*> cnp.PyArray_DATA(out)
    cdef float* sp = <float*> cnp.PyArray_DATA(start)
    cdef int t
    for t in prange(threads, nogil=True, num_threads=threads, schedule="static"):
        spin32(op + 64 * t, sp, rounds)
    return 2 * 12 * L32 * rounds * threads
