/* Records of RecordIO-protobuf to rows, for the records that most streams are made of; compiled.py
   calls it. What is not just as expected here is left where it is: `records.py` takes the record
   that comes next by protobuf, or says what is wrong with it. Nothing is written behind the room
   given, whatever the bytes are. Little-endian processors only. */

#include <stdint.h>
#include <string.h>

#define MAGIC 0xCED7230Au
#define HEADER_BYTES 8
#define INFINITE 0x7F800000u /* the exponent of what is infinite or no number */
#define AT_ONCE 16           /* records that are looked at together */

typedef uint32_t bits4 __attribute__((vector_size(16)));

/* Where the values of records that are all alike lie, and the bytes that must not differ. */
typedef struct {
    const uint8_t *model;         /* a whole record */
    const int64_t *starts, *ends; /* of the constant bytes in it */
    int64_t n_constants, stride, values_start, n_features;
} layout;

/* Room for sparse rows. */
typedef struct {
    int64_t *ends; /* where each row's values end */
    int32_t *columns;
    float *values;
    float *labels;            /* n_labels for each row */
    int64_t n_rows, n_values; /* there is room for */
    int64_t n_labels;         /* that each row must have; any if negative, which are left out */
} room;

static uint32_t load4(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static bits4 load16(const void *at)
{
    bits4 value;
    memcpy(&value, at, 16);
    return value;
}

/* Returns zeros where n bytes are the same. */
static bits4 difference(const uint8_t *left, const uint8_t *right, int64_t n)
{
    if (n >= 16) {
        bits4 differ = load16(left + n - 16) ^ load16(right + n - 16);
        for (int64_t i = 0; i + 16 < n; i += 16)
            differ |= load16(left + i) ^ load16(right + i);
        return differ;
    }
    uint32_t differ = 0;
    for (int64_t i = 0; i < n; i++)
        differ |= left[i] ^ right[i];
    return (bits4){differ, 0, 0, 0};
}

/* Copies values; returns zeros where all are finite. */
static bits4 copy(const uint8_t *from, float *to, int64_t n)
{
    const bits4 infinite = {INFINITE, INFINITE, INFINITE, INFINITE};
    bits4 found = {0, 0, 0, 0};
    if (n < 4) {
        for (int64_t i = 0; i < n; i++)
            found[0] |= (load4(from + 4 * i) & INFINITE) == INFINITE;
        if (n) /* else there may be nothing at all to copy from */
            memcpy(to, from, (size_t)n * 4);
        return found;
    }
    for (int64_t i = 0; i + 4 < n; i += 4) {
        bits4 some = load16(from + 4 * i);
        found |= (bits4)((some & infinite) == infinite);
        memcpy(to + i, &some, 16);
    }
    bits4 last = load16(from + 4 * (n - 4)); /* some of which may have been copied already */
    found |= (bits4)((last & infinite) == infinite);
    memcpy(to + n - 4, &last, 16);
    return found;
}

static int any(bits4 found)
{
    return (found[0] | found[1] | found[2] | found[3]) != 0;
}

/* Copies the values of one record; returns zeros where it has the layout and finite values. */
static bits4 take(const uint8_t *record, const layout *is, float *out)
{
    bits4 bad = copy(record + is->values_start, out, is->n_features);
    for (int64_t i = 0; i < is->n_constants; i++) {
        int64_t start = is->starts[i];
        bad |= difference(record + start, is->model + start, is->ends[i] - start);
    }
    return bad;
}

/* Copies the values of AT_ONCE records; returns zeros where all have the layout and finite values. */
static bits4 take_some(const uint8_t *data, const layout *is, float *out)
{
    bits4 bad = {0, 0, 0, 0};
    for (int row = 0; row < AT_ONCE; row++)
        bad |= take(data + row * is->stride, is, out + row * is->n_features);
    return bad;
}

/* The same for records as most are: nothing constant but up to 32 bytes before the values. What
   does not change from record to record is kept in registers. */
static bits4 take_some_usual(const uint8_t *data, const layout *is, float *out)
{
    int64_t behind = is->ends[0] - 16, n = is->n_features;
    const bits4 first = load16(is->model), second = load16(is->model + behind);
    bits4 bad = {0, 0, 0, 0};
    for (int row = 0; row < AT_ONCE; row++) {
        bad |= (load16(data) ^ first) | (load16(data + behind) ^ second);
        bad |= copy(data + is->values_start, out, n);
        data += is->stride;
        out += n;
    }
    return bad;
}

/* Copies the values of up to n records; returns how many have the layout and finite values only,
   up to the first that has not. Behind that, `out` may be written to all the same. */
int64_t onepass_dense(const uint8_t *data, const layout *is, int64_t n, float *out)
{
    int64_t done = 0;
    int usual = is->n_constants == 1 && is->starts[0] == 0 && is->ends[0] >= 16
                && is->ends[0] <= 32 && is->n_features >= 4;
    for (; done + AT_ONCE <= n; done += AT_ONCE) {
        const uint8_t *from = data + done * is->stride;
        float *to = out + done * is->n_features;
        if (any(usual ? take_some_usual(from, is, to) : take_some(from, is, to)))
            break;
    }
    for (; done < n; done++)
        if (any(take(data + done * is->stride, is, out + done * is->n_features)))
            break;
    return done;
}

/* Bytes that are read forward; `at` is not moved beyond `end`. */
typedef struct {
    const uint8_t *at, *end;
} bytes;

static int varint(bytes *from, uint64_t *value)
{
    uint64_t found = 0;
    for (int shift = 0; shift < 64 && from->at < from->end; shift += 7) {
        uint8_t byte = *from->at++;
        found |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = found;
            return shift < 63 || byte < 2;
        }
    }
    return 0;
}

