// Entries of the log in a batch: those of which the bytes say all that a fold needs.
//
// First labels in time, silence until the horizon, and backfilled rows. All other entries are the reference's.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "views.hpp"

namespace riverloop {

enum Fate : uint8_t { READ, LABELLED, EXPIRED, BACKFILLED };  // READ: the reference reads it

// A score in an entry; it fits where it is a probability with a decision.
struct Scored {
  int model = 0;                  // number of its name
  bool fits = false, label = false;
  int64_t revision = 0, offset = 0;
  double p = 0;
};

struct Fact {
  Fate fate = READ;
  double value = 0;               // of a label: the number, or 1 for true
  int64_t asked = 0, ts = 0, arrived = -1;  // -1: unknown
  std::string_view id;
  size_t row = 0;                 // where its values begin
  size_t first = 0, scores = 0;   // where its scores begin, and how many there are
};

class Facts {
 public:
  size_t width = 0;               // features of an entry
  std::vector<Fact> facts;        // one for each record that was given
  std::vector<Value> values;
  std::vector<Scored> scores;
  std::vector<std::string> models;  // names, by number

  // Scans records, which must outlive what is found.
  void scan(Views& views, const std::vector<std::string_view>& records, std::string_view mark) {
    width = views.predictions.kinds.size();
    facts.resize(records.size());
    values.reserve(records.size() * width);
    scores.reserve(records.size());
    for (size_t i = 0; i < records.size(); ++i) {
      const std::string_view record = records[i];
      FactView view;
      if (record.size() < mark.size() || record.compare(0, mark.size(), mark) != 0) continue;
      if (!views.fact(reinterpret_cast<const uint8_t*>(record.data()), record.size(), mark.size(), view)) continue;
      add(facts[i], view, views);
    }
  }

  // The first one from a place on that is not folded here.
  size_t end_of_run(size_t from) const {
    while (from < facts.size() && facts[from].fate != READ) ++from;
    return from;
  }

 private:
  void add(Fact& fact, const FactView& view, const Views& views) {
    fact.fate = view.expired ? EXPIRED : view.backfilled ? BACKFILLED : LABELLED;
    fact.value = view.value;
    fact.asked = view.prediction.ts;
    fact.ts = view.ts;
    fact.arrived = view.arrived;
    fact.id = view.prediction.id;
    fact.row = values.size();
    values.insert(values.end(), views.features().begin(), views.features().end());
    fact.first = scores.size();
    for (const ScoreView& each : views.every()) {
      Scored scored;
      scored.model = named(each.model, scores.size() - fact.first);
      scored.fits = each.has_p && each.has_label && !each.failed;
      scored.label = each.label;
      scored.revision = each.revision;
      scored.offset = each.offset;
      scored.p = each.p;
      scores.push_back(scored);
    }
    fact.scores = scores.size() - fact.first;
  }

  int named(std::string_view name, size_t likely) {
    if (likely < models.size() && models[likely] == name) return static_cast<int>(likely);
    for (size_t i = 0; i < models.size(); ++i)
      if (models[i] == name) return static_cast<int>(i);
    models.emplace_back(name);
    return static_cast<int>(models.size() - 1);
  }
};

}  // namespace riverloop
