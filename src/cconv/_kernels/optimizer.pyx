# Updates of parameters, in one pass over each: every array is read and written once.

from cython.parallel cimport prange
cimport numpy as cnp

from cconv._kernels.simd cimport L32, L64, at, fma, head, put, real, root, splat, v32, v64, vec

cnp.import_array()


cdef enum:
    BLOCK = 16384  # numbers a task
    TOGETHER = 64  # parameters a call of the kernel


# --- SGD ----------------------------------------------------------------------------------------------------


cdef struct Sgd:
    double lr
    double momentum
    double fresh  # what the velocity takes of a gradient: 1 - dampening, and 1 at the first step
    double kept  # what it keeps of itself: momentum, and 0 at the first step
    double weight_decay
    int nesterov


cdef inline vec sgd_step(vec value, vec grad, vec* velocity, const Sgd* o) noexcept nogil:
    """The new value; `velocity` is NULL without momentum."""
    cdef vec g = fma(splat(o.weight_decay, value), value, grad) if o.weight_decay else grad
    if velocity != NULL:
        if o.kept:
            velocity[0] = fma(splat(o.fresh, g), g, splat(o.kept, g) * velocity[0])
        else:
            velocity[0] = splat(o.fresh, g) * g
        g = fma(splat(o.momentum, g), velocity[0], g) if o.nesterov else velocity[0]
    return fma(splat(-o.lr, g), g, value)


