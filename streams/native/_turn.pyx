# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
# distutils: language = c++
"""The turn for Python: records that were scanned, and the table that takes them. See `streams.native.turn`."""

from libc.stdint cimport int8_t, int64_t, uint8_t
from libcpp cimport bool as cbool
from libcpp.map cimport map as ordered
from libcpp.pair cimport pair
from libcpp.set cimport set as sorted_set
from libcpp.string cimport string
from libcpp.vector cimport vector

from schemas.records import Position
from schemas.state import RESOLVED, Held, JoinRecord, Resolution


cdef extern from "<string_view>" namespace "std" nogil:
    cdef cppclass string_view:
        string_view()
        string_view(const char*, size_t)
        int compare(string_view)
        const char* data()
        size_t size()


cdef extern from "<mutex>" namespace "std" nogil:
    cdef cppclass mutex:
        void lock()
        void unlock()


cdef extern from "values.hpp" namespace "riverloop" nogil:
    cdef enum Kind:
        MISSING, REAL, WHOLE, FLAG, TEXT


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
    cdef enum Answer:
        UNKNOWN, YES_NO, NUMBER, CLASS

    cdef enum Reporter:
        pass

    cdef struct PredictionView:
        string_view id
        string_view rest
        int64_t ts
        string_view model
        int group
        double p
        int64_t revision
        int64_t offset
        cbool has_label
        cbool label
        cbool failed
        int scores

    cdef struct OutcomeView:
        string_view id
        int64_t ts

    cdef cppclass Views:
        Scanner predictions
        Scanner outcomes
        Answer kind
        Reporter reporter
        cbool prediction(const uint8_t*, size_t, size_t, PredictionView&)
        cbool outcome(const uint8_t*, size_t, size_t, OutcomeView&)


cdef extern from "join.hpp" namespace "riverloop" nogil:
    cdef enum Fact:
        pass

    cdef enum Status:
        GONE, WAITING, CLOSED, ODD

    cdef struct Topic:
        string name
        string written

    cdef struct Place:
        int topic
        int64_t partition
        int64_t offset

    cdef cppclass Resolved:
        Resolved()
        Place trigger
        int64_t index
        Fact kind
        int8_t late_by
        Answer answer
        cbool flag
        double number
        string text
        cbool has_revision
        cbool has_delay
        int64_t revision
        int64_t delay

    cdef cppclass Row:
        Row()
        Status status
        cbool waits
        cbool predicted
        int64_t ts
        int64_t due
        int64_t due_offset
        Place at
        size_t touched

    cdef struct Rules:
        int64_t horizon
        int64_t revision_horizon
        int64_t grace
        int64_t max_ahead
        int64_t tolerance
        int64_t earliest
        int64_t cohort

    cdef struct Marks:
        string entry
        string record
        string resolution

    cdef cppclass Input:
        Input()
        cbool is_prediction
        PredictionView prediction
        OutcomeView outcome
        Place at
        int64_t arrived

    cdef cppclass RowItem "riverloop::Rows::value_type":
        string first
        Row second

    cdef cppclass Due:
        int64_t due
        int64_t offset
        RowItem* row

    cdef cppclass Change:
        RowItem* row
        Row before
        cbool opened

    cdef cppclass CTable "riverloop::Table":
        mutex guard
        Rules rules
        Marks marks
        vector[Topic] topics
        int64_t stream_time
        int64_t waiting
        int64_t most_waiting
        ordered[int64_t, int64_t] cohorts
        sorted_set[Due] due
        vector[Change] journal
        vector[string] entries
        vector[pair[string, int64_t]] counters
        RowItem* find(const string&)
        void put(const string&, Row)
        void commit()
        void rollback()
        size_t take(const vector[Input]&)
        cbool written(const Change&, string&)


