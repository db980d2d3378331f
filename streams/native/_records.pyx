# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
# distutils: language = c++
"""Records as bytes for Python: where fields lie, and features. See `streams.native.records` for the plans."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libcpp.string cimport string
from libcpp.vector cimport vector


cdef extern from "<string_view>" namespace "std" nogil:
    cdef cppclass string_view:
        string_view()
        string_view(const char*, size_t)


cdef extern from "values.hpp" namespace "riverloop" nogil:
    cdef enum Kind:
        MISSING, REAL, WHOLE, FLAG, TEXT

    cdef struct Value:
        Kind kind
        double number
        int64_t whole
        const char* text
        size_t size


cdef extern from "records.hpp" namespace "riverloop" nogil:
    cdef enum Form:
        pass

    cdef struct Span:
        size_t start
        size_t end

    cdef cppclass Node:
        Form form
        int symbols
        vector[int] parts

    cdef cppclass Scanner:
        Scanner()
        vector[Node] nodes
        int features
        int features_field
        vector[Kind] kinds
        size_t most_text
        bint scan(const uint8_t*, size_t, size_t, vector[Span]&)
        bint read(const uint8_t*, const Span&, Value*)

    cdef cppclass Cursor:
        Cursor(const uint8_t*, const uint8_t*, const uint8_t*)
        bint whole(int64_t&)
        bint number(double&)
        bint octets(const uint8_t*&, size_t&)
        bint block(uint64_t&)


cdef extern from "writer.hpp" namespace "riverloop" nogil:
    cdef cppclass Writer:
        Writer()
        string out
        void byte(uint8_t)
        void whole(int64_t)
        void text(string_view)
        void number(double)


cdef object _key(Cursor* cursor):
    cdef const uint8_t* octets = NULL
    cdef size_t size = 0
    cursor.octets(octets, size)
    return PyUnicode_DecodeUTF8(<const char*>octets, <Py_ssize_t>size, NULL)


cdef dict _features(Cursor* cursor):
    """Read the counts by feature; the scanner has taken them."""
    cdef uint64_t features = 0, bins = 0, n, m
    cdef int64_t times = 0, missing = 0, outside = 0
    cdef double total = 0
    cdef dict found = {}, counts
    while cursor.block(features) and features:
        for n in range(features):
            name = _key(cursor)
            counts = {}
            while cursor.block(bins) and bins:
                for m in range(bins):
                    key = _key(cursor)
                    cursor.whole(times)
                    counts[key] = times
            cursor.whole(missing)
            cursor.whole(outside)
            cursor.number(total)
            found[name] = counts, missing, outside, total
    return found


cdef _text(Writer& writer, str text):
    cdef Py_ssize_t size = 0
    cdef const char* data = PyUnicode_AsUTF8AndSize(text, &size)
    writer.text(string_view(data, <size_t>size))


def written_counts(features):
    """Write counts by feature as the last field of a tally."""
    cdef Writer writer
    cdef dict bins
    if features:
        writer.whole(len(features))
        for name, each in features.items():
            _text(writer, name)
            bins = dict(each.bins)
            if bins:
                writer.whole(len(bins))
                for key, times in bins.items():
                    _text(writer, key)
                    writer.whole(times)
            writer.byte(0)
            writer.whole(each.missing)
            writer.whole(each.outside)
            writer.number(each.total)
    writer.byte(0)
    return PyBytes_FromStringAndSize(writer.out.data(), <Py_ssize_t>writer.out.size())


cdef class Records:
    """Reads records of one schema.

    Parameters
    ----------
    plan
        What `streams.native.records.plan_of` gives.
    """

    cdef Scanner scanner
    cdef tuple names

    def __init__(self, plan):
        cdef size_t n = 0
        self.scanner.nodes.resize(len(plan.nodes))
        for node in plan.nodes:
            self.scanner.nodes[n].form = <Form><int>node.form
            self.scanner.nodes[n].symbols = node.symbols
            self.scanner.nodes[n].parts = node.parts
            n += 1
        self.names = tuple(plan.names)
        self.scanner.features = plan.features
        self.scanner.features_field = plan.features_field
        self.scanner.most_text = plan.most_text
        for kind in plan.kinds:
            self.scanner.kinds.push_back(<Kind><int>kind)

    def fields(self, bytes data, size_t start):
        """Give the start and end of each field of the record that begins at a place; None where it is refused."""
        cdef vector[Span] spans
        if not self.scanner.scan(data, <size_t>len(data), start, spans):
            return None
        return [(spans[n].start, spans[n].end) for n in range(spans.size())]

    def features(self, bytes data, size_t start):
        """Give the canonical features; None where the reference must settle a value, or refuses the record."""
        cdef vector[Span] spans
        cdef vector[Value] row
        cdef const uint8_t* octets = data
        cdef size_t n
        cdef Kind kind
        if self.scanner.features_field < 0 or not self.scanner.scan(octets, <size_t>len(data), start, spans):
            return None
        row.resize(self.scanner.kinds.size())
        if not self.scanner.read(octets, spans[self.scanner.features_field], row.data()):
            return None
        found = {}
        for n in range(row.size()):
            kind = row[n].kind
            if kind == REAL:
                found[self.names[n]] = row[n].number
            elif kind == WHOLE:
                found[self.names[n]] = row[n].whole
            elif kind == FLAG:
                found[self.names[n]] = row[n].number != 0
            elif kind == TEXT:
                found[self.names[n]] = row[n].text[:row[n].size].decode()
        return found

    def tally(self, bytes data, size_t start):
        """Give where the last field of a tally begins, and what it says; None where the record is refused.

        Returns
        -------
        tuple or None
            The place, and by feature: its bins, how many are missing, how many outside, and the sum.
        """
        cdef vector[Span] spans
        cdef const uint8_t* octets = data
        cdef Cursor* cursor
        if not self.scanner.scan(octets, <size_t>len(data), start, spans):
            return None
        cursor = new Cursor(octets, octets + spans.back().start, octets + spans.back().end)
        try:
            return spans.back().start, _features(cursor)
        finally:
            del cursor

    def accepted(self, list many, size_t start):
        """Give how many of some records are accepted, without the interpreter's lock."""
        cdef vector[const uint8_t*] at
        cdef vector[size_t] sizes
        cdef vector[Span] spans
        cdef size_t n, count = 0
        for each in many:
            at.push_back(<const uint8_t*><bytes>each)
            sizes.push_back(<size_t>len(<bytes>each))
        with nogil:
            for n in range(at.size()):
                count += self.scanner.scan(at[n], sizes[n], start, spans)
        return count
