/*
 * Scripts, see store.h.  An error ends a script where it is, and what it did
 * before stays: each one therefore makes the new thing before it takes the
 * old one away.
 */

#include "store.h"

#include "clock.h"
#include "policy.h"

/* KEYS: events, retry, data, seen, dead.
 * ARGV: group, id, eid, now, delivery, the most deliveries, dead letters and
 * entries, then derived entries.  Where the retry list cannot be written there
 * is no data without a place in it. */
static const char commit[] =
    "local seen = ARGV[3] ~= '' and redis.call('ZSCORE', KEYS[4], ARGV[3])\n"
    "if not seen then\n"
    "  if ARGV[5] ~= ''"
    " and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[6]) then\n"
    "    local d = cjson.decode(ARGV[5])\n"
    "    redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[7], '*',"
    " 'id', ARGV[2], 'eid', ARGV[3], 'rule', d.rule, 'attempts', 0,"
    " 'error', 'too many deliveries wait', 'ts', ARGV[4],"
    " 'payload', d.payload)\n"
    "  elseif ARGV[5] ~= '' then\n"
    "    redis.call('ZADD', KEYS[2], ARGV[4], ARGV[2])\n"
    "    redis.call('HSET', KEYS[3], ARGV[2], ARGV[5])\n"
    "  end\n"
    "  local i = 9\n"
    "  while i <= #ARGV do\n"
    "    local n = tonumber(ARGV[i])\n"
    "    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[8], '*',"
    " unpack(ARGV, i + 1, i + n))\n"
    "    i = i + n + 1\n"
    "  end\n"
    "  if ARGV[3] ~= '' then\n"
    "    redis.call('ZADD', KEYS[4], ARGV[4], ARGV[3])\n"
    "  end\n"
    "end\n"
    "redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])\n"
    "return 1\n";

/* KEYS: retry, data.  ARGV: now, lease, max, far.  What is due later than any
 * pause lasts was written by a clock that has been set back since: it is due
 * now.  An id without data is nobody's: it goes. */
static const char take[] =
    "local out = {false}\n"
    "local far = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[4], '+inf',"
    " 'LIMIT', 0, ARGV[3])\n"
    "for _, id in ipairs(far) do\n"
    "  redis.call('ZADD', KEYS[1], ARGV[1], id)\n"
    "end\n"
    "local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1],"
    " 'LIMIT', 0, ARGV[3])\n"
    "for _, id in ipairs(ids) do\n"
    "  local data = redis.call('HGET', KEYS[2], id)\n"
    "  if data then\n"
    "    redis.call('ZADD', KEYS[1], ARGV[2], id)\n"
    "    out[#out + 1] = id\n"
    "    out[#out + 1] = data\n"
    "  else\n"
    "    redis.call('ZREM', KEYS[1], id)\n"
    "  end\n"
    "end\n"
    "local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')\n"
    "if first[2] then\n"
    "  out[1] = first[2]\n"
    "end\n"
    "return out\n";

/* KEYS: retry, data, dead.  ARGV: id, lease, what, the most dead letters,
 * then: due, data; or the fields of a dead letter.  Data without a place in
 * the list: somebody deleted the list while the delivery was leased, and what
 * came of it counts. */
static const char settle[] =
    "local score = redis.call('ZSCORE', KEYS[1], ARGV[1])\n"
    "if score and tonumber(score) ~= tonumber(ARGV[2])"
    " or not redis.call('HGET', KEYS[2], ARGV[1]) then\n"
    "  return 0\n"
    "end\n"
    "if ARGV[3] == 'later' then\n"
    "  redis.call('HSET', KEYS[2], ARGV[1], ARGV[6])\n"
    "  redis.call('ZADD', KEYS[1], ARGV[5], ARGV[1])\n"
    "  return 1\n"
    "end\n"
    "if ARGV[3] == 'dead' then\n"
    "  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], '*',"
    " unpack(ARGV, 5))\n"
    "end\n"
    "redis.call('ZREM', KEYS[1], ARGV[1])\n"
    "redis.call('HDEL', KEYS[2], ARGV[1])\n"
    "return 1\n";

