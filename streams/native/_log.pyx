# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
# distutils: language = c++
"""The log for Python: entries that were scanned, and the monitors that take them. See `streams.native.watch`."""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.map cimport map as ordered
from libcpp.pair cimport pair
from libcpp.string cimport string
from libcpp.vector cimport vector

from streams.drift.delay import REFERENCE
from streams.metrics.slices import OTHER


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
        vector[double] targets


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

    cdef cppclass Views:
        Scanner predictions
        Scanner entries
        Answer kind


cdef extern from "facts.hpp" namespace "riverloop" nogil:
    cdef enum Fate:
        READ, LABELLED, EXPIRED, BACKFILLED

    cdef struct Scored:
        int model
        cbool fits
        cbool label
        int64_t revision
        int64_t offset
        double p

    cdef struct CFact "riverloop::Fact":
        Fate fate
        double value
        int64_t asked
        int64_t ts
        int64_t arrived
        string_view id
        size_t row
        size_t first
        size_t scores

    cdef cppclass CFacts "riverloop::Facts":
        size_t width
        vector[CFact] facts
        vector[Value] values
        vector[Scored] scores
        vector[string] models
        void scan(Views&, const vector[string_view]&, string_view)
        size_t end_of_run(size_t)


cdef extern from "monitors.hpp" namespace "riverloop" nogil:
    cdef struct Observed:
        int group
        int cell
        int key
        double p
        double loss
        double brier

    cdef cppclass Tally:
        Tally()
        int64_t cells[4]
        int64_t labels[10]
        int64_t positives[10]
        double scores[10]
        double loss
        double brier
        vector[int64_t] counts
        vector[int] keys

    cdef cppclass Adwin:
        Adwin()
        double delta
        double easy
        double span
        int worse
        int64_t clock
        vector[vector[pair[double, double]]] rows
        int64_t width
        int64_t count
        int64_t left
        double total
        double squares
        double sum
        double sum_squares

    cdef enum Signal:
        pass

    cdef cppclass Watched:
        Watched()
        Signal signal
        Adwin detector
        double weighted
        double weight

    cdef cppclass Feed:
        int64_t run
        int64_t since
        int64_t week
        int64_t longest[2][2]
        int64_t outcomes
        int64_t silences
        cbool has_since
        double suspect
        double threshold
        cbool whole_suspect
        cbool whole_threshold

    cdef cppclass Block "riverloop::Cost::Block":
        double mean
        double squares
        double counted

    cdef cppclass Cost:
        int64_t warm_up
        int64_t seen
        int64_t ts
        int64_t moment_ts
        int64_t moment_count
        int64_t run_count
        int64_t block_count
        double sum
        double moment_loss
        double moment_counted
        double run_loss
        double block_loss
        double block_squares
        double block_counted
        cbool has_moment
        cbool worse
        cbool critical
        double last_statistic
        vector[Block] blocks
        void measure()

    cdef cppclass DelayRank:
        cbool has_first
        cbool has_bound
        int64_t first
        int64_t seen
        int64_t bound
        int64_t count
        double sum
        vector[int64_t] reference
        Adwin detector
        vector[pair[int64_t, double]] means

    cdef cppclass Leveled:
        int64_t most
        int64_t own
        vector[int] slots
        vector[Tally] tallies
        vector[int] levels
        size_t known
        void begin(int)

    cdef cppclass Scope:
        cbool ready
        double log_loss_n
        double log_loss
        int64_t first_pane
        int64_t count
        int64_t newest
        Tally tally
        ordered[int64_t, Tally] panes
        vector[Observed] seen
        vector[size_t] places
        vector[Leveled] levels

    cdef struct Resolutions:
        int64_t count
        int64_t labels
        int64_t positive

    cdef cppclass Watching:
        int64_t revision
        int silent
        int role
        Scope scopes[2]
        Resolutions resolved[10]
        int64_t served_offset
        int64_t seen
        vector[Watched] watched

    cdef cppclass Pair:
        cbool alike
        cbool ready
        int64_t count
        int64_t newest

    cdef cppclass CWatch "riverloop::Watch":
        CWatch()
        vector[Watching] models
        vector[int] numbers
        vector[Pair] pairs
        size_t start
        vector[int] levels
        int64_t served_time
        int64_t pane_ms
        int64_t pane_keep_ms
        int64_t turned
        vector[pair[int, int]] resolved
        vector[pair[int, int]] labelled
        vector[int] servers
        int64_t loop_time
        int64_t first_cohort
        ordered[int, int64_t] outcome_delays
        ordered[int, int64_t] report_delays
        ordered[int64_t, pair[int64_t, int64_t]] cohorts
        cbool outage
        cbool judges_cost
        cbool has_delay
        cbool has_first
        int64_t horizon_ms
        int64_t until
        int64_t first
        int64_t warm_up
        int64_t judged
        cbool silence_teaches
        int served
        Feed deadlines
        Feed requests
        Cost cost
        DelayRank delay
        size_t fitting(const CFacts&, size_t, size_t)
        size_t take(const CFacts&, size_t, size_t)


