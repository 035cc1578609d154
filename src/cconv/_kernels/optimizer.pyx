# Updates of parameters, in one pass over each: every array is read and written once.

from cython.parallel cimport prange
cimport numpy as cnp

from cconv._kernels.simd cimport L32, L64, at, fma, head, put, root, splat, v32, v64, vec, where_max

cnp.import_array()


cdef enum:
    BLOCK = 16384  # numbers a task
    TOGETHER = 64  # parameters a call of the kernel

# A kind of update is a rule and which of a parameter's arrays of state there are.
cdef enum:
    A = 1
    B = 2
    C = 4
    SGD = 0
    ADAM = 8
    RMSPROP = 16


cdef struct Numbers:
    double lr
    double weight_decay
    double momentum
    double fresh  # what SGD's velocity takes of a gradient: 1 - dampening, and 1 at the first step
    double kept  # what it keeps of itself: momentum, and 0 at the first step
    double beta1
    double beta2  # RMSprop's alpha
    double eps
    double shrink  # what AdamW first multiplies the value by
    int nesterov


# One parameter's arrays, and the tasks of those before it.
cdef struct Update:
    void* value
    void* grad
    void* a
    void* b
    void* c
    Py_ssize_t n
    Py_ssize_t first
    double step_size  # Adam: lr / (1 - beta1**t)
    double scale  # and 1 / sqrt(1 - beta2**t)


cdef inline vec sgd(const int kind, vec value, vec g, vec* velocity, const Numbers* o) noexcept nogil:
    if kind & A:
        if o.kept:
            velocity[0] = fma(splat(o.fresh, g), g, splat(o.kept, g) * velocity[0])
        else:
            velocity[0] = splat(o.fresh, g) * g
        g = fma(splat(o.momentum, g), velocity[0], g) if o.nesterov else velocity[0]
    return fma(splat(-o.lr, g), g, value)


cdef inline vec adam(const int kind, vec value, vec g, vec* mean, vec* square, vec* top, const Numbers* o, double step_size,
                     double scale) noexcept nogil:
    cdef vec s
    if o.shrink != 1:
        value = splat(o.shrink, value) * value
    mean[0] = fma(splat(1 - o.beta1, g), g, splat(o.beta1, g) * mean[0])
    square[0] = s = fma(splat(1 - o.beta2, g) * g, g, splat(o.beta2, g) * square[0])
    if kind & C:
        top[0] = s = where_max(s, top[0], s, top[0])
    return fma(splat(-step_size, g), mean[0] / fma(root(s), splat(scale, g), splat(o.eps, g)), value)


cdef inline vec rmsprop(const int kind, vec value, vec g, vec* square, vec* velocity, vec* mean, const Numbers* o) noexcept nogil:
    cdef vec s = fma(splat(1 - o.beta2, g) * g, g, splat(o.beta2, g) * square[0])
    square[0] = s
    if kind & C:
        mean[0] = fma(splat(1 - o.beta2, g), g, splat(o.beta2, g) * mean[0])
        s = fma(-mean[0], mean[0], s)
    g = g / (root(s) + splat(o.eps, g))
    if kind & B:
        g = fma(splat(o.momentum, g), velocity[0], g)
        velocity[0] = g
    return fma(splat(-o.lr, g), g, value)


cdef inline vec stepped(const int kind, vec value, vec grad, vec* a, vec* b, vec* c, const Numbers* o, const Update* u) noexcept nogil:
    """The new value; a, b and c are changed where the kind has them."""
    cdef vec g = fma(splat(o.weight_decay, value), value, grad) if o.weight_decay else grad
    if kind & ADAM:
        return adam(kind, value, g, a, b, c, o, u.step_size, u.scale)
    if kind & RMSPROP:
        return rmsprop(kind, value, g, a, b, c, o)
    return sgd(kind, value, g, a, o)


