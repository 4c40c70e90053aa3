;; Logs a line by the one plugin that is in WasmEdge's library itself.
(module
  (import "wasi:logging/logging" "log" (func $log (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "stdout")
  (data (i32.const 16) "a line by a plugin")
  (func (export "_start")
    (call $log (i32.const 2) (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 18))))
