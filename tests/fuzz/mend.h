// For targets of kpd's container, behind the implementation of kpd.h.
#ifndef MEND_H
#define MEND_H

// Header and table sums are made right, so that the checks behind them are reached.
static void mend(uint8_t *data, size_t size) {
    kpd__header *h = (kpd__header *)(void *)data;
    if (size < 64) return;
    memcpy(h->magic, kpd__magic, 8);
    h->major = KPD__FORMAT; h->order = 0x01020304; h->size = size;
    if (h->n_sections <= (size - 64) / 128) {
        kpd__section *s = (kpd__section *)(void *)(data + 64);
        for (uint32_t i = 0; i < h->n_sections; i++) s[i].flags &= ~(uint32_t)KPD__SUMMED;
        h->table_sum = kpd__hash64(s, (size_t)h->n_sections * 128);
    }
    h->sum = kpd__hash64(h, 56);
}
#endif
