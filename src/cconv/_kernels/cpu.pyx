# What the processor and the OpenMP runtime offer. Built once, for the plainest processor.

cdef extern from *:
    """
    #if (defined(__x86_64__) || defined(_M_X64)) && defined(__GNUC__)
      static const char *cc_best(void) {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma")) return "avx512";
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
        return "baseline";
      }
    #elif defined(__aarch64__) || defined(_M_ARM64)
      static const char *cc_best(void) { return "neon"; }
    #else
      static const char *cc_best(void) { return "baseline"; }
    #endif
    #ifdef _OPENMP
      #include <omp.h>
      #define cc_openmp _OPENMP
    #else
      #define cc_openmp 0
      #define omp_get_max_threads() 1
    #endif
    """
    const char* cc_best() noexcept nogil
    const int cc_openmp
    int omp_get_max_threads() noexcept nogil


def best() -> str:
    """The widest instruction set that this processor (and its operating system) runs."""
    return cc_best().decode()


def openmp() -> int:
    """The OpenMP version as yyyymm, 0 for a build without."""
    return cc_openmp


def max_threads() -> int:
    """OpenMP's limit for the calling thread: what OMP_NUM_THREADS or threadpoolctl set."""
    return omp_get_max_threads()
