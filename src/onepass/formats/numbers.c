/* Rows of decimal numbers to float32, for text that is written as nearly all of it is; numbers.py
   calls it. What is not just as expected here is left where it is: the readers in Python take it,
   or say what is wrong with it. Every number is rounded to the nearest double, then to the nearest
   float, as they do. Nothing is read or written beyond what is given. Little-endian processors
   only, whose doubles are not wider in registers. */

#define _GNU_SOURCE /* strtod_l */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

#if FLT_EVAL_METHOD != 0
#error "a product or quotient of doubles must be rounded once"
#endif

#define MOST_DIGITS 19    /* that any 64 bits hold */
#define MOST_OF_POWER 4   /* digits of an exponent: more are left to others */
#define LONGEST 512       /* characters of a number */
#define LEAST_POWER (-64) /* of ten, in the table */
#define LARGEST_POWER 40
#define EXACT_POWER 22    /* of ten, which a double holds to the last bit */
#define LEAST_NORMAL 0x1p-126
#define MOST_FINITE 0x1.fffffep127
#define INFINITE 0x7F800000u

/* How the numbers of a text stand in it. */
typedef struct {
    const uint8_t *between; /* what stands between two rows, as a comma between two numbers */
    int64_t n_between;      /* zero where there is one row */
    int64_t n_columns;
    int64_t n_dropped; /* of them, the first of each row */
    int64_t lines;     /* whether a blank is no line end, but for CR before LF */
    int64_t lax;       /* whether numbers may be written like +1, .5, 5. and 007 */
    int64_t may_end;   /* whether what is between rows may be behind the last */
} form;

static const uint64_t TENS[] = {1,      10,      100,      1000,     10000,
                                100000, 1000000, 10000000, 100000000};

static double POWERS[LARGEST_POWER - LEAST_POWER + 1]; /* the doubles nearest to those of ten */
static locale_t WITH_POINT; /* in which a number has a point, whatever the process has chosen */

__attribute__((constructor)) static void prepare(void)
{
    WITH_POINT = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    for (int power = LEAST_POWER; WITH_POINT && power <= LARGEST_POWER; power++) {
        char text[8];
        snprintf(text, sizeof text, "1e%d", power);
        POWERS[power - LEAST_POWER] = strtod_l(text, NULL, WITH_POINT);
    }
}

/* Returns how many of eight characters are digits, before the first that is none. */
static inline int count_digits(uint64_t some)
{
    some ^= 0x3030303030303030u; /* digits are 0 to 9 now */
    uint64_t others = (((some & 0x7F7F7F7F7F7F7F7Fu) + 0x7676767676767676u) | some)
                      & 0x8080808080808080u;
    return others ? __builtin_ctzll(others) >> 3 : 8;
}

/* Returns the value of the first n of eight characters, which are digits. */
static inline uint64_t value_of(uint64_t some, int n)
{
    /* In two steps, so that none is as wide as it all. Zeros come before them. */
    some = (some ^ 0x3030303030303030u) << (4 * (8 - n)) << (4 * (8 - n));
    some = some * 10 + (some >> 8); /* pairs of them, in every other byte */
    return (uint32_t)(((some & 0x000000FF000000FFu) * 0x000F424000000064u
                       + ((some >> 16) & 0x000000FF000000FFu) * 0x0000271000000001u) >> 32);
}

/* Reads digits behind those that `value` has, and returns where they end. It is no value any more
   where there are more than MOST_DIGITS. */
static inline const uint8_t *read_digits(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    while (end - at >= 16) {
        uint64_t first, second;
        memcpy(&first, at, 8);
        memcpy(&second, at + 8, 8);
        int n = count_digits(first), m = count_digits(second);
        m = n == 8 ? m : 0;
        *value = (*value * TENS[n] + value_of(first, n)) * TENS[m] + value_of(second, m);
        at += n + m;
        if (n + m < 16)
            return at;
    }
    for (; at < end && (uint8_t)(*at - '0') < 10; at++)
        *value = *value * 10 + (uint64_t)(*at - '0');
    return at;
}

/* Finds value * 10^power, rounded to the nearest double and then to the nearest float; returns
   whether it is found here. */
static inline int scale(uint64_t value, int power, float *out)
{
    if (power < LEAST_POWER || power > LARGEST_POWER)
        return 0;
    /* Three roundings, so that it is off by three units of the last bit at most. That does not
       matter to the float, unless it is about halfway between two. */
    double about = (double)value * POWERS[power - LEAST_POWER];
    uint64_t bits;
    memcpy(&bits, &about, 8);
    uint32_t from_half = ((uint32_t)bits & 0x1FFFFFFFu) - 0x0FFFFFF8u;
    if (about >= LEAST_NORMAL && about <= MOST_FINITE && from_half > 16) {
        *out = (float)about;
        return 1;
    }
    if (value > (uint64_t)1 << 53 || power < -EXACT_POWER || power > EXACT_POWER)
        return 0;
    /* Both are doubles, so that the only rounding is that of the result. */
    double ten = POWERS[abs(power) - LEAST_POWER];
    *out = (float)(power < 0 ? (double)value / ten : (double)value * ten);
    return 1;
}

