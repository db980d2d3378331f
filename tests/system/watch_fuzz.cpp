// Hostile entries through the view of facts into the monitors, under sanitizers; see test_core_sanitizers.py.
//
// Standard input: the plans of predictions and of entries, then entries as hexadecimal text. One watch goes on with all
// facts; another one takes the same in other pieces, and must come to the same numbers.
#include <cstdio>
#include <cstring>

#include "fuzzing.hpp"
#include "monitors.hpp"
#include "views.hpp"

static void begin(Watch& watch) {
  watch.revision = 1;
  watch.pane_ms = 1000;
  watch.pane_keep_ms = 100000;
  watch.horizon_ms = 5000;
  watch.warm_up = 100;
  watch.cost.warm_up = 100;
  for (const Signal signal : {EXCESS, ERROR, LABEL, SCORE}) {
    Watched watched;
    watched.signal = signal;
    watched.detector.rows.resize(1);
    watched.detector.worse = signal < LABEL ? 1 : 0;
    watch.watched.push_back(watched);
  }
  watch.delay.detector.rows.resize(1);
  watch.delay.detector.worse = 0;
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
    std::vector<Labelled> facts;
    for (size_t n = 1 + below(60); n > 0; --n, ++round) {
      const auto& record = records[below(records.size())];
      const std::vector<uint8_t> data = below(3) ? damaged(record) : record;
      const auto block = block_of(data);
      FactView view;
      if (!views.fact(block.get(), data.size(), 10, view)) continue;
      ++seen;
      Labelled fact;
      ts += static_cast<int64_t>(below(300));
      fact.asked = below(9) ? ts - static_cast<int64_t>(below(5000)) : view.prediction.ts;
      fact.ts = below(9) ? ts : view.ts;
      fact.arrived = below(9) ? ts : view.arrived % (int64_t{1} << 53);
      fact.revision = 1;
      fact.p = view.prediction.group < 0 ? 0.5 : view.prediction.p;
      fact.label = view.prediction.label;
      fact.value = view.value != (round / 5000 % 2 == 1);
      facts.push_back(fact);
    }
    while (!facts.empty()) {
      const size_t count = whole.take(facts);
      for (size_t at = 0; at < count;) {
        const size_t size = std::min(1 + below(7), count - at);
        const std::vector<Labelled> piece(facts.begin() + static_cast<long>(at), facts.begin() + static_cast<long>(at + size));
        if (pieces.take(piece) != size) return 1;
        at += size;
      }
      taken += count;
      if (count < facts.size()) {  // Python would report, and begin anew
        ++stopped;
        for (Watch* each : {&whole, &pieces}) {
          *each = Watch();
          begin(*each);
        }
      }
      facts.erase(facts.begin(), facts.begin() + static_cast<long>(std::min(count + 1, facts.size())));
    }
    if (!equal(whole.log_loss, pieces.log_loss) || !equal(whole.tally.loss, pieces.tally.loss)) return 2;
    if (!equal(whole.cost.sum, pieces.cost.sum) || !equal(whole.watched[0].weighted, pieces.watched[0].weighted)) return 3;
    for (Watch* each : {&whole, &pieces}) {
      each->panes.clear();
      each->cohorts.clear();
      each->seen.clear();
      each->delay.means.clear();
    }
  }
  std::printf("%zu %zu %zu\n", seen, taken, stopped);
}
