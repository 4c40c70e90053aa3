#include "ctl/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "api/check.h"
#include "base/grow.h"

// Characters, not bytes.
static size_t width(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void text_clean(char *to, size_t size, const char *from)
{
    size_t len = strnlen(from, size - 1);
    bool cut = from[len] != '\0';
    // A character that was cut through is no fault of the text's.
    while (cut && len && ((unsigned char)from[len] & 0xc0) == 0x80)
        len--;
    bool valid = api_text_valid((const uint8_t *)from, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)from[i];
        // 0xc2 0x80..0x9f are control characters as well.
        bool c1 = c == 0xc2 && (unsigned char)from[i + 1] < 0xa0;
        bool bad = c < 0x20 || c == 0x7f || c1 || (c >= 0x80 && !valid);
        to[i] = (char)(bad ? '?' : c);
        if (c1 && valid && i + 1 < len)
            to[++i] = '?';
    }
    to[len] = '\0';
}

void table_init(struct table *t, const char *const *headers)
{
    *t = (struct table){0};
    while (headers[t->columns] && t->columns < TABLE_COLUMNS_MAX)
        t->columns++;
    for (size_t i = 0; i < t->columns; i++)
        table_add(t, "%s", headers[i]);
}

void table_done(struct table *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct table){0};
}

void table_add(struct table *t, const char *fmt, ...)
{
    char raw[TABLE_CELL_MAX], clean[TABLE_CELL_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    text_clean(clean, sizeof clean, raw);
    char **cells = grow_by_one(t->cells, t->n, sizeof *cells);
    if (!cells)
        return;
    t->cells = cells;
    t->cells[t->n++] = strdup(*clean ? clean : "-");
}

void table_add_number(struct table *t, bool known, long long n)
{
    if (known)
        table_add(t, "%lld", n);
    else
        table_add(t, "%s", "");
}

static const char *cell(const struct table *t, size_t i)
{
    return i < t->n && t->cells[i] ? t->cells[i] : "";
}

void table_print(const struct table *t, FILE *out)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < t->n; i++) {
        size_t w = width(cell(t, i));
        if (w > widths[i % t->columns])
            widths[i % t->columns] = w;
    }
    for (size_t i = 0; i < t->n; i++) {
        size_t column = i % t->columns;
        const char *text = cell(t, i);
        if (column + 1 == t->columns || i + 1 == t->n)
            fprintf(out, "%s\n", text);
        else
            fprintf(out, "%s%*s", text, (int)(widths[column] - width(text) + 2), "");
    }
}
