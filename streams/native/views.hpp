// What the turn must know of a record's bytes, read where a scanner has found its fields.
//
// A view is had only of a record that the reference takes and leaves as it is: the bounds of schemas.codec.checks and
// schemas.limits are checked here too. Whatever else there is, refusals above all, goes to the reference.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "records.hpp"

namespace riverloop {

constexpr size_t NAME_CHARACTERS = 200, REASON_CHARACTERS = 1000, TOPIC_CHARACTERS = 249;  // schemas.limits
constexpr uint64_t MOST_PARENTS = 100, MOST_SCORES = 100;
constexpr int64_t MOST_TS = int64_t{1} << 53;  // schemas.codec.checks
constexpr double MOST_NUMBER = 1e150;
constexpr int GROUPS = 10;  // streams.metrics.binary

enum Answer : uint8_t { UNKNOWN, YES_NO, NUMBER, CLASS };  // branches of an outcome's value

enum Reporter : uint8_t { HASHED, KEPT, DROPPED };

struct PredictionView {
  std::string_view id, rest;    // `rest` is all behind the id: what the join holds
  int64_t ts = 0;
  std::string_view model;       // of the score that is served, where that is a probability
  int group = -1;               // of its calibration table; -1: it is no probability
  double p = 0;
  int64_t revision = 0, offset = 0;  // of the model
  bool has_label = false, label = false, failed = false;
  uint64_t scores = 0;
};

// A score in an entry of the log.
struct ScoreView {
  std::string_view model;
  int64_t revision = 0, offset = 0;
  double p = 0;
  bool has_p = false, has_label = false, label = false, failed = false;
};

// A first label in time or of a backfilled row, or silence until the horizon.
struct FactView {
  PredictionView prediction;
  int64_t ts = 0, arrived = -1;  // -1: unknown
  double value = 0;              // the number, or 1 for true
  bool expired = false, backfilled = false;
};

struct OutcomeView {
  std::string_view id;
  int64_t ts = 0;
  Answer answer = UNKNOWN;
  bool flag = false;
  double number = 0;
  std::string_view text;        // of a CLASS
  bool has_revision = false, has_reason = false, has_reporter = false;
  int64_t revision = 0;
  std::string_view reason, reporter;
};

inline bool is_at_most(std::string_view text, size_t characters) {
  if (text.size() <= characters) return true;
  size_t count = 0;
  for (const char each : text) count += (static_cast<uint8_t>(each) & 0xC0) != 0x80;
  return count <= characters;
}

inline bool text(Cursor& cursor, std::string_view& found, size_t characters) {
  const uint8_t* start;
  size_t size;
  if (!cursor.octets(start, size)) return false;
  found = {reinterpret_cast<const char*>(start), size};
  return is_at_most(found, characters);
}

inline bool maybe_text(Cursor& cursor, bool& there, std::string_view& found, size_t characters) {
  uint8_t branch;
  if (!cursor.byte(branch)) return false;
  there = branch != 0;
  return !there || text(cursor, found, characters);
}

inline bool id_and_ts(Cursor cursor, Cursor time, std::string_view& id, int64_t& ts) {
  if (!text(cursor, id, NAME_CHARACTERS) || id.empty() || id[0] == '\0') return false;
  return time.whole(ts) && ts >= 0 && ts < MOST_TS;
}

class Views {
 public:
  Scanner predictions, outcomes;
  Answer kind = YES_NO;          // what an outcome of the task is
  Reporter reporter = HASHED;    // how one is stored

  bool prediction(const uint8_t* data, size_t size, size_t from, PredictionView& view) {
    if (!predictions.scan(data, size, from, fields_) || fields_.size() != 9) return false;
    row_.resize(predictions.kinds.size());
    if (predictions.features_field != 2 || !predictions.read(data, fields_[2], row_.data())) return false;
    if (!id_and_ts(data, view.id, view.ts)) return false;
    // The join holds what follows the shortest form of the id.
    const size_t length = view.id.size() < 64 ? 1 : view.id.size() < 8192 ? 2 : 3;
    if (fields_[0].end - fields_[0].start != length + view.id.size()) return false;
    view.rest = {reinterpret_cast<const char*>(data) + fields_[0].end, size - fields_[0].end};
    return scores(data, view) && source(data) && about(data) && share(data);
  }