/* Reads a tag of one byte, which must be of a field with a length, and the field's bytes. */
static int field(bytes *from, uint8_t *tag, bytes *content)
{
    uint64_t length;
    if (from->at == from->end)
        return 0;
    *tag = *from->at++;
    if ((*tag & 7) != 2 || *tag >= 0x80 || !varint(from, &length))
        return 0;
    if (length > (uint64_t)(from->end - from->at))
        return 0;
    content->at = from->at;
    content->end = from->at += length;
    return 1;
}

#define FIELD(number) ((number) << 3 | 2)

/* Finds the one tensor of a kind, float32 or another, under the key "values" of an entry of a map. */
static int find_tensor_of(bytes entry, uint8_t *tag, bytes *tensor)
{
    bytes key, value;
    if (!field(&entry, tag, &key) || *tag != FIELD(1))
        return 0;
    if (key.end - key.at != 6 || memcmp(key.at, "values", 6))
        return 0;
    if (!field(&entry, tag, &value) || *tag != FIELD(2) || entry.at != entry.end)
        return 0;
    return field(&value, tag, tensor) && value.at == value.end;
}

static int find_tensor(bytes entry, bytes *tensor)
{
    uint8_t tag;
    return find_tensor_of(entry, &tag, tensor) && tag == FIELD(2);
}

/* Whether an entry holds numbers and nothing else, whatever they are. */
static int is_label(bytes entry)
{
    uint8_t tag, kind;
    bytes tensor, numbers;
    uint64_t number;
    if (!find_tensor_of(entry, &kind, &tensor))
        return 0;
    if (tensor.at == tensor.end)
        return kind == FIELD(2) || kind == FIELD(3) || kind == FIELD(7);
    if (!field(&tensor, &tag, &numbers) || tag != FIELD(1) || tensor.at != tensor.end)
        return 0;
    if (kind != FIELD(7))
        return kind == FIELD(2)   ? (numbers.end - numbers.at) % 4 == 0
               : kind == FIELD(3) ? (numbers.end - numbers.at) % 8 == 0
                                  : 0;
    while (numbers.at < numbers.end)
        if (!varint(&numbers, &number))
            return 0;
    return 1;
}

/* Finds the features of a record, and its label, which is empty where there is none. */
static int find_tensors(bytes payload, int with_label, bytes *features, bytes *label)
{
    uint8_t tag;
    bytes entry;
    int n_features = 0, n_labels = 0;
    label->at = label->end = payload.end;
    while (payload.at < payload.end) {
        if (!field(&payload, &tag, &entry))
            return 0;
        if (tag == FIELD(1)) {
            if (n_features++ || !find_tensor(entry, features))
                return 0;
        } else if (tag != FIELD(2)) {
            return 0;
        } else if (with_label ? n_labels++ || !find_tensor(entry, label) : !is_label(entry)) {
            return 0;
        }
    }
    return n_features;
}

