// Which processor this is, for code that is for it alone.
#ifndef WASM_WORKER_PROCESSOR_H
#define WASM_WORKER_PROCESSOR_H

#define PROCESSOR_NAME_SIZE 17

// A name of 16 hexadecimal digits, which all processors have that the C library knows to have the
// same features (of which the kernel lets programs use the same), and probably no others.
void processor_name(char ret[PROCESSOR_NAME_SIZE]);

#endif
