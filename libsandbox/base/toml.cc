// toml++ behind a C function: the only C++ here, so built without exceptions and RTTI. Out of
// memory ends the process inside operator new; the size limit of the caller bounds what is asked
// for.
//
// toml++ bounds the nesting of arrays and inline tables, but each dot of a key or header makes a
// table too, and tables are freed recursively. A scan that knows strings and comments counts the
// dots before the parser sees the text, so that hostile text cannot exhaust the stack.
//
// The same scan lets characters beyond ASCII stand in comments only; in strings they have to be
// written as escapes. toml++ 3.3 asks of nearly everything that it meets whether it is white space,
// and runs into undefined behaviour for many of these characters.
//
// toml++'s assertions are preconditions that hostile text breaks ("[%]" does, up to 3.4), although
// the code behind them goes on to report the error. In release builds they become assumptions of
// the compiler. So they are switched off in every build; the fuzzer runs without them.
#undef NDEBUG
#define TOML_ASSERT(expr)          static_assert(true)
#define TOML_HEADER_ONLY           1
#define TOML_EXCEPTIONS            0
#define TOML_ENABLE_FORMATTERS     0
#define TOML_ENABLE_WINDOWS_COMPAT 0
#define TOML_UNRELEASED_FEATURES   0
#define TOML_MAX_NESTED_VALUES     16
#define TOML_MAX_DOTTED_KEYS_DEPTH 1024

#include "base/toml_reader.h"

#include <json-c/json.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

static_assert(TOML_MAX_NESTED_VALUES == TOML_DEPTH_MAX);
static_assert(TOML_MAX_DOTTED_KEYS_DEPTH == TOML_DOTS_MAX);

