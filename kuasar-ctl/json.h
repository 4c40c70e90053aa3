// JSON for programs. The keys are documented in kuasar-ctl(8) and stay.
#ifndef CTL_JSON_H
#define CTL_JSON_H

#include "base/json.h"
#include "ctl/look.h"
#include "ctl/view.h"

// Adds a member; without memory it is missing. Values are taken.
void json_add(json_object *o, const char *key, json_object *value);
// Strings that are "" or NULL, and times that are NULL, are left out.
void json_add_text(json_object *o, const char *key, const char *value);
void json_add_time(json_object *o, const char *key, const Google__Timestamp *at);

// {"kind", "role", "answers", "error", "program", "version", "pid", "started_at", "entries"}
json_object *json_of_source(const struct source *s);
// {"type", "kind", "namespace", "id", "sandbox_id", "name", "state", "pid", "execs", "cgroup",
// "created_at", "exited_at", "exit_status", "from"}, and for a detailed entry "processes", "facts",
// "operations". `entry` is the item's or its details.
json_object *json_of_entry(const struct source *s, const Internal__Entry *entry);
// {"namespaces": {}, "cgroup_pids": [], "cgroup_values": {}}
json_object *json_of_look(const struct look *look);
// {"daemons", "entries", "broken_records"}
json_object *json_of_view(const struct view *v);
// {"at", "kind", "topic", "namespace", "id", "exec_id", "pid", "exit_status"}
json_object *json_of_event(const struct kind *kind, const Internal__Event *e);

// Prints and frees. Pretty or, for streams, on one line.
void json_print(json_object *o, bool pretty, FILE *out);

#endif