cdef inline void loop(const int kind, vec* value, const vec* grad, vec* a, vec* b, vec* c, const Numbers* o, const Update* u,
                      Py_ssize_t n) noexcept nogil:
    cdef int width = L32 if vec is v32 else L64, left = <int> (n % width)
    cdef Py_ssize_t i
    cdef vec x, y, z
    for i in range(n // width):
        value[i] = stepped(kind, value[i], grad[i], a + i if kind & A else NULL, b + i if kind & B else NULL,
                           c + i if kind & C else NULL, o, u)
    if left:
        i = n - left
        if kind & A:
            x = head(at(a, i), left)
        if kind & B:
            y = head(at(b, i), left)
        if kind & C:
            z = head(at(c, i), left)
        put(<vec*> at(value, i), stepped(kind, head(at(value, i), left), head(at(grad, i), left), &x, &y, &z, o, u), left)
        if kind & A:
            put(<vec*> at(a, i), x, left)
        if kind & B:
            put(<vec*> at(b, i), y, left)
        if kind & C:
            put(<vec*> at(c, i), z, left)


cdef inline void choose(int kind, vec* value, const vec* grad, vec* a, vec* b, vec* c, const Numbers* o, const Update* u,
                        Py_ssize_t n) noexcept nogil:
    if kind == SGD:
        loop(SGD, value, grad, a, b, c, o, u, n)
    elif kind == SGD | A:
        loop(SGD | A, value, grad, a, b, c, o, u, n)
    elif kind == ADAM | A | B:
        loop(ADAM | A | B, value, grad, a, b, c, o, u, n)
    elif kind == ADAM | A | B | C:
        loop(ADAM | A | B | C, value, grad, a, b, c, o, u, n)
    elif kind == RMSPROP | A:
        loop(RMSPROP | A, value, grad, a, b, c, o, u, n)
    elif kind == RMSPROP | A | B:
        loop(RMSPROP | A | B, value, grad, a, b, c, o, u, n)
    elif kind == RMSPROP | A | C:
        loop(RMSPROP | A | C, value, grad, a, b, c, o, u, n)
    elif kind == RMSPROP | A | B | C:
        loop(RMSPROP | A | B | C, value, grad, a, b, c, o, u, n)


cdef inline void* part(void* p, Py_ssize_t offset) noexcept nogil:
    return <char*> p + offset if p != NULL else NULL


cdef void task(int kind, const Update* updates, bint single, const Numbers* o, Py_ssize_t index) noexcept nogil:
    """Update a block of the parameter that task `index` belongs to."""
    cdef const Update* u = updates
    cdef Py_ssize_t i, n, start
    while index >= u.first + (u.n + BLOCK - 1) // BLOCK:
        u += 1
    i = (index - u.first) * BLOCK
    n, start = min(<Py_ssize_t> BLOCK, u.n - i), i * (sizeof(float) if single else sizeof(double))
    if single:
        choose(kind, <v32*> part(u.value, start), <const v32*> part(u.grad, start), <v32*> part(u.a, start),
               <v32*> part(u.b, start), <v32*> part(u.c, start), o, u, n)
    else:
        choose(kind, <v64*> part(u.value, start), <const v64*> part(u.grad, start), <v64*> part(u.a, start),
               <v64*> part(u.b, start), <v64*> part(u.c, start), o, u, n)


cdef void* data(object arrays, Py_ssize_t i):
    return cnp.PyArray_DATA((<list> arrays)[i]) if arrays is not None else NULL


cdef update(int kind, list values, list grads, object a, object b, object c, step_sizes, scales, const Numbers* o, int threads):
    """One step of parameters of one dtype together: small ones are not worth a call each. Arrays of state come in lists, or None."""
    cdef Update updates[TOGETHER]
    cdef Py_ssize_t start = 0, count, i, tasks
    cdef bint single
    kind |= (A if a is not None else 0) | (B if b is not None else 0) | (C if c is not None else 0)
    while start < len(values):
        count = min(<Py_ssize_t> TOGETHER, len(values) - start)
        single = cnp.PyArray_TYPE(values[start]) == cnp.NPY_FLOAT
        tasks = 0
        for i in range(count):
            updates[i].value, updates[i].grad = data(values, start + i), data(grads, start + i)
            updates[i].a, updates[i].b, updates[i].c = data(a, start + i), data(b, start + i), data(c, start + i)
            updates[i].n, updates[i].first = cnp.PyArray_SIZE(values[start + i]), tasks
            if step_sizes is not None:
                updates[i].step_size, updates[i].scale = step_sizes[start + i], scales[start + i]
            tasks += (updates[i].n + BLOCK - 1) // BLOCK
        for i in prange(tasks, nogil=True, num_threads=threads, schedule="static"):
            task(kind, updates, single, o, i)
        start += count


def sgd_step(list values, list grads, velocities, double lr, double momentum, double dampening, double weight_decay, bint nesterov,
             bint first, int threads):
    """As torch.optim.SGD. `velocities` is None without momentum, and written without being read at the first step."""
    cdef Numbers o
    o.lr, o.momentum, o.weight_decay, o.nesterov = lr, momentum, weight_decay, nesterov
    o.fresh, o.kept = 1 if first else 1 - dampening, 0 if first else momentum
    update(SGD, values, grads, velocities, None, None, None, None, &o, threads)


def adam_step(list values, list grads, list means, list squares, tops, list step_sizes, list scales, double beta1, double beta2,
              double eps, double weight_decay, double shrink, int threads):
    """As torch.optim.Adam, the bias corrections in `step_sizes` and `scales`. `tops` is None but for AMSGrad, `shrink` 1 but for AdamW."""
    cdef Numbers o
    o.beta1, o.beta2, o.eps, o.weight_decay, o.shrink = beta1, beta2, eps, weight_decay, shrink
    update(ADAM, values, grads, means, squares, tops, step_sizes, scales, &o, threads)


def rmsprop_step(list values, list grads, list squares, velocities, means, double lr, double alpha, double eps, double weight_decay,
                 double momentum, int threads):
    """As torch.optim.RMSprop. `velocities` is None without momentum, `means` where gradients are not centred."""
    cdef Numbers o
    o.lr, o.beta2, o.eps, o.weight_decay, o.momentum = lr, alpha, eps, weight_decay, momentum
    update(RMSPROP, values, grads, squares, velocities, means, None, None, &o, threads)