  bool outcome(const uint8_t* data, size_t size, size_t from, OutcomeView& view) {
    if (!outcomes.scan(data, size, from, fields_) || fields_.size() != 6) return false;
    view = OutcomeView();
    if (!id_and_ts(data, view.id, view.ts) || !answer(data, view)) return false;
    Cursor revision = at(data, 3), reason = at(data, 4), reported_by = at(data, 5);
    uint8_t branch;
    if (!revision.byte(branch)) return false;
    if ((view.has_revision = branch != 0) && !revision.whole(view.revision)) return false;
    if (!maybe_text(reason, view.has_reason, view.reason, REASON_CHARACTERS)) return false;
    if (!maybe_text(reported_by, view.has_reporter, view.reporter, NAME_CHARACTERS)) return false;
    if (view.answer == UNKNOWN && view.reason.empty()) return false;
    if (reporter == DROPPED) view.has_reporter = false;
    return !view.has_reporter || reporter == KEPT;
  }

  Scanner entries;

  // Whether an entry is such a fact, and says nothing of the join's progress.
  bool fact(const uint8_t* data, size_t size, size_t from, FactView& view) {
    if (!entries.scan(data, size, from, fields_) || fields_.size() != 16) return false;
    for (const size_t absent : {9, 10, 11, 12, 13, 14, 15})
      if (data[fields_[absent].start] != 0) return false;
    const uint8_t kind = data[fields_[1].start];
    view.expired = kind == 2 * EXPIRED_SYMBOL;
    view.backfilled = kind == 2 * BACKFILL_SYMBOL;
    if (kind != 2 * LABELLED_SYMBOL && !view.expired && !view.backfilled) return false;
    if (data[fields_[7].start] != 2 || data[fields_[8].start] != (view.expired ? 0 : 2)) return false;
    // The trigger gives the id of an entry that has none.
    const bool named = data[fields_[0].start] != 0, triggered = data[fields_[3].start] != 0;
    if (named == triggered) return false;
    Cursor time = at(data, 2), arrived = at(data, 4);
    uint8_t branch;
    if (!time.whole(view.ts) || view.ts < 0 || view.ts >= MOST_TS) return false;
    if (!arrived.byte(branch) || (branch != 0 && (!arrived.whole(view.arrived) || view.arrived < 0))) return false;
    if (!view.expired && !label(data, view)) return false;
    const Span inside = fields_[7];
    every_.clear();
    keeps_every_ = true;
    const bool taken = prediction(data, inside.end, inside.start + 1, view.prediction);
    keeps_every_ = false;
    return taken;
  }

  const std::vector<ScoreView>& every() const { return every_; }     // scores of the fact viewed last
  const std::vector<Value>& features() const { return row_; }  // of the prediction viewed last

 private:
  static constexpr int LABELLED_SYMBOL = 1, EXPIRED_SYMBOL = 2, BACKFILL_SYMBOL = 7;  // of the entries' Kind

  bool label(const uint8_t* data, FactView& view) const {
    Cursor outcome = at(data, 8);
    uint8_t branch, answered, flag;
    if (!outcome.byte(branch) || !outcome.byte(answered) || answered != 2 * kind) return false;
    if (kind == NUMBER) {
      if (!number(outcome, view.value)) return false;
    } else {
      if (kind != YES_NO || !outcome.byte(flag)) return false;
      view.value = flag == 1;
    }
    // Revision, reason and reporter change nothing for a fold; the last two have bounds.
    std::string_view word;
    int64_t whole;
    bool there;
    if (!outcome.byte(branch) || (branch != 0 && !outcome.whole(whole))) return false;
    return maybe_text(outcome, there, word, REASON_CHARACTERS) && maybe_text(outcome, there, word, NAME_CHARACTERS);
  }

  Cursor at(const uint8_t* data, size_t field) const {
    return Cursor(data, data + fields_[field].start, data + fields_[field].end);
  }

  bool id_and_ts(const uint8_t* data, std::string_view& id, int64_t& ts) const {
    return riverloop::id_and_ts(at(data, 0), at(data, 1), id, ts);
  }

  static bool number(Cursor& cursor, double& found) {
    return cursor.number(found) && std::fabs(found) < MOST_NUMBER && !(found == 0 && std::signbit(found));
  }

