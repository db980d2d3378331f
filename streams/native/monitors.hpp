// What the monitors of the log do with a resolution of a binary task: metrics, the loop's health, drift.
//
// Each step is that of streams.metrics and streams.drift, in their order of operations, so that the numbers are equal
// bit for bit. The state is loaded from their objects before some entries and put back after them. `take` ends before
// the first entry of which something would be reported, or that begins what is not kept here: Python takes that one.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "facts.hpp"

namespace riverloop {

constexpr int TABLE = 10;                 // groups of the calibration table
constexpr int INNER = 400;                // bins between 0 and 1
constexpr double EPS = 1e-15, FLOOR = 0.01;

struct Observed { int group = 0, cell = 0, key = 0; double p = 0, loss = 0, brier = 0; };

inline int bin_of(double p) {
  if (p <= 0.0) return 0;
  if (p >= 1.0) return INNER + 1;
  const int at = static_cast<int>((std::log(p / (1.0 - p)) + 10.0) * 20.0);
  return at < 0 ? 1 : at >= INNER ? INNER : at + 1;
}

inline Observed observed(double p, bool decided, bool value) {
  Observed seen;
  const double likely = value ? p : 1.0 - p, miss = value ? 1.0 - p : p;
  seen.group = p < 1.0 ? static_cast<int>(p * TABLE) : TABLE - 1;
  seen.cell = 2 * value + decided;
  seen.key = 2 * bin_of(p) + value;
  seen.p = p;
  seen.loss = -std::log(std::min(std::max(likely, EPS), 1.0 - EPS));
  seen.brier = miss * miss;
  return seen;
}

struct Tally {
  int64_t cells[4] = {}, labels[TABLE] = {}, positives[TABLE] = {};
  double scores[TABLE] = {}, loss = 0, brier = 0;
  std::vector<int64_t> counts;            // what was added, by key, and the keys
  std::vector<int> keys;

  void add(const Observed& seen) {
    cells[seen.cell] += 1;
    labels[seen.group] += 1;
    positives[seen.group] += seen.key & 1;
    scores[seen.group] += seen.p;
    loss += seen.loss;
    brier += seen.brier;
    if (counts.empty()) counts.resize(2 * (INNER + 2));
    if (counts[static_cast<size_t>(seen.key)]++ == 0) keys.push_back(seen.key);
  }
};

// streams.drift.adwin; `update` says whether something has changed for the worse: then the state is spoilt.
struct Adwin {
  double delta = 0.002, easy = 0.3, span = 1;
  int worse = 1;                          // up: 1, down: -1, both: 0
  int64_t clock = 8;
  std::vector<std::vector<std::pair<double, double>>> rows;
  int64_t width = 0, count = 0, left = 0;
  double total = 0, squares = 0, sum = 0, sum_squares = 0;

  bool update(double value) {
    const double scaled = value / span;
    sum += scaled;
    sum_squares += scaled * scaled;
    if (++count < clock) return false;
    insert();
    sum = sum_squares = 0;
    count = 0;
    if (left) left = std::max<int64_t>(left - clock, 0);
    return changed();
  }

 private:
  bool is_worse(int direction) const { return worse == 0 || worse == direction; }

  void insert() {
    rows[0].emplace_back(sum, sum_squares);
    width += clock;
    total += sum;
    squares += sum_squares;
    for (size_t number = 0; number < rows.size() && rows[number].size() > 5; ++number) {
      const auto first = rows[number][0], second = rows[number][1];
      rows[number].erase(rows[number].begin(), rows[number].begin() + 2);
      if (number + 1 == rows.size()) rows.emplace_back();
      rows[number + 1].emplace_back(first.first + second.first, first.second + second.second);
    }
  }

  bool changed() {
    double before_sum;
    int64_t before;
    while (width >= 4 * clock && cut(before, before_sum)) {
      const double reference = before_sum / static_cast<double>(before);
      const double recent = (total - before_sum) / static_cast<double>(width - before);
      if (is_worse(recent > reference ? 1 : -1)) return true;
      drop();
    }
    return false;
  }

