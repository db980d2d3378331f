// Hostile entries through the view of facts into the monitors, under sanitizers; see test_core_sanitizers.py.
//
// Standard input: the plans of predictions and of entries, then entries as hexadecimal text. One watch goes on with all
// facts; another one takes the same in other pieces, and must come to the same numbers. Of two models, silence teaches
// one; each entry has a score of both.
#include <cstdio>
#include <cstring>

#include "fuzzing.hpp"
#include "monitors.hpp"
#include "views.hpp"

static void begin(Watch& watch) {
  watch.pane_ms = 1000;
  watch.pane_keep_ms = 100000;
  watch.horizon_ms = 5000;
  watch.warm_up = 100;
  watch.cost.warm_up = 100;
  watch.numbers = {0, 1};
  watch.models.resize(2);
  watch.pairs.resize(4);
  for (Pair& each : watch.pairs) each.alike = each.ready = true;
  for (Watching& model : watch.models) {
    model.revision = 1;
    model.silent = &model == &watch.models[0] ? -1 : 0;
    for (Scope& each : model.scopes) {
      each.ready = true;
      each.levels.resize(1);
      each.levels[0].most = 3;
      each.levels[0].slots.assign(8, -1);
    }
    for (const Signal signal : {EXCESS, ERROR, LABEL, SCORE}) {
      Watched watched;
      watched.signal = signal;
      watched.detector.rows.resize(1);
      watched.detector.worse = signal < LABEL ? 1 : 0;
      model.watched.push_back(watched);
    }
  }
  watch.delay.detector.rows.resize(1);
  watch.delay.detector.worse = 0;
}

// What a worker puts back after each run.
static void settle(Watch& watch) {
  for (Watching& model : watch.models)
    for (Scope& each : model.scopes) {
      each.panes.clear();
      each.seen.clear();
      each.places.clear();
    }
  watch.cohorts.clear();
  watch.delay.means.clear();
}

static bool equal(double one, double two) { return std::memcmp(&one, &two, sizeof one) == 0; }

int main(int, char** arguments) {
  Views views;
  views.predictions = read_plan();
  views.entries = read_plan();
  views.reporter = KEPT;
  std::vector<std::vector<uint8_t>> records;
  for (std::string line; std::cin >> line;) records.push_back(octets_of(line));
  Watch whole, pieces;
  begin(whole);
  begin(pieces);
  size_t seen = 0, taken = 0, stopped = 0;
  int64_t ts = 1 << 20;
  const long rounds = std::atol(arguments[1]);
  for (long round = 0; round < rounds;) {
    std::vector<std::unique_ptr<uint8_t[]>> blocks;
    std::vector<std::string_view> given;
    for (size_t n = 1 + below(60); n > 0; --n, ++round) {
      const auto& record = records[below(records.size())];
      const std::vector<uint8_t> data = below(3) ? damaged(record) : record;
      blocks.push_back(block_of(data));
      given.emplace_back(reinterpret_cast<const char*>(blocks.back().get()), data.size());
    }
    Facts facts;
    facts.scan(views, given, {reinterpret_cast<const char*>(records[0].data()), 10});
    facts.scores.resize(2 * facts.facts.size());
    for (size_t at = 0; at < facts.facts.size(); ++at) {
      Fact& fact = facts.facts[at];
      if (fact.fate == READ) continue;
      ++seen;
      ts += static_cast<int64_t>(below(300));
      if (below(9)) fact.asked = ts - static_cast<int64_t>(below(5000));
      if (below(9)) fact.ts = ts;
      if (below(9)) fact.arrived = ts;
      fact.value = (fact.value != 0) != (round / 5000 % 2 == 1);
      for (const size_t place : {0, 1}) {
        Scored& score = facts.scores[2 * at + place];
        score.model = static_cast<int>(below(9) ? place : 1 - place);
        score.fits = true;
        score.revision = 1;
        score.p = static_cast<double>(below(1001)) / 1000;
        score.label = below(2);
      }
      facts.scores[2 * at + 1].model = 1 - facts.scores[2 * at].model;
      fact.first = 2 * at;
      fact.scores = below(20) ? 2 : below(2);
    }
    std::vector<int> levels;
    for (size_t at = 0; at < facts.facts.size(); ++at) levels.push_back(static_cast<int>(below(8)));
    whole.levels = pieces.levels = levels;
    for (size_t at = 0; at < facts.facts.size();) {
      const size_t end = facts.end_of_run(at), count = whole.take(facts, at, end);
      for (size_t from = at; from < at + count;) {
        const size_t size = std::min(1 + below(7), at + count - from);
        if (pieces.take(facts, from, from + size) != size) return 1;
        from += size;
      }
      taken += count;
      if (at + count < end) {  // Python would report, and begin anew
        ++stopped;
        for (Watch* each : {&whole, &pieces}) {
          *each = Watch();
          begin(*each);
          each->levels = levels;
        }
      }
      at += count + 1;
    }
    const Watching &one = whole.models[0], &other = pieces.models[0];
    if (!equal(one.scopes[0].log_loss, other.scopes[0].log_loss)) return 2;
    if (!equal(one.scopes[1].tally.loss, other.scopes[1].tally.loss)) return 3;
    if (!equal(whole.cost.sum, pieces.cost.sum) || !equal(one.watched[0].weighted, other.watched[0].weighted)) return 4;
    if (whole.pairs[1].total != pieces.pairs[1].total || whole.judged != pieces.judged) return 5;
    for (size_t slot = 0; slot < one.scopes[0].levels[0].tallies.size(); ++slot)
      if (!equal(one.scopes[0].levels[0].tallies[slot].loss, other.scopes[0].levels[0].tallies[slot].loss)) return 6;
    settle(whole);
    settle(pieces);
  }
  std::printf("%zu %zu %zu\n", seen, taken, stopped);
}
