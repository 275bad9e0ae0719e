/* Dependent quantization; reference/encode/trellis.py says the same in NumPy. */
#include "trellis.h"

#include <math.h>
#include <string.h>

#define LEVELS DCZ_TRELLIS_LEVELS

int dcz_make_machine(dcz_machine *machine, unsigned states, unsigned odd, unsigned low)
{
    unsigned found[DCZ_TRELLIS_STATES] = {0};
    machine->states = states;
    for (unsigned state = 0; state < states; state++) {
        for (unsigned parity = 0; parity < 2; parity++) {
            unsigned next = state >> 1 ^ (parity ? odd : 0) ^ (state & 1 ? low : 0);
            if (next >= states || found[next] == 2) return 0;
            machine->before[next][found[next]] = (uint8_t)state;
            machine->way[next][found[next]++] = (uint8_t)(2 * (state & 1) + parity);
        }
    }
    return 1;
}

static inline double value_at(const dcz_weighted *w, size_t i)
{
    return w->wide ? ((const double *)w->values)[i] : (double)((const float *)w->values)[i];
}

static inline void consider(int32_t level, double size, unsigned low, const double *rates,
                            uint16_t *best, double *cost)
{
    double apart, sum;
    if (level < 0) return;
    apart = size - (level > 0 ? 2.0 * level - low : 0.0);
    sum = apart * apart + rates[level < LEVELS ? level : LEVELS - 1];
    if (sum < *cost) {
        *cost = sum;
        *best = (uint16_t)level;
    }
}

/* The best magnitude, and its cost, of each way: a zero stays zero. */
static void find_candidates(double size, const double *rates, uint16_t *levels, double *costs)
{
    for (unsigned low = 0; low < 2; low++, rates += LEVELS) {
        int32_t nearest = (int32_t)((size + low) * 0.5);
        for (int parity = 0; parity < 2; parity++) {
            unsigned way = 2 * low + (unsigned)parity;
            int32_t below = nearest - ((nearest & 1) != parity);
            levels[way] = 0;
            costs[way] = INFINITY;
            if (parity && size == 0.0) continue;
            consider(below, size, low, rates, &levels[way], &costs[way]);
            consider(below + 2, size, low, rates, &levels[way], &costs[way]);
            consider(below - 2, size, low, rates, &levels[way], &costs[way]);
            consider(parity ? -1 : 0, size, low, rates, &levels[way], &costs[way]);
        }
    }
}

static inline uint64_t step(const dcz_machine *m, const double *reached, const double *costs,
                            double *next)
{
    uint64_t second = 0;
    for (unsigned state = 0; state < m->states; state++) {
        double a = reached[m->before[state][0]] + costs[m->way[state][0]];
        double b = reached[m->before[state][1]] + costs[m->way[state][1]];
        second |= (uint64_t)(b < a) << state;
        next[state] = b < a ? b : a;
    }
    return second;
}

/* Follows the path back from the state that was reached at the least cost. */
static void trace(const dcz_machine *m, const dcz_weighted *w, const dcz_choice *choices,
                  unsigned state, int32_t *positions, int64_t *counts)
{
    for (size_t i = w->count; i-- > 0;) {
        unsigned second = (unsigned)(choices[i].second >> state & 1);
        unsigned way = m->way[state][second], low = way >> 1;
        int32_t level = choices[i].levels[way];
        int32_t position = level > 0 ? 2 * level - (int32_t)low : 0;
        positions[i] = value_at(w, i) < 0.0 ? -position : position;
        counts[(2 * w->classes[i] + low) * LEVELS + (level < LEVELS ? level : LEVELS - 1)]++;
        state = m->before[state][second];
    }
}

int dcz_quantize_trellis(const dcz_machine *machine, const dcz_weighted *w, dcz_choice *choices,
                         int32_t *positions, int64_t *counts)
{
    double reached[2][DCZ_TRELLIS_STATES], costs[4];
    unsigned best = 0;
    for (unsigned state = 0; state < machine->states; state++)
        reached[0][state] = state ? INFINITY : 0.0;
    for (size_t i = 0; i < w->count; i++) {
        double size = fabs(value_at(w, i) * w->scale);
        if (!(size < DCZ_TRELLIS_REACH) || w->classes[i] >= DCZ_TRELLIS_CLASSES) return 0;
        find_candidates(size, w->rates + 2 * LEVELS * w->classes[i], choices[i].levels, costs);
        choices[i].second = step(machine, reached[i & 1], costs, reached[~i & 1]);
    }
    for (unsigned state = 1; state < machine->states && !w->closed; state++)
        if (reached[w->count & 1][state] < reached[w->count & 1][best]) best = state;
    memset(counts, 0, 2 * DCZ_TRELLIS_CLASSES * LEVELS * sizeof *counts);
    trace(machine, w, choices, best, positions, counts);
    return 1;
}
