// What followed the latest of the longest matches of a text's last tokens in the text itself, a text
// a row, or else in other texts. Behind a text's own end it goes on as from the match.
//
// In tensors this compares all places of all texts at once, some twenty operators over as many
// elements as there are tokens. One loop backwards over each text ends at the first match that
// cannot be beaten, and copies no text.
//
// Plain C interface, no torch headers: it compiles in a second.
#include <algorithm>
#include <cstdint>

constexpr int64_t NOTHING = -1;  // ends each of the other texts

struct Found {
    int64_t end, agreed;  // behind a match, and its tokens
};

// how many tokens before `end` are the last of `text`, of at most `longest`
template <typename T, typename U>
static int64_t agreement(const U *place, int64_t end, const T *text, int64_t length,
                         int64_t longest) {
    longest = std::min(longest, std::min(end, length));
    int64_t n = 0;
    while (n < longest && place[end - 1 - n] == text[length - 1 - n]) ++n;
    return n;
}

// the latest of the longest of more than `least` tokens; ends at `length` if there is none
template <typename T>
static Found within(const T *text, int64_t length, int64_t longest, int64_t least) {
    Found found{length, least};
    for (int64_t end = length - 1; end > 0 && found.agreed < longest; --end) {
        if (text[end - 1] != text[length - 1]) continue;
        const int64_t n = agreement(text, end, text, length, longest);
        if (n > found.agreed) found = {end, n};
    }
    return found;
}

// the same in another text; ends at 0 if there is none
template <typename T>
static Found within(const int64_t *other, const T *text, int64_t length, int64_t longest,
                    int64_t least) {
    Found found{0, least};
    if (other[0] == NOTHING) return found;
    for (int64_t end = 1; other[end] != NOTHING; ++end) {
        if (other[end - 1] != text[length - 1]) continue;
        const int64_t n = agreement(other, end, text, length, longest);
        if (n > least && n >= found.agreed) found = {end, n};
    }
    return found;
}

// texts [*, stride], rows [batch] of them, lengths [batch], others [count, others_stride], of which
// a row looks in those of seen [batch, count] for at least `least` tokens -> tokens [batch, depth]
// that followed, sizes [batch] how many did, agreed [batch] at least 1, one less than in others
template <typename T>
static void look_up(const T *texts, int64_t stride, const int64_t *others, int64_t count,
                    int64_t others_stride, const bool *seen, const int64_t *rows,
                    const int64_t *lengths, int64_t batch, int64_t longest, int64_t shortest,
                    int64_t least, int64_t depth, int64_t *tokens, int64_t *sizes,
                    int64_t *agreed) {
    for (int64_t b = 0; b < batch; ++b, tokens += depth, seen += count) {
        const T *text = texts + rows[b] * stride;
        const int64_t length = lengths[b];
        Found found = within(text, length, longest, shortest - 1);
        const bool own = found.end < length;
        for (int64_t i = 0; i < depth; ++i)
            tokens[i] = own ? text[found.end + i % (length - found.end)] : 0;
        sizes[b] = own ? depth : 0;
        const int64_t *best = nullptr;
        for (int64_t i = count - 1; i >= 0 && found.agreed < longest; --i) {
            if (!seen[i]) continue;
            const int64_t *other = others + i * others_stride;
            const int64_t beat = std::max(found.agreed, least - 1);
            const Found there = within(other, text, length, longest, beat);
            if (there.end) best = other + there.end, found = there;
        }
        agreed[b] = std::max<int64_t>(best ? found.agreed - 1 : own ? found.agreed : 1, 1);
        if (!best) continue;
        for (sizes[b] = 0; sizes[b] < depth && best[sizes[b]] != NOTHING; ++sizes[b])
            tokens[sizes[b]] = best[sizes[b]];
    }
}

#define OF(T, NAME)                                                                              \
    extern "C" void NAME(const T *texts, int64_t stride, const int64_t *others, int64_t count,   \
                         int64_t others_stride, const bool *seen, const int64_t *rows,           \
                         const int64_t *lengths, int64_t batch, int64_t longest,                 \
                         int64_t shortest, int64_t least, int64_t depth, int64_t *tokens,        \
                         int64_t *sizes, int64_t *agreed) {                                      \
        look_up(texts, stride, others, count, others_stride, seen, rows, lengths, batch,         \
                longest, shortest, least, depth, tokens, sizes, agreed);                         \
    }
OF(int32_t, look_up_int32)
OF(int64_t, look_up_int64)
