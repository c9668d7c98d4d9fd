/* SOURCES: fcgi-backend/events/address.c fcgi-backend/events/policy.c fcgi-backend/events/sign.c fcgi-backend/events/url.c fcgi-backend/events/entry.c fcgi-backend/events/clock.c fcgi-backend/events/audit.c fcgi-backend/events/args.c */
/* LIBS: -lcurl -ljansson -lhiredis -lcrypto */

/*
 * The pure parts of hoody-ai-events: addresses, back-off, signatures, URLs,
 * fields of entries, the audit log.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "events/address.h"
#include "events/args.h"
#include "events/audit.h"
#include "events/clock.h"
#include "events/entry.h"
#include "events/policy.h"
#include "events/sign.h"
#include "events/url.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static enum hai_address_verdict
judge(const char *text, const struct hai_cidr *allowed, size_t n) {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    struct sockaddr_in in = {.sin_family = AF_INET};

    if (strchr(text, ':') != NULL) {
        assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
        return hai_address_judge((const struct sockaddr *) &in6, sizeof(in6),
                                 allowed, n);
    }
    assert_int_equal(inet_pton(AF_INET, text, &in.sin_addr), 1);
    return hai_address_judge((const struct sockaddr *) &in, sizeof(in), allowed,
                             n);
}

static void test_cidr(void **state) {
    static const char *const good[] = {
        "0.0.0.0/0", "10.0.0.0/8", "10.1.2.3", "10.1.2.3/32", "::/0",
        "fd00::/8",  "::1",        "::1/128",  "128.0.0.0/1",
    };
    static const char *const bad[] = {
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0/8",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/8 ",
        "::1/129",
        "fd00::1/8",
        "host",
        "10.0.0.0/0008",
        "10.0.0.0/8/8",
        "fe80::1%lo/128",
    };
    struct hai_cidr cidr;
    const char *why;

    (void) state;

    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(hai_cidr_parse(&cidr, good[i], &why), 0);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        why = NULL;
        assert_int_equal(hai_cidr_parse(&cidr, bad[i], &why), -1);
        assert_non_null(why);
    }
}

static void test_refused(void **state) {
    static const char *const refused[] = {
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2001::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff:abc::1",
        "4000::1",
    };
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    (void) state;

    for (size_t i = 0; i < COUNT(refused); i++) {
        if (judge(refused[i], NULL, 0) != HAI_ADDRESS_REFUSED) {
            fail_msg("%s is not refused", refused[i]);
        }
    }
    assert_int_equal(
        hai_address_judge((const struct sockaddr *) &un, sizeof(un), NULL, 0),
        HAI_ADDRESS_REFUSED);
}

static void test_public(void **state) {
    static const char *const public[] = {
        "1.1.1.1",         "8.8.8.8",         "9.255.255.255",
        "11.0.0.0",        "100.63.255.255",  "100.128.0.0",
        "126.255.255.255", "128.0.0.0",       "169.253.255.255",
        "172.15.255.255",  "172.32.0.0",      "192.0.1.1",
        "192.167.1.1",     "198.17.255.255",  "198.20.0.0",
        "223.255.255.255", "2606:4700::1111", "2001:4860:4860::8888",
        "2a00:1450::1",
    };

    (void) state;

    for (size_t i = 0; i < COUNT(public); i++) {
        if (judge(public[i], NULL, 0) != HAI_ADDRESS_PUBLIC) {
            fail_msg("%s is not public", public[i]);
        }
    }
}

static void test_allowed(void **state) {
    struct hai_cidr allowed[3];
    const char *why;

    (void) state;

    assert_int_equal(hai_cidr_parse(&allowed[0], "10.1.0.0/16", &why), 0);
    assert_int_equal(hai_cidr_parse(&allowed[1], "fd00:1::/32", &why), 0);
    assert_int_equal(hai_cidr_parse(&allowed[2], "1.1.1.1", &why), 0);

    assert_int_equal(judge("10.1.2.3", allowed, 3), HAI_ADDRESS_ALLOWED);
    assert_int_equal(judge("10.2.0.0", allowed, 3), HAI_ADDRESS_REFUSED);
    assert_int_equal(judge("fd00:1::5", allowed, 3), HAI_ADDRESS_ALLOWED);
    assert_int_equal(judge("fd00:2::5", allowed, 3), HAI_ADDRESS_REFUSED);
    assert_int_equal(judge("1.1.1.1", allowed, 3), HAI_ADDRESS_ALLOWED);
    assert_int_equal(judge("1.1.1.2", allowed, 3), HAI_ADDRESS_PUBLIC);
    assert_int_equal(judge("::ffff:10.1.2.3", allowed, 3), HAI_ADDRESS_ALLOWED);
    assert_int_equal(judge("64:ff9b::10.1.2.3", allowed, 3),
                     HAI_ADDRESS_ALLOWED);
    assert_int_equal(judge("::ffff:10.2.2.3", allowed, 3), HAI_ADDRESS_REFUSED);
}

static void test_outcomes(void **state) {
    (void) state;

    assert_int_equal(hai_outcome_of(200), HAI_OUTCOME_DONE);
    assert_int_equal(hai_outcome_of(299), HAI_OUTCOME_DONE);
    assert_int_equal(hai_outcome_of(0), HAI_OUTCOME_LATER);
    assert_int_equal(hai_outcome_of(101), HAI_OUTCOME_LATER);
    assert_int_equal(hai_outcome_of(300), HAI_OUTCOME_DEAD);
    assert_int_equal(hai_outcome_of(307), HAI_OUTCOME_DEAD);
    assert_int_equal(hai_outcome_of(400), HAI_OUTCOME_DEAD);
    assert_int_equal(hai_outcome_of(408), HAI_OUTCOME_LATER);
    assert_int_equal(hai_outcome_of(410), HAI_OUTCOME_DEAD);
    assert_int_equal(hai_outcome_of(429), HAI_OUTCOME_LATER);
    assert_int_equal(hai_outcome_of(500), HAI_OUTCOME_LATER);
    assert_int_equal(hai_outcome_of(999), HAI_OUTCOME_LATER);
}

static void test_backoff(void **state) {
    (void) state;

    for (unsigned attempt = 1; attempt < 200; attempt++) {
        uint64_t most = attempt < 9 ? 1000u << attempt : 300000;
        uint64_t least = UINT64_MAX, seen = 0;

        for (unsigned i = 0; i < 200; i++) {
            uint64_t pause = hai_backoff(1000, attempt, 0, hai_random());

            assert_in_range(pause, 1000, most);
            least = pause < least ? pause : least;
            seen = pause > seen ? pause : seen;
        }
        /* spread over all of it */
        assert_true(least < 1000 + (most - 1000) / 4);
        assert_true(seen > most - (most - 1000) / 4);
    }

    assert_int_equal(hai_backoff(1000, 1, 0, 0), 1000);
    assert_int_equal(hai_backoff(1000, 1, 7, 0), 7000);
    assert_int_equal(hai_backoff(1000, 1, -7, 0), 1000);
    assert_int_equal(hai_backoff(1000, 1, 1000000, 0), 3600000);
    assert_int_equal(hai_backoff(60000, 100, 1, UINT64_MAX - 1) <= 18000000, 1);
}

