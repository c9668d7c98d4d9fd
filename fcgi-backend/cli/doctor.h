/*
 * hoody-ai doctor: a table of checks.  Each one runs in a process of its own
 * that is killed when its time is over, so that none can hang the others; it
 * reads what was gathered before and says one thing.
 */

#ifndef HAI_DOCTOR_H
#define HAI_DOCTOR_H

#include "nginx_conf.h"
#include "registry_open.h"

#include <sys/types.h>

enum hai_doctor_result {
    HAI_DOCTOR_OK,
    HAI_DOCTOR_SKIP, /* does not apply here, or cannot be seen */
    HAI_DOCTOR_WARN,
    HAI_DOCTOR_FAIL
};

/* What a check says; the worst it finds, and of equals the first ones. */
struct hai_finding {
    enum hai_doctor_result result;
    char text[600];
    char mend[400];
};

struct hai_doctor {
    struct hai_cli_registry registry; /* as the gateway: c is not open */
    const char *admin;                /* --admin-redis: one who may see more */
    const char *nginx, *conf, *prefix;
    const char *rules_socket; /* NULL: what the configuration says */
    const char *gateway;
    bool online;
    long timeout_ms;

    bool nginx_runs; /* nginx -V was answered with this */
    char nginx_says[8192];
    char conf_path[1024];
    char conf_dir[1024];
    char conf_error[512];         /* why tree is NULL */
    struct hai_nginx_node *tree;  /* the configuration */
    const char *redis_from_nginx; /* what hoody_ai_redis says, or NULL */
};

/* A row of the table in doctor.c. */
struct hai_check {
    const char *name;
    const char *needs; /* skipped unless the check of this name is fine */
    void (*run)(const struct hai_doctor *d, struct hai_finding *f);
    int patience; /* how many times --timeout it may take */
};

/* Says something; what came before stays when it was worse. */
void hai_doctor_say(struct hai_finding *f, enum hai_doctor_result result,
                    const char *mend, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/*
 * What nginx, conf and timeout_ms lead to: nginx_says, conf_path and conf_dir
 * (absolute), tree or conf_error.
 */
void hai_doctor_read_conf(struct hai_doctor *d);

/*
 * An argument of nginx's configure, "--prefix=": copied, or -1 when nginx -V
 * does not tell.
 */
int hai_doctor_built_with(const struct hai_doctor *d, const char *argument,
                          char *to, size_t size);

/* A path of the configuration, relative ones to dir. */
int hai_doctor_path(const char *dir, const char *path, char *to, size_t size);

/* The next location with "hoody_ai on" behind node, NULL: no more. */
const struct hai_nginx_node *
hai_doctor_location(const struct hai_nginx_node *node);

/* The upstream of that name, NULL: there is none. */
const struct hai_nginx_node *hai_doctor_upstream(const struct hai_doctor *d,
                                                 const char *name);

/* Does anything listen on a unix socket that kernel identity is needed for? */
bool hai_doctor_unix_listener(const struct hai_doctor *d);

/* The user that nginx' workers run as. */
void hai_doctor_user(const struct hai_doctor *d, char *to, size_t size);

/* Says whether workers may use this unix socket: the process, which is a
 * check's own, becomes their user. */
void hai_doctor_may_use(const struct hai_doctor *d, const char *path,
                        struct hai_finding *f);

/* The process id of nginx' master, 0: none that can be seen. */
pid_t hai_doctor_master(const struct hai_doctor *d);

/* A connection as the gateway, or as the one who may see more (NULL without
 * --admin-redis); NULL after it has said so. */
redisContext *hai_doctor_redis(const struct hai_doctor *d,
                               struct hai_finding *f);
redisContext *hai_doctor_admin(const struct hai_doctor *d,
                               struct hai_finding *f);

/* doctor_nginx.c */
void hai_doctor_nginx_binary(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_nginx_config(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_nginx_module(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_nginx_user(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_nginx_locations(const struct hai_doctor *,
                                struct hai_finding *);

/* doctor_tls.c */
void hai_doctor_tls_config(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_tls_online(const struct hai_doctor *, struct hai_finding *);

/* doctor_redis.c */
void hai_doctor_redis_reachable(const struct hai_doctor *,
                                struct hai_finding *);
void hai_doctor_redis_socket(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_redis_version(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_redis_memory(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_redis_persistence(const struct hai_doctor *,
                                  struct hai_finding *);
void hai_doctor_redis_replicas(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_redis_feed(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_redis_network(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_redis_clock(const struct hai_doctor *, struct hai_finding *);

/* doctor_acl.c */
void hai_doctor_redis_acl(const struct hai_doctor *, struct hai_finding *);

/* doctor_registry.c */
void hai_doctor_registry(const struct hai_doctor *, struct hai_finding *);

/* doctor_files.c */
void hai_doctor_secrets(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_passwords(const struct hai_doctor *, struct hai_finding *);

/* doctor_programs.c */
void hai_doctor_rules_socket(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_rules_engine(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_events_worker(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_gateway(const struct hai_doctor *, struct hai_finding *);

/* doctor_system.c */
void hai_doctor_clock(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_firewall(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_forwarding(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_rp_filter(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_peerpidfd(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_namespaces(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_hidepid(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_memlock(const struct hai_doctor *, struct hai_finding *);
void hai_doctor_core(const struct hai_doctor *, struct hai_finding *);

#endif
