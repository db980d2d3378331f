# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
# distutils: language = c++
"""Serving for Python: requests that were scanned, and the predictions of them. See `streams.native.serving`."""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int64_t, uint8_t
from libcpp cimport bool as cbool
from libcpp.string cimport string
from libcpp.unordered_set cimport unordered_set
from libcpp.vector cimport vector


cdef extern from "<string_view>" namespace "std" nogil:
    cdef cppclass string_view:
        string_view()
        string_view(const char*, size_t)
        const char* data()
        size_t size()


cdef extern from "values.hpp" namespace "riverloop" nogil:
    cdef enum Kind:
        MISSING, REAL, WHOLE, FLAG, TEXT

    cdef struct Value:
        Kind kind
        double number
        int64_t whole
        const char* text
        size_t size

    cdef cppclass Examples:
        Examples()
        size_t width
        cbool binary
        vector[const Value*] rows


cdef extern from "records.hpp" namespace "riverloop" nogil:
    cdef enum Form:
        pass

    cdef cppclass Node:
        Form form
        int symbols
        vector[int] parts

    cdef cppclass Scanner:
        vector[Node] nodes
        int features
        int features_field
        vector[Kind] kinds
        size_t most_text


cdef extern from "views.hpp" namespace "riverloop" nogil:
    cdef enum Reporter:
        pass


cdef extern from "writer.hpp" namespace "riverloop" nogil:
    cdef cppclass Writer:
        Writer()
        string out
        void raw(string_view)


cdef extern from "requests.hpp" namespace "riverloop" nogil:
    cdef cppclass Bound:
        Bound()
        cbool open
        double low
        double high
        unordered_set[string] levels

    cdef cppclass RequestView:
        RequestView()
        string_view id
        string_view entity
        int64_t ts
        cbool has_entity
        vector[Value] row

    cdef cppclass Requests:
        Scanner scanner
        vector[Bound] bounds
        Reporter entity_key
        Reporter parents
        cbool view(const uint8_t*, size_t, size_t, RequestView&)

    cdef cppclass Answered:
        Answered()
        string_view head
        double score

    cdef cppclass Source:
        Source()
        string_view topic
        int64_t partition
        int64_t offset

    void prediction(
        Writer&, const Requests&, const RequestView&, const vector[Answered]&, cbool, const Source&, double, int64_t
    )


cdef extern from "counts.hpp" namespace "riverloop" nogil:
    const int BINS
    double edge_of(int)

    cdef cppclass NumberCounts:
        NumberCounts()
        double low
        double high
        double stand_in
        cbool has_stand_in
        vector[int] order
        int64_t missing
        int64_t outside
        double total
        int64_t times(int)
        void add(const Value&)
        void clear()

    cdef cppclass LevelCounts:
        LevelCounts()
        vector[const Value*] order
        vector[int64_t] times
        int64_t missing
        void add(const Value&)
        void clear()


cdef void _drop(object capsule) noexcept:
    cdef Examples* made = <Examples*>PyCapsule_GetPointer(capsule, "riverloop.examples")
    del made


cdef object _value(const Value* value):
    if value.kind == REAL:
        return value.number
    if value.kind == WHOLE:
        return value.whole
    if value.kind == FLAG:
        return value.number != 0
    return None if value.kind == MISSING else value.text[:value.size].decode()


cdef class ScannedRequest:
    """A request that a scanner has taken.

    Attributes
    ----------
    request_id, ts, entity_key, features
        As in the `Request` that the reference reads.
    arrived
        Kafka's timestamp (ms).
    """

    cdef bytes data
    cdef bytes topic
    cdef tuple names
    cdef RequestView view
    cdef int64_t partition
    cdef int64_t offset
    cdef readonly int64_t arrived

    @property
    def ts(self):
        return self.view.ts

    @property
    def request_id(self):
        return self.view.id.data()[:self.view.id.size()].decode()

    @property
    def entity_key(self):
        return self.view.entity.data()[:self.view.entity.size()].decode() if self.view.has_entity else None

    @property
    def features(self):
        cdef int n
        found = {}
        for n in range(len(self.names)):
            if self.view.row[n].kind != MISSING:
                found[self.names[n]] = _value(&self.view.row[n])
        return found


