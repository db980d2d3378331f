// Features' values, as the kernels take them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace riverloop {

enum Kind : uint8_t { MISSING, REAL, WHOLE, FLAG, TEXT };

struct Value {
  Kind kind = MISSING;
  double number = 0;            // of REAL, WHOLE and FLAG
  int64_t whole = 0;            // of WHOLE, exactly
  const char* text = nullptr;   // of TEXT, UTF-8; owned by the caller
  size_t size = 0;
};

// Examples for a kernel, whose rows somebody else holds.
struct Examples {
  size_t width = 0;             // values of a row
  bool binary = true;           // whether the targets are those of a classifier
  std::vector<const Value*> rows;
  std::vector<double> targets;  // none: they are to be scored only
};

constexpr double EXACT = 4503599627370496.0;  // 2^52: differences of such whole numbers are exact doubles

}  // namespace riverloop