cdef inline void sgd_loop(vec* value, const vec* grad, vec* velocity, const Sgd* o, Py_ssize_t n) noexcept nogil:
    cdef int width = L32 if vec is v32 else L64, left = <int> (n % width)
    cdef Py_ssize_t i
    cdef vec v
    for i in range(n // width):
        value[i] = sgd_step(value[i], grad[i], velocity + i if velocity != NULL else NULL, o)
    if left:
        i = n - left
        if velocity != NULL:
            v = head(at(velocity, i), left)
            put(<vec*> at(value, i), sgd_step(head(at(value, i), left), head(at(grad, i), left), &v, o), left)
            put(<vec*> at(velocity, i), v, left)
        else:
            put(<vec*> at(value, i), sgd_step(head(at(value, i), left), head(at(grad, i), left), NULL, o), left)


cdef void sgd_block(real* value, const real* grad, real* velocity, const Sgd* o, Py_ssize_t n) noexcept nogil:
    if real is float:
        sgd_loop(<v32*> value, <const v32*> grad, <v32*> velocity, o, n)
    else:
        sgd_loop(<v64*> value, <const v64*> grad, <v64*> velocity, o, n)


# One parameter's arrays, and the tasks of those before it.
cdef struct Update:
    void* value
    void* grad
    void* velocity
    Py_ssize_t n
    Py_ssize_t first


cdef void sgd_task(const Update* updates, bint single, const Sgd* o, Py_ssize_t index) noexcept nogil:
    cdef const Update* u = updates
    cdef Py_ssize_t i
    while index >= u.first + (u.n + BLOCK - 1) // BLOCK:
        u += 1
    i = (index - u.first) * BLOCK
    if single:
        sgd_block(<float*> u.value + i, <float*> u.grad + i, <float*> u.velocity + i if u.velocity != NULL else NULL, o,
                  min(<Py_ssize_t> BLOCK, u.n - i))
    else:
        sgd_block(<double*> u.value + i, <double*> u.grad + i, <double*> u.velocity + i if u.velocity != NULL else NULL, o,
                  min(<Py_ssize_t> BLOCK, u.n - i))


def sgd(list values, list grads, velocities, double lr, double momentum, double dampening, double weight_decay, bint nesterov,
        bint first, int threads):
    """One step of SGD as in torch.optim.SGD, of parameters of one dtype together: small ones are not worth a call each. `velocities` is
    None without momentum, and written without being read at the first step."""
    cdef Sgd o = Sgd(lr, momentum, 1 if first else 1 - dampening, 0 if first else momentum, weight_decay, nesterov)
    cdef Update updates[TOGETHER]
    cdef Py_ssize_t start = 0, count, i, tasks
    cdef bint single
    cdef cnp.ndarray value, grad, velocity
    while start < len(values):
        count = min(<Py_ssize_t> TOGETHER, len(values) - start)
        tasks = 0
        for i in range(count):
            value, grad = values[start + i], grads[start + i]
            single = cnp.PyArray_TYPE(value) == cnp.NPY_FLOAT
            updates[i].value, updates[i].grad, updates[i].velocity = cnp.PyArray_DATA(value), cnp.PyArray_DATA(grad), NULL
            if velocities is not None:
                velocity = velocities[start + i]
                updates[i].velocity = cnp.PyArray_DATA(velocity)
            updates[i].n, updates[i].first = cnp.PyArray_SIZE(value), tasks
            tasks += (updates[i].n + BLOCK - 1) // BLOCK
        for i in prange(tasks, nogil=True, num_threads=threads, schedule="static"):
            sgd_task(updates, single, &o, i)
        start += count


# --- Adam ---------------------------------------------------------------------------------------------------


cdef struct Adam:
    double step_size  # lr / (1 - beta1**t)
    double beta1
    double beta2
    double scale  # 1 / sqrt(1 - beta2**t)
    double eps
    double weight_decay


cdef inline vec adam_step(vec value, vec grad, vec* mean, vec* square, const Adam* o) noexcept nogil:
    cdef vec g = fma(splat(o.weight_decay, value), value, grad) if o.weight_decay else grad
    mean[0] = fma(splat(1 - o.beta1, g), g, splat(o.beta1, g) * mean[0])
    square[0] = fma(splat(1 - o.beta2, g) * g, g, splat(o.beta2, g) * square[0])
    return fma(splat(-o.step_size, g), mean[0] / fma(root(square[0]), splat(o.scale, g), splat(o.eps, g)), value)


cdef inline void adam_loop(vec* value, const vec* grad, vec* mean, vec* square, const Adam* o, Py_ssize_t n) noexcept nogil:
    cdef int width = L32 if vec is v32 else L64, left = <int> (n % width)
    cdef Py_ssize_t i
    cdef vec m, s
    for i in range(n // width):
        value[i] = adam_step(value[i], grad[i], mean + i, square + i, o)
    if left:
        i = n - left
        m = head(at(mean, i), left)
        s = head(at(square, i), left)
        put(<vec*> at(value, i), adam_step(head(at(value, i), left), head(at(grad, i), left), &m, &s, o), left)
        put(<vec*> at(mean, i), m, left)
        put(<vec*> at(square, i), s, left)


cdef void adam_block(real* value, const real* grad, real* mean, real* square, const Adam* o, Py_ssize_t n) noexcept nogil:
    if real is float:
        adam_loop(<v32*> value, <const v32*> grad, <v32*> mean, <v32*> square, o, n)
    else:
        adam_loop(<v64*> value, <const v64*> grad, <v64*> mean, <v64*> square, o, n)


def adam(cnp.ndarray value, cnp.ndarray grad, cnp.ndarray mean, cnp.ndarray square, double step_size, double beta1, double beta2,
         double scale, double eps, double weight_decay, int threads):
    """One step of Adam as in torch.optim.Adam, its bias corrections in `step_size` and `scale`."""
    cdef Adam o = Adam(step_size, beta1, beta2, scale, eps, weight_decay)
    cdef bint single = cnp.PyArray_TYPE(value) == cnp.NPY_FLOAT
    cdef Py_ssize_t n = cnp.PyArray_SIZE(value), i
    cdef void* vp = cnp.PyArray_DATA(value)
    cdef void* gp = cnp.PyArray_DATA(grad)
    cdef void* mp = cnp.PyArray_DATA(mean)
    cdef void* sp = cnp.PyArray_DATA(square)
    if single:
        for i in prange((n + BLOCK - 1) // BLOCK, nogil=True, num_threads=threads, schedule="static"):
            adam_block(<float*> vp + i * BLOCK, <float*> gp + i * BLOCK, <float*> mp + i * BLOCK, <float*> sp + i * BLOCK, &o,
                       min(<Py_ssize_t> BLOCK, n - i * BLOCK))
    else:
        for i in prange((n + BLOCK - 1) // BLOCK, nogil=True, num_threads=threads, schedule="static"):
            adam_block(<double*> vp + i * BLOCK, <double*> gp + i * BLOCK, <double*> mp + i * BLOCK, <double*> sp + i * BLOCK, &o,
                       min(<Py_ssize_t> BLOCK, n - i * BLOCK))
