// The join of one partition: what it holds, when that falls due, and the rows of its table that come most often.
//
// The state is the one that streams.join.overlay keeps in Python, changed in place, with a journal of the batch at
// work: `rollback` puts back what each request was before it. Python reads and changes it request by request; `take`
// goes through records until one that is none of: a new or a repeated prediction, an outcome in time, and whatever
// falls due with them. That record has changed nothing then. What the reference alone knows is ODD here: it is held
// in Python, and no more than its place in time is kept.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "views.hpp"
#include "writer.hpp"

namespace riverloop {

// As the symbols of Kind in the schema of entries.
enum Fact : uint8_t { OPENED, LABELLED, EXPIRED, LATE, REVISED, UNAVAILABLE, TIME, BACKFILL, COMMAND };
enum Status : uint8_t { GONE, WAITING, CLOSED, ODD };

constexpr int AT_ONCE = 1000;  // requests that one prediction may let fall due; the reference makes turns of more

struct Topic {
  std::string name, written;   // and its union of number and name
};

struct Place { int topic = 0; int64_t partition = 0, offset = 0; };

struct Resolved {
  Place trigger;
  int64_t index = 0;
  Fact kind = LABELLED;
  int8_t late_by = -1;         // or a symbol of LateBy
  Answer answer = UNKNOWN;
  bool flag = false;
  double number = 0;
  std::string text;
  bool has_revision = false, has_delay = false;
  int64_t revision = 0, delay = 0;
};

struct Row {
  Status status = GONE;
  bool waits = false;          // of an ODD one; others by their status
  bool predicted = false;      // whether a prediction is held
  int64_t ts = 0;
  int64_t due = 0, due_offset = -1;
  Place at;
  std::shared_ptr<const std::string> payload;
  std::shared_ptr<const Resolved> resolution;
  size_t touched = 0;          // its place in the journal, from 1; 0: the batch has not changed it
};

struct Rules {
  int64_t horizon = 0, revision_horizon = 0, grace = 0, max_ahead = 0, tolerance = 0, earliest = 0, cohort = 1000;
};

struct Marks { std::string entry, record, resolution; };  // the headers of what is written

struct Input {
  bool is_prediction = false;
  PredictionView prediction;
  OutcomeView outcome;
  Place at;
  int64_t arrived = 0;
};

using Rows = std::unordered_map<std::string, Row>;

struct Due {
  int64_t due;
  int64_t offset;
  Rows::value_type* row;
  bool operator<(const Due& other) const {
    if (due != other.due) return due < other.due;
    if (offset != other.offset) return offset < other.offset;
    return row->first < other.row->first;  // UTF-8 sorts as code points do
  }
};

struct Change { Rows::value_type* row; Row before; bool opened; };

class Table {
 public:
  std::mutex guard;            // calls that compute without the interpreter's lock
  Rules rules;
  Marks marks;
  std::vector<Topic> topics;
  int64_t stream_time = -1;
  int64_t waiting = 0, most_waiting = 0;
  std::map<int64_t, int64_t> cohorts;
  std::set<Due> due, odd;
  std::vector<Change> journal;
  std::vector<std::string> entries;                          // without partition and progress
  std::vector<std::pair<std::string, int64_t>> counters;     // in the order in which they were raised first

  Rows::value_type* find(const std::string& id) {
    const auto found = rows_.find(id);
    return found == rows_.end() || found->second.status == GONE ? nullptr : &*found;
  }

  size_t size() const { return rows_.size(); }
  const Rows& rows() const { return rows_; }

  // Changes what is held of a request; a GONE row forgets.
  void put(const std::string& id, Row next) { change(&*rows_.try_emplace(id).first, std::move(next)); }

  void commit() {
    for (auto& each : journal) {
      each.row->second.touched = 0;
      if (each.row->second.status == GONE) rows_.erase(rows_.find(each.row->first));
    }
    journal.clear();
  }

  void rollback() {
    for (auto& each : journal) {
      leave(each.row);
      each.row->second = std::move(each.before);
      each.row->second.touched = 0;
      enter(each.row);
      if (each.row->second.status == GONE) rows_.erase(rows_.find(each.row->first));
    }
    journal.clear();
  }

  // Takes records from the first on; gives how many.
  size_t take(const std::vector<Input>& inputs) {
    entries.clear();
    counters.clear();
    size_t taken = 0;
    for (const Input& each : inputs) {
      if (entries.size() > AT_ONCE || !(each.is_prediction ? prediction(each) : outcome(each))) break;
      ++taken;
    }
    return taken;
  }