/* As `scale`, for every number and slowly. */
static int parse(const uint8_t *start, const uint8_t *end, float *out)
{
    char text[LONGEST + 1], *stop;
    if (end - start > LONGEST || !WITH_POINT)
        return 0;
    memcpy(text, start, (size_t)(end - start));
    text[end - start] = 0;
    *out = fabsf((float)strtod_l(text, &stop, WITH_POINT));
    return stop == text + (end - start);
}

static inline int is_digit(const uint8_t *at, const uint8_t *end)
{
    return at < end && (uint8_t)(*at - '0') < 10;
}

/* Reads the power behind an e, and returns where it ends, or NULL. */
static const uint8_t *read_power(const uint8_t *at, const uint8_t *end, int *power)
{
    int negative = at < end && *at == '-', value = 0;
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    const uint8_t *digits = at;
    for (; is_digit(at, end) && at - digits < MOST_OF_POWER; at++)
        value = value * 10 + (*at - '0');
    if (at == digits || is_digit(at, end))
        return NULL;
    *power = negative ? -value : value;
    return at;
}

/* Reads one finite number and returns where it ends, or NULL. */
static inline const uint8_t *read_number(const uint8_t *at, const uint8_t *end, int lax, float *out)
{
    const uint8_t *start = at;
    if (at == end)
        return NULL;
    uint32_t negative = *at == '-';
    at += negative | (uint32_t)(lax & (*at == '+'));
    uint64_t value = 0;
    const uint8_t *whole = at;
    while (is_digit(at, end) && at - whole < 8) /* few, mostly: one by one is fastest */
        value = value * 10 + (uint64_t)(*at++ - '0');
    if (at - whole == 8)
        at = read_digits(at, end, &value);
    int64_t n_digits = at - whole, n_behind = 0;
    if (!lax && (!n_digits || (n_digits > 1 && *whole == '0')))
        return NULL;
    if (at < end && *at == '.') {
        const uint8_t *fraction = ++at;
        at = read_digits(at, end, &value);
        n_behind = at - fraction;
        if (!lax && !n_behind)
            return NULL;
    }
    n_digits += n_behind;
    if (!n_digits || n_digits > LONGEST)
        return NULL;
    if (n_digits > MOST_DIGITS) /* zeros before them do not count */
        for (const uint8_t *zero = whole; zero < at && (*zero == '0' || *zero == '.'); zero++)
            n_digits -= *zero == '0';
    int power = 0;
    if (at < end && (*at | 0x20) == 'e' && !(at = read_power(at + 1, end, &power)))
        return NULL;
    float number;
    if (n_digits > MOST_DIGITS || !scale(value, power - (int)n_behind, &number))
        if (!parse(start, at, &number))
            return NULL;
    uint32_t bits;
    memcpy(&bits, &number, 4);
    if (bits >= INFINITE)
        return NULL;
    bits |= negative << 31;
    memcpy(out, &bits, 4);
    return at;
}

static inline int is_blank(const uint8_t *at, const uint8_t *end, int lines)
{
    if (*at == '\r')
        return !lines || (at + 1 < end && at[1] == '\n');
    return *at == ' ' || *at == '\t' || (*at == '\n' && !lines);
}

static inline const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end, int lines)
{
    while (at < end && *at <= ' ' && is_blank(at, end, lines))
        at++;
    return at;
}

/* Reads a row and returns where it ends, or NULL. */
static inline const uint8_t *read_row(const uint8_t *at, const uint8_t *end, const form *how,
                                      int lax, float *out)
{
    int lines = how->lines != 0;
    float dropped;
    for (int64_t column = 0; column < how->n_columns; column++) {
        if (column) {
            if (at == end || *at != ',')
                return NULL;
            at++;
        }
        float *to = column < how->n_dropped ? &dropped : out + (column - how->n_dropped);
        at = read_number(skip_blanks(at, end, lines), end, lax, to);
        if (!at)
            return NULL;
        at = skip_blanks(at, end, lines);
    }
    return at;
}

/* Reads a text that is rows of numbers to its end. Returns the number of rows; -1 where it is
   anything else, or has more than n_rows. */
int64_t onepass_numbers(const uint8_t *text, int64_t n_bytes, const form *how, int64_t n_rows,
                        float *out)
{
    const uint8_t *at = text, *end = text + n_bytes;
    int64_t n_features = how->n_columns - how->n_dropped;
    for (int64_t row = 0; row < n_rows; row++, out += n_features) {
        at = how->lax ? read_row(at, end, how, 1, out) : read_row(at, end, how, 0, out);
        if (!at)
            return -1;
        if (at == end)
            return row + 1;
        if (!how->n_between || end - at < how->n_between
            || memcmp(at, how->between, (size_t)how->n_between))
            return -1;
        at += how->n_between;
        if (at == end && how->may_end)
            return row + 1;
    }
    return -1;
}
