// A feature's value, as the kernels take it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace riverloop {

enum Kind : uint8_t { MISSING, REAL, WHOLE, FLAG, TEXT };

struct Value {
  Kind kind = MISSING;
  double number = 0;            // of REAL, WHOLE and FLAG
  int64_t whole = 0;            // of WHOLE, exactly
  const char* text = nullptr;   // of TEXT, UTF-8; owned by the caller
  size_t size = 0;
};

constexpr double EXACT = 4503599627370496.0;  // 2^52: differences of such whole numbers are exact doubles

}  // namespace riverloop