  bool cut(int64_t& before, double& before_sum) const {
    const double all = static_cast<double>(width), mean = total / all;
    const double twice = 2 * std::max(squares / all - mean * mean, 0.0);
    const double tests = std::log(2 * std::log(all));
    const double sure = tests - std::log(delta), lenient = tests - std::log(easy);
    const double up = twice * (worse != -1 ? sure : lenient), down = twice * (worse != 1 ? sure : lenient);
    const double least = std::min(up, down) / all;
    double apart = 0;
    before = 0;
    before_sum = 0;
    for (size_t number = rows.size(); number-- > 0;) {
      const int64_t size = clock << number;
      const double expected = mean * static_cast<double>(size);
      for (const auto& bucket : rows[number]) {
        before += size;
        before_sum += bucket.first;
        apart += expected - bucket.first;
        const int64_t after = width - before;
        if (apart * apart <= least * static_cast<double>(before) * static_cast<double>(after)) continue;
        if (after == 0) return false;
        double share = all / static_cast<double>(before * after);
        const double difference = apart * share;
        if (difference * difference <= (difference > 0 ? up : down) * share) continue;
        share *= is_worse(difference > 0 ? 1 : -1) ? sure : lenient;
        const double threshold = std::sqrt(twice * share) + 2.0 / 3 * share;
        if (std::fabs(difference) > threshold) return true;
      }
    }
    return false;
  }

  void drop() {
    for (size_t number = rows.size(); number-- > 0;)
      if (!rows[number].empty()) {
        const auto first = rows[number][0];
        rows[number].erase(rows[number].begin());
        width -= clock << number;
        total -= first.first;
        squares -= first.second;
        return;
      }
  }
};

enum Signal : uint8_t { EXCESS, ERROR, LABEL, SCORE };

struct Watched { Signal signal = EXCESS; Adwin detector; double weighted = 0, weight = 0; };

// streams.drift.outage, of a feed that is live.
struct Feed {
  int64_t run = 0, since = 0, week = 0, longest[2][2] = {}, outcomes = 0, silences = 0;
  bool has_since = false;
  double suspect = INFINITY, threshold = INFINITY;
  bool whole_suspect = false, whole_threshold = false;   // whether Python has them as whole numbers

  // Whether nothing comes of a deadline without an outcome.
  bool silence(int64_t ts) {
    ++run;
    const int64_t gap = has_since ? ts - since : 0;
    const double length = static_cast<double>(run);
    if (length >= threshold && gap > 3 * std::max(longest[0][1], longest[1][1])) return false;
    return !(length >= suspect);
  }

  void outcome(int64_t ts) {
    const int64_t silent = run, gap = has_since ? ts - since : 0;
    run = 0;
    since = ts;
    has_since = true;
    ++outcomes;
    silences += silent;
    if (ts - week >= int64_t{7} * 24 * 3600000) {
      week = ts;
      longest[1][0] = longest[0][0];
      longest[1][1] = longest[0][1];
      longest[0][0] = longest[0][1] = 0;
    }
    const int64_t entries = longest[0][0], span = longest[0][1];
    if (silent > entries || gap > span) {
      longest[0][0] = std::max(silent, entries);
      longest[0][1] = std::max(gap, span);
    }
    if (outcomes + silences > 20000) {
      outcomes /= 2;
      silences /= 2;
    }
    if (outcomes >= 100 && (silent || outcomes % 16 == 0 || threshold == INFINITY)) {
      const double share = static_cast<double>(outcomes) / static_cast<double>(outcomes + silences);
      const double quiet = std::log1p(-std::min(share, 0.999));
      const double most = static_cast<double>(std::max(longest[0][0], longest[1][0]));
      suspect = std::log(0.01) / quiet;
      whole_suspect = most > suspect;
      if (whole_suspect) suspect = most;
      threshold = std::log(1e-6) / quiet;
      whole_threshold = false;
      for (const double each : {3 * most, 30.0})
        if (each > threshold) {
          threshold = each;
          whole_threshold = true;
        }
    }
  }
};

// streams.drift.cost and streams.drift.loss, between two steps of an episode.
struct Cost {
  int64_t warm_up = 0, seen = 0, ts = 0, moment_ts = 0, moment_count = 0, run_count = 0, block_count = 0;
  double sum = 0, moment_loss = 0, moment_counted = 0, run_loss = 0;
  double block_loss = 0, block_squares = 0, block_counted = 0;
  bool has_moment = false;
  struct Block { double mean, squares, counted; };
  std::vector<Block> blocks;
  double level = NAN, far = INFINITY, centre = NAN, deviation = NAN;
  bool worse = false;                     // whether an episode is open
  bool critical = false;                  // how severe it is
  double last_statistic = 0;              // its last reported value

