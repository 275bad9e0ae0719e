/* Dependent quantization: the levels along the shortest path through a trellis.
 *
 * Pure loops over memory that the caller owns; nothing is allocated. */
#ifndef DCZ_TRELLIS_H
#define DCZ_TRELLIS_H

#include <stddef.h>
#include <stdint.h>

#define DCZ_TRELLIS_STATES 64
#define DCZ_TRELLIS_CLASSES 32
#define DCZ_TRELLIS_LEVELS 24
#define DCZ_TRELLIS_REACH 65536.0 /* half steps */

/* The machine: for each state its two predecessors, and what is added to their cost, as
 * 2 * (state before & 1) + parity of the level. */
typedef struct {
    unsigned states;
    uint8_t before[DCZ_TRELLIS_STATES][2];
    uint8_t way[DCZ_TRELLIS_STATES][2];
} dcz_machine;

/* What a run through the values needs for each of them. */
typedef struct {
    uint16_t levels[4]; /* the best magnitude of each way */
    uint64_t second;   /* for each state whether its second predecessor is the nearer */
} dcz_choice;

typedef struct {
    const void *values;
    int wide; /* whether values are doubles */
    int closed; /* whether the path ends in state 0, where it begins */
    size_t count;
    double scale;           /* half steps to a unit */
    const uint8_t *classes; /* below DCZ_TRELLIS_CLASSES */
    const double *rates;    /* [classes][2][levels] */
} dcz_weighted;

/* Sets up a machine; 0 unless each state has two predecessors. */
int dcz_make_machine(dcz_machine *machine, unsigned states, unsigned odd, unsigned low);

/* Finds the positions, in half steps, and counts the levels by class, parity of the state and
 * magnitude. Returns 0 if a value or a class is out of range. */
int dcz_quantize_trellis(const dcz_machine *machine, const dcz_weighted *w, dcz_choice *choices,
                         int32_t *positions, int64_t *counts);

#endif
