// A pipeline as one kernel: scalers and encoders in front of a linear model with SGD, equal to River bit for bit.
//
// What equality rests on: sums from left to right in River's order of features, pow(v, 0.5) and not sqrt, River's own
// branches, libm's exp and pow, no fused multiply-add (-ffp-contract=off). An encoder's columns are sparse here and
// dense in River: a column of value 0 adds 0 to the sum and subtracts 0 from its weight, which changes neither as long
// as weights, gradients and rates are finite. So the state is finite always: an example that would end that is undone
// and rejected, as is all that River answers with an exception. Nothing here calls Python.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "values.hpp"

namespace riverloop {

enum Op : uint8_t { STANDARD, RANGE, ENCODE };
enum Loss : uint8_t { LOG, HINGE, SQUARED, ABSOLUTE, HUBER, QUANTILE, EPSILON, CAUCHY, POISSON };
enum Rate : uint8_t { CONSTANT, INVERSE, OPTIMAL };
enum Verdict : uint8_t { DONE, REJECTED, COLLIDED };

constexpr double MOST = 1e150;  // streams.failures.check_finite

struct Schedule {
  Rate kind = CONSTANT;
  double a = 0, b = 0;
  // Gives false where River raises.
  bool get(double t, double& rate) const {
    if (kind == CONSTANT) { rate = a; return true; }
    const double under = kind == INVERSE ? std::pow(t + 1, b) : a * (b + t);
    if (under == 0 || !std::isfinite(under)) return false;
    rate = (kind == INVERSE ? a : 1.0) / under;
    return true;
  }
};

struct Standard { double count = 0, mean = 0, var = 0; };
struct Extremes {
  double low = INFINITY, high = -INFINITY;
  Kind low_kind = REAL, high_kind = REAL;
  bool seen = false;
};
struct Level { std::string text; int input; int column; };

struct Step {
  Op op;
  bool with_std = true;
  int encoder = -1;
  std::vector<int> in, out;     // registers
  std::vector<Standard> scales;
  std::vector<Extremes> extremes;
  std::vector<int> order;       // of first appearance
};

struct Encoder {
  std::vector<int> columns;     // in the order of creation, which is that of their numbers
  std::vector<int> active;      // of the example at hand
};

struct Output { bool encoded; int index; int column; };  // a register with its column, or an encoder

struct Glm {
  Loss loss = LOG;
  double p = 1, q = 1;          // the loss's parameters
  Schedule rate, intercept_rate;
  double l2 = 0, clip = 1e12, initial = 0;
  double intercept = 0, iterations = 0;
  bool binary = true;
};

class Pipeline {
 public:
  std::vector<Kind> kinds;                  // of the inputs
  std::vector<std::string> names;           // of the inputs
  std::vector<Step> steps;
  std::vector<Encoder> encoders;
  std::vector<Output> outputs;
  std::deque<std::string> columns;
  std::vector<int> owner;                   // of a column: -1, or its encoder
  std::vector<double> weights;
  std::vector<uint8_t> has;                 // whether River has a weight there
  std::vector<int> weight_order;
  std::deque<Level> levels;
  Glm glm;
  std::mutex guard;                         // calls that compute without the interpreter's lock

  void finish_plan(int registers) {
    numbers.assign(registers, 0);
    present.assign(registers, MISSING);
    texts.assign(kinds.size(), {});
    level_of.assign(kinds.size(), {});
  }

  // A column of a register in what the linear model sees.
  int add_static(const std::string& name) { return add_column(name, -1); }

  int add_column(const std::string& name, int encoder) {
    const int column = static_cast<int>(columns.size());
    columns.push_back(name);
    owner.push_back(encoder);
    weights.push_back(0);
    has.push_back(0);
    by_name.emplace(columns.back(), column);
    if (encoder >= 0) encoders[encoder].columns.push_back(column);
    return column;
  }

  void add_level(int input, std::string text, int column) {
    levels.push_back({std::move(text), input, column});
    level_of[input].emplace(levels.back().text, column);
  }

  int column_named(const std::string& name) const {
    const auto found = by_name.find(name);
    return found == by_name.end() ? -1 : found->second;
  }