  // Whether an episode has a step to report: then the state cannot be used.
  bool update(double p, bool value, int64_t when) {
    const double likely = value ? p : 1.0 - p;
    const double loss = -std::log(std::min(std::max(likely, FLOOR), 1 - FLOOR));
    if (has_moment && moment_ts != when) {
      const bool before = worse;
      count();
      if (worse != before) return true;
      has_moment = false;
    }
    const double counted = std::min(loss, far);
    if (!has_moment) {
      moment_count = 0;
      moment_loss = moment_counted = 0;
    }
    has_moment = true;
    moment_ts = when;
    moment_count += 1;
    moment_loss += loss;
    moment_counted += counted;
    ++seen;
    ++block_count;
    block_loss += loss;
    block_squares += loss * loss;
    block_counted += counted;
    if (block_count == 125) {
      blocks.push_back({block_loss / 125, block_squares / 125, block_counted / 125});
      if (blocks.size() > 40) blocks.erase(blocks.begin());
      block_count = 0;
      block_loss = block_squares = block_counted = 0;
      measure();
    }
    return worse && is_news();
  }

  void measure() {
    level = centre = deviation = NAN;
    far = INFINITY;
    if (blocks.size() < 8) return;
    std::vector<double> means, variances, counts;
    for (const Block& each : blocks) {
      means.push_back(each.mean);
      variances.push_back(each.squares - each.mean * each.mean);
      counts.push_back(each.counted);
    }
    const size_t place = (blocks.size() - 1) / 2;
    for (auto* each : {&means, &variances, &counts}) std::sort(each->begin(), each->end());
    level = means[place];
    deviation = std::sqrt(std::max(std::max(variances[place], 1e-6 * level * level), 1e-12));
    centre = counts[place];
    far = level + 2.5 * deviation;
  }

 private:
  bool is_news() const {
    const double n = static_cast<double>(run_count);
    const double above = run_loss - n * level;
    const bool grave = run_count >= 250 && run_loss / n >= 2.0 * level;
    return (grave && !critical) || !(above <= 2 * last_statistic);
  }

  void count() {
    ts = moment_ts;
    if (seen <= warm_up || blocks.size() < 8) return;
    const double n = static_cast<double>(moment_count);
    const double step = (moment_counted - n * centre) / deviation - n * 0.25;
    sum = std::min(std::max(sum + step, 0.0), 2.0 * 18.0);
    if (sum != 0) {
      run_count += moment_count;
      run_loss += moment_loss;
    } else {
      run_count = 0;
      run_loss = 0;
    }
    worse = sum > 18.0 || (worse && sum > 0);
  }
};

// streams.drift.delay.
struct DelayRank {
  bool has_first = false, has_bound = false;
  int64_t first = 0, seen = 0, bound = 0, count = 0;
  double sum = 0;
  std::vector<int64_t> reference;
  Adwin detector;
  std::vector<std::pair<int64_t, double>> means;   // event time and mean, which Python counts by month

  bool update(int64_t asked, int64_t came) {
    first = has_first ? std::min(first, asked) : asked;
    has_first = true;
    ++seen;
    if (!has_bound) {
      if (seen >= 1000) {
        bound = std::max<int64_t>(came - first, 0);
        has_bound = true;
      }
      return false;
    }
    const int64_t delay = came - asked;
    if (delay > bound) return false;
    const auto below = std::lower_bound(reference.begin(), reference.end(), delay);
    const auto up_to = std::upper_bound(reference.begin(), reference.end(), delay);
    if (reference.size() < 1000) {
      reference.insert(up_to, delay);
      return false;
    }
    sum += static_cast<double>((below - reference.begin()) + (up_to - reference.begin())) / 2000.0;
    if (++count < 25) return false;
    const double mean = sum / 25;
    sum = 0;
    count = 0;
    means.emplace_back(came, mean);
    return detector.update(mean);
  }
};

inline int delay_bin(int64_t span_ms) {
  return span_ms < 1 ? 0 : static_cast<int>(std::log2(static_cast<double>(span_ms)) * 16) + 1;
}

// streams.metrics.slices.Levels, of one feature: the first levels on their own, all others together.
struct Leveled {
  static constexpr int OTHER = 0;         // the number of the level `other`
  int64_t most = 0, own = 0;              // levels at most, and those there are
  std::vector<int> slots;                 // by number of a level; -1: it has none yet
  std::vector<Tally> tallies;
  std::vector<int> levels;                // numbers, by slot
  size_t known = 0;                       // slots that the state had before

