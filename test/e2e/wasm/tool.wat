;; What tool.c is among modules, in a few verbs: a command for WASI 0.2. Its first argument is known
;; by four letters. Interfaces are of several patch versions: any is to do.
(component $tool
  (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))

  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))

  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer $tool $error (type $e))
    (export "error" (type $error (eq $e)))
    (type $v (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $v)))
    (export "input-stream" (type $input (sub resource)))
    (export "output-stream" (type $output (sub resource)))
    (export "[method]input-stream.blocking-read"
      (func (param "self" (borrow $input)) (param "len" u64) (result (result (list u8) (error $stream-error)))))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $output)) (param "contents" (list u8)) (result (result (error $stream-error)))))))
  (alias export $streams "input-stream" (type $input))
  (alias export $streams "output-stream" (type $output))

  (import "wasi:cli/stdin@0.2.0" (instance $stdin
    (alias outer $tool $input (type $i))
    (export "input-stream" (type $input (eq $i)))
    (export "get-stdin" (func (result (own $input))))))
  (import "wasi:cli/stdout@0.2.2" (instance $stdout
    (alias outer $tool $output (type $o))
    (export "output-stream" (type $output (eq $o)))
    (export "get-stdout" (func (result (own $output))))))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-arguments" (func (result (list string))))
    (export "get-environment" (func (result (list (tuple string string)))))))
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit" (func (param "status" (result))))
    (export "exit-with-code" (func (param "status-code" u8)))))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer $tool $pollable (type $p))
    (export "pollable" (type $pollable (eq $p)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))

  (import "wasi:filesystem/types@0.2.0" (instance $files
    (alias outer $tool $input (type $i))
    (export "input-stream" (type $input (eq $i)))
    (type $c (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist"
      "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io" "is-directory"
      "loop" "too-many-links" "message-size" "name-too-long" "no-device" "no-entry" "no-lock"
      "insufficient-memory" "insufficient-space" "not-directory" "not-empty" "not-recoverable"
      "unsupported" "no-tty" "no-such-device" "overflow" "not-permitted" "pipe" "read-only"
      "invalid-seek" "text-file-busy" "cross-device"))
    (export "error-code" (type $code (eq $c)))
    (type $pf (flags "symlink-follow"))
    (export "path-flags" (type $path-flags (eq $pf)))
    (type $of (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $open-flags (eq $of)))
    (type $df (flags "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync"
      "mutate-directory"))
    (export "descriptor-flags" (type $descriptor-flags (eq $df)))
    (export "descriptor" (type $descriptor (sub resource)))
    (export "[method]descriptor.open-at"
      (func (param "self" (borrow $descriptor)) (param "path-flags" $path-flags) (param "path" string)
        (param "open-flags" $open-flags) (param "flags" $descriptor-flags)
        (result (result (own $descriptor) (error $code)))))
    (export "[method]descriptor.read-via-stream"
      (func (param "self" (borrow $descriptor)) (param "offset" u64) (result (result (own $input) (error $code)))))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer $tool $descriptor (type $d))
    (export "descriptor" (type $descriptor (eq $d)))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))

  ;; Memory that is never given back, but by who sets $heap.
  (core module $Heap
    (memory (export "memory") 16)
    (global $heap (export "heap") (mut i32) (i32.const 1024))
    (func (export "realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32) (result i32)
      global.get $heap
      (global.set $heap
        (i32.and (i32.add (i32.add (global.get $heap) (local.get $len)) (i32.const 7)) (i32.const -8)))))
  (core instance $heap (instantiate $Heap))
  (alias core export $heap "memory" (core memory $memory))
  (alias core export $heap "realloc" (core func $realloc))

  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $read (canon lower (func $streams "[method]input-stream.blocking-read") (memory $memory) (realloc $realloc)))
  (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $memory)))
  (core func $get_stdin (canon lower (func $stdin "get-stdin")))
  (core func $get_stdout (canon lower (func $stdout "get-stdout")))
  (core func $arguments (canon lower (func $environment "get-arguments") (memory $memory) (realloc $realloc)))
  (core func $variables (canon lower (func $environment "get-environment") (memory $memory) (realloc $realloc)))
  (core func $exit (canon lower (func $exit "exit")))
  (core func $code (canon lower (func $exit "exit-with-code")))
  (core func $after (canon lower (func $clock "subscribe-duration")))
  (core func $open (canon lower (func $files "[method]descriptor.open-at") (memory $memory)))
  (core func $stream (canon lower (func $files "[method]descriptor.read-via-stream") (memory $memory)))
  (core func $roots (canon lower (func $preopens "get-directories") (memory $memory) (realloc $realloc)))

  (core module $Main
    (import "heap" "memory" (memory 16))
    (import "heap" "heap" (global $heap (mut i32)))
    (import "wasi" "block" (func $block (param i32)))
    (import "wasi" "read" (func $read (param i32 i64 i32)))
    (import "wasi" "write" (func $write (param i32 i32 i32 i32)))
    (import "wasi" "stdin" (func $stdin (result i32)))
    (import "wasi" "stdout" (func $stdout (result i32)))
    (import "wasi" "arguments" (func $arguments (param i32)))
    (import "wasi" "variables" (func $variables (param i32)))
    (import "wasi" "exit" (func $exit (param i32)))
    (import "wasi" "code" (func $code (param i32)))
    (import "wasi" "after" (func $after (param i64) (result i32)))
    (import "wasi" "open" (func $open (param i32 i32 i32 i32 i32 i32 i32)))
    (import "wasi" "stream" (func $stream (param i32 i64 i32)))
    (import "wasi" "roots" (func $roots (param i32)))

    ;; Below 64 is text, from 64 to 128 are results of calls.
    (data (i32.const 0) "\n=waiting\n")
    (global $out (mut i32) (i32.const 0))

    (func $say (param $text i32) (param $len i32)
      (call $write (global.get $out) (local.get $text) (local.get $len) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then unreachable)))
    ;; A string, as a list has it.
    (func $say_string (param $at i32)
      (call $say (i32.load (local.get $at)) (i32.load offset=4 (local.get $at))))

    (func $copy (param $from i32)
      (local $base i32)
      (local.set $base (global.get $heap))
      (loop $more
        (global.set $heap (local.get $base))
        (call $read (local.get $from) (i64.const 4096) (i32.const 64))
        (if (i32.eqz (i32.load8_u (i32.const 64)))
          (then (call $say_string (i32.const 68)) (br $more)))))

    (func $show (param $at i32) (param $n i32)
      (local $i i32)
      (loop $next
        (if (i32.lt_u (local.get $i) (local.get $n))
          (then
            (call $say_string (i32.add (local.get $at) (i32.mul (local.get $i) (i32.const 8))))
            (call $say (i32.const 0) (i32.const 1))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next))))
      (call $variables (i32.const 64))
      (local.set $at (i32.load (i32.const 64)))
      (local.set $n (i32.load (i32.const 68)))
      (loop $next
        (if (local.get $n)
          (then
            (call $say_string (local.get $at))
            (call $say (i32.const 1) (i32.const 1))
            (call $say_string (i32.add (local.get $at) (i32.const 8)))
            (call $say (i32.const 0) (i32.const 1))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br $next)))))

    ;; Of a path below the first directory that is there from the beginning: the root.
    (func $read_file (param $path i32) (param $len i32) (result i32)
      (call $roots (i32.const 64))
      (call $open (i32.load (i32.load (i32.const 64))) (i32.const 1) (local.get $path) (local.get $len)
        (i32.const 0) (i32.const 1) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then (return (i32.const 1))))
      (call $stream (i32.load (i32.const 68)) (i64.const 0) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then (return (i32.const 1))))
      (call $copy (i32.load (i32.const 68)))
      (i32.const 0))

    (func $stack (param $n i64) (result i64)
      (i64.add (call $stack (i64.add (local.get $n) (i64.const 1))) (local.get $n)))

    (func (export "run") (result i32)
      (local $args i32) (local $n i32) (local $verb i32)
      (global.set $out (call $stdout))
      (call $arguments (i32.const 64))
      (local.set $args (i32.load (i32.const 64)))
      (local.set $n (i32.load (i32.const 68)))
      (if (i32.ge_u (local.get $n) (i32.const 2))
        (then (local.set $verb (i32.load (i32.load offset=8 (local.get $args))))))
      (if (i32.eq (local.get $verb) (i32.const 0x776f6873)) ;; show
        (then (call $show (local.get $args) (local.get $n)) (return (i32.const 0))))
      (if (i32.eq (local.get $verb) (i32.const 0x6c696166)) ;; fail
        (then (return (i32.const 1))))
      (if (i32.eq (local.get $verb) (i32.const 0x74697865)) ;; exit: with an error
        (then (call $exit (i32.const 1))))
      (if (i32.eq (local.get $verb) (i32.const 0x65646f63)) ;; code: exit with 255
        (then (call $code (i32.const 255))))
      (if (i32.eq (local.get $verb) (i32.const 0x6f686365)) ;; echo
        (then (call $copy (call $stdin)) (return (i32.const 0))))
      (if (i32.eq (local.get $verb) (i32.const 0x64616572)) ;; read PATH
        (then
          (return (call $read_file (i32.load offset=16 (local.get $args)) (i32.load offset=20 (local.get $args))))))
      (if (i32.eq (local.get $verb) (i32.const 0x776f7267)) ;; grow: to 64 MiB, which may fail
        (then (return (i32.eq (memory.grow (i32.const 1008)) (i32.const -1)))))
      (if (i32.eq (local.get $verb) (i32.const 0x70617274)) ;; trap
        (then unreachable))
      (if (i32.eq (local.get $verb) (i32.const 0x69766964)) ;; divide
        (then (drop (i32.div_u (local.get $n) (i32.const 0)))))
      (if (i32.eq (local.get $verb) (i32.const 0x6f6d656d)) ;; memory
        (then (drop (i32.load (i32.const -8)))))
      (if (i32.eq (local.get $verb) (i32.const 0x63617473)) ;; stack
        (then (drop (call $stack (i64.const 1)))))
      (call $say (i32.const 2) (i32.const 8))
      (if (i32.eq (local.get $verb) (i32.const 0x6e697073)) ;; spin
        (then (loop $ever (br $ever))))
      (call $block (call $after (i64.const 600000000000))) ;; wait
      (i32.const 0)))

  (core instance $main (instantiate $Main
    (with "heap" (instance $heap))
    (with "wasi" (instance
      (export "block" (func $block))
      (export "read" (func $read))
      (export "write" (func $write))
      (export "stdin" (func $get_stdin))
      (export "stdout" (func $get_stdout))
      (export "arguments" (func $arguments))
      (export "variables" (func $variables))
      (export "exit" (func $exit))
      (export "code" (func $code))
      (export "after" (func $after))
      (export "open" (func $open))
      (export "stream" (func $stream))
      (export "roots" (func $roots))))))

  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.3" (instance $command)))