  // What the changelog gets of a change whose row is not ODD and not GONE, and whether it is a Resolution.
  bool written(const Change& change, std::string& into) const {
    const Row& row = change.row->second;
    const bool whole = !row.resolution || change.opened;
    Writer writer;
    writer.raw(whole ? marks.record : marks.resolution);
    if (whole) {
      writer.byte(2);
      place(writer, row.at);
      writer.byte(0);  // request_ts, which the payload begins with
      writer.byte(row.resolution ? 2 : 0);
    }
    if (row.resolution) resolution(writer, *row.resolution);
    if (whole) {
      writer.byte(0);  // no early outcomes
      writer.byte(2);
      writer.raw(*row.payload);
    }
    into = std::move(writer.out);
    return !whole;
  }

 private:
  Rows rows_;
  Place cause_;
  int64_t arrived_ = 0, number_ = 0;
  std::string id_;  // of the record at work

  // ------------------------------------------------------------------ the state

  bool waits(const Row& row) const { return row.status == WAITING || (row.status == ODD && row.waits); }

  void leave(Rows::value_type* row) {
    const Row& is = row->second;
    if (is.status == GONE) return;
    due.erase({is.due, is.due_offset, row});
    if (is.status == ODD) odd.erase({is.due, is.due_offset, row});
    if (waits(is)) count(is.ts, -1);
  }

  void enter(Rows::value_type* row) {
    const Row& is = row->second;
    if (is.status == GONE) return;
    due.insert({is.due, is.due_offset, row});
    if (is.status == ODD) odd.insert({is.due, is.due_offset, row});
    if (waits(is)) count(is.ts, 1);
  }

  void count(int64_t ts, int by) {
    const int64_t within = ts % rules.cohort;
    const auto cohort = cohorts.try_emplace(ts - within - (within < 0 ? rules.cohort : 0), 0).first;
    cohort->second += by;
    if (cohort->second == 0) cohorts.erase(cohort);
    waiting += by;
  }

  void change(Rows::value_type* row, Row next) {
    next.predicted |= next.status == WAITING || next.status == CLOSED;
    const bool opens = next.predicted && !row->second.predicted;
    size_t touched = row->second.touched;
    if (touched == 0) {
      Row before = row->second;
      journal.push_back({row, std::move(before), false});
      touched = journal.size();
    }
    journal[touched - 1].opened |= opens;
    leave(row);
    next.touched = touched;
    if (next.status == WAITING || next.status == CLOSED) {
      next.due = next.ts + rules.horizon + (next.status == CLOSED ? rules.revision_horizon : 0);
      next.due_offset = next.at.offset;
    }
    row->second = std::move(next);
    enter(row);
    most_waiting = std::max(most_waiting, waiting);
  }

  void raise(std::string_view name, int64_t by = 1) {
    for (auto& each : counters)
      if (each.first == name) {
        each.second += by;
        return;
      }
    counters.emplace_back(name, by);
  }

  // ------------------------------------------------------------------ the table

  bool possible(int64_t ts, int64_t arrived) const { return rules.earliest <= ts && ts <= arrived + rules.max_ahead; }

  void begin(const Input& input) {
    cause_ = input.at;
    arrived_ = input.arrived;
    number_ = 0;
  }

  bool prediction(const Input& input) {
    const PredictionView& view = input.prediction;
    const int64_t now = std::max(stream_time, view.ts), until = now - rules.grace;
    if (!possible(view.ts, input.arrived)) return false;
    if (view.ts + rules.horizon + rules.revision_horizon < until) return false;
    if (!odd.empty() && odd.begin()->due < until) return false;
    int falling = 0;
    for (auto each = due.begin(); each != due.end() && each->due < until; ++each)
      if (++falling > AT_ONCE) return false;
    id_.assign(view.id);
    Rows::value_type* row = find(id_);
    if (row != nullptr && row->second.status == ODD) return false;
    begin(input);
    if (view.ts > stream_time) {
      stream_time = view.ts;
      fire(until);
      row = find(id_);
    }
    if (row != nullptr) {
      raise("duplicate_prediction");
      return true;
    }
    raise("predictions");
    if (view.group >= 0) {
      score_.assign("score ").append(view.model).append(1, ' ').append(std::to_string(view.group));
      raise(score_);
    }
    Row next;
    next.status = WAITING;
    next.ts = view.ts;
    next.at = input.at;
    next.payload = std::make_shared<const std::string>(view.rest);
    put(id_, std::move(next));
    fire(until);
    return true;
  }