  bool answer(const uint8_t* data, OutcomeView& view) const {
    Cursor cursor = at(data, 2);
    uint8_t branch, flag;
    if (!cursor.byte(branch)) return false;
    view.answer = static_cast<Answer>(branch / 2);
    if (view.answer == UNKNOWN) return true;
    if (view.answer != kind) return false;  // the reference says what it becomes
    if (view.answer == CLASS) return text(cursor, view.text, NAME_CHARACTERS);
    if (view.answer == NUMBER) return number(cursor, view.number);
    if (!cursor.byte(flag)) return false;
    view.flag = flag == 1;
    return true;
  }

  bool scores(const uint8_t* data, PredictionView& view) {
    Cursor cursor = at(data, 3);
    uint64_t count, all = 0;
    view.model = {};
    view.group = -1;
    view.failed = view.has_label = false;
    while (true) {
      if (!cursor.block(count)) return false;
      if (count == 0) {
        view.scores = all;
        return all <= MOST_SCORES;
      }
      for (uint64_t i = 0; i < count; ++i)
        if (!score(cursor, all++ == 0 ? &view : nullptr)) return false;
    }
  }

  bool score(Cursor& cursor, PredictionView* view) {
    std::string_view model, word;
    bool has_p = false;
    int64_t revision, offset;
    uint8_t branch;
    double p = 0;
    if (!text(cursor, model, NAME_CHARACTERS) || !cursor.whole(revision) || !cursor.whole(offset)) return false;
    if (!cursor.byte(branch)) return false;
    if (branch == 2) {
      if (!cursor.number(p)) return false;
      has_p = p >= 0 && p <= 1;
      if (view != nullptr && has_p) {
        view->model = model;
        view->group = p < 1 ? static_cast<int>(p * GROUPS) : GROUPS - 1;
        view->p = p;
        view->revision = revision;
        view->offset = offset;
      }
    } else if (branch == 4) {
      if (kind == NUMBER) return false;  // a number with its interval: the reference reads it
      uint64_t count;
      do {
        if (!cursor.block(count)) return false;
        for (uint64_t i = 0; i < count; ++i)
          if (!text(cursor, word, NAME_CHARACTERS) || !cursor.number(p)) return false;
      } while (count > 0);
    }
    const double found = p;
    uint8_t flag = 0;
    if (!cursor.byte(branch)) return false;
    if (branch == 2 && !cursor.byte(flag)) return false;
    if (branch == 4 && !text(cursor, word, NAME_CHARACTERS)) return false;
    if (view != nullptr && (view->has_label = branch == 2)) view->label = flag == 1;
    if (!text(cursor, word, SIZE_MAX)) return false;  // why a model failed: of any length
    if (view != nullptr) view->failed = !word.empty();
    if (keeps_every_) every_.push_back({model, revision, offset, found, has_p, branch == 2, flag == 1, !word.empty()});
    return true;
  }

  bool source(const uint8_t* data) const {
    Cursor cursor = at(data, 4);
    uint8_t branch, form;
    std::string_view topic;
    if (!cursor.byte(branch) || branch == 0) return branch == 0;
    if (!cursor.byte(form)) return false;
    return form == 0 || text(cursor, topic, TOPIC_CHARACTERS);
  }

  bool about(const uint8_t* data) const {
    Cursor entity = at(data, 5), parents = at(data, 6);
    std::string_view word;
    bool there;
    uint64_t count, all = 0;
    if (!maybe_text(entity, there, word, NAME_CHARACTERS)) return false;
    do {
      if (!parents.block(count)) return false;
      all += count;
      for (uint64_t i = 0; i < count; ++i)
        if (!text(parents, word, NAME_CHARACTERS)) return false;
    } while (count > 0);
    return all <= MOST_PARENTS;
  }

  bool share(const uint8_t* data) const {
    Cursor cursor = at(data, 7);
    uint8_t branch;
    double share;
    if (!cursor.byte(branch)) return false;
    return branch == 0 || (cursor.number(share) && share > 0 && share <= 1);
  }

  std::vector<Span> fields_;
  std::vector<Value> row_;
  std::vector<ScoreView> every_;
  bool keeps_every_ = false;
};

}  // namespace riverloop