  void begin(int level) {
    slots[static_cast<size_t>(level)] = static_cast<int>(tallies.size());
    tallies.emplace_back();
    levels.push_back(level);
  }

  void add(int level, const Observed& seen) {
    if (slots[static_cast<size_t>(level)] < 0) {
      if (own >= most) level = OTHER;
      if (slots[static_cast<size_t>(level)] < 0) {
        begin(level);
        own += level != OTHER;
      }
    }
    tallies[static_cast<size_t>(slots[static_cast<size_t>(level)])].add(seen);
  }
};

// streams.metrics.scope, of one revision: what a model served, or would have.
struct Scope {
  bool ready = false;             // whether the state has all that a label of this revision changes
  double log_loss_n = 0, log_loss = 0;
  int64_t first_pane = 0, count = 0, newest = 0;  // count: labels taken; newest: the newest score's offset
  Tally tally;                    // of the revision
  std::map<int64_t, Tally> panes;
  std::vector<Observed> seen;     // what was taken, and of which fact
  std::vector<size_t> places;
  std::vector<Leveled> levels;    // by feature that is followed

  void add(const Observed& added, double p, bool value, int64_t pane, size_t place) {
    const double clamped = std::min(std::max(p, EPS), 1 - EPS);
    const double loss = value ? -std::log(clamped) : -std::log(1 - clamped);
    log_loss_n += 1.0;
    log_loss += (1.0 / log_loss_n) * (loss - log_loss);
    tally.add(added);
    if (pane >= first_pane) panes[pane].add(added);
    seen.push_back(added);
    places.push_back(place);
    ++count;
  }
};

// streams.metrics.waiting, of a model that serves: by group of the calibration table.
struct Resolutions { int64_t count = 0, labels = 0, positive = 0; };

// One model of the task.
struct Watching {
  int64_t revision = -1;          // of which all that is taken must be
  int silent = -1;                // what silence teaches; -1: nothing
  int role = -1;                  // of the newest label: 0 served, 1 shadow
  Scope scopes[2];                // by role
  Resolutions resolved[TABLE];
  int64_t served_offset = -1;     // of the newest score that was served and resolved
  int64_t seen = 0;
  std::vector<Watched> watched;
};

// streams.metrics.shadow_comparison, of a served revision with another one. Sums are in units of 2^-64.
struct Pair {
  bool alike = false, ready = false;  // whether both go by the same labels; whether the state has the pair
  int64_t count = 0, newest = 0;
  __int128 total = 0, squares = 0;

  void add(double gain, int64_t asked) {
    const double one = 18446744073709551616.0;
    total += static_cast<__int128>(gain * one);
    squares += static_cast<__int128>(gain * gain * one);
    newest = std::max(newest, asked);
    ++count;
  }

  static int64_t high(__int128 number) { return static_cast<int64_t>(number >> 64); }
  static uint64_t low(__int128 number) { return static_cast<uint64_t>(number); }
};

class Watch {
 public:
  std::vector<Watching> models;
  std::vector<int> numbers;               // by number of a name among the facts: the model's; -1: not the task's
  std::vector<Pair> pairs;                // by served and other model
  size_t start = 0;                       // the first fact of which the levels are known
  std::vector<int> levels;                // of its features that are followed, and of those that come after it
  // Of the served metrics.
  int64_t served_time = 0, pane_ms = 1, pane_keep_ms = 0, turned = -1;
  // Of the predictions that wait: models and groups, in the order in which they came.
  std::vector<std::pair<int, int>> resolved, labelled;
  std::vector<int> servers;
  // Of the loop's health.
  int64_t loop_time = 0, first_cohort = 0;
  std::map<int, int64_t> outcome_delays, report_delays;
  std::map<int64_t, std::pair<int64_t, int64_t>> cohorts;  // resolutions, and those with an outcome
  // Of drift.
  bool outage = true, judges_cost = true, has_delay = true, has_first = false;
  int64_t horizon_ms = 0, until = -1, first = 0, warm_up = 0, judged = 0;
  bool silence_teaches = false;
  int served = -1;                        // the model of the newest score that was judged as served
  Feed deadlines, requests;
  Cost cost;
  DelayRank delay;

