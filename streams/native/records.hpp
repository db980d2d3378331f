// Records as bytes: where each field lies, found without making a Python object, by a plan made from the schema.
//
// As strict as the generated readers of schemas.codec, refusal for refusal: what they refuse is refused here, and
// nothing else. The words for a refusal are the readers' alone, so that a refused record goes to them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "values.hpp"

namespace riverloop {

enum Form : uint8_t { NOTHING, LONG, COUNT, BYTES, STRING, DOUBLE, FLOAT, BOOLEAN, ENUM, UNION, ARRAY, MAP, RECORD };

struct Node {
  Form form = NOTHING;
  int symbols = 0;                // of an enum
  std::vector<int> parts;         // of a union its branches, of a record its fields, of a list its items
};

struct Span { size_t start = 0, end = 0; };

// UTF-8 as Python's strict decoder takes it: no overlong form, no surrogate, nothing above U+10FFFF.
inline bool is_utf8(const uint8_t* at, const uint8_t* end) {
  while (at < end) {
    if (end - at >= 8) {
      uint64_t eight;
      std::memcpy(&eight, at, 8);
      if ((eight & 0x8080808080808080u) == 0) { at += 8; continue; }
    }
    const uint8_t first = *at++;
    if (first < 0x80) continue;
    int more;
    uint8_t low = 0x80, high = 0xBF;
    if (first >= 0xC2 && first <= 0xDF) more = 1;
    else if (first >= 0xE0 && first <= 0xEF) {
      more = 2;
      if (first == 0xE0) low = 0xA0;
      if (first == 0xED) high = 0x9F;
    } else if (first >= 0xF0 && first <= 0xF4) {
      more = 3;
      if (first == 0xF0) low = 0x90;
      if (first == 0xF4) high = 0x8F;
    } else return false;
    if (end - at < more) return false;
    if (*at < low || *at > high) return false;
    for (int i = 1; i < more; ++i)
      if ((at[i] & 0xC0) != 0x80) return false;
    at += more;
  }
  return true;
}

class Cursor {
 public:
  Cursor(const uint8_t* start, const uint8_t* at, const uint8_t* end) : start_(start), at_(at), end_(end) {}

  size_t position() const { return static_cast<size_t>(at_ - start_); }
  bool at_end() const { return at_ == end_; }

  // A whole number in zigzag form, of at most 64 bits; overlong forms are taken, as the readers do.
  bool zigzag(uint64_t& number) {
    number = 0;
    for (int shift = 0; shift <= 63; shift += 7) {
      if (at_ == end_) return false;
      const uint8_t byte = *at_++;
      if (shift == 63 && (byte & 127) > 1) return false;
      number |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return true;
    }
    return false;
  }

  bool whole(int64_t& value) {
    uint64_t number;
    if (!zigzag(number)) return false;
    value = static_cast<int64_t>(number >> 1) ^ -static_cast<int64_t>(number & 1);
    return true;
  }

  bool byte(uint8_t& value) {
    if (at_ == end_) return false;
    value = *at_++;
    return true;
  }

  bool number(double& value) {
    if (end_ - at_ < 8) return false;
    std::memcpy(&value, at_, 8);  // little endian, as the machines are that this is built for
    at_ += 8;
    return true;
  }

  bool skip(size_t size) {
    if (static_cast<size_t>(end_ - at_) < size) return false;
    at_ += size;
    return true;
  }

  bool octets(const uint8_t*& data, size_t& size) {
    uint64_t number;
    if (!zigzag(number) || (number & 1)) return false;
    if ((number >> 1) > static_cast<uint64_t>(end_ - at_)) return false;
    data = at_;
    size = static_cast<size_t>(number >> 1);
    at_ += size;
    return true;
  }

  // How many items the next block has. Each takes a byte at least.
  bool block(uint64_t& count) {
    int64_t given;
    if (!whole(given)) return false;
    count = static_cast<uint64_t>(given);
    if (given < 0) {  // the block's size follows
      count = 0 - count;
      uint64_t size;
      if (!zigzag(size)) return false;
    }
    return count <= static_cast<uint64_t>(end_ - at_);
  }

