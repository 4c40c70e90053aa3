#include "base/id_map.h"

#include <errno.h>

bool id_map_valid(const struct id_map *m)
{
    return m->length > 0 && m->inside <= UINT32_MAX - m->length &&
           m->outside <= UINT32_MAX - m->length;
}

static bool equal(const struct id_map *a, const struct id_map *b)
{
    return a->length == b->length &&
           (!a->length || (a->inside == b->inside && a->outside == b->outside));
}

bool id_maps_equal(const struct id_maps *a, const struct id_maps *b)
{
    return equal(&a->uid, &b->uid) && equal(&a->gid, &b->gid);
}

int id_map_outside(const struct id_map *m, uint32_t inside, uint32_t *ret)
{
    if (m->length && (inside < m->inside || inside - m->inside >= m->length))
        return -ERANGE;
    *ret = m->length ? m->outside + (inside - m->inside) : inside;
    return 0;
}

// Reads one number and the byte behind it, which must be `end`.
static bool take_number(const char **text, char end, uint32_t *ret)
{
    uint64_t n = 0;
    const char *p = *text;
    for (; *p >= '0' && *p <= '9' && n <= UINT32_MAX; p++)
        n = n * 10 + (uint64_t)(*p - '0');
    if (p == *text || *p != end || n > UINT32_MAX)
        return false;
    *ret = (uint32_t)n;
    *text = p + 1;
    return true;
}

int id_map_parse(const char *text, struct id_map *ret)
{
    struct id_map m;
    if (!take_number(&text, ':', &m.inside) || !take_number(&text, ':', &m.outside) ||
        !take_number(&text, '\0', &m.length) || !id_map_valid(&m))
        return -EINVAL;
    *ret = m;
    return 0;
}
