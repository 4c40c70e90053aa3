;; Traps while it is instantiated, which is code of its own: not before Start.
(component
  (core module $Main
    (func $init unreachable)
    (start $init)
    (func (export "run") (result i32) (i32.const 0)))
  (core instance $main (instantiate $Main))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))