/* A tensor's fields, each of which may be empty but does not occur twice. */
static int split_tensor(bytes tensor, bytes fields[3])
{
    uint8_t tag;
    int seen = 0;
    memset(fields, 0, 3 * sizeof *fields);
    while (tensor.at < tensor.end) {
        bytes part;
        if (!field(&tensor, &tag, &part))
            return 0;
        int which = (tag >> 3) - 1;
        if (which < 0 || which > 2 || seen & 1 << which)
            return 0;
        seen |= 1 << which;
        fields[which] = part;
    }
    return 1;
}

/* Reads keys, which must rise, and values, which must be finite; returns how many, or -1. */
static int64_t read_pairs(bytes keys, bytes values, uint64_t n_features, int32_t *columns,
                          float *out)
{
    int64_t n = (values.end - values.at) / 4;
    int64_t before = -1;
    for (int64_t i = 0; i < n; i++) {
        uint64_t key;
        if (keys.at < keys.end && *keys.at < 0x80)
            key = *keys.at++;
        else if (!varint(&keys, &key))
            return -1;
        if (key >= n_features || (int64_t)key <= before)
            return -1;
        before = (int64_t)key;
        columns[i] = (int32_t)key;
    }
    if (keys.at != keys.end || any(copy(values.at, out, n)))
        return -1;
    return n;
}

/* Leaves the zeros of dense values out; returns how many are left, or -1. */
static int64_t read_dense(bytes values, int32_t *columns, float *out)
{
    int64_t n = (values.end - values.at) / 4, n_left = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = load4(values.at + 4 * i);
        if ((bits & INFINITE) == INFINITE)
            return -1;
        columns[n_left] = (int32_t)i;
        memcpy(out + n_left, &bits, 4);
        n_left += (bits << 1) != 0;
    }
    return n_left;
}

static int64_t read_tensor(bytes tensor, int64_t n_features, int32_t *columns, float *out)
{
    bytes fields[3];
    uint64_t width;
    if (!split_tensor(tensor, fields) || (fields[0].end - fields[0].at) % 4)
        return -1;
    int has_shape = fields[2].at != fields[2].end;
    if (has_shape && (!varint(&fields[2], &width) || fields[2].at != fields[2].end
                      || width != (uint64_t)n_features))
        return -1;
    int has_keys = fields[1].at != fields[1].end;
    int64_t n = (fields[0].end - fields[0].at) / 4;
    if (!has_keys && n == n_features)
        return read_dense(fields[0], columns, out);
    if (!has_shape || (n && !has_keys))
        return -1;
    return read_pairs(fields[1], fields[0], (uint64_t)n_features, columns, out);
}

/* Reads n numbers of a label, which must be finite; returns whether it is just that. */
static int read_label(bytes tensor, int64_t n, float *out)
{
    uint8_t tag;
    bytes numbers;
    if (tensor.at == tensor.end)
        return n == 0;
    if (!field(&tensor, &tag, &numbers) || tag != FIELD(1) || tensor.at != tensor.end)
        return 0;
    return numbers.end - numbers.at == 4 * n && !any(copy(numbers.at, out, n));
}

/* Decodes whole records, each in one frame, to sparse rows of n_features values, up to the first
   that is not just so, or that there may be no room for: a value for each four bytes of its
   payload. `n_done` gets the bytes that are done with. Returns the number of rows. */
int64_t onepass_sparse(const uint8_t *data, int64_t n_bytes, int64_t n_features, const room *to,
                       int64_t *n_done)
{
    int64_t place = 0, row = 0, n_values = 0;
    for (; row < to->n_rows && n_bytes - place >= HEADER_BYTES; row++) {
        int64_t length = load4(data + place + 4); /* and, above 29 bits, the kind of frame */
        int64_t start = place + HEADER_BYTES, padded = length + (-length & 3);
        if (load4(data + place) != MAGIC || length >> 29 || padded > n_bytes - start)
            break; /* of several frames, or not whole, or the last one without its padding */
        if (length / 4 > to->n_values - n_values)
            break;
        bytes payload = {data + start, data + start + length}, features, label;
        if (!find_tensors(payload, to->n_labels >= 0, &features, &label))
            break;
        int64_t n = read_tensor(features, n_features, to->columns + n_values,
                                to->values + n_values);
        if (n < 0)
            break;
        if (to->n_labels >= 0 && !read_label(label, to->n_labels, to->labels + row * to->n_labels))
            break;
        n_values += n;
        to->ends[row] = n_values;
        place = start + padded;
    }
    *n_done = place;
    return row;
}