  void set_weight(int column, double weight) {
    weights[column] = weight;
    has[column] = 1;
    weight_order.push_back(column);
  }

  Verdict predict(const Value* row, double& score) {
    if (!read(row)) return REJECTED;
    for (auto& step : steps) {
      const Verdict verdict = step.op == ENCODE ? encode(step, false) : scale(step, false);
      if (verdict != DONE) return verdict;
    }
    return mean(dot(), score) ? DONE : REJECTED;
  }

  // Learns wholly, and gives the score afterwards; or leaves everything as it was.
  Verdict learn(const Value* row, double y, double& score) {
    const size_t start = journal.size();
    const Verdict verdict = learn_or_not(row, y, score);
    if (verdict != DONE) undo_to(start);
    else if (marks == 0) journal.clear();
    return verdict;
  }

  // Between mark() and undo() or keep() all that is learned can be taken back.
  void mark() { ++marks; if (marks == 1) journal.clear(); }
  void keep() { marks = 0; journal.clear(); }
  void undo() { undo_to(0); keep(); }

 private:
  enum What : uint8_t { SCALE_OF, EXTREMES_OF, WEIGHT_OF, WEIGHT_NEW, COLUMN_NEW, LEVEL_NEW, GLM_OF };
  struct Undo { What what; Kind low_kind, high_kind; bool fresh; int step, index; double a, b, c; };

  std::vector<double> numbers;
  std::vector<Kind> present;
  std::vector<std::string_view> texts;
  std::vector<std::unordered_map<std::string_view, int>> level_of;
  std::unordered_map<std::string_view, int> by_name;
  std::vector<Undo> journal;
  std::string name;  // reused
  char digits[24];
  int marks = 0;

  // False for a value of another type than the plan's, or a whole number that a double does not hold exactly.
  bool read(const Value* row) {
    for (size_t i = 0; i < kinds.size(); ++i) {
      if (row[i].kind != MISSING && row[i].kind != kinds[i]) return false;
      if (row[i].kind == WHOLE && std::fabs(row[i].number) > EXACT) return false;
      present[i] = row[i].kind;
      numbers[i] = row[i].number;
      texts[i] = std::string_view(row[i].text, row[i].size);
    }
    return true;
  }

  std::string_view spelt(int input) {
    if (kinds[input] == TEXT) return texts[input];
    if (kinds[input] == FLAG) return numbers[input] != 0 ? "True" : "False";
    const auto end = std::to_chars(digits, digits + sizeof digits, static_cast<int64_t>(numbers[input])).ptr;
    return {digits, static_cast<size_t>(end - digits)};
  }

  Verdict scale(Step& step, bool learning) {
    for (size_t i = 0; i < step.in.size(); ++i) {
      const int from = step.in[i], to = step.out[i];
      present[to] = present[from] == MISSING ? MISSING : REAL;
      if (present[from] == MISSING) continue;
      const double x = numbers[from];
      if (step.op == STANDARD) {
        Standard& s = step.scales[i];
        if (learning && !learn_scale(step, static_cast<int>(i), x)) return REJECTED;
        if (!step.with_std) numbers[to] = x - s.mean;
        else if (s.var < 0) return REJECTED;  // River answers with a complex number
        else numbers[to] = s.var != 0 ? (x - s.mean) / std::pow(s.var, half) : 0.0;
      } else {
        Extremes& e = step.extremes[i];
        if (learning && !learn_extremes(step, static_cast<int>(i), x, present[from])) return REJECTED;
        const double span = e.high - e.low;
        numbers[to] = span != 0 ? (x - e.low) / span : 0.0;
      }
    }
    return DONE;
  }

  bool learn_scale(Step& step, int i, double x) {
    Standard& s = step.scales[i];
    journal.push_back({SCALE_OF, REAL, REAL, s.count == 0, number_of(step), i, s.count, s.mean, s.var});
    if (s.count == 0) step.order.push_back(i);
    s.count += 1;
    const double old = s.mean;
    s.mean += (x - old) / s.count;
    if (step.with_std) s.var += ((x - old) * (x - s.mean) - s.var) / s.count;
    return std::isfinite(s.mean) && std::isfinite(s.var);
  }

