# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
# distutils: language = c++
"""The fused pipeline for Python: examples in, scores out. See `streams.native.plan` for what it is made from."""

from cpython.bool cimport PyBool_Check
from cpython.dict cimport PyDict_Next
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_CheckExact
from libc.stdint cimport uint8_t
from libcpp cimport bool as flag
from libcpp.deque cimport deque
from libcpp.string cimport string
from libcpp.vector cimport vector


cdef extern from * nogil:
    """
    #ifndef RIVERLOOP_SOURCES
    #define RIVERLOOP_SOURCES "unknown"
    #endif
    """
    const char* RIVERLOOP_SOURCES


cdef extern from "<mutex>" namespace "std" nogil:
    cdef cppclass mutex:
        void lock()
        void unlock()


cdef extern from "values.hpp" namespace "riverloop" nogil:
    const double EXACT

    cdef enum Kind:
        MISSING, REAL, WHOLE, FLAG, TEXT

    cdef struct Value:
        Kind kind
        double number
        const char* text
        size_t size

    cdef cppclass Examples:
        size_t width
        flag binary
        vector[const Value*] rows
        vector[double] targets


cdef extern from "kernel.hpp" namespace "riverloop" nogil:
    const double MOST

    cdef enum Op:
        STANDARD, RANGE, ENCODE

    cdef enum Loss:
        pass

    cdef enum Rate:
        pass

    cdef enum Verdict:
        DONE, REJECTED, COLLIDED

    cdef struct Schedule:
        Rate kind
        double a
        double b

    cdef struct Standard:
        double count
        double mean
        double var

    cdef struct Extremes:
        double low
        double high
        Kind low_kind
        Kind high_kind
        flag seen

    cdef struct Level:
        string text
        int input
        int column

    cdef cppclass Step:
        Step()
        Op op
        flag with_std
        int encoder
        vector[int] inputs "in"
        vector[int] outputs "out"
        vector[Standard] scales
        vector[Extremes] extremes
        vector[int] order

    cdef cppclass Encoder:
        Encoder()
        vector[int] columns

    cdef struct Output:
        flag encoded
        int index
        int column

    cdef struct Glm:
        Loss loss
        double p
        double q
        Schedule rate
        Schedule intercept_rate
        double l2
        double clip
        double initial
        double intercept
        double iterations
        flag binary

    cdef cppclass Pipeline:
        vector[Kind] kinds
        vector[string] names
        vector[Step] steps
        vector[Encoder] encoders
        vector[Output] outputs
        deque[string] columns
        vector[double] weights
        vector[uint8_t] has
        vector[int] weight_order
        deque[Level] levels
        Glm glm
        mutex guard
        void finish_plan(int)
        int add_static(const string&)
        int add_column(const string&, int)
        void add_level(int, string, int)
        int column_named(const string&)
        void set_weight(int, double)
        Verdict predict(const Value*, double&)
        Verdict learn(const Value*, double, double&)
        void mark()
        void keep()
        void undo()


SOURCES = RIVERLOOP_SOURCES.decode()