cdef extern from *:
    """
    static inline int64_t riverloop_high(const riverloop::Pair& pair, bool squares) {
      return riverloop::Pair::high(squares ? pair.squares : pair.total);
    }
    static inline uint64_t riverloop_low(const riverloop::Pair& pair, bool squares) {
      return riverloop::Pair::low(squares ? pair.squares : pair.total);
    }
    static inline std::vector<int64_t> riverloop_panes(
        const riverloop::Facts& facts, size_t from, size_t to, int64_t width) {
      std::vector<int64_t> found;
      for (size_t at = from; at < to; ++at) {
        const int64_t pane = facts.facts[at].asked / width;
        if (facts.facts[at].fate != riverloop::READ && (found.empty() || found.back() != pane)) found.push_back(pane);
      }
      std::sort(found.begin(), found.end());
      found.erase(std::unique(found.begin(), found.end()), found.end());
      return found;
    }
    static inline std::map<std::pair<int64_t, int64_t>, int64_t> riverloop_times(
        const riverloop::Facts& facts, size_t from, size_t to, const std::vector<int64_t>& logged) {
      std::map<std::pair<int64_t, int64_t>, int64_t> found;
      for (size_t at = from; at < to; ++at)
        if (facts.facts[at].arrived >= 0) ++found[{facts.facts[at].arrived, logged[at - from]}];
      return found;
    }
    """
    int64_t riverloop_high(const Pair&, cbool)
    uint64_t riverloop_low(const Pair&, cbool)
    vector[int64_t] riverloop_panes(const CFacts&, size_t, size_t, int64_t)
    ordered[pair[int64_t, int64_t], int64_t] riverloop_times(const CFacts&, size_t, size_t, const vector[int64_t]&)


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


cdef object _value(const Value* value):
    if value.kind == REAL:
        return value.number
    if value.kind == WHOLE:
        return value.whole
    if value.kind == FLAG:
        return value.number != 0
    return value.text[:value.size].decode() if value.kind == TEXT else None


cdef class Fact:
    """An entry of the log that a scanner has taken.

    Attributes
    ----------
    request_id, asked, features
        Of the request: its event time in ms, and its features.
    model, revision, offset
        Of the score that was served; an empty name where there is none.
    value
        The label; None where silence has ended.
    ts
        The entry's event time (ms).
    arrived
        When its trigger arrived (ms); -1: unknown.
    """

    cdef Facts facts
    cdef CFact fact

    @property
    def request_id(self):
        return self.fact.id.data()[:self.fact.id.size()].decode()

    @property
    def features(self):
        cdef size_t n
        cdef Value* value
        found = {}
        for n in range(self.facts.own.width):
            value = &self.facts.own.values[self.fact.row + n]
            if value.kind != MISSING:
                found[self.facts.names[n]] = _value(value)
        return found

    @property
    def asked(self):
        return self.fact.asked

    @property
    def ts(self):
        return self.fact.ts

    @property
    def arrived(self):
        return self.fact.arrived

    @property
    def value(self):
        if self.fact.fate == EXPIRED:
            return None
        return self.fact.value if self.facts.numeric else self.fact.value != 0

    @property
    def model(self):
        return self.facts.own.models[self._served().model].decode("utf-8") if self.fact.scores else ""

    @property
    def revision(self):
        return self._served().revision if self.fact.scores else -1

    @property
    def offset(self):
        return self._served().offset if self.fact.scores else -1

    cdef Scored* _served(self):
        return &self.facts.own.scores[self.fact.first]


