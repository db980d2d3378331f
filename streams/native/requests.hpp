// Requests as bytes: what serving must know of one, and the prediction that is written of it.
//
// A view is had only of a request that the reference takes as it is, personal data apart that it leaves out. What the
// dictionary rejects or hashes goes to the reference.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "views.hpp"
#include "writer.hpp"

namespace riverloop {

// What a feature's values must be: others are rejected.
struct Bound {
  bool open = true;                         // any value will do
  double low = -INFINITY, high = INFINITY;  // of a number
  std::unordered_set<std::string> levels;   // of a text

  bool has(const Value& value) const {
    if (open || value.kind == MISSING) return true;
    if (value.kind == TEXT) return levels.count(std::string(value.text, value.size)) > 0;
    if (value.kind == WHOLE && std::fabs(value.number) > EXACT) return false;  // the reference compares it exactly
    return low <= value.number && value.number <= high;
  }
};

struct RequestView {
  std::string_view id, entity;
  int64_t ts = 0;
  bool has_entity = false;
  std::vector<std::string_view> parents;
  std::vector<Value> row;                   // of the features
};

class Requests {
 public:
  Scanner scanner;
  std::vector<Bound> bounds;                // of the features
  Reporter entity_key = HASHED, parents = HASHED;  // how these fields are stored

  bool view(const uint8_t* data, size_t size, size_t from, RequestView& view) {
    if (!scanner.scan(data, size, from, fields_) || fields_.size() != 5 || scanner.features_field != 2) return false;
    view.row.resize(scanner.kinds.size());
    if (!scanner.read(data, fields_[2], view.row.data())) return false;
    for (size_t i = 0; i < bounds.size(); ++i)
      if (!bounds[i].has(view.row[i])) return false;
    if (!id_and_ts(at(data, 0), at(data, 1), view.id, view.ts)) return false;
    Cursor entity = at(data, 3);
    if (!maybe_text(entity, view.has_entity, view.entity, NAME_CHARACTERS)) return false;
    if (view.has_entity && entity_key == HASHED) return false;
    if (entity_key == DROPPED) view.has_entity = false;
    return lineage(at(data, 4), view);
  }

  // Writes the features in the form in which a prediction has them: the same fields.
  void write(Writer& writer, const RequestView& view) const {
    const Node& record = scanner.nodes[scanner.features];
    for (size_t i = 0; i < record.parts.size(); ++i) {
      const Value& value = view.row[i];
      if (scanner.nodes[record.parts[i]].form == UNION) {
        writer.byte(value.kind == MISSING ? 0 : 2);
        if (value.kind == MISSING) continue;
      }
      if (value.kind == REAL) writer.number(value.number);
      else if (value.kind == WHOLE) writer.whole(value.whole);
      else if (value.kind == FLAG) writer.byte(value.number != 0);
      else writer.text({value.text, value.size});
    }
  }

 private:
  Cursor at(const uint8_t* data, size_t field) const {
    return Cursor(data, data + fields_[field].start, data + fields_[field].end);
  }

  bool lineage(Cursor cursor, RequestView& view) const {
    std::string_view word;
    uint64_t count, all = 0;
    view.parents.clear();
    do {
      if (!cursor.block(count)) return false;
      all += count;
      if (all > MOST_PARENTS) return false;
      for (uint64_t i = 0; i < count; ++i) {
        if (!text(cursor, word, NAME_CHARACTERS)) return false;
        view.parents.push_back(word);
      }
    } while (count > 0);
    if (parents == DROPPED) view.parents.clear();
    return view.parents.empty() || parents == KEPT;
  }

  std::vector<Span> fields_;
};

// One model's answer; `head` has its name, revision and offset as they are written.
struct Answered { std::string_view head; double score = 0; };

struct Source { std::string_view topic; int64_t partition = 0, offset = 0; };  // the topic as it is written

// Writes a prediction; the first of the scores is the one that is served.
inline void prediction(Writer& writer, const Requests& requests, const RequestView& view,
                       const std::vector<Answered>& scores, bool binary, const Source& source, double propensity,
                       int64_t log_offset) {
  writer.text(view.id);
  writer.whole(view.ts);
  requests.write(writer, view);
  writer.whole(static_cast<int64_t>(scores.size()));
  for (const Answered& each : scores) {
    writer.raw(each.head);
    writer.byte(2);
    writer.number(each.score);
    writer.byte(binary ? 2 : 0);
    if (binary) writer.byte(each.score > 1.0 - each.score);
    writer.byte(0);             // it did not fail
  }
  writer.byte(0);
  writer.byte(2);
  writer.raw(source.topic);
  writer.whole(source.partition);
  writer.whole(source.offset);
  writer.byte(view.has_entity ? 2 : 0);
  if (view.has_entity) writer.text(view.entity);
  if (!view.parents.empty()) writer.whole(static_cast<int64_t>(view.parents.size()));
  for (const std::string_view each : view.parents) writer.text(each);
  writer.byte(0);
  writer.byte(2);
  writer.number(propensity);
  writer.maybe(true, log_offset);
}

}  // namespace riverloop
