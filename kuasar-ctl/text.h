// Output for people.
#ifndef CTL_TEXT_H
#define CTL_TEXT_H

#include <time.h>

#include "ctl/doctor.h"
#include "ctl/look.h"
#include "ctl/view.h"

// One table; short ids unless `long_ids`. Ages are counted to `now`.
void text_list(const struct view *v, bool long_ids, time_t now, FILE *out);
// Lines about the daemons that did not answer and the records that are broken, with remedies.
void text_complaints(const struct view *v, FILE *out);
// Everything about one entry.
void text_show(const struct source *s, const Internal__Entry *entry, const struct look *look,
               FILE *out);
// One line.
void text_event(const struct kind *kind, const Internal__Event *e, FILE *out);
// One line, and one for the remedy if there is one.
void text_finding(const struct finding *f, FILE *out);

// "9s", "9m", "9h", "9d": rounded down. Negative ages (a clock was set) are "0s".
void text_age(char *to, size_t size, long seconds);
// "1.25 ms": three digits that count.
void text_duration(char *to, size_t size, uint64_t nanoseconds);

#endif