cdef class Facts:
    """Records of the log that follow on each other, scanned."""

    cdef CFacts own
    cdef list records
    cdef tuple names
    cdef cbool numeric

    def __len__(self):
        return self.own.facts.size()

    def end_of_run(self, size_t start):
        """Give the place of the first one, from a place on, that the reference must read."""
        return self.own.end_of_run(start)

    def fact(self, size_t at):
        """Give what was scanned at a place; None where the reference must read the record."""
        if at >= self.own.facts.size() or self.own.facts[at].fate == READ:
            return None
        cdef Fact made = Fact.__new__(Fact)
        made.facts, made.fact = self, self.own.facts[at]
        return made

    def newest_ts(self, size_t start, size_t end):
        """Give the greatest event time of a run (ms)."""
        cdef int64_t newest = 0
        for at in range(start, end):
            newest = max(newest, self.own.facts[at].ts)
        return newest

    def times(self, size_t start, size_t end, vector[int64_t] logged):
        """Count pairs of times (ms): when the trigger arrived, and when the entry came to lie in the log.

        Parameters
        ----------
        logged
            The second, one for each of the run.
        """
        return {each.first: each.second for each in riverloop_times(self.own, start, end, logged)}

    def octets(self, Py_ssize_t start, Py_ssize_t end):
        """Give how many bytes the records of a run have."""
        cdef size_t size = 0
        for at in range(start, end):
            size += len(<bytes>self.records[at])
        return size

    def taught(self, size_t start, size_t end, silent):
        """Give the places of a run that give a label.

        Parameters
        ----------
        silent
            What silence means; None: nothing.
        """
        cdef size_t at
        if silent is not None:
            return range(start, end)
        for at in range(start, end):
            if self.own.facts[at].fate == EXPIRED:
                return [at for at in range(start, end) if self.own.facts[at].fate != EXPIRED]
        return range(start, end)

    def examples(self, size_t start, size_t end, silent):
        """Give those of a run that give a label as examples for a kernel; this must outlive them."""
        cdef Examples* made = new Examples()
        cdef size_t at
        cdef CFact* fact
        cdef cbool teaches = silent is not None
        cdef double means = float(silent or 0)
        made.width, made.binary = self.own.width, not self.numeric
        for at in range(start, end):
            fact = &self.own.facts[at]
            if fact.fate == EXPIRED and not teaches:
                continue
            made.rows.push_back(&self.own.values[fact.row] if self.own.width else NULL)
            made.targets.push_back(means if fact.fate == EXPIRED else fact.value)
        return PyCapsule_New(made, "riverloop.examples", _drop)


cdef void _drop(object capsule) noexcept:
    cdef Examples* made = <Examples*>PyCapsule_GetPointer(capsule, "riverloop.examples")
    del made


cdef class FactScan:
    """Scans the entries of one task's log.

    Parameters
    ----------
    plan
        What `streams.native.turn.facts_of` makes one of.
    """

    cdef Views views
    cdef bytes mark
    cdef tuple names

    def __init__(self, plan):
        _scanner(&self.views.predictions, plan.predictions)
        _scanner(&self.views.entries, plan.entries)
        self.names, self.mark = tuple(plan.predictions.names), plan.entry_mark
        self.views.kind = <Answer><int>plan.answer

    def facts(self, list records):
        """Scan records of the log; None in place of one stands for no bytes."""
        cdef Facts made = Facts.__new__(Facts)
        cdef vector[string_view] given
        cdef string_view mark = string_view(<const char*>self.mark, <size_t>len(self.mark))
        cdef bytes data
        made.records, made.names = [b"" if each is None else each for each in records], self.names
        made.numeric = self.views.kind == NUMBER
        given.reserve(<size_t>len(records))
        for each in made.records:
            data = <bytes?>each
            given.push_back(string_view(<const char*>data, <size_t>len(data)))
        with nogil:
            made.own.scan(self.views, given, mark)
        return made