/* RFC 4231, test case 2 */
static void test_sign(void **state) {
    static const char body[] = "what do ya want for nothing?";
    struct hai_hook_secret secret = {.data = "Jefe", .len = 4};
    char out[HAI_SIGNATURE_SIZE];

    (void) state;

    assert_int_equal(hai_sign(&secret, body, strlen(body), out), 0);
    assert_string_equal(out, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d"
                             "2739839dec58b964ec3843");
    assert_int_equal(strlen(out) + 1, HAI_SIGNATURE_SIZE);
}

static void write_file(const char *path, const char *data, size_t len,
                       mode_t mode) {
    int fd;

    unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t) len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void expect_secret(const char *path, const char *reason) {
    struct hai_hook_secret secret;
    char error[512] = "";

    assert_int_equal(hai_hook_secret_read(&secret, path, error, sizeof(error)),
                     -1);
    assert_non_null(strstr(error, path));
    assert_non_null(strstr(error, reason));
    assert_null(strstr(error, "s3cret"));
    assert_int_equal(secret.len, 0);
}

static void test_secret_file(void **state) {
    static char large[HAI_SECRET_MAX + 1];
    char folder[] = "/tmp/hai-events.XXXXXX";
    char path[64], other[64], error[512];
    struct hai_hook_secret secret;

    (void) state;

    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/secret", folder);
    snprintf(other, sizeof(other), "%s/link", folder);

    write_file(path, "s3cret\n", 7, 0600);
    assert_int_equal(hai_hook_secret_read(&secret, path, error, sizeof(error)),
                     0);
    assert_int_equal(secret.len, 6);
    assert_memory_equal(secret.data, "s3cret", 6);
    hai_hook_secret_wipe(&secret);
    assert_int_equal(secret.data[0], 0);

    write_file(path, "s3cret", 6, 0400);
    assert_int_equal(hai_hook_secret_read(&secret, path, error, sizeof(error)),
                     0);
    assert_int_equal(symlink(path, other), 0);
    expect_secret(other, "symbolic link");

    write_file(path, "s3cret\n", 7, 0640);
    expect_secret(path, "group or others");
    write_file(path, "s3cret\n", 7, 0604);
    expect_secret(path, "group or others");
    write_file(path, "", 0, 0600);
    expect_secret(path, "empty");
    write_file(path, "\n", 1, 0600);
    expect_secret(path, "empty");
    write_file(path, "s3cret\nmore\n", 12, 0600);
    expect_secret(path, "one line");
    write_file(path, "s3cret \n", 8, 0600);
    expect_secret(path, "one line");
    write_file(path, "s3cret\0\n", 8, 0600);
    expect_secret(path, "one line");
    memset(large, 'x', sizeof(large));
    write_file(path, large, sizeof(large), 0600);
    expect_secret(path, "too large");

    unlink(path);
    expect_secret(path, "No such file");
    expect_secret(folder, "not a regular file");

    if (geteuid() == 0) {
        write_file(path, "s3cret\n", 7, 0600);
        assert_int_equal(chown(path, 12345, 0), 0);
        expect_secret(path, "owned by root");
    }

    unlink(path);
    unlink(other);
    rmdir(folder);
}

