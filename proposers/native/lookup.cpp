// The latest of the longest matches of a text's last tokens in the text itself, a text a row.
//
// In tensors this compares all places of all texts at once, some twenty operators over as many
// elements as there are tokens. One loop backwards over each text ends at the first match that
// cannot be beaten, and copies no text.
//
// Plain C interface, no torch headers: it compiles in a second.
#include <algorithm>
#include <cstdint>

template <typename T>
static int64_t agreement(const T *text, int64_t end, int64_t length, int64_t longest) {
    int64_t n = 0;
    while (n < longest && n < end && text[end - 1 - n] == text[length - 1 - n]) ++n;
    return n;
}

// texts [*, stride], rows [batch] of them, lengths [batch] ->
// tokens [batch, depth] that followed, sizes [batch] how many did, agreed [batch] at least 1
template <typename T>
static void look_up(const T *texts, int64_t stride, const int64_t *rows, const int64_t *lengths,
                    int64_t batch, int64_t longest, int64_t shortest, int64_t depth,
                    int64_t *tokens, int64_t *sizes, int64_t *agreed) {
    for (int64_t b = 0; b < batch; ++b) {
        const T *text = texts + rows[b] * stride;
        const int64_t length = lengths[b];
        int64_t best = shortest - 1, at = length;
        for (int64_t end = length - 1; end > 0 && best < longest; --end) {
            if (text[end - 1] != text[length - 1]) continue;
            const int64_t n = agreement(text, end, length, longest);
            if (n > best) best = n, at = end;
        }
        sizes[b] = std::min(length - at, depth);
        agreed[b] = at < length ? best : 1;
        for (int64_t i = 0; i < depth; ++i) tokens[b * depth + i] = i < sizes[b] ? text[at + i] : 0;
    }
}

#define OF(T, NAME)                                                                              \
    extern "C" void NAME(const T *texts, int64_t stride, const int64_t *rows,                    \
                         const int64_t *lengths, int64_t batch, int64_t longest,                 \
                         int64_t shortest, int64_t depth, int64_t *tokens, int64_t *sizes,       \
                         int64_t *agreed) {                                                      \
        look_up(texts, stride, rows, lengths, batch, longest, shortest, depth, tokens, sizes,    \
                agreed);                                                                         \
    }
OF(int32_t, look_up_int32)
OF(int64_t, look_up_int64)