  bool learn_extremes(Step& step, int i, double x, Kind kind) {
    Extremes& e = step.extremes[i];
    journal.push_back({EXTREMES_OF, e.low_kind, e.high_kind, !e.seen, number_of(step), i, e.low, e.high, 0});
    if (!e.seen) { e.seen = true; step.order.push_back(i); }
    if (x < e.low) { e.low = x; e.low_kind = kind; }
    if (x > e.high) { e.high = x; e.high_kind = kind; }
    return std::isfinite(e.low) && std::isfinite(e.high);
  }

  int number_of(const Step& step) const { return static_cast<int>(&step - steps.data()); }

  Verdict encode(Step& step, bool learning) {
    Encoder& encoder = encoders[step.encoder];
    encoder.active.clear();
    for (const int input : step.in) {
      if (present[input] == MISSING) continue;
      const std::string_view text = spelt(input);
      const auto found = level_of[input].find(text);
      if (found != level_of[input].end()) {
        encoder.active.push_back(found->second);
        continue;
      }
      name.assign(names[input]).append("_").append(text);
      int column = column_named(name);
      if (column >= 0 && owner[column] != step.encoder) return COLLIDED;
      if (learning) {
        if (column < 0) {
          column = add_column(name, step.encoder);
          journal.push_back({COLUMN_NEW, REAL, REAL, false, 0, column, 0, 0, 0});
        }
        add_level(input, std::string(text), column);
        journal.push_back({LEVEL_NEW, REAL, REAL, false, 0, 0, 0, 0, 0});
      }
      if (column >= 0) encoder.active.push_back(column);
    }
    auto& active = encoder.active;
    std::sort(active.begin(), active.end());
    active.erase(std::unique(active.begin(), active.end()), active.end());
    return DONE;
  }

  double dot() const {
    double total = 0;
    for (const Output& output : outputs) {
      if (output.encoded) {
        for (const int column : encoders[output.index].active) total += weights[column] * 1.0;
      } else if (present[output.index] != MISSING) {
        total += weights[output.column] * numbers[output.index];
      }
    }
    return total + glm.intercept;
  }

  static double sigmoid(double z) { return z < -30 ? 0 : z > 30 ? 1 : 1 / (1 + std::exp(-z)); }

  bool mean(double z, double& score) const {
    if (glm.binary) score = sigmoid(z);
    else if (glm.loss != POISSON) score = z;
    else {
      score = std::exp(z);
      return !std::isinf(score);  // River raises OverflowError
    }
    return true;
  }

  // River's losses as they are written, one by one; false where River raises.
  bool gradient(double y, double z, double& g) const {
    const double p = glm.p, q = glm.q, away = z - y;
    switch (glm.loss) {
      case LOG: {
        const double sign = y == 0 ? -1 : 1, weight = y == 0 ? q : p, margin = z * sign;
        g = margin > 18.0    ? weight * std::exp(-margin) * -sign
            : margin < -18.0 ? weight * -sign
                             : weight * -sign / (std::exp(margin) + 1.0);
        return true;
      }
      case HINGE: {
        const double sign = y * 2 - 1;
        g = sign * z <= p ? -sign : 0;
        return true;
      }
      case SQUARED: g = 2 * away; return true;
      case ABSOLUTE: g = z > y ? 1 : -1; return true;
      case HUBER: g = std::fabs(away) <= p ? away : away > 0 ? p : -p; return true;
      case QUANTILE: g = (y < z ? 1 : 0) - p; return true;
      case EPSILON: {
        const double target = y * 2 - 1;
        g = z > target + p ? 1 : z + p < target ? -1 : 0;
        return true;
      }
      case CAUCHY: {
        const double square = std::pow(away / p, two);
        g = away / (square + 1);
        return !std::isinf(square);
      }
      case POISSON: {
        const double e = std::exp(z);
        g = e - y;
        return !std::isinf(e);
      }
    }
    return false;
  }

