// Tables for people: columns as wide as their widest cell.
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

// Most columns.
#define TABLE_COLUMNS_MAX 12
// Longest cell in bytes; more is cut.
#define TABLE_CELL_MAX 1024

struct table {
    size_t columns;
    size_t n;     // cells; the first row is the header
    char **cells; // owned
};

// `headers` ends with NULL; they are copied. Aborts nothing: without memory cells stay empty.
void table_init(struct table *t, const char *const *headers);
void table_done(struct table *t);
// Appends a cell; rows are filled from left to right. Bytes that would steer a terminal, or are not
// UTF-8, are shown as "?", an empty cell as "-".
void table_add(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Appends a number, or an empty cell if it is not known.
void table_add_number(struct table *t, bool known, long long n);
// Prints it, two blanks between columns, none at the end of a line.
void table_print(const struct table *t, FILE *out);

// Copies text for a terminal: see table_add.
void text_clean(char *to, size_t size, const char *from);

#endif