  // How many facts are of what is kept here, from one of them on.
  size_t fitting(const Facts& facts, size_t from, size_t to) const {
    size_t at = from;
    while (at < to && may(facts, facts.facts[at])) ++at;
    return at - from;
  }

  // Takes facts from one on; gives how many.
  size_t take(const Facts& facts, size_t from, size_t to) {
    to = from + fitting(facts, from, to);
    const Watch before = *this;
    size_t at = from;
    while (at < to && one(facts, at)) ++at;
    if (at < to) {                        // the next one has left its traces
      *this = before;
      for (size_t again = from; again < at; ++again) one(facts, again);
    }
    return at - from;
  }

 private:
  struct Given { const Scored* score; int model; Observed seen; };

  bool may(const Facts& facts, const Fact& fact) const {
    if (fact.fate == BACKFILLED) return true;
    if (fact.fate == READ || fact.asked < until) return false;
    const int silent = fact.fate == EXPIRED ? -1 : 0;
    uint64_t met = 0;
    int first_model = -1;
    for (size_t n = 0; n < fact.scores; ++n) {
      const Scored& score = facts.scores[fact.first + n];
      const int model = numbers[static_cast<size_t>(score.model)];
      if (model < 0 || !score.fits || (met >> model & 1)) return false;
      met |= uint64_t{1} << model;
      const Watching& watching = models[static_cast<size_t>(model)];
      if (score.revision != watching.revision) return false;
      const bool counts = silent == 0 || watching.silent >= 0;
      if (counts && !watching.scopes[n > 0].ready) return false;
      if (n == 0) first_model = model;
      const bool compares = silent == 0 || models[static_cast<size_t>(first_model)].silent >= 0;
      if (n > 0 && compares && pair(first_model, model).alike && !pair(first_model, model).ready) return false;
    }
    return true;
  }

  Pair& pair(int one, int other) { return pairs[static_cast<size_t>(one) * models.size() + static_cast<size_t>(other)]; }
  const Pair& pair(int one, int other) const { return const_cast<Watch*>(this)->pair(one, other); }

  // Whether a fact gives a model a label, and which one.
  static bool label(const Fact& fact, const Watching& model, bool& value) {
    value = fact.fate == EXPIRED ? model.silent == 1 : fact.value != 0;
    return fact.fate != EXPIRED || model.silent >= 0;
  }

  bool one(const Facts& facts, size_t at) {
    const Fact& fact = facts.facts[at];
    if (fact.fate == BACKFILLED) return true;
    given_.clear();
    for (size_t n = 0; n < fact.scores; ++n) {
      const Scored& score = facts.scores[fact.first + n];
      given_.push_back({&score, numbers[static_cast<size_t>(score.model)], Observed()});
    }
    metrics(fact, at);
    if (!given_.empty()) waits(fact);
    health(fact);
    return drift(fact);
  }

  void metrics(const Fact& fact, size_t at) {
    if (fact.ts > served_time) {
      const bool turns = fact.ts / pane_ms > served_time / pane_ms;
      served_time = fact.ts;
      if (turns) {
        turned = fact.ts;
        const int64_t oldest = floored(fact.ts - pane_keep_ms, pane_ms);
        for (Watching& model : models)
          for (Scope& scope : model.scopes) scope.first_pane = std::max(scope.first_pane, oldest);
      }
    }
    const int64_t pane = fact.asked / pane_ms;
    for (size_t n = 0; n < given_.size(); ++n) {
      Given& each = given_[n];
      Watching& model = models[static_cast<size_t>(each.model)];
      bool value;
      if (!label(fact, model, value)) continue;
      each.seen = observed(each.score->p, each.score->label, value);
      model.role = n > 0;
      Scope& scope = model.scopes[n > 0];
      scope.add(each.seen, each.score->p, value, pane, at);
      scope.newest = each.score->offset;
      for (size_t feature = 0; feature < scope.levels.size(); ++feature)
        scope.levels[feature].add(levels[(at - start) * scope.levels.size() + feature], each.seen);
    }
    bool value;
    if (given_.size() < 2 || !label(fact, models[static_cast<size_t>(given_[0].model)], value)) return;
    for (size_t n = 1; n < given_.size(); ++n) {
      Pair& compared = pair(given_[0].model, given_[n].model);
      if (compared.alike) compared.add(given_[0].seen.loss - given_[n].seen.loss, fact.asked);
    }
  }