cdef class RequestScan:
    """Scans the requests of one task.

    Parameters
    ----------
    plan
        A `streams.native.serving.RequestPlan`.

    Attributes
    ----------
    names, kinds
        Of the features.
    """

    cdef Requests scanned
    cdef bytes mark
    cdef bytes prediction_mark
    cdef object written
    cdef cbool binary
    cdef readonly tuple names
    cdef readonly tuple kinds

    def __init__(self, plan):
        cdef Scanner* scanner = &self.scanned.scanner
        cdef size_t n = 0
        cdef Bound bound
        scanner.nodes.resize(len(plan.record.nodes))
        for node in plan.record.nodes:
            scanner.nodes[n].form = <Form><int>node.form
            scanner.nodes[n].symbols = node.symbols
            scanner.nodes[n].parts = node.parts
            n += 1
        scanner.features, scanner.features_field = plan.record.features, plan.record.features_field
        scanner.most_text = plan.record.most_text
        for kind in plan.record.kinds:
            scanner.kinds.push_back(<Kind><int>kind)
        for each in plan.bounds:
            bound = Bound()
            if each is not None:
                bound.open = False
                bound.low, bound.high = each.low, each.high
                for level in each.levels:
                    bound.levels.insert(level.encode("utf-8", "surrogatepass"))
            self.scanned.bounds.push_back(bound)
        self.scanned.entity_key = <Reporter><int>plan.entity_key
        self.scanned.parents = <Reporter><int>plan.parents
        self.names, self.kinds = tuple(plan.record.names), tuple(plan.record.kinds)
        self.mark, self.prediction_mark, self.written = plan.request_mark, plan.prediction_mark, plan.written
        self.binary = plan.binary

    def requests(self, messages, list values, topic, Py_ssize_t limit, times):
        """Scan requests of one partition; None for each that the reference must read, or rejects.

        Parameters
        ----------
        values
            Of the messages, without framing.
        topic
            Its name in positions.
        limit
            The largest value in bytes.
        times
            The `TimeBounds` of requests.
        """
        cdef size_t start = len(self.mark)
        cdef int64_t earliest = times.earliest_ms, ahead = times.max_ahead_ms, partition = -1
        cdef Py_ssize_t n = 0
        cdef bytes data, name = None
        cdef ScannedRequest made
        cdef list found = []
        for message in messages:
            value = values[n]
            n += 1
            found.append(None)
            if type(value) is not bytes or len(<bytes>value) > limit or not (<bytes>value).startswith(self.mark):
                continue
            data = <bytes>value
            made = ScannedRequest.__new__(ScannedRequest)
            if not self.scanned.view(data, <size_t>len(data), start, made.view):
                continue
            made.arrived = message.timestamp()[1]
            if made.view.ts < earliest or made.view.ts > made.arrived + ahead:
                continue
            if name is None:
                name, partition = self.written(topic), message.partition()
            made.data, made.names, made.topic = data, self.names, name
            made.partition, made.offset = partition, message.offset()
            found[n - 1] = made
        return found

    def examples(self, list items, Py_ssize_t start):
        """Give the features of scanned requests, from one of them on, for a kernel; the items must outlive it."""
        cdef Examples* made = new Examples()
        cdef Py_ssize_t n
        made.width, made.binary = len(self.names), self.binary
        for n in range(start, len(items)):
            made.rows.push_back((<ScannedRequest?>items[n]).view.row.data())
        return PyCapsule_New(made, "riverloop.examples", _drop)

    def predictions(self, list items, Py_ssize_t start, Py_ssize_t count, list models, drawn, int64_t log_offset):
        """Write the predictions of scanned requests; gives (key, value) of each.

        Parameters
        ----------
        start, count
            Of which.
        models
            For each that scores: its name, revision and offset as they are written; its scores; its share.
        drawn
            Which of them answers: one number, or one for each request.
        """
        cdef Writer writer
        cdef ScannedRequest item
        cdef Py_ssize_t n, m, place, first = 0, width = len(models)
        cdef string_view mark = string_view(<const char*>self.prediction_mark, <size_t>len(self.prediction_mark))
        cdef vector[string_view] heads
        cdef vector[vector[double]] scores
        cdef vector[double] shares
        cdef vector[Answered] answers
        cdef Source source
        cdef bytes head
        cdef list drawn_of = drawn if type(drawn) is list else None
        scores.resize(width)
        for m in range(width):
            head, given, share = models[m]
            heads.push_back(string_view(<const char*>head, <size_t>len(head)))
            scores[m] = given
            shares.push_back(share)
        if drawn_of is None:
            first = drawn
        answers.resize(width)
        found = []
        for n in range(count):
            item = items[start + n]
            if drawn_of is not None:
                first = drawn_of[n]
            answers[0].head, answers[0].score = heads[first], scores[first][n]
            place = 1
            for m in range(width):
                if m != first:
                    answers[place].head, answers[place].score = heads[m], scores[m][n]
                    place += 1
            source.topic = string_view(<const char*>item.topic, <size_t>len(item.topic))
            source.partition, source.offset = item.partition, item.offset
            writer.out.clear()
            writer.raw(mark)
            prediction(writer, self.scanned, item.view, answers, self.binary, source, shares[first], log_offset)
            found.append((item.view.id.data()[:item.view.id.size()], <bytes>writer.out))
        return found