namespace
{

bool is_ascii(std::string_view text)
{
    return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

constexpr char beyond[] =
    "a character beyond ASCII outside of a comment (in a string write it as \"\\u00e4\")";

// Walks over a document and knows where strings and comments begin and end.
struct scan {
    std::string_view text;
    size_t pos;
    unsigned line;
    unsigned dots;
    const char *problem;

    bool is_multi() const
    {
        const char triple[] = {text[pos], text[pos], text[pos]};
        return text.substr(pos, 3) == std::string_view(triple, 3);
    }

    // A string that starts here, with its quotes; to the end of the text if it does not end.
    std::string_view string_here() const
    {
        const char quote = text[pos];
        const bool multi = is_multi();
        for (size_t end = pos + (multi ? 3 : 1); end < text.size(); end++) {
            if (text[end] == '\\' && quote == '"') {
                end++;
            } else if (!multi && (text[end] == quote || text[end] == '\n')) {
                return text.substr(pos, end + 1 - pos);
            } else if (multi && text.substr(end, 3) == text.substr(pos, 3)) {
                // Up to two quotes may stand before the three that end it.
                end += 3;
                for (int i = 0; i < 2 && end < text.size() && text[end] == quote; i++)
                    end++;
                return text.substr(pos, end - pos);
            }
        }
        return text.substr(pos);
    }

    bool fail(const char *why)
    {
        problem = why;
        return false;
    }

    // Takes a string, a comment or one character. False: problem says why not.
    bool step()
    {
        const char c = text[pos];
        if (c == '"' || c == '\'') {
            const std::string_view string = string_here();
            if (!is_ascii(string))
                return fail(beyond);
            line += static_cast<unsigned>(std::count(string.begin(), string.end(), '\n'));
            pos += string.size();
            return true;
        }
        if (c == '#') {
            pos = std::min(text.find('\n', pos), text.size());
            return true;
        }
        if (!is_ascii(text.substr(pos, 1)))
            return fail(beyond);
        if (c == '.' && ++dots > TOML_DOTS_MAX)
            return fail("too many dots outside of strings");
        line += c == '\n';
        pos++;
        return true;
    }
};

void set_problem(toml_problem *problem, unsigned line, std::string_view why)
{
    problem->line = line;
    const size_t n = std::min(why.size(), sizeof problem->text - 1);
    std::memcpy(problem->text, why.data(), n);
    problem->text[n] = '\0';
}

bool is_bare(std::string_view key)
{
    constexpr auto bare = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    return !key.empty() && key.find_first_not_of(bare) == key.npos;
}

std::string join(const std::string &prefix, std::string_view key)
{
    std::string path = prefix;
    if (!path.empty())
        path += '.';
    path += is_bare(key) ? std::string(key) : '"' + std::string(key) + '"';
    return path;
}

const char *type_name(toml::node_type type)
{
    switch (type) {
    case toml::node_type::table:
        return "table";
    case toml::node_type::array:
        return "array";
    case toml::node_type::string:
        return "string";
    case toml::node_type::integer:
        return "integer";
    case toml::node_type::floating_point:
        return "floating-point";
    case toml::node_type::boolean:
        return "boolean";
    case toml::node_type::date:
        return "date";
    case toml::node_type::time:
        return "time";
    case toml::node_type::date_time:
        return "date-time";
    default:
        return "nothing";
    }
}

toml_entry make_entry(const char *key, const toml::node &node)
{
    toml_entry entry = {};
    entry.key = key;
    entry.line = static_cast<unsigned>(node.source().begin.line);
    entry.type = TOML_TYPE_OTHER;
    entry.type_name = type_name(node.type());
    if (const auto *string = node.as_string()) {
        entry.type = TOML_TYPE_STRING;
        entry.string = string->get().c_str();
        entry.string_len = string->get().size();
    } else if (const auto *boolean = node.as_boolean()) {
        entry.type = TOML_TYPE_BOOL;
        entry.boolean = boolean->get();
    } else if (const auto *integer = node.as_integer()) {
        entry.type = TOML_TYPE_INT;
        entry.integer = integer->get();
    } else if (node.is_table()) {
        entry.type = TOML_TYPE_TABLE;
    }
    return entry;
}

// The strings in an array; other elements are of no use to anybody here.
int walk_strings(const toml::array &array, const std::string &path, toml_fn fn, void *arg)
{
    size_t i = 0;
    for (const auto &item : array) {
        const std::string name = path + '[' + std::to_string(i++) + ']';
        if (!item.is_string())
            continue;
        const toml_entry entry = make_entry(name.c_str(), item);
        if (const int r = fn(&entry, arg))
            return r;
    }
    return 0;
}

int walk(const toml::table &table, const std::string &prefix, toml_fn fn, void *arg)
{
    for (const auto &item : table) {
        const std::string path = join(prefix, item.first);
        const toml_entry entry = make_entry(path.c_str(), item.second);
        int r = fn(&entry, arg);
        if (r == 0 && entry.type == TOML_TYPE_TABLE)
            r = walk(*item.second.as_table(), path, fn, arg);
        else if (r == 0 && item.second.is_array())
            r = walk_strings(*item.second.as_array(), path, fn, arg);
        if (r != 0)
            return r;
    }
    return 0;
}

// Takes `value`, and frees it if it cannot be added. A NUL in a key does not hide what is behind
// it.
bool add_member(json_object *to, std::string_view key, json_object *value)
{
    std::string name(key);
    std::replace(name.begin(), name.end(), '\0', '?');
    if (value && json_object_object_add(to, name.c_str(), value) == 0)
        return true;
    json_object_put(value);
    return false;
}

bool add_item(json_object *to, json_object *value)
{
    if (value && json_object_array_add(to, value) == 0)
        return true;
    json_object_put(value);
    return false;
}

json_object *json_of(const toml::node &node);

json_object *json_of_table(const toml::table &table)
{
    json_object *o = json_object_new_object();
    for (const auto &item : table)
        if (!o || !add_member(o, item.first.str(), json_of(item.second))) {
            json_object_put(o);
            return nullptr;
        }
    return o;
}

json_object *json_of_array(const toml::array &array)
{
    json_object *o = json_object_new_array();
    for (const auto &item : array)
        if (!o || !add_item(o, json_of(item))) {
            json_object_put(o);
            return nullptr;
        }
    return o;
}

// nullptr without memory.
json_object *json_of(const toml::node &node)
{
    if (const auto *table = node.as_table())
        return json_of_table(*table);
    if (const auto *array = node.as_array())
        return json_of_array(*array);
    if (const auto *string = node.as_string())
        return json_object_new_string_len(string->get().data(),
                                          static_cast<int>(string->get().size()));
    if (const auto *boolean = node.as_boolean())
        return json_object_new_boolean(boolean->get());
    if (const auto *integer = node.as_integer())
        return json_object_new_int64(integer->get());
    if (const auto *number = node.as_floating_point())
        return json_object_new_double(number->get());
    return json_object_new_string(type_name(node.type()));
}

// False: *problem says why not.
bool parse(const char *text, size_t len, toml::table *ret, toml_problem *problem)
{
    const std::string_view view(len ? text : "", len);
    const size_t start = view.substr(0, 3) == "\xef\xbb\xbf" ? 3 : 0; // a byte order mark
    scan ahead = {view, start, 1, 0, nullptr};
    while (ahead.pos < view.size())
        if (!ahead.step()) {
            set_problem(problem, ahead.line, ahead.problem);
            return false;
        }
    toml::parse_result result = toml::parse(view);
    if (!result) {
        const auto &why = result.error();
        set_problem(problem, static_cast<unsigned>(why.source().begin.line), why.description());
        return false;
    }
    *ret = std::move(result).table();
    return true;
}

} // namespace

int toml_read(const char *text, size_t len, toml_fn fn, void *arg, toml_problem *problem)
{
    toml::table table;
    return parse(text, len, &table, problem) ? walk(table, std::string(), fn, arg) : -1;
}

json_object *toml_to_json(const char *text, size_t len, toml_problem *problem)
{
    toml::table table;
    if (!parse(text, len, &table, problem))
        return nullptr;
    json_object *o = json_of_table(table);
    if (!o)
        set_problem(problem, 0, "no memory");
    return o;
}