static void expect_url(const char *text, bool https, const char *shown,
                       const char *host) {
    struct hai_url url;

    assert_int_equal(hai_url_parse(&url, text), 0);
    assert_int_equal(url.https, https);
    assert_string_equal(url.shown, shown);
    assert_string_equal(url.host, host);
    hai_url_free(&url);
}

static void test_url(void **state) {
    static const char *const bad[] = {
        "",
        "hooks",
        "ftp://h/",
        "file:///etc/passwd",
        "https://",
        "https://h:99999/",
        "gopher://h/",
        "unix:/run/x",
    };
    struct hai_url url;

    (void) state;

    expect_url("https://Hooks.Example.com/a?token=x#y", true,
               "https://Hooks.Example.com/a", "hooks.example.com:443");
    expect_url("http://user:word@h.example:8080/a/b?q", false,
               "http://h.example:8080/a/b", "h.example:8080");
    expect_url("HTTPS://h.example", true, "https://h.example/",
               "h.example:443");
    expect_url("https://[::1]:8443/?x", true, "https://[::1]:8443/",
               "[::1]:8443");

    for (size_t i = 0; i < COUNT(bad); i++) {
        if (hai_url_parse(&url, bad[i]) != -1) {
            fail_msg("%s is taken for a URL", bad[i]);
        }
        assert_null(url.shown);
    }
}

