;; Wants a function of WASI that is in no version of it.
(component
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit-with-music" (func (param "tune" u8)))))
  (core func $exit (canon lower (func $exit "exit-with-music")))
  (core module $Main
    (import "wasi" "exit" (func $exit (param i32)))
    (func (export "run") (result i32) (call $exit (i32.const 3)) unreachable))
  (core instance $main (instantiate $Main (with "wasi" (instance (export "exit" (func $exit))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))