cdef class Rows:
    """Labels that a rolling window was given: what each adds to it, with its request id."""

    cdef vector[Observed] seen
    cdef vector[size_t] ends
    cdef string ids

    def __len__(self):
        return self.seen.size()

    def rows(self, size_t start):
        """Give them from a place on: request id, and the fields of `Seen`."""
        cdef size_t at, begin
        cdef Observed* seen
        found = []
        for at in range(start, self.seen.size()):
            begin = self.ends[at - 1] if at else 0
            seen = &self.seen[at]
            name = self.ids.data()[begin:self.ends[at]].decode()
            found.append((name, (seen.group, seen.cell, seen.key, seen.p, seen.loss, seen.brier)))
        return found


cdef Rows _rows(Facts facts, Scope* scope):
    cdef Rows made = Rows.__new__(Rows)
    cdef size_t n
    cdef string_view name
    made.seen = scope.seen
    made.ends.reserve(scope.places.size())
    for n in range(scope.places.size()):
        name = facts.own.facts[scope.places[n]].id
        made.ids.append(name.data(), name.size())
        made.ends.push_back(made.ids.size())
    return made


# ---------------------------------------------------------------------- the monitors' state, both ways


cdef _load_adwin(Adwin* own, detector):
    window, fresh, recovery = detector.snapshot()
    own.delta, own.easy, own.span, own.clock = detector.delta, detector._easy, detector.span, detector.clock
    own.worse = 1 if detector.worse == "up" else -1 if detector.worse == "down" else 0
    own.rows, own.width, own.total, own.squares = window
    own.sum, own.sum_squares, own.count = fresh
    own.left = recovery[1]


cdef _store_adwin(Adwin* own, detector):
    last = detector._recovery.snapshot()[0]
    window = own.rows, own.width, own.total, own.squares
    detector.restore((window, (own.sum, own.sum_squares, own.count), (last, own.left)))


cdef _load_tally(Tally* own, tally):
    cdef int n
    for n in range(4):
        own.cells[n] = tally.cells[n]
    for n in range(10):
        own.labels[n], own.positives[n], own.scores[n] = tally.labels[n], tally.positives[n], tally.scores[n]
    own.loss, own.brier = tally.loss, tally.brier


cdef _store_tally(Tally* own, tally):
    cdef int n
    cdef int64_t now
    for n in range(4):
        tally.cells[n] = own.cells[n]
    for n in range(10):
        tally.labels[n], tally.positives[n], tally.scores[n] = own.labels[n], own.positives[n], own.scores[n]
    tally.loss, tally.brier = own.loss, own.brier
    cdef dict counts = tally.counts
    for n in own.keys:
        now = counts.get(n, 0) + own.counts[n]
        if now:
            counts[n] = now
        else:
            counts.pop(n, None)  # a correction may have come before what it corrects


cdef _load_feed(Feed* own, feed):
    counts, times, rest = feed.snapshot()
    _, own.run, own.outcomes, own.silences = counts
    own.has_since = times[0] is not None
    own.since, own.week = times[0] or 0, times[1]
    own.longest[0][0], own.longest[0][1] = times[2][0]
    own.longest[1][0], own.longest[1][1] = times[2][1]
    own.suspect, own.threshold = rest[1], rest[2]
    own.whole_suspect, own.whole_threshold = type(rest[1]) is int, type(rest[2]) is int


cdef _store_feed(Feed* own, feed):
    back = feed.snapshot()[2][0]
    longest = [(own.longest[0][0], own.longest[0][1]), (own.longest[1][0], own.longest[1][1])]
    since = own.since if own.has_since else None
    suspect = int(own.suspect) if own.whole_suspect else own.suspect
    threshold = int(own.threshold) if own.whole_threshold else own.threshold
    feed.restore(
        (("live", own.run, own.outcomes, own.silences), (since, own.week, longest), (back, suspect, threshold))
    )