cdef extern from *:
    """
    static inline void riverloop_hold(riverloop::Row& row, const char* data, size_t size) {
      row.payload = std::make_shared<const std::string>(data, size);
    }
    static inline void riverloop_resolve(riverloop::Row& row, const riverloop::Resolved& resolved) {
      row.resolution = std::make_shared<const riverloop::Resolved>(resolved);
    }
    static inline const std::string* riverloop_payload(const riverloop::Row& row) { return row.payload.get(); }
    static inline const riverloop::Resolved* riverloop_resolved(const riverloop::Row& row) {
      return row.resolution.get();
    }
    static inline const riverloop::Due& riverloop_first(const riverloop::Table& table) { return *table.due.begin(); }
    static inline std::vector<const std::string*> riverloop_ids(const riverloop::Table& table) {
      std::vector<const std::string*> found;
      for (const auto& each : table.rows())
        if (each.second.status != riverloop::GONE) found.push_back(&each.first);
      return found;
    }
    static inline int64_t riverloop_oldest(const riverloop::Table& table) { return table.cohorts.begin()->first; }
    """
    void riverloop_hold(Row&, const char*, size_t)
    void riverloop_resolve(Row&, const Resolved&)
    const string* riverloop_payload(const Row&)
    const Resolved* riverloop_resolved(const Row&)
    const Due& riverloop_first(const CTable&)
    vector[const string*] riverloop_ids(const CTable&)
    int64_t riverloop_oldest(const CTable&)


cdef tuple FACTS = ("opened", "labelled", "expired", "late", "revised", "unavailable", "time", "backfill", "command")
cdef tuple LATE_BY = ("event_time", "arrival")
cdef int64_t FARTHEST = (<int64_t>1) << 53


cdef class Scanned:
    """A record that a scanner has taken: as the reference reads it, and not read yet.

    Attributes
    ----------
    ts
        Event time (ms).
    arrived
        Kafka's timestamp (ms).
    is_prediction
        Whether it is one, or an outcome.
    """

    cdef bytes data
    cdef object topic
    cdef Input input

    @property
    def ts(self):
        return self.input.prediction.ts if self.input.is_prediction else self.input.outcome.ts

    @property
    def arrived(self):
        return self.input.arrived

    @property
    def is_prediction(self):
        return self.input.is_prediction


cdef _scanner(Scanner* scanner, plan):
    cdef size_t n = 0
    scanner.nodes.resize(len(plan.nodes))
    for node in plan.nodes:
        scanner.nodes[n].form = <Form><int>node.form
        scanner.nodes[n].symbols = node.symbols
        scanner.nodes[n].parts = node.parts
        n += 1
    scanner.features = plan.features
    scanner.features_field = plan.features_field
    scanner.most_text = plan.most_text
    for kind in plan.kinds:
        scanner.kinds.push_back(<Kind><int>kind)


cdef class Scan:
    """Scans the records of one task.

    Parameters
    ----------
    plan
        What `streams.native.turn.scan_of` makes one of.
    """

    cdef Views views
    cdef bytes prediction_mark
    cdef bytes outcome_mark
    cdef readonly tuple names
    cdef readonly tuple kinds

    def __init__(self, plan):
        _scanner(&self.views.predictions, plan.predictions)
        _scanner(&self.views.outcomes, plan.outcomes)
        self.names, self.kinds = tuple(plan.predictions.names), tuple(plan.predictions.kinds)
        self.views.kind = <Answer><int>plan.answer
        self.views.reporter = <Reporter><int>plan.reporter
        self.prediction_mark, self.outcome_mark = plan.prediction_mark, plan.outcome_mark

    def served(self, header, messages, list values, topic, Py_ssize_t limit, times):
        """Scan predictions of one partition that a worker has served; None for each that the reference must read.

        Parameters
        ----------
        header
            The name of the header that says that a worker has served it.
        values
            Of the messages, without framing.
        topic
            Its name in positions.
        limit
            The largest value in bytes.
        times
            The bounds of event times, a `TimeBounds`; of no meaning for predictions.
        """
        cdef size_t start = len(self.prediction_mark)
        cdef Py_ssize_t n = 0
        cdef Scanned made
        cdef list found = []
        for message in messages:
            made = None
            if _fits(values[n], self.prediction_mark, limit) and _has(message.headers(), header):
                made = Scanned.__new__(Scanned)
                made.data = values[n]
                if self.views.prediction(made.data, <size_t>len(made.data), start, made.input.prediction):
                    made.input.is_prediction = True
                    _place(made, message, topic)
                else:
                    made = None
            found.append(made)
            n += 1
        return found

    def outcomes(self, messages, list values, topic, Py_ssize_t limit, times):
        """Scan outcomes of one partition; as `served`."""
        cdef size_t start = len(self.outcome_mark)
        cdef int64_t earliest = times.earliest_ms, ahead = times.max_ahead_ms
        cdef Py_ssize_t n = 0
        cdef Scanned made
        cdef list found = []
        for message in messages:
            made = None
            if _fits(values[n], self.outcome_mark, limit):
                made = Scanned.__new__(Scanned)
                made.data = values[n]
                if self.views.outcome(made.data, <size_t>len(made.data), start, made.input.outcome):
                    made.input.is_prediction = False
                    _place(made, message, topic)
                    if made.input.outcome.ts < earliest or made.input.outcome.ts > made.input.arrived + ahead:
                        made = None
                else:
                    made = None
            found.append(made)
            n += 1
        return found