  void waits(const Fact& fact) {
    const Given& served_first = given_[0];
    Watching& model = models[static_cast<size_t>(served_first.model)];
    if (model.served_offset < 0) servers.push_back(served_first.model);
    model.served_offset = served_first.score->offset;
    const double p = served_first.score->p;
    const int group = p < 1.0 ? static_cast<int>(p * TABLE) : TABLE - 1;
    Resolutions& counted = model.resolved[group];
    if (counted.count++ == 0) resolved.emplace_back(served_first.model, group);
    bool value;
    if (!label(fact, model, value)) return;
    if (counted.labels++ == 0) labelled.emplace_back(served_first.model, group);
    counted.positive += value;
  }

  void health(const Fact& fact) {
    if (fact.ts > loop_time) {
      loop_time = fact.ts;
      first_cohort = std::max(first_cohort, floored(fact.ts - pane_keep_ms, pane_ms));
    }
    const bool has_outcome = fact.fate == LABELLED;
    if (has_outcome) {
      outcome_delays[delay_bin(fact.ts - fact.asked)] += 1;
      if (fact.arrived >= 0) report_delays[delay_bin(fact.arrived - fact.ts)] += 1;
    }
    const int64_t cohort = fact.asked / pane_ms;
    if (cohort >= first_cohort) {
      auto& counted = cohorts[cohort];
      counted.first += 1;
      counted.second += has_outcome;
    }
  }

  bool drift(const Fact& fact) {
    const bool has_outcome = fact.fate == LABELLED;
    if (outage) {
      if (has_outcome) {
        first = has_first ? std::min(first, fact.asked) : fact.asked;
        has_first = true;
        if (fact.ts >= first + horizon_ms) deadlines.outcome(fact.ts);
        requests.outcome(fact.ts);
      } else if (!deadlines.silence(fact.ts)) {
        return false;
      }
    }
    const bool measured = !(silence_teaches && until >= 0 && fact.ts < until + horizon_ms);
    bool any = false;
    for (size_t place = 0; place < models.size(); ++place)
      for (size_t n = 0; n < given_.size(); ++n) {
        if (given_[n].model != static_cast<int>(place)) continue;
        bool value;
        if (!label(fact, models[place], value)) continue;
        any = true;
        if (!judge(fact, models[place], *given_[n].score, value, n == 0 && measured, static_cast<int>(place))) return false;
      }
    if (any && !has_outcome) silence_teaches = true;
    if (!any && !has_outcome) return true;
    ++judged;
    return !has_outcome || !has_delay || !delay.update(fact.asked, fact.ts);
  }

  bool judge(const Fact& fact, Watching& model, const Scored& score, bool value, bool serves, int place) {
    if (serves) {
      served = place;
      if (judges_cost && cost.update(score.p, value, fact.ts)) return false;
    }
    const bool watches = ++model.seen > warm_up;
    for (Watched& each : model.watched) {
      const double number = number_of(each, score, value);
      if (watches && each.detector.update(number)) return false;
    }
    return true;
  }

  static double number_of(Watched& watched, const Scored& score, bool value) {
    if (watched.signal == ERROR) return score.label != value;
    if (watched.signal == LABEL) return value;
    if (watched.signal == SCORE) return score.p;
    double p = score.p;
    if (!(FLOOR <= p && p <= 1 - FLOOR)) p = p < FLOOR ? FLOOR : 1 - FLOOR;
    const double against = std::log((1 - p) / p), weight = p * (1 - p);
    const double centre = watched.weight != 0 ? watched.weighted / watched.weight : 0.0;
    watched.weighted += (weight * against - watched.weighted) / 1000;
    watched.weight += (weight - watched.weight) / 1000;
    return ((value ? 1 : 0) - p) * (against - centre);
  }

  static int64_t floored(int64_t value, int64_t by) {
    const int64_t whole = value / by;
    return whole * by > value ? whole - 1 : whole;
  }

  std::vector<Given> given_;
};

}  // namespace riverloop
