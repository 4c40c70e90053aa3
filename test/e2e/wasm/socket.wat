;; Exits with 100 if it may make a socket, else with the number of the error.
(component $tool
  (import "wasi:sockets/network@0.2.0" (instance $network
    (type $c (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
      "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused" "connection-reset"
      "connection-aborted" "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
      "permanent-resolver-failure"))
    (export "error-code" (type $code (eq $c)))
    (type $f (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type $family (eq $f)))))
  (alias export $network "error-code" (type $code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (alias outer $tool $code (type $c))
    (export "error-code" (type $code (eq $c)))
    (alias outer $tool $family (type $f))
    (export "ip-address-family" (type $family (eq $f)))
    (alias outer $tool $socket (type $s))
    (export "tcp-socket" (type $socket (eq $s)))
    (export "create-tcp-socket" (func (param "address-family" $family) (result (result (own $socket) (error $code)))))))
  (import "wasi:cli/exit@0.2.0" (instance $exit (export "exit-with-code" (func (param "status-code" u8)))))

  (core module $Memory (memory (export "memory") 1))
  (core instance $m (instantiate $Memory))
  (alias core export $m "memory" (core memory $memory))
  (core func $socket (canon lower (func $create "create-tcp-socket") (memory $memory)))
  (core func $exit (canon lower (func $exit "exit-with-code")))
  (core module $Main
    (import "m" "memory" (memory 1))
    (import "wasi" "socket" (func $socket (param i32 i32)))
    (import "wasi" "exit" (func $exit (param i32)))
    (func (export "run") (result i32)
      (call $socket (i32.const 0) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then (call $exit (i32.load8_u (i32.const 4)))))
      (call $exit (i32.const 100))
      (i32.const 0)))
  (core instance $main (instantiate $Main
    (with "m" (instance $m))
    (with "wasi" (instance (export "socket" (func $socket)) (export "exit" (func $exit))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))
