// toml++ behind a C function: the only C++ here, so built without exceptions and RTTI. Out of
// memory ends the process inside operator new; the size limit of the caller bounds what is asked
// for.
//
// toml++ bounds the nesting of arrays and inline tables, but each dot of a key or header makes a
// table too, and tables are freed recursively. A scan that knows strings and comments counts the
// dots before the parser sees the text, so that hostile text cannot exhaust the stack.
#define TOML_HEADER_ONLY           1
#define TOML_EXCEPTIONS            0
#define TOML_ENABLE_FORMATTERS     0
#define TOML_ENABLE_WINDOWS_COMPAT 0
#define TOML_UNRELEASED_FEATURES   0
#define TOML_MAX_NESTED_VALUES     16
#define TOML_MAX_DOTTED_KEYS_DEPTH 1024

#include "base/toml_reader.h"

#include <toml++/toml.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

static_assert(TOML_MAX_NESTED_VALUES == TOML_DEPTH_MAX);
static_assert(TOML_MAX_DOTTED_KEYS_DEPTH == TOML_DOTS_MAX);

namespace
{

// The end of a string that starts at `pos`, or of the text if it does not end.
size_t skip_string(std::string_view text, size_t pos)
{
    const char quote = text[pos];
    const char triple[] = {quote, quote, quote};
    const bool multi = text.substr(pos, 3) == std::string_view(triple, 3);
    for (pos += multi ? 3 : 1; pos < text.size(); pos++) {
        if (text[pos] == '\\' && quote == '"')
            pos++;
        else if (!multi && (text[pos] == quote || text[pos] == '\n'))
            return pos + 1;
        else if (multi && text.substr(pos, 3) == std::string_view(triple, 3)) {
            // Up to two quotes may stand before the three that end it.
            pos += 3;
            while (pos < text.size() && text[pos] == quote)
                pos++;
            return pos;
        }
    }
    return text.size();
}

// The line of the dot that is one too many, or 0.
unsigned too_many_dots(std::string_view text)
{
    unsigned line = 1, dots = 0;
    for (size_t pos = 0; pos < text.size();) {
        const char c = text[pos];
        if (c == '"' || c == '\'') {
            const size_t end = skip_string(text, pos);
            for (; pos < end && pos < text.size(); pos++)
                line += text[pos] == '\n';
            continue;
        }
        if (c == '#') {
            pos = std::min(text.find('\n', pos), text.size());
            continue;
        }
        line += c == '\n';
        if (c == '.' && ++dots > TOML_DOTS_MAX)
            return line;
        pos++;
    }
    return 0;
}

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

int walk(const toml::table &table, const std::string &prefix, toml_fn fn, void *arg)
{
    for (const auto &item : table) {
        const std::string path = join(prefix, item.first);
        const toml_entry entry = make_entry(path.c_str(), item.second);
        int r = fn(&entry, arg);
        if (r == 0 && entry.type == TOML_TYPE_TABLE)
            r = walk(*item.second.as_table(), path, fn, arg);
        if (r != 0)
            return r;
    }
    return 0;
}

} // namespace

int toml_read(const char *text, size_t len, toml_fn fn, void *arg, toml_problem *problem)
{
    const std::string_view view(len ? text : "", len);
    if (const unsigned line = too_many_dots(view)) {
        set_problem(problem, line, "too many dots outside of strings");
        return -1;
    }
    const toml::parse_result result = toml::parse(view);
    if (!result) {
        const auto &why = result.error();
        set_problem(problem, static_cast<unsigned>(why.source().begin.line), why.description());
        return -1;
    }
    return walk(result.table(), std::string(), fn, arg);
}
