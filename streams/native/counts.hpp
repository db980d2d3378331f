// Counts of scanned requests: what `streams.quality.columns` counts, in its order, to the same bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "values.hpp"

namespace riverloop {

// The bins of `streams.quality.grid` by number: 0, those of positive numbers, those of negative ones.
constexpr int UP = 60 * 8 + 1;       // from 2^-20 to 2^40, eight a power, and the last one
constexpr int BINS = 1 + 2 * UP;
constexpr int LOWEST = (1023 - 20) * 8;

// A bin is what a number's exponent and the first three bits of its mantissa say.
inline int bin_of(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, 8);
  const int place = static_cast<int>(bits << 1 >> 50) - LOWEST;
  if (place < 0) return 0;
  return 1 + (place < UP ? place : UP - 1) + (bits >> 63 ? UP : 0);
}

inline double edge_of(int bin) {
  if (bin == 0) return 0.0;
  const uint64_t bits = static_cast<uint64_t>((bin - 1) % UP + LOWEST) << 49;
  double edge;
  std::memcpy(&edge, &bits, 8);
  return bin > UP ? -edge : edge;
}

class NumberCounts {
 public:
  double low = 0, high = 0, stand_in = 0;
  bool has_stand_in = false;
  std::vector<int> order;            // bins as they first came
  int64_t missing = 0, outside = 0;
  double total = 0;

  int64_t times(int bin) const { return bins_[bin]; }

  void add(const Value& value) {
    const double number = value.number;
    if (value.kind == MISSING || (has_stand_in && number == stand_in)) {
      ++missing;
      return;
    }
    outside += number < low || number > high;
    total += number;
    const int bin = bin_of(number);
    if (bins_[bin]++ == 0) order.push_back(bin);
  }

  void clear() {
    for (const int bin : order) bins_[bin] = 0;
    order.clear();
    missing = outside = 0;
    total = 0;
  }

 private:
  std::vector<int64_t> bins_ = std::vector<int64_t>(BINS);
};

// Of texts, or of yes and no.
class LevelCounts {
 public:
  std::vector<const Value*> order;   // one of each level, as they first came
  std::vector<int64_t> times;
  int64_t missing = 0;

  void add(const Value& value) {
    if (value.kind == MISSING) {
      ++missing;
      return;
    }
    const std::string_view level = value.kind == TEXT ? std::string_view(value.text, value.size)
                                                      : std::string_view(value.number != 0 ? "yes" : "no");
    const auto found = places_.try_emplace(level, times.size());
    if (found.second) {
      order.push_back(&value);
      times.push_back(0);
    }
    ++times[found.first->second];
  }

  void clear() {
    order.clear();
    times.clear();
    places_.clear();
    missing = 0;
  }

 private:
  std::unordered_map<std::string_view, size_t> places_;
};

}  // namespace riverloop
