;; Exports a function, but nothing that one would run.
(component
  (core module $Main (func (export "f")))
  (core instance $main (instantiate $Main))
  (func (export "f") (canon lift (core func $main "f"))))