  void change(int column, double value, double rate, double g) {
    double& weight = weights[column];
    journal.push_back({WEIGHT_OF, REAL, REAL, false, 0, column, weight, 0, 0});
    double slope = value * g;
    if (glm.l2 != 0) slope = slope + glm.l2 * weight;
    weight = weight - rate * slope;
  }

  void give_weight(int column) {
    if (has[column]) return;
    journal.push_back({WEIGHT_NEW, REAL, REAL, false, 0, column, weights[column], 0, 0});
    set_weight(column, glm.initial);
  }

  Verdict learn_or_not(const Value* row, double y, double& score) {
    if (!read(row)) return REJECTED;
    const int known = static_cast<int>(columns.size());
    for (auto& step : steps) {
      const Verdict verdict = step.op == ENCODE ? encode(step, true) : scale(step, true);
      if (verdict != DONE) return verdict;
    }
    for (const Output& output : outputs) {
      if (!output.encoded) {
        if (present[output.index] != MISSING) give_weight(output.column);
      } else {
        const auto& own = encoders[output.index].columns;
        for (auto at = std::lower_bound(own.begin(), own.end(), known); at != own.end(); ++at) give_weight(*at);
      }
    }
    double g = 0, rate = 0, intercept_rate = 0;
    if (!gradient(y, dot(), g)) return REJECTED;
    if (glm.clip < g) g = glm.clip;
    if (-glm.clip > g) g = -glm.clip;
    if (!glm.intercept_rate.get(glm.iterations, intercept_rate) || !glm.rate.get(glm.iterations, rate))
      return REJECTED;
    if (!std::isfinite(g)) return REJECTED;
    journal.push_back({GLM_OF, REAL, REAL, false, 0, 0, glm.intercept, glm.iterations, 0});
    glm.intercept -= intercept_rate * g;
    glm.iterations += 1;
    for (const Output& output : outputs) {
      if (!output.encoded) {
        if (present[output.index] != MISSING) change(output.column, numbers[output.index], rate, g);
        continue;
      }
      const Encoder& encoder = encoders[output.index];
      if (glm.l2 == 0) {
        for (const int column : encoder.active) change(column, 1.0, rate, g);
      } else {
        auto next = encoder.active.begin();
        for (const int column : encoder.columns) {
          const bool active = next != encoder.active.end() && *next == column;
          change(column, active ? 1.0 : 0.0, rate, g);
          if (active) ++next;
        }
      }
    }
    if (!std::isfinite(glm.intercept)) return REJECTED;
    for (auto entry = journal.rbegin(); entry != journal.rend() && entry->what == WEIGHT_OF; ++entry)
      if (!std::isfinite(weights[entry->index])) return REJECTED;
    if (!mean(dot(), score)) return REJECTED;
    return -MOST < score && score < MOST ? DONE : REJECTED;
  }

  void undo_to(size_t start) {
    while (journal.size() > start) {
      const Undo& u = journal.back();
      switch (u.what) {
        case SCALE_OF:
          steps[u.step].scales[u.index] = {u.a, u.b, u.c};
          if (u.fresh) steps[u.step].order.pop_back();
          break;
        case EXTREMES_OF:
          steps[u.step].extremes[u.index] = {u.a, u.b, u.low_kind, u.high_kind, !u.fresh};
          if (u.fresh) steps[u.step].order.pop_back();
          break;
        case WEIGHT_OF: weights[u.index] = u.a; break;
        case WEIGHT_NEW:
          weights[u.index] = u.a;
          has[u.index] = 0;
          weight_order.pop_back();
          break;
        case COLUMN_NEW:
          by_name.erase(columns.back());
          encoders[owner.back()].columns.pop_back();
          columns.pop_back();
          owner.pop_back();
          weights.pop_back();
          has.pop_back();
          break;
        case LEVEL_NEW:
          level_of[levels.back().input].erase(levels.back().text);
          levels.pop_back();
          break;
        case GLM_OF:
          glm.intercept = u.a;
          glm.iterations = u.b;
          break;
      }
      journal.pop_back();
    }
  }

  // Read at run time, so that no compiler turns pow into sqrt or a product.
  static inline const volatile double half = 0.5, two = 2.0;
};

}  // namespace riverloop