cdef cbool _fits(value, bytes mark, Py_ssize_t limit):
    return type(value) is bytes and len(<bytes>value) <= limit and (<bytes>value).startswith(mark)


cdef cbool _has(headers, name):
    if headers is not None:
        for each in headers:
            if each[0] == name:
                return True
    return False


cdef void _place(Scanned made, message, topic):
    made.topic = topic
    made.input.at.partition = message.partition()
    made.input.at.offset = message.offset()
    made.input.arrived = message.timestamp()[1]


cdef class Table:
    """What the join of one partition holds, with the batch at work.

    Parameters
    ----------
    rules
        A `JoinRules`.
    marks
        Headers of `Entry`, `JoinRecord` and `Resolution`.
    written
        Gives the bytes by which a position names a topic.
    """

    cdef CTable* table
    cdef dict topics
    cdef list names
    cdef object written
    cdef dict odd
    cdef dict odd_before
    cdef dict early
    cdef readonly object early_bytes
    cdef object early_bytes_before

    def __cinit__(self):
        self.table = new CTable()

    def __dealloc__(self):
        del self.table

    def __init__(self, rules, tuple marks, written):
        cdef CTable* own = self.table
        own.rules.horizon, own.rules.revision_horizon = rules.horizon_ms, rules.revision_horizon_ms
        own.rules.grace, own.rules.max_ahead = rules.grace_ms, rules.max_ahead_ms
        own.rules.tolerance, own.rules.earliest = rules.tolerance_ms, rules.earliest_ms
        own.rules.cohort = max(1000, rules.horizon_ms // 256)
        own.marks.entry, own.marks.record, own.marks.resolution = marks
        self.topics, self.names, self.written = {}, [], written
        self.odd, self.odd_before = {}, {}
        self.early_bytes = self.early_bytes_before = 0

    cdef int _topic(self, name) except -1:
        found = self.topics.get(name)
        if found is not None:
            return found
        cdef Topic topic
        topic.name, topic.written = name.encode(), self.written(name)
        self.table.topics.push_back(topic)
        self.names.append(name)
        self.topics[name] = len(self.names) - 1
        return len(self.names) - 1

    # ------------------------------------------------------------------ request by request

    def get(self, str request_id):
        """Give what is held of a request id; None when nothing is."""
        cdef string name = request_id.encode("utf-8", "surrogatepass")
        self.table.guard.lock()
        cdef RowItem* found = self.table.find(name)
        self.table.guard.unlock()
        if found == NULL:
            return None
        if found.second.status == ODD:
            return self.odd[request_id]
        return self._record(&found.second)

    cdef _place(self, const Place* at):
        return Position(self.names[at.topic], at.partition, at.offset)

    cdef _record(self, Row* row):
        cdef const string* payload = riverloop_payload(row[0])
        held = Held(payload.data()[:payload.size()])
        return JoinRecord(self._place(&row.at), row.ts, self._resolution(row), (), held)

    cdef _resolution(self, Row* row):
        cdef const Resolved* found = riverloop_resolved(row[0])
        if found == NULL:
            return None
        value = None
        if found.answer == YES_NO:
            value = True if found.flag else False
        elif found.answer == NUMBER:
            value = found.number
        elif found.answer == CLASS:
            value = found.text.decode()
        return Resolution(
            self._place(&found.trigger),
            found.index,
            FACTS[<int>found.kind],
            None if found.late_by < 0 else LATE_BY[found.late_by],
            value,
            found.revision if found.has_revision else None,
            found.delay if found.has_delay else None,
        )

    def put(self, str request_id, state, due, bint waits, early_bytes):
        """Hold something of a request id; None forgets.

        Parameters
        ----------
        due
            Time and offset of `due_of`; None with None.
        waits
            Whether the request waits.
        early_bytes
            Memory of all early outcomes, with this.
        """
        cdef string name = request_id.encode("utf-8", "surrogatepass")
        cdef Row row
        before = self.odd.pop(request_id, None)
        cdef RowItem* found = self.table.find(name)
        if before is not None and found.second.touched == 0:
            self.odd_before[request_id] = before
        if state is not None and not self._plain(state, &row):
            row = Row()
            row.status = ODD
            row.waits = waits
            row.predicted = state.prediction is not None
            row.ts = state.request_ts or 0
            row.due, row.due_offset = due
            self.odd[request_id] = state
        self.early_bytes = early_bytes
        self.table.guard.lock()
        self.table.put(name, row)
        self.table.guard.unlock()

    cdef bint _plain(self, state, Row* row) except -1:
        """Make a row of a state; False where only Python can hold it."""
        cdef const char* data
        payload, at, ts, resolution = state.prediction, state.prediction_at, state.request_ts, state.resolution
        if type(payload) is not Held or at is None or state.early or ts is None or not 0 <= ts < FARTHEST:
            return False
        cdef Resolved resolved
        if resolution is not None and not self._resolved(resolution, &resolved):
            return False
        row.status = WAITING if resolution is None else CLOSED
        row.ts = ts
        row.at.topic = self._topic(at.topic)
        row.at.partition, row.at.offset = at.partition, at.offset
        data = <bytes>payload
        riverloop_hold(row[0], data, <size_t>len(payload))
        if resolution is not None:
            riverloop_resolve(row[0], resolved)
        return True

    cdef bint _resolved(self, resolution, Resolved* into) except -1:
        value = resolution.value
        if value is None:
            into.answer = UNKNOWN
        elif type(value) is bool:
            into.answer = YES_NO
            into.flag = value
        elif type(value) is float:
            into.answer = NUMBER
            into.number = value
        elif type(value) is str:
            into.answer = CLASS
            try:
                into.text = value.encode()
            except UnicodeEncodeError:
                return False
        else:
            return False
        into.trigger.topic = self._topic(resolution.trigger.topic)
        into.trigger.partition, into.trigger.offset = resolution.trigger.partition, resolution.trigger.offset
        into.index = resolution.index
        into.kind = <Fact><int>FACTS.index(resolution.kind)
        into.late_by = -1 if resolution.late_by is None else LATE_BY.index(resolution.late_by)
        into.has_revision = resolution.revision is not None
        into.revision = resolution.revision or 0
        into.has_delay = resolution.delay_ms is not None
        into.delay = resolution.delay_ms or 0
        return True

    # ------------------------------------------------------------------ the batch

    def take(self, list items, Py_ssize_t start, int64_t stream_time, int64_t most, int64_t predictions, int64_t outcomes):
        """Take records from one of them on, up to the first that is the reference's.

        Parameters
        ----------
        items
            Of type `Scanned`.
        stream_time, most
            Of the join: its time, and how many requests have waited at once.
        predictions, outcomes
            The next offsets of both inputs; an earlier one is the reference's.

        Returns
        -------
        tuple
            How many; stream time, most, and the next offsets after them; the counters that they have raised, in
            order; the entries, without partition and progress.
        """
        cdef vector[Input] inputs
        cdef Scanned item
        cdef Py_ssize_t n
        cdef size_t taken, i
        cdef CTable* own = self.table
        cdef object last = None
        cdef int topic = 0
        cdef int64_t next_prediction = predictions, next_outcome = outcomes
        for n in range(start, len(items)):
            item = items[n]
            if item.input.is_prediction:
                if item.input.at.offset < next_prediction:
                    break
                next_prediction = item.input.at.offset + 1
            else:
                if item.input.at.offset < next_outcome:
                    break
                next_outcome = item.input.at.offset + 1
            if item.topic is not last:
                last = item.topic
                topic = self._topic(last)
            item.input.at.topic = topic
            inputs.push_back(item.input)
        with nogil:
            own.guard.lock()
            own.stream_time = stream_time
            own.most_waiting = most
            taken = own.take(inputs)
            own.guard.unlock()
        for i in range(taken):
            if inputs[i].is_prediction:
                predictions = inputs[i].at.offset + 1
            else:
                outcomes = inputs[i].at.offset + 1
        counters = [(each.first.decode(), each.second) for each in own.counters]
        entries = [<bytes>each for each in own.entries]
        return taken, own.stream_time, own.most_waiting, predictions, outcomes, counters, entries

    def commit(self):
        """Make the batch's changes lasting."""
        self.table.guard.lock()
        self.table.commit()
        self.table.guard.unlock()
        self.odd_before.clear()
        self.early_bytes_before = self.early_bytes

    def rollback(self):
        """Drop the batch's changes."""
        cdef size_t n
        for n in range(self.table.journal.size()):
            if self.table.journal[n].row.second.status == ODD:
                del self.odd[self.table.journal[n].row.first.decode("utf-8", "surrogatepass")]
        self.odd.update(self.odd_before)
        self.odd_before.clear()
        self.early_bytes = self.early_bytes_before
        self.table.guard.lock()
        self.table.rollback()
        self.table.guard.unlock()

    def changed(self):
        """Give what the batch has changed, by request id: each as `get` gives it."""
        cdef size_t n
        names = [self.table.journal[n].row.first.decode("utf-8", "surrogatepass") for n in range(self.table.journal.size())]
        return {name: self.get(name) for name in names}

    def records(self):
        """Give what the changelog gets, by key: bytes; None, which forgets; or what Python holds."""
        cdef size_t n
        cdef Change* change
        cdef string data
        cdef bint resolved
        found = []
        for n in range(self.table.journal.size()):
            change = &self.table.journal[n]
            name = <bytes>change.row.first
            if change.row.second.status == GONE:
                found.append((name, None))
                found.append((RESOLVED + name, None))
            elif change.row.second.status == ODD:
                state = self.odd[name.decode("utf-8", "surrogatepass")]
                if state.resolution is None or change.opened:
                    found.append((name, state))
                else:
                    found.append((RESOLVED + name, state.resolution))
            else:
                resolved = self.table.written(change[0], data)
                found.append((RESOLVED + name if resolved else name, <bytes>data))
        return found

    # ------------------------------------------------------------------ all of it

    @property
    def waiting(self):
        """How many requests wait."""
        return self.table.waiting

    @property
    def oldest(self):
        """Where the oldest cohort of those that wait begins (ms); None when none waits."""
        return None if self.table.cohorts.empty() else riverloop_oldest(self.table[0])

    @property
    def cohorts(self):
        """How many requests wait by cohort."""
        return {each.first: each.second for each in self.table.cohorts}

    def first_due(self):
        """Give what falls due first: time, offset, request id; None when nothing is held."""
        if self.table.due.empty():
            return None
        cdef Due due = riverloop_first(self.table[0])
        return due.due, due.offset, due.row.first.decode("utf-8", "surrogatepass")

    def due(self):
        """Give the due index, in order."""
        return [(each.due, each.offset, each.row.first.decode("utf-8", "surrogatepass")) for each in self.table.due]

    def ids(self):
        """Give the request ids of which something is held."""
        return [each[0].decode("utf-8", "surrogatepass") for each in riverloop_ids(self.table[0])]