  bool outcome(const Input& input) {
    const OutcomeView& view = input.outcome;
    if (!possible(view.ts, input.arrived)) return false;
    id_.assign(view.id);
    Rows::value_type* found = find(id_);
    if (found == nullptr || found->second.status != WAITING) return false;
    const int64_t asked = found->second.ts;
    if (view.ts < asked - rules.tolerance || view.ts > asked + rules.horizon) return false;
    begin(input);
    raise("outcomes");
    resolve(found, view.answer == UNKNOWN ? UNAVAILABLE : LABELLED, view.ts, &view);
    return true;
  }

  void fire(int64_t until) {
    while (!due.empty() && due.begin()->due < until) {
      Rows::value_type* row = due.begin()->row;
      if (row->second.status == WAITING) {
        resolve(row, EXPIRED, row->second.ts + rules.horizon, nullptr);
      } else {
        raise("forgotten");
        change(row, Row());
      }
    }
  }

  void resolve(Rows::value_type* row, Fact kind, int64_t ts, const OutcomeView* outcome) {
    const Row& before = row->second;
    entries.push_back(entry(row->first, before, kind, ts, outcome));
    auto resolved = std::make_shared<Resolved>();
    resolved->trigger = cause_;
    resolved->index = number_++;
    resolved->kind = kind;
    if (outcome != nullptr) {
      resolved->answer = outcome->answer;
      resolved->flag = outcome->flag;
      resolved->number = outcome->number;
      resolved->text = outcome->text;
      resolved->has_revision = outcome->has_revision;
      resolved->revision = outcome->revision;
      resolved->has_delay = true;
      resolved->delay = outcome->ts - before.ts;
    }
    raise(kind == EXPIRED ? "expired" : kind == LABELLED ? "labelled" : "unavailable");
    Row next = before;
    next.status = CLOSED;
    next.resolution = std::move(resolved);
    change(row, std::move(next));
  }

  // ------------------------------------------------------------------ bytes

  void place(Writer& writer, const Place& at) const {
    writer.raw(topics[at.topic].written);
    writer.whole(at.partition);
    writer.whole(at.offset);
  }

  static void answer(Writer& writer, Answer answer, bool flag, double number, std::string_view text) {
    writer.byte(static_cast<uint8_t>(2 * answer));
    if (answer == YES_NO) writer.byte(flag);
    else if (answer == NUMBER) writer.number(number);
    else if (answer == CLASS) writer.text(text);
  }

  void resolution(Writer& writer, const Resolved& is) const {
    place(writer, is.trigger);
    writer.whole(is.index);
    writer.byte(static_cast<uint8_t>(2 * is.kind));
    writer.byte(is.late_by < 0 ? 0 : 2);
    if (is.late_by >= 0) writer.byte(static_cast<uint8_t>(2 * is.late_by));
    answer(writer, is.answer, is.flag, is.number, is.text);
    writer.maybe(is.has_revision, is.revision);
    writer.maybe(is.has_delay, is.delay);
  }

  std::string entry(const std::string& id, const Row& row, Fact kind, int64_t ts, const OutcomeView* outcome) const {
    Writer writer;
    writer.out.reserve(96 + id.size() + row.payload->size());
    writer.raw(marks.entry);
    if (number_ == 0) {
      writer.byte(0);  // its trigger gives its id
    } else {
      writer.byte(2);
      writer.text(topics[cause_.topic].name + "[" + std::to_string(cause_.partition) + "]@" +
                  std::to_string(cause_.offset) + "#" + std::to_string(number_));
    }
    writer.byte(static_cast<uint8_t>(2 * kind));
    writer.whole(ts);
    writer.byte(2);
    place(writer, cause_);
    writer.maybe(true, arrived_);
    writer.byte(2);
    place(writer, row.at);
    writer.byte(0);  // the outcome lies where the trigger does, or there is none
    writer.byte(2);
    writer.text(id);
    writer.raw(*row.payload);
    writer.byte(outcome == nullptr ? 0 : 2);
    if (outcome != nullptr) {
      answer(writer, outcome->answer, outcome->flag, outcome->number, outcome->text);
      writer.maybe(outcome->has_revision, outcome->revision);
      writer.byte(outcome->has_reason ? 2 : 0);
      if (outcome->has_reason) writer.text(outcome->reason);
      writer.byte(outcome->has_reporter ? 2 : 0);
      if (outcome->has_reporter) writer.text(outcome->reporter);
    }
    writer.zeros(5);  // corrects, previous, previous_kind, late_by, command
    return std::move(writer.out);
  }

  std::string score_;
};

}  // namespace riverloop