void hai_store_commit(struct hai_args *args, const struct hai_worker *w,
                      struct hai_slice id, struct hai_slice eid,
                      const char *delivery, const struct hai_args *derived) {
    hai_args_str(args, "EVAL");
    hai_args_str(args, commit);
    hai_args_num(args, 5);
    hai_args_str(args, w->events);
    hai_args_str(args, w->retry);
    hai_args_str(args, w->retry_data);
    hai_args_str(args, w->seen);
    hai_args_str(args, w->dead);
    hai_args_str(args, HAI_GROUP);
    hai_args_add(args, id.data, id.len);
    hai_args_add(args, eid.data, eid.len);
    hai_args_num(args, hai_now());
    hai_args_str(args, delivery != NULL ? delivery : "");
    hai_args_num(args, HAI_RETRY_MAX);
    hai_args_num(args, HAI_DEAD_MAX);
    hai_args_num(args, HAI_EVENTS_MAX);
    hai_args_join(args, derived);
}

void hai_store_forget(struct hai_args *args, const struct hai_worker *w) {
    static const char script[] =
        "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])\n"
        "redis.call('ZREMRANGEBYRANK', KEYS[1], 0, '-' .. ARGV[2])\n"
        "return 1\n";

    hai_args_str(args, "EVAL");
    hai_args_str(args, script);
    hai_args_num(args, 1);
    hai_args_str(args, w->seen);
    hai_args_num(args, hai_now() - HAI_SEEN_MS);
    hai_args_num(args, HAI_SEEN_MAX);
}

void hai_store_tidy(struct hai_args *args, const struct hai_worker *w,
                    const char *consumer, uint64_t idle_ms) {
    /* each consumer: name, n, pending, n, idle, n */
    static const char script[] =
        "local list = redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])\n"
        "for _, c in ipairs(list) do\n"
        "  if c[4] == 0 and (c[2] == ARGV[2] or c[6] > tonumber(ARGV[3])) "
        "then\n"
        "    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], c[2])\n"
        "  end\n"
        "end\n"
        "return 1\n";

    hai_args_str(args, "EVAL");
    hai_args_str(args, script);
    hai_args_num(args, 1);
    hai_args_str(args, w->events);
    hai_args_str(args, HAI_GROUP);
    hai_args_str(args, consumer);
    hai_args_num(args, idle_ms);
}

void hai_store_take(struct hai_args *args, const struct hai_worker *w,
                    uint64_t lease, size_t max) {
    uint64_t now = hai_now();
    uint64_t asked = HAI_RETRY_AFTER_MAX * UINT64_C(1000);
    uint64_t pause = (uint64_t) w->backoff * HAI_BACKOFF_FACTOR;

    hai_args_str(args, "EVAL");
    hai_args_str(args, take);
    hai_args_num(args, 2);
    hai_args_str(args, w->retry);
    hai_args_str(args, w->retry_data);
    hai_args_num(args, now);
    hai_args_num(args, lease);
    hai_args_num(args, max);
    hai_args_num(args, (lease > now ? lease : now)
                           + 2 * (pause > asked ? pause : asked));
}

static void begin_settle(struct hai_args *args, const struct hai_worker *w,
                         const char *id, uint64_t lease, const char *what) {
    hai_args_str(args, "EVAL");
    hai_args_str(args, settle);
    hai_args_num(args, 3);
    hai_args_str(args, w->retry);
    hai_args_str(args, w->retry_data);
    hai_args_str(args, w->dead);
    hai_args_str(args, id);
    hai_args_num(args, lease);
    hai_args_str(args, what);
    hai_args_num(args, HAI_DEAD_MAX);
}

void hai_store_done(struct hai_args *args, const struct hai_worker *w,
                    const char *id, uint64_t lease) {
    begin_settle(args, w, id, lease, "done");
}

void hai_store_later(struct hai_args *args, const struct hai_worker *w,
                     const char *id, uint64_t lease, uint64_t due,
                     const char *data) {
    begin_settle(args, w, id, lease, "later");
    hai_args_num(args, due);
    hai_args_str(args, data);
}

void hai_store_dead(struct hai_args *args, const struct hai_worker *w,
                    const char *id, uint64_t lease,
                    const struct hai_args *letter) {
    begin_settle(args, w, id, lease, "dead");
    hai_args_join(args, letter);
}