cdef class Kernel:
    """One pipeline and its state.

    Parameters
    ----------
    plan
        What `streams.native.plan.plan_of` gives.
    """

    cdef Pipeline* pipeline
    cdef readonly object plan
    cdef tuple names
    cdef dict places
    cdef int width
    cdef readonly bint collided
    """Whether two columns have had the same name, which the kernel does not do."""

    def __cinit__(self):
        self.pipeline = new Pipeline()

    def __dealloc__(self):
        del self.pipeline

    def __init__(self, plan):
        self.plan = plan
        self._build()

    cdef _build(self):
        cdef Pipeline* made = new Pipeline()
        del self.pipeline
        self.pipeline = made
        plan = self.plan
        self.names = tuple(plan.names)
        self.places = {name: place for place, name in enumerate(self.names)}
        self.width = len(self.names)
        self.collided = False
        cdef Step* step
        cdef Output output
        cdef size_t n = 0
        for kind in plan.kinds:
            made.kinds.push_back(<Kind><int>kind)
        for name in self.names:
            made.names.push_back(name.encode())
        made.steps.resize(len(plan.steps))
        for each in plan.steps:
            step = &made.steps[n]
            n += 1
            step.op = <Op><int>each.op
            step.with_std = each.with_std
            step.encoder = each.encoder
            step.inputs = each.inputs
            step.outputs = each.outputs
            if each.op == STANDARD:
                step.scales.resize(len(each.inputs))
            elif each.op == RANGE:
                step.extremes.resize(len(each.inputs))
        made.encoders.resize(plan.encoders)
        for encoded, index, name in plan.outputs:
            output.encoded = encoded
            output.index = index
            output.column = -1 if encoded else made.add_static(name.encode())
            made.outputs.push_back(output)
        glm = plan.glm
        made.glm.loss = <Loss><int>glm.loss
        made.glm.p, made.glm.q = glm.p, glm.q
        made.glm.rate.kind = <Rate><int>glm.rate[0]
        made.glm.rate.a, made.glm.rate.b = glm.rate[1], glm.rate[2]
        made.glm.intercept_rate.kind = <Rate><int>glm.intercept_rate[0]
        made.glm.intercept_rate.a, made.glm.intercept_rate.b = glm.intercept_rate[1], glm.intercept_rate[2]
        made.glm.l2, made.glm.clip, made.glm.initial = glm.l2, glm.clip, glm.initial
        made.glm.binary = glm.binary
        made.finish_plan(plan.registers)

    # ------------------------------------------------------------------ examples

    cdef bint _read(self, object x, Value* row) except -1:
        """Read an example; False where it is not of the plan: another type, order or name."""
        cdef PyObject* key
        cdef PyObject* value
        cdef Py_ssize_t position = 0, size
        cdef int place = 0, width = self.width, overflow
        cdef long long whole
        cdef Kind kind
        if type(x) is not dict:
            return False
        while PyDict_Next(x, &position, &key, &value):
            while place < width and <PyObject*>(self.names[place]) != key:
                row[place].kind = MISSING
                place += 1
            if place == width:
                return self._read_equal(x, row)
            kind = self.pipeline.kinds[place]
            if not self._value(<object>value, kind, &row[place]):
                return False
            place += 1
        while place < width:
            row[place].kind = MISSING
            place += 1
        return True

    cdef bint _read_equal(self, dict x, Value* row) except -1:
        """Read an example whose names are equal to the plan's and other objects."""
        cdef int place, last = -1
        for place in range(self.width):
            row[place].kind = MISSING
        for key, value in x.items():
            if type(key) is not str:
                return False
            found = self.places.get(key, -1)
            if found <= last:
                return False
            place = last = found
            if not self._value(value, self.pipeline.kinds[place], &row[place]):
                return False
        return True

    cdef bint _value(self, object value, Kind kind, Value* into) except -1:
        cdef int overflow = 0
        cdef long long whole
        cdef Py_ssize_t size = 0
        if kind == REAL:
            if not PyFloat_CheckExact(value):
                return False
            into.number = PyFloat_AS_DOUBLE(value)
        elif kind == WHOLE:
            if not PyLong_CheckExact(value):
                return False
            whole = PyLong_AsLongLongAndOverflow(value, &overflow)
            if overflow:
                return False
            into.number = <double>whole
        elif kind == FLAG:
            if not PyBool_Check(value):
                return False
            into.number = 1.0 if value is True else 0.0
        else:
            if not PyUnicode_CheckExact(value):
                return False
            try:
                into.text = PyUnicode_AsUTF8AndSize(value, &size)
            except UnicodeEncodeError:
                return False
            into.size = <size_t>size
        into.kind = kind
        return True

    cdef bint _target(self, object y, double* into) except -1:
        cdef int overflow = 0
        cdef long long whole
        if self.pipeline.glm.binary:
            if not PyBool_Check(y):
                return False
            into[0] = 1.0 if y is True else 0.0
        elif PyFloat_CheckExact(y):
            into[0] = PyFloat_AS_DOUBLE(y)
        elif PyLong_CheckExact(y):
            whole = PyLong_AsLongLongAndOverflow(y, &overflow)
            into[0] = <double>whole
            if overflow or into[0] > EXACT or into[0] < -EXACT:
                return False
        else:
            return False
        return True

    def predict(self, x):
        """Score an example; None where only River can answer."""
        cdef double score = 0
        cdef Verdict verdict
        cdef vector[Value] row
        row.resize(self.width)
        if not self._read(x, row.data()):
            return None
        self.pipeline.guard.lock()  # its holder never waits for the interpreter
        verdict = self.pipeline.predict(row.data(), score)
        self.pipeline.guard.unlock()
        return score if verdict == DONE else None

    def learn(self, x, y):
        """Learn an example and give the score of it afterwards; None where River must, and nothing has changed."""
        cdef double score = 0, target = 0
        cdef Verdict verdict
        cdef vector[Value] row
        row.resize(self.width)
        if not self._read(x, row.data()) or not self._target(y, &target):
            return None
        self.pipeline.guard.lock()
        verdict = self.pipeline.learn(row.data(), target, score)
        self.pipeline.guard.unlock()
        if verdict == COLLIDED:
            self.collided = True
        return score if verdict == DONE else None

    def predict_many(self, list xs):
        """Score examples without the interpreter's lock; None where only River can answer."""
        cdef Py_ssize_t count = len(xs), i
        cdef vector[Value] rows
        cdef vector[double] scores
        cdef vector[uint8_t] done
        cdef Pipeline* pipeline = self.pipeline
        rows.resize(count * self.width)
        scores.resize(count)
        done.resize(count)
        for i in range(count):
            done[i] = self._read(xs[i], &rows[i * self.width])
        with nogil:
            pipeline.guard.lock()
            for i in range(count):
                if done[i]:
                    done[i] = pipeline.predict(&rows[i * self.width], scores[i]) == DONE
            pipeline.guard.unlock()
        return [scores[i] if done[i] else None for i in range(count)]

    def learn_many(self, list xs, list ys):
        """Learn examples without the interpreter's lock, up to the first that only River can learn.

        Gives the scores of those learned; the one after them has changed nothing.
        """
        cdef Py_ssize_t count = len(xs), i, known = 0
        cdef vector[Value] rows
        cdef vector[double] targets, scores
        cdef Pipeline* pipeline = self.pipeline
        cdef Verdict verdict = DONE
        if len(ys) != count:
            raise ValueError("as many targets as examples")
        rows.resize(count * self.width)
        targets.resize(count)
        scores.resize(count)
        while known < count and self._read(xs[known], &rows[known * self.width]) and self._target(ys[known], &targets[known]):
            known += 1
        with nogil:
            pipeline.guard.lock()
            i = 0
            while i < known:
                verdict = pipeline.learn(&rows[i * self.width], targets[i], scores[i])
                if verdict != DONE:
                    break
                i += 1
            pipeline.guard.unlock()
        if verdict == COLLIDED:
            self.collided = True
        return [scores[known] for known in range(i)]

    def score_rows(self, examples):
        """Score examples that a scanner has made, up to the first that only the reference can score; gives scores.

        Parameters
        ----------
        examples
            A capsule with `Examples` of the plan's names and types.
        """
        cdef Examples* given = <Examples*>PyCapsule_GetPointer(examples, "riverloop.examples")
        cdef size_t done = 0, n
        cdef vector[double] scores
        cdef double score = 0
        cdef Pipeline* pipeline = self.pipeline
        if given.width != <size_t>self.width or given.binary != pipeline.glm.binary:
            return []
        with nogil:
            pipeline.guard.lock()
            while done < given.rows.size() and pipeline.predict(given.rows[done], score) == DONE:
                if not (-MOST < score and score < MOST):
                    break
                scores.push_back(score)
                done += 1
            pipeline.guard.unlock()
        return [scores[n] for n in range(done)]

    def learn_rows(self, examples, Py_ssize_t most):
        """Learn the first of some examples that a scanner has made, up to the first that only River can learn.

        Gives how many; the one after them has changed nothing.
        """
        cdef Examples* given = <Examples*>PyCapsule_GetPointer(examples, "riverloop.examples")
        cdef size_t done = 0, end = min(<size_t>max(most, 0), given.targets.size())
        cdef double score = 0
        cdef Pipeline* pipeline = self.pipeline
        cdef Verdict verdict = DONE
        if given.width != <size_t>self.width or given.binary != pipeline.glm.binary:
            return 0
        with nogil:
            pipeline.guard.lock()
            while done < end:
                verdict = pipeline.learn(given.rows[done], given.targets[done], score)
                if verdict != DONE:
                    break
                done += 1
            pipeline.guard.unlock()
        if verdict == COLLIDED:
            self.collided = True
        return done

    # ------------------------------------------------------------------ undo

    def mark(self):
        """From now on what is learned can be undone."""
        self.pipeline.mark()

    def undo(self):
        """Take back what was learned since `mark`."""
        self.pipeline.undo()

    def keep(self):
        """Keep what was learned since `mark`."""
        self.pipeline.keep()

    # ------------------------------------------------------------------ state

    def dump(self):
        """Give the state as plain data: see `streams.native.state`."""
        cdef Pipeline* own = self.pipeline
        cdef Standard scale
        cdef Extremes extremes
        cdef size_t n
        cdef int i
        steps = []
        for n in range(own.steps.size()):
            found = []
            for i in own.steps[n].order:
                if own.steps[n].op == STANDARD:
                    scale = own.steps[n].scales[i]
                    found.append((i, <long long>scale.count, scale.mean, scale.var))
                else:
                    extremes = own.steps[n].extremes[i]
                    found.append((i, _number(extremes.low, extremes.low_kind), _number(extremes.high, extremes.high_kind)))
            steps.append(found)
        levels = [(own.levels[n].input, own.levels[n].text.decode(), own.levels[n].column) for n in range(own.levels.size())]
        columns = [own.columns[n].decode() for n in range(own.columns.size())]
        encoders = [list(own.encoders[n].columns) for n in range(own.encoders.size())]
        weights = [(i, own.weights[i]) for i in own.weight_order]
        return steps, columns, encoders, levels, weights, own.glm.intercept, <long long>own.glm.iterations

    cdef int _column(self, str name) except -1:
        cdef int column = self.pipeline.column_named(name.encode())
        if column < 0:
            raise KeyError(name)
        return column

    def load(self, steps, encoders, levels, weights, double intercept, double iterations):
        """Take a state in place of the own one.

        Parameters
        ----------
        steps
            As `dump` gives them.
        encoders
            For each the names of its columns, in order.
        levels
            For each its input, its text, and the name of its column.
        weights
            By name, in order.
        """
        cdef Pipeline* own
        cdef int place, column
        cdef Standard scale
        cdef Extremes extremes
        self._build()
        own = self.pipeline
        for n, found in enumerate(steps):
            for entry in found:
                place = entry[0]
                if own.steps[n].op == STANDARD:
                    scale.count, scale.mean, scale.var = entry[1], entry[2], entry[3]
                    own.steps[n].scales[place] = scale
                else:
                    extremes.low, extremes.high = float(entry[1]), float(entry[2])
                    extremes.low_kind, extremes.high_kind = _kind(entry[1]), _kind(entry[2])
                    extremes.seen = True
                    own.steps[n].extremes[place] = extremes
                own.steps[n].order.push_back(place)
        for n, names in enumerate(encoders):
            for name in names:
                own.add_column(name.encode(), n)
        for at, text, name in levels:
            own.add_level(at, text.encode(), self._column(name))
        for name, weight in weights:
            own.set_weight(self._column(name), weight)
        own.glm.intercept = intercept
        own.glm.iterations = iterations


cdef object _number(double number, Kind kind):
    if kind == WHOLE:
        return int(number)
    return bool(number) if kind == FLAG else number


cdef Kind _kind(object value):
    return FLAG if type(value) is bool else WHOLE if type(value) is int else REAL