cdef _load_cost(Cost* own, loss):
    cdef Block block
    watch, episodes = loss.watch, loss.episodes
    sums, moment, blocked, blocks = watch.snapshot()
    own.warm_up = watch.warm_up
    own.seen, own.sum, own.ts, run, own.worse = sums
    own.critical, own.last_statistic = episodes.severity == "critical", episodes.last_statistic
    own.run_count, own.run_loss = run
    own.has_moment = moment is not None
    if moment is not None:
        own.moment_ts, own.moment_count, own.moment_loss, own.moment_counted = moment
    own.block_count, own.block_loss, own.block_squares, own.block_counted = blocked
    for block.mean, block.squares, block.counted in blocks:
        own.blocks.push_back(block)
    own.measure()


cdef _store_cost(Cost* own, watch):
    sums = own.seen, own.sum, own.ts, (own.run_count, own.run_loss), bool(own.worse)
    moment = (own.moment_ts, own.moment_count, own.moment_loss, own.moment_counted) if own.has_moment else None
    blocked = own.block_count, own.block_loss, own.block_squares, own.block_counted
    watch.restore((sums, moment, blocked, [(each.mean, each.squares, each.counted) for each in own.blocks]))


cdef _add(ordered[int, int64_t]* counted, dict into):
    for each in counted[0]:
        into[each.first] = into.get(each.first, 0) + each.second