cdef class RequestCounts:
    """Counts the features of scanned requests.

    Parameters
    ----------
    features
        For each feature, in the order of the dictionary: of a number its lowest value, its highest and the one that
        stands for a missing one, or None; None for a text and for yes and no.
    name
        Gives the name of a number's bin by its edge.
    """

    cdef vector[NumberCounts] numbers
    cdef vector[LevelCounts] levels
    cdef list places
    cdef list names
    cdef object name

    def __init__(self, features, name):
        cdef NumberCounts number
        self.places, self.names, self.name = [], [None] * BINS, name
        for each in features:
            if each is None:
                self.places.append(-1)
                self.levels.push_back(LevelCounts())
                continue
            number = NumberCounts()
            number.low, number.high, stand_in = each
            number.has_stand_in = stand_in is not None
            if number.has_stand_in:
                number.stand_in = stand_in
            self.places.append(<Py_ssize_t>self.numbers.size())
            self.numbers.push_back(number)

    def count(self, list rows):
        """Count requests; None where one of them was not scanned.

        Returns
        -------
        list or None
            Of each feature: of a number its bins, and how many are missing, how many outside, and the sum; of the
            others how many have each value, None among them.
        """
        cdef Py_ssize_t width = len(self.places), place, n
        cdef ScannedRequest row
        cdef vector[int] at
        for each in rows:
            if type(each) is not ScannedRequest or (<ScannedRequest>each).view.row.size() != <size_t>width:
                return None
        for n in range(<Py_ssize_t>self.numbers.size()):
            self.numbers[n].clear()
        for n in range(<Py_ssize_t>self.levels.size()):
            self.levels[n].clear()
        at = self.places
        for each in rows:
            row = <ScannedRequest>each
            n = 0
            for place in range(width):
                if at[place] >= 0:
                    self.numbers[at[place]].add(row.view.row[place])
                else:
                    self.levels[n].add(row.view.row[place])
                    n += 1
        found = []
        n = 0
        for place in range(width):
            if at[place] >= 0:
                found.append(self._number(&self.numbers[at[place]]))
            else:
                found.append(self._levels(&self.levels[n]))
                n += 1
        return found

    cdef object _number(self, NumberCounts* counts):
        cdef dict bins = {}
        cdef int bin
        for bin in counts.order:
            name = self.names[bin]
            if name is None:
                name = self.names[bin] = self.name(edge_of(bin))
            bins[name] = counts.times(bin)
        return bins, counts.missing, counts.outside, counts.total

    cdef object _levels(self, LevelCounts* counts):
        cdef dict found = {}
        cdef size_t n
        for n in range(counts.order.size()):
            found[_value(counts.order[n])] = counts.times[n]
        if counts.missing:
            found[None] = counts.missing
        return found


def cells(list rows, int64_t newest, int64_t width_ms, set new, set later, set earlier):
    """Put scanned requests in cells of event time, and their ids to the new ones.

    Parameters
    ----------
    newest
        The latest time before them (ms).
    width_ms
        Of a cell.
    new, later, earlier
        Ids that were there before.

    Returns
    -------
    tuple or None
        Of successive requests in one cell: its start, how many they are, how many of them are older than one before
        them, and how many have an id that was there before. Then the latest time. None where one was not scanned.
    """
    cdef Py_ssize_t count = 0, disordered = 0, repeated = 0, known
    cdef int64_t ts, cell = 0
    cdef ScannedRequest row
    cdef list found = []
    for each in rows:
        if type(each) is not ScannedRequest:
            return None
    for each in rows:
        row = <ScannedRequest>each
        ts = row.view.ts
        if count == 0 or not cell <= ts < cell + width_ms:
            if count:
                found.append((cell, count, disordered, repeated))
                count = disordered = repeated = 0
            cell = ts - ts % width_ms
        count += 1
        if ts < newest:
            disordered += 1
        else:
            newest = ts
        name = row.view.id.data()[:row.view.id.size()].decode()
        known = len(new)
        new.add(name)
        if len(new) == known or name in later or name in earlier:
            repeated += 1
    if count:
        found.append((cell, count, disordered, repeated))
    return found, newest