 private:
  const uint8_t* start_;
  const uint8_t* at_;
  const uint8_t* end_;
};

class Scanner {
 public:
  std::vector<Node> nodes;  // the last one is the record
  int features = -1;        // the node of the record Features
  int features_field = -1;  // its place in the record
  std::vector<Kind> kinds;  // of the features
  size_t most_text = 0;     // bytes of a text that has fewer characters than the dictionary allows

  // Finds the record's fields; false where the readers refuse it.
  bool scan(const uint8_t* data, size_t size, size_t from, std::vector<Span>& fields) const {
    if (from > size) return false;
    Cursor cursor(data, data + from, data + size);
    const Node& record = nodes.back();
    fields.resize(record.parts.size());
    for (size_t i = 0; i < record.parts.size(); ++i) {
      fields[i].start = cursor.position();
      if (!skip(cursor, record.parts[i])) return false;
      fields[i].end = cursor.position();
    }
    return cursor.at_end();
  }

  // Reads the features, which `scan` has found, in canonical form; false where the readers must settle a value.
  bool read(const uint8_t* data, const Span& span, Value* row) const {
    Cursor cursor(data, data + span.start, data + span.end);
    const Node& record = nodes[features];
    for (size_t i = 0; i < record.parts.size(); ++i) {
      const Node* node = &nodes[record.parts[i]];
      Value& value = row[i];
      value = Value();
      if (node->form == UNION) {
        uint8_t branch;
        if (!cursor.byte(branch)) return false;
        if (branch == 0) continue;
        node = &nodes[node->parts[1]];
      }
      switch (kinds[i]) {
        case REAL:
          if (!cursor.number(value.number) || !std::isfinite(value.number)) return false;
          value.number = value.number + 0.0;
          break;
        case WHOLE:
          if (!cursor.whole(value.whole)) return false;
          value.number = static_cast<double>(value.whole);
          break;
        case FLAG: {
          uint8_t flag;
          if (!cursor.byte(flag)) return false;
          value.number = flag;
          break;
        }
        default: {
          const uint8_t* text;
          if (!cursor.octets(text, value.size) || value.size > most_text) return false;
          value.text = reinterpret_cast<const char*>(text);
        }
      }
      value.kind = kinds[i];
    }
    return true;
  }

 private:
  bool skip(Cursor& cursor, int number) const {
    const Node& node = nodes[number];
    const uint8_t* data;
    size_t size;
    int64_t whole;
    uint64_t count;
    uint8_t byte;
    switch (node.form) {
      case NOTHING: return true;
      case LONG: return cursor.whole(whole);
      case COUNT: return cursor.whole(whole) && whole >= 0;
      case BYTES: return cursor.octets(data, size);
      case STRING: return cursor.octets(data, size) && is_utf8(data, data + size);
      case DOUBLE: return cursor.skip(8);
      case FLOAT: return cursor.skip(4);
      case BOOLEAN: return cursor.byte(byte) && byte <= 1;
      case ENUM: return cursor.byte(byte) && !(byte & 1) && byte <= 2 * node.symbols - 2;
      case UNION:
        if (!cursor.byte(byte) || (byte & 1) || byte / 2u >= node.parts.size()) return false;
        return skip(cursor, node.parts[byte / 2]);
      case RECORD:
        for (const int part : node.parts)
          if (!skip(cursor, part)) return false;
        return true;
      case ARRAY:
      case MAP:
        while (true) {
          if (!cursor.block(count)) return false;
          if (count == 0) return true;
          for (uint64_t i = 0; i < count; ++i) {
            if (node.form == MAP && !(cursor.octets(data, size) && is_utf8(data, data + size))) return false;
            if (!skip(cursor, node.parts[0])) return false;
          }
        }
    }
    return false;
  }
};

}  // namespace riverloop