static struct hai_slice of(const char *text) {
    return (struct hai_slice){text, strlen(text)};
}

static void expect_text(const char *in, size_t len, size_t max,
                        const char *out) {
    json_t *json = hai_json_text((struct hai_slice){in, len}, max);

    assert_non_null(json);
    assert_string_equal(json_string_value(json), out);
    json_decref(json);
}

static void test_text(void **state) {
    (void) state;

    expect_text("plain", 5, 100, "plain");
    expect_text("", 0, 100, "");
    expect_text("plain", 5, 3, "pla");
    expect_text("\xc3\xa4\xc3\xa4", 4, 3, "\xc3\xa4");
    expect_text("a\xff"
                "b",
                3, 100,
                "a\xef\xbf\xbd"
                "b");
    expect_text("\xc0\x80", 2, 100, "\xef\xbf\xbd\xef\xbf\xbd");
    expect_text("\xed\xa0\x80", 3, 100, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    expect_text("\xf4\x90\x80\x80", 4, 3, "\xef\xbf\xbd");
    expect_text("\xf0\x9f\x98\x80", 4, 100, "\xf0\x9f\x98\x80");
    expect_text("\xf0\x9f\x98", 3, 3, "\xef\xbf\xbd");
}

static void test_number(void **state) {
    uint64_t n;

    (void) state;

    assert_int_equal(hai_number(of("1764069000123"), &n), 0);
    assert_int_equal(n, 1764069000123);
    assert_int_equal(hai_number(of("0"), &n), 0);
    assert_int_equal(hai_number(of(""), &n), -1);
    assert_int_equal(hai_number(of("-1"), &n), -1);
    assert_int_equal(hai_number(of("1e3"), &n), -1);
    assert_int_equal(hai_number(of("9999999999999999"), &n), -1);
}

/* An entry from a reply as Redis sends it. */
static redisReply *reply_of(const char *text) {
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;

    assert_non_null(reader);
    assert_int_equal(redisReaderFeed(reader, text, strlen(text)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    redisReaderFree(reader);
    return reply;
}

static void test_entry(void **state) {
    static const char *const names[] = {"status", "reason", "depth", NULL};
    static const char *const bad[] = {
        ":1\r\n",
        "*1\r\n$3\r\n1-0\r\n",
        "*2\r\n:1\r\n*0\r\n",
        "*2\r\n$3\r\n1-0\r\n*1\r\n$1\r\na\r\n",
        "*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n:5\r\n",
        "*-1\r\n",
    };
    redisReply *reply = reply_of("*2\r\n$7\r\n12345-6\r\n*6\r\n"
                                 "$6\r\nstatus\r\n$3\r\n502\r\n"
                                 "$6\r\nreason\r\n$2\r\na\x01\r\n"
                                 "$5\r\ndepth\r\n$2\r\n-1\r\n");
    struct hai_entry entry;
    json_t *object = json_object();
    char *text;

    (void) state;

    assert_int_equal(hai_entry_of(&entry, reply), 0);
    assert_true(hai_slice_is(entry.id, "12345-6"));
    assert_true(hai_slice_is(hai_entry_get(&entry, "status"), "502"));
    assert_int_equal(hai_entry_get(&entry, "stat").len, 0);
    assert_int_equal(hai_entry_time(&entry), 12345);

    assert_int_equal(hai_entry_copy(&entry, names, object), 0);
    text = json_dumps(object, JSON_COMPACT);
    assert_string_equal(
        text, "{\"status\":502,\"reason\":\"a\\u0001\",\"depth\":\"-1\"}");
    free(text);
    json_decref(object);
    freeReplyObject(reply);

    reply = reply_of("*2\r\n$3\r\n1-0\r\n*-1\r\n");
    assert_int_equal(hai_entry_of(&entry, reply), 1);
    freeReplyObject(reply);

    for (size_t i = 0; i < COUNT(bad); i++) {
        reply = reply_of(bad[i]);
        assert_int_equal(hai_entry_of(&entry, reply), -1);
        freeReplyObject(reply);
    }
}

static void test_args(void **state) {
    struct hai_args a, b;

    (void) state;

    hai_args_init(&a);
    hai_args_init(&b);

    for (unsigned i = 0; i < 100; i++) {
        hai_args_num(&b, i);
    }
    hai_args_add(&b, "a\0b", 3);
    hai_args_add(&b, NULL, 0);
    hai_args_str(&a, "first");
    hai_args_join(&a, &b);

    assert_false(a.failed);
    assert_int_equal(a.n, 103);
    assert_string_equal(a.word[100], "99");
    assert_int_equal(a.len[101], 3);
    assert_memory_equal(a.word[101], "a\0b", 4);
    assert_int_equal(a.len[102], 0);

    hai_args_free(&a);
    hai_args_free(&b);
    assert_int_equal(a.n, 0);
}

static void write_line(struct hai_audit *audit, const char *line) {
    char error[256];

    assert_int_equal(hai_audit_begin(audit, error, sizeof(error)), 0);
    assert_int_equal(
        hai_audit_write(audit, line, strlen(line), error, sizeof(error)), 0);
    assert_int_equal(hai_audit_end(audit, error, sizeof(error)), 0);
}

static void expect_file(const char *path, const char *text) {
    char data[256];
    int fd = open(path, O_RDONLY);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, data, sizeof(data) - 1);
    assert_true(n >= 0);
    data[n] = '\0';
    close(fd);
    assert_string_equal(data, text);
}

static void test_audit(void **state) {
    char folder[] = "/tmp/hai-events.XXXXXX";
    char path[64], moved[64], error[256];
    struct hai_audit audit, other;

    (void) state;

    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/audit", folder);
    snprintf(moved, sizeof(moved), "%s/audit.1", folder);

    assert_int_equal(hai_audit_open(&audit, folder, error, sizeof(error)), -1);
    assert_int_equal(hai_audit_open(&audit, "/dev/full", error, sizeof(error)),
                     -1);
    assert_non_null(strstr(error, "not a regular file"));

    /* a part of a line, left by a crash, gets its end */
    write_file(path, "{\"par", 5, 0640);
    assert_int_equal(hai_audit_open(&audit, path, error, sizeof(error)), 0);
    assert_int_equal(hai_audit_open(&other, path, error, sizeof(error)), 0);
    write_line(&audit, "one\n");
    write_line(&other, "two\n");
    expect_file(path, "{\"par\none\ntwo\n");

    /* while another one writes */
    assert_int_equal(hai_audit_begin(&other, error, sizeof(error)), 0);
    assert_int_equal(hai_audit_begin(&audit, error, sizeof(error)), -1);
    assert_int_equal(hai_audit_end(&other, error, sizeof(error)), 0);

    assert_int_equal(rename(path, moved), 0);
    write_line(&audit, "old\n");
    assert_int_equal(hai_audit_reopen(&audit, error, sizeof(error)), 0);
    write_line(&audit, "new\n");
    expect_file(path, "new\n");
    expect_file(moved, "{\"par\none\ntwo\nold\n");

    hai_audit_close(&audit);
    hai_audit_close(&other);
    unlink(path);
    unlink(moved);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cidr),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_public),   cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_outcomes), cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_sign),     cmocka_unit_test(test_secret_file),
        cmocka_unit_test(test_url),      cmocka_unit_test(test_text),
        cmocka_unit_test(test_number),   cmocka_unit_test(test_entry),
        cmocka_unit_test(test_args),     cmocka_unit_test(test_audit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
