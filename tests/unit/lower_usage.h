/*
 * The reader of token usage once more, on the code path that HAI_USAGE_SIMD
 * names, as lower_usage_init() and lower_usage_feed().
 */

#ifndef HAI_LOWER_USAGE_H
#define HAI_LOWER_USAGE_H

#define hai_usage_init lower_usage_init
#define hai_usage_feed lower_usage_feed
#define hai_usage_json_reset lower_usage_json_reset
#define hai_usage_json_feed lower_usage_json_feed
#define hai_usage_look_up lower_usage_look_up
#define hai_usage_whole lower_usage_whole

#include "hai_usage.c"
#include "hai_usage_json.c"
#include "hai_usage_whole.c"

#undef hai_usage_init
#undef hai_usage_feed

void hai_usage_init(struct hai_usage_scan *us, enum hai_usage_kind kind);
void hai_usage_feed(struct hai_usage_scan *us, const void *data, size_t n);

#endif
