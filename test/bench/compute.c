// A program that only computes, for the speed of the code that an engine has made: lists, matrices,
// a scanner that is a state machine, and checksums, as small devices run them.
//
//   compute ROUNDS    prints the nanoseconds it took and a checksum of all that was computed
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ITEMS   512
#define SIDE    32
#define LETTERS 4096

// A sequence that looks random: the same for the same seed.
static uint32_t next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

// ---- checksums ----------------------------------------------------------------------------------

// CRC-32, bit by bit.
static uint32_t crc(uint32_t sum, uint32_t value)
{
    sum ^= value;
    for (int bit = 0; bit < 32; bit++)
        sum = (sum >> 1) ^ (0xedb88320u & -(sum & 1));
    return sum;
}

// ---- lists --------------------------------------------------------------------------------------

struct item {
    struct item *next;
    uint32_t key, value;
};

static struct item items[ITEMS];

static struct item *merge(struct item *a, struct item *b)
{
    struct item *first = NULL, **end = &first;
    while (a && b) {
        struct item **least = a->key <= b->key ? &a : &b;
        *end = *least;
        end = &(*least)->next;
        *least = (*least)->next;
    }
    *end = a ? a : b;
    return first;
}

// Sorts the first n, and cuts off what is behind them.
static struct item *sort(struct item *list, size_t n)
{
    struct item *middle = list;
    if (n == 1) {
        list->next = NULL;
        return list;
    }
    for (size_t i = 0; i < n / 2; i++)
        middle = middle->next;
    middle = sort(middle, n - n / 2);
    return merge(sort(list, n / 2), middle);
}

static struct item *reverse(struct item *list)
{
    struct item *done = NULL;
    while (list) {
        struct item *rest = list->next;
        list->next = done;
        done = list;
        list = rest;
    }
    return done;
}

static const struct item *find(const struct item *list, uint32_t key)
{
    while (list && list->key != key)
        list = list->next;
    return list;
}

static uint32_t lists(uint32_t seed)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < ITEMS; i++)
        items[i] =
            (struct item){i + 1 < ITEMS ? &items[i + 1] : NULL, next(&seed) % 1000, (uint32_t)i};
    struct item *list = reverse(sort(items, ITEMS));
    for (uint32_t key = 0; key < 1000; key += 40) {
        const struct item *found = find(list, key);
        sum += found ? found->value : key;
    }
    for (list = sort(list, ITEMS); list; list = list->next)
        sum = sum * 31 + list->value;
    return sum;
}

// ---- matrices -----------------------------------------------------------------------------------

static int32_t a[SIDE][SIDE], b[SIDE][SIDE], product[SIDE][SIDE];

static uint32_t matrices(uint32_t seed)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < SIDE; i++) {
        for (size_t j = 0; j < SIDE; j++) {
            a[i][j] = (int16_t)next(&seed);
            b[i][j] = (int8_t)next(&seed);
        }
    }
    for (size_t i = 0; i < SIDE; i++) {
        for (size_t j = 0; j < SIDE; j++) {
            int32_t cell = 0;
            for (size_t k = 0; k < SIDE; k++)
                cell += a[i][k] * b[k][j];
            product[i][j] = cell;
        }
    }
    for (size_t i = 0; i < SIDE; i++) {
        for (size_t j = 0; j < SIDE; j++)
            sum += (uint32_t)(product[i][j] >> 4) & 0xffff;
    }
    return sum;
}

// ---- a state machine ----------------------------------------------------------------------------

// What a word is so far, as a number in C.
enum state { START, SIGN, WHOLE, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, POWER, WRONG, N_STATES };

static char text[LETTERS];

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static enum state step(enum state state, char c)
{
    switch (state) {
    case START:
        return is_digit(c) ? WHOLE : c == '+' || c == '-' ? SIGN : c == '.' ? POINT : WRONG;
    case SIGN:
        return is_digit(c) ? WHOLE : c == '.' ? POINT : WRONG;
    case WHOLE:
        return is_digit(c) ? WHOLE : c == '.' ? FRACTION : c == 'e' ? EXPONENT : WRONG;
    case POINT:
        return is_digit(c) ? FRACTION : WRONG;
    case FRACTION:
        return is_digit(c) ? FRACTION : c == 'e' ? EXPONENT : WRONG;
    case EXPONENT:
        return is_digit(c) ? POWER : c == '+' || c == '-' ? EXPONENT_SIGN : WRONG;
    case EXPONENT_SIGN:
    case POWER:
        return is_digit(c) ? POWER : WRONG;
    default:
        return WRONG;
    }
}

static uint32_t scanner(uint32_t seed)
{
    static const char letters[] = "0123456789012345+-.e ,x   ";
    uint32_t ends[N_STATES] = {0}, steps[N_STATES] = {0}, sum = 0;
    enum state state = START;
    for (size_t i = 0; i < LETTERS; i++)
        text[i] = letters[next(&seed) % (sizeof(letters) - 1)];
    for (size_t i = 0; i < LETTERS; i++) {
        if (text[i] == ' ' || text[i] == ',') {
            ends[state]++;
            state = START;
        } else {
            state = step(state, text[i]);
            steps[state]++;
        }
    }
    for (size_t i = 0; i < N_STATES; i++)
        sum = crc(crc(sum, ends[i]), steps[i]);
    return sum;
}

// ---- all of it ----------------------------------------------------------------------------------

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
    uint32_t sum = 1;
    long rounds = argc > 1 ? atol(argv[1]) : 1;
    uint64_t begin = now();
    for (long i = 0; i < rounds; i++) {
        sum = crc(sum, lists(sum | 1));
        sum = crc(sum, matrices(sum | 1));
        sum = crc(sum, scanner(sum | 1));
    }
    printf("%llu %08x\n", (unsigned long long)(now() - begin), (unsigned)sum);
    return 0;
}