cdef class Folding:
    """Folds runs of the log into the monitors of one task.

    Parameters
    ----------
    followed
        Names of the features whose levels are counted on their own.
    level_of
        Gives the level of a value of the feature at a place among them; None stands for no value.
    """

    cdef tuple followed
    cdef object level_of

    cdef object reference
    """The delays that the others are ranked in, once they are complete: a list that nobody changes."""
    cdef vector[int64_t] ranked

    def __init__(self, tuple followed, level_of):
        self.followed, self.level_of = followed, level_of

    def fold(self, Facts facts, size_t start, size_t end, size_t least, bound):
        """Fold entries into monitors, from one of them on; gives how many.

        Parameters
        ----------
        least
            Entries below which nothing is folded.
        bound
            The parts of the monitors: a `streams.native.watch.Bound`.
        """
        cdef CWatch own
        cdef size_t taken
        self._load_models(&own, facts, bound)
        own.until = bound.drift._until
        taken = own.fitting(facts.own, start, end)
        if taken < least:
            return 0
        end = start + taken
        names = self._levels(&own, facts, start, end) if self.followed else []
        self._load(&own, facts, start, end, bound, names)
        with nogil:
            taken = own.take(facts.own, start, end)
        if taken:
            self._store(&own, facts, bound, names)
        return taken

    cdef _load_models(self, CWatch* own, Facts facts, bound):
        cdef size_t n, role
        numbers = {each.name: number for number, each in enumerate(bound.models)}
        own.numbers = [numbers.get(each.decode("utf-8"), -1) for each in facts.own.models]
        own.models.resize(<size_t>len(bound.models))
        own.pairs.resize(own.models.size() * own.models.size())
        for n in range(own.models.size()):
            model = bound.models[n]
            own.models[n].revision = model.revision
            own.models[n].silent = -1 if model.silent is None else <int>bool(model.silent)
            for role in range(2):
                own.models[n].scopes[role].ready = model.tallies[role] is not None
            for role in range(own.models.size()):
                own.pairs[n * own.models.size() + role].alike = bound.pairs[n][role] is not None
                own.pairs[n * own.models.size() + role].ready = bound.pairs[n][role] in bound.sums

    cdef list _levels(self, CWatch* own, Facts facts, size_t start, size_t end):
        """Number the levels of a run's entries; gives their names, by feature and number."""
        cdef size_t at, n
        cdef vector[int] places = [facts.names.index(name) if name in facts.names else -1 for name in self.followed]
        names, numbers, levels = [[OTHER] for _ in self.followed], [{OTHER: 0} for _ in self.followed], {}
        own.start = start
        for at in range(start, end):
            for n in range(places.size()):
                value = None
                if places[n] >= 0:
                    value = _value(&facts.own.values[facts.own.facts[at].row + <size_t>places[n]])
                key = n, type(value), value
                number = levels.get(key)
                if number is None:
                    level = self.level_of(n, value)
                    number = levels[key] = numbers[n].setdefault(level, len(names[n]))
                    if number == len(names[n]):
                        names[n].append(level)
                own.levels.push_back(number)
        return names

    cdef _load_levels(self, Scope* scope, given, list names):
        cdef size_t n
        cdef Leveled* own
        scope.levels.resize(<size_t>len(names))
        for n in range(scope.levels.size()):
            own, levels = &scope.levels[n], given.levels[self.followed[n]]
            own.most, own.own = levels.most, len(levels.tallies) - (OTHER in levels.tallies)
            own.slots.assign(<size_t>len(names[n]), -1)
            for number, level in enumerate(names[n]):
                tally = levels.tallies.get(level)
                if tally is not None:
                    own.begin(number)
                    _load_tally(&own.tallies.back(), tally)
            own.known = own.tallies.size()

    cdef _store_levels(self, Scope* scope, given, list names):
        cdef size_t n, slot
        cdef Leveled* own
        for n in range(scope.levels.size()):
            own, levels = &scope.levels[n], given.levels[self.followed[n]]
            for slot in range(own.tallies.size()):
                level = names[n][own.levels[slot]]
                if slot >= own.known:
                    levels.tallies[level] = levels.make()
                _store_tally(&own.tallies[slot], levels.tallies[level])

    cdef _load(self, CWatch* own, Facts facts, size_t start, size_t end, bound, list names):
        cdef size_t n, role
        cdef int64_t number
        cdef Scope* scope
        cdef Watched signal
        loop, drift, panes = bound.loop, bound.drift, bound.loop.cohorts
        own.served_time, own.pane_ms, own.pane_keep_ms = bound.served_time, panes.width_ms, panes.keep_ms
        cdef vector[int64_t] met = riverloop_panes(facts.own, start, end, own.pane_ms)
        for n in range(own.models.size()):
            model = bound.models[n]
            for role in range(2):
                scope = &own.models[n].scopes[role]
                if not scope.ready:
                    continue
                given = model.scopes[role]
                scope.first_pane = given.panes.first
                mean = given.river["log_loss"]._mean
                scope.log_loss_n, scope.log_loss = mean.n, mean._mean
                _load_tally(&scope.tally, model.tallies[role])
                self._load_levels(scope, given, names)
                for number in met:
                    tally = given.panes.panes.get(number)
                    if tally is not None:
                        _load_tally(&scope.panes[number], tally)
            own.models[n].seen = model.watch.seen
            for kind, made, detector in model.signals:
                signal = Watched()
                signal.signal = <Signal><int>kind
                _load_adwin(&signal.detector, detector)
                if kind == 0:
                    signal.weighted, signal.weight = made.snapshot()
                own.models[n].watched.push_back(signal)
        own.loop_time, own.first_cohort = loop.stream_time, panes.first
        own.outage, own.judges_cost, own.has_delay = drift.rules.outage, drift.cost is not None, drift.delay is not None
        own.has_first, own.first = drift._first is not None, drift._first or 0
        own.horizon_ms, own.warm_up = drift._horizon_ms, drift.rules.warm_up
        own.silence_teaches = drift._silence_teaches
        _load_feed(&own.deadlines, drift._deadlines)
        _load_feed(&own.requests, drift._requests)
        if own.judges_cost:
            _load_cost(&own.cost, drift.cost)
        if own.has_delay:
            self._load_delay(&own.delay, drift.delay)

    cdef _store(self, CWatch* own, Facts facts, bound, list names):
        cdef size_t n, role
        cdef Scope* scope
        for n in range(own.models.size()):
            model = bound.models[n]
            for role in range(2):
                scope = &own.models[n].scopes[role]
                if not scope.count:
                    continue
                given = model.scopes[role]
                mean = given.river["log_loss"]._mean
                mean.n, mean._mean = scope.log_loss_n, scope.log_loss
                _store_tally(&scope.tally, model.tallies[role])
                self._store_levels(scope, given, names)
                for each in scope.panes:
                    _store_tally(&scope.panes[each.first], given.panes.made(each.first))
                given.n += scope.count
                given.version = f"{model.name}.{own.models[n].revision}@{scope.newest}"
                bound.roll(given.rolling, _rows(facts, scope))
            if own.models[n].role >= 0:
                model.served.role = "shadow" if own.models[n].role else "served"
            model.watch.seen = own.models[n].seen
            for number, (kind, made, detector) in enumerate(model.signals):
                _store_adwin(&own.models[n].watched[number].detector, detector)
                if kind == 0:
                    made.restore((own.models[n].watched[number].weighted, own.models[n].watched[number].weight))
        bound.advance(own.served_time, own.turned)
        self._store_pairs(own, bound)
        self._store_waiting(own, bound)
        loop, drift = bound.loop, bound.drift
        if loop.stream_time < own.loop_time:
            loop.stream_time = own.loop_time
            loop.cohorts.advance(own.loop_time)
        _add(&own.outcome_delays, loop.outcome_delay.counts)
        _add(&own.report_delays, loop.report_delay.counts)
        bound.cohorts([(each.first, each.second.first, each.second.second) for each in own.cohorts])
        drift._first = own.first if own.has_first else None
        drift._judged += own.judged
        for episodes in bound.open_episodes():
            episodes.quiet += own.judged
        drift._silence_teaches = True if own.silence_teaches else False
        if own.served >= 0:
            drift._served = bound.models[own.served].name
        if own.outage:
            _store_feed(&own.deadlines, drift._deadlines)
            _store_feed(&own.requests, drift._requests)
        if own.judges_cost:
            _store_cost(&own.cost, drift.cost.watch)
        if own.has_delay:
            self._store_delay(&own.delay, drift.delay)

    cdef _store_pairs(self, CWatch* own, bound):
        cdef size_t one, other
        cdef Pair* found
        for one in range(own.models.size()):
            for other in range(own.models.size()):
                found = &own.pairs[one * own.models.size() + other]
                if not found.count:
                    continue
                n, total, squares, newest = bound.sums[bound.pairs[one][other]]
                total += (<object>riverloop_high(found[0], False) << 64) + riverloop_low(found[0], False)
                squares += (<object>riverloop_high(found[0], True) << 64) + riverloop_low(found[0], True)
                bound.sums[bound.pairs[one][other]] = n + found.count, total, squares, max(newest, found.newest)

    cdef _store_waiting(self, CWatch* own, bound):
        cdef int n
        cdef Resolutions* counted
        waiting = bound.waiting
        for n in own.servers:
            name = bound.models[n].name
            waiting._versions[name] = f"{name}.{own.models[n].revision}@{own.models[n].served_offset}"
        for each in own.resolved:
            counter = bound.counter(each.first, each.second)
            waiting._resolved[counter] += own.models[each.first].resolved[each.second].count
        for each in own.labelled:
            counter = bound.counter(each.first, each.second)
            counted = &own.models[each.first].resolved[each.second]
            labels, positive = waiting._labels.get(counter, (0, 0))
            waiting._labels[counter] = labels + counted.labels, positive + counted.positive

    cdef _load_delay(self, DelayRank* own, delay):
        ranks = delay.ranks
        if self.reference is None or ranks._reference is not self.reference:
            self.ranked = ranks._reference
            self.reference = ranks._reference if len(ranks._reference) == REFERENCE else None
        own.reference = self.ranked
        first, own.seen, bound = ranks._first, ranks._seen, ranks._bound
        own.has_first, own.has_bound = first is not None, bound is not None
        own.first, own.bound = first or 0, bound or 0
        own.sum, own.count = delay._sum, delay._count
        _load_adwin(&own.detector, delay.detector)

    cdef _store_delay(self, DelayRank* own, delay):
        ranks = delay.ranks
        ranks._first, ranks._seen = own.first if own.has_first else None, own.seen
        ranks._bound = own.bound if own.has_bound else None
        if self.reference is None:
            ranks._reference = own.reference
        delay._sum, delay._count = own.sum, own.count
        for each in own.means:
            delay._remember(each.first, each.second)
        _store_adwin(&own.detector, delay.detector)
